// Conv2D against a double oracle, with input and output between guard pages.
#include "ops/conv2d.h"

#include <gtest/gtest.h>

#include <sstream>

#include "kernels/guarded_buffer.h"
#include "ops/reference_ops.h"

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

// Runs one case on one instruction set and compares every output; returns the outputs.
std::vector<float> Check(const Conv2DCase& c, const FilterData& filter, const std::vector<float>& input,
                         const KernelSet& kernels, int threads, const Expected& expected) {
  SCOPED_TRACE(Describe(c, filter) + " on " + IsaName(kernels.isa) + ", " + std::to_string(threads) + " threads");
  Status status;
  const auto op = Conv2D::Create(c.params, filter.View(), filter.Bias(), kernels, &status);
  if (op == nullptr) {
    ADD_FAILURE() << "Create: " << StatusText(status);
    return {};
  }
  EXPECT_EQ(op->Reshape(c.batch, c.in_h, c.in_w), Status::kOk);
  const int64_t size = c.batch * op->output_h() * op->output_w() * c.params.out_channels;
  EXPECT_EQ(size, static_cast<int64_t>(expected.value.size()));
  const auto pool = ThreadPool::Create(threads);
  std::vector<float> result;
  for (const Flush flush : {Flush::kEnd, Flush::kStart}) {
    const GuardedBuffer<float> x(input, flush);
    GuardedBuffer<float> y(size, flush);
    EXPECT_EQ(op->Run(x.data(), y.data(), *pool), Status::kOk);
    EXPECT_TRUE(y.SurroundingsIntact());
    result = y.values();
    for (int64_t i = 0; i < size; ++i) {
      if (!(std::abs(result[i] - expected.value[i]) <= expected.tolerance[i])) {
        ADD_FAILURE() << "output " << i << " is " << result[i] << ", not " << expected.value[i] << " (tolerance "
                      << expected.tolerance[i] << ")";
        return result;
      }
    }
  }
  return result;
}

std::vector<const KernelSet*> AllKernelSets() {
  std::vector<const KernelSet*> sets;
  for (const char* name : {"portable", "neon", "neon_dotprod", "avx2", "avx512"}) {
    if (const KernelSet* set = KernelsFor(name)) sets.push_back(set);
  }
  return sets;
}

TEST(Conv2D, RandomCases) {
  Random random(1);
  for (int i = 0; i < 150; ++i) {
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
    const int64_t weights = p.out_channels * p.kernel_h * p.kernel_w * (p.in_channels / p.groups);
    const int64_t group_size = random.Int(0, 2) == 0 ? random.Int(1, p.out_channels + 3) : 0;
    const FilterData filter = FilterData::Make(random, p.out_channels, weights, static_cast<int>(random.Int(2, 4)),
                                               group_size, random.Coin(), random.Coin());
    const std::vector<float> input = random.Floats(c.batch * c.in_h * c.in_w * p.in_channels);
    const Expected expected = ReferenceConv2D(c, filter, input.data());
    for (const KernelSet* kernels : AllKernelSets()) {
      Check(c, filter, input, *kernels, 1 + i % 3, expected);
      if (HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace dgms::testing
