// Every int8 depthwise kernel that this machine runs, against plain loops, every buffer exact between guard pages.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kernels/gemm_s8_tester.h"
#include "kernels/requantize_oracle.h"
#include "kernels/select_kernel.h"

namespace dgms::testing {
namespace {

std::vector<const DepthwiseS8Kernel*> Kernels() {
  int count = 0;
  const DepthwiseS8Kernel* const* kernels = DepthwiseS8Kernels(&count);
  return {kernels, kernels + count};
}

struct Case {
  int64_t kernel_h = 3, kernel_w = 3, pixels = 5, channels = 8;
  int64_t stride = 1, dilation = 1;
  int64_t extra = 0;  // channels of the tensor that the run leaves out
  int32_t zero = 0;
  bool extremes = false;
  uint64_t seed = 1;
};

class DepthwiseS8 : public ::testing::TestWithParam<const DepthwiseS8Kernel*> {
 protected:
  void Check(const Case& c) {
    SCOPED_TRACE("kernel " + std::to_string(c.kernel_h) + "x" + std::to_string(c.kernel_w) + " pixels " +
                 std::to_string(c.pixels) + " channels " + std::to_string(c.channels) + " stride " +
                 std::to_string(c.stride) + " dilation " + std::to_string(c.dilation) + " zero " +
                 std::to_string(c.zero));
    Random random(c.seed);
    const int64_t channels = c.channels + c.extra;  // of the whole tensor
    const int64_t width = (c.pixels - 1) * c.stride + (c.kernel_w - 1) * c.dilation + 1;
    const int64_t line = width * channels;
    const int64_t input_size = ((c.kernel_h - 1) * c.dilation) * line + line - c.extra;
    const int64_t weight_size = c.kernel_h * c.kernel_w * channels - c.extra;
    std::vector<int8_t> x = RandomInt8(random, input_size);
    std::vector<int8_t> w = RandomInt8(random, weight_size, -127);
    if (c.extremes) {
      x.assign(x.size(), c.zero > 0 ? -128 : 127);
      w.assign(w.size(), c.seed % 2 == 0 ? -127 : 127);
    }
    const Flush flush = c.seed % 2 == 0 ? Flush::kEnd : Flush::kStart;
    const GuardedBuffer<int8_t> input(x, flush);
    const GuardedBuffer<int16_t> weights(std::vector<int16_t>(w.begin(), w.end()), flush);
    GuardedBuffer<int32_t> sums(c.pixels * c.channels, flush);
    DepthwiseS8Args args = {};
    args.input = input.data();
    args.line_stride = c.dilation * line;
    args.tap_stride = c.dilation * channels;
    args.pixel_stride = c.stride * channels;
    args.kernel_h = c.kernel_h;
    args.kernel_w = c.kernel_w;
    args.pixels = c.pixels;
    args.channels = c.channels;
    args.weights = weights.data();
    args.weight_line_stride = c.kernel_w * channels;
    args.weight_tap_stride = channels;
    args.zero = c.zero;
    args.sums = sums.data();
    GetParam()->run(args);
    CheckSums(c, args, x, w, sums);
    if (GetParam()->prepare == nullptr) return;
    // The same with prepared weights, all taps at first, then without the first one of each line.
    GuardedBuffer<int8_t> prepared(
        RoundUp(c.kernel_h, kDepthwiseLinesS8) * c.kernel_w * RoundUp(c.channels, kDepthwiseChannelsS8), Flush::kEnd,
        kAlignment);
    GetParam()->prepare({weights.data(), args.weight_line_stride, args.weight_tap_stride, c.kernel_h, c.kernel_w,
                         c.channels, prepared.data()});
    EXPECT_TRUE(prepared.SurroundingsIntact());
    args.prepared = prepared.data();
    args.prepared_taps = c.kernel_w;
    GetParam()->run(args);
    CheckSums(c, args, x, w, sums);
    if (c.kernel_w == 1) return;
    args.first_tap = 1;
    args.weights += args.weight_tap_stride;
    args.kernel_w -= 1;
    args.input += args.tap_stride;
    GetParam()->run(args);
    x.erase(x.begin(), x.begin() + args.tap_stride);
    w.erase(w.begin(), w.begin() + channels);
    CheckSums(c, args, x, w, sums);
  }

  static void CheckSums(const Case& c, const DepthwiseS8Args& args, const std::vector<int8_t>& x,
                        const std::vector<int8_t>& w, const GuardedBuffer<int32_t>& sums) {
    EXPECT_TRUE(sums.SurroundingsIntact());
    for (int64_t i = 0; i < c.pixels; ++i) {
      for (int64_t ch = 0; ch < c.channels; ++ch) {
        int64_t expected = 0;
        for (int64_t ky = 0; ky < c.kernel_h; ++ky) {
          for (int64_t kx = 0; kx < args.kernel_w; ++kx) {
            const int64_t at = ky * args.line_stride + i * args.pixel_stride + kx * args.tap_stride + ch;
            expected += int64_t{x[at] - c.zero} * w[ky * args.weight_line_stride + kx * args.weight_tap_stride + ch];
          }
        }
        ASSERT_EQ(sums[i * c.channels + ch], expected) << "pixel " << i << " channel " << ch;
      }
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Kernels, DepthwiseS8, ::testing::ValuesIn(Kernels()),
                         [](const auto& test) { return std::string(test.param->name); });

TEST_P(DepthwiseS8, AllChannelsAndPixels) {
  for (int64_t channels = 1; channels <= 140; channels += channels < 70 ? 1 : 9) {
    for (int64_t pixels = 1; pixels <= 9; ++pixels) {
      Case c;
      c.channels = channels;
      c.pixels = pixels;
      c.extra = channels % 3;
      c.zero = static_cast<int32_t>(channels * 6 % 256 - 128);
      c.seed = static_cast<uint64_t>(channels * 10 + pixels);
      Check(c);
    }
  }
}

TEST_P(DepthwiseS8, KernelsStridesDilations) {
  for (int64_t h = 1; h <= 9; h += h < 5 ? 1 : 2) {
    for (int64_t w = 1; w <= 7; ++w) {
      for (const int64_t stride : {1, 2, 3}) {
        for (const int64_t dilation : {1, 2}) {
          Case c;
          c.kernel_h = h;
          c.kernel_w = w;
          c.stride = stride;
          c.dilation = dilation;
          c.channels = 19 + 20 * (w % 3);
          c.zero = static_cast<int32_t>(h * w - 20);
          c.seed = static_cast<uint64_t>(h + w + stride);
          Check(c);
        }
      }
    }
  }
}

// Differences of 255 and weights of 127: the largest products that 16 bits hold.
TEST_P(DepthwiseS8, Extremes) {
  for (const int32_t zero : {-128, 127}) {
    for (const uint64_t seed : {1, 2}) {
      Case c;
      c.kernel_h = c.kernel_w = 11;
      c.channels = 24;
      c.zero = zero;
      c.extremes = true;
      c.seed = seed;
      Check(c);
    }
  }
}

// One line of a map and the lines of the kernel first_line.. that are inside of it.
struct LineCase {
  int64_t kernel_w = 3, stride = 1;
  int64_t kernel_h = 3, first_line = 0, lines = 3;
  int64_t columns = 7, pad_left = 1, pad_right = 1;
  int64_t channels = 16;
  int64_t extra = 0;  // channels of the tensor that the call leaves out
  uint64_t seed = 1;
};

class DepthwiseLineS8 : public DepthwiseS8 {
 protected:
  // Whether the kernel does it.
  bool Check(const LineCase& c) {
    SCOPED_TRACE("lines " + std::to_string(c.first_line) + "+" + std::to_string(c.lines) + " of " +
                 std::to_string(c.kernel_h) + " taps " + std::to_string(c.kernel_w) + " stride " +
                 std::to_string(c.stride) + " columns " + std::to_string(c.pad_left) + "+" + std::to_string(c.columns) +
                 "+" + std::to_string(c.pad_right) + " channels " + std::to_string(c.channels));
    const DepthwiseS8Kernel& kernel = *GetParam();
    Random random(c.seed);
    const int64_t channels = c.channels + c.extra, width = c.pad_left + c.columns + c.pad_right;
    const int64_t pixels = (width - c.kernel_w) / c.stride + 1;
    const Flush flush = c.seed % 2 == 0 ? Flush::kEnd : Flush::kStart;
    const GuardedBuffer<int8_t> input(RandomInt8(random, c.lines * c.columns * channels - c.extra), flush);
    const std::vector<int8_t> w = RandomInt8(random, c.kernel_h * c.kernel_w * channels - c.extra, -127);
    const GuardedBuffer<int16_t> weights(std::vector<int16_t>(w.begin(), w.end()), flush);
    GuardedBuffer<int8_t> prepared(
        RoundUp(c.kernel_h, kDepthwiseLinesS8) * c.kernel_w * RoundUp(c.channels, kDepthwiseChannelsS8), Flush::kEnd,
        kAlignment);
    kernel.prepare(
        {weights.data(), c.kernel_w * channels, channels, c.kernel_h, c.kernel_w, c.channels, prepared.data()});
    DepthwiseS8Args args = {};
    args.input = input.data();
    args.line_stride = c.columns * channels;
    args.tap_stride = channels;
    args.pixel_stride = c.stride * channels;
    args.kernel_h = c.lines;
    args.kernel_w = c.kernel_w;
    args.pixels = pixels;
    args.channels = c.channels;
    args.weights = weights.data() + c.first_line * c.kernel_w * channels;
    args.weight_line_stride = c.kernel_w * channels;
    args.weight_tap_stride = channels;
    args.zero = static_cast<int32_t>(random.Int(-128, 127));
    args.prepared = prepared.data();
    args.prepared_taps = c.kernel_w;
    args.prepared_lines = c.kernel_h;
    args.first_line = c.first_line;
    args.prepared_channels = c.channels;
    args.pad_left = c.pad_left;
    args.line_columns = c.columns;
    const SimpleColumns columns(random, static_cast<int>(c.channels), 60000);
    GuardedBuffer<int8_t> output((pixels - 1) * channels + c.channels, flush);
    const std::vector<int8_t> before = output.values();
    const bool done = kernel.requantize(args, columns.Args(0, output.data(), channels));
    EXPECT_TRUE(output.SurroundingsIntact());
    for (int64_t i = 0; i < output.size(); ++i) {
      const int64_t pixel = i / channels, ch = i % channels;
      int32_t expected = before[i];
      if (done && ch < c.channels) {
        int64_t sum = 0;
        for (int64_t ky = 0; ky < c.lines; ++ky) {
          for (int64_t kx = 0; kx < c.kernel_w; ++kx) {
            const int64_t x = pixel * c.stride - c.pad_left + kx;
            if (x < 0 || x >= c.columns) continue;
            sum += int64_t{input[(ky * c.columns + x) * channels + ch] - args.zero} *
                   w[((c.first_line + ky) * c.kernel_w + kx) * channels + ch];
          }
        }
        expected = columns.Expected(static_cast<int>(ch), sum);
      }
      EXPECT_EQ(output[i], expected) << "pixel " << pixel << " channel " << ch;
      if (output[i] != expected) break;
    }
    return done;
  }
};

std::vector<const DepthwiseS8Kernel*> LineKernels() {
  std::vector<const DepthwiseS8Kernel*> some;
  for (const DepthwiseS8Kernel* kernel : Kernels()) {
    if (kernel->requantize != nullptr) some.push_back(kernel);
  }
  return some;
}

INSTANTIATE_TEST_SUITE_P(Kernels, DepthwiseLineS8, ::testing::ValuesIn(LineKernels()),
                         [](const auto& test) { return std::string(test.param->name); });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(DepthwiseLineS8);

// What networks have: 3x3 with the padding of SAME, at every line of a map.
TEST_P(DepthwiseLineS8, ThreeByThree) {
  for (const int64_t stride : {1, 2}) {
    for (int64_t columns = 3; columns <= 14; ++columns) {
      for (const int64_t pad_left : {0, 1}) {
        for (const int64_t pad_right : {0, 1}) {
          for (const auto& [first_line, lines] : {std::pair<int64_t, int64_t>{0, 3}, {1, 2}, {0, 2}, {1, 1}, {2, 1}}) {
            LineCase c;
            c.stride = stride;
            c.columns = columns;
            c.pad_left = pad_left;
            c.pad_right = pad_right;
            c.first_line = first_line;
            c.lines = lines;
            c.channels = 16 + columns * (columns % 2 == 0 ? 8 : 3);
            c.extra = columns % 3;
            c.seed = static_cast<uint64_t>(columns * 100 + lines * 10 + stride);
            EXPECT_TRUE(Check(c));
          }
        }
      }
    }
  }
}

TEST_P(DepthwiseLineS8, FiveByFive) {
  for (const int64_t stride : {1, 2}) {
    for (int64_t columns = 5; columns <= 15; ++columns) {
      for (const int64_t pad : {0, 1, 2}) {
        for (int64_t first_line = 0; first_line < 5; ++first_line) {
          for (int64_t lines = 1; lines <= 5 - first_line; ++lines) {
            LineCase c;
            c.kernel_w = c.kernel_h = 5;
            c.stride = stride;
            c.columns = columns;
            c.pad_left = pad;
            c.pad_right = columns % 2 == 0 ? 2 - pad : pad;
            c.first_line = first_line;
            c.lines = lines;
            c.channels = 8 + columns * (columns % 2 == 0 ? 8 : 3);
            c.extra = columns % 3;
            c.seed = static_cast<uint64_t>(columns * 100 + lines * 10 + stride);
            EXPECT_TRUE(Check(c));
          }
        }
      }
    }
  }
}

// Whatever a kernel takes, it does right; the others it leaves alone.
TEST_P(DepthwiseLineS8, AnyShape) {
  Random random(5);
  int done = 0;
  for (int i = 0; i < 3000; ++i) {
    LineCase c;
    c.kernel_w = random.Int(1, 6);
    c.kernel_h = random.Int(1, 8);
    c.lines = random.Int(1, c.kernel_h);
    c.first_line = random.Int(0, c.kernel_h - c.lines);
    c.stride = random.Int(1, 3);
    c.pad_left = random.Int(0, c.kernel_w - 1);
    c.pad_right = random.Int(0, c.kernel_w);
    c.columns = random.Int(std::max<int64_t>(1, c.kernel_w - c.pad_left - c.pad_right), 9);
    c.channels = random.Int(1, 70);
    c.extra = random.Int(0, 2);
    c.seed = static_cast<uint64_t>(i);
    done += Check(c) ? 1 : 0;
    if (HasFailure()) return;
  }
  EXPECT_GT(done, 100);
}

}  // namespace
}  // namespace dgms::testing
