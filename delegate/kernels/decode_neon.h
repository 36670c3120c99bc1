// Decoding of packed weights (pack_runs32) to floats: a part of gemm_neon.cc.
//
// A table of 16 floats is seen as four tables of 16 bytes: all first bytes of the floats, all second bytes and so on,
// which is how an interleaving load of 4 (vld4q_u8) reads its 64 bytes. A vector of 16 codes is looked up in each of
// the four (one TBL each), which gives the four bytes of 16 weights in four vectors, and an interleaving store of 4
// (vst4q_u8) puts them together again: 16 floats in memory, in the order of the codes. That is 12 instructions (13 with
// the loop) for the 32 weights of 16 packed bytes, and no dependence on what the columns are: a run of 32 weights is
// the next 32 of the block, read row by row. (An extended table of 256 pairs, one 8-byte load for two weights, takes
// 45; building the floats with ZIPs instead of the interleaving store takes 31.)
#ifndef DGMS_KERNELS_DECODE_NEON_H_
#define DGMS_KERNELS_DECODE_NEON_H_

#include "kernels/kernel.h"
#include "kernels/simd_neon.h"

namespace dgms {
namespace {

#if DGMS_AARCH64
constexpr int kMaxVectors = 4;
#else
constexpr int kMaxVectors = 2;
#endif
constexpr int kRun = 32;  // weights per 16 packed bytes: the first 16 in the low nibbles, the last 16 in the high ones

DGMS_INLINE uint8x16x4_t LoadTable(const float* table) { return vld4q_u8(reinterpret_cast<const uint8_t*>(table)); }

DGMS_INLINE void Store16(uint8x16x4_t bytes, float* to) { vst4q_u8(reinterpret_cast<uint8_t*>(to), bytes); }

// A panel whose columns share one table.
class OneTable {
 public:
  OneTable(const Tables& tables, int width) {
    (void)width;
    const int64_t first = tables.column_table == nullptr ? 0 : tables.column_table[0];
    table_ = LoadTable(tables.tables + first * kTableSize);
  }
  DGMS_INLINE void Decode16(uint8x16_t codes, float* to) {
    uint8x16x4_t bytes;
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) bytes.val[i] = Lookup(table_.val[i], codes);
    Store16(bytes, to);
  }

 private:
  uint8x16x4_t table_;
};

// A panel of columns with different tables. Each table is looked up for all 16 codes, with the codes of other tables'
// columns made too large for it (so that they leave what is there), which repeats every `period_` vectors of codes.
class ManyTables {
 public:
  ManyTables(const Tables& tables, int width) : tables_(tables.tables) {
    // 16 weights are a whole number of rows of 4, 8 or 16 columns; of 12 columns it takes three vectors (4 rows).
    period_ = width == 12 ? 3 : 1;
    count_ = 0;
    for (int j = 0; j < width; ++j) {
      if (j == 0 || tables.column_table[j] != ids_[count_ - 1]) ids_[count_++] = tables.column_table[j];
    }
    for (int phase = 0; phase < period_; ++phase) {
      for (int t = 0; t < count_; ++t) {
        for (int i = 0; i < 16; ++i) {
          const bool ours = tables.column_table[(phase * 16 + i) % width] == ids_[t];
          foreign_[phase][t][i] = ours ? 0 : 0xff;
        }
      }
    }
  }
  DGMS_INLINE void Decode16(uint8x16_t codes, float* to) {
    uint8x16x4_t bytes = {{vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0)}};
    for (int t = 0; t < count_; ++t) {
      const uint8x16x4_t table = LoadTable(tables_ + int64_t{kTableSize} * ids_[t]);
      const uint8x16_t index = vorrq_u8(codes, vld1q_u8(foreign_[phase_][t]));
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) bytes.val[i] = LookupOr(bytes.val[i], table.val[i], index);
    }
    Store16(bytes, to);
    phase_ = phase_ + 1 == period_ ? 0 : phase_ + 1;
  }

 private:
  const float* tables_;
  int period_, count_, phase_ = 0;
  int32_t ids_[kMaxVectors * kLanes];
  uint8_t foreign_[3][kMaxVectors * kLanes][16];
};

inline bool SharesTable(const Tables& tables, int width) {
  return tables.column_table == nullptr || tables.column_table[0] == tables.column_table[width - 1];
}

template <typename Decoder>
DGMS_INLINE void DecodeRun(Decoder& decoder, uint8x16_t codes, float** to) {
  decoder.Decode16(vandq_u8(codes, vdupq_n_u8(15)), *to);
  *to += 16;
  __asm__("" : "+r"(*to));  // keeps the step in the interleaving store, which has no other offset
  decoder.Decode16(vshrq_n_u8(codes, 4), *to);
  *to += 16;
  __asm__("" : "+r"(*to));
}

// Decodes `weights` (a multiple of kRun) weights.
template <typename Decoder>
DGMS_INLINE void DecodeRuns(Decoder& decoder, const uint8_t* packed, int64_t weights, float* to) {
#if DGMS_AARCH64  // a panel of 16 columns is a multiple of four runs, which one instruction loads
  for (; weights >= 4 * kRun; weights -= 4 * kRun, packed += 4 * kRun / 2) {
    const uint8x16x4_t codes = vld1q_u8_x4(packed);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) DecodeRun(decoder, codes.val[i], &to);
  }
#endif
  for (; weights > 0; weights -= kRun, packed += kRun / 2) DecodeRun(decoder, vld1q_u8(packed), &to);
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_DECODE_NEON_H_
