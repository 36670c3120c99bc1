// The int8 depthwise kernels of AVX2 and AVX-512, written once over the names that the including file defines first:
//   kLanes      channels per vector of 16-bit numbers
//   kPixels     output pixels at once
//   Words       a vector of kLanes 16-bit numbers, or of half as many 32-bit ones
//   Splat16, Subtract16, InterleaveLow, InterleaveHigh (of 16-bit numbers, within 128 bits), None (zeros)
//   MultiplyAddPairs(sum, a, b)    32-bit sums += products of neighbouring 16-bit numbers
//   AllLanes, SomeLanes            load input and weights and store sums: all channels of a vector, or the first few
//
// Kernel lines go in pairs. The inputs of two lines at one position, interleaved channel by channel, meet interleaved
// weights in an instruction that adds neighbouring products; one interleaving serves all pixels whose windows contain
// the position. Interleaving works in each 128 bits of a vector: `low` has the sums of every first four of eight
// channels, `high` the others.
#ifndef DGMS_KERNELS_DEPTHWISE_S8_X86_H_
#define DGMS_KERNELS_DEPTHWISE_S8_X86_H_

#include "kernels/kernel_s8.h"

namespace dgms {
namespace {

struct Pair {
  Words low, high;
  DGMS_INLINE Pair() : low(None()), high(None()) {}
  DGMS_INLINE Pair(Words a, Words b) : low(InterleaveLow(a, b)), high(InterleaveHigh(a, b)) {}
  DGMS_INLINE void Add(const Pair& a, const Pair& b) {
    low = MultiplyAddPairs(low, a.low, b.low);
    high = MultiplyAddPairs(high, a.high, b.high);
  }
};

// Two lines of input or of weights; the second may be missing, and counts as zeros.
struct LinePair {
  bool both;
  int64_t line_stride, tap_stride;

  template <typename Lanes>
  DGMS_INLINE Pair Inputs(const int8_t* line, int64_t tap, Words zero, const Lanes& lanes) const {
    const int8_t* at = line + tap * tap_stride;
    const Words first = Subtract16(lanes.Input(at), zero);
    return Pair(first, both ? Subtract16(lanes.Input(at + line_stride), zero) : None());
  }
  template <typename Lanes>
  DGMS_INLINE Pair Weights(const int16_t* line, int64_t tap, const Lanes& lanes) const {
    const int16_t* at = line + tap * tap_stride;
    return Pair(lanes.Weights(at), both ? lanes.Weights(at + line_stride) : None());
  }
};

// A pair of lines of any length.
struct AnyLines {
  template <int pixels, typename Lanes>
  static DGMS_INLINE void Sum(const DepthwiseS8Args& args, const int8_t* input, const int16_t* weights, bool both,
                              Words zero, const Lanes& lanes, Pair (&sums)[pixels]) {
    const LinePair in = {both, args.line_stride, args.tap_stride};
    const LinePair filter = {both, args.weight_line_stride, args.weight_tap_stride};
    for (int64_t kx = 0; kx < args.kernel_w; ++kx) {
      const Pair w = filter.Weights(weights, kx, lanes);
#pragma GCC unroll 8
      for (int i = 0; i < pixels; ++i) {
        sums[i].Add(in.Inputs(input + i * args.pixel_stride, kx, zero, lanes), w);
      }
    }
  }
};

// A pair of lines of `taps` taps, one pixel every `stride` taps: the windows of neighbouring pixels overlap, and every
// input is loaded once for all of them.
template <int taps, int stride>
struct Window {
  template <int pixels, typename Lanes>
  static DGMS_INLINE void Sum(const DepthwiseS8Args& args, const int8_t* input, const int16_t* weights, bool both,
                              Words zero, const Lanes& lanes, Pair (&sums)[pixels]) {
    const LinePair in = {both, args.line_stride, args.tap_stride};
    const LinePair filter = {both, args.weight_line_stride, args.weight_tap_stride};
    Pair w[taps];
#pragma GCC unroll 8
    for (int kx = 0; kx < taps; ++kx) w[kx] = filter.Weights(weights, kx, lanes);
#pragma GCC unroll 32
    for (int at = 0; at < (pixels - 1) * stride + taps; ++at) {
      const Pair x = in.Inputs(input, at, zero, lanes);
#pragma GCC unroll 8
      for (int i = 0; i < pixels; ++i) {
        const int kx = at - i * stride;
        if (kx >= 0 && kx < taps) sums[i].Add(x, w[kx]);
      }
    }
  }
};

// `pixels` output pixels from `first` on, one vector of channels from c on.
template <typename Lines, int pixels, typename Lanes>
DGMS_INLINE void Vector(const DepthwiseS8Args& args, int64_t first, int64_t c, const Lanes& lanes) {
  Pair sums[pixels];
  const Words zero = Splat16(static_cast<int16_t>(args.zero));
  const int8_t* input = args.input + first * args.pixel_stride + c;
  const int16_t* weights = args.weights + c;
  for (int64_t ky = args.kernel_h; ky > 0; ky -= 2) {
    if (ky > 1) {
      Lines::template Sum<pixels>(args, input, weights, true, zero, lanes, sums);
    } else {
      Lines::template Sum<pixels>(args, input, weights, false, zero, lanes, sums);
    }
    input += 2 * args.line_stride;
    weights += 2 * args.weight_line_stride;
  }
#pragma GCC unroll 8
  for (int i = 0; i < pixels; ++i) lanes.Store(args.sums + (first + i) * args.channels + c, sums[i].low, sums[i].high);
}

template <typename Lines, int pixels>
void Piece(const DepthwiseS8Args& args, int64_t first) {
  int64_t c = 0;
  for (; c + kLanes <= args.channels; c += kLanes) Vector<Lines, pixels>(args, first, c, AllLanes{});
  if (c < args.channels) Vector<Lines, pixels>(args, first, c, SomeLanes(static_cast<int>(args.channels - c)));
}

template <typename Lines>
void RunPieces(const DepthwiseS8Args& args) {
  int64_t first = 0;
  for (; first + kPixels <= args.pixels; first += kPixels) Piece<Lines, kPixels>(args, first);
  for (; first + 2 <= args.pixels; first += 2) Piece<Lines, 2>(args, first);
  if (first < args.pixels) Piece<Lines, 1>(args, first);
}

void Depthwise(const DepthwiseS8Args& args) {
  const bool stride1 = args.pixel_stride == args.tap_stride, stride2 = args.pixel_stride == 2 * args.tap_stride;
  if (args.kernel_w == 3 && stride1) return RunPieces<Window<3, 1>>(args);
  if (args.kernel_w == 3 && stride2) return RunPieces<Window<3, 2>>(args);
  if (args.kernel_w == 5 && stride1) return RunPieces<Window<5, 1>>(args);
  if (args.kernel_w == 5 && stride2) return RunPieces<Window<5, 2>>(args);
  RunPieces<AnyLines>(args);
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_DEPTHWISE_S8_X86_H_
