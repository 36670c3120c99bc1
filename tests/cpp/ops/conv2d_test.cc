// Conv2D against a double oracle, with input and output between guard pages, on every instruction set.
#include "ops/conv2d.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <sstream>

#include "ops/op_testing.h"

namespace dgms::testing {
namespace {

std::string Describe(const Conv2DCase& c, const FilterData& filter) {
  const Conv2DParams& p = c.params;
  std::ostringstream text;
  text << "input " << c.batch << "x" << c.in_h << "x" << c.in_w << "x" << p.in_channels << " kernel " << p.kernel_h
       << "x" << p.kernel_w << " stride " << p.stride_h << "x" << p.stride_w << " dilation " << p.dilation_h << "x"
       << p.dilation_w << (p.padding == Padding::kSame ? " SAME" : " VALID") << " groups " << p.groups << " out "
       << p.out_channels << " activation " << static_cast<int>(p.activation) << " bits " << filter.bits
       << " group size " << filter.group_size << (filter.scale.empty() ? "" : " scale")
       << (filter.bias.empty() ? "" : " bias");
  return text.str();
}

int64_t WeightCount(const Conv2DParams& p) {
  return p.out_channels * p.kernel_h * p.kernel_w * (p.in_channels / p.groups);
}

FilterData MakeFilter(Random& random, const Conv2DParams& p, int bits = 4, int64_t group_size = 0) {
  return FilterData::Make(random, p.out_channels, WeightCount(p), bits, group_size, true, true);
}

std::vector<float> MakeInput(Random& random, const Conv2DCase& c) {
  return random.Floats(c.batch * c.in_h * c.in_w * c.params.in_channels);
}

// Runs one case on one instruction set.
std::vector<float> RunCase(const Conv2DCase& c, const FilterData& filter, const std::vector<float>& input,
                           const KernelSet& kernels, int threads, Workspace* workspace = nullptr) {
  Status status;
  const auto op = Conv2D::Create(c.params, filter.View(), filter.Bias(), kernels, &status);
  if (op == nullptr) {
    ADD_FAILURE() << "Create: " << StatusText(status);
    return {};
  }
  EXPECT_EQ(op->Reshape(c.batch, c.in_h, c.in_w, workspace), Status::kOk);
  const auto pool = ThreadPool::Create(threads);
  return RunGuarded(*op, input, c.batch * op->output_h() * op->output_w() * c.params.out_channels, *pool);
}

// Compares one case with the oracle on every instruction set.
void Check(const Conv2DCase& c, const FilterData& filter, const std::vector<float>& input, int threads = 1) {
  const Expected expected = ReferenceConv2D(c, filter, input.data());
  for (const KernelSet* kernels : AllKernelSets()) {
    SCOPED_TRACE(Describe(c, filter) + " on " + IsaName(kernels->isa) + ", " + std::to_string(threads) + " threads");
    if (!ExpectClose(RunCase(c, filter, input, *kernels, threads), expected)) return;
  }
}

void Check(const Conv2DCase& c, uint64_t seed = 1, int threads = 1) {
  Random random(seed);
  const FilterData filter = MakeFilter(random, c.params);
  Check(c, filter, MakeInput(random, c), threads);
}

Conv2DCase Square(int kernel, int stride, Padding padding, int64_t size, int64_t in, int64_t out) {
  Conv2DCase c;
  c.params.kernel_h = c.params.kernel_w = kernel;
  c.params.stride_h = c.params.stride_w = stride;
  c.params.padding = padding;
  c.params.in_channels = in;
  c.params.out_channels = out;
  c.in_h = c.in_w = size;
  return c;
}

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
    const Conv2DCase c = Square(3, 1, Padding::kSame, 9, channels, 40);
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

// ---- threads ----

TEST(Conv2D, BitIdenticalForAnyNumberOfThreads) {
  Conv2DCase cases[] = {Square(3, 1, Padding::kSame, 28, 24, 96),  Square(1, 1, Padding::kSame, 14, 300, 512),
                        Square(3, 1, Padding::kSame, 7, 128, 160), Square(7, 2, Padding::kSame, 64, 3, 20),
                        Square(1, 1, Padding::kSame, 1, 640, 700), Square(3, 1, Padding::kSame, 40, 16, 5)};
  cases[0].batch = 2;
  for (const Conv2DCase& c : cases) {
    Random random(8);
    const FilterData filter = MakeFilter(random, c.params);
    const std::vector<float> input = MakeInput(random, c);
    for (const KernelSet* kernels : AllKernelSets()) {
      const std::vector<float> alone = RunCase(c, filter, input, *kernels, 1);
      for (int threads = 2; threads <= 8; ++threads) {
        const std::vector<float> result = RunCase(c, filter, input, *kernels, threads);
        ASSERT_EQ(std::memcmp(alone.data(), result.data(), alone.size() * sizeof(float)), 0)
            << Describe(c, filter) << " on " << IsaName(kernels->isa) << " with " << threads << " threads";
      }
    }
  }
}

// The images of a batch do not influence each other, nor does their number: bit for bit.
TEST(Conv2D, BatchEqualsSingleImages) {
  Conv2DCase c = Square(3, 1, Padding::kSame, 9, 12, 40);
  c.batch = 5;
  Random random(8);
  const FilterData filter = MakeFilter(random, c.params);
  const std::vector<float> input = MakeInput(random, c);
  for (const KernelSet* kernels : AllKernelSets()) {
    const std::vector<float> all = RunCase(c, filter, input, *kernels, 2);
    Conv2DCase single = c;
    single.batch = 1;
    const size_t in = input.size() / 5, out = all.size() / 5;
    for (size_t i = 0; i < 5; ++i) {
      const std::vector<float> image(input.begin() + i * in, input.begin() + (i + 1) * in);
      const std::vector<float> expected(all.begin() + i * out, all.begin() + (i + 1) * out);
      ASSERT_EQ(RunCase(single, filter, image, *kernels, 1), expected)
          << "image " << i << " on " << IsaName(kernels->isa);
    }
  }
}

// Denormals are flushed by every thread alike: results do not depend on who computes them.
TEST(Conv2D, DenormalsOnAllThreads) {
  const Conv2DCase c = Square(1, 1, Padding::kValid, 32, 64, 128);
  Random random(8);
  FilterData filter = MakeFilter(random, c.params);
  filter.bias.clear();
  filter.scale.clear();
  std::vector<float> input = MakeInput(random, c);
  for (float& x : input) x *= 1e-38f;  // products and sums on both sides of the smallest normal number
  for (const KernelSet* kernels : AllKernelSets()) {
    const std::vector<float> alone = RunCase(c, filter, input, *kernels, 1);
    int zeros = 0;
    for (const float y : alone) {
      ASSERT_TRUE(y == 0.0f || std::abs(y) >= std::numeric_limits<float>::min()) << "a denormal got out: " << y;
      zeros += y == 0.0f;
    }
    EXPECT_GT(zeros, 0) << "the case has no denormals";
    for (const int threads : {2, 4, 8}) ASSERT_EQ(RunCase(c, filter, input, *kernels, threads), alone) << threads;
  }
}

// ---- NaN, infinities ----

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

// ---- reshape, errors ----

TEST(Conv2D, ReshapeKeepsWeightsAndServesEverySize) {
  Random random(6);
  Conv2DCase c = Square(3, 2, Padding::kSame, 8, 6, 33);
  const FilterData filter = MakeFilter(random, c.params);
  const auto pool = ThreadPool::Create(2);
  for (const KernelSet* kernels : AllKernelSets()) {
    const auto op = Conv2D::Create(c.params, filter.View(), filter.Bias(), *kernels);
    ASSERT_NE(op, nullptr);
    const size_t packed = op->packed_bytes();
    for (const auto& [batch, height, width] :
         {std::array<int64_t, 3>{1, 8, 8}, {3, 15, 4}, {1, 2, 40}, {0, 8, 8}, {2, 8, 8}}) {
      ASSERT_EQ(op->Reshape(batch, height, width), Status::kOk);
      c.batch = batch;
      c.in_h = height;
      c.in_w = width;
      const std::vector<float> input = MakeInput(random, c);
      ExpectClose(RunGuarded(*op, input, batch * op->output_h() * op->output_w() * 33, *pool),
                  ReferenceConv2D(c, filter, input.data()));
      EXPECT_EQ(op->packed_bytes(), packed);
    }
  }
}

// Two ops that take turns with one workspace, the second of which makes it grow.
TEST(Conv2D, SharedWorkspace) {
  Random random(6);
  const Conv2DCase small = Square(3, 1, Padding::kSame, 5, 4, 8), large = Square(5, 1, Padding::kSame, 20, 8, 8);
  const FilterData small_filter = MakeFilter(random, small.params), large_filter = MakeFilter(random, large.params);
  const auto pool = ThreadPool::Create(2);
  Workspace workspace;
  const auto a = Conv2D::Create(small.params, small_filter.View(), small_filter.Bias(), *BestKernels());
  const auto b = Conv2D::Create(large.params, large_filter.View(), large_filter.Bias(), *BestKernels());
  ASSERT_EQ(a->Reshape(1, 5, 5, &workspace), Status::kOk);
  ASSERT_EQ(b->Reshape(1, 20, 20, &workspace), Status::kOk);
  EXPECT_GE(workspace.bytes(), b->workspace_bytes());
  for (int turn = 0; turn < 2; ++turn) {
    const std::vector<float> x = MakeInput(random, small), y = MakeInput(random, large);
    ExpectClose(RunGuarded(*a, x, 5 * 5 * 8, *pool), ReferenceConv2D(small, small_filter, x.data()));
    ExpectClose(RunGuarded(*b, y, 20 * 20 * 8, *pool), ReferenceConv2D(large, large_filter, y.data()));
  }
}

TEST(Conv2D, RefusesWhatMakesNoSense) {
  Random random(6);
  const Conv2DCase good = Square(3, 1, Padding::kSame, 8, 6, 8);
  const FilterData filter = MakeFilter(random, good.params);
  const auto status_of = [&](const Conv2DParams& params, const CodebookFilter& view) {
    Status status = Status::kOk;
    const auto op = Conv2D::Create(params, view, nullptr, *BestKernels(), &status);
    EXPECT_EQ(op != nullptr, status == Status::kOk);
    return status;
  };
  EXPECT_EQ(status_of(good.params, filter.View()), Status::kOk);
  for (int Conv2DParams::* field :
       {&Conv2DParams::kernel_h, &Conv2DParams::kernel_w, &Conv2DParams::stride_h, &Conv2DParams::stride_w,
        &Conv2DParams::dilation_h, &Conv2DParams::dilation_w, &Conv2DParams::groups}) {
    for (const int value : {0, -1}) {
      Conv2DParams params = good.params;
      params.*field = value;
      EXPECT_EQ(status_of(params, filter.View()), Status::kInvalidArgument);
    }
  }
  for (const int64_t channels : {int64_t{0}, int64_t{-6}, int64_t{7}, INT64_MAX}) {
    Conv2DParams params = good.params;
    params.in_channels = channels;
    EXPECT_EQ(status_of(params, filter.View()), Status::kInvalidArgument) << channels;
    params = good.params;
    params.out_channels = channels;
    EXPECT_EQ(status_of(params, filter.View()), Status::kInvalidArgument) << channels;
  }
  Conv2DParams params = good.params;
  params.groups = 4;  // does not divide 6
  EXPECT_EQ(status_of(params, filter.View()), Status::kInvalidArgument);

  for (const int bits : {-1, 0, 1, 5, 8}) {
    CodebookFilter view = filter.View();
    view.bits = bits;
    EXPECT_EQ(status_of(good.params, view), Status::kInvalidArgument) << "bits " << bits;
  }
  CodebookFilter view = filter.View();
  view.count -= 1;
  EXPECT_EQ(status_of(good.params, view), Status::kInvalidArgument);
  view = filter.View();
  view.codebooks = nullptr;
  EXPECT_EQ(status_of(good.params, view), Status::kInvalidArgument);
  view = filter.View();
  view.group_size = -1;
  EXPECT_EQ(status_of(good.params, view), Status::kInvalidArgument);
  std::vector<uint8_t> codes = filter.codes;
  codes.back() = 16;
  view = filter.View();
  view.codes = codes.data();
  EXPECT_EQ(status_of(good.params, view), Status::kInvalidArgument);
}

TEST(Conv2D, ReshapeErrors) {
  Random random(6);
  const Conv2DCase c = Square(3, 1, Padding::kValid, 8, 6, 8);
  const FilterData filter = MakeFilter(random, c.params);
  const auto op = Conv2D::Create(c.params, filter.View(), filter.Bias(), *BestKernels());
  const auto pool = ThreadPool::Create(1);
  std::vector<float> x(8 * 8 * 6), y(6 * 6 * 8);
  EXPECT_EQ(op->Run(x.data(), y.data(), *pool), Status::kNotReady);
  const std::array<int64_t, 3> bad[] = {
      {-1, 8, 8},        {1, 0, 8},         {1, 8, 0},         {1, -8, 8},
      {1, 2, 8},         {1, 8, 2},  // VALID: smaller than the kernel
      {INT64_MAX, 8, 8}, {1, INT64_MAX, 8}, {1, 8, INT64_MAX}, {1, int64_t{1} << 31, int64_t{1} << 31}};
  for (const auto& [batch, height, width] : bad) {
    EXPECT_EQ(op->Reshape(1, 8, 8), Status::kOk);
    EXPECT_EQ(op->Reshape(batch, height, width), Status::kInvalidArgument) << batch << " " << height << " " << width;
    EXPECT_EQ(op->Run(x.data(), y.data(), *pool), Status::kNotReady);
  }
  EXPECT_EQ(op->Reshape(1, 8, 8), Status::kOk);
  EXPECT_EQ(op->Run(x.data(), y.data(), *pool), Status::kOk);
  // An empty batch is no work, and touches nothing.
  EXPECT_EQ(op->Reshape(0, 8, 8), Status::kOk);
  EXPECT_EQ(op->Run(nullptr, nullptr, *pool), Status::kOk);
}

// Whichever allocation fails, the op says so and nothing leaks or crashes; a later try succeeds.
TEST(Conv2D, EveryFailedAllocationIsReported) {
  Random random(6);
  Conv2DCase c = Square(3, 1, Padding::kSame, 8, 6, 40);
  const FilterData filter = MakeFilter(random, c.params, 4, 5);
  int64_t failures = 0;
  for (int64_t nth = 0; nth < 100; ++nth) {
    Status status = Status::kOk;
    const FailAllocation fail(nth);
    const auto op = Conv2D::Create(c.params, filter.View(), filter.Bias(), *BestKernels(), &status);
    if (op == nullptr) {
      ASSERT_EQ(status, Status::kOutOfMemory) << "allocation " << nth;
      ++failures;
      continue;
    }
    ASSERT_EQ(status, Status::kOk);
    status = op->Reshape(1, 8, 8);
    if (status == Status::kOk) {
      EXPECT_LE(fail.allocations(), nth) << "a failed allocation was overlooked";
      EXPECT_GE(failures, 10);
      return;
    }
    ASSERT_EQ(status, Status::kOutOfMemory) << "allocation " << nth;
    ++failures;
    ASSERT_EQ(op->Reshape(1, 8, 8), Status::kOk) << "the op did not recover";
  }
  FAIL() << "never succeeded";
}

// No allocation while running.
TEST(Conv2D, RunDoesNotAllocate) {
  Random random(6);
  Conv2DCase c = Square(3, 1, Padding::kSame, 8, 6, 40);
  const FilterData filter = MakeFilter(random, c.params);
  const auto op = Conv2D::Create(c.params, filter.View(), filter.Bias(), *BestKernels());
  const auto pool = ThreadPool::Create(2);
  ASSERT_EQ(op->Reshape(1, 8, 8), Status::kOk);
  std::vector<float> x(8 * 8 * 6), y(8 * 8 * 40);
  const FailAllocation fail(0);
  EXPECT_EQ(op->Run(x.data(), y.data(), *pool), Status::kOk);
  EXPECT_EQ(fail.allocations(), 0);
}

// Weights stay at half a byte each, plus what panels need.
TEST(Conv2D, WeightsStayPacked) {
  Random random(6);
  const Conv2DCase c = Square(3, 1, Padding::kSame, 8, 128, 128);
  for (const int bits : {2, 3, 4}) {
    const FilterData filter = MakeFilter(random, c.params, bits);
    for (const KernelSet* kernels : AllKernelSets()) {
      const auto op = Conv2D::Create(c.params, filter.View(), filter.Bias(), *kernels);
      const size_t weights = static_cast<size_t>(WeightCount(c.params));
      EXPECT_GE(op->packed_bytes(), weights / 2);
      EXPECT_LE(op->packed_bytes(), weights / 2 + 8 * 128 + 1024) << IsaName(kernels->isa);
    }
  }
}

}  // namespace
}  // namespace dgms::testing
