// Quantisation of float activations with AVX-512: 64 at a time.
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own intrinsics trip this warning (its bug 105593); our code is checked by the other compilers.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include "kernels/kernel_s8.h"

#define DGMS_INLINE inline __attribute__((always_inline))

namespace dgms {
namespace {

constexpr int kLanes = 16, kVectors = 4, kWide = kLanes * kVectors;

DGMS_INLINE __mmask16 First(int64_t count) {
  return count >= kLanes ? static_cast<__mmask16>(0xffff)
         : count > 0     ? static_cast<__mmask16>((1u << count) - 1u)
                         : static_cast<__mmask16>(0);
}

struct Ranges {
  __m512 min[kVectors], max[kVectors], poison[kVectors];

  // NaN is lost in minima and maxima: NaN and infinities times 0 are NaN, all else is zero.
  DGMS_INLINE void Widen(int v, __m512 x) {
    min[v] = _mm512_min_ps(min[v], x);
    max[v] = _mm512_max_ps(max[v], x);
    poison[v] = _mm512_fmadd_ps(x, _mm512_setzero_ps(), poison[v]);
  }
};

// Bytes of 64 numbers: 16-bit and 8-bit packing saturate, so nothing needs clamping.
struct Bytes {
  __m512 inverse;
  __m512i zero, flip;
  DGMS_INLINE explicit Bytes(const QuantizeArgs& args)
      : inverse(_mm512_set1_ps(args.inverse)),
        zero(_mm512_set1_epi16(static_cast<int16_t>(args.zero))),
        flip(_mm512_set1_epi8(static_cast<char>(args.flip ? -128 : 0))) {}

  DGMS_INLINE __m512i operator()(const __m512 (&x)[kVectors]) const {
    __m512i q[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) q[v] = _mm512_cvtps_epi32(_mm512_mul_ps(x[v], inverse));
    const __m512i low = _mm512_adds_epi16(_mm512_packs_epi32(q[0], q[1]), zero);
    const __m512i high = _mm512_adds_epi16(_mm512_packs_epi32(q[2], q[3]), zero);
    // Packing works within quarters of the vectors: quarter i has four numbers of each.
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_xor_si512(_mm512_permutexvar_epi32(order, _mm512_packs_epi16(low, high)), flip);
  }
};

}  // namespace

FloatRange s8_quantize_avx512_range(const float* x, int64_t count) {
  Ranges all;
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) all.min[v] = all.max[v] = all.poison[v] = _mm512_setzero_ps();
  int64_t i = 0;
  for (; i + kWide <= count; i += kWide) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) all.Widen(v, _mm512_loadu_ps(x + i + v * kLanes));
  }
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const __mmask16 lanes = First(count - i - v * kLanes);
    if (lanes != 0) all.Widen(v, _mm512_maskz_loadu_ps(lanes, x + i + v * kLanes));
  }
  const __m512 min = _mm512_min_ps(_mm512_min_ps(all.min[0], all.min[1]), _mm512_min_ps(all.min[2], all.min[3]));
  const __m512 max = _mm512_max_ps(_mm512_max_ps(all.max[0], all.max[1]), _mm512_max_ps(all.max[2], all.max[3]));
  const __m512 poison =
      _mm512_add_ps(_mm512_add_ps(all.poison[0], all.poison[1]), _mm512_add_ps(all.poison[2], all.poison[3]));
  const bool finite = _mm512_cmp_ps_mask(poison, poison, _CMP_UNORD_Q) == 0;
  return {_mm512_reduce_min_ps(min), _mm512_reduce_max_ps(max), finite};
}

void s8_quantize_avx512_quantize(const QuantizeArgs& args) {
  const Bytes bytes(args);
  __m512 x[kVectors];
  int64_t i = 0;
  for (; i + kWide <= args.count; i += kWide) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) x[v] = _mm512_loadu_ps(args.input + i + v * kLanes);
    _mm512_storeu_si512(args.output + i, bytes(x));
  }
  const int64_t left = args.count - i;
  if (left == 0) return;
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    x[v] = _mm512_maskz_loadu_ps(First(left - v * kLanes), args.input + i + v * kLanes);
  }
  _mm512_mask_storeu_epi8(args.output + i, ~uint64_t{0} >> (kWide - left), bytes(x));
}

}  // namespace dgms
