// Every int8 depthwise kernel that makes the outputs of neighbouring lines itself, against plain loops, every buffer
// exact between guard pages.
#include <gtest/gtest.h>

#include <algorithm>
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
  std::vector<const DepthwiseS8Kernel*> some;
  std::copy_if(kernels, kernels + count, std::back_inserter(some), [](const auto* k) { return k->lines != nullptr; });
  return some;
}

// Some lines of the output of one image, and some channels.
struct Case {
  int64_t kernel_h = 3, kernel_w = 3;
  int64_t stride_h = 1, stride_w = 1;
  int64_t dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 1, pad_left = 1, pad_bottom = 1, pad_right = 1;
  int64_t in_h = 7, in_w = 7;
  int64_t first_line = 0, lines = 0;              // 0: all
  int64_t skipped = 0, channels = 64, extra = 0;  // of the tensor, only the `channels` in the middle are done
  uint64_t seed = 1;

  int64_t ReachH() const { return (kernel_h - 1) * dilation_h + 1; }
  int64_t ReachW() const { return (kernel_w - 1) * dilation_w + 1; }
  int64_t OutH() const { return (pad_top + in_h + pad_bottom - ReachH()) / stride_h + 1; }
  int64_t OutW() const { return (pad_left + in_w + pad_right - ReachW()) / stride_w + 1; }
  bool Valid() const {
    return pad_top + in_h + pad_bottom >= ReachH() && pad_left + in_w + pad_right >= ReachW() &&
           ReachW() <= kDepthwisePreparedReachS8;
  }
  std::string Name() const {
    const auto pair = [](int64_t a, int64_t b) { return std::to_string(a) + "x" + std::to_string(b); };
    return "kernel " + pair(kernel_h, kernel_w) + " stride " + pair(stride_h, stride_w) + " dilation " +
           pair(dilation_h, dilation_w) + " map " + pair(in_h, in_w) + " padding " + pair(pad_top, pad_left) + " " +
           pair(pad_bottom, pad_right) + " lines " + std::to_string(first_line) + "+" + std::to_string(lines) +
           " channels " + std::to_string(skipped) + "+" + std::to_string(channels) + "+" + std::to_string(extra);
  }
};

class DepthwiseLinesS8 : public ::testing::TestWithParam<const DepthwiseS8Kernel*> {
 protected:
  static int64_t Sum(const Case& c, const DepthwiseLinesS8Args& args, const std::vector<int8_t>& w, int64_t y,
                     int64_t x, int64_t ch) {
    const int64_t all = c.skipped + c.channels + c.extra;
    int64_t sum = 0;
    for (int64_t ky = 0; ky < c.kernel_h; ++ky) {
      for (int64_t kx = 0; kx < c.kernel_w; ++kx) {
        const int64_t line = y * c.stride_h - c.pad_top + ky * c.dilation_h;
        const int64_t column = x * c.stride_w - c.pad_left + kx * c.dilation_w;
        if (line < 0 || line >= c.in_h || column < 0 || column >= c.in_w) continue;
        sum += int64_t{args.input[line * args.line_stride + column * args.column_stride + ch] - args.zero} *
               w[(ky * c.kernel_w + kx) * all + c.skipped + ch];
      }
    }
    return sum;
  }

  void Check(Case c) {
    if (c.lines == 0) c.lines = c.OutH() - c.first_line;
    SCOPED_TRACE(c.Name());
    const DepthwiseS8Kernel& kernel = *GetParam();
    Random random(c.seed);
    const Flush flush = c.seed % 2 == 0 ? Flush::kEnd : Flush::kStart;
    const int64_t all = c.skipped + c.channels + c.extra;
    const std::vector<int8_t> w = RandomInt8(random, c.kernel_h * c.kernel_w * all, -127);
    const GuardedBuffer<int16_t> weights(std::vector<int16_t>(w.begin(), w.end()), flush);
    GuardedBuffer<int8_t> prepared(
        RoundUp(c.kernel_h, kDepthwiseLinesS8) * c.kernel_w * RoundUp(all, kDepthwiseChannelsS8), flush, kAlignment);
    kernel.prepare({weights.data(), c.kernel_w * all, all, c.kernel_h, c.kernel_w, all, prepared.data()});
    EXPECT_TRUE(prepared.SurroundingsIntact());
    // Only the lines under those of the output are there, and only from the first channel's to the last one's.
    const int64_t top = c.first_line * c.stride_h - c.pad_top;
    const int64_t first = std::clamp<int64_t>(top, 0, c.in_h);
    const int64_t end = std::clamp<int64_t>(top + (c.lines - 1) * c.stride_h + c.ReachH(), first, c.in_h);
    const int64_t line_elements = c.in_w * all;
    const int64_t size = (end - first) * line_elements - c.skipped - c.extra;
    const GuardedBuffer<int8_t> input(RandomInt8(random, std::max<int64_t>(size, 0)), flush);
    DepthwiseLinesS8Args args = {};
    args.input = input.data() - first * line_elements;
    args.in_h = c.in_h;
    args.in_w = c.in_w;
    args.line_stride = line_elements;
    args.column_stride = all;
    args.kernel_h = c.kernel_h;
    args.kernel_w = c.kernel_w;
    args.stride_h = c.stride_h;
    args.stride_w = c.stride_w;
    args.dilation_h = c.dilation_h;
    args.dilation_w = c.dilation_w;
    args.pad_top = c.pad_top;
    args.pad_left = c.pad_left;
    args.first_line = c.first_line;
    args.lines = c.lines;
    args.pixels = c.OutW();
    args.channels = c.channels;
    args.zero = static_cast<int32_t>(random.Int(-128, 127));
    args.prepared = prepared.data() + c.skipped * c.kernel_w * kDepthwiseLinesS8;
    args.prepared_channels = all;
    const SimpleColumns columns(random, static_cast<int>(c.channels), 60000);
    GuardedBuffer<int8_t> output(c.lines * args.pixels * all - c.skipped - c.extra, flush);
    const std::vector<int8_t> before = output.values();
    kernel.lines(args, columns.Args(0, output.data(), all));
    EXPECT_TRUE(output.SurroundingsIntact());
    for (int64_t i = 0; i < output.size(); ++i) {
      const int64_t pixel = i / all, ch = i % all, y = c.first_line + pixel / args.pixels, x = pixel % args.pixels;
      if (ch >= c.channels) {
        ASSERT_EQ(output[i], before[i]) << "behind line " << y << " pixel " << x;
        continue;
      }
      const int64_t sum = Sum(c, args, w, y, x, ch);
      const int channel = static_cast<int>(ch);
      const bool narrows = DGMS_AARCH64 && c.channels >= 16;
      ASSERT_TRUE(columns.Allows(channel, sum, output[i], narrows))
          << "line " << y << " pixel " << x << " channel " << ch << ": " << +output[i] << ", not "
          << columns.Expected(channel, sum);
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Kernels, DepthwiseLinesS8, ::testing::ValuesIn(Kernels()),
                         [](const auto& test) { return std::string(test.param->name); });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(DepthwiseLinesS8);

// What networks have, with all ways to fill vectors with channels.
TEST_P(DepthwiseLinesS8, SquareKernels) {
  for (const int64_t kernel : {3, 5, 7}) {
    for (const int64_t stride : {1, 2}) {
      for (const int64_t channels : {1, 8, 15, 16, 17, 24, 32, 33, 40, 48, 49, 63, 64, 72, 96, 144, 176}) {
        Case c;
        c.kernel_h = c.kernel_w = kernel;
        c.stride_h = c.stride_w = stride;
        c.pad_top = c.pad_left = (kernel - stride) / 2;
        c.pad_bottom = c.pad_right = kernel / 2;
        c.in_h = 8 + channels % 2;
        c.in_w = 6 + channels % 5;
        c.channels = channels;
        c.seed = static_cast<uint64_t>(channels + kernel);
        Check(c);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// 3x3 has ways of its own, with and without padding on every side.
TEST_P(DepthwiseLinesS8, ThreeByThree) {
  for (const int64_t stride : {1, 2}) {
    for (int64_t in_w = 1; in_w <= 9; ++in_w) {
      for (int64_t pads = 0; pads < 81; ++pads) {
        Case c;
        c.stride_h = c.stride_w = stride;
        c.pad_top = pads % 3;
        c.pad_left = pads / 3 % 3;
        c.pad_bottom = pads / 9 % 3;
        c.pad_right = pads / 27;
        c.in_h = 1 + (in_w + pads) % 5;
        c.in_w = in_w;
        c.channels = 8 + (pads * 7 + in_w) % 40;
        c.extra = pads % 2;
        c.seed = static_cast<uint64_t>(pads * 10 + in_w);
        if (!c.Valid()) continue;
        c.first_line = pads % c.OutH();
        Check(c);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// Lines that go in several parts.
TEST_P(DepthwiseLinesS8, LongLines) {
  for (const int64_t in_w : {46, 47, 48, 95, 96, 97, 190, 400, 600}) {
    for (const int64_t channels : {10, 16, 32, 64}) {
      Case c;
      c.kernel_h = c.kernel_w = in_w % 2 == 0 ? 3 : 5;
      c.stride_w = 1 + in_w % 3;
      c.in_h = 3;
      c.in_w = in_w;
      c.channels = channels;
      c.seed = static_cast<uint64_t>(in_w);
      Check(c);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(DepthwiseLinesS8, AnyShape) {
  Random random(7);
  int checked = 0;
  for (int i = 0; i < 3000; ++i) {
    Case c;
    c.kernel_h = random.Int(1, kDepthwisePreparedLinesS8);
    c.kernel_w = random.Int(1, kDepthwisePreparedTapsS8);
    c.stride_h = random.Int(1, 3);
    c.stride_w = random.Int(1, 3);
    c.dilation_h = random.Int(1, 3);
    c.dilation_w = random.Int(1, 5);
    c.pad_top = random.Int(0, 4);
    c.pad_left = random.Int(0, 4);
    c.pad_bottom = random.Int(0, 4);
    c.pad_right = random.Int(0, 4);
    c.in_h = random.Int(1, 9);
    c.in_w = random.Int(1, 40);
    c.skipped = random.Int(0, 1) * kDepthwiseChannelsS8;
    c.channels = random.Int(1, 80);
    c.extra = random.Int(0, 3);
    c.seed = static_cast<uint64_t>(i);
    if (!c.Valid()) continue;
    c.first_line = random.Int(0, c.OutH() - 1);
    c.lines = random.Int(1, c.OutH() - c.first_line);
    Check(c);
    ++checked;
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(checked, 1000);
}

}  // namespace
}  // namespace dgms::testing
