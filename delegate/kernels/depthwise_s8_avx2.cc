// int8 depthwise sums with AVX2: 16 channels at a time, two taps at once. Differences from the zero point are 16-bit
// numbers; those of two taps, interleaved channel by channel, meet interleaved weights in a multiplication that adds
// neighbours in 32 bits.
#include <immintrin.h>
#include <string.h>

#include "kernels/kernel_s8.h"

#define DGMS_INLINE inline __attribute__((always_inline))

namespace dgms {
namespace {

constexpr int kLanes = 16;

// All channels of a vector, or the first few: nothing beyond is read or written.
struct AllLanes {
  DGMS_INLINE __m256i Input(const int8_t* p) const {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  DGMS_INLINE __m256i Weights(const int16_t* p) const {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  DGMS_INLINE void Store(int32_t* p, __m256i low, __m256i high) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), low);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), high);
  }
};
struct SomeLanes {
  size_t count;
  DGMS_INLINE __m256i Input(const int8_t* p) const {
    int8_t all[kLanes] = {};
    memcpy(all, p, count);
    return AllLanes().Input(all);
  }
  DGMS_INLINE __m256i Weights(const int16_t* p) const {
    int16_t all[kLanes] = {};
    memcpy(all, p, count * sizeof(int16_t));
    return AllLanes().Weights(all);
  }
  DGMS_INLINE void Store(int32_t* p, __m256i low, __m256i high) const {
    int32_t all[kLanes];
    AllLanes().Store(all, low, high);
    memcpy(p, all, count * sizeof(int32_t));
  }
};

// Interleaving works in each half of a vector: `low` has the sums of channels 0..3 and 8..11, `high` the others.
struct PairSums {
  __m256i low, high;
  DGMS_INLINE void Add(__m256i x0, __m256i x1, __m256i w0, __m256i w1) {
    low = _mm256_add_epi32(low, _mm256_madd_epi16(_mm256_unpacklo_epi16(x0, x1), _mm256_unpacklo_epi16(w0, w1)));
    high = _mm256_add_epi32(high, _mm256_madd_epi16(_mm256_unpackhi_epi16(x0, x1), _mm256_unpackhi_epi16(w0, w1)));
  }
};

// `pixels` output pixels from `first` on, one vector of channels from c on.
template <int pixels, typename Lanes>
DGMS_INLINE void Vector(const DepthwiseS8Args& args, int64_t first, int64_t c, const Lanes& lanes) {
  PairSums sums[pixels];
#pragma GCC unroll 4
  for (int i = 0; i < pixels; ++i) sums[i] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  const __m256i zero = _mm256_set1_epi16(static_cast<int16_t>(args.zero)), none = _mm256_setzero_si256();
  for (int64_t ky = 0; ky < args.kernel_h; ++ky) {
    const int8_t* input = args.input + ky * args.line_stride + first * args.pixel_stride + c;
    const int16_t* weights = args.weights + ky * args.weight_line_stride + c;
    int64_t kx = args.kernel_w;
    for (; kx >= 2; kx -= 2, input += 2 * args.tap_stride, weights += 2 * args.weight_tap_stride) {
      const __m256i w0 = lanes.Weights(weights), w1 = lanes.Weights(weights + args.weight_tap_stride);
#pragma GCC unroll 4
      for (int i = 0; i < pixels; ++i) {
        const int8_t* x = input + i * args.pixel_stride;
        sums[i].Add(_mm256_sub_epi16(lanes.Input(x), zero), _mm256_sub_epi16(lanes.Input(x + args.tap_stride), zero),
                    w0, w1);
      }
    }
    if (kx > 0) {
      const __m256i w0 = lanes.Weights(weights);
#pragma GCC unroll 4
      for (int i = 0; i < pixels; ++i) {
        sums[i].Add(_mm256_sub_epi16(lanes.Input(input + i * args.pixel_stride), zero), none, w0, none);
      }
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < pixels; ++i) {
    const __m256i low = sums[i].low, high = sums[i].high;
    lanes.Store(args.sums + (first + i) * args.channels + c, _mm256_permute2x128_si256(low, high, 0x20),
                _mm256_permute2x128_si256(low, high, 0x31));
  }
}

template <int pixels>
void Piece(const DepthwiseS8Args& args, int64_t first) {
  int64_t c = 0;
  for (; c + kLanes <= args.channels; c += kLanes) Vector<pixels>(args, first, c, AllLanes{});
  if (c < args.channels) Vector<pixels>(args, first, c, SomeLanes{static_cast<size_t>(args.channels - c)});
}

}  // namespace

void s8_depthwise_avx2(const DepthwiseS8Args& args) {
  int64_t first = 0;
  for (; first + 4 <= args.pixels; first += 4) Piece<4>(args, first);
  for (; first < args.pixels; ++first) Piece<1>(args, first);
}

}  // namespace dgms
