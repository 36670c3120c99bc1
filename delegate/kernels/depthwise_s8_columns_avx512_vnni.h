// Columns of groups of lines, interleaved: the first pass of depthwise_s8_avx512_vnni.cc, which this is for.
#ifndef DGMS_KERNELS_DEPTHWISE_S8_COLUMNS_AVX512_VNNI_H_
#define DGMS_KERNELS_DEPTHWISE_S8_COLUMNS_AVX512_VNNI_H_

#include <immintrin.h>
#include <stdint.h>

#include "kernels/depthwise_s8_block_avx512_vnni.h"

namespace dgms {
namespace {

// One channel's bytes of four lines, side by side.
DGMS_INLINE void Interleave(const __m512i (&line)[kGroup], __m512i (&columns)[kVectors]) {
  const __m512i low01 = _mm512_unpacklo_epi8(line[0], line[1]), low23 = _mm512_unpacklo_epi8(line[2], line[3]);
  const __m512i high01 = _mm512_unpackhi_epi8(line[0], line[1]), high23 = _mm512_unpackhi_epi8(line[2], line[3]);
  columns[0] = _mm512_unpacklo_epi16(low01, low23);
  columns[1] = _mm512_unpackhi_epi16(low01, low23);
  columns[2] = _mm512_unpacklo_epi16(high01, high23);
  columns[3] = _mm512_unpackhi_epi16(high01, high23);
}

// One channel's byte of one line, four times.
DGMS_INLINE void Spread(__m512i line, __m512i (&columns)[kVectors]) {
  const __m512i first = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3));
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    columns[v] = _mm512_shuffle_epi8(line, _mm512_add_epi8(first, _mm512_set1_epi8(static_cast<char>(4 * v))));
  }
}

// The lines of one group, as bytes of a block's first channel: those outside of the map have a step of 0.
struct GroupLines {
  const int8_t* line[kGroup];
  int64_t step[kGroup];  // from column to column
  const int8_t* padding;
  int64_t in_w;
  int64_t piece[kMostPieces];  // the first column of each piece of the line; may be outside of the map
};

// A block's channels of the pieces' columns.
template <int width, bool whole>
DGMS_INLINE __m512i LoadBytes(const int8_t* const (&at)[kMostPieces], __mmask64 mask) {
  if constexpr (width == 64) {
    return whole ? _mm512_loadu_si512(at[0]) : _mm512_maskz_loadu_epi8(mask, at[0]);
  } else if constexpr (width == 32) {
    const auto load = [mask](const int8_t* p) DGMS_INLINED {
      return whole ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))
                   : _mm256_maskz_loadu_epi8(static_cast<__mmask32>(mask), p);
    };
    return _mm512_inserti64x4(_mm512_castsi256_si512(load(at[0])), load(at[1]), 1);
  } else {
    const auto load = [mask](const int8_t* p) DGMS_INLINED {
      return whole ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(p))
                   : _mm_maskz_loadu_epi8(static_cast<__mmask16>(mask), p);
    };
    __m512i bytes = _mm512_castsi128_si512(load(at[0]));
    bytes = _mm512_inserti32x4(bytes, load(at[1]), 1);
    bytes = _mm512_inserti32x4(bytes, load(at[2]), 2);
    return _mm512_inserti32x4(bytes, load(at[3]), 3);
  }
}

// Column x of the pieces, of a group of which `rows` lines are not alike; the others meet weights of 0.
template <int width, bool whole, int rows>
DGMS_INLINE void LoadColumn(const GroupLines& lines, __mmask64 mask, int64_t x, __m512i (&column)[kVectors]) {
  const __m512i flip = _mm512_set1_epi8(-128);
  __m512i bytes[kGroup];
#pragma GCC unroll 4
  for (int i = 0; i < kGroup; ++i) {
    if (i >= rows) {
      bytes[i] = bytes[rows == 2 ? i - 2 : rows - 1];
      continue;
    }
    const int8_t* at[kMostPieces];
#pragma GCC unroll 4
    for (int p = 0; p < kChannels / width; ++p) {
      const int64_t in_line = lines.piece[p] + x;
      const bool inside = static_cast<uint64_t>(in_line) < static_cast<uint64_t>(lines.in_w);
      at[p] = inside ? lines.line[i] + in_line * lines.step[i] : lines.padding;
    }
    bytes[i] = _mm512_xor_si512(LoadBytes<width, whole>(at, mask), flip);
  }
  if constexpr (rows == 1) {
    Spread(bytes[0], column);
  } else {
    Interleave(bytes, column);
  }
}

template <int width, bool whole, int rows>
void InterleaveColumns(const GroupLines& lines, __mmask64 mask, int64_t count, int8_t* columns) {
  for (int64_t x = 0; x < count; ++x, columns += kColumnBytes) {
    __m512i column[kVectors];
    LoadColumn<width, whole, rows>(lines, mask, x, column);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) _mm512_store_si512(columns + v * kVectorBytes, column[v]);
  }
}

using InterleaveFn = void (*)(const GroupLines& lines, __mmask64 mask, int64_t count, int8_t* columns);

template <int width, bool whole>
InterleaveFn InterleaveRows(int64_t rows) {
  constexpr InterleaveFn kFns[kGroup] = {InterleaveColumns<width, whole, 1>, InterleaveColumns<width, whole, 2>,
                                         InterleaveColumns<width, whole, 3>, InterleaveColumns<width, whole, 4>};
  return kFns[rows < kGroup ? rows - 1 : kGroup - 1];
}

InterleaveFn SelectInterleave(const Block& block, int64_t rows) {
  const bool whole = block.count == block.width;
  if (block.width == 64) return whole ? InterleaveRows<64, true>(rows) : InterleaveRows<64, false>(rows);
  if (block.width == 32) return whole ? InterleaveRows<32, true>(rows) : InterleaveRows<32, false>(rows);
  return whole ? InterleaveRows<16, true>(rows) : InterleaveRows<16, false>(rows);
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_DEPTHWISE_S8_COLUMNS_AVX512_VNNI_H_
