// One row of int8 activations times a packed panel with AVX-512 and VNNI: codes become weights in registers, so that a
// panel's bytes are read once and nothing is written but the sums.
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own intrinsics trip this warning (its bug 105593); our code is checked by the other compilers.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include "kernels/kernel_s8.h"
#include "kernels/places_s8.h"

#define DGMS_INLINE inline __attribute__((always_inline))

namespace dgms {
namespace {

constexpr int kUnit = 4;
constexpr int kColumns = 32;
constexpr int kGroupBytes = kColumns * kUnit / 2;  // four places of all columns: four runs, a vector
constexpr int kChains = 4;                         // groups in work at a time: the dot product takes five cycles
constexpr int kAhead = 2048;                       // bytes

// The codes of a group in its runs' order: quarter i has columns 8 * i to 8 * i + 3 in the low nibbles of its bytes,
// and the four columns after them in the high ones.
struct Sums {
  __m512i low, high;
};

// With `flip` activations are unsigned. Otherwise weights are: 128 is added to each of them.
template <bool flip>
DGMS_INLINE void Group(__m512i table, const uint8_t* packed, int32_t places, Sums* sums) {
  const __m512i nibble = _mm512_set1_epi8(15);
  const __m512i codes = _mm512_loadu_si512(packed), x = _mm512_set1_epi32(places);
  const __m512i low = _mm512_shuffle_epi8(table, _mm512_and_si512(codes, nibble));
  const __m512i high = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(codes, 4), nibble));
  sums->low = flip ? _mm512_dpbusd_epi32(sums->low, x, low) : _mm512_dpbusd_epi32(sums->low, low, x);
  sums->high = flip ? _mm512_dpbusd_epi32(sums->high, x, high) : _mm512_dpbusd_epi32(sums->high, high, x);
}

// The sum of signed activations.
int32_t SumOf(const int8_t* a, int64_t count) {
  const __m512i ones = _mm512_set1_epi8(1);
  __m512i sum = _mm512_setzero_si512();
  for (; count > 0; count -= 64, a += 64) {
    const __mmask64 lanes = count >= 64 ? ~uint64_t{0} : ~uint64_t{0} >> (64 - count);
    sum = _mm512_dpbusd_epi32(sum, ones, _mm512_maskz_loadu_epi8(lanes, a));
  }
  return _mm512_reduce_add_epi32(sum);
}

template <bool flip>
void Gemv(const GemvS8Args& args) {
  const __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(args.table));
  const __m512i table = _mm512_broadcast_i32x4(flip ? values : _mm_xor_si128(values, _mm_set1_epi8(-128)));
  Sums sums[kChains];
#pragma GCC unroll 4
  for (Sums& each : sums) each = {_mm512_setzero_si512(), _mm512_setzero_si512()};
  const int8_t* a = args.a;
  const uint8_t* packed = args.packed;
  int64_t left = args.k;
  for (; left >= kChains * kUnit; left -= kChains * kUnit, a += kChains * kUnit, packed += kChains * kGroupBytes) {
#pragma GCC unroll 4
    for (int i = 0; i < kChains; ++i) {
      _mm_prefetch(reinterpret_cast<const char*>(packed) + i * kGroupBytes + kAhead, _MM_HINT_T0);
      Group<flip>(table, packed + i * kGroupBytes, LoadPlaces(a + i * kUnit, kUnit), &sums[i]);
    }
  }
  for (; left > 0; left -= kUnit, a += kUnit, packed += kGroupBytes) {
    Group<flip>(table, packed, LoadPlaces(a, left < kUnit ? left : kUnit), &sums[0]);
  }
  const __m512i low =
      _mm512_add_epi32(_mm512_add_epi32(sums[0].low, sums[1].low), _mm512_add_epi32(sums[2].low, sums[3].low));
  const __m512i high =
      _mm512_add_epi32(_mm512_add_epi32(sums[0].high, sums[1].high), _mm512_add_epi32(sums[2].high, sums[3].high));
  const __m512i extra = flip ? _mm512_setzero_si512() : _mm512_slli_epi32(_mm512_set1_epi32(SumOf(args.a, args.k)), 7);
  const __m512i first = _mm512_permutex2var_epi64(low, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), high);
  const __m512i second = _mm512_permutex2var_epi64(low, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), high);
  _mm512_store_si512(args.c, _mm512_sub_epi32(first, extra));
  _mm512_store_si512(args.c + kColumns / 2, _mm512_sub_epi32(second, extra));
}

}  // namespace

void s8_gemv_avx512_vnni(const GemvS8Args& args) { (args.flip ? Gemv<true> : Gemv<false>)(args); }

}  // namespace dgms
