// FullyConnected against a double oracle, with input and output between guard pages, on every instruction set.
#include "ops/fully_connected.h"

#include <gtest/gtest.h>

#include <cstring>

#include "ops/op_testing.h"

namespace dgms::testing {
namespace {

struct Case {
  int64_t batch, in, out;
  Activation activation = Activation::kNone;
};

// A fully connected layer is a 1x1 convolution of a 1x1 map: the same oracle.
Expected Reference(const Case& c, const FilterData& filter, const std::vector<float>& input) {
  Conv2DCase conv;
  conv.params.in_channels = c.in;
  conv.params.out_channels = c.out;
  conv.params.activation = c.activation;
  conv.batch = c.batch;
  return ReferenceConv2D(conv, filter, input.data());
}

std::vector<float> RunCase(const Case& c, const FilterData& filter, const std::vector<float>& input,
                           const KernelSet& kernels, int threads) {
  Status status;
  const auto op = FullyConnected::Create({c.in, c.out, c.activation}, filter.Source(), filter.Bias(), kernels, &status);
  if (op == nullptr) {
    ADD_FAILURE() << "Create: " << StatusText(status);
    return {};
  }
  EXPECT_EQ(op->Reshape(c.batch), Status::kOk);
  const auto pool = ThreadPool::Create(threads);
  return RunGuarded(*op, input, c.batch * c.out, *pool);
}

void Check(const Case& c, const FilterData& filter, const std::vector<float>& input, int threads = 1) {
  const Expected expected = Reference(c, filter, input);
  for (const KernelSet* kernels : AllKernelSets()) {
    SCOPED_TRACE(std::to_string(c.batch) + "x" + std::to_string(c.in) + " -> " + std::to_string(c.out) + " bits " +
                 std::to_string(filter.bits) + " group size " + std::to_string(filter.group_size) + " on " +
                 IsaName(kernels->isa) + ", " + std::to_string(threads) + " threads");
    if (!ExpectClose(RunCase(c, filter, input, *kernels, threads), expected)) return;
  }
}

TEST(FullyConnected, RandomCases) {
  Random random(1);
  for (int i = 0; i < 300 && !::testing::Test::HasFailure(); ++i) {
    const Case c = {random.Coin() ? 1 : random.Int(2, 30), random.Int(1, 700), random.Int(1, 150),
                    static_cast<Activation>(random.Int(0, 3))};
    const int64_t group_size = random.Int(0, 2) == 0 ? random.Int(1, c.out + 3) : 0;
    const FilterData filter = FilterData::Make(random, c.out, c.in * c.out, static_cast<int>(random.Int(2, 4)),
                                               group_size, random.Coin(), random.Coin());
    Check(c, filter, random.Floats(c.batch * c.in), 1 + i % 3);
    if (i % 3 == 0) {
      Check(c, FilterData::MakeDense(random, c.out, c.in * c.out, random.Coin()), random.Floats(c.batch * c.in),
            1 + i % 3);
    }
  }
}

// The weights stay where they are: what an op keeps does not grow with them.
TEST(FullyConnected, DenseFiltersAreNotCopied) {
  Random random(4);
  const FilterData filter = FilterData::MakeDense(random, 64, 64 * 2000, true);
  for (const KernelSet* kernels : AllKernelSets()) {
    const auto op = FullyConnected::Create({2000, 64, Activation::kNone}, filter.Source(), filter.Bias(), *kernels);
    ASSERT_NE(op, nullptr);
    EXPECT_LT(op->packed_bytes(), size_t{64 * 2000});  // a quarter of the floats
  }
}

TEST(FullyConnected, BitIdenticalForAnyNumberOfThreads) {
  Random random(2);
  for (const auto& [c, dense] : {std::pair<Case, bool>{{1, 600, 500}, false},
                                 {{9, 400, 300}, false},
                                 {{200, 100, 70}, false},
                                 {{1, 600, 500}, true},
                                 {{9, 400, 300}, true}}) {
    const FilterData filter = dense ? FilterData::MakeDense(random, c.out, c.in * c.out, true)
                                    : FilterData::Make(random, c.out, c.in * c.out, 4, 0, true, true);
    const std::vector<float> input = random.Floats(c.batch * c.in);
    for (const KernelSet* kernels : AllKernelSets()) {
      const std::vector<float> alone = RunCase(c, filter, input, *kernels, 1);
      for (int threads = 2; threads <= 8; ++threads) {
        const std::vector<float> result = RunCase(c, filter, input, *kernels, threads);
        ASSERT_EQ(std::memcmp(alone.data(), result.data(), alone.size() * sizeof(float)), 0) << IsaName(kernels->isa);
      }
    }
  }
}

TEST(FullyConnected, ReshapeAndErrors) {
  Random random(3);
  const FilterData filter = FilterData::Make(random, 30, 50 * 30, 4, 0, true, true);
  const auto op = FullyConnected::Create({50, 30, Activation::kRelu}, filter.View(), filter.Bias(), *BestKernels());
  ASSERT_NE(op, nullptr);
  const auto pool = ThreadPool::Create(2);
  EXPECT_EQ(op->Run(nullptr, nullptr, *pool), Status::kNotReady);
  EXPECT_EQ(op->Reshape(-1), Status::kInvalidArgument);
  EXPECT_EQ(op->Reshape(INT64_MAX), Status::kInvalidArgument);
  EXPECT_EQ(op->Run(nullptr, nullptr, *pool), Status::kNotReady);
  EXPECT_EQ(op->Reshape(0), Status::kOk);
  EXPECT_EQ(op->Run(nullptr, nullptr, *pool), Status::kOk);
  for (const int64_t batch : {1, 3, 1, 40}) {
    const std::vector<float> input = random.Floats(batch * 50);
    ASSERT_EQ(op->Reshape(batch), Status::kOk);
    ExpectClose(RunGuarded(*op, input, batch * 30, *pool),
                Reference({batch, 50, 30, Activation::kRelu}, filter, input));
  }
  for (const auto& [in, out] :
       {std::pair<int64_t, int64_t>{0, 30}, {50, 0}, {-50, 30}, {50, 31}, {INT64_MAX, INT64_MAX}}) {
    Status status = Status::kOk;
    EXPECT_EQ(FullyConnected::Create({in, out, Activation::kNone}, filter.View(), nullptr, *BestKernels(), &status),
              nullptr);
    EXPECT_EQ(status, Status::kInvalidArgument) << in << " " << out;
  }
}

TEST(FullyConnected, EveryFailedAllocationIsReported) {
  Random random(6);
  const FilterData filter = FilterData::Make(random, 70, 50 * 70, 4, 9, true, true);
  for (int64_t nth = 0; nth < 100; ++nth) {
    Status status = Status::kOk;
    const FailAllocation fail(nth);
    const auto op =
        FullyConnected::Create({50, 70, Activation::kNone}, filter.View(), filter.Bias(), *BestKernels(), &status);
    if (op != nullptr) status = op->Reshape(3);
    if (status == Status::kOk) {
      EXPECT_LE(fail.allocations(), nth) << "a failed allocation was overlooked";
      EXPECT_GE(nth, 8);
      return;
    }
    ASSERT_EQ(status, Status::kOutOfMemory) << "allocation " << nth;
  }
  FAIL() << "never succeeded";
}

}  // namespace
}  // namespace dgms::testing
