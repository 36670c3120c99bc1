// The depthwise kernels of AVX2 and AVX-512, written once over simd_avx2.h or simd_avx512.h, which the including file
// includes first. Up to 8 output pixels by one vector of channels at a time: a weight is loaded once for all of them,
// and their sums are chains enough to hide the latency of the multiply-add.
#ifndef DGMS_KERNELS_DEPTHWISE_X86_H_
#define DGMS_KERNELS_DEPTHWISE_X86_H_

#include "kernels/kernel.h"

namespace dgms {
namespace {

constexpr int kPixels = 8;

// All lanes, or the first few: what the channels of one vector need.
struct AllLanes {
  DGMS_INLINE Floats Get(const float* p) const { return Load(p); }
  DGMS_INLINE void Put(float* p, Floats v) const { Store(p, v); }
};
struct SomeLanes {
  Mask mask;
  DGMS_INLINE Floats Get(const float* p) const { return Load(p, mask); }
  DGMS_INLINE void Put(float* p, Floats v) const { Store(p, v, mask); }
};

template <int pixels>
struct PixelSums {
  Floats v[pixels];
};

// The i-th of evenly spaced pointers, from every fourth of them by 0, 1, 2 or 3 strides (which x86 addresses can add).
template <int count>
struct Strided {
  const float* every_fourth[(count + 3) / 4];
  int64_t stride, stride3;
  DGMS_INLINE Strided(const float* first, int64_t stride) : stride(stride), stride3(3 * stride) {
#pragma GCC unroll 8
    for (int i = 0; i < (count + 3) / 4; ++i) every_fourth[i] = first + 4 * i * stride;
  }
  DGMS_INLINE const float* operator[](int i) const {
    return every_fourth[i / 4] + (i % 4 == 3 ? stride3 : (i % 4) * stride);
  }
};

// Which of a piece's positions are inside of the line, counted from the first pixel's first tap.
struct Everywhere {
  DGMS_INLINE bool Has(int64_t) const { return true; }
};
struct Between {
  int64_t first, end;
  DGMS_INLINE bool Has(int64_t position) const { return position >= first && position < end; }
};

// One kernel line of any length.
struct AnyLine {
  template <int pixels, typename Inside, typename Lanes>
  static DGMS_INLINE void Sum(const DepthwiseF32Args& args, const float* input, const float* weights,
                              const Inside& inside, const Lanes& lanes, PixelSums<pixels>& sums) {
    const int64_t step = args.pixel_stride / args.tap_stride;
    for (int64_t kx = 0; kx < args.kernel_w; ++kx, input += args.tap_stride, weights += args.weight_tap_stride) {
      const Floats weight = lanes.Get(weights);
      const Strided<pixels> x(input, args.pixel_stride);
#pragma GCC unroll 8
      for (int i = 0; i < pixels; ++i) {
        if (inside.Has(i * step + kx)) sums.v[i] = MultiplyAdd(lanes.Get(x[i]), weight, sums.v[i]);
      }
    }
  }
};

// A kernel line of `taps` taps, one pixel every `stride` taps: the windows of neighbouring pixels overlap, and every
// input is loaded once for all of them. For one pixel the inputs come in the order of its taps, as the contract asks.
template <int taps, int stride>
struct Window {
  template <int pixels, typename Inside, typename Lanes>
  static DGMS_INLINE void Sum(const DepthwiseF32Args& args, const float* input, const float* weights,
                              const Inside& inside, const Lanes& lanes, PixelSums<pixels>& sums) {
    constexpr int kPositions = (pixels - 1) * stride + taps;
    Floats weight[taps];
#pragma GCC unroll 8
    for (int kx = 0; kx < taps; ++kx) weight[kx] = lanes.Get(weights + kx * args.weight_tap_stride);
    const Strided<kPositions> x(input, args.tap_stride);
#pragma GCC unroll 32
    for (int at = 0; at < kPositions; ++at) {
      if (!inside.Has(at)) continue;
      Floats value = lanes.Get(x[at]);
      Hold(value);
#pragma GCC unroll 8
      for (int i = 0; i < pixels; ++i) {
        const int kx = at - i * stride;
        if (kx >= 0 && kx < taps) sums.v[i] = MultiplyAdd(value, weight[kx], sums.v[i]);
      }
    }
  }
};

// `pixels` outputs from pixel `first` on, one vector of channels from c on.
template <typename Line, int pixels, typename Inside, typename Lanes>
DGMS_INLINE void Vector(const DepthwiseF32Args& args, int64_t first, int64_t c, const Inside& inside,
                        const Lanes& lanes) {
  PixelSums<pixels> sums;
  const Floats bias = lanes.Get(args.bias + c);
#pragma GCC unroll 8
  for (int i = 0; i < pixels; ++i) sums.v[i] = bias;
  const float* input = args.input + first * args.pixel_stride + c;
  const float* weights = args.weights + c;
  for (int64_t ky = args.kernel_h; ky > 0; --ky, input += args.line_stride, weights += args.weight_line_stride) {
    Line::template Sum<pixels>(args, input, weights, inside, lanes, sums);
  }
  const Floats min = Splat(args.min), max = Splat(args.max);
  float* output = args.output + first * args.output_stride + c;
#pragma GCC unroll 8
  for (int i = 0; i < pixels; ++i) lanes.Put(output + i * args.output_stride, Clamp(sums.v[i], min, max));
}

template <typename Line, int pixels, typename Inside>
DGMS_INLINE void Channels(const DepthwiseF32Args& call, int64_t first, const Inside& inside) {
  const DepthwiseF32Args args = call;  // our own, which no store of outputs can change
  int64_t c = 0;
  for (; c + kLanes <= args.channels; c += kLanes) Vector<Line, pixels>(args, first, c, inside, AllLanes{});
  if (c < args.channels) Vector<Line, pixels>(args, first, c, inside, SomeLanes{First(args.channels - c)});
}

template <typename Line, int pixels>
void Piece(const DepthwiseF32Args& args, int64_t first) {
  if (args.line_columns != 0) {
    const int64_t step = args.pixel_stride / args.tap_stride, from = args.pad_left - first * step;
    const Between inside = {from, from + args.line_columns};
    if (inside.first > 0 || inside.end < (pixels - 1) * step + args.kernel_w) {
      return Channels<Line, pixels>(args, first, inside);
    }
  }
  Channels<Line, pixels>(args, first, Everywhere{});
}

// Pieces are as equal as possible: a pixel alone is one chain of sums, which waits for itself.
template <typename Line>
void RunPieces(const DepthwiseF32Args& args) {
  using PieceFn = void (*)(const DepthwiseF32Args&, int64_t);
  static constexpr PieceFn kPieces[kPixels] = {Piece<Line, 1>, Piece<Line, 2>, Piece<Line, 3>, Piece<Line, 4>,
                                               Piece<Line, 5>, Piece<Line, 6>, Piece<Line, 7>, Piece<Line, 8>};
  int64_t first = 0;
  for (int64_t pieces = (args.pixels + kPixels - 1) / kPixels; pieces > 0; --pieces) {
    const int64_t count = (args.pixels - first + pieces - 1) / pieces;
    kPieces[count - 1](args, first);
    first += count;
  }
}

void Depthwise(const DepthwiseF32Args& args) {
  const bool stride1 = args.pixel_stride == args.tap_stride, stride2 = args.pixel_stride == 2 * args.tap_stride;
  if (args.kernel_w == 3 && stride1) return RunPieces<Window<3, 1>>(args);
  if (args.kernel_w == 3 && stride2) return RunPieces<Window<3, 2>>(args);
  if (args.kernel_w == 5 && stride1) return RunPieces<Window<5, 1>>(args);
  if (args.kernel_w == 5 && stride2) return RunPieces<Window<5, 2>>(args);
  RunPieces<AnyLine>(args);
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_DEPTHWISE_X86_H_
