// Codes in the order of their file become floats, with AVX2.
#include <immintrin.h>

#include "kernels/kernel.h"

namespace dgms {
namespace {

constexpr int kCodes = 16;  // of eight bytes: two vectors of floats

struct Table {
  __m256 low, high;  // entries 0..7 and 8..15
};

// The entries of eight codes, one in each of the low bytes of `codes`.
__m256 Lookup(const Table& table, __m128i codes) {
  const __m256i index = _mm256_cvtepu8_epi32(codes);  // a permute reads its low three bits; the fourth chooses a half
  return _mm256_blendv_ps(_mm256_permutevar8x32_ps(table.low, index), _mm256_permutevar8x32_ps(table.high, index),
                          _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
}

}  // namespace

void f32_codes_avx2(const uint8_t* codes, int64_t count, const float* table, float* weights) {
  const Table entries = {_mm256_loadu_ps(table), _mm256_loadu_ps(table + 8)};
  const __m128i nibble = _mm_set1_epi8(15);
  int64_t i = 0;
  for (; i + kCodes <= count; i += kCodes) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + i / 2));
    const __m128i even = _mm_and_si128(bytes, nibble), odd = _mm_and_si128(_mm_srli_epi16(bytes, 4), nibble);
    const __m128i order = _mm_unpacklo_epi8(even, odd);
    _mm256_storeu_ps(weights + i, Lookup(entries, order));
    _mm256_storeu_ps(weights + i + 8, Lookup(entries, _mm_srli_si128(order, 8)));
  }
  for (; i < count; ++i) weights[i] = table[codes[i / 2] >> i % 2 * 4 & 15];
}

}  // namespace dgms
