// What the tests of the three ops share.
#ifndef DGMS_TESTS_OPS_OP_TESTING_H_
#define DGMS_TESTS_OPS_OP_TESTING_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/guarded_buffer.h"
#include "kernels/select_kernel.h"
#include "ops/memory.h"
#include "ops/reference_ops.h"
#include "ops/thread_pool.h"

namespace dgms::testing {

// Every instruction set of this machine.
inline std::vector<const KernelSet*> AllKernelSets() {
  std::vector<const KernelSet*> sets;
  for (const Isa isa : kIsas) {
    if (const KernelSet* set = KernelsFor(IsaName(isa))) sets.push_back(set);
  }
  return sets;
}

// Runs an op with input and output flush against either guard page. Returns the output.
template <typename Op>
std::vector<float> RunGuarded(Op& op, const std::vector<float>& input, int64_t output_size, ThreadPool& pool) {
  std::vector<float> results[2];
  for (const Flush flush : {Flush::kEnd, Flush::kStart}) {
    const GuardedBuffer<float> x(input, flush);
    GuardedBuffer<float> y(output_size, flush);
    EXPECT_EQ(op.Run(x.data(), y.data(), pool), Status::kOk);
    EXPECT_TRUE(y.SurroundingsIntact());
    results[flush == Flush::kStart] = y.values();
  }
  const size_t bytes = results[0].size() * sizeof(float);
  EXPECT_TRUE(bytes == 0 || std::memcmp(results[0].data(), results[1].data(), bytes) == 0)
      << "two runs of the same op differ";
  return results[0];
}

// True if all outputs are within their tolerances; reports the first that is not.
inline bool ExpectClose(const std::vector<float>& result, const Expected& expected) {
  EXPECT_EQ(result.size(), expected.value.size());
  if (result.size() != expected.value.size()) return false;
  for (size_t i = 0; i < result.size(); ++i) {
    if (!(std::abs(result[i] - expected.value[i]) <= expected.tolerance[i])) {
      ADD_FAILURE() << "output " << i << " of " << result.size() << " is " << result[i] << ", not " << expected.value[i]
                    << " (tolerance " << expected.tolerance[i] << ")";
      return false;
    }
  }
  return true;
}

// Refuses the nth allocation from its construction on (0: the first), and counts them.
class FailAllocation {
 public:
  explicit FailAllocation(int64_t nth) {
    countdown = nth;
    seen = 0;
    SetAllocationHook([](size_t) { return seen++, countdown-- != 0; });
  }
  ~FailAllocation() { SetAllocationHook(nullptr); }
  int64_t allocations() const { return seen; }

 private:
  static inline int64_t countdown = 0;
  static inline int64_t seen = 0;
};

// Explicit padding for a kernel of this height and width (dilated) over a map of in_h x in_w: often none on a side, at
// times larger than the kernel, and enough for one output in any case.
inline ExplicitPadding RandomPads(Random& random, int64_t reach_h, int64_t reach_w, int64_t in_h, int64_t in_w) {
  const auto pad = [&] { return random.Coin() ? 0 : random.Int(0, random.Int(0, 3) == 0 ? 9 : 2); };
  ExplicitPadding pads = {pad(), pad(), pad(), pad()};
  pads.bottom = std::max(pads.bottom, reach_h - in_h - pads.top);
  pads.right = std::max(pads.right, reach_w - in_w - pads.left);
  return pads;
}

}  // namespace dgms::testing

#endif  // DGMS_TESTS_OPS_OP_TESTING_H_
