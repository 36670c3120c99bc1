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

// A step of 24 bits, high * 2^8 + low, as the two factors of 16 bits that one instruction multiplies with.
DGMS_INLINE __m512i Factors(int32_t a, int32_t b) {
  return _mm512_set1_epi32(static_cast<int32_t>(static_cast<uint32_t>(b) << 16 | (static_cast<uint32_t>(a) & 0xffffu)));
}

struct SumAvx512 {
  __m512i high, low, start, unsure, min, max;

  SumAvx512(const AddS8Args& args, const FixedSumS8& fixed)
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
    *least = _mm512_min_epu32(*least, _mm512_slli_epi32(sum, 32 - FixedSumS8::kFraction));
    return _mm512_srai_epi32(sum, FixedSumS8::kFraction);
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
void AddS8RowsAvx512(const AddS8Args& args, const FixedSumS8& fixed) {
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
  const FixedSumS8 fixed(args);
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

void MulS8Avx512(const MulS8Args& args) {
  if (args.factor.left > 0 || args.factor.right >= 31 || !(args.near.margin < 0.5f)) return MulS8(args);
  if (args.operands.a_step == 0) return MulS8RowsAvx512<0, 1>(args);
  if (args.operands.b_step == 0) return MulS8RowsAvx512<1, 0>(args);
  MulS8RowsAvx512<1, 1>(args);
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_POINTWISE_S8_AVX512_H_
