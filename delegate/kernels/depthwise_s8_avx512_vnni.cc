// int8 depthwise sums with AVX-512 and VNNI, which multiplies pairs of 16-bit numbers and adds them in one instruction:
// 32 channels at a time.
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

constexpr int kLanes = 32, kPixels = 8;
using Words = __m512i;

DGMS_INLINE Words None() { return _mm512_setzero_si512(); }
DGMS_INLINE Words Splat16(int16_t x) { return _mm512_set1_epi16(x); }
DGMS_INLINE Words Subtract16(Words a, Words b) { return _mm512_sub_epi16(a, b); }
DGMS_INLINE Words InterleaveLow(Words a, Words b) { return _mm512_unpacklo_epi16(a, b); }
DGMS_INLINE Words InterleaveHigh(Words a, Words b) { return _mm512_unpackhi_epi16(a, b); }
DGMS_INLINE Words MultiplyAddPairs(Words sum, Words a, Words b) { return _mm512_dpwssd_epi32(sum, a, b); }

// The first `channels` channels; nothing beyond is read or written.
struct SomeLanes {
  __mmask32 mask;
  DGMS_INLINE explicit SomeLanes(int channels)
      : mask(channels >= kLanes ? ~__mmask32{0} : (__mmask32{1} << channels) - 1) {}
  DGMS_INLINE Words Input(const int8_t* p) const { return _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(mask, p)); }
  DGMS_INLINE Words Weights(const int16_t* p) const { return _mm512_maskz_loadu_epi16(mask, p); }
  DGMS_INLINE void Store(int32_t* p, Words low, Words high) const {
    const Words first = _mm512_permutex2var_epi64(low, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), high);
    const Words second = _mm512_permutex2var_epi64(low, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), high);
    _mm512_mask_storeu_epi32(p, static_cast<__mmask16>(mask), first);
    if (mask >> 16 != 0) _mm512_mask_storeu_epi32(p + 16, static_cast<__mmask16>(mask >> 16), second);
  }
};
struct AllLanes {
  DGMS_INLINE Words Input(const int8_t* p) const {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  DGMS_INLINE Words Weights(const int16_t* p) const { return _mm512_loadu_si512(p); }
  DGMS_INLINE void Store(int32_t* p, Words low, Words high) const { SomeLanes(kLanes).Store(p, low, high); }
};

}  // namespace
}  // namespace dgms

// The order matters: depthwise_s8_x86.h is written over the names above.
#include "kernels/depthwise_s8_x86.h"

namespace dgms {

void s8_depthwise_avx512_vnni(const DepthwiseS8Args& args) { Depthwise(args); }

}  // namespace dgms
