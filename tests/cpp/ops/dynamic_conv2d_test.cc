// Int8Conv2D on float activations that it quantises itself, on every instruction set: exactly what the words of its
// header and of quantize_rows.h give in plain arithmetic, for any number of threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "ops/dynamic_conv2d_testing.h"
#include "ops/int8_conv2d.h"

namespace dgms::testing {
namespace {

struct DynamicCase {
  Conv2DCase conv;
  Activation activation = Activation::kNone;
  bool adds = false;
  int64_t out_w = 0;  // of the operator
};

std::vector<float> Expect(const DynamicCase& c, const DynamicLayer& layer, const std::vector<float>& input,
                          const std::vector<float>& residual) {
  const Conv2DParams& p = c.conv.params;
  const bool padded = p.pads.top + p.pads.bottom + p.pads.left + p.pads.right > 0;
  const bool by_line = p.kernel_h == 1 && p.kernel_w == 1 && !padded;
  const int64_t part = c.conv.in_w * p.in_channels * (by_line ? 1 : c.conv.in_h);
  std::vector<float> integers(input.size()), scales;
  for (size_t at = 0; at < input.size(); at += static_cast<size_t>(part)) {
    scales.push_back(Quantized(input.data() + at, part, integers.data() + at));
  }
  const Expected sums = ReferenceConv2D(c.conv, layer.filter, integers.data());
  const int64_t pixels = static_cast<int64_t>(sums.value.size()) / p.out_channels;
  const int64_t out_h = pixels / c.out_w / c.conv.batch;
  std::vector<float> result;
  for (size_t i = 0; i < sums.value.size(); ++i) {
    const int64_t channel = static_cast<int64_t>(i) % p.out_channels;
    const int64_t line = static_cast<int64_t>(i) / p.out_channels / c.out_w, image = line / out_h;
    const float scale = scales[by_line ? image * c.conv.in_h + line % out_h * p.stride_h : image];
    const volatile float factor = scale * layer.scale[channel];
    const volatile float product = static_cast<float>(sums.value[i]) * factor;
    const volatile float moved = product + layer.bias[channel];
    const volatile float added = c.adds ? moved + residual[i] : moved;
    result.push_back(std::isnan(added) ? added : static_cast<float>(Activate(added, c.activation)));
  }
  return result;
}

void ExpectSame(const std::vector<float>& got, const std::vector<float>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(expected[i])) {
      ASSERT_TRUE(std::isnan(got[i])) << "output " << i << ": " << got[i];
    } else {
      ASSERT_EQ(got[i], expected[i]) << "output " << i << " of " << got.size();
    }
  }
}

void Check(DynamicCase c, const DynamicLayer& layer, const std::vector<float>& input, int threads,
           const KernelSet& kernels) {
  const Conv2DParams& p = c.conv.params;
  SCOPED_TRACE(Describe(c.conv, layer.filter) + " on " + IsaName(kernels.isa) + ", " + std::to_string(threads) +
               " threads");
  // With a residual the activation is that of the sum, as SetActivation says.
  const Dequantization dynamic = {layer.scale.data(), layer.bias.data(),
                                  RangeOf(c.adds ? Activation::kNone : c.activation)};
  const auto op = Int8Conv2D::Create(p, layer.View(), {nullptr, &dynamic}, kernels);
  ASSERT_NE(op, nullptr);
  ASSERT_TRUE(op->float_input() && op->float_output());
  if (c.adds) op->SetActivation(c.activation);
  ASSERT_EQ(op->Reshape(c.conv.batch, c.conv.in_h, c.conv.in_w), Status::kOk);
  c.out_w = op->output_w();
  const int64_t outputs = c.conv.batch * op->output_h() * op->output_w() * p.out_channels;
  Random random(7);
  const std::vector<float> added = random.Floats(outputs, -2.0f, 2.0f);
  const std::vector<float> expected = Expect(c, layer, input, added);
  const auto pool = ThreadPool::Create(threads);
  for (const Flush flush : {Flush::kEnd, Flush::kStart}) {
    const GuardedBuffer<float> x(input, flush), residual(added, flush);
    GuardedBuffer<float> y(outputs, flush);
    ASSERT_EQ(op->Run(x.data(), c.adds ? residual.data() : nullptr, y.data(), *pool), Status::kOk);
    EXPECT_TRUE(y.SurroundingsIntact());
    ExpectSame(y.values(), expected);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

void Check(const DynamicCase& c, uint64_t seed) {
  Random random(seed);
  const DynamicLayer layer = DynamicLayer::Make(random, c.conv.params, seed % 3 == 0 ? 2 : 0);
  std::vector<float> input = random.Floats(c.conv.batch * c.conv.in_h * c.conv.in_w * c.conv.params.in_channels);
  for (size_t i = 0; seed % 2 == 0 && i < input.size(); ++i) input[i] = std::max(input[i], 0.0f);
  for (const KernelSet* kernels : AllKernelSets()) {
    for (const int threads : {1, 4}) {
      Check(c, layer, input, threads, *kernels);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
}

// 1x1: lines of many lengths, which tiles of rows cross; strides that leave lines and columns out.
TEST(DynamicConv2D, Lines) {
  uint64_t seed = 0;
  for (const int64_t width : {1, 2, 7, 14, 33}) {
    for (const int64_t channels : {1, 5, 16, 67}) {
      for (const int stride : {1, 2}) {
        DynamicCase c;
        c.conv =
            Square(1, stride, seed % 2 == 0 ? Padding::kSame : Padding::kValid, width, channels, 1 + seed * 7 % 70);
        c.conv.in_h = 1 + static_cast<int64_t>(seed) % 9;
        c.conv.params.stride_w = 1 + static_cast<int>(seed) % 3;
        c.conv.batch = 1 + static_cast<int64_t>(seed) % 3;
        c.activation = seed % 3 == 0 ? Activation::kRelu6 : seed % 3 == 1 ? Activation::kNone : Activation::kRelu;
        c.adds = seed % 4 >= 2;
        Check(c, seed++);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(DynamicConv2D, Images) {
  uint64_t seed = 100;
  for (const int kernel : {2, 3, 5}) {
    for (const int stride : {1, 2}) {
      for (const int64_t channels : {1, 3, 16, 40}) {
        DynamicCase c;
        c.conv = Square(kernel, stride, Padding::kSame, 9, channels, 1 + seed * 7 % 70);
        c.conv.batch = 1 + static_cast<int64_t>(seed) % 3;
        c.activation = seed % 2 == 0 ? Activation::kRelu : Activation::kNone;
        c.adds = seed % 4 >= 2;
        Check(c, seed++);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// 1x1, but with lines that are padding.
TEST(DynamicConv2D, PaddedPointwise) {
  DynamicCase c;
  c.conv = Square(1, 1, Padding::kValid, 7, 9, 20);
  c.conv.params.pads.top = 2;
  c.conv.params.pads.right = 1;
  c.conv.batch = 2;
  Check(c, 150);
}

TEST(DynamicConv2D, GroupsAndLongK) {
  DynamicCase c;
  c.conv = Square(1, 1, Padding::kSame, 6, 12, 36);
  c.conv.params.groups = 3;
  Check(c, 200);
  c.conv = Square(1, 1, Padding::kSame, 5, 2300, 40);  // several blocks of K
  Check(c, 201);
  c.conv = Square(1, 1, Padding::kSame, 40, 70, 33);  // several pieces of work for each thread
  c.adds = true;
  Check(c, 202);
}

// So many columns that rows are packed, where a kernel does that.
TEST(DynamicConv2D, ManyColumns) {
  uint64_t seed = 250;
  for (const int kernel : {1, 3}) {
    for (const int64_t size : {2, 9, 21}) {
      DynamicCase c;
      c.conv = Square(kernel, 1 + static_cast<int>(seed) % 2, Padding::kSame, size, 20, 64 + seed * 5 % 33);
      c.conv.batch = 1 + static_cast<int64_t>(seed) % 2;
      c.adds = seed % 3 == 0;
      Check(c, seed++);
      if (HasFatalFailure()) return;
    }
  }
}

// NaN and infinities spoil what shares their quantisation, and nothing else. Zeros, and what is nearly zero, are exact.
TEST(DynamicConv2D, SpecialValues) {
  for (const int kernel : {1, 3}) {
    DynamicCase c;
    c.conv = Square(kernel, 1, Padding::kSame, 5, 20, 17);
    c.conv.batch = 3;
    c.out_w = 5;
    Random random(4);
    const DynamicLayer layer = DynamicLayer::Make(random, c.conv.params, 0);
    std::vector<float> input = random.Floats(3 * 5 * 5 * 20);
    input[5 * 5 * 20 + 230] = std::numeric_limits<float>::infinity();
    input[2 * 5 * 5 * 20 - 1] = std::numeric_limits<float>::quiet_NaN();
    std::fill(input.begin() + 2 * 5 * 5 * 20, input.begin() + 2 * 5 * 5 * 20 + 200, 0.0f);
    for (const KernelSet* kernels : AllKernelSets()) Check(c, layer, input, 2, *kernels);
    const std::vector<float> expected = Expect(c, layer, input, {});
    const auto nans = std::count_if(expected.begin(), expected.end(), [](float y) { return std::isnan(y); });
    EXPECT_EQ(nans, (kernel == 1 ? 2 : 5) * 5 * 17);  // two lines, or the image
  }
}

// Some lines at a time give what Run gives of them, and read and write nothing else.
TEST(DynamicConv2D, LinesByThemselves) {
  uint64_t seed = 300;
  for (const int stride : {1, 2}) {
    for (const int64_t width : {1, 9, 40}) {
      for (const bool adds : {false, true}) {
        const int64_t outputs = seed % 4 < 2 ? 37 : 72;  // these many are packed, where a kernel does that
        const Conv2DCase c = Square(1, stride, Padding::kSame, width, 19, outputs);
        Random random(seed++);
        const DynamicLayer layer = DynamicLayer::Make(random, c.params, 0);
        const Dequantization dynamic = {layer.scale.data(), layer.bias.data(), RangeOf(Activation::kRelu6)};
        const int64_t in_line = width * 19;
        const std::vector<float> input = random.Floats(width * in_line);
        for (const KernelSet* kernels : AllKernelSets()) {
          SCOPED_TRACE(std::string(IsaName(kernels->isa)) + " stride " + std::to_string(stride) + " width " +
                       std::to_string(width) + (adds ? " with a residual" : ""));
          const auto op = Int8Conv2D::Create(c.params, layer.View(), {nullptr, &dynamic}, *kernels);
          ASSERT_NE(op, nullptr);
          EXPECT_EQ(op->line_op(), nullptr);
          ASSERT_EQ(op->Reshape(1, width, width), Status::kOk);
          ASSERT_NE(op->line_op(), nullptr);
          const LineOp& lines = *op->line_op();
          const int64_t out_line = op->output_w() * outputs;
          const std::vector<float> residual = random.Floats(op->output_h() * out_line, -2.0f, 2.0f);
          const ActivationRange sum_range = RangeOf(adds ? Activation::kRelu : Activation::kRelu6);
          std::vector<float> whole(static_cast<size_t>(op->output_h() * out_line));
          if (adds) op->SetActivation(Activation::kRelu);
          const auto pool = ThreadPool::Create(1);
          ASSERT_EQ(op->Run(input.data(), adds ? residual.data() : nullptr, whole.data(), *pool), Status::kOk);
          if (adds) op->SetActivation(Activation::kRelu6);  // RunLines takes the sum's from its argument
          for (int64_t first = 0; first < op->output_h(); first += 1 + first / 2) {
            const LineRange range = {first, std::min(op->output_h(), first + 1 + first / 2)};
            const LineRange under = lines.line_shape().window.Under(range);
            const auto part = [](const std::vector<float>& map, const LineRange& of, int64_t line) {
              return GuardedBuffer<float>(
                  std::vector<float>(map.begin() + of.first * line, map.begin() + of.end * line));
            };
            const GuardedBuffer<float> x = part(input, under, in_line), added = part(residual, range, out_line);
            GuardedBuffer<float> y(range.count() * out_line);
            Buffer<int8_t> scratch;
            ASSERT_TRUE(scratch.Reserve(lines.ScratchBytes(range.count())));
            lines.RunLines({range, x.data(), y.data(), adds ? added.data() : nullptr, sum_range, scratch.data()});
            EXPECT_TRUE(y.SurroundingsIntact());
            ExpectSame(y.values(), part(whole, range, out_line).values());
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

// Memory for some lines is enough for fewer, even where rows that are packed go in several pieces.
TEST(DynamicConv2D, ScratchForLinesIsEnoughForFewer) {
  const Conv2DCase c = Square(1, 1, Padding::kSame, 40, 4500, 64);
  Random random(7);
  const DynamicLayer layer = DynamicLayer::Make(random, c.params, 0);
  const Dequantization dynamic = {layer.scale.data(), layer.bias.data(), RangeOf(Activation::kNone)};
  for (const KernelSet* kernels : AllKernelSets()) {
    const auto op = Int8Conv2D::Create(c.params, layer.View(), {nullptr, &dynamic}, *kernels);
    ASSERT_NE(op, nullptr);
    ASSERT_EQ(op->Reshape(1, 12, 40), Status::kOk);
    ASSERT_NE(op->line_op(), nullptr);
    for (int64_t lines = 2; lines <= 12; ++lines) {
      EXPECT_GE(op->line_op()->ScratchBytes(lines), op->line_op()->ScratchBytes(lines - 1)) << IsaName(kernels->isa);
    }
  }
}

TEST(DynamicConv2D, ReshapeInASharedWorkspace) {
  Random random(6);
  const Conv2DCase base = Square(1, 1, Padding::kSame, 8, 6, 33);
  const DynamicLayer layer = DynamicLayer::Make(random, base.params, 0);
  const Dequantization dynamic = {layer.scale.data(), layer.bias.data(), RangeOf(Activation::kNone)};
  Workspace workspace;
  const auto pool = ThreadPool::Create(2);
  for (const KernelSet* kernels : AllKernelSets()) {
    const auto op = Int8Conv2D::Create(base.params, layer.View(), {nullptr, &dynamic}, *kernels);
    ASSERT_NE(op, nullptr);
    for (const auto& [batch, height, width] : {std::array<int64_t, 3>{1, 8, 8}, {3, 15, 4}, {1, 2, 40}, {0, 8, 8}}) {
      DynamicCase c;
      c.conv = base;
      c.conv.batch = batch;
      c.conv.in_h = height;
      c.conv.in_w = c.out_w = width;
      ASSERT_EQ(op->Reshape(batch, height, width, &workspace), Status::kOk);
      const std::vector<float> input = random.Floats(batch * height * width * 6);
      std::vector<float> output(static_cast<size_t>(batch * height * width * 33));
      ASSERT_EQ(op->Run(input.data(), output.data(), *pool), Status::kOk);
      if (batch > 0) ExpectSame(output, Expect(c, layer, input, {}));
    }
  }
}

}  // namespace
}  // namespace dgms::testing
