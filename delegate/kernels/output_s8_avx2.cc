// From sums to outputs with AVX2: eight columns at a time, all rows of a tile before the next eight. The last columns
// are computed in full vectors (the arrays may be read that far, see kernel_s8.h) and stored one by one.
#include <immintrin.h>
#include <string.h>

#include "kernels/kernel_s8.h"

#define DGMS_INLINE inline __attribute__((always_inline))

namespace dgms {
namespace {

constexpr int kLanes = 8;

DGMS_INLINE __m256i Load(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

DGMS_INLINE __m256i LoadFirst(const int32_t* p, int count) {
  if (count >= kLanes) return Load(p);
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_maskload_epi32(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lanes));
}

// (x * multiplier + 2^30) >> 31 of each lane: 64-bit products of the even lanes and of the odd ones.
DGMS_INLINE __m256i HighProduct(__m256i x, __m256i multiplier) {
  const __m256i half = _mm256_set1_epi64x(int64_t{1} << 30);
  const __m256i even = _mm256_add_epi64(_mm256_mul_epi32(x, multiplier), half);
  const __m256i odd =
      _mm256_add_epi64(_mm256_mul_epi32(_mm256_srli_epi64(x, 32), _mm256_srli_epi64(multiplier, 32)), half);
  // Bits 31..62 are the result: they come to the low half of the even lanes and to the high half of the odd ones.
  return _mm256_blend_epi32(_mm256_srli_epi64(even, 31), _mm256_slli_epi64(odd, 1), 0xaa);
}

// x / 2^right, halves away from zero; mask = 2^right - 1.
DGMS_INLINE __m256i RoundingShiftRight(__m256i x, __m256i right, __m256i mask) {
  const __m256i threshold = _mm256_sub_epi32(_mm256_srli_epi32(mask, 1), _mm256_srai_epi32(x, 31));
  const __m256i up = _mm256_cmpgt_epi32(_mm256_and_si256(x, mask), threshold);  // -1 where it rounds up
  return _mm256_sub_epi32(_mm256_srav_epi32(x, right), up);
}

// Four products in double, rounded to integers with halves away from zero.
DGMS_INLINE __m128i Rounded(__m128i x, __m256d factor) {
  const __m256d most = _mm256_set1_pd(1073741824.0);
  __m256d product = _mm256_mul_pd(_mm256_cvtepi32_pd(x), factor);
  product = _mm256_min_pd(_mm256_max_pd(product, _mm256_sub_pd(_mm256_setzero_pd(), most)), most);
  const __m256d whole = _mm256_round_pd(product, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
  const __m256d rest = _mm256_sub_pd(product, whole);  // exact
  const __m256d one = _mm256_set1_pd(1.0), half = _mm256_set1_pd(0.5);
  const __m256d up = _mm256_and_pd(_mm256_cmp_pd(rest, half, _CMP_GE_OQ), one);
  const __m256d down = _mm256_and_pd(_mm256_cmp_pd(rest, _mm256_sub_pd(_mm256_setzero_pd(), half), _CMP_LE_OQ), one);
  return _mm256_cvttpd_epi32(_mm256_add_pd(whole, _mm256_sub_pd(up, down)));
}

// The low bytes of the first `count` lanes of x + zero, clamped.
struct ByteStore {
  __m256i zero, min, max;
  DGMS_INLINE ByteStore(int32_t zero_, int32_t min_, int32_t max_)
      : zero(_mm256_set1_epi32(zero_)), min(_mm256_set1_epi32(min_)), max(_mm256_set1_epi32(max_)) {}
  DGMS_INLINE void operator()(__m256i x, int count, int8_t* output) const {
    const __m256i gather = _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,  //
                                            0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const __m256i y = _mm256_min_epi32(_mm256_max_epi32(_mm256_add_epi32(x, zero), min), max);
    const __m256i bytes = _mm256_shuffle_epi8(y, gather);
    const __m128i eight = _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
    if (count == kLanes) {
      _mm_storel_epi64(reinterpret_cast<__m128i*>(output), eight);
    } else {
      int8_t all[2 * kLanes];
      _mm_storeu_si128(reinterpret_cast<__m128i*>(all), eight);
      memcpy(output, all, static_cast<size_t>(count));
    }
  }
};

}  // namespace

void s8_output_avx2_requantize(const RequantizeArgs& args) {
  const ByteStore store(args.zero, args.min, args.max);
  for (int j = 0; j < args.n; j += kLanes) {
    const int count = args.n - j < kLanes ? args.n - j : kLanes;
    const __m256i bias = Load(args.bias + j), multiplier = Load(args.multiplier + j);
    const __m256i left = Load(args.left + j), right = Load(args.right + j);
    const __m256i one = _mm256_set1_epi32(1);
    const __m256i mask = _mm256_sub_epi32(_mm256_sllv_epi32(one, right), one);
    const int32_t* sums = args.sums + j;
    int8_t* output = args.output + j;
    for (int r = 0; r < args.rows; ++r, sums += args.sums_row_stride, output += args.output_row_stride) {
      const __m256i x = _mm256_sllv_epi32(_mm256_add_epi32(LoadFirst(sums, count), bias), left);
      store(RoundingShiftRight(HighProduct(x, multiplier), right, mask), count, output);
    }
  }
}

void s8_output_avx2_rescale(const RescaleArgs& args) {
  const ByteStore store(args.zero, args.min, args.max);
  for (int j = 0; j < args.n; j += kLanes) {
    const int count = args.n - j < kLanes ? args.n - j : kLanes;
    const __m256i bias = Load(args.bias + j);
    const __m256d low = _mm256_loadu_pd(args.factor + j), high = _mm256_loadu_pd(args.factor + j + kLanes / 2);
    const int32_t* sums = args.sums + j;
    int8_t* output = args.output + j;
    for (int r = 0; r < args.rows; ++r, sums += args.sums_row_stride, output += args.output_row_stride) {
      const __m256i x = _mm256_add_epi32(LoadFirst(sums, count), bias);
      store(_mm256_set_m128i(Rounded(_mm256_extracti128_si256(x, 1), high), Rounded(_mm256_castsi256_si128(x), low)),
            count, output);
    }
  }
}

void s8_output_avx2_dequantize(const DequantizeArgs& args) {
  const __m256 min = _mm256_set1_ps(args.min), max = _mm256_set1_ps(args.max);
  for (int j = 0; j < args.n; j += kLanes) {
    const int count = args.n - j < kLanes ? args.n - j : kLanes;
    const __m256i column_sum = Load(args.column_sum + j);
    const __m256 column_scale = _mm256_loadu_ps(args.column_scale + j), bias = _mm256_loadu_ps(args.bias + j);
    const int32_t* sums = args.sums + j;
    float* output = args.output + j;
    for (int r = 0; r < args.rows; ++r, sums += args.sums_row_stride, output += args.output_row_stride) {
      const __m256i zero = _mm256_set1_epi32(args.row_zero[r * args.row_step]);
      const __m256 scale = _mm256_mul_ps(_mm256_set1_ps(args.row_scale[r * args.row_step]), column_scale);
      const __m256i sum = _mm256_sub_epi32(LoadFirst(sums, count), _mm256_mullo_epi32(zero, column_sum));
      __m256 y = _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale), bias);
      // NaN passes: max and min return their second operand if either is NaN.
      y = _mm256_min_ps(max, _mm256_max_ps(min, y));
      if (count == kLanes) {
        _mm256_storeu_ps(output, y);
      } else {
        float all[kLanes];
        _mm256_storeu_ps(all, y);
        memcpy(output, all, static_cast<size_t>(count) * sizeof(float));
      }
    }
  }
}

}  // namespace dgms
