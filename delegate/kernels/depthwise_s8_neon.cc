// int8 depthwise sums with NEON: eight channels at a time, four output pixels at once.
#include <string.h>

#include "kernels/kernel_s8.h"
#include "kernels/simd_neon.h"

namespace dgms {
namespace {

constexpr int kChannels = 8;

// All channels of a vector, or the first few: nothing beyond is read or written.
struct AllLanes {
  DGMS_INLINE int8x8_t Input(const int8_t* p) const { return vld1_s8(p); }
  DGMS_INLINE int16x8_t Weights(const int16_t* p) const { return vld1q_s16(p); }
  DGMS_INLINE void Store(int32_t* p, int32x4_t low, int32x4_t high) const {
    vst1q_s32(p, low);
    vst1q_s32(p + 4, high);
  }
};
struct SomeLanes {
  size_t count;
  DGMS_INLINE int8x8_t Input(const int8_t* p) const {
    int8_t all[kChannels] = {};
    memcpy(all, p, count);
    return vld1_s8(all);
  }
  DGMS_INLINE int16x8_t Weights(const int16_t* p) const {
    int16_t all[kChannels] = {};
    memcpy(all, p, count * sizeof(int16_t));
    return vld1q_s16(all);
  }
  DGMS_INLINE void Store(int32_t* p, int32x4_t low, int32x4_t high) const {
    int32_t all[kChannels];
    AllLanes().Store(all, low, high);
    memcpy(p, all, count * sizeof(int32_t));
  }
};

template <int pixels, typename Lanes>
DGMS_INLINE void Vector(const DepthwiseS8Args& args, int64_t first, int64_t c, const Lanes& lanes) {
  int32x4_t low[pixels], high[pixels];
#pragma GCC unroll 4
  for (int i = 0; i < pixels; ++i) low[i] = high[i] = vdupq_n_s32(0);
  const int8x8_t zero = vdup_n_s8(static_cast<int8_t>(args.zero));
  for (int64_t ky = 0; ky < args.kernel_h; ++ky) {
    const int8_t* input = args.input + ky * args.line_stride + first * args.pixel_stride + c;
    const int16_t* weights = args.weights + ky * args.weight_line_stride + c;
    for (int64_t kx = args.kernel_w; kx > 0; --kx, input += args.tap_stride, weights += args.weight_tap_stride) {
      const int16x8_t w = lanes.Weights(weights);
#pragma GCC unroll 4
      for (int i = 0; i < pixels; ++i) {
        const int16x8_t x = vsubl_s8(lanes.Input(input + i * args.pixel_stride), zero);
        low[i] = vmlal_s16(low[i], vget_low_s16(x), vget_low_s16(w));
        high[i] = vmlal_s16(high[i], vget_high_s16(x), vget_high_s16(w));
      }
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < pixels; ++i) lanes.Store(args.sums + (first + i) * args.channels + c, low[i], high[i]);
}

template <int pixels>
void Piece(const DepthwiseS8Args& args, int64_t first) {
  int64_t c = 0;
  for (; c + kChannels <= args.channels; c += kChannels) Vector<pixels>(args, first, c, AllLanes{});
  if (c < args.channels) Vector<pixels>(args, first, c, SomeLanes{static_cast<size_t>(args.channels - c)});
}

}  // namespace

void s8_depthwise_neon(const DepthwiseS8Args& args) {
  int64_t first = 0;
  for (; first + 4 <= args.pixels; first += 4) Piece<4>(args, first);
  for (; first < args.pixels; ++first) Piece<1>(args, first);
}

}  // namespace dgms
