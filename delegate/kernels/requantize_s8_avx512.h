// Requantising with AVX-512, in float where that cannot make a difference (requantize_s8.h says why): what the kernels
// that make int8 outputs of sums share. For *_avx512*.cc only.
#ifndef DGMS_KERNELS_REQUANTIZE_S8_AVX512_H_
#define DGMS_KERNELS_REQUANTIZE_S8_AVX512_H_

#include <immintrin.h>

#include "kernels/kernel_s8.h"
#include "kernels/requantize_s8.h"

#define DGMS_INLINE inline __attribute__((always_inline))

namespace dgms {
namespace {

constexpr int kLanes = 16;

DGMS_INLINE __mmask16 First(int count) {
  return count >= kLanes ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1u << count) - 1u);
}

// (x * multiplier + 2^30) >> 31 of each lane: 64-bit products of the even lanes and of the odd ones.
DGMS_INLINE __m512i HighProduct(__m512i x, __m512i multiplier, __m512i odd_multiplier) {
  const __m512i half = _mm512_set1_epi64(int64_t{1} << 30);
  const __m512i even = _mm512_add_epi64(_mm512_mul_epi32(x, multiplier), half);
  const __m512i odd = _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(x, 32), odd_multiplier), half);
  // Bits 31..62 are the result: they come to the low half of the even lanes and to the high half of the odd ones.
  return _mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 31), _mm512_slli_epi64(odd, 1));
}

// x / 2^right, halves away from zero; mask = 2^right - 1.
DGMS_INLINE __m512i RoundingShiftRight(__m512i x, __m512i right, __m512i mask) {
  const __m512i threshold = _mm512_sub_epi32(_mm512_srli_epi32(mask, 1), _mm512_srai_epi32(x, 31));
  const __mmask16 up = _mm512_cmpgt_epi32_mask(_mm512_and_si512(x, mask), threshold);
  const __m512i down = _mm512_srav_epi32(x, right);
  return _mm512_mask_add_epi32(down, up, down, _mm512_set1_epi32(1));
}

DGMS_INLINE void StoreBytes(__m128i bytes, __mmask16 columns, int8_t* output) {
  if (columns == 0xffff) {  // masked stores are slow on some processors
    _mm_storeu_si128(reinterpret_cast<__m128i*>(output), bytes);
  } else {
    _mm_mask_storeu_epi8(output, columns, bytes);
  }
}

// The low bytes of the lanes of x + zero, clamped.
struct ByteStore {
  __m512i zero, min, max;
  DGMS_INLINE ByteStore(int32_t zero_, int32_t min_, int32_t max_)
      : zero(_mm512_set1_epi32(zero_)), min(_mm512_set1_epi32(min_)), max(_mm512_set1_epi32(max_)) {}
  DGMS_INLINE void operator()(__m512i x, __mmask16 mask, int8_t* output) const {
    const __m512i y = _mm512_min_epi32(_mm512_max_epi32(_mm512_add_epi32(x, zero), min), max);
    StoreBytes(_mm512_cvtepi32_epi8(y), mask, output);
  }
};

// The 64-bit way, for rows row..end-1 of sixteen columns. Not inline, and all loaded anew: it is rare, and must not
// take the registers of what is not.
[[maybe_unused]] __attribute__((noinline)) void RequantizeExactly(const RequantizeArgs& args, int j, int row, int end) {
  const ByteStore store(args.zero, args.min, args.max);
  const __mmask16 columns = First(args.n - j);
  const __m512i multiplier = _mm512_loadu_si512(args.multiplier + j);
  const __m512i left = _mm512_loadu_si512(args.left + j), right = _mm512_loadu_si512(args.right + j);
  const __m512i odd_multiplier = _mm512_srli_epi64(multiplier, 32), one = _mm512_set1_epi32(1);
  const __m512i mask = _mm512_sub_epi32(_mm512_sllv_epi32(one, right), one);
  for (; row < end; ++row) {
    __m512i x = _mm512_maskz_loadu_epi32(columns, args.sums + row * args.sums_row_stride + j);
    x = _mm512_add_epi32(x, _mm512_loadu_si512(args.bias + j));
    const __m512i high = HighProduct(_mm512_sllv_epi32(x, left), multiplier, odd_multiplier);
    store(RoundingShiftRight(high, right, mask), columns, args.output + row * args.output_row_stride + j);
  }
}

// Four vectors of sums at a time, which become one of bytes: two vectors of two rows, or one of four.
constexpr int kGroup = 4;

// What makes fixed point of sums: scale = multiplier * 2^(kFractionBits - 31 - right) and, for the contract's first
// rounding, offset = 2^(kFractionBits - 1 - right).
struct FixedFactors {
  __m512 scale, offset;
  DGMS_INLINE FixedFactors(__m512i multiplier, __m512i right) {
    // Powers of two are made from their exponents.
    const __m512i exponent = _mm512_slli_epi32(_mm512_sub_epi32(_mm512_set1_epi32(127 + kFractionBits - 1), right), 23);
    const __m512 power = _mm512_castsi512_ps(_mm512_sub_epi32(exponent, _mm512_set1_epi32(30 << 23)));
    scale = _mm512_mul_ps(_mm512_cvtepi32_ps(multiplier), power);
    offset = _mm512_castsi512_ps(exponent);
  }
};

// The integers of four vectors of fixed point as bytes, saturated. Quarter i has the four of quarter i of each vector,
// vector after vector.
DGMS_INLINE __m512i IntegerBytes(const __m512i (&fixed)[kGroup]) {
  // The high halves of two vectors in turn, then bytes: both stay within quarters of the vectors.
  const __m512i high_halves =
      _mm512_broadcast_i32x4(_mm_setr_epi8(2, 3, 2, 3, 6, 7, 6, 7, 10, 11, 10, 11, 14, 15, 14, 15));
  constexpr __mmask64 kEvenHalves = 0x3333333333333333;
  const __m512i low = _mm512_mask_shuffle_epi8(fixed[1], kEvenHalves, fixed[0], high_halves);
  const __m512i high = _mm512_mask_shuffle_epi8(fixed[3], kEvenHalves, fixed[2], high_halves);
  const __m512i by_vector = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15));
  return _mm512_shuffle_epi8(_mm512_packs_epi16(low, high), by_vector);
}

// `vectors` vectors of columns from `first` on.
//   positive   outputs below the zero point are clamped to it or above anyway: every sum counts as positive
template <int vectors, bool positive>
struct RequantizeColumns {
  static constexpr int kRows = kGroup / vectors;
  int first;
  __mmask16 columns;   // of the last vector; those before are full
  bool simple = true;  // no left shift, but a right one: else the 64-bit way is the only one
  bool clamp;
  __m512i bias[vectors];
  __m512 scale[vectors], offset[vectors];
  __m512 start;
  __m512i min, max;

  DGMS_INLINE RequantizeColumns(const RequantizeArgs& args, int j)
      : first(j),
        columns(First(args.n - j - (vectors - 1) * kLanes)),
        clamp(args.min > -128 || args.max < 127),
        start(_mm512_set1_ps(FixedStart(args.zero))),
        min(_mm512_set1_epi8(static_cast<char>(args.min))),
        max(_mm512_set1_epi8(static_cast<char>(args.max))) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v, j += kLanes) {
      const __m512i left = _mm512_loadu_si512(args.left + j), right = _mm512_loadu_si512(args.right + j);
      const __mmask16 unfit = _mm512_test_epi32_mask(left, left) | _mm512_testn_epi32_mask(right, right);
      simple = simple && (unfit & (v + 1 < vectors ? 0xffff : columns)) == 0;
      bias[v] = _mm512_loadu_si512(args.bias + j);
      const FixedFactors factors(_mm512_loadu_si512(args.multiplier + j), right);
      scale[v] = factors.scale;
      offset[v] = factors.offset;
      if (positive) offset[v] = _mm512_add_ps(offset[v], start);
    }
  }

  // The output in fixed point, plus kMargin, and the least fraction so far.
  DGMS_INLINE __m512i Fixed(__m512i x, int v, __m512i* least) const {
    __m512 y = _mm512_cvtepi32_ps(x);
    if (positive) {
      y = _mm512_fmadd_ps(y, scale[v], offset[v]);
    } else {
      const __m512i sign = _mm512_set1_epi32(INT32_MIN);
      const __m512i signed_offset = _mm512_ternarylogic_epi32(x, sign, _mm512_castps_si512(offset[v]),
                                                              (0xf0 & 0xcc) | 0xaa);  // x & sign | offset
      y = _mm512_add_ps(_mm512_fmadd_ps(y, scale[v], _mm512_castsi512_ps(signed_offset)), start);
    }
    const __m512i fixed = _mm512_cvtps_epi32(y);
    *least = _mm512_min_epu16(*least, fixed);  // the low halves count
    return fixed;
  }

  // The integers of four vectors as bytes, vector after vector.
  DGMS_INLINE __m512i Bytes(const __m512i (&fixed)[kGroup]) const {
    __m512i bytes = IntegerBytes(fixed);
    if (clamp) bytes = _mm512_min_epi8(_mm512_max_epi8(bytes, min), max);
    const __m512i by_column = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(by_column, bytes);
  }

  // `rows` rows, at most kRows: their outputs, and whether some lane of them is unsure.
  template <int rows, bool full>
  DGMS_INLINE bool Group(const int32_t* sums, int64_t sums_stride, int8_t* output, int64_t stride) const {
    __m512i fixed[kGroup];
    __m512i least = _mm512_set1_epi16(-1);
#pragma GCC unroll 4
    for (int i = 0; i < rows * vectors; ++i) {
      const int32_t* at = sums + i / vectors * sums_stride + i % vectors * kLanes;
      __m512i x = full ? _mm512_loadu_si512(at) : _mm512_maskz_loadu_epi32(columns, at);
      x = _mm512_add_epi32(x, bias[i % vectors]);
      fixed[i] = Fixed(x, i % vectors, &least);
    }
#pragma GCC unroll 4
    for (int i = rows * vectors; i < kGroup; ++i) fixed[i] = fixed[0];
    const __m512i bytes = Bytes(fixed);
    if (vectors == 2) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(output), _mm512_castsi512_si256(bytes));
      if (rows > 1) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(output + stride), _mm512_extracti64x4_epi64(bytes, 1));
      }
    } else {
      const __mmask16 lanes = full ? static_cast<__mmask16>(0xffff) : columns;
      StoreBytes(_mm512_castsi512_si128(bytes), lanes, output);
      if (rows > 1) StoreBytes(_mm512_extracti32x4_epi32(bytes, 1), lanes, output + stride);
      if (rows > 2) StoreBytes(_mm512_extracti32x4_epi32(bytes, 2), lanes, output + 2 * stride);
      if (rows > 3) StoreBytes(_mm512_extracti32x4_epi32(bytes, 3), lanes, output + 3 * stride);
    }
    return Unsure(least, full ? static_cast<__mmask16>(0xffff) : columns);
  }

  // Rows row..end-1, at most kMostRows. What is unsure is put right afterwards: a loop without exceptions runs ahead.
  static constexpr int kMostRows = 64 * kRows;
  template <bool full>
  DGMS_INLINE void Rows(const RequantizeArgs& args, int row, int end) const {
    const int64_t sums_stride = args.sums_row_stride, stride = args.output_row_stride;
    const int32_t* sums = args.sums + row * sums_stride + first;
    int8_t* output = args.output + row * stride + first;
    uint64_t unsure = 0;
    const int groups = (end - row) / kRows;
    for (int i = 0; i < groups; ++i, sums += kRows * sums_stride, output += kRows * stride) {
      unsure |= uint64_t{Group<kRows, full>(sums, sums_stride, output, stride)} << i;
    }
    for (; unsure != 0; unsure &= unsure - 1) {
      const int from = row + __builtin_ctzll(unsure) * kRows;
      for (int v = 0; v < vectors; ++v) RequantizeExactly(args, first + v * kLanes, from, from + kRows);
    }
    for (int r = row + groups * kRows; r < end; ++r, sums += sums_stride, output += stride) {
      if (!Group<1, full>(sums, sums_stride, output, stride)) continue;
      for (int v = 0; v < vectors; ++v) RequantizeExactly(args, first + v * kLanes, r, r + 1);
    }
  }

  // Whether a fraction is so small that float might have rounded to the wrong side; `lanes` of each vector count.
  static DGMS_INLINE bool Unsure(__m512i least, __mmask16 lanes) {
    const __m512i fractions = _mm512_slli_epi32(least, 32 - kFractionBits);
    return _mm512_mask_cmplt_epu32_mask(lanes, fractions, _mm512_set1_epi32(kUnsure << (32 - kFractionBits))) != 0;
  }

  // All rows, one way or the other.
  DGMS_INLINE void Run(const RequantizeArgs& args) const {
    if (!simple) {
      for (int v = 0; v < vectors; ++v) RequantizeExactly(args, first + v * kLanes, 0, args.rows);
      return;
    }
    for (int row = 0; row < args.rows; row += kMostRows) {
      const int end = args.rows - row > kMostRows ? row + kMostRows : args.rows;
      if (columns == 0xffff) {
        Rows<true>(args, row, end);
      } else if (vectors == 1) {
        Rows<false>(args, row, end);
      }
    }
  }
};

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_REQUANTIZE_S8_AVX512_H_
