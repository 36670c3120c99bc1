// Decoding of int8 panels with NEON, alike for all kernels with dot order (kernel_s8.h). For *_neon*.cc only, after
// simd_neon.h.
#ifndef DGMS_KERNELS_DECODE_S8_NEON_H_
#define DGMS_KERNELS_DECODE_S8_NEON_H_

#include "kernels/decode_s8.h"
#include "kernels/kernel_s8.h"
#include "kernels/simd_neon.h"

namespace dgms {
namespace {

DGMS_INLINE uint8x16_t LoadTableS8(const int8_t* table) { return vreinterpretq_u8_s8(vld1q_s8(table)); }

// One table: a run's 16 bytes become its 32 weights by two look-ups.
inline void DecodeOneTable(const uint8_t* packed, int64_t weights, const int8_t* table_at, uint8_t* panel) {
  const uint8x16_t table = LoadTableS8(table_at), low = vdupq_n_u8(15);
  int64_t i = 0;
#if DGMS_AARCH64
  constexpr int kRuns = 4;  // by one load and two stores
  i = weights / (kRuns * kRunS8) * (kRuns * kRunS8);
  for (const uint8_t* const end = packed + i / 2; packed != end;) {
    const uint8x16x4_t codes = vld1q_u8_x4(packed);
    packed += kRuns * kRunS8 / 2;
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const uint8x16_t first = codes.val[2 * half], second = codes.val[2 * half + 1];
      const uint8x16x4_t bytes = {{Lookup(table, vandq_u8(first, low)), Lookup(table, vshrq_n_u8(first, 4)),
                                   Lookup(table, vandq_u8(second, low)), Lookup(table, vshrq_n_u8(second, 4))}};
      vst1q_u8_x4(panel, bytes);
      panel += 2 * kRunS8;
      __asm__("" : "+r"(panel));  // keeps the step in the store
    }
  }
  panel -= i;
#endif
  for (; i < weights; i += kRunS8, packed += kRunS8 / 2) {
    const uint8x16_t codes = vld1q_u8(packed);
    vst1q_u8(panel + i, Lookup(table, vandq_u8(codes, low)));
    vst1q_u8(panel + i + 16, Lookup(table, vshrq_n_u8(codes, 4)));
  }
}

template <int unit>
void DecodeManyTables(const uint8_t* packed, int64_t weights, int width, const TablesS8& tables, uint8_t* panel) {
  uint8_t foreign[kMaxColumns * unit];
  ForEachTable<unit>(tables, width, foreign, [&](const int8_t* table_at, bool is_first) {
    const uint8x16_t table = LoadTableS8(table_at), low = vdupq_n_u8(15);
    const uint8_t* from = packed;
    for (int64_t i = 0; i < weights; i += kRunS8, from += kRunS8 / 2) {
      const uint8x16_t codes = vld1q_u8(from);
      const uint8x16_t halves[2] = {vandq_u8(codes, low), vshrq_n_u8(codes, 4)};
      for (int half = 0; half < 2; ++half) {
        const int64_t at = i + half * 16;
        const uint8x16_t bytes = Lookup(table, vorrq_u8(halves[half], vld1q_u8(foreign + at % (width * unit))));
        vst1q_u8(panel + at, is_first ? bytes : vorrq_u8(bytes, vld1q_u8(panel + at)));
      }
    }
  });
}

template <int unit>
void DecodeS8(const uint8_t* packed, int64_t places, int width, const TablesS8& tables, int8_t* panel) {
  uint8_t* bytes = reinterpret_cast<uint8_t*>(panel);
  if (tables.column_table == nullptr) return DecodeOneTable(packed, places * width, tables.tables, bytes);
  DecodeManyTables<unit>(packed, places * width, width, tables, bytes);
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_DECODE_S8_NEON_H_
