// Conv2D over its life: threads, batches, denormals, reshaping, errors, failed allocations.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <limits>

#include "ops/conv2d_testing.h"

namespace dgms::testing {
namespace {

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
  // More places of K than pixels, and fewer: what is scaled depends on that (ops/float_gemm.cc).
  for (Conv2DCase c : {Square(3, 1, Padding::kSame, 9, 12, 40), Square(1, 1, Padding::kSame, 9, 12, 40)}) {
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
  using Field = int Conv2DParams::*;
  for (const Field field : std::initializer_list<Field>{
           &Conv2DParams::kernel_h, &Conv2DParams::kernel_w, &Conv2DParams::stride_h, &Conv2DParams::stride_w,
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
  // A code that the codebook does not have, wherever it is.
  const std::vector<uint8_t> allowed(filter.codes.size(), 7);
  for (const size_t place : {size_t{0}, size_t{1}, allowed.size() - 1}) {
    std::vector<uint8_t> codes = allowed;
    codes[place] = 8;
    const std::vector<uint8_t> nibbles = Nibbles(codes);
    view = filter.View();
    view.bits = 3;
    view.codes = nibbles.data();
    EXPECT_EQ(status_of(good.params, view), Status::kInvalidArgument) << place;
  }
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
