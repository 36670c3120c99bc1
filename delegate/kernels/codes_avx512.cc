// Codes in the order of their file become floats, with AVX-512.
#include <immintrin.h>

#include "kernels/kernel.h"

namespace dgms {
namespace {

constexpr int kCodes = 32;  // of sixteen bytes: two vectors of floats

// With masks of all lanes: GCC 12 warns of the plain forms of these, that they read something uninitialised.
__m512 Lookup(__m512 table, __m128i codes) {
  return _mm512_maskz_permutexvar_ps(0xffff, _mm512_maskz_cvtepu8_epi32(0xffff, codes), table);
}

}  // namespace

void f32_codes_avx512(const uint8_t* codes, int64_t count, const float* table, float* weights) {
  const __m512 entries = _mm512_loadu_ps(table);
  const __m128i nibble = _mm_set1_epi8(15);
  for (int64_t i = 0; i < count; i += kCodes) {
    const int64_t rest = count - i;
    const uint32_t there = rest >= kCodes ? 0xffffffffu : (1u << rest) - 1;  // a bit for each code
    const __mmask16 loaded = rest >= kCodes ? 0xffff : static_cast<__mmask16>((1u << ((rest + 1) / 2)) - 1);
    const __m128i bytes = _mm_maskz_loadu_epi8(loaded, codes + i / 2);
    const __m128i even = _mm_and_si128(bytes, nibble), odd = _mm_and_si128(_mm_srli_epi16(bytes, 4), nibble);
    _mm512_mask_storeu_ps(weights + i, static_cast<__mmask16>(there), Lookup(entries, _mm_unpacklo_epi8(even, odd)));
    if (rest > kCodes / 2) {
      _mm512_mask_storeu_ps(weights + i + kCodes / 2, static_cast<__mmask16>(there >> 16),
                            Lookup(entries, _mm_unpackhi_epi8(even, odd)));
    }
  }
}

}  // namespace dgms
