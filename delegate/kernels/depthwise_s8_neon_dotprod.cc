// int8 depthwise sums with the ARMv8.2 dot product, which adds four neighbouring bytes: four lines of the kernel, once
// the bytes of four lines of the input are interleaved (depthwise_s8_window_neon.h). Kernels of more than four lines
// take four at a time.
#include "kernels/depthwise_s8_window_neon.h"

namespace dgms {
namespace {

constexpr int64_t kFewPixels = 2;  // so many are not worth a window

template <int taps, int stride, int vectors, bool add>
void Lines(const DepthwiseS8Args& args, int64_t first, int64_t c) {
  Memory memory;
  using Output = ToSums<vectors, add, false>;
  const Output output(args.sums + c, args.channels);
  if (args.kernel_h - first > 3) {
    Window<taps, stride, vectors, 4, Output>(args, first, c, output, &memory).Run();
  } else {
    Window<taps, stride, vectors, 3, Output>(args, first, c, output, &memory).Run();
  }
}

template <int taps, int stride, int vectors>
void Channels(const DepthwiseS8Args& args, int64_t c) {
  Lines<taps, stride, vectors, false>(args, 0, c);
  for (int64_t first = kLines; first < args.kernel_h; first += kLines) {
    Lines<taps, stride, vectors, true>(args, first, c);
  }
}

// The last channels begin where they fill vectors; those done twice come out the same.
template <int taps, int stride, int vectors>
void AllChannels(const DepthwiseS8Args& args) {
  constexpr int64_t kChannels = vectors * kLanes;
  int64_t c = 0;
  for (; c + kChannels <= args.channels; c += kChannels) Channels<taps, stride, vectors>(args, c);
  if (c < args.channels) Channels<taps, stride, vectors>(args, args.channels - kChannels);
}

}  // namespace

void s8_depthwise_neon_dotprod_prepare(const PrepareDepthwiseS8Args& args) {
  const int64_t all = (args.channels + kDepthwiseChannelsS8 - 1) / kDepthwiseChannelsS8 * kDepthwiseChannelsS8;
  int8_t* prepared = args.prepared;
  for (int64_t line = 0; line < args.kernel_h; line += kLines) {
    const int64_t count = args.kernel_h - line < kLines ? args.kernel_h - line : kLines;
    for (int64_t c = 0; c < all; c += kPreparedChannels) {
      for (int64_t kx = 0; kx < args.kernel_w; ++kx, prepared += kTapBytes) {
        const int16_t* weights = args.weights + line * args.line_stride + kx * args.tap_stride + c;
        if (c + kPreparedChannels <= args.channels) {
          int8x16_t bytes[4];
          InterleaveWeights(weights, args.line_stride, count, bytes);
#pragma GCC unroll 4
          for (int v = 0; v < 4; ++v) vst1q_s8(prepared + v * 16, bytes[v]);
        } else {
          for (int64_t i = 0; i < kTapBytes; ++i) {
            const bool is_there = c + i / kLines < args.channels && i % kLines < count;
            prepared[i] = is_there ? static_cast<int8_t>(weights[i % kLines * args.line_stride + i / kLines]) : 0;
          }
        }
      }
    }
  }
}

void s8_depthwise_neon_dotprod(const DepthwiseS8Args& args) {
  const bool stride1 = args.pixel_stride == args.tap_stride, stride2 = args.pixel_stride == 2 * args.tap_stride;
  if (args.pixels > kFewPixels && args.channels >= 16) {
    if (args.kernel_w == 3 && stride1) return AllChannels<3, 1, 4>(args);
    if (args.kernel_w == 3 && stride2) return AllChannels<3, 2, 4>(args);
    if (args.kernel_w == 5 && stride1) return AllChannels<5, 1, 2>(args);
    if (args.kernel_w == 5 && stride2) return AllChannels<5, 2, 2>(args);
  }
  s8_depthwise_neon(args);
}

}  // namespace dgms
