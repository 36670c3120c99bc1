// The delegate in a mock runtime: who goes first, several threads, and memory that runs out.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "dgms/delegate.h"
#include "ops/memory.h"
#include "tflite/delegate_testing.h"
#include "tflite/failing_new.h"

namespace dgms::testing {
namespace {

// -- lifetimes --------------------------------------------------------------------------------------------------------

TEST(DelegateLife, MayGoBeforeItsNodes) {
  MockRuntime runtime;
  const LayerIds layer = ChainBuilder(&runtime, 5).Layer(LayerSpec());
  runtime.graph_outputs = {layer.output};
  const std::vector<float> expected = RunGraph(&runtime, layer, layer.output);
  OwnedDelegate delegate = NewDelegate(3);
  tfl::Delegate* address = delegate.get();
  ASSERT_EQ(runtime.Apply(address), tfl::kOk);
  delegate.reset();
  DestroyDelegate(address);  // a second time: nothing happens
  ExpectNear(RunGraph(&runtime, layer, layer.output), expected);
  EXPECT_EQ(address->flags, tfl::kDelegateFlagAllowDynamicTensors);  // runtimes read it through their nodes
  // Applied again, it claims nothing, and takes its marks off the tensors.
  runtime.RemoveDelegates();
  ASSERT_EQ(runtime.Apply(address), tfl::kOk);
  EXPECT_TRUE(runtime.delegate_nodes().empty());
  EXPECT_EQ(runtime.tensor(layer.output).delegate, nullptr);
  ExpectNear(RunGraph(&runtime, layer, layer.output), expected);
  EXPECT_EQ(FirstError(runtime), "");
}

TEST(DelegateLife, ManyAtOnceAndOneAfterAnother) {
  std::vector<OwnedDelegate> delegates;
  for (int i = 0; i < 20; ++i) delegates.push_back(NewDelegate());
  std::vector<tfl::Delegate*> addresses;
  for (const OwnedDelegate& delegate : delegates) addresses.push_back(delegate.get());
  std::sort(addresses.begin(), addresses.end());
  EXPECT_EQ(std::unique(addresses.begin(), addresses.end()), addresses.end());
  delegates.clear();
  for (int i = 0; i < 100; ++i) {
    const OwnedDelegate delegate = NewDelegate();
    EXPECT_TRUE(std::binary_search(addresses.begin(), addresses.end(), delegate.get())) << "shells are used again";
  }
}

TEST(DelegateLife, ServesSeveralThreads) {
  Options options;
  options.num_threads = 3;
  options.profile = true;
  std::string error;
  OwnedDelegate delegate(CreateDelegate(options, &error));
  ThreeLayers probe;
  const std::vector<float> expected = RunGraph(&probe.runtime, probe.first, probe.third.output);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int repeat = 0; repeat < 10; ++repeat) {
        ThreeLayers graph;
        if (graph.runtime.Apply(delegate.get()) != tfl::kOk) ++wrong;
        for (int run = 0; run < 5; ++run) {
          const std::vector<float> result = RunGraph(&graph.runtime, graph.first, graph.third.output);
          if (result.size() != expected.size() || std::abs(result[0] - expected[0]) > 2e-4F) ++wrong;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(DelegateLife, MeasuresOperations) {
  Options options;
  options.profile = true;
  std::string error;
  const OwnedDelegate delegate(CreateDelegate(options, &error));
  ThreeLayers graph;
  ASSERT_EQ(graph.runtime.Apply(delegate.get()), tfl::kOk);
  for (int i = 0; i < 2; ++i) RunGraph(&graph.runtime, graph.first, graph.third.output);
  const std::vector<OpProfile> profile = ReadProfile(delegate.get());
  ASSERT_EQ(profile.size(), 1U);  // the three layers' outputs have the same name here, so they share an entry
  EXPECT_EQ(profile[0].name, "output");
  EXPECT_EQ(profile[0].calls, 6);
  EXPECT_EQ(profile[0].macs, 5 * 6 * 3 * 3 * 3 * 3);
  EXPECT_GT(profile[0].packed_bytes, 0);
  EXPECT_GT(profile[0].fastest_nanoseconds, 0);
  EXPECT_GE(profile[0].nanoseconds, 6 * profile[0].fastest_nanoseconds);
  EXPECT_TRUE(ReadProfile(nullptr).empty());
}

// -- memory -----------------------------------------------------------------------------------------------------------

int64_t allowed_allocations = 0;

TEST(DelegateLife, RunsOutOfMemoryAnywhere) {
  // Every allocation of the ops and of the plugin's larger buffers fails once. Whatever happens, it is an error with a
  // message, the graph works with stock kernels afterwards, and the delegate can be applied when memory is back.
  int failures = 0;
  for (int64_t nth = 0;; ++nth) {
    ThreeLayers graph(3);
    MockRuntime& runtime = graph.runtime;
    const std::vector<float> expected = RunGraph(&runtime, graph.first, graph.third.output);
    const OwnedDelegate delegate = NewDelegate();
    allowed_allocations = nth;
    SetAllocationHook([](size_t) { return allowed_allocations-- != 0; });
    const bool applied = runtime.Apply(delegate.get()) == tfl::kOk;
    const std::vector<float> result =
        applied ? RunGraph(&runtime, graph.first, graph.third.output) : std::vector<float>();
    SetAllocationHook(nullptr);
    if (allowed_allocations >= 0) {  // nothing had to fail any more
      ExpectNear(result, expected);
      break;
    }
    if (result.empty()) {
      ++failures;
      ASSERT_FALSE(runtime.errors.empty()) << "allocation " << nth;
      EXPECT_NE(FirstError(runtime).find("out of memory"), std::string::npos) << FirstError(runtime);
      EXPECT_NE(FirstError(runtime).find("DgmsDelegate: "), std::string::npos);
    } else {
      ExpectNear(result, expected);
    }
    runtime.RemoveDelegates();
    ExpectNear(RunGraph(&runtime, graph.first, graph.third.output), expected);
    ASSERT_EQ(runtime.Apply(delegate.get()), tfl::kOk);
    ExpectNear(RunGraph(&runtime, graph.first, graph.third.output), expected);
  }
  EXPECT_GT(failures, 10);
}

// The same for the small things that C++ allocates itself, which throw: nothing may cross into the runtime. (The mock
// runtime's own allocations fail as well, and it may throw: those are its errors, not the delegate's.)
TEST(DelegateLife, RunsOutOfMemoryInTheSmall) {
  int failures = 0;
  bool failed = true;
  for (int64_t nth = 0; failed; ++nth) {
    ThreeLayers graph(3);
    MockRuntime& runtime = graph.runtime;
    const std::vector<float> expected = RunGraph(&runtime, graph.first, graph.third.output);
    const OwnedDelegate delegate = NewDelegate(1);
    tfl::Status status = tfl::kOk;
    try {
      const FailNew fail(nth);
      status = runtime.Apply(delegate.get());
      if (status == tfl::kOk) status = runtime.Allocate();
      failed = fail.happened();
    } catch (const std::bad_alloc&) {
      runtime.errors.push_back("the mock runtime is out of memory");
      status = tfl::kError;
    }
    if (status != tfl::kOk) ++failures;
    EXPECT_EQ(status != tfl::kOk, failed) << nth;
    runtime.RemoveDelegates();
    ExpectNear(RunGraph(&runtime, graph.first, graph.third.output), expected);
    ASSERT_EQ(runtime.Apply(delegate.get()), tfl::kOk);
    ExpectNear(RunGraph(&runtime, graph.first, graph.third.output), expected);
    if (::testing::Test::HasFailure()) return;
  }
  EXPECT_GT(failures, 100);
}

TEST(DelegateLife, CreationRunsOutOfMemory) {
  bool failed = true;
  for (int64_t nth = 0; failed; ++nth) {
    TfLiteDelegate* delegate = nullptr;
    const char* keys[] = {"num_threads", "isa"};
    const char* values[] = {"2", "portable"};
    {
      const FailNew fail(nth);
      delegate = tflite_plugin_create_delegate(keys, values, 2, nullptr);
      failed = fail.happened();
    }
    EXPECT_EQ(delegate == nullptr, failed) << nth;
    tflite_plugin_destroy_delegate(delegate);
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(DelegateLife, PlansAgainAfterSharedMemoryWasLost) {
  ThreeLayers graph;
  MockRuntime& runtime = graph.runtime;
  const OwnedDelegate delegate = NewDelegate();
  const std::vector<float> expected = RunGraph(&runtime, graph.first, graph.third.output);
  ASSERT_EQ(runtime.Apply(delegate.get()), tfl::kOk);
  ExpectNear(RunGraph(&runtime, graph.first, graph.third.output), expected);
  // Only the second partition is prepared for something larger, and fails: as if its input were dynamic.
  const int last = runtime.delegate_nodes().back();
  runtime.Resize(graph.sum, {1, 500, 600, 3});
  SetAllocationHook([](size_t bytes) { return bytes < 1000000; });
  EXPECT_EQ(runtime.registration(last).prepare(runtime.context(), &runtime.node(last)), tfl::kError);
  SetAllocationHook(nullptr);
  EXPECT_EQ(runtime.registration(last).invoke(runtime.context(), &runtime.node(last)), tfl::kError);
  runtime.errors.clear();
  // The first partition's scratch memory may be gone, and it must notice.
  const int first = runtime.delegate_nodes().front();
  EXPECT_EQ(runtime.registration(first).invoke(runtime.context(), &runtime.node(first)), tfl::kOk)
      << FirstError(runtime);
  ExpectNear(RunGraph(&runtime, graph.first, graph.third.output), expected);
}

}  // namespace
}  // namespace dgms::testing
