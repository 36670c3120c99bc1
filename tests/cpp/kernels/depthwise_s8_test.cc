// Every int8 depthwise kernel that this machine runs, against plain loops, every buffer exact between guard pages.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kernels/gemm_s8_tester.h"
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

}  // namespace
}  // namespace dgms::testing
