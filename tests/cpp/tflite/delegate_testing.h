// What the tests of the delegate share.
#ifndef DGMS_TESTS_TFLITE_DELEGATE_TESTING_H_
#define DGMS_TESTS_TFLITE_DELEGATE_TESTING_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tflite/chain_builder.h"
#include "tflite/delegate.h"
#include "tflite/mock_runtime.h"

namespace dgms::testing {

struct DestroyDelegateLater {
  void operator()(tfl::Delegate* delegate) const { DestroyDelegate(delegate); }
};
using OwnedDelegate = std::unique_ptr<tfl::Delegate, DestroyDelegateLater>;

inline OwnedDelegate NewDelegate(int threads = 2, bool dynamic_int8 = false, ClaimScope claim = ClaimScope::kGraph) {
  Options options;
  options.claim = claim;
  options.dynamic_int8 = dynamic_int8;
  options.num_threads = threads;
  std::string error;
  OwnedDelegate delegate(CreateDelegate(options, &error));
  EXPECT_NE(delegate, nullptr) << error;
  return delegate;
}

inline std::string FirstError(const MockRuntime& runtime) { return runtime.errors.empty() ? "" : runtime.errors[0]; }

// Runs the graph with whatever was applied; an empty vector if the runtime reported an error.
inline std::vector<float> RunGraph(MockRuntime* runtime, const LayerIds& first, int output, uint32_t seed = 9) {
  if (runtime->Allocate() != tfl::kOk) return {};
  int64_t count = 1;
  for (int dim : runtime->Dims(first.input)) count *= dim;
  MockRuntime unused;
  runtime->Set(first.input, ChainBuilder(&unused, seed).Floats(count));
  return runtime->Invoke() == tfl::kOk ? runtime->Get(output) : std::vector<float>();
}

// The sums here have at most a few hundred terms of size 1: errors of float sums are below 1e-4, a single wrong weight
// is far above.
inline void ExpectNear(const std::vector<float>& result, const std::vector<float>& expected) {
  ASSERT_EQ(result.size(), expected.size());
  for (size_t i = 0; i < result.size(); ++i) ASSERT_NEAR(result[i], expected[i], 2e-4) << "output " << i;
}

// For tests of several partitions: only the layers with a codebook.
inline OwnedDelegate NewCodebookDelegate(int threads = 2) { return NewDelegate(threads, false, ClaimScope::kCodebook); }

// Three layers; between the second and the third an ADD. Where the delegate leaves it (ClaimScope::kCodebook), decoded
// filters cross from one partition to another.
struct ThreeLayers {
  explicit ThreeLayers(int bits = 4) {
    ChainBuilder builder(&runtime, 77);
    LayerSpec spec;
    spec.bits = bits;
    spec.filter = {3, 3, 3, 3};
    first = builder.Layer(spec);
    spec.activation = tfl::Activation::kRelu;
    second = builder.Layer(spec, first.output);
    sum = runtime.AddTensor(tfl::Type::kFloat32, {1, 5, 6, 3});
    runtime.AddNode(tfl::kBuiltinAdd, {second.output, first.input}, {sum},
                    tfl::ElementwiseParams{tfl::Activation::kNone});
    third = builder.Layer(spec, sum);
    runtime.graph_outputs = {third.output};
  }
  MockRuntime runtime;
  LayerIds first, second, third;
  int sum;
};

}  // namespace dgms::testing

#endif  // DGMS_TESTS_TFLITE_DELEGATE_TESTING_H_
