// int8 operators without weights whose loops compilers make poor vectors of, by hand for AVX-512. For
// pointwise_avx512.cc only.
#ifndef DGMS_KERNELS_POINTWISE_S8_AVX512_H_
#define DGMS_KERNELS_POINTWISE_S8_AVX512_H_

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own intrinsics trip this warning (its bug 105593); our code is checked by the other compilers.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include <utility>

#include "kernels/fixed_sum_s8.h"
#include "kernels/pointwise.h"

namespace dgms {
namespace {

// 64 bytes; or 16 of them four times; or one for all.
template <int step, int count>
DGMS_INLINE __m512i LoadOrRepeat(const int8_t* p) {
  if (step == 0) return _mm512_set1_epi8(*p);
  if (count == kPiece) return _mm512_loadu_si512(p);
  return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

// The bytes of four vectors of doublewords in their order, saturated; `low` and `high` are two of them each, packed to
// words. Packing works within quarters of vectors: doublewords 0, 4, 8 and 12 are the first 16 bytes.
DGMS_INLINE __m512i PackWords(__m512i low, __m512i high) {
  const __m512i in_order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_permutexvar_epi32(in_order, _mm512_packs_epi16(low, high));
}

// Steps are rounded by half a unit, and there are up to 128 of each; the start by another half. Their high part, below,
// has 13 bits behind the point, and two before.
using FixedSum = FixedSumS8<21, 21, 129, 3>;

// A step of 24 bits, high * 2^8 + low, as the two factors of 16 bits that one instruction multiplies with.
DGMS_INLINE __m512i Factors(int32_t a, int32_t b) {
  return _mm512_set1_epi32(static_cast<int32_t>(static_cast<uint32_t>(b) << 16 | (static_cast<uint32_t>(a) & 0xffffu)));
}

struct SumAvx512 {
  __m512i high, low, start, unsure, min, max;

  SumAvx512(const AddS8Args& args, const FixedSum& fixed)
      : high(Factors(fixed.a_step >> 8, fixed.b_step >> 8)),
        low(Factors(fixed.a_step & 255, fixed.b_step & 255)),
        start(_mm512_set1_epi32(fixed.start)),
        unsure(_mm512_set1_epi32(static_cast<int32_t>(fixed.unsure))),
        min(_mm512_set1_epi8(static_cast<char>(args.min))),
        max(_mm512_set1_epi8(static_cast<char>(args.max))) {}

  // `pairs` are sixteen times a and b, times 2^8; *least becomes the smallest fraction.
  DGMS_INLINE __m512i IntegerPart(__m512i pairs, __m512i* least) const {
    const __m512i high_part = _mm512_madd_epi16(pairs, high);
    const __m512i low_part = _mm512_madd_epi16(_mm512_srai_epi16(pairs, 8), low);
    const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(high_part, low_part), start);
    *least = _mm512_min_epu32(*least, _mm512_slli_epi32(sum, 32 - FixedSum::kFraction));
    return _mm512_srai_epi32(sum, FixedSum::kFraction);
  }

  // Within quarters of vectors, packing undoes what unpacking does: bytes keep their places. It saturates.
  DGMS_INLINE __m512i operator()(__m512i a, __m512i b, bool* sure) const {
    const __m512i zero = _mm512_setzero_si512();
    const __m512i low_pairs = _mm512_unpacklo_epi8(a, b), high_pairs = _mm512_unpackhi_epi8(a, b);
    __m512i least = _mm512_set1_epi32(-1);
    const __m512i first = _mm512_packs_epi32(IntegerPart(_mm512_unpacklo_epi8(zero, low_pairs), &least),
                                             IntegerPart(_mm512_unpackhi_epi8(zero, low_pairs), &least));
    const __m512i second = _mm512_packs_epi32(IntegerPart(_mm512_unpacklo_epi8(zero, high_pairs), &least),
                                              IntegerPart(_mm512_unpackhi_epi8(zero, high_pairs), &least));
    *sure = _mm512_cmplt_epu32_mask(least, unsure) == 0;
    return _mm512_min_epi8(_mm512_max_epi8(_mm512_packs_epi16(first, second), min), max);
  }
};

// Whether all results of a piece are sure. outputs_of(a, b, &sure) is one of the above.
template <int a_step, int b_step, typename Outputs>
DGMS_INLINE bool ComputePiece(const Outputs& outputs_of, const int8_t* x, const int8_t* y, int8_t* results, int count) {
  bool sure = true;
  if (count == kPiece) {
    const __m512i a = LoadOrRepeat<a_step, kPiece>(x), b = LoadOrRepeat<b_step, kPiece>(y);
    _mm512_storeu_si512(results, outputs_of(a, b, &sure));
  } else {
    const __m512i a = LoadOrRepeat<a_step, kShortPiece>(x), b = LoadOrRepeat<b_step, kShortPiece>(y);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(results), _mm512_castsi512_si128(outputs_of(a, b, &sure)));
  }
  return sure;
}

template <int a_step, int b_step>
void AddS8RowsAvx512(const AddS8Args& args, const FixedSum& fixed) {
  const SumAvx512 sum_of(args, fixed);
  ForEachBytePiece<a_step, b_step>(args.operands,
                                   [&](const int8_t* x, const int8_t* y, int8_t* results, int count) DGMS_INLINED {
                                     if (!ComputePiece<a_step, b_step>(sum_of, x, y, results, count)) {
                                       AddS8Exactly<a_step, b_step>(args, x, y, results, count);
                                     }
                                   });
}

void AddS8Avx512(const AddS8Args& args) {
  constexpr int32_t kLargestStep = 1 << 23;  // whose high part fits 16 bits
  const FixedSum fixed(args);
  if (!fixed.fits || fixed.a_step >= kLargestStep || fixed.b_step >= kLargestStep || fixed.b_step <= -kLargestStep) {
    return AddS8(args);
  }
  if (args.operands.a_step == 0) return AddS8RowsAvx512<0, 1>(args, fixed);
  if (args.operands.b_step == 0) return AddS8RowsAvx512<1, 0>(args, fixed);
  AddS8RowsAvx512<1, 1>(args, fixed);
}

// Products in float, for MulS8Args::near and what pointwise.h says of its `nudge`.
struct ProductAvx512 {
  __m512i a_zero, b_zero, nudge, zero, min, max;
  __m512 factor, sure;

  explicit ProductAvx512(const MulS8Args& args)
      : a_zero(_mm512_set1_epi16(static_cast<int16_t>(args.a_zero))),
        b_zero(_mm512_set1_epi16(static_cast<int16_t>(args.b_zero))),
        nudge(_mm512_set1_epi32(NudgeBits(args.factor))),
        zero(_mm512_set1_epi16(static_cast<int16_t>(args.zero))),
        min(_mm512_set1_epi8(static_cast<char>(args.min))),
        max(_mm512_set1_epi8(static_cast<char>(args.max))),
        factor(_mm512_set1_ps(args.factor_float)),
        sure(_mm512_set1_ps(0.5f - args.near.margin)) {}

  // The nearest integers; *farthest becomes the largest distance from them.
  DGMS_INLINE __m512i Nearest(__m512i product, __m512* farthest) const {
    const __m512i sign = _mm512_set1_epi32(INT32_MIN);
    const __m512 exact = _mm512_cvtepi32_ps(product);
    const __m512i signed_nudge = _mm512_ternarylogic_epi32(product, sign, nudge, (0xf0 & 0xcc) | 0xaa);
    const __m512 y = _mm512_fmadd_ps(exact, factor, _mm512_castsi512_ps(signed_nudge));
    const __m512i nearest = _mm512_cvtps_epi32(y);
    *farthest = _mm512_range_ps(*farthest, _mm512_sub_ps(y, _mm512_cvtepi32_ps(nearest)), 0x0b);
    return nearest;
  }

  // Words of a less its zero point, and of b.
  DGMS_INLINE __m512i Outputs(__m512i a, __m512i b, __m512* farthest) const {
    a = _mm512_sub_epi16(_mm512_srai_epi16(a, 8), a_zero);
    b = _mm512_sub_epi16(_mm512_srai_epi16(b, 8), b_zero);
    const __m512i low = _mm512_mullo_epi16(a, b), high = _mm512_mulhi_epi16(a, b);
    const __m512i first = Nearest(_mm512_unpacklo_epi16(low, high), farthest);
    return _mm512_adds_epi16(_mm512_packs_epi32(first, Nearest(_mm512_unpackhi_epi16(low, high), farthest)), zero);
  }

  // Packing undoes what unpacking does, as in SumAvx512.
  DGMS_INLINE __m512i operator()(__m512i a, __m512i b, bool* is_sure) const {
    const __m512i none = _mm512_setzero_si512();
    __m512 farthest = _mm512_setzero_ps();
    const __m512i first = Outputs(_mm512_unpacklo_epi8(none, a), _mm512_unpacklo_epi8(none, b), &farthest);
    const __m512i second = Outputs(_mm512_unpackhi_epi8(none, a), _mm512_unpackhi_epi8(none, b), &farthest);
    *is_sure = _mm512_cmp_ps_mask(farthest, sure, _CMP_NLE_UQ) == 0;
    return _mm512_min_epi8(_mm512_max_epi8(_mm512_packs_epi16(first, second), min), max);
  }
};

template <int a_step, int b_step>
void MulS8RowsAvx512(const MulS8Args& args) {
  const ProductAvx512 product_of(args);
  const SmallProduct product(args.factor);
  ForEachBytePiece<a_step, b_step>(args.operands,
                                   [&](const int8_t* x, const int8_t* y, int8_t* results, int count) DGMS_INLINED {
                                     if (!ComputePiece<a_step, b_step>(product_of, x, y, results, count)) {
                                       MulS8Exactly<a_step, b_step>(args, product, x, y, results, count);
                                     }
                                   });
}

// Products of many rows with one row (the scaling of channels), in integers. For a column, let
//     step = round(2^20 * (b - b_zero) * factor),  start = 2^20 * (zero + 1/2 +- nudge) - a_zero * step + kError:
// then the output is (a * step + start) >> 20, unless that sum's fraction is below 2 * kError: `step` is off by a half
// at most and |a - a_zero| is at most 255, so the sum without kError is off by 127.5 at most, and by another half where
// the nudge is no integer. The nudge (NudgeBits) has the product's sign, so there is a `start` for either sign of
// a - a_zero. Sums are right modulo 2^32, and fit it: |output| stays below 2^11 before it is clamped.
class ScaledRows {
 public:
  static constexpr int64_t kColumns = 512;  // that are prepared together
  static bool Fits(const MulS8Args& args) {
    const BinaryOperands<int8_t>& o = args.operands;
    return o.rows >= kMinRows && o.n >= kPiece && o.a_step == 1 && o.b_step == 1 && o.a_row_stride != 0 &&
           o.b_row_stride == 0 && args.factor.left == 0 && args.factor.right < 31 && args.factor_float <= kMaxFactor;
  }

  explicit ScaledRows(const MulS8Args& args) : args_(args), product_(args.factor) {}

  // Columns first..first+n-1, n a multiple of the vectors' elements or the row's rest, at least kPiece.
  template <bool any_sign>
  void Run(int64_t first, int64_t n) {
    const BinaryOperands<int8_t>& o = args_.operands;
    const int8_t* b = o.b + first;
    for (int64_t i = 0; i + kPiece < n; i += kPiece) Prepare(b, i);
    Prepare(b, n - kPiece);
    for (int64_t r = 0; r < o.rows; ++r) {
      const int8_t* a = o.a + r * o.a_row_stride + first;
      int8_t* output = o.output + r * o.n + first;
      // The last piece may overlap the one before, and the output may be `a`: it is computed first and stored last.
      int8_t last[kPiece];
      Piece<any_sign>(a, b, n - kPiece, last);
      for (int64_t i = 0; i + kPiece < n; i += kPiece) Piece<any_sign>(a, b, i, output + i);
      memcpy(output + n - kPiece, last, kPiece);
    }
  }

 private:
  static constexpr int kFraction = 20;
  static constexpr int32_t kError = 129;
  static constexpr int64_t kMinRows = 8;             // preparing a column costs about as much as four of its products
  static constexpr float kMaxFactor = 1.0f / 40.0f;  // 255^2 / 40 + 128 < 2^11
  static constexpr int kVector = 16;

  void Prepare(const int8_t* b, int64_t first) {
    const FixedFactor& factor = args_.factor;
    const __m512d scale = _mm512_set1_pd(static_cast<double>(factor.multiplier) *
                                         (1.0 / static_cast<double>(int64_t{1} << (31 - kFraction + factor.right))));
    const int32_t nudge_size = factor.right == 0 || factor.right >= kFraction ? 0 : 1 << (kFraction - 1 - factor.right);
    const __m512i nudge = _mm512_set1_epi32(nudge_size), b_zero = _mm512_set1_epi32(args_.b_zero);
    const __m512i a_zero = _mm512_set1_epi32(args_.a_zero);
    const __m512i offset = _mm512_set1_epi32(args_.zero * (1 << kFraction) + (1 << (kFraction - 1)) + kError);
    for (int64_t i = first; i < first + kPiece; i += kVector) {
      const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(b + i));
      const __m512i centred = _mm512_sub_epi32(_mm512_cvtepi8_epi32(bytes), b_zero);
      const __m512d low = _mm512_mul_pd(_mm512_cvtepi32_pd(_mm512_castsi512_si256(centred)), scale);
      const __m512d high = _mm512_mul_pd(_mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(centred, 1)), scale);
      const __m512i step =
          _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtpd_epi32(low)), _mm512_cvtpd_epi32(high), 1);
      const __mmask16 negative = _mm512_movepi32_mask(centred);
      const __m512i signed_nudge = _mm512_mask_sub_epi32(nudge, negative, _mm512_setzero_si512(), nudge);
      const __m512i start = _mm512_sub_epi32(offset, _mm512_mullo_epi32(a_zero, step));
      _mm512_storeu_si512(step_ + i, step);
      _mm512_storeu_si512(above_ + i, _mm512_add_epi32(start, signed_nudge));
      _mm512_storeu_si512(below_ + i, _mm512_sub_epi32(start, signed_nudge));
    }
  }

  template <bool any_sign>
  DGMS_INLINE void Piece(const int8_t* a, const int8_t* b, int64_t first, int8_t* output) const {
    const __m512i a_zero = _mm512_set1_epi8(static_cast<char>(args_.a_zero));
    const __mmask64 below = any_sign ? _mm512_cmplt_epi8_mask(_mm512_loadu_si512(a + first), a_zero) : 0;
    __m512i sums[kPiece / kVector], least = _mm512_set1_epi32(-1);
#pragma GCC unroll 4
    for (int v = 0; v < kPiece / kVector; ++v) {
      const int64_t i = first + v * kVector;
      const __m512i x = _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(a + i)));
      __m512i start = _mm512_loadu_si512(above_ + i);
      if (any_sign) {
        start = _mm512_mask_loadu_epi32(start, static_cast<__mmask16>(below >> (v * kVector)), below_ + i);
      }
      const __m512i sum = _mm512_add_epi32(_mm512_mullo_epi32(x, _mm512_loadu_si512(step_ + i)), start);
      least = _mm512_min_epu32(least, _mm512_slli_epi32(sum, 32 - kFraction));
      sums[v] = _mm512_srai_epi32(sum, kFraction);
    }
    const __m512i unsure = _mm512_set1_epi32((2 * kError) << (32 - kFraction));
    if (_mm512_cmplt_epu32_mask(least, unsure) != 0) {
      int8_t results[kPiece];
      MulS8Exactly<1, 1>(args_, product_, a + first, b + first, results, kPiece);
      memcpy(output, results, kPiece);
      return;
    }
    const __m512i bytes = PackWords(_mm512_packs_epi32(sums[0], sums[1]), _mm512_packs_epi32(sums[2], sums[3]));
    const __m512i min = _mm512_set1_epi8(static_cast<char>(args_.min));
    const __m512i max = _mm512_set1_epi8(static_cast<char>(args_.max));
    _mm512_storeu_si512(output, _mm512_min_epi8(_mm512_max_epi8(bytes, min), max));
  }

  const MulS8Args& args_;
  const SmallProduct product_;
  int32_t step_[kColumns], above_[kColumns], below_[kColumns];  // of a - a_zero at least 0, and below it
};

// False if it is not for these operands.
bool MulS8ByRowAvx512(MulS8Args args) {
  BinaryOperands<int8_t>& o = args.operands;
  if (o.a_row_stride == 0) {
    std::swap(o.a, o.b);
    std::swap(o.a_row_stride, o.b_row_stride);
    std::swap(o.a_step, o.b_step);
    std::swap(args.a_zero, args.b_zero);
  }
  if (!ScaledRows::Fits(args)) return false;
  ScaledRows rows(args);
  for (int64_t first = 0; first < o.n;) {
    // No rest of less than a piece stays.
    const int64_t left = o.n - first, n = left < ScaledRows::kColumns + kPiece ? left : ScaledRows::kColumns;
    const int64_t columns = n > ScaledRows::kColumns ? ScaledRows::kColumns - kPiece : n;
    args.a_zero == -128 ? rows.Run<false>(first, columns) : rows.Run<true>(first, columns);
    first += columns;
  }
  return true;
}

void MulS8Avx512(const MulS8Args& args) {
  if (MulS8ByRowAvx512(args)) return;
  if (args.factor.left > 0 || args.factor.right >= 31 || !(args.near.margin < 0.5f)) return MulS8(args);
  if (args.operands.a_step == 0) return MulS8RowsAvx512<0, 1>(args);
  if (args.operands.b_step == 0) return MulS8RowsAvx512<1, 0>(args);
  MulS8RowsAvx512<1, 1>(args);
}

// Multiplies with the scale's inverse: its rounding, the product's and the quotient's are at most 2^-24 each, so
// product and quotient differ by less than 2^-13 below 512, beyond which all outputs saturate. Pieces with a product as
// near to a half are divided.
void QuantizeF32Avx512(const QuantizeF32Args& args) {
  constexpr float kLargest = 8.5e37f;  // 2^126: neither scale nor inverse is a denormal
  constexpr float kMargin = 1.0f / 8192.0f;
  constexpr int kVector = 16, kVectors = kPiece / kVector;
  const float inverse_scale = 1.0f / args.scale;
  if (!(inverse_scale <= kLargest && args.scale <= kLargest)) return QuantizeF32(args);
  // Beyond every zero point and range; NaN becomes the lowest.
  const __m512 lowest = _mm512_set1_ps(-1024.0f), highest = _mm512_set1_ps(1024.0f);
  const __m512 inverse = _mm512_set1_ps(inverse_scale), sure = _mm512_set1_ps(0.5f - kMargin);
  const __m512i zero = _mm512_set1_epi16(static_cast<int16_t>(args.zero));
  const int64_t count = args.count, whole = count - count % kPiece;
  for (int64_t first = 0; first < whole; first += kPiece) {
    const float* input = args.input + first;
    __m512i nearest[kVectors];
    __m512 farthest = _mm512_setzero_ps();
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const __m512 product = _mm512_mul_ps(_mm512_loadu_ps(input + v * kVector), inverse);
      const __m512 y = _mm512_min_ps(_mm512_max_ps(product, lowest), highest);
      nearest[v] = _mm512_cvtps_epi32(y);
      farthest = _mm512_range_ps(farthest, _mm512_sub_ps(y, _mm512_cvtepi32_ps(nearest[v])), 0x0b);
    }
    if (_mm512_cmp_ps_mask(farthest, sure, _CMP_NLE_UQ) != 0) {
      QuantizeF32({input, args.output + first, kPiece, args.scale, args.zero});
      continue;
    }
    const __m512i low = _mm512_adds_epi16(_mm512_packs_epi32(nearest[0], nearest[1]), zero);
    const __m512i high = _mm512_adds_epi16(_mm512_packs_epi32(nearest[2], nearest[3]), zero);
    _mm512_storeu_si512(args.output + first, PackWords(low, high));
  }
  QuantizeF32({args.input + whole, args.output + whole, count - whole, args.scale, args.zero});
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_POINTWISE_S8_AVX512_H_
