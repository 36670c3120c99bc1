// NEON depthwise convolution: four channels at a time, several output pixels at once, so that a weight is loaded once
// for all of them and, where the windows of neighbouring pixels overlap, an input once for all taps that meet it.
#include "kernels/kernel.h"
#include "kernels/simd_neon.h"

namespace dgms {
namespace {

DGMS_INLINE float32x4_t Min(const DepthwiseF32Args& args) { return vdupq_n_f32(args.min); }
DGMS_INLINE float32x4_t Max(const DepthwiseF32Args& args) { return vdupq_n_f32(args.max); }

// ---- any kernel size, any strides
// ------------------------------------------------------------------------------------

// Channels c .. c+count-1 (count is 1..4) of one output pixel.
DGMS_INLINE void AnyPixel(const DepthwiseF32Args& args, int64_t pixel, int64_t c, int count) {
  float32x4_t sum = LoadFirst(args.bias + c, count);
  for (int64_t ky = 0; ky < args.kernel_h; ++ky) {
    const float* input = args.input + ky * args.line_stride + pixel * args.pixel_stride + c;
    const float* weights = args.weights + ky * args.weight_line_stride + c;
    for (int64_t kx = 0; kx < args.kernel_w; ++kx, input += args.tap_stride, weights += args.channels) {
      sum = vfmaq_f32(sum, LoadFirst(input, count), LoadFirst(weights, count));
    }
  }
  StoreFirst(args.output + pixel * args.output_stride + c, Clamp(sum, Min(args), Max(args)), count);
}

void AnyRun(const DepthwiseF32Args& args, int64_t first, int64_t last) {
  const int64_t whole = args.channels / kLanes * kLanes;
  for (int64_t pixel = first; pixel < last; ++pixel) {
    for (int64_t c = 0; c < whole; c += kLanes) AnyPixel(args, pixel, c, kLanes);
  }
}

// The last one to three channels, which fill no vector.
void LastChannels(const DepthwiseF32Args& args) {
  const int64_t c = args.channels / kLanes * kLanes;
  if (c == args.channels) return;
  for (int64_t pixel = 0; pixel < args.pixels; ++pixel) {
    AnyPixel(args, pixel, c, static_cast<int>(args.channels - c));
  }
}

// ---- windows that overlap
// --------------------------------------------------------------------------------------------

// `pixels` output pixels from `first` on, lines of `taps` taps, `stride` taps from one pixel to the next: position x of
// an input line (counted in taps) serves every pixel i and tap kx with i * stride + kx == x.
template <int taps, int stride, int pixels>
DGMS_INLINE void Window(const DepthwiseF32Args& args, int64_t first, int64_t c) {
  constexpr int kPositions = (pixels - 1) * stride + taps;
  float32x4_t sum[pixels];
  const float32x4_t bias = vld1q_f32(args.bias + c);
#pragma GCC unroll 8
  for (int i = 0; i < pixels; ++i) sum[i] = bias;
  const float* weights = args.weights + c;
  const float* line = args.input + first * args.pixel_stride + c;
  for (int64_t ky = 0; ky < args.kernel_h; ++ky, weights += args.weight_line_stride, line += args.line_stride) {
    const float* input = line;
    float32x4_t w[taps];
#pragma GCC unroll 8
    for (int kx = 0; kx < taps; ++kx) w[kx] = vld1q_f32(weights + kx * args.channels);
    // For one pixel the positions come in the order of its taps, so its sum keeps the order of the contract.
#pragma GCC unroll 32
    for (int x = 0; x < kPositions; ++x, input += args.tap_stride) {
      const float32x4_t value = vld1q_f32(input);
#pragma GCC unroll 8
      for (int i = 0; i < pixels; ++i) {
        const int kx = x - i * stride;
        if (kx >= 0 && kx < taps) sum[i] = vfmaq_f32(sum[i], value, w[kx]);
      }
    }
  }
  float* output = args.output + first * args.output_stride + c;
#pragma GCC unroll 8
  for (int i = 0; i < pixels; ++i) vst1q_f32(output + i * args.output_stride, Clamp(sum[i], Min(args), Max(args)));
}

template <int taps, int stride, int pixels>
void Windows(const DepthwiseF32Args& args, int64_t first) {
  for (int64_t c = 0; c + kLanes <= args.channels; c += kLanes) Window<taps, stride, pixels>(args, first, c);
}

template <int taps, int stride>
void OverlappingRun(const DepthwiseF32Args& args) {
  constexpr int kMany = DGMS_AARCH64 ? 8 : 4;
  int64_t i = 0;
  for (; i + kMany <= args.pixels; i += kMany) Windows<taps, stride, kMany>(args, i);
  const int64_t left = args.pixels - i;
  if (left >= 4) Windows<taps, stride, 4>(args, i), i += 4;
  if (args.pixels - i >= 2) Windows<taps, stride, 2>(args, i), i += 2;
  if (args.pixels - i >= 1) Windows<taps, stride, 1>(args, i);
}

}  // namespace

void f32_depthwise_neon(const DepthwiseF32Args& args) {
  const bool stride1 = args.pixel_stride == args.tap_stride;
  const bool stride2 = args.pixel_stride == 2 * args.tap_stride;
  if (args.kernel_w == 3 && stride1) {
    OverlappingRun<3, 1>(args);
  } else if (args.kernel_w == 3 && stride2) {
    OverlappingRun<3, 2>(args);
  } else if (args.kernel_w == 5 && stride1) {
    OverlappingRun<5, 1>(args);
  } else if (args.kernel_w == 5 && stride2) {
    OverlappingRun<5, 2>(args);
  } else {
    AnyRun(args, 0, args.pixels);
  }
  LastChannels(args);
}

}  // namespace dgms
