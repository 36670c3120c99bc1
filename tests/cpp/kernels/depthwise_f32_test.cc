// Every depthwise kernel that this machine runs, against a plain oracle, every buffer exact between guard pages.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "kernels/guarded_buffer.h"
#include "kernels/kernel.h"
#include "kernels/random_values.h"
#include "kernels/select_kernel.h"

namespace dgms::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<const DepthwiseF32Kernel*> Kernels() {
  int count = 0;
  const DepthwiseF32Kernel* const* kernels = DepthwiseF32Kernels(&count);
  return {kernels, kernels + count};
}

struct Case {
  int64_t kernel_h = 3, kernel_w = 3, pixels = 1, channels = 1, stride = 1, dilation_h = 1, dilation_w = 1;
  int64_t skipped_taps = 0;    // on the left of each line, as at a map's edge
  int64_t other_channels = 0;  // that belong to another call: only the weights' stride sees them here
  float min = -kInfinity, max = kInfinity;
};

void Check(const DepthwiseF32Kernel& kernel, const Case& c, uint64_t seed) {
  SCOPED_TRACE(std::string(kernel.name) + " kernel " + std::to_string(c.kernel_h) + "x" + std::to_string(c.kernel_w) +
               " pixels " + std::to_string(c.pixels) + " channels " + std::to_string(c.channels) + " stride " +
               std::to_string(c.stride) + " dilation " + std::to_string(c.dilation_h) + "x" +
               std::to_string(c.dilation_w) + " skipped " + std::to_string(c.skipped_taps));
  Random random(seed);
  const Flush flush = seed % 2 == 0 ? Flush::kEnd : Flush::kStart;
  const int64_t columns = (c.pixels - 1) * c.stride + (c.kernel_w - 1) * c.dilation_w + 1;
  const int64_t line = columns * c.channels;
  const GuardedBuffer<float> input(random.Floats(((c.kernel_h - 1) * c.dilation_h + 1) * line), flush);
  const int64_t taps_per_line = c.kernel_w + c.skipped_taps;
  // The weights of the skipped taps lie between the lines; those before the first belong to nobody here.
  const int64_t weight_tap = c.channels + c.other_channels, weight_line = taps_per_line * weight_tap;
  const int64_t weight_count = (c.kernel_h - 1) * weight_line + (c.kernel_w - 1) * weight_tap + c.channels;
  const GuardedBuffer<float> weights(random.Floats(weight_count), flush);
  const GuardedBuffer<float> bias(random.Floats(c.channels), flush);
  const int64_t output_stride = c.channels + 3;
  const std::vector<float> old = random.Floats((c.pixels - 1) * output_stride + c.channels);
  GuardedBuffer<float> output(old, flush);

  DepthwiseF32Args args = {};
  args.input = input.data();
  args.line_stride = c.dilation_h * line;
  args.tap_stride = c.dilation_w * c.channels;
  args.pixel_stride = c.stride * c.channels;
  args.kernel_h = c.kernel_h;
  args.kernel_w = c.kernel_w;
  args.pixels = c.pixels;
  args.channels = c.channels;
  args.weights = weights.data();
  args.weight_line_stride = weight_line;
  args.weight_tap_stride = weight_tap;
  args.bias = bias.data();
  args.output = output.data();
  args.output_stride = output_stride;
  args.min = c.min;
  args.max = c.max;
  kernel.run(args);

  EXPECT_TRUE(output.SurroundingsIntact());
  for (int64_t at = 0; at < output.size(); ++at) {
    const int64_t pixel = at / output_stride, channel = at % output_stride;
    if (channel >= c.channels) {
      ASSERT_EQ(output[at], old[at]) << "written between the pixels";
      continue;
    }
    double sum = bias[channel], magnitude = std::abs(sum);
    for (int64_t ky = 0; ky < c.kernel_h; ++ky) {
      for (int64_t kx = 0; kx < c.kernel_w; ++kx) {
        const double x = input[ky * args.line_stride + pixel * args.pixel_stride + kx * args.tap_stride + channel];
        const double w = weights[ky * weight_line + kx * weight_tap + channel];
        sum += x * w;
        magnitude += std::abs(x * w);
      }
    }
    const double expected = std::min<double>(c.max, std::max<double>(c.min, sum));
    ASSERT_NEAR(output[at], expected, SumTolerance(magnitude)) << "pixel " << pixel << " channel " << channel;
  }
}

class DepthwiseF32 : public ::testing::TestWithParam<const DepthwiseF32Kernel*> {};

INSTANTIATE_TEST_SUITE_P(Kernels, DepthwiseF32, ::testing::ValuesIn(Kernels()),
                         [](const auto& test) { return std::string(test.param->name); });

TEST_P(DepthwiseF32, AllPixelAndChannelCounts) {
  for (int64_t pixels = 1; pixels <= 19; ++pixels) {
    for (int64_t channels = 1; channels <= 70; channels += channels < 36 ? 1 : 11) {
      Case c;
      c.pixels = pixels;
      c.channels = channels;
      Check(*GetParam(), c, static_cast<uint64_t>(pixels * 100 + channels));
    }
  }
}

TEST_P(DepthwiseF32, KernelsStridesAndDilations) {
  uint64_t seed = 0;
  for (const int64_t kernel_h : {1, 2, 3, 5}) {
    for (const int64_t kernel_w : {1, 2, 3, 4, 5, 7}) {
      for (const int64_t stride : {1, 2, 3}) {
        for (const int64_t dilation : {1, 2}) {
          for (const int64_t skipped : {0, 2}) {
            for (const int64_t channels : {3, 16, 33}) {
              Case c = {kernel_h,     kernel_w, 9,           channels, stride, dilation,
                        3 - dilation, skipped,  skipped * 8, 0.0f,     0.5f};
              Check(*GetParam(), c, ++seed);
            }
          }
        }
      }
    }
  }
}

TEST_P(DepthwiseF32, NanAndInfinityPropagate) {
  const int64_t channels = 21, pixels = 10;
  for (int i = 0; i < 4; ++i) {
    const float bad = i % 2 == 0 ? std::numeric_limits<float>::quiet_NaN() : kInfinity;
    const int64_t at = i < 2 ? 20 : 6;  // whole vectors have kernels of their own
    std::vector<float> input(12 * channels, 1.0f), weights(3 * channels, 1.0f), bias(channels, 0.0f),
        output(pixels * channels);
    input[5 * channels + at] = bad;
    DepthwiseF32Args args = {input.data(),  0,        channels,       channels, 1,        3,
                             pixels,        channels, weights.data(), 0,        channels, bias.data(),
                             output.data(), channels, 0.0f,           6.0f};
    GetParam()->run(args);
    for (int64_t y = 0; y < pixels * channels; ++y) {
      const bool hit = y % channels == at && y / channels >= 3 && y / channels <= 5;
      if (hit && std::isnan(bad)) {
        ASSERT_TRUE(std::isnan(output[y])) << "pixel " << y / channels;
      } else {
        ASSERT_EQ(output[y], hit ? 6.0f : 3.0f) << "pixel " << y / channels << " channel " << y % channels;
      }
    }
  }
}

// The order of summation is part of the contract: a pixel's value does not depend on its run.
TEST_P(DepthwiseF32, RunDoesNotChangeResults) {
  const int64_t channels = 37, pixels = 17;
  Random random(3);
  const std::vector<float> input = random.Floats(3 * 19 * channels), weights = random.Floats(9 * channels),
                           bias = random.Floats(channels);
  std::vector<float> whole(pixels * channels), part(pixels * channels);
  DepthwiseF32Args args = {input.data(), 19 * channels, channels,       channels,     3,        3,
                           pixels,       channels,      weights.data(), 3 * channels, channels, bias.data(),
                           whole.data(), channels,      -1.0f,          1.0f};
  GetParam()->run(args);
  for (int64_t length = 1; length < pixels; ++length) {
    for (int64_t first = 0; first < pixels; first += length) {
      args.pixels = std::min(length, pixels - first);
      args.input = input.data() + first * channels;
      args.output = part.data() + first * channels;
      GetParam()->run(args);
    }
    ASSERT_EQ(whole, part) << "runs of " << length;
  }
}

// A line of the input, `pad` taps of whose first window are on its left, and the pixels over it.
struct PaddedLine {
  int64_t kernel_w, stride, columns, pad, pixels, channels;
  float min = -kInfinity, max = kInfinity;
};

// Taps beside the line are left out and not read: near the oracle, and the same as one pixel at a time with the taps
// that it has inside.
void CheckPaddedLine(const DepthwiseF32Kernel& kernel, const PaddedLine& l, uint64_t seed) {
  SCOPED_TRACE("kernel width " + std::to_string(l.kernel_w) + " stride " + std::to_string(l.stride) + " columns " +
               std::to_string(l.columns) + " pad " + std::to_string(l.pad) + " pixels " + std::to_string(l.pixels) +
               " channels " + std::to_string(l.channels));
  const Flush flush = seed % 2 == 0 ? Flush::kEnd : Flush::kStart;
  const int64_t kernel_h = 1 + static_cast<int64_t>(seed % 3), channels = l.channels;
  Random random(seed);
  const GuardedBuffer<float> input(random.Floats(kernel_h * l.columns * channels), flush);
  const GuardedBuffer<float> weights(random.Floats(kernel_h * l.kernel_w * channels), flush);
  const GuardedBuffer<float> bias(random.Floats(channels), flush);
  GuardedBuffer<float> output(l.pixels * channels, flush);
  DepthwiseF32Args args = {};
  args.input = input.data() - l.pad * channels;
  args.line_stride = l.columns * channels;
  args.tap_stride = args.output_stride = args.channels = args.weight_tap_stride = channels;
  args.pixel_stride = l.stride * channels;
  args.kernel_h = kernel_h;
  args.kernel_w = l.kernel_w;
  args.pixels = l.pixels;
  args.weights = weights.data();
  args.weight_line_stride = l.kernel_w * channels;
  args.bias = bias.data();
  args.output = output.data();
  args.min = l.min;
  args.max = l.max;
  args.pad_left = l.pad;
  args.line_columns = l.columns;
  kernel.run(args);
  EXPECT_TRUE(output.SurroundingsIntact());
  for (int64_t i = 0; i < l.pixels; ++i) {
    const int64_t origin = i * l.stride - l.pad, first = std::max<int64_t>(0, -origin);
    const int64_t end = std::min(l.kernel_w, l.columns - origin);
    std::vector<float> alone(static_cast<size_t>(channels));
    DepthwiseF32Args pixel = args;
    pixel.pixels = 1;
    pixel.pad_left = pixel.line_columns = 0;
    pixel.kernel_w = end - first;
    pixel.input = input.data() + (origin + first) * channels;
    pixel.weights = weights.data() + first * channels;
    pixel.output = alone.data();
    kernel.run(pixel);
    for (int64_t c = 0; c < channels; ++c) {
      double sum = bias[c], magnitude = std::abs(sum);
      for (int64_t ky = 0; ky < kernel_h; ++ky) {
        for (int64_t kx = first; kx < end; ++kx) {
          const double x = input[(ky * l.columns + origin + kx) * channels + c];
          const double w = weights[(ky * l.kernel_w + kx) * channels + c];
          sum += x * w;
          magnitude += std::abs(x * w);
        }
      }
      const double expected = std::min<double>(l.max, std::max<double>(l.min, sum));
      ASSERT_NEAR(output[i * channels + c], expected, SumTolerance(magnitude)) << "pixel " << i << " channel " << c;
      ASSERT_EQ(output[i * channels + c], alone[static_cast<size_t>(c)]) << "pixel " << i << " channel " << c;
    }
  }
}

TEST_P(DepthwiseF32, TapsOutsideOfTheLine) {
  uint64_t seed = 0;
  for (const int64_t kernel_w : {2, 3, 5, 7}) {
    for (const int64_t stride : {1, 2, 3}) {
      for (int64_t columns = 1; columns <= 21; columns += columns < 6 ? 1 : 5) {
        for (int64_t at = 0; at < kernel_w * 3; ++at) {
          // As many pixels as have a tap inside, or up to two fewer: with more and with less padding on the right.
          const int64_t pad = at / 3, pixels = (pad + columns - 1) / stride + 1 - at % 3;
          if (pixels >= 1) CheckPaddedLine(*GetParam(), {kernel_w, stride, columns, pad, pixels, 19}, ++seed);
        }
      }
    }
  }
}

// Long lines of channels that are whole vectors, two, three and more, and with bounds: kernels have ways of their own
// for those. The padding is SAME's, and one tap less on either side.
TEST_P(DepthwiseF32, LongPaddedLines) {
  uint64_t seed = 0;
  for (const int64_t kernel_w : {3, 5}) {
    for (const int64_t stride : {1, 2}) {
      for (int64_t columns = 24; columns <= 38; ++columns) {
        for (const int64_t pad : {kernel_w / 2, kernel_w / 2 - 1}) {
          for (const int64_t fewer : {0, 1}) {
            for (const int64_t channels : {8, 12, 16, 20, 24, 32, 60}) {
              const int64_t pixels = (columns - 1) / stride + 1 - fewer;
              PaddedLine line = {kernel_w, stride, columns, pad, pixels, channels};
              if (++seed % 4 < 2) line.min = -0.25f;
              if (seed % 8 < 4) line.max = 0.25f;
              CheckPaddedLine(*GetParam(), line, seed);
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace dgms::testing
