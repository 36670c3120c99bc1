// Conv2D against a double oracle, with input and output between guard pages, on every instruction set.
#include "ops/conv2d.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "ops/conv2d_testing.h"

namespace dgms::testing {
namespace {

TEST(Conv2D, RandomCases) {
  Random random(1);
  for (int i = 0; i < 400 && !::testing::Test::HasFailure(); ++i) {
    Conv2DCase c;
    Conv2DParams& p = c.params;
    p.kernel_h = static_cast<int>(random.Int(1, 4));
    p.kernel_w = static_cast<int>(random.Int(1, 4));
    p.stride_h = static_cast<int>(random.Int(1, 3));
    p.stride_w = static_cast<int>(random.Int(1, 3));
    p.dilation_h = static_cast<int>(random.Int(1, 3));
    p.dilation_w = static_cast<int>(random.Int(1, 3));
    p.padding = random.Coin() ? Padding::kSame : Padding::kValid;
    p.groups = random.Int(0, 2) == 0 ? static_cast<int>(random.Int(2, 4)) : 1;
    p.in_channels = p.groups * random.Int(1, random.Coin() ? 6 : 40);
    p.out_channels = p.groups * random.Int(1, random.Coin() ? 10 : 70);
    p.activation = static_cast<Activation>(random.Int(0, 3));
    c.batch = random.Int(1, 3);
    const bool valid = p.padding == Padding::kValid;
    c.in_h = random.Int(valid ? (p.kernel_h - 1) * p.dilation_h + 1 : 1, 14);
    c.in_w = random.Int(valid ? (p.kernel_w - 1) * p.dilation_w + 1 : 1, 30);
    const int64_t group_size = random.Int(0, 2) == 0 ? random.Int(1, p.out_channels + 3) : 0;
    const FilterData filter =
        FilterData::Make(random, p.out_channels, WeightCount(p), static_cast<int>(random.Int(2, 4)), group_size,
                         random.Coin(), random.Coin());
    Check(c, filter, MakeInput(random, c), 1 + i % 3);
    if (i % 3 == 0) {
      Check(c, FilterData::MakeDense(random, p.out_channels, WeightCount(p), random.Coin()), MakeInput(random, c));
    }
  }
}

// A PAD in front that the op does itself: any widths, with either padding of its own.
TEST(Conv2D, ExplicitPadding) {
  Random random(21);
  for (int i = 0; i < 200 && !::testing::Test::HasFailure(); ++i) {
    Conv2DCase c =
        Square(1, 1, random.Int(0, 3) == 0 ? Padding::kSame : Padding::kValid, 0, random.Int(1, 20), random.Int(1, 40));
    Conv2DParams& p = c.params;
    p.kernel_h = static_cast<int>(random.Int(1, 4));
    p.kernel_w = static_cast<int>(random.Int(1, 4));
    p.stride_h = static_cast<int>(random.Int(1, 4));
    p.stride_w = static_cast<int>(random.Int(1, 4));
    p.dilation_h = static_cast<int>(random.Int(1, 2));
    p.dilation_w = static_cast<int>(random.Int(1, 2));
    c.batch = random.Int(1, 2);
    c.in_h = random.Int(1, 9);
    c.in_w = random.Int(1, 9);
    p.pads =
        RandomPads(random, (p.kernel_h - 1) * p.dilation_h + 1, (p.kernel_w - 1) * p.dilation_w + 1, c.in_h, c.in_w);
    Check(c, static_cast<uint64_t>(i), 1 + i % 3);
  }
}

TEST(Conv2D, DenseFilters) {
  Random random(7);
  for (const Conv2DCase& c : {Square(7, 2, Padding::kSame, 32, 3, 64), Square(3, 2, Padding::kSame, 33, 3, 32),
                              Square(1, 1, Padding::kSame, 7, 700, 45), Square(3, 1, Padding::kSame, 9, 70, 33),
                              Square(1, 1, Padding::kSame, 1, 320, 80), Square(7, 1, Padding::kValid, 7, 16, 40)}) {
    const FilterData filter = FilterData::MakeDense(random, c.params.out_channels, WeightCount(c.params), true);
    Check(c, filter, MakeInput(random, c), 2);
  }
}

// The shapes that the networks are made of, made smaller where that changes nothing.
TEST(Conv2D, NetworkShapes) {
  Check(Square(7, 2, Padding::kSame, 32, 3, 64));  // stems: a kernel line is 21 and 9 contiguous floats
  Check(Square(3, 2, Padding::kSame, 33, 3, 32));
  Check(Square(3, 1, Padding::kSame, 14, 64, 64));
  Check(Square(3, 2, Padding::kSame, 14, 64, 128));
  Check(Square(3, 1, Padding::kSame, 7, 96, 48));
  Check(Square(1, 1, Padding::kSame, 14, 96, 24));
  Check(Square(1, 1, Padding::kValid, 7, 160, 960));
  Check(Square(1, 2, Padding::kSame, 14, 64, 128));
  Check(Square(1, 1, Padding::kSame, 1, 320, 80));  // one pixel: the one-row kernels
  Check(Square(7, 1, Padding::kValid, 7, 16, 40));  // the kernel covers the map: one row as well
  Check(Square(3, 1, Padding::kSame, 5, 1, 1));
}

// Long K: several blocks, of segments and within a segment; accumulation over blocks.
TEST(Conv2D, LongSums) {
  for (const int64_t channels : {255, 256, 257, 700}) {
    Check(Square(1, 1, Padding::kValid, 4, channels, 33), channels);
    Check(Square(3, 1, Padding::kSame, 3, channels, 9), channels);
  }
  Conv2DCase c = Square(5, 1, Padding::kSame, 6, 60, 20);
  c.params.dilation_w = 2;  // one segment per tap
  Check(c);
}

// Sums of one sign: partial sums grow steadily, and the roundings of a chain of n additions add up to about
// 0.2 eps sqrt(n / 3) of the result. Blocks of at most 256 places are summed from zero, so that this stays below 2 eps
// (standard deviation) however long K is; twice the usual tolerance is more than four deviations. One chain over the
// 4608 places of the last case would have 8 eps.
TEST(Conv2D, SumsOfOneSign) {
  Random random(4);
  for (const int64_t channels : {64, 85, 512}) {
    const Conv2DCase c = Square(3, 2, Padding::kSame, 9, channels, 40);  // the direct sum
    FilterData filter = FilterData::Make(random, 40, WeightCount(c.params), 4, 0, false, false);
    filter.codebooks = random.Floats(16, 0.0f, 1.0f);
    const std::vector<float> input = random.Floats(9 * 9 * channels, 0.0f, 1.0f);
    Expected expected = ReferenceConv2D(c, filter, input.data());
    for (double& tolerance : expected.tolerance) tolerance *= 2;
    for (const KernelSet* kernels : AllKernelSets()) {
      SCOPED_TRACE(Describe(c, filter) + " on " + IsaName(kernels->isa));
      ExpectClose(RunCase(c, filter, input, *kernels, 1), expected);
    }
  }
}

TEST(Conv2D, PaddingLargerThanTheInput) {
  Conv2DCase c = Square(7, 1, Padding::kSame, 2, 5, 6);
  Check(c);
  c.in_w = 1;
  Check(c);
  c.params.dilation_h = c.params.dilation_w = 4;  // most taps never meet the input
  Check(c);
  c.params.kernel_h = c.params.kernel_w = 2;  // both taps of every line miss it
  c.in_h = c.in_w = 1;
  Check(c);
}

// SAME: the odd extra pixel goes to the bottom and the right.
TEST(Conv2D, AsymmetricPadding) {
  for (const int64_t size : {4, 5, 6, 7, 8}) {
    for (const int kernel : {2, 3, 4, 5}) {
      for (const int stride : {1, 2, 3}) Check(Square(kernel, stride, Padding::kSame, size, 3, 4));
    }
  }
}

TEST(Conv2D, StrideLargerThanTheKernel) {
  Check(Square(1, 3, Padding::kSame, 11, 20, 8));
  Check(Square(2, 5, Padding::kValid, 13, 6, 8));
}

// Maps that are one pixel wide (one-dimensional convolutions), either way round.
TEST(Conv2D, OneDimensional) {
  Conv2DCase c = Square(3, 1, Padding::kSame, 1, 12, 20);
  c.params.kernel_h = 1;
  c.in_w = 50;
  Check(c);
  c.params.kernel_h = 3;
  c.params.kernel_w = 1;
  c.in_w = 1;
  c.in_h = 50;
  c.batch = 2;
  Check(c);
  c.params.padding = Padding::kValid;
  c.params.stride_h = 2;
  Check(c);
}

TEST(Conv2D, Groups) {
  for (const int groups : {2, 4, 32}) {
    Conv2DCase c = Square(3, 1, Padding::kSame, 8, 32, 64);
    c.params.groups = groups;
    Check(c);
    c.params.kernel_h = c.params.kernel_w = 1;
    Check(c);
    c.params.out_channels = 32 * 3;
    c.params.stride_w = 2;
    Check(c);
  }
}

// Codebooks for groups of channels, whether panels of columns lie inside one group or not.
TEST(Conv2D, CodebookPerChannelGroup) {
  Random random(3);
  const Conv2DCase c = Square(3, 1, Padding::kSame, 6, 7, 70);
  for (const int bits : {2, 3, 4}) {
    for (const int64_t group_size : {1, 2, 5, 8, 16, 32, 35, 64, 69, 70, 1000}) {
      const FilterData filter = MakeFilter(random, c.params, bits, group_size);
      Check(c, filter, MakeInput(random, c));
    }
  }
  Conv2DCase grouped = Square(3, 1, Padding::kSame, 6, 6, 72);  // groups of the convolution and of codebooks differ
  grouped.params.groups = 3;
  for (const int64_t group_size : {1, 5, 24, 30}) {
    const FilterData filter = MakeFilter(random, grouped.params, 4, group_size);
    Check(grouped, filter, MakeInput(random, grouped));
  }
}

TEST(Conv2D, WithoutScaleOrBias) {
  Random random(3);
  const Conv2DCase c = Square(3, 1, Padding::kSame, 6, 7, 19);
  for (const bool scaled : {false, true}) {
    for (const bool biased : {false, true}) {
      const FilterData filter = FilterData::Make(random, 19, WeightCount(c.params), 4, 0, scaled, biased);
      Check(c, filter, MakeInput(random, c));
    }
  }
}

// Kernels may scale weights instead of sums, where maps are large beside K: scales of either sign and zero, and such
// that weights times them would overflow or vanish while the sums do not.
TEST(Conv2D, ScalesOfAnySize) {
  const Conv2DCase c = Square(1, 1, Padding::kSame, 9, 24, 37);
  Random random(5);
  FilterData filter = MakeFilter(random, c.params);
  const std::vector<float> input = MakeInput(random, c);
  filter.scale[0] = 0.0f;
  filter.scale[1] = -0.0f;
  for (size_t i = 2; i < 37; i += 3) filter.scale[i] *= -1.0f;
  filter.scale[20] = 1e-10f;
  filter.scale[36] = 1e10f;
  Check(c, filter, input);
  filter.scale[3] = 1e-30f;
  filter.scale[35] = -1e30f;
  Check(c, filter, input);
  for (float& value : filter.codebooks) value *= 1e25f;
  filter.scale[20] = 1e-40f;  // flushed, or not
  filter.scale[35] = filter.scale[36] = 1e-20f;
  filter.bias.assign(37, 0.0f);
  for (const KernelSet* kernels : AllKernelSets()) {
    const std::vector<float> outputs = RunCase(c, filter, input, *kernels, 1);
    for (const float y : outputs) ASSERT_TRUE(std::isfinite(y)) << IsaName(kernels->isa);
  }
}

// A sum times infinity is infinite, though a weight of zero times infinity would not be a number.
TEST(Conv2D, InfiniteScale) {
  const Conv2DCase c = Square(1, 1, Padding::kSame, 8, 12, 20);
  Random random(6);
  FilterData filter = MakeFilter(random, c.params);
  for (float& value : filter.codebooks) value = 0.5f;
  filter.codebooks[0] = 0.0f;
  filter.scale[7] = std::numeric_limits<float>::infinity();
  for (const KernelSet* kernels : AllKernelSets()) {
    const std::vector<float> outputs = RunCase(c, filter, std::vector<float>(8 * 8 * 12, 1.0f), *kernels, 1);
    for (size_t i = 0; i < outputs.size(); ++i) {
      ASSERT_EQ(std::isinf(outputs[i]), i % 20 == 7) << i << " on " << IsaName(kernels->isa);
      ASSERT_FALSE(std::isnan(outputs[i])) << i << " on " << IsaName(kernels->isa);
    }
  }
}

// A residual is added before the activation: one block of K and several, several panels, one row, several threads.
TEST(Conv2D, Residual) {
  Conv2DCase cases[] = {Square(3, 1, Padding::kSame, 9, 12, 70), Square(3, 2, Padding::kSame, 12, 200, 33),
                        Square(1, 1, Padding::kValid, 6, 40, 20), Square(1, 1, Padding::kValid, 1, 90, 45),
                        Square(3, 1, Padding::kValid, 8, 16, 24)};
  for (Conv2DCase& c : cases) {
    c.params.activation = Activation::kRelu;
    c.batch = 2;
    Random random(7);
    const FilterData filter = MakeFilter(random, c.params);
    const std::vector<float> input = MakeInput(random, c);
    for (const KernelSet* kernels : AllKernelSets()) {
      const auto op = Conv2D::Create(c.params, filter.View(), filter.Bias(), *kernels);
      ASSERT_NE(op, nullptr);
      ASSERT_EQ(op->Reshape(c.batch, c.in_h, c.in_w), Status::kOk);
      const int64_t size = c.batch * op->output_h() * op->output_w() * c.params.out_channels;
      const GuardedBuffer<float> x(input), residual(Random(8).Floats(size, -20.0f, 20.0f));
      for (const int threads : {1, 3}) {
        const auto pool = ThreadPool::Create(threads);
        GuardedBuffer<float> y(size);
        ASSERT_EQ(op->Run(x.data(), residual.data(), y.data(), *pool), Status::kOk);
        EXPECT_TRUE(y.SurroundingsIntact());
        SCOPED_TRACE(Describe(c, filter) + " on " + IsaName(kernels->isa));
        ExpectClose(y.values(), ReferenceConv2D(c, filter, x.data(), residual.data()));
      }
    }
  }
}

TEST(Conv2D, NanAndInfinityPropagate) {
  Conv2DCase c = Square(3, 1, Padding::kSame, 8, 5, 40);
  c.params.activation = Activation::kRelu6;
  Random random(2);
  FilterData filter = MakeFilter(random, c.params);
  for (float& value : filter.codebooks) value = std::abs(value) + 0.1f;
  for (const KernelSet* kernels : AllKernelSets()) {
    std::vector<float> input(8 * 8 * 5, 1.0f);
    const std::vector<float> clean = RunCase(c, filter, input, *kernels, 1);
    input[(3 * 8 + 4) * 5 + 2] = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> with_nan = RunCase(c, filter, input, *kernels, 1);
    input[(3 * 8 + 4) * 5 + 2] = std::numeric_limits<float>::infinity();
    const std::vector<float> with_infinity = RunCase(c, filter, input, *kernels, 1);
    for (int64_t i = 0; i < 8 * 8 * 40; ++i) {
      const int64_t y = i / 40 / 8, x = i / 40 % 8;
      const bool near = std::abs(y - 3) <= 1 && std::abs(x - 4) <= 1;
      ASSERT_EQ(std::isnan(with_nan[i]), near) << "at " << y << "," << x << " on " << IsaName(kernels->isa);
      if (!near) {
        ASSERT_EQ(with_nan[i], clean[i]);
      }
      ASSERT_EQ(with_infinity[i], near ? 6.0f : clean[i]);
    }
  }
}

}  // namespace
}  // namespace dgms::testing
