// NEON depthwise convolution: four channels at a time, several output pixels at once, so that a weight is loaded once
// for all of them and, where the windows of neighbouring pixels overlap, an input once for all taps that meet it.
#include "kernels/depthwise_edges.h"
#include "kernels/kernel.h"
#include "kernels/simd_neon.h"

namespace dgms {
namespace {

// Channels c..c+count-1 (count is 1..4) of one output pixel, for any kernel size and any strides.
DGMS_INLINE void Pixel(const DepthwiseF32Args& args, int64_t pixel, int64_t c, int count) {
  float32x4_t sum = LoadFirst(args.bias + c, count);
  for (int64_t ky = 0; ky < args.kernel_h; ++ky) {
    const float* input = args.input + ky * args.line_stride + pixel * args.pixel_stride + c;
    const float* weights = args.weights + ky * args.weight_line_stride + c;
    for (int64_t kx = 0; kx < args.kernel_w; ++kx, input += args.tap_stride, weights += args.weight_tap_stride) {
      sum = vfmaq_f32(sum, LoadFirst(input, count), LoadFirst(weights, count));
    }
  }
  const float32x4_t min = vdupq_n_f32(args.min), max = vdupq_n_f32(args.max);
  StoreFirst(args.output + pixel * args.output_stride + c, Clamp(sum, min, max), count);
}

// The last one to three channels, which fill no vector.
void LastChannels(const DepthwiseF32Args& args) {
  const int64_t c = args.channels / kLanes * kLanes;
  if (c == args.channels) return;
  for (int64_t pixel = 0; pixel < args.pixels; ++pixel) Pixel(args, pixel, c, static_cast<int>(args.channels - c));
}

// All whole vectors of channels of any kernel.
void AnyRun(const DepthwiseF32Args& args) {
  for (int64_t pixel = 0; pixel < args.pixels; ++pixel) {
    for (int64_t c = 0; c + kLanes <= args.channels; c += kLanes) Pixel(args, pixel, c, kLanes);
  }
}

// `pixels` output pixels from `first` on, kernel lines of `taps` taps, `stride` taps from one pixel to the next:
// position x of an input line (counted in taps) serves every pixel i and tap kx with i * stride + kx == x. For one
// pixel the positions come in the order of its taps, so its sum keeps the order of the contract.
template <int taps, int stride, int pixels>
void Windows(const DepthwiseF32Args& args, int64_t first) {
  constexpr int kPositions = (pixels - 1) * stride + taps;
  const char* input[kPositions];  // one register each; an offset in bytes selects line and channels
#pragma GCC unroll 32
  for (int x = 0; x < kPositions; ++x) {
    input[x] = reinterpret_cast<const char*>(args.input + first * args.pixel_stride + x * args.tap_stride);
    __asm__("" : "+r"(input[x]));  // else compilers compute them anew for every line
  }
  const float32x4_t min = vdupq_n_f32(args.min), max = vdupq_n_f32(args.max);
  const ptrdiff_t line = args.line_stride * static_cast<ptrdiff_t>(sizeof(float));
  // Copies: the compiler must assume that stores to the output change `args`.
  const int64_t channels = args.channels, kernel_h = args.kernel_h, output_stride = args.output_stride;
  const int64_t next_tap = args.weight_tap_stride;
  const int64_t next_line = args.weight_line_stride - (taps - 1) * next_tap;
  const float *all_weights = args.weights, *all_bias = args.bias;
  float* first_output = args.output + first * output_stride;
  for (int64_t c = 0; c + kLanes <= channels; c += kLanes) {
    const float32x4_t bias = vld1q_f32(all_bias + c);
    float32x4_t sum[pixels];
#pragma GCC unroll 8
    for (int i = 0; i < pixels; ++i) sum[i] = bias;
    const float* weights = all_weights + c;
    ptrdiff_t offset = c * static_cast<ptrdiff_t>(sizeof(float));
    for (int64_t ky = kernel_h; ky > 0; --ky, weights += next_line, offset += line) {
      float32x4_t w[taps];
#pragma GCC unroll 8
      for (int kx = 0; kx < taps; ++kx) {
        w[kx] = vld1q_f32(weights);
        if (kx + 1 < taps) weights += next_tap;
      }
#pragma GCC unroll 32
      for (int x = 0; x < kPositions; ++x) {
        const float32x4_t value = vld1q_f32(reinterpret_cast<const float*>(input[x] + offset));
#pragma GCC unroll 8
        for (int i = 0; i < pixels; ++i) {
          const int kx = x - i * stride;
          if (kx >= 0 && kx < taps) sum[i] = vfmaq_f32(sum[i], value, w[kx]);
        }
      }
    }
    float* output = first_output + c;
#pragma GCC unroll 8
    for (int i = 0; i < pixels; ++i, output += output_stride) vst1q_f32(output, Clamp(sum[i], min, max));
  }
}

using WindowsFn = void (*)(const DepthwiseF32Args& args, int64_t first);

// Runs of pixels in pieces of `many`, the largest whose positions have registers.
template <int many>
DGMS_INLINE void Run(const DepthwiseF32Args& args, const WindowsFn (&windows)[many]) {
  for (int64_t first = 0; first < args.pixels; first += many) {
    const int64_t left = args.pixels - first;
    windows[(left < many ? left : many) - 1](args, first);
  }
}

#define DGMS_WINDOWS_4(taps, stride) \
  Windows<taps, stride, 1>, Windows<taps, stride, 2>, Windows<taps, stride, 3>, Windows<taps, stride, 4>
#define DGMS_WINDOWS_7(taps, stride) \
  DGMS_WINDOWS_4(taps, stride), Windows<taps, stride, 5>, Windows<taps, stride, 6>, Windows<taps, stride, 7>
#define DGMS_WINDOWS_8(taps, stride) DGMS_WINDOWS_7(taps, stride), Windows<taps, stride, 8>

// The number of taps has code of its own.
template <int taps>
DGMS_INLINE void RunTaps(const DepthwiseF32Args& args) {
  constexpr bool kManyRegisters = DGMS_AARCH64 && taps <= 5;
  if (args.pixel_stride == args.tap_stride) {
    if constexpr (kManyRegisters) {
      static constexpr WindowsFn kStride1[] = {DGMS_WINDOWS_8(taps, 1)};
      Run(args, kStride1);
    } else {
      static constexpr WindowsFn kStride1[] = {DGMS_WINDOWS_4(taps, 1)};
      Run(args, kStride1);
    }
  } else if (args.pixel_stride == 2 * args.tap_stride) {
    if constexpr (kManyRegisters) {
      static constexpr WindowsFn kStride2[] = {DGMS_WINDOWS_7(taps, 2)};
      Run(args, kStride2);
    } else {
      static constexpr WindowsFn kStride2[] = {DGMS_WINDOWS_4(taps, 2)};
      Run(args, kStride2);
    }
  } else {
    static constexpr WindowsFn kApart[] = {Windows<taps, 1, 1>};
    Run(args, kApart);
  }
}

#undef DGMS_WINDOWS_4
#undef DGMS_WINDOWS_7
#undef DGMS_WINDOWS_8

void RunInside(const DepthwiseF32Args& args) {
  switch (args.kernel_w) {
    case 2:  // the usual kernels at the map's edges
      Run<1>(args, {Windows<2, 1, 1>});
      break;
    case 3:
      RunTaps<3>(args);
      break;
    case 4:
      Run<1>(args, {Windows<4, 1, 1>});
      break;
    case 5:
      RunTaps<5>(args);
      break;
    case 7:
      RunTaps<7>(args);
      break;
    default:
      AnyRun(args);
      break;
  }
  LastChannels(args);
}

}  // namespace

void f32_depthwise_neon(const DepthwiseF32Args& args) { ForEachRun(args, RunInside); }

}  // namespace dgms
