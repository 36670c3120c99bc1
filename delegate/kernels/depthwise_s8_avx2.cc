// int8 depthwise sums with AVX2: 16 channels at a time.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define DGMS_INLINE inline __attribute__((always_inline))

namespace dgms {
namespace {

constexpr int kLanes = 16, kPixels = 4;
using Words = __m256i;

DGMS_INLINE Words None() { return _mm256_setzero_si256(); }
DGMS_INLINE Words Splat16(int16_t x) { return _mm256_set1_epi16(x); }
DGMS_INLINE Words Subtract16(Words a, Words b) { return _mm256_sub_epi16(a, b); }
DGMS_INLINE Words InterleaveLow(Words a, Words b) { return _mm256_unpacklo_epi16(a, b); }
DGMS_INLINE Words InterleaveHigh(Words a, Words b) { return _mm256_unpackhi_epi16(a, b); }
DGMS_INLINE Words MultiplyAddPairs(Words sum, Words a, Words b) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
}

struct AllLanes {
  DGMS_INLINE Words Input(const int8_t* p) const {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  DGMS_INLINE Words Weights(const int16_t* p) const { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  DGMS_INLINE void Store(int32_t* p, Words low, Words high) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute2x128_si256(low, high, 0x20));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), _mm256_permute2x128_si256(low, high, 0x31));
  }
};
struct SomeLanes {
  size_t count;
  explicit SomeLanes(int channels) : count(static_cast<size_t>(channels)) {}
  DGMS_INLINE Words Input(const int8_t* p) const {
    int8_t all[kLanes] = {};
    memcpy(all, p, count);
    return AllLanes().Input(all);
  }
  DGMS_INLINE Words Weights(const int16_t* p) const {
    int16_t all[kLanes] = {};
    memcpy(all, p, count * sizeof(int16_t));
    return AllLanes().Weights(all);
  }
  DGMS_INLINE void Store(int32_t* p, Words low, Words high) const {
    int32_t all[kLanes];
    AllLanes().Store(all, low, high);
    memcpy(p, all, count * sizeof(int32_t));
  }
};

}  // namespace
}  // namespace dgms

// The order matters: depthwise_s8_x86.h is written over the names above.
#include "kernels/depthwise_s8_x86.h"

namespace dgms {

void s8_depthwise_avx2(const DepthwiseS8Args& args) { Depthwise(args); }

}  // namespace dgms
