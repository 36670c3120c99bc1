// AVX-512 under the names that gemm_x86.h and depthwise_x86.h use. For the *_avx512.cc files only.
#ifndef DGMS_KERNELS_SIMD_AVX512_H_
#define DGMS_KERNELS_SIMD_AVX512_H_

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own intrinsics trip this warning (its bug 105593); our code is checked by the other compilers.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#include <stdint.h>

#define DGMS_INLINE inline __attribute__((always_inline))

namespace dgms {
namespace {

constexpr int kLanes = 16;
using Floats = __m512;
using Words = __m512i;
using Mask = __mmask16;

DGMS_INLINE Floats Zero() { return _mm512_setzero_ps(); }
DGMS_INLINE Floats Splat(float x) { return _mm512_set1_ps(x); }
DGMS_INLINE Floats Load(const float* p) { return _mm512_loadu_ps(p); }
DGMS_INLINE void Store(float* p, Floats v) { _mm512_storeu_ps(p, v); }
DGMS_INLINE Floats MultiplyAdd(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
DGMS_INLINE Floats Add(Floats a, Floats b) { return _mm512_add_ps(a, b); }

// Stays in its register for all of its uses: the compiler would rather load it again for each, and loads are scarcer
// than registers.
DGMS_INLINE void Hold(Floats& v) { __asm__("" : "+v"(v)); }

// The lanes' sum, in pairs that are half a vector apart.
DGMS_INLINE float Sum(Floats v) {
  const __m256 halves = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  const __m128 quarters = _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1));
  const __m128 pairs = _mm_add_ps(quarters, _mm_movehl_ps(quarters, quarters));
  return _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehdup_ps(pairs)));
}

// NaN passes: max and min return their second operand if either is NaN.
DGMS_INLINE Floats Clamp(Floats v, Floats min, Floats max) { return _mm512_min_ps(max, _mm512_max_ps(min, v)); }

// The first `count` lanes; all if count is larger. Nothing beyond them is read or written.
DGMS_INLINE Mask First(int64_t count) {
  return count >= kLanes ? static_cast<Mask>(0xffff) : static_cast<Mask>((1u << count) - 1u);
}
DGMS_INLINE Floats Load(const float* p, Mask mask) { return _mm512_maskz_loadu_ps(mask, p); }
DGMS_INLINE void Store(float* p, Floats v, Mask mask) { _mm512_mask_storeu_ps(p, mask, v); }

DGMS_INLINE Words LoadWords(const void* p) { return _mm512_loadu_si512(p); }
DGMS_INLINE Words ShiftRight(Words words, int bits) { return _mm512_srli_epi32(words, static_cast<unsigned>(bits)); }

// Four neighbouring words (or floats) from each of kLanes / 4 rows: one 128-bit lane for each. Masked broadcasts from
// memory, because inserting lanes would compete with the transposition for the one port that shuffles.
DGMS_INLINE Floats LoadQuads(const char* const (&rows)[4]) {
  Floats v = _mm512_broadcast_f32x4(_mm_loadu_ps(reinterpret_cast<const float*>(rows[0])));
#pragma GCC unroll 4
  for (int i = 1; i < 4; ++i) {
    v = _mm512_mask_broadcast_f32x4(v, static_cast<Mask>(0xf << (4 * i)),
                                    _mm_loadu_ps(reinterpret_cast<const float*>(rows[i])));
  }
  return v;
}
// Transposes 4x4 words in each 128-bit lane of four vectors.
DGMS_INLINE void TransposeQuads(Floats (&v)[4]) {
  const __m512d low01 = _mm512_castps_pd(_mm512_unpacklo_ps(v[0], v[1])),
                high01 = _mm512_castps_pd(_mm512_unpackhi_ps(v[0], v[1]));
  const __m512d low23 = _mm512_castps_pd(_mm512_unpacklo_ps(v[2], v[3])),
                high23 = _mm512_castps_pd(_mm512_unpackhi_ps(v[2], v[3]));
  v[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(low01, low23));
  v[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low01, low23));
  v[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high01, high23));
  v[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high01, high23));
}

// 16 floats, looked up by bits 4 * place .. 4 * place + 3 of every lane: one permute, which ignores all but the low 4
// bits.
struct Table {
  Floats entries;
  explicit Table(const float* table) : entries(Load(table)) {}
  DGMS_INLINE Floats operator()(Words words, int place) const {
    return _mm512_permutexvar_ps(ShiftRight(words, 4 * place), entries);
  }
};

// The same with a table for each lane: lane i uses the table at `tables` + 16 * index[i].
struct LaneTables {
  const float* tables;
  Words first;
  LaneTables(const float* tables, const int32_t* index)
      : tables(tables), first(_mm512_slli_epi32(LoadWords(index), 4)) {}
  DGMS_INLINE Floats operator()(Words words, int place) const {
    const Words code = _mm512_and_si512(ShiftRight(words, 4 * place), _mm512_set1_epi32(15));
    return _mm512_i32gather_ps(_mm512_add_epi32(first, code), tables, 4);
  }
};

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_SIMD_AVX512_H_
