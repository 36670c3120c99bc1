// NEON depthwise convolution: eight channels at a time (depthwise_window_neon.h has sixteen), several output pixels at
// once, so that a weight is loaded once for all of them and, where the windows of neighbouring pixels overlap, an input
// once for all taps that meet it. Loads of eight channels step their pointer to the next tap or position by themselves.
#include "kernels/depthwise_edges.h"
#include "kernels/depthwise_window_neon.h"
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

// `pixels` output pixels from `first` on, `vectors` vectors of channels from channel c on; kernel lines of `taps` taps,
// `stride` taps from one pixel to the next: position x of an input line (counted in taps) serves every pixel i and tap
// kx with i * stride + kx == x. For one pixel the positions come in the order of its taps, so its sum keeps the order
// of the contract. The first `left` positions and the last `right` are outside of the line: left out.
template <int taps, int stride, int pixels, int vectors, int left = 0, int right = 0>
void Windows(const DepthwiseF32Args& args, int64_t first, int64_t c) {
  constexpr int kPositions = (pixels - 1) * stride + taps, kBegin = left, kEnd = kPositions - right;
  constexpr ptrdiff_t kFloat = sizeof(float);
  // Copies: the compiler must assume that stores to the output change `args`.
  const ptrdiff_t next_position = args.tap_stride * kFloat, next_tap = args.weight_tap_stride * kFloat;
  const ptrdiff_t next_line = args.line_stride * kFloat - (kEnd - kBegin - 1) * next_position;
  const ptrdiff_t next_weights = args.weight_line_stride * kFloat - (taps - 1) * next_tap;
  const ptrdiff_t next_pixel = args.output_stride * kFloat;
  const int64_t kernel_h = args.kernel_h;
  const int64_t end = args.channels / (vectors * kLanes) * (vectors * kLanes);
  const float *all_weights = args.weights, *bias = args.bias + c;
  const float* inputs = args.input + first * args.pixel_stride + kBegin * args.tap_stride;
  float* outputs = args.output + first * args.output_stride;
  const float32x4_t min = vdupq_n_f32(args.min), max = vdupq_n_f32(args.max);
  for (; c < end; c += vectors * kLanes, bias += vectors * kLanes) {
    float32x4_t sum[pixels][vectors];
#pragma GCC unroll 16
    for (int i = 0; i < pixels; ++i) LoadAgain(bias, sum[i]);
    const float *input = inputs + c, *weights = all_weights + c;
    for (int64_t ky = kernel_h; ky > 0; --ky) {
      Registers<vectors> w[taps];
#pragma GCC unroll 8
      for (int kx = 0; kx < taps; ++kx) w[kx] = LoadNext<vectors>(&weights, kx + 1 < taps ? next_tap : next_weights);
#pragma GCC unroll 32
      for (int x = kBegin; x < kEnd; ++x) {
        const Registers<vectors> value = LoadNext<vectors>(&input, x + 1 < kEnd ? next_position : next_line);
#pragma GCC unroll 16
        for (int i = 0; i < pixels; ++i) {
          const int kx = x - i * stride;
          if (kx >= 0 && kx < taps) {
#pragma GCC unroll 4
            for (int v = 0; v < vectors; ++v) sum[i][v] = vfmaq_f32(sum[i][v], value.val[v], w[kx].val[v]);
          }
        }
      }
    }
    float* output = outputs + c;
#pragma GCC unroll 16
    for (int i = 0; i < pixels; ++i) {
      Registers<vectors> clamped;
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) clamped.val[v] = Clamp(sum[i][v], min, max);
      StoreNext<vectors>(&output, next_pixel, clamped);
    }
  }
}

using WindowsFn = void (*)(const DepthwiseF32Args& args, int64_t first, int64_t c);

// Runs of pixels in pieces of `many`, the largest whose positions have registers, from channel c on.
template <int many>
DGMS_INLINE void Run(const DepthwiseF32Args& args, int64_t c, const WindowsFn (&windows)[many]) {
  for (int64_t first = 0; first < args.pixels; first += many) {
    const int64_t left = args.pixels - first;
    windows[(left < many ? left : many) - 1](args, first, c);
  }
}

#define DGMS_WINDOWS_4(taps, stride, ...)                                                                              \
  Windows<taps, stride, 1, __VA_ARGS__>, Windows<taps, stride, 2, __VA_ARGS__>, Windows<taps, stride, 3, __VA_ARGS__>, \
      Windows<taps, stride, 4, __VA_ARGS__>
#define DGMS_WINDOWS_8(taps, stride, ...)                                           \
  DGMS_WINDOWS_4(taps, stride, __VA_ARGS__), Windows<taps, stride, 5, __VA_ARGS__>, \
      Windows<taps, stride, 6, __VA_ARGS__>, Windows<taps, stride, 7, __VA_ARGS__>, \
      Windows<taps, stride, 8, __VA_ARGS__>
#define DGMS_WINDOWS_10(taps, stride, ...)                                          \
  DGMS_WINDOWS_8(taps, stride, __VA_ARGS__), Windows<taps, stride, 9, __VA_ARGS__>, \
      Windows<taps, stride, 10, __VA_ARGS__>

#if DGMS_AARCH64
// Pairs of vectors of a whole line of 3 taps, its edges as well: at most one tap is outside on either side.
template <int stride>
void RunLineOf3(const DepthwiseF32Args& args, bool left, bool right) {
  static constexpr WindowsFn kWindows[2][2][10] = {
      {{DGMS_WINDOWS_10(3, stride, 2, 0, 0)}, {DGMS_WINDOWS_10(3, stride, 2, 0, 1)}},
      {{DGMS_WINDOWS_10(3, stride, 2, 1, 0)}, {DGMS_WINDOWS_10(3, stride, 2, 1, 1)}}};
  for (int64_t first = 0; first < args.pixels; first += 10) {
    const int64_t pixels = args.pixels - first < 10 ? args.pixels - first : 10;
    kWindows[left && first == 0][right && first + pixels == args.pixels][pixels - 1](args, first, 0);
  }
}

#if DGMS_NEON_ASSEMBLY
// The same in fours of vectors, for lines of a window or more.
template <int stride>
void RunLongLineOf3(const DepthwiseF32Args& args, bool left, bool right) {
  static constexpr WindowsFn kRest[2][kWindowPixels - 1] = {
      {WideWindows<stride, 1, false, false>, WideWindows<stride, 2, false, false>,
       WideWindows<stride, 3, false, false>},
      {WideWindows<stride, 1, false, true>, WideWindows<stride, 2, false, true>, WideWindows<stride, 3, false, true>}};
  constexpr int64_t kPixels = kWindowPixels;
  int64_t first = 0, windows = args.pixels / kPixels;
  const int64_t rest = args.pixels - windows * kPixels;
  const bool edge_in_windows = right && rest == 0;
  if (windows == 1 && left && edge_in_windows) return WideWindows<stride, kPixels, true, true>(args, 0, 1);
  if (left) {
    WideWindows<stride, kPixels, true, false>(args, 0, 1);
    first = kPixels, --windows;
  }
  if (edge_in_windows) --windows;
  WideWindows<stride, kPixels, false, false>(args, first, windows);
  first += windows * kPixels;
  if (edge_in_windows) WideWindows<stride, kPixels, false, true>(args, first, 1);
  if (rest > 0) kRest[right][rest - 1](args, first, 1);
}
#endif

// Does some of the channels, and says how many; 0 if it is not for this line.
int64_t RunLineOf3(const DepthwiseF32Args& args) {
  const int64_t stride = args.pixel_stride / args.tap_stride;
  const int64_t end = args.pad_left + args.line_columns;
  const int64_t right = args.line_columns == 0 ? 0 : (args.pixels - 1) * stride + 3 - end;  // taps outside
  if (stride < 1 || stride > 2 || args.pixel_stride != stride * args.tap_stride) return 0;
  if (args.pad_left > 1 || right > 1 || args.channels < 2 * kLanes) return 0;
#if DGMS_NEON_ASSEMBLY
  const int64_t fours = args.channels / (kWindowVectors * kLanes) * (kWindowVectors * kLanes);
  if (args.pixels >= kWindowPixels && args.kernel_h <= kMostWindowLines && fours > 0) {
    (stride == 1 ? RunLongLineOf3<1> : RunLongLineOf3<2>)(args, args.pad_left == 1, right == 1);
    return fours;
  }
#endif
  (stride == 1 ? RunLineOf3<1> : RunLineOf3<2>)(args, args.pad_left == 1, right == 1);
  return args.channels / (2 * kLanes) * (2 * kLanes);
}

// The edges of a line of 5 taps in pairs of vectors: of so many pixels on either side, whose windows reach over it as
// padding SAME makes them. What is between has all taps inside. 0: none, the line is another.
int64_t RunEdgesOf5(const DepthwiseF32Args& args) {
  const int64_t stride = args.pixel_stride / args.tap_stride;
  const int64_t right = (args.pixels - 1) * stride + 5 - (args.pad_left + args.line_columns);  // taps outside
  if (args.line_columns == 0 || args.channels % (2 * kLanes) != 0 || args.pixels < 5 || right != 2) return 0;
  if (stride == 1 && args.pad_left == 2) {
    Windows<5, 1, 2, 2, 2, 0>(args, 0, 0);
    Windows<5, 1, 2, 2, 0, 2>(args, args.pixels - 2, 0);
    return 2;
  }
  if (stride == 2 && args.pad_left == 1) {
    Windows<5, 2, 1, 2, 1, 0>(args, 0, 0);
    Windows<5, 2, 1, 2, 0, 2>(args, args.pixels - 1, 0);
    return 1;
  }
  return 0;
}
#endif

// Pairs of vectors first, where there are registers for them, then the vector that is left.
template <int taps, int stride>
DGMS_INLINE void RunStride(const DepthwiseF32Args& args) {
  int64_t c = 0;
#if DGMS_AARCH64
  if (args.channels >= 2 * kLanes) {
    if constexpr (taps <= 3) {
      static constexpr WindowsFn kPairs[] = {DGMS_WINDOWS_10(taps, stride, 2)};
      Run(args, 0, kPairs);
    } else if constexpr (taps <= 5) {
      static constexpr WindowsFn kPairs[] = {DGMS_WINDOWS_8(taps, stride, 2)};
      Run(args, 0, kPairs);
    } else {
      static constexpr WindowsFn kPairs[] = {DGMS_WINDOWS_4(taps, stride, 2)};
      Run(args, 0, kPairs);
    }
    c = args.channels / (2 * kLanes) * (2 * kLanes);
  }
#endif
  if (args.channels - c < kLanes) return;
  static constexpr WindowsFn kSingle[] = {DGMS_WINDOWS_4(taps, stride, 1)};
  Run(args, c, kSingle);
}

#undef DGMS_WINDOWS_4
#undef DGMS_WINDOWS_8
#undef DGMS_WINDOWS_10

// One pixel at a time: the usual kernels at the map's edges, and where pixels share no input.
template <int taps>
DGMS_INLINE void RunApart(const DepthwiseF32Args& args) {
  int64_t c = 0;
#if DGMS_AARCH64
  if (taps <= 3 && args.channels >= 4 * kLanes) {
    Run<1>(args, c, {Windows<taps, 1, 1, 4>});
    c = args.channels / (4 * kLanes) * (4 * kLanes);
  }
  if (args.channels - c >= 2 * kLanes) {
    Run<1>(args, c, {Windows<taps, 1, 1, 2>});
    c = args.channels / (2 * kLanes) * (2 * kLanes);
  }
#endif
  if (args.channels - c >= kLanes) Run<1>(args, c, {Windows<taps, 1, 1, 1>});
}

// The number of taps has code of its own.
template <int taps>
DGMS_INLINE void RunTaps(const DepthwiseF32Args& args) {
  if (args.pixel_stride == args.tap_stride) {
    RunStride<taps, 1>(args);
  } else if (args.pixel_stride == 2 * args.tap_stride) {
    RunStride<taps, 2>(args);
  } else {
    RunApart<taps>(args);
  }
}

void RunInside(const DepthwiseF32Args& args) {
  switch (args.kernel_w) {
    case 2:  // the usual kernels at the map's edges
      RunApart<2>(args);
      break;
    case 3:
      RunTaps<3>(args);
      break;
    case 4:
      RunApart<4>(args);
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

void f32_depthwise_neon(const DepthwiseF32Args& args) {
  DepthwiseF32Args rest = args;
#if DGMS_AARCH64
  for (int64_t done = -1; args.kernel_w == 3 && done != 0;) {
    done = RunLineOf3(rest);
    if (done == rest.channels) return;
    rest.input += done;
    rest.weights += done;
    rest.bias += done;
    rest.output += done;
    rest.channels -= done;
  }
  const int64_t edge = args.kernel_w == 5 ? RunEdgesOf5(args) : 0;
  if (edge > 0) {
    rest.input += edge * args.pixel_stride;
    rest.output += edge * args.output_stride;
    rest.pixels -= 2 * edge;
    rest.pad_left = rest.line_columns = 0;
  }
#endif
  ForEachRun(rest, RunInside);
}

}  // namespace dgms
