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

// Columns from j on (`vectors` vectors; the last one has `columns`) of sums that ByRowsArgs describes.
template <int vectors>
struct ByRowsColumns {
  int first;
  __mmask16 columns;
  __m512i column_sum[vectors];
  __m512 column_scale[vectors], bias[vectors];

  DGMS_INLINE ByRowsColumns(const ByRowsArgs& args, int j)
      : first(j), columns(First(args.n - j - (vectors - 1) * kLanes)) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v, j += kLanes) {
      column_sum[v] = _mm512_loadu_si512(args.column_sum + j);
      column_scale[v] = _mm512_loadu_ps(args.column_scale + j);
      bias[v] = _mm512_loadu_ps(args.bias + j);
    }
  }

  // Of rows that share an entry.
  struct Factors {
    __m512i to_subtract[vectors];
    __m512 scale[vectors];
  };
  DGMS_INLINE Factors FactorsOf(int32_t zero, float row_scale) const {
    Factors factors;
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) {
      factors.to_subtract[v] = _mm512_mullo_epi32(_mm512_set1_epi32(zero), column_sum[v]);
      factors.scale[v] = _mm512_mul_ps(_mm512_set1_ps(row_scale), column_scale[v]);
    }
    return factors;
  }

  DGMS_INLINE __m512 Real(const Factors& factors, __m512i sum, int v) const {
    const __m512 x = _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, factors.to_subtract[v]));
    return _mm512_add_ps(_mm512_mul_ps(x, factors.scale[v]), bias[v]);
  }

  // The lanes of vector v, if the last one is `full` or not.
  template <bool full>
  DGMS_INLINE __mmask16 Lanes(int v) const {
    return full || v + 1 < vectors ? static_cast<__mmask16>(0xffff) : columns;
  }
  template <bool full>
  DGMS_INLINE __m512i Sums(const int32_t* row, int v) const {
    return full || v + 1 < vectors ? _mm512_loadu_si512(row + v * kLanes)
                                   : _mm512_maskz_loadu_epi32(columns, row + v * kLanes);
  }

  // Calls run(factors, row, rows, sums of `row`) for rows that share an entry at a time.
  template <typename Run>
  DGMS_INLINE void ForRowsAlike(const ByRowsArgs& args, const Run& run) const {
    const int32_t* sums = args.sums + first;
    int64_t alike = args.first_rows;
    for (int row = 0, entry = 0, rows = 0; row < args.rows; row += rows, ++entry, alike = args.rows_each) {
      rows = args.rows - row < alike ? args.rows - row : static_cast<int>(alike);
      run(FactorsOf(args.zero[entry], args.scale[entry]), row, rows, sums);
      sums += rows * args.sums_row_stride;
    }
  }
};

template <int vectors, bool adds, bool clamps>
struct DequantizeColumns : ByRowsColumns<vectors> {
  using Base = ByRowsColumns<vectors>;
  using Base::Base;

  template <bool full>
  DGMS_INLINE void AllRows(const DequantizeArgs& args) const {
    const __m512 min = _mm512_set1_ps(args.min), max = _mm512_set1_ps(args.max);
    const int64_t sums_stride = args.sums_row_stride, stride = args.output_row_stride;
    const int64_t residual_stride = args.residual_row_stride;
    const float* residual = adds ? args.residual + Base::first : nullptr;
    float* output = args.output + Base::first;
    const auto run = [&](const typename Base::Factors& factors, int, int rows, const int32_t* sums) {
      for (; rows > 0; --rows, sums += sums_stride, output += stride) {
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) {
          const __mmask16 lanes = Base::template Lanes<full>(v);
          __m512 y = Base::Real(factors, Base::template Sums<full>(sums, v), v);
          if (adds) y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(lanes, residual + v * kLanes));
          // NaN passes: max and min return their second operand if either is NaN.
          if (clamps) y = _mm512_min_ps(max, _mm512_max_ps(min, y));
          if (full || v + 1 < vectors) {
            _mm512_storeu_ps(output + v * kLanes, y);
          } else {
            _mm512_mask_storeu_ps(output + v * kLanes, lanes, y);
          }
        }
        if (adds) residual += residual_stride;
      }
    };
    Base::ForRowsAlike(args, run);
  }

  DGMS_INLINE void Run(const DequantizeArgs& args) const {
    Base::columns == 0xffff ? AllRows<true>(args) : AllRows<false>(args);
  }
};

template <bool adds, bool clamps>
void Dequantize(const DequantizeArgs& args) {
  int j = 0;
  for (; j + kLanes < args.n; j += 2 * kLanes) DequantizeColumns<2, adds, clamps>(args, j).Run(args);
  if (j < args.n) DequantizeColumns<1, adds, clamps>(args, j).Run(args);
}

template <int vectors>
struct RescaleColumns : ByRowsColumns<vectors> {
  using Base = ByRowsColumns<vectors>;
  using Factors = typename Base::Factors;
  using Base::Base;
  static constexpr int kRows = kGroup / vectors;

  // Whether no real number is NaN or beyond what an int32 holds: sums by a quarter are up to 2^29.
  DGMS_INLINE bool Bounded(const Factors& factors) const {
    const __m512 most_scale = _mm512_set1_ps(0.25f), most_bias = _mm512_set1_ps(1073741824.0f);  // 2^30
    __mmask16 bounded = 0xffff;
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) {
      bounded &= _mm512_cmp_ps_mask(_mm512_abs_ps(factors.scale[v]), most_scale, _CMP_LE_OQ) &
                 _mm512_cmp_ps_mask(_mm512_abs_ps(Base::bias[v]), most_bias, _CMP_LE_OQ);
    }
    return bounded == 0xffff;
  }

  // `rows` rows, at most kRows.
  template <int rows, bool full, bool bounded>
  DGMS_INLINE void Group(const Factors& factors, const int32_t* sums, int64_t sums_stride, int8_t* output,
                         int64_t stride) const {
    __m512i q[kGroup];
#pragma GCC unroll 4
    for (int i = 0; i < rows * vectors; ++i) {
      const int v = i % vectors;
      const __m512 y = Base::Real(factors, Base::template Sums<full>(sums + i / vectors * sums_stride, v), v);
      // The minimum returns its second operand if that is NaN, which becomes INT32_MIN, as what is less than that does.
      q[i] = _mm512_cvtps_epi32(bounded ? y : _mm512_min_ps(_mm512_set1_ps(255.0f), y));
    }
#pragma GCC unroll 4
    for (int i = rows * vectors; i < kGroup; ++i) q[i] = q[0];
    // Packing saturates, and works within quarters of the vectors: quarter i has four numbers of each.
    __m512i bytes = _mm512_packus_epi16(_mm512_packs_epi32(q[0], q[1]), _mm512_packs_epi32(q[2], q[3]));
    bytes = _mm512_xor_si512(bytes, _mm512_set1_epi8(INT8_MIN));
    bytes = _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), bytes);
    if (full && vectors == 2) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(output), _mm512_castsi512_si256(bytes));
      if (rows == 2) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(output + stride), _mm512_extracti64x4_epi64(bytes, 1));
      }
      return;
    }
    const __m128i quarter[kGroup] = {_mm512_castsi512_si128(bytes), _mm512_extracti32x4_epi32(bytes, 1),
                                     _mm512_extracti32x4_epi32(bytes, 2), _mm512_extracti32x4_epi32(bytes, 3)};
#pragma GCC unroll 4
    for (int i = 0; i < rows * vectors; ++i) {
      const int v = i % vectors;
      StoreBytes(quarter[i], Base::template Lanes<full>(v), output + i / vectors * stride + v * kLanes);
    }
  }

  template <bool full, bool bounded>
  DGMS_INLINE void Rows(const Factors& factors, int rows, const int32_t* sums, int64_t sums_stride, int8_t* output,
                        int64_t stride) const {
    for (; rows >= kRows; rows -= kRows, sums += kRows * sums_stride, output += kRows * stride) {
      Group<kRows, full, bounded>(factors, sums, sums_stride, output, stride);
    }
    for (; rows > 0; --rows, sums += sums_stride, output += stride) {
      Group<1, full, bounded>(factors, sums, sums_stride, output, stride);
    }
  }

  template <bool full>
  DGMS_INLINE void AllRows(const RescaleRowsArgs& args) const {
    const int64_t sums_stride = args.sums_row_stride, stride = args.output_row_stride;
    int8_t* const output = args.output + Base::first;
    Base::ForRowsAlike(args, [&](const Factors& factors, int row, int rows, const int32_t* sums) {
      if (Bounded(factors)) {
        Rows<full, true>(factors, rows, sums, sums_stride, output + row * stride, stride);
      } else {
        Rows<full, false>(factors, rows, sums, sums_stride, output + row * stride, stride);
      }
    });
  }

  DGMS_INLINE void Run(const RescaleRowsArgs& args) const {
    Base::columns == 0xffff ? AllRows<true>(args) : AllRows<false>(args);
  }
};

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

void s8_output_avx512_rescale_rows(const RescaleRowsArgs& args) {
  int j = 0;
  for (; j + kLanes < args.n; j += 2 * kLanes) RescaleColumns<2>(args, j).Run(args);
  if (j < args.n) RescaleColumns<1>(args, j).Run(args);
}

}  // namespace dgms
