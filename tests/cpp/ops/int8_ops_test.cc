// The int8 ops on every instruction set: exactly what plain integer loops give, for any number of threads, and all the
// same after failed allocations.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "ops/conv2d_testing.h"
#include "ops/int8_conv2d.h"
#include "ops/int8_depthwise_conv2d.h"
#include "ops/int8_fully_connected.h"
#include "ops/int8_oracle.h"

namespace dgms::testing {
namespace {

// A layer's integers, as the float oracles of reference_ops.h take them (their sums in double are exact), and as ours
// do.
struct Int8Layer {
  FilterData filter;  // codebooks of whole numbers, no scale, no bias
  std::vector<int8_t> codebooks;
  std::shared_ptr<GuardedBuffer<int8_t>> values;  // dense; else null
  std::vector<int32_t> bias;
  std::vector<double> factor;
  Requantization requantization;

  static Int8Layer Make(Random& random, int64_t channels, int64_t weights, int bits, int64_t group_size,
                        bool fixed_point, bool biased = true) {
    Int8Layer layer;
    layer.filter = FilterData::Make(random, channels, weights, bits, group_size, false, false);
    for (float& value : layer.filter.codebooks) {
      layer.codebooks.push_back(static_cast<int8_t>(random.Int(-127, 127)));
      value = layer.codebooks.back();
    }
    // Outputs of about +-60: neither all equal nor all clamped.
    const double length = static_cast<double>(weights / channels);
    for (int64_t c = 0; c < channels; ++c) {
      if (biased) layer.bias.push_back(static_cast<int32_t>(random.Int(-20000, 20000)));
      layer.factor.push_back(60 / (std::sqrt(length) * 70 * 73) * static_cast<double>(random.Int(500, 2000)) / 1000);
    }
    layer.requantization.input_zero = static_cast<int32_t>(random.Int(-128, 127));
    layer.requantization.output_zero = static_cast<int32_t>(random.Int(-40, 40));
    layer.requantization.fixed_point = fixed_point;
    if (random.Coin()) layer.requantization.min = layer.requantization.output_zero;
    if (random.Coin()) layer.requantization.output_zero = layer.requantization.min = -128;  // as after RELU
    return layer;
  }
  Int8CodebookFilter View() const {
    Int8CodebookFilter view;
    static_cast<FilterCodes&>(view) = filter.View();
    view.codebooks = codebooks.data();
    return view;
  }
  // The same layer with plain values instead of codes.
  Int8Layer Dense(int64_t channel_stride, int64_t channels) const {
    Int8Layer layer = *this;
    const int64_t count = static_cast<int64_t>(filter.codes.size());
    layer.values = std::make_shared<GuardedBuffer<int8_t>>(count);
    for (int64_t i = 0; i < count; ++i) {
      (*layer.values)[i] = static_cast<int8_t>(filter.Weight(i, i / channel_stride % channels));
    }
    return layer;
  }
  Int8Filter Source() const {
    if (values == nullptr) return View();
    return Int8DenseFilter{values->data(), values->size()};
  }
  Requantization Output() const {
    Requantization result = requantization;
    result.bias = bias.empty() ? nullptr : bias.data();
    result.factor = factor.data();
    return result;
  }
  std::vector<float> Centred(const std::vector<int8_t>& input) const {
    std::vector<float> result;
    for (const int8_t x : input) result.push_back(static_cast<float>(x - requantization.input_zero));
    return result;
  }
  std::vector<int8_t> Finish(const Expected& sums) const {
    std::vector<int8_t> result;
    for (size_t i = 0; i < sums.value.size(); ++i) {
      const size_t c = i % factor.size();
      const int64_t sum = static_cast<int64_t>(sums.value[i]) + (bias.empty() ? 0 : bias[c]);
      const int64_t y = requantization.fixed_point ? FixedPointProduct(sum, factor[c]) : DoubleProduct(sum, factor[c]);
      result.push_back(ClampInt8(y + requantization.output_zero, requantization.min, requantization.max));
    }
    return result;
  }
};

std::vector<int8_t> Int8s(Random& random, int64_t count) {
  std::vector<int8_t> values(static_cast<size_t>(count));
  for (int8_t& value : values) value = static_cast<int8_t>(random.Int(-128, 127));
  return values;
}

// Runs an op with input and output flush against either guard page.
template <typename Op>
std::vector<int8_t> RunGuardedInt8(Op& op, const std::vector<int8_t>& input, int64_t output_size, int threads) {
  const auto pool = ThreadPool::Create(threads);
  std::vector<int8_t> result;
  for (const Flush flush : {Flush::kEnd, Flush::kStart}) {
    const GuardedBuffer<int8_t> x(input, flush);
    GuardedBuffer<int8_t> y(output_size, flush);
    EXPECT_EQ(op.Run(x.data(), y.data(), *pool), Status::kOk);
    EXPECT_TRUE(y.SurroundingsIntact());
    if (flush == Flush::kStart) {
      EXPECT_EQ(y.values(), result) << "two runs of the same op differ";
    }
    result = y.values();
  }
  return result;
}

void ExpectSame(const std::vector<int8_t>& result, const std::vector<int8_t>& expected) {
  ASSERT_EQ(result.size(), expected.size());
  for (size_t i = 0; i < result.size(); ++i) {
    ASSERT_EQ(int{result[i]}, int{expected[i]}) << "output " << i << " of " << result.size();
  }
}

// ---- convolution ----

void CheckConv(Conv2DCase c, int bits, int64_t group_size, uint64_t seed, bool biased = true) {
  Random random(seed);
  const Int8Layer layer =
      Int8Layer::Make(random, c.params.out_channels, WeightCount(c.params), bits, group_size, true, biased);
  const std::vector<int8_t> input = Int8s(random, c.batch * c.in_h * c.in_w * c.params.in_channels);
  const std::vector<int8_t> expected = layer.Finish(ReferenceConv2D(c, layer.filter, layer.Centred(input).data()));
  const Requantization output = layer.Output();
  const Int8Layer dense = layer.Dense(WeightCount(c.params) / c.params.out_channels, c.params.out_channels);
  for (const KernelSet* kernels : AllKernelSets()) {
    for (const int threads : {1, 4}) {
      SCOPED_TRACE(Describe(c, layer.filter) + " on " + IsaName(kernels->isa) + ", " + std::to_string(threads) +
                   " threads");
      for (const Int8Layer* source : {&layer, &dense}) {
        SCOPED_TRACE(source == &dense ? "dense" : "codebook");
        const auto op = Int8Conv2D::Create(c.params, source->Source(), {&output, nullptr}, *kernels);
        ASSERT_NE(op, nullptr);
        ASSERT_EQ(op->Reshape(c.batch, c.in_h, c.in_w), Status::kOk);
        ExpectSame(RunGuardedInt8(*op, input, static_cast<int64_t>(expected.size()), threads), expected);
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

TEST(Int8Conv2D, KernelsStridesPaddings) {
  uint64_t seed = 0;
  for (const int kernel : {1, 2, 3, 5}) {
    for (const int stride : {1, 2}) {
      for (const Padding padding : {Padding::kSame, Padding::kValid}) {
        for (const int64_t channels : {1, 3, 4, 13, 16}) {
          CheckConv(Square(kernel, stride, padding, 9, channels, 1 + seed % 37), 2 + seed % 3, 0, seed);
          ++seed;
        }
      }
    }
  }
}

// A PAD in front that the op does itself, of the input's zero point.
TEST(Int8Conv2D, ExplicitPadding) {
  Random random(21);
  for (uint64_t seed = 0; seed < 60; ++seed) {
    Conv2DCase c = Square(static_cast<int>(random.Int(1, 4)), static_cast<int>(random.Int(1, 4)),
                          random.Int(0, 3) == 0 ? Padding::kSame : Padding::kValid, random.Int(1, 9), random.Int(1, 20),
                          random.Int(1, 40));
    c.params.dilation_w = static_cast<int>(random.Int(1, 2));
    c.params.pads =
        RandomPads(random, c.params.kernel_h, (c.params.kernel_w - 1) * c.params.dilation_w + 1, c.in_h, c.in_w);
    CheckConv(c, 4, 0, seed);
    if (HasFatalFailure()) return;
  }
}

TEST(Int8Conv2D, DilationsGroupsCodebooks) {
  uint64_t seed = 50;
  for (const int dilation : {1, 2, 3}) {
    for (const int groups : {1, 2, 6}) {
      for (const int64_t group_size : {0, 1, 5, 64}) {
        Conv2DCase c = Square(3, 1, Padding::kSame, 7, 12, 6 * (1 + seed % 7));
        c.params.dilation_h = dilation;
        c.params.dilation_w = 1 + dilation % 2;
        c.params.groups = groups;
        c.batch = 2;
        CheckConv(c, 2 + seed % 3, group_size, seed, seed % 2 == 0);
        ++seed;
      }
    }
  }
}

// Several blocks of K, so that sums wait between them, and more rows than fit in what they wait in.
TEST(Int8Conv2D, LongK) {
  CheckConv(Square(3, 1, Padding::kSame, 6, 170, 40), 4, 0, 1);    // segments together, on wide panels
  CheckConv(Square(1, 1, Padding::kSame, 5, 4500, 20), 4, 0, 2);   // one segment in parts, on all panels
  CheckConv(Square(1, 1, Padding::kSame, 19, 1100, 33), 4, 0, 3);  // many rows
}

// So many columns that rows are packed, where a kernel does that: few and many rows, segments of whole groups and
// others, strides and dilations, several pieces of rows, several blocks of K.
TEST(Int8Conv2D, ManyColumns) {
  uint64_t seed = 300;
  for (const int kernel : {1, 3, 7}) {
    for (const int stride : {1, 2}) {
      for (const int64_t channels : {3, 8, 20, 24}) {
        Conv2DCase c = Square(kernel, stride, Padding::kSame, 2 + seed % 9, channels, 64 + seed * 7 % 40);
        c.params.dilation_w = kernel == 3 && stride == 1 ? 2 : 1;
        c.batch = 1 + static_cast<int64_t>(seed) % 2;
        CheckConv(c, 2 + seed % 3, seed % 4 == 0 ? 5 : 0, seed);
        ++seed;
        if (HasFatalFailure()) return;
      }
    }
  }
  CheckConv(Square(1, 1, Padding::kSame, 19, 1600, 65), 4, 0, seed);
  CheckConv(Square(3, 1, Padding::kSame, 15, 300, 64), 4, 0, seed + 1);
}

TEST(Int8Conv2D, ReshapeAndSharedWorkspace) {
  Random random(6);
  Conv2DCase c = Square(3, 2, Padding::kSame, 8, 6, 33);
  const Int8Layer layer = Int8Layer::Make(random, 33, WeightCount(c.params), 4, 0, true);
  const Requantization output = layer.Output();
  Workspace workspace;
  for (const KernelSet* kernels : AllKernelSets()) {
    const auto op = Int8Conv2D::Create(c.params, layer.View(), {&output, nullptr}, *kernels);
    ASSERT_NE(op, nullptr);
    const size_t packed = op->packed_bytes();
    for (const auto& [batch, height, width] : {std::array<int64_t, 3>{1, 8, 8}, {3, 15, 4}, {1, 2, 40}, {0, 8, 8}}) {
      ASSERT_EQ(op->Reshape(batch, height, width, &workspace), Status::kOk);
      c.batch = batch;
      c.in_h = height;
      c.in_w = width;
      const std::vector<int8_t> input = Int8s(random, batch * height * width * 6);
      ExpectSame(RunGuardedInt8(*op, input, batch * op->output_h() * op->output_w() * 33, 2),
                 layer.Finish(ReferenceConv2D(c, layer.filter, layer.Centred(input).data())));
      EXPECT_EQ(op->packed_bytes(), packed);
    }
  }
}

// Small maps' outputs are made as they are; for larger ones scales are looked for that do with fewer steps, and stay.
TEST(Int8Conv2D, SmallMapsBeforeLargeOnes) {
  for (uint64_t seed = 0; seed < 24; ++seed) {
    Random random(900 + seed);
    Conv2DCase c = Square(seed % 3 == 0 ? 3 : 1, 1, Padding::kSame, 3, 16, 40);
    Int8Layer layer = Int8Layer::Make(random, 40, WeightCount(c.params), 4, 0, true);
    layer.requantization.output_zero = layer.requantization.min = -128;
    const Requantization output = layer.Output();
    for (const KernelSet* kernels : AllKernelSets()) {
      SCOPED_TRACE(std::string(IsaName(kernels->isa)) + " seed " + std::to_string(seed));
      const auto op = Int8Conv2D::Create(c.params, layer.View(), {&output, nullptr}, *kernels);
      ASSERT_NE(op, nullptr);
      const bool narrows = kernels->output_s8->narrows && kernels->gemm_s8->requantize != nullptr;
      const size_t packed = op->packed_bytes();
      for (const int64_t size : {3, 14, 3, 11}) {
        c.in_h = c.in_w = size;
        ASSERT_EQ(op->Reshape(1, size, size), Status::kOk);
        const std::vector<int8_t> input = Int8s(random, size * size * 16);
        ExpectSame(RunGuardedInt8(*op, input, size * size * 40, 1 + seed % 3),
                   layer.Finish(ReferenceConv2D(c, layer.filter, layer.Centred(input).data())));
        if (HasFatalFailure()) return;
        if (size == 14) {
          EXPECT_EQ(op->packed_bytes() != packed, narrows);
        }
      }
    }
  }
}

TEST(Int8Conv2D, RefusesWhatMakesNoSense) {
  Random random(6);
  const Conv2DCase c = Square(3, 1, Padding::kSame, 8, 6, 8);
  Int8Layer layer = Int8Layer::Make(random, 8, WeightCount(c.params), 4, 0, true);
  const Requantization output = layer.Output();
  const auto status_of = [&](const Conv2DParams& params, const Int8CodebookFilter& view) {
    Status status = Status::kOk;
    Int8Conv2D::Create(params, view, {&output, nullptr}, *BestKernels(), &status);
    return status;
  };
  EXPECT_EQ(status_of(c.params, layer.View()), Status::kOk);
  Conv2DParams params = c.params;
  params.groups = 4;
  EXPECT_EQ(status_of(params, layer.View()), Status::kInvalidArgument);
  Int8CodebookFilter view = layer.View();
  --view.count;
  EXPECT_EQ(status_of(c.params, view), Status::kInvalidArgument);
  view = layer.View();
  view.codebooks = nullptr;
  EXPECT_EQ(status_of(c.params, view), Status::kInvalidArgument);
  layer.codebooks[3] = -128;
  EXPECT_EQ(status_of(c.params, layer.View()), Status::kInvalidArgument);
  layer.codebooks[3] = 0;
  const auto op = Int8Conv2D::Create(c.params, layer.View(), {&output, nullptr}, *BestKernels());
  const auto pool = ThreadPool::Create(1);
  EXPECT_EQ(op->Run(nullptr, nullptr, *pool), Status::kNotReady);
  EXPECT_EQ(op->Reshape(1, INT64_MAX / 2, 8), Status::kInvalidArgument);
  EXPECT_EQ(op->Run(nullptr, nullptr, *pool), Status::kNotReady);
}

// ---- depthwise ----

TEST(Int8DepthwiseConv2D, KernelsStridesMultipliers) {
  uint64_t seed = 0;
  for (const int kernel : {1, 2, 3, 5}) {
    for (const int stride : {1, 2}) {
      for (const Padding padding : {Padding::kSame, Padding::kValid}) {
        for (const int64_t channels : {1, 7, 16, 41}) {
          DepthwiseCase c;
          c.params.kernel_h = kernel;
          c.params.kernel_w = 1 + (kernel + 1) % 5;
          c.params.stride_h = stride;
          c.params.stride_w = 1 + seed % 3;
          c.params.dilation_h = 1 + seed % 2;
          c.params.padding = padding;
          c.params.in_channels = channels;
          c.params.depth_multiplier = 1 + seed % 3;
          c.batch = 2;
          c.in_h = c.in_w = 11;
          const int64_t outputs = channels * c.params.depth_multiplier;
          Random random(seed);
          const Int8Layer layer = Int8Layer::Make(random, outputs, outputs * kernel * c.params.kernel_w, 2 + seed % 3,
                                                  seed % 4 == 0 ? 3 : 0, true, seed % 5 != 0);
          const std::vector<int8_t> input = Int8s(random, 2 * 11 * 11 * channels);
          const std::vector<int8_t> expected =
              layer.Finish(ReferenceDepthwise(c, layer.filter, layer.Centred(input).data()));
          const Requantization output = layer.Output();
          for (const KernelSet* kernels : AllKernelSets()) {
            SCOPED_TRACE(std::string(IsaName(kernels->isa)) + " seed " + std::to_string(seed));
            const Int8Layer& source = seed % 3 == 0 ? layer.Dense(1, outputs) : layer;
            const auto op = Int8DepthwiseConv2D::Create(c.params, source.Source(), output, *kernels);
            ASSERT_NE(op, nullptr);
            ASSERT_EQ(op->Reshape(2, 11, 11), Status::kOk);
            ExpectSame(RunGuardedInt8(*op, input, static_cast<int64_t>(expected.size()), 1 + seed % 4), expected);
            if (HasFatalFailure()) return;
          }
          ++seed;
        }
      }
    }
  }
}

TEST(Int8DepthwiseConv2D, ExplicitPadding) {
  Random random(21);
  for (uint64_t seed = 0; seed < 60; ++seed) {
    DepthwiseCase c;
    c.params.kernel_h = static_cast<int>(random.Int(1, 4));
    c.params.kernel_w = static_cast<int>(random.Int(1, 4));
    c.params.stride_h = static_cast<int>(random.Int(1, 3));
    c.params.stride_w = static_cast<int>(random.Int(1, 3));
    c.params.dilation_w = static_cast<int>(random.Int(1, 2));
    c.params.in_channels = random.Int(1, 40);
    c.in_h = random.Int(1, 9);
    c.in_w = random.Int(1, 9);
    c.params.pads =
        RandomPads(random, c.params.kernel_h, (c.params.kernel_w - 1) * c.params.dilation_w + 1, c.in_h, c.in_w);
    const int64_t channels = c.params.in_channels;
    const Int8Layer layer =
        Int8Layer::Make(random, channels, channels * c.params.kernel_h * c.params.kernel_w, 4, 0, true);
    const std::vector<int8_t> input = Int8s(random, c.in_h * c.in_w * channels);
    const std::vector<int8_t> expected = layer.Finish(ReferenceDepthwise(c, layer.filter, layer.Centred(input).data()));
    const Requantization output = layer.Output();
    for (const KernelSet* kernels : AllKernelSets()) {
      SCOPED_TRACE(std::string(IsaName(kernels->isa)) + " seed " + std::to_string(seed));
      const auto op = Int8DepthwiseConv2D::Create(c.params, layer.Source(), output, *kernels);
      ASSERT_NE(op, nullptr);
      ASSERT_EQ(op->Reshape(1, c.in_h, c.in_w), Status::kOk);
      ExpectSame(RunGuardedInt8(*op, input, static_cast<int64_t>(expected.size()), 1 + seed % 3), expected);
      if (HasFatalFailure()) return;
    }
  }
}

// What kernels of neighbouring lines leave to others: tall, wide and far-reaching kernels, factors of 1/2 and more.
TEST(Int8DepthwiseConv2D, BeyondLineKernels) {
  struct Shape {
    int kernel_h, kernel_w, dilation_w;
    double most_factor;  // of one channel; 0: all are small
  };
  for (const Shape& shape : {Shape{9, 3, 1, 0}, Shape{2, 9, 1, 0}, Shape{2, 3, 16, 0}, Shape{1, 2, 31, 0},
                             Shape{1, 2, 32, 0}, Shape{3, 3, 1, 0.5}, Shape{3, 3, 1, 3.0}}) {
    SCOPED_TRACE(std::to_string(shape.kernel_h) + "x" + std::to_string(shape.kernel_w) + " dilation " +
                 std::to_string(shape.dilation_w) + " factor " + std::to_string(shape.most_factor));
    DepthwiseCase c;
    c.params.kernel_h = shape.kernel_h;
    c.params.kernel_w = shape.kernel_w;
    c.params.dilation_w = shape.dilation_w;
    c.params.padding = Padding::kSame;
    c.params.in_channels = 70;
    c.in_h = 11;
    c.in_w = 40;
    Random random(5);
    Int8Layer layer = Int8Layer::Make(random, 70, int64_t{70} * shape.kernel_h * shape.kernel_w, 4, 0, true);
    if (shape.most_factor > 0) layer.factor[66] = shape.most_factor;
    const std::vector<int8_t> input = Int8s(random, c.in_h * c.in_w * 70);
    const std::vector<int8_t> expected = layer.Finish(ReferenceDepthwise(c, layer.filter, layer.Centred(input).data()));
    const Requantization output = layer.Output();
    for (const KernelSet* kernels : AllKernelSets()) {
      SCOPED_TRACE(IsaName(kernels->isa));
      const auto op = Int8DepthwiseConv2D::Create(c.params, layer.Source(), output, *kernels);
      ASSERT_NE(op, nullptr);
      ASSERT_EQ(op->Reshape(1, c.in_h, c.in_w), Status::kOk);
      ExpectSame(RunGuardedInt8(*op, input, static_cast<int64_t>(expected.size()), 2), expected);
      if (HasFatalFailure()) return;
    }
  }
}

// More channels than the sums of one pixel that the stack holds.
TEST(Int8DepthwiseConv2D, SmallMapsBeforeLargeOnes) {
  for (uint64_t seed = 0; seed < 24; ++seed) {
    Random random(950 + seed);
    DepthwiseCase c;
    c.params.kernel_h = c.params.kernel_w = seed % 3 == 0 ? 5 : 3;
    c.params.stride_h = c.params.stride_w = 1 + seed % 2;
    c.params.padding = Padding::kSame;
    c.params.in_channels = 40;
    c.batch = 1;
    Int8Layer layer = Int8Layer::Make(random, 40, 40 * c.params.kernel_h * c.params.kernel_w, 4, 0, true);
    layer.requantization.output_zero = layer.requantization.min = -128;
    const Requantization output = layer.Output();
    for (const KernelSet* kernels : AllKernelSets()) {
      SCOPED_TRACE(std::string(IsaName(kernels->isa)) + " seed " + std::to_string(seed));
      const auto op = Int8DepthwiseConv2D::Create(c.params, layer.Source(), output, *kernels);
      ASSERT_NE(op, nullptr);
      const bool narrows = kernels->output_s8->narrows && kernels->depthwise_s8->lines != nullptr;
      const size_t packed = op->packed_bytes();
      for (const int64_t size : {3, 24, 3, 11}) {
        c.in_h = c.in_w = size;
        ASSERT_EQ(op->Reshape(1, size, size), Status::kOk);
        const std::vector<int8_t> input = Int8s(random, size * size * 40);
        const std::vector<int8_t> expected =
            layer.Finish(ReferenceDepthwise(c, layer.filter, layer.Centred(input).data()));
        ExpectSame(RunGuardedInt8(*op, input, static_cast<int64_t>(expected.size()), 1 + seed % 3), expected);
        if (HasFatalFailure()) return;
        if (size == 24) {
          EXPECT_EQ(op->packed_bytes() != packed, narrows);
        }
      }
    }
  }
}

TEST(Int8DepthwiseConv2D, ManyChannels) {
  DepthwiseCase c;
  c.params.kernel_h = c.params.kernel_w = 3;
  c.params.in_channels = 5000;
  c.in_h = c.in_w = 8;
  Random random(3);
  const Int8Layer layer = Int8Layer::Make(random, 5000, 9 * 5000, 4, 0, true);
  const std::vector<int8_t> input = Int8s(random, 8 * 8 * 5000);
  const std::vector<int8_t> expected = layer.Finish(ReferenceDepthwise(c, layer.filter, layer.Centred(input).data()));
  const Requantization output = layer.Output();
  const auto op = Int8DepthwiseConv2D::Create(c.params, layer.View(), output, *BestKernels());
  ASSERT_EQ(op->Reshape(1, 8, 8), Status::kOk);
  ExpectSame(RunGuardedInt8(*op, input, static_cast<int64_t>(expected.size()), 3), expected);
}

// ---- fully connected ----

TEST(Int8FullyConnected, SizesAndBatches) {
  uint64_t seed = 0;
  for (const int64_t inputs : {1, 3, 8, 63, 640, 5000}) {
    for (const int64_t outputs : {1, 7, 32, 65}) {
      for (const int64_t batch : {1, 2, 13}) {
        Conv2DCase c = Square(1, 1, Padding::kValid, 1, inputs, outputs);  // the same sums
        c.batch = batch;
        Random random(seed);
        const Int8Layer layer = Int8Layer::Make(random, outputs, inputs * outputs, 2 + seed % 3, seed % 3 == 0 ? 4 : 0,
                                                false, seed % 4 != 0);
        const std::vector<int8_t> input = Int8s(random, batch * inputs);
        const std::vector<int8_t> expected =
            layer.Finish(ReferenceConv2D(c, layer.filter, layer.Centred(input).data()));
        const Requantization output = layer.Output();
        const Int8Layer dense = layer.Dense(inputs, outputs);
        for (const KernelSet* kernels : AllKernelSets()) {
          SCOPED_TRACE(std::string(IsaName(kernels->isa)) + " seed " + std::to_string(seed));
          for (const Int8Layer* source : {&layer, &dense}) {
            SCOPED_TRACE(source == &dense ? "dense" : "codebook");
            const auto op = Int8FullyConnected::Create({inputs, outputs, Activation::kNone}, source->Source(),
                                                       {&output, nullptr}, *kernels);
            ASSERT_NE(op, nullptr);
            ASSERT_EQ(op->Reshape(batch), Status::kOk);
            ExpectSame(RunGuardedInt8(*op, input, batch * outputs, 1 + seed % 4), expected);
            if (HasFatalFailure()) return;
          }
        }
        ++seed;
      }
    }
  }
}

// -128 is no weight: the kernels' sums of two products would not fit 16 bits.
TEST(Int8FullyConnected, DenseFiltersOutOfRange) {
  Random random(8);
  const Int8Layer layer = Int8Layer::Make(random, 5, 5 * 7, 4, 0, false).Dense(7, 5);
  const Requantization output = layer.Output();
  const auto create = [&] {
    return Int8FullyConnected::Create({7, 5, Activation::kNone}, layer.Source(), {&output, nullptr}, *BestKernels());
  };
  EXPECT_NE(create(), nullptr);
  for (const int64_t at : {0, 17, 34}) {
    const int8_t old = (*layer.values)[at];
    (*layer.values)[at] = -128;
    EXPECT_EQ(create(), nullptr) << at;
    (*layer.values)[at] = old;
  }
}

// ---- memory ----

// Whatever allocation fails, Create and Reshape say so, and the op works once memory is there again.
template <typename Make, typename Reshape>
void CheckAllocations(const Make& make, const Reshape& reshape) {
  int64_t allocations = 0;
  {
    const FailAllocation count(-1);
    const auto op = make();
    ASSERT_NE(op, nullptr);
    ASSERT_EQ(reshape(*op), Status::kOk);
    allocations = count.allocations();
  }
  ASSERT_GT(allocations, 5);
  for (int64_t nth = 0; nth < allocations; ++nth) {
    auto op = make();
    op.reset();
    const FailAllocation fail(nth);
    op = make();
    if (op == nullptr) continue;
    EXPECT_EQ(reshape(*op), Status::kOutOfMemory) << "allocation " << nth;
    EXPECT_EQ(reshape(*op), Status::kOk) << "allocation " << nth;
  }
}

TEST(Int8Ops, FailedAllocations) {
  Random random(6);
  const Conv2DCase c = Square(3, 1, Padding::kSame, 8, 6, 40);
  Int8Layer layer = Int8Layer::Make(random, 40, WeightCount(c.params), 4, 3, true);
  layer.requantization.output_zero = layer.requantization.min = -128;  // for scales that do with fewer steps
  const Requantization output = layer.Output();
  std::vector<float> scales(40, 0.01f);
  const Dequantization dynamic = {scales.data(), nullptr, RangeOf(Activation::kNone)};
  for (const KernelSet* kernels : AllKernelSets()) {
    for (const Int8LayerOutput& kind : {Int8LayerOutput{&output, nullptr}, Int8LayerOutput{nullptr, &dynamic}}) {
      CheckAllocations([&] { return Int8Conv2D::Create(c.params, layer.View(), kind, *kernels); },
                       [](Int8Conv2D& op) { return op.Reshape(2, 8, 8); });
      Int8CodebookFilter view = layer.View();
      view.count = 40 * 6;
      CheckAllocations([&] { return Int8FullyConnected::Create({6, 40, Activation::kNone}, view, kind, *kernels); },
                       [](Int8FullyConnected& op) { return op.Reshape(3); });
    }
    DepthwiseConv2DParams depthwise;
    depthwise.kernel_h = depthwise.kernel_w = 3;
    depthwise.in_channels = 20;
    depthwise.depth_multiplier = 2;
    Int8CodebookFilter view = layer.View();
    view.count = 9 * 40;
    CheckAllocations([&] { return Int8DepthwiseConv2D::Create(depthwise, view, output, *kernels); },
                     [](Int8DepthwiseConv2D& op) { return op.Reshape(2, 8, 8); });
  }
}

}  // namespace
}  // namespace dgms::testing
