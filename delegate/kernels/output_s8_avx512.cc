// From sums to outputs with AVX-512: sixteen columns at a time, all rows of a tile before the next sixteen.
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own intrinsics trip this warning (its bug 105593); our code is checked by the other compilers.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
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

// Eight products in double, rounded to integers with halves away from zero.
DGMS_INLINE __m256i Rounded(__m256i x, __m512d factor) {
  const __m512d most = _mm512_set1_pd(1073741824.0);
  __m512d product = _mm512_mul_pd(_mm512_cvtepi32_pd(x), factor);
  product = _mm512_min_pd(_mm512_max_pd(product, _mm512_set1_pd(-1073741824.0)), most);
  const __m256i whole = _mm512_cvttpd_epi32(product);
  const __m512d rest = _mm512_sub_pd(product, _mm512_cvtepi32_pd(whole));  // exact
  const __mmask8 up = _mm512_cmp_pd_mask(rest, _mm512_set1_pd(0.5), _CMP_GE_OQ);
  const __mmask8 down = _mm512_cmp_pd_mask(rest, _mm512_set1_pd(-0.5), _CMP_LE_OQ);
  const __m256i one = _mm256_set1_epi32(1);
  return _mm256_mask_sub_epi32(_mm256_mask_add_epi32(whole, up, whole, one), down, whole, one);
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
__attribute__((noinline)) void RequantizeExactly(const RequantizeArgs& args, int j, int row, int end) {
  const ByteStore store(args.zero, args.min, args.max);
  const __mmask16 columns = First(args.n - j);
  const __m512i bias = _mm512_loadu_si512(args.bias + j), multiplier = _mm512_loadu_si512(args.multiplier + j);
  const __m512i left = _mm512_loadu_si512(args.left + j), right = _mm512_loadu_si512(args.right + j);
  const __m512i odd_multiplier = _mm512_srli_epi64(multiplier, 32), one = _mm512_set1_epi32(1);
  const __m512i mask = _mm512_sub_epi32(_mm512_sllv_epi32(one, right), one);
  for (; row < end; ++row) {
    const __m512i sums = _mm512_maskz_loadu_epi32(columns, args.sums + row * args.sums_row_stride + j);
    const __m512i x = _mm512_sllv_epi32(_mm512_add_epi32(sums, bias), left);
    const __m512i high = HighProduct(x, multiplier, odd_multiplier);
    store(RoundingShiftRight(high, right, mask), columns, args.output + row * args.output_row_stride + j);
  }
}

// Requantises in float where that cannot make a difference: requantize_s8.h says why.

// Four vectors of sums at a time, which become one of bytes: two vectors of two rows, or one of four.
constexpr int kGroup = 4;

// `vectors` vectors of columns from `first` on. With `positive`, negative outputs are clamped to the zero point or
// above anyway, and every sum counts as positive: the zero point then goes into the offset.
template <int vectors, bool positive>
struct RequantizeColumns {
  static constexpr int kRows = kGroup / vectors;
  int first;
  __mmask16 columns;  // of the last vector; those before are full
  bool near_enough = true, clamp;
  __m512i bias[vectors];
  __m512 scale[vectors], offset[vectors];
  __m512i zero, min, max;

  DGMS_INLINE RequantizeColumns(const RequantizeArgs& args, int j)
      : first(j),
        columns(First(args.n - j - (vectors - 1) * kLanes)),
        clamp(args.min > -128 || args.max < 127),
        zero(_mm512_set1_epi16(static_cast<int16_t>(args.zero))),
        min(_mm512_set1_epi8(static_cast<char>(args.min))),
        max(_mm512_set1_epi8(static_cast<char>(args.max))) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v, j += kLanes) {
      const __m512i left = _mm512_loadu_si512(args.left + j), right = _mm512_loadu_si512(args.right + j);
      const __mmask16 unfit = _mm512_test_epi32_mask(left, left) | _mm512_testn_epi32_mask(right, right);
      near_enough = near_enough && (unfit & (v + 1 < vectors ? 0xffff : columns)) == 0;
      bias[v] = _mm512_loadu_si512(args.bias + j);
      // 2^-(right + 1) and 2^-(31 + right), made from their exponents.
      const __m512i exponent = _mm512_slli_epi32(_mm512_sub_epi32(_mm512_set1_epi32(127 - 1), right), 23);
      const __m512 power = _mm512_castsi512_ps(_mm512_sub_epi32(exponent, _mm512_set1_epi32(30 << 23)));
      scale[v] = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(args.multiplier + j)), power);
      offset[v] = _mm512_castsi512_ps(exponent);
      if (positive) offset[v] = _mm512_add_ps(offset[v], _mm512_set1_ps(static_cast<float>(args.zero)));
    }
  }

  DGMS_INLINE __m512 Scaled(__m512i x, int v) const {
    __m512 to_add = offset[v];
    if (!positive) {
      const __m512i sign = _mm512_set1_epi32(INT32_MIN);
      to_add = _mm512_castsi512_ps(_mm512_ternarylogic_epi32(x, sign, _mm512_castps_si512(to_add),
                                                             (0xf0 & 0xcc) | 0xaa));  // (x & sign) | to_add
    }
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(x), scale[v], to_add);
  }

  // kRows rows, or the last few.
  template <int rows, bool full>
  DGMS_INLINE void Group(const RequantizeArgs& args, int row) const {
    const int32_t* sums = args.sums + row * args.sums_row_stride + first;
    __m512i y[kGroup];
    __m512 farthest = _mm512_setzero_ps();
#pragma GCC unroll 4
    for (int i = 0; i < rows * vectors; ++i) {
      const int32_t* at = sums + i / vectors * args.sums_row_stride + i % vectors * kLanes;
      const __m512i sum = full ? _mm512_loadu_si512(at) : _mm512_maskz_loadu_epi32(columns, at);
      const __m512 q = Scaled(_mm512_add_epi32(sum, bias[i % vectors]), i % vectors);
      y[i] = _mm512_cvtps_epi32(q);
      // The larger one of the two magnitudes.
      farthest = _mm512_range_ps(farthest, _mm512_sub_ps(q, _mm512_cvtepi32_ps(y[i])), 0x0b);
    }
    const __mmask16 lanes = full ? static_cast<__mmask16>(0xffff) : columns;
    if (_mm512_mask_cmp_ps_mask(lanes, farthest, _mm512_set1_ps(kSurelyRounded), _CMP_NLT_UQ) != 0) {
      for (int v = 0; v < vectors; ++v) RequantizeExactly(args, first + v * kLanes, row, row + rows);
      return;
    }
#pragma GCC unroll 4
    for (int i = rows * vectors; i < kGroup; ++i) y[i] = y[0];
    __m512i low = _mm512_packs_epi32(y[0], y[1]), high = _mm512_packs_epi32(y[2], y[3]);
    if (!positive) {
      low = _mm512_adds_epi16(low, zero);
      high = _mm512_adds_epi16(high, zero);
    }
    __m512i bytes = _mm512_packs_epi16(low, high);
    if (clamp) bytes = _mm512_min_epi8(_mm512_max_epi8(bytes, min), max);
    // Packing works within quarters of the vectors: quarter i has four columns of each.
    const __m512i by_row = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    bytes = _mm512_permutexvar_epi32(by_row, bytes);
    int8_t* output = args.output + row * args.output_row_stride + first;
    const int64_t stride = args.output_row_stride;
    if (vectors == 2) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(output), _mm512_castsi512_si256(bytes));
      if (rows > 1) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(output + stride), _mm512_extracti64x4_epi64(bytes, 1));
      }
    } else {
      StoreBytes(_mm512_castsi512_si128(bytes), lanes, output);
      if (rows > 1) StoreBytes(_mm512_extracti32x4_epi32(bytes, 1), lanes, output + stride);
      if (rows > 2) StoreBytes(_mm512_extracti32x4_epi32(bytes, 2), lanes, output + 2 * stride);
      if (rows > 3) StoreBytes(_mm512_extracti32x4_epi32(bytes, 3), lanes, output + 3 * stride);
    }
  }

  template <bool full>
  DGMS_INLINE void Rows(const RequantizeArgs& args) const {
    int r = 0;
    for (; r + kRows <= args.rows; r += kRows) Group<kRows, full>(args, r);
    for (; r < args.rows; ++r) Group<1, full>(args, r);
  }
};

// The vectors from column j on.
template <int vectors, bool positive>
void Requantize(const RequantizeArgs& args, int j) {
  const RequantizeColumns<vectors, positive> columns(args, j);
  if (!columns.near_enough) {
    for (int v = 0; v < vectors; ++v) RequantizeExactly(args, j + v * kLanes, 0, args.rows);
  } else if (columns.columns == 0xffff) {
    columns.template Rows<true>(args);
  } else if (vectors == 1) {
    columns.template Rows<false>(args);
  }
}

template <bool positive>
void RequantizeAll(const RequantizeArgs& args) {
  int j = 0;
  for (; j + 2 * kLanes <= args.n; j += 2 * kLanes) Requantize<2, positive>(args, j);
  for (; j < args.n; j += kLanes) Requantize<1, positive>(args, j);
}

template <bool adds, bool clamps>
void Dequantize(const DequantizeArgs& args) {
  const __m512 min = _mm512_set1_ps(args.min), max = _mm512_set1_ps(args.max);
  for (int j = 0; j < args.n; j += kLanes) {
    const __mmask16 columns = First(args.n - j);
    const __m512i column_sum = _mm512_loadu_si512(args.column_sum + j);
    const __m512 column_scale = _mm512_loadu_ps(args.column_scale + j), bias = _mm512_loadu_ps(args.bias + j);
    const int32_t* sums = args.sums + j;
    const float* residual = adds ? args.residual + j : nullptr;
    float* output = args.output + j;
    // What depends on the rows' quantisation is computed once for all rows that share it.
    __m512i to_subtract = _mm512_setzero_si512();
    __m512 scale = _mm512_setzero_ps();
    int64_t alike = 0, next_alike = args.first_rows, entry = 0;
    for (int r = 0; r < args.rows; ++r, sums += args.sums_row_stride, output += args.output_row_stride, --alike) {
      if (alike == 0) {
        to_subtract = _mm512_mullo_epi32(_mm512_set1_epi32(args.zero[entry]), column_sum);
        scale = _mm512_mul_ps(_mm512_set1_ps(args.scale[entry]), column_scale);
        alike = next_alike;
        next_alike = args.rows_each;
        ++entry;
      }
      const __m512i sum = _mm512_sub_epi32(_mm512_maskz_loadu_epi32(columns, sums), to_subtract);
      __m512 y = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale), bias);
      if (adds) {
        y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(columns, residual));
        residual += args.residual_row_stride;
      }
      // NaN passes: max and min return their second operand if either is NaN.
      if (clamps) y = _mm512_min_ps(max, _mm512_max_ps(min, y));
      if (columns == 0xffff) {
        _mm512_storeu_ps(output, y);
      } else {
        _mm512_mask_storeu_ps(output, columns, y);
      }
    }
  }
}

}  // namespace

void s8_output_avx512_requantize(const RequantizeArgs& args) {
  args.min >= args.zero ? RequantizeAll<true>(args) : RequantizeAll<false>(args);
}

void s8_output_avx512_rescale(const RescaleArgs& args) {
  const ByteStore store(args.zero, args.min, args.max);
  for (int j = 0; j < args.n; j += kLanes) {
    const __mmask16 columns = First(args.n - j);
    const __m512i bias = _mm512_loadu_si512(args.bias + j);
    const __m512d low = _mm512_loadu_pd(args.factor + j), high = _mm512_loadu_pd(args.factor + j + kLanes / 2);
    const int32_t* sums = args.sums + j;
    int8_t* output = args.output + j;
    for (int r = 0; r < args.rows; ++r, sums += args.sums_row_stride, output += args.output_row_stride) {
      const __m512i x = _mm512_add_epi32(_mm512_maskz_loadu_epi32(columns, sums), bias);
      const __m256i first = Rounded(_mm512_castsi512_si256(x), low);
      const __m256i second = Rounded(_mm512_extracti64x4_epi64(x, 1), high);
      store(_mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1), columns, output);
    }
  }
}

void s8_output_avx512_dequantize(const DequantizeArgs& args) {
  const bool clamps = args.min > -__builtin_inff() || args.max < __builtin_inff();
  if (args.residual != nullptr) {
    (clamps ? Dequantize<true, true> : Dequantize<true, false>)(args);
  } else {
    (clamps ? Dequantize<false, true> : Dequantize<false, false>)(args);
  }
}

}  // namespace dgms
