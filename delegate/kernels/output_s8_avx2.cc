// From sums to outputs with AVX2: eight columns at a time, all rows of a tile before the next eight. The last columns
// are computed in full vectors (the arrays may be read that far, see kernel_s8.h) and stored one by one.
#include <immintrin.h>
#include <string.h>

#include "kernels/kernel_s8.h"
#include "kernels/requantize_s8.h"
#include "kernels/rescale_rows_s8.h"

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

// The first `count` of eight bytes.
DGMS_INLINE void StoreBytes(__m128i eight, int count, int8_t* output) {
  if (count == kLanes) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(output), eight);
  } else {
    int8_t all[2 * kLanes];
    _mm_storeu_si128(reinterpret_cast<__m128i*>(all), eight);
    memcpy(output, all, static_cast<size_t>(count));
  }
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
    StoreBytes(eight, count, output);
  }
};

// The 64-bit way, for rows row..end-1 of eight columns. Not inline, and all loaded anew: it is rare, and must not take
// the registers of what is not.
__attribute__((noinline)) void RequantizeExactly(const RequantizeArgs& args, int j, int row, int end) {
  const ByteStore store(args.zero, args.min, args.max);
  const int count = args.n - j < kLanes ? args.n - j : kLanes;
  const __m256i bias = Load(args.bias + j), multiplier = Load(args.multiplier + j);
  const __m256i left = Load(args.left + j), right = Load(args.right + j), one = _mm256_set1_epi32(1);
  const __m256i mask = _mm256_sub_epi32(_mm256_sllv_epi32(one, right), one);
  for (; row < end; ++row) {
    const __m256i sums = LoadFirst(args.sums + row * args.sums_row_stride + j, count);
    const __m256i high = HighProduct(_mm256_sllv_epi32(_mm256_add_epi32(sums, bias), left), multiplier);
    store(RoundingShiftRight(high, right, mask), count, args.output + row * args.output_row_stride + j);
  }
}

// Requantises in float where that cannot make a difference: requantize_s8.h says why.
constexpr int kGroup = 4;  // rows whose bytes are packed and stored together

struct RequantizeColumns {
  int first, count;
  bool near_enough;
  __m256i bias;
  __m256 scale, offset;
  __m256i zero, min, max;

  DGMS_INLINE RequantizeColumns(const RequantizeArgs& args, int j)
      : first(j),
        count(args.n - j < kLanes ? args.n - j : kLanes),
        bias(Load(args.bias + j)),
        zero(_mm256_set1_epi16(static_cast<int16_t>(args.zero))),
        min(_mm256_set1_epi8(static_cast<char>(args.min))),
        max(_mm256_set1_epi8(static_cast<char>(args.max))) {
    const __m256i left = Load(args.left + j), right = Load(args.right + j);
    const __m256i none = _mm256_setzero_si256();
    const __m256i unfit = _mm256_or_si256(_mm256_cmpgt_epi32(left, none), _mm256_cmpeq_epi32(right, none));
    near_enough = (static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(unfit))) & Mask()) == 0;
    // 2^-(31 + right) and 2^-(right + 1), made from their exponents.
    const __m256i exponent = _mm256_slli_epi32(_mm256_sub_epi32(_mm256_set1_epi32(127 - 1), right), 23);
    offset = _mm256_castsi256_ps(exponent);
    const __m256 power = _mm256_castsi256_ps(_mm256_sub_epi32(exponent, _mm256_set1_epi32(30 << 23)));
    scale = _mm256_mul_ps(_mm256_cvtepi32_ps(Load(args.multiplier + j)), power);
  }

  DGMS_INLINE unsigned Mask() const { return (1u << count) - 1u; }

  // Four rows, or the last few.
  template <int rows>
  DGMS_INLINE void Group(const RequantizeArgs& args, int row) const {
    const int32_t* sums = args.sums + row * args.sums_row_stride + first;
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256i y[kGroup];
    __m256 farthest = _mm256_setzero_ps();
#pragma GCC unroll 4
    for (int i = 0; i < rows; ++i) {
      const __m256i x = _mm256_add_epi32(LoadFirst(sums + i * args.sums_row_stride, count), bias);
      const __m256 signed_offset = _mm256_or_ps(_mm256_and_ps(_mm256_castsi256_ps(x), sign), offset);
      const __m256 q = _mm256_fmadd_ps(_mm256_cvtepi32_ps(x), scale, signed_offset);
      y[i] = _mm256_cvtps_epi32(q);
      const __m256 distance = _mm256_andnot_ps(sign, _mm256_sub_ps(q, _mm256_cvtepi32_ps(y[i])));
      farthest = _mm256_max_ps(farthest, distance);
    }
    const __m256 doubtful = _mm256_cmp_ps(farthest, _mm256_set1_ps(kSurelyRounded), _CMP_NLT_UQ);
    if ((static_cast<unsigned>(_mm256_movemask_ps(doubtful)) & Mask()) != 0)
      return RequantizeExactly(args, first, row, row + rows);
#pragma GCC unroll 4
    for (int i = rows; i < kGroup; ++i) y[i] = y[0];
    const __m256i low = _mm256_adds_epi16(_mm256_packs_epi32(y[0], y[1]), zero);
    const __m256i high = _mm256_adds_epi16(_mm256_packs_epi32(y[2], y[3]), zero);
    __m256i bytes = _mm256_packs_epi16(low, high);
    bytes = _mm256_min_epi8(_mm256_max_epi8(bytes, min), max);
    // Packing works within halves of the vector: half i has four columns of each row.
    bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    int8_t* output = args.output + row * args.output_row_stride + first;
    const int64_t stride = args.output_row_stride;
    const __m128i first_two = _mm256_castsi256_si128(bytes), last_two = _mm256_extracti128_si256(bytes, 1);
    StoreBytes(first_two, count, output);
    if (rows > 1) StoreBytes(_mm_unpackhi_epi64(first_two, first_two), count, output + stride);
    if (rows > 2) StoreBytes(last_two, count, output + 2 * stride);
    if (rows > 3) StoreBytes(_mm_unpackhi_epi64(last_two, last_two), count, output + 3 * stride);
  }
};

// Columns from j on (`vectors` vectors; the last one has `count`) to float.
template <int vectors, bool adds>
struct DequantizeColumns {
  int first, count;
  __m256i column_sum[vectors];
  __m256 column_scale[vectors], bias[vectors];

  DGMS_INLINE DequantizeColumns(const DequantizeArgs& args, int j)
      : first(j), count(args.n - j - (vectors - 1) * kLanes < kLanes ? args.n - j - (vectors - 1) * kLanes : kLanes) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v, j += kLanes) {
      column_sum[v] = Load(args.column_sum + j);
      column_scale[v] = _mm256_loadu_ps(args.column_scale + j);
      bias[v] = _mm256_loadu_ps(args.bias + j);
    }
  }

  template <bool full>
  DGMS_INLINE void AllRows(const DequantizeArgs& args) const {
    const __m256 min = _mm256_set1_ps(args.min), max = _mm256_set1_ps(args.max);
    const int32_t* sums = args.sums + first;
    const float* residual = adds ? args.residual + first : nullptr;
    float* output = args.output + first;
    int64_t alike = args.first_rows;
    for (int row = 0, entry = 0, rows = 0; row < args.rows; row += rows, ++entry, alike = args.rows_each) {
      rows = args.rows - row < alike ? args.rows - row : static_cast<int>(alike);
      __m256i to_subtract[vectors];
      __m256 scale[vectors];
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) {
        to_subtract[v] = _mm256_mullo_epi32(_mm256_set1_epi32(args.zero[entry]), column_sum[v]);
        scale[v] = _mm256_mul_ps(_mm256_set1_ps(args.scale[entry]), column_scale[v]);
      }
      for (int r = 0; r < rows; ++r, sums += args.sums_row_stride, output += args.output_row_stride) {
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) {
          const int lanes = full || v + 1 < vectors ? kLanes : count;
          const __m256i sum = _mm256_sub_epi32(LoadFirst(sums + v * kLanes, lanes), to_subtract[v]);
          __m256 y = _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale[v]), bias[v]);
          if (adds) {
            const auto* summand = reinterpret_cast<const int32_t*>(residual + v * kLanes);
            y = _mm256_add_ps(y, _mm256_castsi256_ps(LoadFirst(summand, lanes)));
          }
          // NaN passes: max and min return their second operand if either is NaN.
          y = _mm256_min_ps(max, _mm256_max_ps(min, y));
          if (lanes == kLanes) {
            _mm256_storeu_ps(output + v * kLanes, y);
          } else {
            float all[kLanes];
            _mm256_storeu_ps(all, y);
            memcpy(output + v * kLanes, all, static_cast<size_t>(lanes) * sizeof(float));
          }
        }
        if (adds) residual += args.residual_row_stride;
      }
    }
  }

  DGMS_INLINE void Run(const DequantizeArgs& args) const {
    count == kLanes ? AllRows<true>(args) : AllRows<false>(args);
  }
};

template <bool adds>
void DequantizeAll(const DequantizeArgs& args) {
  int j = 0;
  for (; j + kLanes < args.n; j += 2 * kLanes) DequantizeColumns<2, adds>(args, j).Run(args);
  if (j < args.n) DequantizeColumns<1, adds>(args, j).Run(args);
}

// Four rows of eight columns of bytes from 32-bit numbers that packing saturates, within halves of the vector: half i
// has four columns of each row.
struct RescaleColumns {
  int count;
  __m256i to_subtract;
  __m256 scale, bias;

  DGMS_INLINE RescaleColumns(const RescaleRowsArgs& args, int j)
      : count(args.n - j < kLanes ? args.n - j : kLanes),
        to_subtract(_mm256_mullo_epi32(_mm256_set1_epi32(args.zero[0]), Load(args.column_sum + j))),
        scale(_mm256_mul_ps(_mm256_set1_ps(args.scale[0]), _mm256_loadu_ps(args.column_scale + j))),
        bias(_mm256_loadu_ps(args.bias + j)) {}

  template <int rows>
  DGMS_INLINE void Group(const int32_t* sums, int64_t sums_stride, int8_t* output, int64_t stride) const {
    __m256i q[kGroup];
#pragma GCC unroll 4
    for (int i = 0; i < rows; ++i) {
      const __m256i sum = _mm256_sub_epi32(LoadFirst(sums + i * sums_stride, count), to_subtract);
      const __m256 y = _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale), bias);
      // The minimum returns its second operand if that is NaN, which becomes INT32_MIN, as what is less than that does.
      q[i] = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_set1_ps(255.0f), y));
    }
#pragma GCC unroll 4
    for (int i = rows; i < kGroup; ++i) q[i] = q[0];
    __m256i bytes = _mm256_packus_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
    bytes = _mm256_xor_si256(bytes, _mm256_set1_epi8(INT8_MIN));
    bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    const __m128i first_two = _mm256_castsi256_si128(bytes), last_two = _mm256_extracti128_si256(bytes, 1);
    StoreBytes(first_two, count, output);
    if (rows > 1) StoreBytes(_mm_unpackhi_epi64(first_two, first_two), count, output + stride);
    if (rows > 2) StoreBytes(last_two, count, output + 2 * stride);
    if (rows > 3) StoreBytes(_mm_unpackhi_epi64(last_two, last_two), count, output + 3 * stride);
  }

  DGMS_INLINE void Run(const RescaleRowsArgs& args, int j) const {
    const int64_t sums_stride = args.sums_row_stride, stride = args.output_row_stride;
    const int32_t* sums = args.sums + j;
    int8_t* output = args.output + j;
    int r = 0;
    for (; r + kGroup <= args.rows; r += kGroup, sums += kGroup * sums_stride, output += kGroup * stride) {
      Group<kGroup>(sums, sums_stride, output, stride);
    }
    for (; r < args.rows; ++r, sums += sums_stride, output += stride) Group<1>(sums, sums_stride, output, stride);
  }
};

}  // namespace

void s8_output_avx2_requantize(const RequantizeArgs& args) {
  for (int j = 0; j < args.n; j += kLanes) {
    const RequantizeColumns columns(args, j);
    if (columns.near_enough) {
      int r = 0;
      for (; r + kGroup <= args.rows; r += kGroup) columns.Group<kGroup>(args, r);
      if (args.rows - r == 3) columns.Group<3>(args, r);
      if (args.rows - r == 2) columns.Group<2>(args, r);
      if (args.rows - r == 1) columns.Group<1>(args, r);
    } else {
      RequantizeExactly(args, j, 0, args.rows);
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
  (args.residual != nullptr ? DequantizeAll<true> : DequantizeAll<false>)(args);
}

void s8_output_avx2_rescale_rows(const RescaleRowsArgs& args) {
  ForRowsAlike(args, [](const RescaleRowsArgs& alike) {
    for (int j = 0; j < alike.n; j += kLanes) RescaleColumns(alike, j).Run(alike, j);
  });
}

}  // namespace dgms
