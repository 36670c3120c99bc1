// int8 with baseline NEON: tiles of up to 4 rows (2 on 32-bit ARM) by 8 columns.
//
// A vector of weights is four places of four columns; half of it, two columns, is multiplied with the same four places
// of a row. Two such products, of neighbouring groups of four places, fit 16 bits (see kernel_s8.h); pairs of them are
// then added to 32-bit sums, two for each column, which are added at the end.
#include "kernels/decode_s8_neon.h"
#include "kernels/places_s8.h"

namespace dgms {
namespace {

#if DGMS_AARCH64
constexpr int kRows = 4;
#else
constexpr int kRows = 2;
#endif
constexpr int kUnit = 4, kColumns = 8, kPairs = kColumns / 2;
constexpr int kGroup = kUnit * kColumns;  // bytes of the panel for one group of places

template <int rows>
struct SumsS8 {
  int32x4_t v[rows][kPairs];  // of columns 2i and 2i + 1: two sums each
};

// The weights of a group of places, two columns each.
struct Weights {
  int8x8_t v[kPairs];
  DGMS_INLINE explicit Weights(const int8_t* panel) {
#pragma GCC unroll 4
    for (int i = 0; i < kPairs; ++i) v[i] = vld1_s8(panel + i * 8);
  }
};

template <int rows>
DGMS_INLINE void Step8(SumsS8<rows>& sums, const int8_t* a, int64_t stride, const int8_t* panel) {
  const Weights first(panel), second(panel + kGroup);
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r) {
    const int32x2_t x = vreinterpret_s32_s8(vld1_s8(a + r * stride));
    const int8x8_t x0 = vreinterpret_s8_s32(vdup_lane_s32(x, 0)), x1 = vreinterpret_s8_s32(vdup_lane_s32(x, 1));
#pragma GCC unroll 4
    for (int i = 0; i < kPairs; ++i) {
      const int16x8_t products = vmlal_s8(vmull_s8(first.v[i], x0), second.v[i], x1);
      sums.v[r][i] = vpadalq_s16(sums.v[r][i], products);
    }
  }
}

template <int rows>
DGMS_INLINE void Step4(SumsS8<rows>& sums, const int8_t* a, int64_t stride, int64_t count, const int8_t* panel) {
  const Weights weights(panel);
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r) {
    const int8x8_t x = vreinterpret_s8_s32(vdup_n_s32(LoadPlaces(a + r * stride, count)));
#pragma GCC unroll 4
    for (int i = 0; i < kPairs; ++i) sums.v[r][i] = vpadalq_s16(sums.v[r][i], vmull_s8(weights.v[i], x));
  }
}

// The sums of four columns.
DGMS_INLINE int32x4_t AddPairs(int32x4_t a, int32x4_t b) {
#if DGMS_AARCH64
  return vpaddq_s32(a, b);
#else
  return vcombine_s32(vpadd_s32(vget_low_s32(a), vget_high_s32(a)), vpadd_s32(vget_low_s32(b), vget_high_s32(b)));
#endif
}

template <int rows>
void TileS8(const GemmS8Args& args) {
  SumsS8<rows> sums;
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int i = 0; i < kPairs; ++i) sums.v[r][i] = vdupq_n_s32(0);
  }
  const int64_t stride = args.a_row_stride;
  const int8_t* panel = args.panel;
  for (int64_t s = 0; s < args.segment_count; ++s) {
    const int8_t* a = args.a + args.segments[s];
    int64_t left = args.segment_length;
    for (; left >= 2 * kUnit; left -= 2 * kUnit, a += 2 * kUnit, panel += 2 * kGroup) {
      Step8<rows>(sums, a, stride, panel);
    }
    if (left >= kUnit) {
      Step4<rows>(sums, a, stride, kUnit, panel);
      left -= kUnit;
      a += kUnit;
      panel += kGroup;
    }
    if (left > 0) {
      Step4<rows>(sums, a, stride, left, panel);
      panel += kGroup;
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      int32_t* c = args.c + r * kColumns + v * 4;
      const int32x4_t sum = AddPairs(sums.v[r][2 * v], sums.v[r][2 * v + 1]);
      vst1q_s32(c, args.accumulate ? vaddq_s32(sum, vld1q_s32(c)) : sum);
    }
  }
}

template <int rows>
DGMS_INLINE void RunTile(const GemmS8Args& args) {
  if constexpr (rows > 1) {
    if (args.rows < rows) return RunTile<rows - 1>(args);
  }
  TileS8<rows>(args);
}

}  // namespace

#if DGMS_AARCH64
#define DGMS_NAME(function) s8_4x8_neon_##function
#else
#define DGMS_NAME(function) s8_2x8_neon_##function
#endif

void DGMS_NAME(decode)(const uint8_t* packed, int64_t places, int width, const TablesS8& tables, int8_t* panel) {
  DecodeS8<kUnit>(packed, places, width, tables, panel);
}

void DGMS_NAME(gemm)(const GemmS8Args& args) { RunTile<kRows>(args); }

#undef DGMS_NAME

}  // namespace dgms
