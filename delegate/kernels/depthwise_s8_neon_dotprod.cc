// int8 depthwise layers with the ARMv8.2 dot product, which adds four neighbouring bytes: four lines of the kernel,
// once the bytes of four lines of the map are interleaved. Kernels of 3x3 stay in registers
// (depthwise_s8_three_neon.h), all others go by strips (depthwise_s8_strip_neon.h).
#include "kernels/depthwise_s8_strip_neon.h"
#include "kernels/depthwise_s8_three_neon.h"

namespace dgms {
namespace {

// What some channels of the lines under a few lines of the output may take in the first-level cache: all lines of a
// map are done before the next channels where they fit, else as many as do.
constexpr int64_t kNearBytes = 32768;
constexpr int64_t kCacheLine = 64;

// Calls run(first, end, c) for all lines of the output and all channels: `width` channels from c on, lines
// first..end - 1, a multiple of `together` but for the last ones.
template <typename RunFn>
void ForEachPart(const DepthwiseLinesS8Args& args, int64_t width, int64_t together, const RunFn& run) {
  const int64_t fitting = kNearBytes / (kCacheLine * args.in_w * args.stride_h) - args.kernel_h;
  const int64_t part = (fitting < together ? together : fitting) / together * together;
  const int64_t end = args.first_line + args.lines;
  for (int64_t first = args.first_line; first < end; first += part) {
    for (int64_t c = 0; c < args.channels; c += width) run(first, end - first < part ? end : first + part, c);
  }
}

// Lines first..end - 1, ThreeByThree's kWidth channels from c on.
template <int stride, OutputsOf of>
void RunThreeByThree(const DepthwiseLinesS8Args& args, const MapLines& map, const RequantizeArgs& output,
                     const Ending& ending, int64_t first, int64_t end, int64_t c) {
  using Pass = ThreeByThree<stride, of>;
  ThreeMemory memory;
  Pass pass(args, output, ending, c, &memory);
  for (int64_t line = first; line < end; line += Pass::kTogether) pass.Run(args, map, output, line, c);
}

template <int stride>
bool TryThreeByThree(const DepthwiseLinesS8Args& args, const RequantizeArgs& output, const Ending& ending) {
  using Pass = ThreeByThree<stride, OutputsOf::kAny>;
  if (!Pass::Fits(args)) return false;
  const MapLines map(args);
  const auto other =
      ending.plain ? RunThreeByThree<stride, OutputsOf::kPlain> : RunThreeByThree<stride, OutputsOf::kAny>;
  ForEachPart(args, Pass::kWidth, Pass::kTogether, [&](int64_t first, int64_t end, int64_t next) {
    // The last channels begin where they fill vectors; those done twice come out the same.
    const int64_t c = next + Pass::kWidth <= args.channels ? next : args.channels - Pass::kWidth;
    const bool narrow = IsNarrow<Pass::kVectors>(output.narrow.From(c));
    (narrow ? RunThreeByThree<stride, OutputsOf::kNarrow> : other)(args, map, output, ending, first, end, c);
  });
  return true;
}

bool TryThreeByThree(const DepthwiseLinesS8Args& args, const RequantizeArgs& output, const Ending& ending) {
  if (args.kernel_h != 3 || args.kernel_w != 3 || args.dilation_h != 1 || args.dilation_w != 1) return false;
  if (args.stride_h == 1 && args.stride_w == 1) return TryThreeByThree<1>(args, output, ending);
  if (args.stride_h == 2 && args.stride_w == 2) return TryThreeByThree<2>(args, output, ending);
  return false;
}

// Pixels of one line, `count` (up to 16) channels.
template <OutputsOf of>
void FinishPixels(const int32_t* sums, int64_t pixels, int64_t count, const RequantizeArgs& output,
                  const Ending& ending) {
  int32x4_t multiplier[4], shift[4];
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) {
    multiplier[v] = vld1q_s32(output.multiplier + v * kLanes);
    shift[v] = vnegq_s32(vld1q_s32(output.right + v * kLanes));
  }
  const uint8x16_t top_bits = TopBits();
  int8_t* to = output.output;
  for (; pixels > 0; --pixels, sums += kStripChannels, to += output.output_row_stride) {
    int32x4_t y[4];
    LoadColumns(sums, y);
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      y[v] = Multiplied<of == OutputsOf::kAny>(y[v], multiplier[v]);
      if (of != OutputsOf::kNarrow) y[v] = vrshlq_s32(y[v], shift[v]);
    }
    const int8x16_t bytes = ToBytes<of>(y, ending, top_bits);
    if (count == kStripChannels) {
      vst1q_s8(to, bytes);
    } else {
      alignas(16) int8_t all[kStripChannels];
      vst1q_s8(all, bytes);
      memcpy(to, all, static_cast<size_t>(count));
    }
  }
}

void RunStrips(const DepthwiseLinesS8Args& args, const RequantizeArgs& output, const Ending& ending) {
  const MapLines map(args);
  const int together = args.stride_h == 1 && args.dilation_h == 1 ? kMaxTogether : 1;
  const TilesFn tiles[2] = {ChooseTiles(args, 1), ChooseTiles(args, 2)};
  const auto other = ending.plain ? FinishPixels<OutputsOf::kPlain> : FinishPixels<OutputsOf::kAny>;
  StripMemory memory;
  ForEachPart(args, kStripChannels, together, [&](int64_t first, int64_t end, int64_t next) {
    const bool overlaps = next + kStripChannels > args.channels && args.channels >= kStripChannels;
    const int64_t c = overlaps ? args.channels - kStripChannels : next;
    const int64_t count = args.channels < kStripChannels ? args.channels : kStripChannels;
    Strip strip(args, map, c, count, &memory);
    const NarrowS8 of_channels = output.narrow.From(c);
    const bool narrow = count == kStripChannels && IsNarrow<kStripVectors>(of_channels);
    const auto finish = narrow ? FinishPixels<OutputsOf::kNarrow> : other;
    strip.Prepare(narrow ? of_channels.bias : output.bias + c, together);
    RequantizeArgs columns = output;
    columns.multiplier = narrow ? of_channels.multiplier : output.multiplier + c;
    columns.right += c;
    for (int64_t line = first; line < end; line += together) {
      const int lines = end - line < together ? 1 : together;
      for (int64_t x = 0; x < args.pixels; x += strip.MostPixels()) {
        const int64_t pixels = args.pixels - x < strip.MostPixels() ? args.pixels - x : strip.MostPixels();
        strip.Sums(line, lines, tiles[lines - 1], x, pixels);
        for (int i = 0; i < lines; ++i) {
          const int64_t pixel = (line + i - args.first_line) * args.pixels + x;
          columns.output = output.output + pixel * output.output_row_stride + c;
          finish(memory.sums[i][0], pixels, count, columns, ending);
        }
      }
    }
  });
}

// The weights of one line and tap, as bytes.
int8x16_t LoadWeights(const int16_t* p) { return vmovn_high_s16(vmovn_s16(vld1q_s16(p)), vld1q_s16(p + 8)); }

// The weights of one tap of `count` (1..4) lines.
void InterleaveWeights(const int16_t* weights, int64_t line_stride, int64_t count, int8x16_t (&out)[4]) {
  int8x16_t w[kLines];
#pragma GCC unroll 4
  for (int i = 0; i < kLines; ++i) w[i] = i < count ? LoadWeights(weights + i * line_stride) : vdupq_n_s8(0);
  Interleave(w[0], w[1], w[2], w[3], out);
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

// Shapes that `lines` does not do, or outputs.
void s8_depthwise_neon_dotprod(const DepthwiseS8Args& args) { s8_depthwise_neon(args); }

void s8_depthwise_neon_dotprod_lines(const DepthwiseLinesS8Args& args, const RequantizeArgs& output) {
  const Ending ending(args, output);
  if (!TryThreeByThree(args, output, ending)) RunStrips(args, output, ending);
}

}  // namespace dgms
