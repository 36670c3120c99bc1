// DepthwiseConv2D against a double oracle, with input and output between guard pages, on every instruction set.
#include "ops/depthwise_conv2d.h"

#include <gtest/gtest.h>

#include <cstring>
#include <initializer_list>
#include <sstream>

#include "ops/op_testing.h"

namespace dgms::testing {
namespace {

std::string Describe(const DepthwiseCase& c, const FilterData& filter) {
  const DepthwiseConv2DParams& p = c.params;
  std::ostringstream text;
  text << "input " << c.batch << "x" << c.in_h << "x" << c.in_w << "x" << p.in_channels << " multiplier "
       << p.depth_multiplier << " kernel " << p.kernel_h << "x" << p.kernel_w << " stride " << p.stride_h << "x"
       << p.stride_w << " dilation " << p.dilation_h << "x" << p.dilation_w
       << (p.padding == Padding::kSame ? " SAME" : " VALID") << " pads " << p.pads.top << "," << p.pads.bottom << ","
       << p.pads.left << "," << p.pads.right << " activation " << static_cast<int>(p.activation)
       << (filter.values != nullptr ? " dense" : "") << " bits " << filter.bits << " group size " << filter.group_size;
  return text.str();
}

FilterData MakeFilter(Random& random, const DepthwiseConv2DParams& p, int bits = 4, int64_t group_size = 0,
                      bool scaled = true, bool biased = true) {
  const int64_t channels = p.in_channels * p.depth_multiplier;
  return FilterData::Make(random, channels, channels * p.kernel_h * p.kernel_w, bits, group_size, scaled, biased);
}

std::vector<float> MakeInput(Random& random, const DepthwiseCase& c) {
  return random.Floats(c.batch * c.in_h * c.in_w * c.params.in_channels);
}

std::vector<float> RunCase(const DepthwiseCase& c, const FilterData& filter, const std::vector<float>& input,
                           const KernelSet& kernels, int threads) {
  Status status;
  const auto op = DepthwiseConv2D::Create(c.params, filter.Source(), filter.Bias(), kernels, &status);
  if (op == nullptr) {
    ADD_FAILURE() << "Create: " << StatusText(status);
    return {};
  }
  EXPECT_EQ(op->Reshape(c.batch, c.in_h, c.in_w), Status::kOk);
  const auto pool = ThreadPool::Create(threads);
  const int64_t pixels = c.batch * op->output_h() * op->output_w();
  return RunGuarded(*op, input, pixels * c.params.in_channels * c.params.depth_multiplier, *pool);
}

void Check(const DepthwiseCase& c, const FilterData& filter, const std::vector<float>& input, int threads = 1) {
  const Expected expected = ReferenceDepthwise(c, filter, input.data());
  for (const KernelSet* kernels : AllKernelSets()) {
    SCOPED_TRACE(Describe(c, filter) + " on " + IsaName(kernels->isa) + ", " + std::to_string(threads) + " threads");
    if (!ExpectClose(RunCase(c, filter, input, *kernels, threads), expected)) return;
  }
}

DepthwiseCase Square(int kernel, int stride, Padding padding, int64_t size, int64_t channels, int multiplier = 1) {
  DepthwiseCase c;
  c.params.kernel_h = c.params.kernel_w = kernel;
  c.params.stride_h = c.params.stride_w = stride;
  c.params.padding = padding;
  c.params.in_channels = channels;
  c.params.depth_multiplier = multiplier;
  c.in_h = c.in_w = size;
  return c;
}

void Check(const DepthwiseCase& c, uint64_t seed = 1) {
  Random random(seed);
  const FilterData filter = MakeFilter(random, c.params);
  Check(c, filter, MakeInput(random, c));
}

TEST(DepthwiseConv2D, RandomCases) {
  Random random(1);
  for (int i = 0; i < 400 && !::testing::Test::HasFailure(); ++i) {
    DepthwiseCase c;
    DepthwiseConv2DParams& p = c.params;
    p.kernel_h = static_cast<int>(random.Int(1, 5));
    p.kernel_w = static_cast<int>(random.Int(1, 5));
    p.stride_h = static_cast<int>(random.Int(1, 3));
    p.stride_w = static_cast<int>(random.Int(1, 3));
    p.dilation_h = static_cast<int>(random.Int(1, 3));
    p.dilation_w = static_cast<int>(random.Int(1, 3));
    p.padding = random.Coin() ? Padding::kSame : Padding::kValid;
    p.in_channels = random.Int(1, random.Coin() ? 6 : 70);
    p.depth_multiplier = random.Coin() ? 1 : static_cast<int>(random.Int(1, 4));
    p.activation = static_cast<Activation>(random.Int(0, 3));
    c.batch = random.Int(1, 3);
    const bool valid = p.padding == Padding::kValid;
    c.in_h = random.Int(valid ? (p.kernel_h - 1) * p.dilation_h + 1 : 1, 14);
    c.in_w = random.Int(valid ? (p.kernel_w - 1) * p.dilation_w + 1 : 1, 24);
    const int64_t group_size = random.Int(0, 2) == 0 ? random.Int(1, p.in_channels * p.depth_multiplier + 3) : 0;
    const FilterData filter =
        MakeFilter(random, p, static_cast<int>(random.Int(2, 4)), group_size, random.Coin(), random.Coin());
    Check(c, filter, MakeInput(random, c), 1 + i % 3);
    if (i % 4 == 0) {
      const int64_t channels = p.in_channels * p.depth_multiplier;
      const FilterData dense =
          FilterData::MakeDense(random, channels, channels * p.kernel_h * p.kernel_w, random.Coin());
      Check(c, dense, MakeInput(random, c));
    }
  }
}

// A PAD in front that the op does itself: windows may lie in it whole, whether the kernel does lines or runs.
TEST(DepthwiseConv2D, ExplicitPadding) {
  Random random(21);
  for (int i = 0; i < 200 && !::testing::Test::HasFailure(); ++i) {
    DepthwiseCase c = Square(1, 1, random.Int(0, 3) == 0 ? Padding::kSame : Padding::kValid, 0, random.Int(1, 40),
                             random.Coin() ? 1 : 2);
    DepthwiseConv2DParams& p = c.params;
    p.kernel_h = static_cast<int>(random.Int(1, 4));
    p.kernel_w = static_cast<int>(random.Int(1, 4));
    p.stride_h = static_cast<int>(random.Int(1, 3));
    p.stride_w = static_cast<int>(random.Int(1, 3));
    p.dilation_h = static_cast<int>(random.Int(1, 2));
    p.dilation_w = static_cast<int>(random.Int(1, 2));
    c.batch = random.Int(1, 2);
    c.in_h = random.Int(1, 9);
    c.in_w = random.Int(1, 9);
    p.pads =
        RandomPads(random, (p.kernel_h - 1) * p.dilation_h + 1, (p.kernel_w - 1) * p.dilation_w + 1, c.in_h, c.in_w);
    const FilterData filter = MakeFilter(random, p);
    Check(c, filter, MakeInput(random, c), 1 + i % 3);
  }
}

TEST(DepthwiseConv2D, NetworkShapes) {
  Check(Square(3, 1, Padding::kSame, 28, 32));
  Check(Square(3, 2, Padding::kSame, 28, 96));
  Check(Square(3, 1, Padding::kSame, 7, 144));
  Check(Square(5, 2, Padding::kSame, 15, 40));
  Check(Square(7, 1, Padding::kSame, 14, 24));
}

TEST(DepthwiseConv2D, DepthMultiplier) {
  for (const int multiplier : {2, 3, 8, 17}) {
    Check(Square(3, 1, Padding::kSame, 6, 1, multiplier));
    Check(Square(3, 2, Padding::kValid, 7, 5, multiplier));
  }
}

TEST(DepthwiseConv2D, KernelLargerThanTheInput) {
  for (const int64_t size : {1, 2, 3}) {
    for (const int kernel : {2, 3, 5, 7}) Check(Square(kernel, 1, Padding::kSame, size, 5));
  }
  DepthwiseCase c = Square(2, 1, Padding::kSame, 1, 5);  // dilated so far that no tap meets the input: the bias alone
  c.params.dilation_h = c.params.dilation_w = 4;
  Check(c);
  c.in_w = 20;  // the same up and down only: a whole run of pixels without a line
  Check(c);
  c.params.dilation_w = 1;
  Check(c);
  c.in_w = 1;
  c.params.activation = Activation::kReluN1To1;
  c.params.dilation_h = 1;
  Check(c);
}

TEST(DepthwiseConv2D, AsymmetricPadding) {
  for (const int64_t size : {4, 5, 6, 7, 8}) {
    for (const int kernel : {2, 3, 4, 5}) {
      for (const int stride : {1, 2, 3}) Check(Square(kernel, stride, Padding::kSame, size, 3));
    }
  }
}

TEST(DepthwiseConv2D, CodebookPerChannelGroup) {
  Random random(3);
  const DepthwiseCase c = Square(3, 1, Padding::kSame, 5, 20, 2);
  for (const int64_t group_size : {1, 3, 16, 20, 40, 100}) {
    Check(c, MakeFilter(random, c.params, 3, group_size), MakeInput(random, c));
  }
}

TEST(DepthwiseConv2D, BitIdenticalForAnyNumberOfThreads) {
  for (DepthwiseCase c : {Square(3, 1, Padding::kSame, 28, 70), Square(5, 2, Padding::kSame, 60, 20, 2)}) {
    Random random(8);
    const FilterData filter = MakeFilter(random, c.params);
    const std::vector<float> input = MakeInput(random, c);
    for (const KernelSet* kernels : AllKernelSets()) {
      const std::vector<float> alone = RunCase(c, filter, input, *kernels, 1);
      for (int threads = 2; threads <= 8; ++threads) {
        const std::vector<float> result = RunCase(c, filter, input, *kernels, threads);
        ASSERT_EQ(std::memcmp(alone.data(), result.data(), alone.size() * sizeof(float)), 0) << IsaName(kernels->isa);
      }
    }
  }
}

// Padding is left out, not multiplied by zero: an infinite weight over the border does no harm there.
TEST(DepthwiseConv2D, PaddingIsNotMultiplied) {
  DepthwiseCase c = Square(3, 1, Padding::kSame, 4, 3);
  Random random(2);
  FilterData filter = MakeFilter(random, c.params, 4, 0, false, false);
  for (float& value : filter.codebooks) value = 1.0f;
  filter.codebooks[7] = std::numeric_limits<float>::infinity();
  for (uint8_t& code : filter.codes) code = 1;
  for (int channel = 0; channel < 3; ++channel) filter.codes[channel] = 7;  // the first tap
  const std::vector<float> input(4 * 4 * 3, 1.0f);
  for (const KernelSet* kernels : AllKernelSets()) {
    const std::vector<float> y = RunCase(c, filter, input, *kernels, 1);
    for (int64_t i = 0; i < 4 * 4; ++i) {
      const bool first_tap_inside = i / 4 > 0 && i % 4 > 0;
      ASSERT_EQ(std::isinf(y[i * 3]), first_tap_inside) << "pixel " << i;
      ASSERT_FALSE(std::isnan(y[i * 3])) << "pixel " << i;
    }
  }
}

TEST(DepthwiseConv2D, ReshapeAndErrors) {
  Random random(6);
  DepthwiseCase c = Square(3, 2, Padding::kValid, 8, 6, 2);
  const FilterData filter = MakeFilter(random, c.params);
  const auto pool = ThreadPool::Create(2);
  const auto op = DepthwiseConv2D::Create(c.params, filter.View(), filter.Bias(), *BestKernels());
  ASSERT_NE(op, nullptr);
  EXPECT_EQ(op->Run(nullptr, nullptr, *pool), Status::kNotReady);
  for (const int64_t bad : {int64_t{-1}, int64_t{0}, int64_t{2}, INT64_MAX}) {
    EXPECT_EQ(op->Reshape(1, bad, 8), Status::kInvalidArgument) << bad;
    EXPECT_EQ(op->Reshape(1, 8, bad), Status::kInvalidArgument) << bad;
    EXPECT_EQ(op->Run(nullptr, nullptr, *pool), Status::kNotReady);
  }
  EXPECT_EQ(op->Reshape(-1, 8, 8), Status::kInvalidArgument);
  EXPECT_EQ(op->Reshape(INT64_MAX, 8, 8), Status::kInvalidArgument);
  EXPECT_EQ(op->Reshape(0, 8, 8), Status::kOk);
  EXPECT_EQ(op->Run(nullptr, nullptr, *pool), Status::kOk);
  for (const int64_t size : {8, 3, 20}) {
    c.in_h = c.in_w = size;
    const std::vector<float> input = MakeInput(random, c);
    ASSERT_EQ(op->Reshape(1, size, size), Status::kOk);
    ExpectClose(RunGuarded(*op, input, op->output_h() * op->output_w() * 12, *pool),
                ReferenceDepthwise(c, filter, input.data()));
  }
  using Field = int DepthwiseConv2DParams::*;
  for (const Field field : std::initializer_list<Field>{
           &DepthwiseConv2DParams::kernel_h, &DepthwiseConv2DParams::kernel_w, &DepthwiseConv2DParams::stride_h,
           &DepthwiseConv2DParams::stride_w, &DepthwiseConv2DParams::dilation_h, &DepthwiseConv2DParams::dilation_w,
           &DepthwiseConv2DParams::depth_multiplier}) {
    DepthwiseConv2DParams params = c.params;
    params.*field = 0;
    Status status = Status::kOk;
    EXPECT_EQ(DepthwiseConv2D::Create(params, filter.View(), nullptr, *BestKernels(), &status), nullptr);
    EXPECT_EQ(status, Status::kInvalidArgument);
  }
  CodebookFilter view = filter.View();
  view.count += 1;
  EXPECT_EQ(DepthwiseConv2D::Create(c.params, view, nullptr, *BestKernels()), nullptr);
}

// One codebook: half a byte for each weight, whatever the width. (Several: floats.)
TEST(DepthwiseConv2D, WeightsStayPacked) {
  Random random(7);
  const DepthwiseCase c = Square(5, 1, Padding::kSame, 8, 37);
  const size_t weights = 5 * 5 * 37, floats = sizeof(float);
  for (const int bits : {2, 3, 4}) {
    const FilterData filter = MakeFilter(random, c.params, bits, 0, /*scaled=*/false);
    const auto op = DepthwiseConv2D::Create(c.params, filter.View(), filter.Bias(), *BestKernels());
    ASSERT_NE(op, nullptr);
    EXPECT_EQ(op->packed_bytes(), (weights + 1) / 2 + (kTableSize + 37) * floats) << bits;
  }
  const FilterData groups = MakeFilter(random, c.params, 4, 16, /*scaled=*/false);
  const auto op = DepthwiseConv2D::Create(c.params, groups.View(), groups.Bias(), *BestKernels());
  ASSERT_NE(op, nullptr);
  EXPECT_EQ(op->packed_bytes(), (weights + 37) * floats);
}

TEST(DepthwiseConv2D, EveryFailedAllocationIsReported) {
  Random random(6);
  const DepthwiseCase c = Square(3, 1, Padding::kSame, 8, 6, 2);
  const FilterData filter = MakeFilter(random, c.params);
  for (int64_t nth = 0; nth < 100; ++nth) {
    Status status = Status::kOk;
    const FailAllocation fail(nth);
    const auto op = DepthwiseConv2D::Create(c.params, filter.View(), filter.Bias(), *BestKernels(), &status);
    if (op != nullptr) status = op->Reshape(1, 8, 8);
    if (status == Status::kOk) {
      EXPECT_LE(fail.allocations(), nth) << "a failed allocation was overlooked";
      EXPECT_EQ(nth, 7) << "state, bias, codes, table, scale, op, workspace";
      return;
    }
    ASSERT_EQ(status, Status::kOutOfMemory) << "allocation " << nth;
  }
  FAIL() << "never succeeded";
}

}  // namespace
}  // namespace dgms::testing
