// int8 depthwise sums with NEON: eight channels at a time, four output pixels at once. Where the windows of
// neighbouring pixels overlap, an input is loaded once for all taps that meet it.
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

template <int pixels>
struct PixelSums {
  int32x4_t low[pixels], high[pixels];
  DGMS_INLINE void Add(int i, int16x8_t x, int16x8_t w) {
    low[i] = vmlal_s16(low[i], vget_low_s16(x), vget_low_s16(w));
#if DGMS_AARCH64
    high[i] = vmlal_high_s16(high[i], x, w);  // GCC makes two instructions of the other form
#else
    high[i] = vmlal_s16(high[i], vget_high_s16(x), vget_high_s16(w));
#endif
  }
};

// One kernel line of any length.
struct AnyLine {
  template <int pixels, typename Lanes>
  static DGMS_INLINE void Sum(const DepthwiseS8Args& args, const int8_t* input, const int16_t* weights, int8x8_t zero,
                              const Lanes& lanes, PixelSums<pixels>& sums) {
    for (int64_t kx = args.kernel_w; kx > 0; --kx, input += args.tap_stride, weights += args.weight_tap_stride) {
      const int16x8_t w = lanes.Weights(weights);
#pragma GCC unroll 4
      for (int i = 0; i < pixels; ++i) sums.Add(i, vsubl_s8(lanes.Input(input + i * args.pixel_stride), zero), w);
    }
  }
};

// A line of `taps` taps, one pixel every `stride` taps.
template <int taps, int stride>
struct Window {
  template <int pixels, typename Lanes>
  static DGMS_INLINE void Sum(const DepthwiseS8Args& args, const int8_t* input, const int16_t* weights, int8x8_t zero,
                              const Lanes& lanes, PixelSums<pixels>& sums) {
    int16x8_t w[taps];
#pragma GCC unroll 8
    for (int kx = 0; kx < taps; ++kx) w[kx] = lanes.Weights(weights + kx * args.weight_tap_stride);
#pragma GCC unroll 16
    for (int at = 0; at < (pixels - 1) * stride + taps; ++at) {
      const int16x8_t x = vsubl_s8(lanes.Input(input + at * args.tap_stride), zero);
#pragma GCC unroll 4
      for (int i = 0; i < pixels; ++i) {
        const int kx = at - i * stride;
        if (kx >= 0 && kx < taps) sums.Add(i, x, w[kx]);
      }
    }
  }
};

template <typename Line, int pixels, typename Lanes>
DGMS_INLINE void Vector(const DepthwiseS8Args& args, int64_t first, int64_t c, const Lanes& lanes) {
  PixelSums<pixels> sums;
#pragma GCC unroll 4
  for (int i = 0; i < pixels; ++i) sums.low[i] = sums.high[i] = vdupq_n_s32(0);
  const int8x8_t zero = vdup_n_s8(static_cast<int8_t>(args.zero));
  const int8_t* input = args.input + first * args.pixel_stride + c;
  const int16_t* weights = args.weights + c;
  for (int64_t ky = args.kernel_h; ky > 0; --ky, input += args.line_stride, weights += args.weight_line_stride) {
    Line::template Sum<pixels>(args, input, weights, zero, lanes, sums);
  }
#pragma GCC unroll 4
  for (int i = 0; i < pixels; ++i) lanes.Store(args.sums + (first + i) * args.channels + c, sums.low[i], sums.high[i]);
}

template <typename Line, int pixels>
void Piece(const DepthwiseS8Args& args, int64_t first) {
  int64_t c = 0;
  for (; c + kChannels <= args.channels; c += kChannels) Vector<Line, pixels>(args, first, c, AllLanes{});
  if (c < args.channels) Vector<Line, pixels>(args, first, c, SomeLanes{static_cast<size_t>(args.channels - c)});
}

template <typename Line>
void RunPieces(const DepthwiseS8Args& args) {
  int64_t first = 0;
  for (; first + 4 <= args.pixels; first += 4) Piece<Line, 4>(args, first);
  for (; first < args.pixels; ++first) Piece<Line, 1>(args, first);
}

}  // namespace

void s8_depthwise_neon(const DepthwiseS8Args& args) {
  const bool stride1 = args.pixel_stride == args.tap_stride, stride2 = args.pixel_stride == 2 * args.tap_stride;
  if (args.kernel_w == 3 && stride1) return RunPieces<Window<3, 1>>(args);
  if (args.kernel_w == 3 && stride2) return RunPieces<Window<3, 2>>(args);
  if (args.kernel_w == 5 && stride1) return RunPieces<Window<5, 1>>(args);
  if (args.kernel_w == 5 && stride2) return RunPieces<Window<5, 2>>(args);
  RunPieces<AnyLine>(args);
}

}  // namespace dgms
