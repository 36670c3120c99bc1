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
  ASSERT_EQ(profile.size(), 2U);   // the three layers' outputs have the same name here, so they share an entry
  EXPECT_EQ(profile[1].name, "");  // the ADD's
  EXPECT_EQ(profile[1].calls, 2);
  EXPECT_EQ(profile[1].packed_bytes, 0);
  EXPECT_EQ(profile[0].name, "output");
  EXPECT_EQ(profile[0].calls, 6);
  EXPECT_EQ(profile[0].macs, 5 * 6 * 3 * 3 * 3 * 3);
  EXPECT_GT(profile[0].packed_bytes, 0);
  EXPECT_GT(profile[0].fastest_nanoseconds, 0);
  EXPECT_GE(profile[0].nanoseconds, 6 * profile[0].fastest_nanoseconds);
  EXPECT_TRUE(ReadProfile(nullptr).empty());
}

// -- claims -----------------------------------------------------------------------------------------------------------

TEST(DelegateLife, CountsClaimsOfLivingGraphs) {
  const OwnedDelegate delegate = NewDelegate();
  EXPECT_EQ(ReadClaim(nullptr).candidate_operators, 0);
  EXPECT_EQ(ReadClaim(delegate.get()).candidate_operators, 0) << "applied to nothing so far";
  {
    ThreeLayers first;
    const int nodes = first.runtime.node_count();
    ASSERT_EQ(first.runtime.Apply(delegate.get()), tfl::kOk);
    const ClaimStatistics one = ReadClaim(delegate.get());
    EXPECT_EQ(one.claimed_operators, 3);
    EXPECT_EQ(one.candidate_operators, 3);
    EXPECT_EQ(one.weightless_operators, 1) << "the ADD";
    EXPECT_EQ(one.claimed_nodes, nodes);
    EXPECT_EQ(one.partitions, 1);
    EXPECT_EQ(one.nodes_left, 0);
    EXPECT_GT(one.packed_bytes, 0);
    EXPECT_TRUE(one.refusals.empty());
    {
      const OwnedDelegate codebooks = NewCodebookDelegate();
      ThreeLayers other;
      ASSERT_EQ(other.runtime.Apply(codebooks.get()), tfl::kOk);
      const ClaimStatistics two = ReadClaim(codebooks.get());
      EXPECT_EQ(two.claimed_operators, 3);
      EXPECT_EQ(two.weightless_operators, 0);
      EXPECT_EQ(two.claimed_nodes, nodes - 1) << "all but the ADD";
      EXPECT_EQ(two.partitions, 2);
      EXPECT_EQ(two.nodes_left, 1);
      EXPECT_TRUE(two.weightless_refusals.empty());
    }
    {
      ThreeLayers second;
      ASSERT_EQ(second.runtime.Apply(delegate.get()), tfl::kOk);
      const ClaimStatistics both = ReadClaim(delegate.get());
      EXPECT_EQ(both.claimed_operators, 6);
      EXPECT_EQ(both.claimed_nodes, 2 * one.claimed_nodes);
      EXPECT_EQ(both.packed_bytes, 2 * one.packed_bytes);
      second.runtime.RemoveDelegates();  // as TFLite does before a resize
      EXPECT_EQ(ReadClaim(delegate.get()).claimed_operators, 3);
      ASSERT_EQ(second.runtime.Apply(delegate.get()), tfl::kOk);
      EXPECT_EQ(ReadClaim(delegate.get()).claimed_operators, 6) << "once for each graph, however often it is applied";
    }
    EXPECT_EQ(ReadClaim(delegate.get()).claimed_operators, 3);
  }
  EXPECT_EQ(ReadClaim(delegate.get()).candidate_operators, 0);
  EXPECT_EQ(ReadClaim(delegate.get()).packed_bytes, 0);
}

TEST(DelegateLife, CountsWhatItRefuses) {
  const OwnedDelegate delegate = NewDelegate();
  MockRuntime runtime;
  ChainBuilder builder(&runtime, 5);
  LayerSpec spec;
  spec.filter = {3, 3, 3, 3};
  const LayerIds claimed = builder.Layer(spec);
  const LayerIds refused = builder.Layer(spec, claimed.output);
  runtime.graph_outputs = {refused.output, runtime.node(runtime.node_count() - 1).inputs->data()[1]};
  ASSERT_EQ(runtime.Apply(delegate.get()), tfl::kOk);
  const ClaimStatistics claim = ReadClaim(delegate.get());
  EXPECT_EQ(claim.claimed_operators, 1);
  EXPECT_EQ(claim.candidate_operators, 2);
  ASSERT_EQ(claim.refusals.size(), 1U);
  EXPECT_EQ(claim.refusals[0].rfind("CONV_2D, node ", 0), 0U) << claim.refusals[0];
  EXPECT_NE(claim.refusals[0].find(", output 'output': a tensor of its decode chain is an output of the graph"),
            std::string::npos)
      << claim.refusals[0];
  // Of a graph with nothing to claim there is no node of ours, and it counts as well; again, but once.
  MockRuntime plain;
  const LayerIds layer = ChainBuilder(&plain, 6).Layer(LayerSpec());
  plain.graph_outputs = {layer.output};
  plain.node(layer.node).inputs->data()[1] = plain.Constant<float>({4, 3, 3, 3}, std::vector<float>(108, 0.5F));
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(plain.Apply(delegate.get()), tfl::kOk);
    EXPECT_EQ(ReadClaim(delegate.get()).claimed_operators, 1);
    EXPECT_EQ(ReadClaim(delegate.get()).candidate_operators, 3);
    const std::vector<std::string> refusals = ReadClaim(delegate.get()).refusals;
    ASSERT_EQ(refusals.size(), 2U);
    EXPECT_TRUE(std::any_of(refusals.begin(), refusals.end(), [](const std::string& text) {
      return text.find("its filter is stored as plain values, not as indices and a codebook") != std::string::npos;
    }));
  }
}

TEST(DelegateLife, CountsClaimsWhileOthersApply) {
  const OwnedDelegate delegate = NewDelegate(1);
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0};
  std::thread reader([&] {
    while (!done) {
      const ClaimStatistics claim = ReadClaim(delegate.get());
      if (claim.claimed_operators % 3 != 0 || claim.claimed_operators > 6 || !claim.refusals.empty()) ++wrong;
    }
  });
  std::vector<std::thread> appliers;
  for (int i = 0; i < 2; ++i) {
    appliers.emplace_back([&] {
      for (int repeat = 0; repeat < 50; ++repeat) {
        ThreeLayers graph;
        if (graph.runtime.Apply(delegate.get()) != tfl::kOk) ++wrong;
      }
    });
  }
  for (std::thread& thread : appliers) thread.join();
  done = true;
  reader.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(ReadClaim(delegate.get()).claimed_operators, 0);
}

TEST(DelegateLife, PrintsWhatItMeasuredUnlessItIsRead) {
  for (const bool print : {true, false}) {
    Options options;
    options.profile = true;
    options.print_profile = print;
    std::string error;
    OwnedDelegate delegate(CreateDelegate(options, &error));
    ThreeLayers graph;
    ASSERT_EQ(graph.runtime.Apply(delegate.get()), tfl::kOk);
    RunGraph(&graph.runtime, graph.first, graph.third.output);
    EXPECT_FALSE(ReadProfile(delegate.get()).empty());
    ::testing::internal::CaptureStderr();
    delegate.reset();
    graph.runtime.RemoveDelegates();  // its nodes were the last to know it
    EXPECT_EQ(::testing::internal::GetCapturedStderr().find("dgms: profile") != std::string::npos, print);
  }
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
  const OwnedDelegate delegate = NewCodebookDelegate();
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
