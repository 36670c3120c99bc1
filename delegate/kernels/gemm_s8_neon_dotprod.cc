// int8 with the ARMv8.2 dot product: tiles of up to 8 rows by 8 columns. One instruction multiplies four places of four
// columns with four places of a row, which it takes from any lane of the row's vector.
#include "kernels/decode_s8_neon.h"
#include "kernels/places_s8.h"

namespace dgms {
namespace {

constexpr int kUnit = 4, kColumns = 8, kVectors = 2;
constexpr int kGroup = kUnit * kColumns;

template <int rows>
struct SumsS8 {
  int32x4_t v[rows][kVectors];
};

template <int lane, int rows>
DGMS_INLINE void StepLane(SumsS8<rows>& sums, const int8x16_t (&x)[rows], const int8_t* panel) {
  const int8x16_t w0 = vld1q_s8(panel + lane * kGroup), w1 = vld1q_s8(panel + lane * kGroup + 16);
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
    sums.v[r][0] = vdotq_laneq_s32(sums.v[r][0], w0, x[r], lane);
    sums.v[r][1] = vdotq_laneq_s32(sums.v[r][1], w1, x[r], lane);
  }
}

// `count` (1..4) places of each row.
template <int rows>
DGMS_INLINE void Step4(SumsS8<rows>& sums, const int8_t* a, int64_t stride, int64_t count, const int8_t* panel) {
  const int8x16_t w0 = vld1q_s8(panel), w1 = vld1q_s8(panel + 16);
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
    const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(LoadPlaces(a + r * stride, count)));
    sums.v[r][0] = vdotq_s32(sums.v[r][0], w0, x);
    sums.v[r][1] = vdotq_s32(sums.v[r][1], w1, x);
  }
}

template <int rows>
void TileS8(const GemmS8Args& args) {
  SumsS8<rows> sums;
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      sums.v[r][v] = args.accumulate ? vld1q_s32(args.c + r * kColumns + v * 4) : vdupq_n_s32(0);
    }
  }
  const int64_t stride = args.a_row_stride;
  const int8_t* panel = args.panel;
  for (int64_t s = 0; s < args.segment_count; ++s) {
    const int8_t* a = args.a + args.segments[s];
    int64_t left = args.segment_length;
    for (; left >= 16; left -= 16, a += 16, panel += 4 * kGroup) {
      int8x16_t x[rows];
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) x[r] = vld1q_s8(a + r * stride);
      StepLane<0>(sums, x, panel);
      StepLane<1>(sums, x, panel);
      StepLane<2>(sums, x, panel);
      StepLane<3>(sums, x, panel);
    }
    for (; left >= kUnit; left -= kUnit, a += kUnit, panel += kGroup) Step4<rows>(sums, a, stride, kUnit, panel);
    if (left > 0) {
      Step4<rows>(sums, a, stride, left, panel);
      panel += kGroup;
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) vst1q_s32(args.c + r * kColumns + v * 4, sums.v[r][v]);
  }
}

constexpr GemmS8Fn kTiles[] = {TileS8<1>, TileS8<2>, TileS8<3>, TileS8<4>, TileS8<5>, TileS8<6>, TileS8<7>, TileS8<8>};

}  // namespace

void s8_8x8_neon_dotprod_decode(const uint8_t* packed, int64_t places, int width, const TablesS8& tables,
                                int8_t* panel) {
  DecodeS8<kUnit>(packed, places, width, tables, panel);
}

void s8_8x8_neon_dotprod_gemm(const GemmS8Args& args) { kTiles[args.rows - 1](args); }

}  // namespace dgms
