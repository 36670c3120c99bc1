// What the tests of Conv2D share: cases, and running them against the oracle.
#ifndef DGMS_TESTS_OPS_CONV2D_TESTING_H_
#define DGMS_TESTS_OPS_CONV2D_TESTING_H_

#include <sstream>
#include <string>
#include <vector>

#include "ops/conv2d.h"
#include "ops/op_testing.h"

namespace dgms::testing {

inline std::string Describe(const Conv2DCase& c, const FilterData& filter) {
  const Conv2DParams& p = c.params;
  std::ostringstream text;
  text << "input " << c.batch << "x" << c.in_h << "x" << c.in_w << "x" << p.in_channels << " kernel " << p.kernel_h
       << "x" << p.kernel_w << " stride " << p.stride_h << "x" << p.stride_w << " dilation " << p.dilation_h << "x"
       << p.dilation_w << (p.padding == Padding::kSame ? " SAME" : " VALID") << " pads " << p.pads.top << ","
       << p.pads.bottom << "," << p.pads.left << "," << p.pads.right << " groups " << p.groups << " out "
       << p.out_channels << " activation " << static_cast<int>(p.activation)
       << (filter.values != nullptr ? " dense" : "") << " bits " << filter.bits << " group size " << filter.group_size
       << (filter.scale.empty() ? "" : " scale") << (filter.bias.empty() ? "" : " bias");
  return text.str();
}

inline int64_t WeightCount(const Conv2DParams& p) {
  return p.out_channels * p.kernel_h * p.kernel_w * (p.in_channels / p.groups);
}

inline FilterData MakeFilter(Random& random, const Conv2DParams& p, int bits = 4, int64_t group_size = 0) {
  return FilterData::Make(random, p.out_channels, WeightCount(p), bits, group_size, true, true);
}

inline std::vector<float> MakeInput(Random& random, const Conv2DCase& c) {
  return random.Floats(c.batch * c.in_h * c.in_w * c.params.in_channels);
}

// Runs one case on one instruction set.
inline std::vector<float> RunCase(const Conv2DCase& c, const FilterData& filter, const std::vector<float>& input,
                                  const KernelSet& kernels, int threads, Workspace* workspace = nullptr) {
  Status status;
  const auto op = Conv2D::Create(c.params, filter.Source(), filter.Bias(), kernels, &status);
  if (op == nullptr) {
    ADD_FAILURE() << "Create: " << StatusText(status);
    return {};
  }
  EXPECT_EQ(op->Reshape(c.batch, c.in_h, c.in_w, workspace), Status::kOk);
  const auto pool = ThreadPool::Create(threads);
  return RunGuarded(*op, input, c.batch * op->output_h() * op->output_w() * c.params.out_channels, *pool);
}

// Compares one case with the oracle on every instruction set.
inline void Check(const Conv2DCase& c, const FilterData& filter, const std::vector<float>& input, int threads = 1) {
  const Expected expected = ReferenceConv2D(c, filter, input.data());
  for (const KernelSet* kernels : AllKernelSets()) {
    SCOPED_TRACE(Describe(c, filter) + " on " + IsaName(kernels->isa) + ", " + std::to_string(threads) + " threads");
    if (!ExpectClose(RunCase(c, filter, input, *kernels, threads), expected)) return;
  }
}

inline void Check(const Conv2DCase& c, uint64_t seed = 1, int threads = 1) {
  Random random(seed);
  const FilterData filter = MakeFilter(random, c.params);
  Check(c, filter, MakeInput(random, c), threads);
}

inline Conv2DCase Square(int kernel, int stride, Padding padding, int64_t size, int64_t in, int64_t out) {
  Conv2DCase c;
  c.params.kernel_h = c.params.kernel_w = kernel;
  c.params.stride_h = c.params.stride_w = stride;
  c.params.padding = padding;
  c.params.in_channels = in;
  c.params.out_channels = out;
  c.in_h = c.in_w = size;
  return c;
}

}  // namespace dgms::testing

#endif  // DGMS_TESTS_OPS_CONV2D_TESTING_H_
