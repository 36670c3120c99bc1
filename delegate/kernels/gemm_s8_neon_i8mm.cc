// int8 with the ARMv8.6 matrix instruction: tiles of up to 8 rows by 8 columns. One instruction multiplies eight places
// of two rows with eight places of two columns, which gives four sums.
#include "kernels/decode_s8_neon.h"
#include "kernels/places_s8.h"

namespace dgms {
namespace {

constexpr int kUnit = 8, kColumns = 8, kColumnPairs = kColumns / 2;
constexpr int kGroup = kUnit * kColumns;

template <int row_pairs>
struct SumsS8 {
  int32x4_t v[row_pairs][kColumnPairs];  // row 0 column 0, row 0 column 1, row 1 column 0, row 1 column 1
};

// `count` (1..8) places of a row, with zeros behind them.
DGMS_INLINE int8x8_t LoadEight(const int8_t* p, int64_t count) {
  if (count == kUnit) return vld1_s8(p);
  if (count <= 4) return vcreate_s8(static_cast<uint32_t>(LoadPlaces(p, count)));
  const uint64_t first = static_cast<uint32_t>(LoadPlaces(p, 4));
  const uint64_t second = static_cast<uint32_t>(LoadPlaces(p + 4, count - 4));
  return vcreate_s8(first | second << 32);
}

// Rows beyond the last (an odd number of rows has one) repeat it; their sums are not stored.
template <int rows>
DGMS_INLINE void Step(SumsS8<(rows + 1) / 2>& sums, const int8_t* a, int64_t stride, int64_t count,
                      const int8_t* panel) {
  int8x16_t weights[kColumnPairs];
#pragma GCC unroll 4
  for (int j = 0; j < kColumnPairs; ++j) weights[j] = vld1q_s8(panel + j * 16);
#pragma GCC unroll 4
  for (int i = 0; i < (rows + 1) / 2; ++i) {
    const int second = 2 * i + 1 < rows ? 2 * i + 1 : 2 * i;
    const int8x16_t x = vcombine_s8(LoadEight(a + 2 * i * stride, count), LoadEight(a + second * stride, count));
#pragma GCC unroll 4
    for (int j = 0; j < kColumnPairs; ++j) sums.v[i][j] = vmmlaq_s32(sums.v[i][j], x, weights[j]);
  }
}

// Four columns of one row from two of its vectors.
DGMS_INLINE void Put(int32x2_t first, int32x2_t second, bool accumulate, int32_t* c) {
  const int32x4_t sum = vcombine_s32(first, second);
  vst1q_s32(c, accumulate ? vaddq_s32(sum, vld1q_s32(c)) : sum);
}

template <int rows>
void TileS8(const GemmS8Args& args) {
  SumsS8<(rows + 1) / 2> sums;
#pragma GCC unroll 4
  for (int i = 0; i < (rows + 1) / 2; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kColumnPairs; ++j) sums.v[i][j] = vdupq_n_s32(0);
  }
  const int8_t* panel = args.panel;
  for (int64_t s = 0; s < args.segment_count; ++s) {
    const int8_t* a = args.a + args.segments[s];
    int64_t left = args.segment_length;
    for (; left >= kUnit; left -= kUnit, a += kUnit, panel += kGroup) {
      Step<rows>(sums, a, args.a_row_stride, kUnit, panel);
    }
    if (left > 0) {
      Step<rows>(sums, a, args.a_row_stride, left, panel);
      panel += kGroup;
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
    const int32x4_t(&v)[kColumnPairs] = sums.v[r / 2];
#pragma GCC unroll 2
    for (int j = 0; j < kColumnPairs; j += 2) {
      int32_t* c = args.c + r * kColumns + 2 * j;
      if (r % 2 == 0) {
        Put(vget_low_s32(v[j]), vget_low_s32(v[j + 1]), args.accumulate, c);
      } else {
        Put(vget_high_s32(v[j]), vget_high_s32(v[j + 1]), args.accumulate, c);
      }
    }
  }
}

constexpr GemmS8Fn kTiles[] = {TileS8<1>, TileS8<2>, TileS8<3>, TileS8<4>, TileS8<5>, TileS8<6>, TileS8<7>, TileS8<8>};

}  // namespace

void s8_8x8_neon_i8mm_decode(const uint8_t* packed, int64_t places, int width, const TablesS8& tables, int8_t* panel) {
  DecodeS8<kUnit>(packed, places, width, tables, panel);
}

void s8_8x8_neon_i8mm_gemm(const GemmS8Args& args) { kTiles[args.rows - 1](args); }

}  // namespace dgms
