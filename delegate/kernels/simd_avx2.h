// AVX2 with FMA under the names that gemm_x86.h and depthwise_x86.h use. For the *_avx2.cc files only.
#ifndef DGMS_KERNELS_SIMD_AVX2_H_
#define DGMS_KERNELS_SIMD_AVX2_H_

#include <immintrin.h>
#include <stdint.h>

#define DGMS_INLINE inline __attribute__((always_inline))

namespace dgms {
namespace {

constexpr int kLanes = 8;
using Floats = __m256;
using Words = __m256i;
using Mask = __m256i;  // all bits of the lanes that take part

DGMS_INLINE Floats Zero() { return _mm256_setzero_ps(); }
DGMS_INLINE Floats Splat(float x) { return _mm256_set1_ps(x); }
DGMS_INLINE Floats Load(const float* p) { return _mm256_loadu_ps(p); }
DGMS_INLINE void Store(float* p, Floats v) { _mm256_storeu_ps(p, v); }
DGMS_INLINE Floats MultiplyAdd(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
DGMS_INLINE Floats Add(Floats a, Floats b) { return _mm256_add_ps(a, b); }

// Stays in its register for all of its uses: the compiler would rather load it again for each, and loads are scarcer
// than registers.
DGMS_INLINE void Hold(Floats& v) { __asm__("" : "+x"(v)); }

// The lanes' sum, in pairs that are half a vector apart.
DGMS_INLINE float Sum(Floats v) {
  const __m128 quarters = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 pairs = _mm_add_ps(quarters, _mm_movehl_ps(quarters, quarters));
  return _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehdup_ps(pairs)));
}

// NaN passes: max and min return their second operand if either is NaN.
DGMS_INLINE Floats Clamp(Floats v, Floats min, Floats max) { return _mm256_min_ps(max, _mm256_max_ps(min, v)); }

// The first `count` lanes; all if count is larger. Nothing beyond them is read or written.
DGMS_INLINE Mask First(int64_t count) {
  const int lanes = count < kLanes ? static_cast<int>(count) : kLanes;
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
DGMS_INLINE Floats Load(const float* p, Mask mask) { return _mm256_maskload_ps(p, mask); }
DGMS_INLINE void Store(float* p, Floats v, Mask mask) { _mm256_maskstore_ps(p, mask, v); }

DGMS_INLINE Words LoadWords(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
DGMS_INLINE Words ShiftRight(Words words, int bits) { return _mm256_srli_epi32(words, bits); }

// Four neighbouring words (or floats) from each of kLanes / 4 rows: one 128-bit lane for each.
DGMS_INLINE Floats LoadQuads(const char* const (&rows)[2]) {
  const __m128 low = _mm_loadu_ps(reinterpret_cast<const float*>(rows[0]));
  return _mm256_insertf128_ps(_mm256_castps128_ps256(low), _mm_loadu_ps(reinterpret_cast<const float*>(rows[1])), 1);
}
// Transposes 4x4 words in each 128-bit lane of four vectors.
DGMS_INLINE void TransposeQuads(Floats (&v)[4]) {
  const __m256d low01 = _mm256_castps_pd(_mm256_unpacklo_ps(v[0], v[1])),
                high01 = _mm256_castps_pd(_mm256_unpackhi_ps(v[0], v[1]));
  const __m256d low23 = _mm256_castps_pd(_mm256_unpacklo_ps(v[2], v[3])),
                high23 = _mm256_castps_pd(_mm256_unpackhi_ps(v[2], v[3]));
  v[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(low01, low23));
  v[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low01, low23));
  v[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(high01, high23));
  v[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(high01, high23));
}

// 16 floats, looked up by bits 4 * place .. 4 * place + 3 of every lane. A permute looks 8 floats up by the low 3 bits
// and ignores the rest, so it takes two and a blend by bit 3, which is moved to the sign, where a blend looks.
struct Table {
  Floats low, high;  // entries 0..7 and 8..15
  explicit Table(const float* table) : low(Load(table)), high(Load(table + 8)) {}
  DGMS_INLINE Floats operator()(Words words, int place) const {
    const Words code = ShiftRight(words, 4 * place);
    const Floats bit3 = _mm256_castsi256_ps(_mm256_slli_epi32(words, 28 - 4 * place));
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, code), _mm256_permutevar8x32_ps(high, code), bit3);
  }
};

// The same with a table for each lane: lane i uses the table at `tables` + 16 * index[i].
struct LaneTables {
  const float* tables;
  Words first;
  LaneTables(const float* tables, const int32_t* index)
      : tables(tables), first(_mm256_slli_epi32(LoadWords(index), 4)) {}
  DGMS_INLINE Floats operator()(Words words, int place) const {
    const Words code = _mm256_and_si256(ShiftRight(words, 4 * place), _mm256_set1_epi32(15));
    return _mm256_i32gather_ps(tables, _mm256_add_epi32(first, code), 4);
  }
};

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_SIMD_AVX2_H_
