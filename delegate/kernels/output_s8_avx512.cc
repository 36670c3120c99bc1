// From sums to outputs with AVX-512: sixteen columns at a time, all rows of a tile before the next sixteen.
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own intrinsics trip this warning (its bug 105593); our code is checked by the other compilers.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include "kernels/kernel_s8.h"
#include "kernels/requantize_s8_avx512.h"

namespace dgms {
namespace {

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

template <bool positive>
void RequantizeAll(const RequantizeArgs& args) {
  int j = 0;
  for (; j + 2 * kLanes <= args.n; j += 2 * kLanes) RequantizeColumns<2, positive>(args, j).Run(args);
  for (; j < args.n; j += kLanes) RequantizeColumns<1, positive>(args, j).Run(args);
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
