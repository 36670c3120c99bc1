// Whole graphs in a mock runtime: operators without weights between the layers, what is claimed of them, what is not,
// and that results stay right wherever values are read.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "ops/line_chain.h"
#include "tflite/delegate_testing.h"

namespace dgms::testing {
namespace {

// Graphs of float maps [batch, 5, 6, 3] that layers with codebooks and other operators pass on.
class GraphBuilder {
 public:
  explicit GraphBuilder(MockRuntime* runtime, bool int8 = false) : runtime_(*runtime), chains_(runtime, 31) {
    spec_.filter = {3, 3, 3, 3};
    spec_.int8 = int8;
  }

  // A convolution with a codebook; -1: of the graph's input.
  int Conv(int input = -1) {
    const LayerIds ids = chains_.Layer(spec_, input >= 0 ? input : first.output >= 0 ? first.input : -1);
    if (first.output < 0) first = ids;
    return ids.output;
  }
  // Windows of 3x3 or 1x1 pixels that keep the map's size, with an activation.
  int Layer(int input, bool depthwise, bool pointwise) {
    LayerSpec spec = spec_;
    const int size = pointwise ? 1 : 3;
    spec.builtin = depthwise ? tfl::kBuiltinDepthwiseConv2d : tfl::kBuiltinConv2d;
    spec.filter = {depthwise ? 1 : 3, size, size, 3};
    spec.activation = tfl::Activation::kRelu6;
    return chains_.Layer(spec, input).output;
  }
  int Add(int a, int b, tfl::Activation activation = tfl::Activation::kNone) {
    const int output = runtime_.AddTensor(spec_.int8 ? tfl::Type::kInt8 : tfl::Type::kFloat32, {1, 5, 6, 3},
                                          ("sum " + std::to_string(runtime_.tensor_count())).c_str());
    runtime_.AddNode(tfl::kBuiltinAdd, {a, b}, {output}, tfl::ElementwiseParams{activation});
    return output;
  }
  // An activation that the delegate does not have, and that the mock's stock kernels ignore: the node is left to them.
  int ForeignAdd(int a, int b) { return Add(a, b, static_cast<tfl::Activation>(4)); }
  int Reshape(int input, const std::vector<int>& dims) {
    const int output = runtime_.AddTensor(runtime_.tensor(input).type, dims);
    runtime_.AddNode(tfl::kBuiltinReshape, {input, runtime_.Constant<int32_t>({static_cast<int>(dims.size())}, dims)},
                     {output});
    return output;
  }
  int input() const { return first.input; }

  LayerIds first;

 private:
  MockRuntime& runtime_;
  ChainBuilder chains_;
  LayerSpec spec_;
};

// All outputs of the graph, one after another.
std::vector<float> RunAll(MockRuntime* runtime, const LayerIds& first) {
  std::vector<float> all;
  if (RunGraph(runtime, first, runtime->graph_outputs[0]).empty()) return all;
  for (int id : runtime->graph_outputs) {
    const std::vector<float> values = runtime->Get(id);
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

// Applies a delegate and checks that results stay, also when the graph is resized and back.
ClaimStatistics CheckClaim(MockRuntime* runtime, const GraphBuilder& graph, ClaimScope scope = ClaimScope::kGraph) {
  const std::vector<float> expected = RunAll(runtime, graph.first);
  EXPECT_FALSE(expected.empty()) << FirstError(*runtime);
  const OwnedDelegate delegate = NewDelegate(2, false, scope);
  EXPECT_EQ(runtime->Apply(delegate.get()), tfl::kOk);
  const ClaimStatistics claim = ReadClaim(delegate.get());
  EXPECT_EQ(claim.partitions, static_cast<int64_t>(runtime->delegate_nodes().size()));
  EXPECT_EQ(claim.partitions + claim.nodes_left, static_cast<int64_t>(runtime->plan().size()));
  ExpectNear(RunAll(runtime, graph.first), expected);
  ExpectNear(RunAll(runtime, graph.first), expected);  // nothing that is read again was overwritten
  EXPECT_EQ(FirstError(*runtime), "");
  return claim;
}

TEST(DelegateGraph, ResidualBlockIsOneNode) {
  MockRuntime runtime;
  GraphBuilder graph(&runtime);
  const int a = graph.Conv();
  const int b = graph.Conv(a);
  const int sum = graph.Add(b, a, tfl::Activation::kRelu);
  runtime.graph_outputs = {graph.Conv(sum)};
  const ClaimStatistics claim = CheckClaim(&runtime, graph);
  EXPECT_EQ(claim.claimed_operators, 3);
  EXPECT_EQ(claim.weightless_operators, 1);
  EXPECT_EQ(runtime.plan().size(), 1U);
}

// An ADD behind a convolution becomes its residual, if nobody else reads the convolution: seen in the profile.
TEST(DelegateGraph, AdditionsFuseWithConvolutions) {
  enum class Other { kInput, kConvolution, kConstant, kItself, kReadAgain, kBroadcast };
  for (const Other other :
       {Other::kInput, Other::kConvolution, Other::kConstant, Other::kItself, Other::kReadAgain, Other::kBroadcast}) {
    for (const bool first : {false, true}) {
      SCOPED_TRACE(::testing::Message() << "case " << static_cast<int>(other) << (first ? ", first" : ", second"));
      MockRuntime runtime;
      GraphBuilder graph(&runtime);
      const int before = graph.Conv();
      int b = graph.Conv(before);
      if (other == Other::kReadAgain) runtime.graph_outputs = {graph.Add(graph.Conv(b), before)};
      const int a = graph.Conv(before);
      if (other == Other::kInput || other == Other::kReadAgain) b = graph.input();
      if (other == Other::kConstant) b = runtime.Constant<float>({1, 5, 6, 3}, std::vector<float>(90, 0.5F));
      if (other == Other::kBroadcast) b = runtime.Constant<float>({1, 1, 1, 3}, {0.5F, 1.0F, -2.0F});
      if (other == Other::kItself) b = a;
      if (other == Other::kReadAgain) runtime.graph_outputs.push_back(graph.Add(a, a));
      const int sum = first ? graph.Add(a, b, tfl::Activation::kRelu6) : graph.Add(b, a, tfl::Activation::kRelu6);
      runtime.graph_outputs.push_back(graph.Add(graph.Conv(sum), sum));
      const std::vector<float> expected = RunAll(&runtime, graph.first);
      Options options;
      options.profile = true;
      options.print_profile = false;
      std::string error;
      const OwnedDelegate delegate(CreateDelegate(options, &error));
      ASSERT_EQ(runtime.Apply(delegate.get()), tfl::kOk);
      EXPECT_EQ(runtime.plan().size(), 1U);
      for (int i = 0; i < 2; ++i) ExpectNear(RunAll(&runtime, graph.first), expected);
      const bool fuses = other == Other::kInput || other == Other::kConvolution || other == Other::kConstant;
      int seen = 0;
      for (const OpProfile& op : ReadProfile(delegate.get())) {
        if (op.name != runtime.tensor(sum).name) continue;
        ++seen;
        EXPECT_EQ(op.kernel.find("+add") != std::string::npos, fuses) << op.kernel;
        EXPECT_EQ(op.macs > 0, fuses);
      }
      EXPECT_EQ(seen, 1);
    }
  }
}

// Layers and sums in any order, some of which may run as chains.
void AddRandomGraph(uint32_t seed, MockRuntime* runtime, GraphBuilder* graph) {
  std::mt19937 random(seed);
  std::vector<int> values = {graph->Conv()};
  // The newest value more often than others: chains need values that are read once.
  const auto pick = [&] { return random() % 4 != 0 ? values.back() : values[random() % values.size()]; };
  for (int i = 0; i < 12; ++i) {
    const uint32_t kind = random() % 4;
    const int input = pick();
    if (kind == 0) {
      values.push_back(graph->Add(input, random() % 2 == 0 ? graph->input() : pick(), tfl::Activation::kRelu));
    } else {
      values.push_back(graph->Layer(input, /*depthwise=*/kind == 1, /*pointwise=*/kind == 2));
    }
  }
  runtime->graph_outputs = {values.back()};
  if (random() % 2 == 0) runtime->graph_outputs.push_back(values[random() % (values.size() - 1)]);
}

// The results of a random graph for a delegate with so many threads; `chains` counts the chains that ran.
std::vector<float> RunRandomGraph(uint32_t seed, int threads, int* chains) {
  MockRuntime runtime;
  GraphBuilder graph(&runtime);
  AddRandomGraph(seed, &runtime, &graph);
  Options options;
  options.profile = true;
  options.print_profile = false;
  options.num_threads = threads;
  std::string error;
  const OwnedDelegate delegate(CreateDelegate(options, &error));
  EXPECT_EQ(runtime.Apply(delegate.get()), tfl::kOk);
  std::vector<float> results = RunAll(&runtime, graph.first);
  EXPECT_EQ(RunAll(&runtime, graph.first), results);  // nothing that is read again was overwritten
  for (const OpProfile& op : ReadProfile(delegate.get())) *chains += op.kernel.find("chain(") == 0 ? 1 : 0;
  return results;
}

// Maps are small here, so that chains would not pay; forced, they change nothing.
TEST(DelegateGraph, ChainsEqualOperatorsOneByOne) {
  int chains = 0;
  for (uint32_t seed = 0; seed < 60 && !HasFailure(); ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    MockRuntime runtime;
    GraphBuilder graph(&runtime);
    AddRandomGraph(seed, &runtime, &graph);
    const std::vector<float> expected = RunAll(&runtime, graph.first);
    int none = 0;
    const std::vector<float> one_by_one = RunRandomGraph(seed, 1, &none);
    EXPECT_EQ(none, 0);
    ExpectNear(one_by_one, expected);
    LineChain::SetAlwaysPays(true);
    for (const int threads : {1, 2, 3, 4}) EXPECT_EQ(RunRandomGraph(seed, threads, &chains), one_by_one) << threads;
    LineChain::SetAlwaysPays(false);
  }
  EXPECT_GT(chains, 100);
}

// expand -> depthwise -> project, with a sum: maps of 600 KB do not stay in the cache, so that they are one chain.
TEST(DelegateGraph, LargeMapsRunAsOneChain) {
  MockRuntime runtime;
  ChainBuilder builder(&runtime, 5);
  LayerSpec spec;
  spec.input = {1, 56, 56, 8};
  spec.filter = {48, 1, 1, 8};
  spec.activation = tfl::Activation::kRelu6;
  const LayerIds expand = builder.Layer(spec);
  spec.builtin = tfl::kBuiltinDepthwiseConv2d;
  spec.filter = {1, 3, 3, 48};
  const LayerIds depthwise = builder.Layer(spec, expand.output);
  spec.builtin = tfl::kBuiltinConv2d;
  spec.filter = {8, 1, 1, 48};
  spec.activation = tfl::Activation::kNone;
  const LayerIds project = builder.Layer(spec, depthwise.output);
  const int sum = runtime.AddTensor(tfl::Type::kFloat32, {1, 56, 56, 8}, "sum");
  runtime.AddNode(tfl::kBuiltinAdd, {project.output, expand.input}, {sum},
                  tfl::ElementwiseParams{tfl::Activation::kNone});
  runtime.graph_outputs = {sum};
  const std::vector<float> expected = RunAll(&runtime, expand);
  Options options;
  options.profile = true;
  options.print_profile = false;
  std::string error;
  const OwnedDelegate delegate(CreateDelegate(options, &error));
  ASSERT_EQ(runtime.Apply(delegate.get()), tfl::kOk);
  ExpectNear(RunAll(&runtime, expand), expected);
  const std::vector<OpProfile> profile = ReadProfile(delegate.get());
  ASSERT_EQ(profile.size(), 1U);
  EXPECT_EQ(profile[0].name, "sum");
  EXPECT_EQ(profile[0].kernel.find("chain(3) "), 0U) << profile[0].kernel;
  EXPECT_EQ(profile[0].macs, 56 * 56 * 48 * (8 + 9 + 8));
}

TEST(DelegateGraph, ValuesReadOutsideLiveInTheRuntime) {
  MockRuntime runtime;
  GraphBuilder graph(&runtime);
  const int a = graph.Conv();
  const int b = graph.Add(a, graph.input());
  const int flat = graph.Reshape(b, {5, 18});
  const int back = graph.Reshape(flat, {1, 5, 6, 3});
  const int c = graph.Add(back, back);
  const int d = graph.Conv(c);
  const int e = graph.Add(graph.ForeignAdd(b, b), d);  // b crosses to the runtime's own kernels
  runtime.graph_outputs = {e, b, flat, d};
  const ClaimStatistics claim = CheckClaim(&runtime, graph);
  EXPECT_EQ(claim.claimed_operators, 2);
  EXPECT_EQ(claim.weightless_operators, 4);  // the last ADD reads what the runtime computes, far from any codebook
  EXPECT_EQ(claim.nodes_left, 2);
  ASSERT_EQ(claim.weightless_refusals.size(), 2U);
}

TEST(DelegateGraph, LeavesIslands) {
  MockRuntime runtime;
  GraphBuilder graph(&runtime);
  const int a = graph.Conv();
  runtime.graph_outputs = {a};
  int value = a;
  for (int i = 0; i < 3; ++i) {
    value = graph.ForeignAdd(graph.Add(value, value), graph.input());
  }
  runtime.graph_outputs.push_back(value);
  const ClaimStatistics claim = CheckClaim(&runtime, graph);
  EXPECT_EQ(claim.partitions, 1);
  EXPECT_EQ(claim.claimed_operators, 1);
  EXPECT_EQ(claim.weightless_operators, 1);  // the first of the three is beside the convolution
  EXPECT_EQ(claim.weightless_refusals.size(), 5U);
  EXPECT_EQ(std::count_if(claim.weightless_refusals.begin(), claim.weightless_refusals.end(),
                          [](const std::string& text) {
                            return text.find("no layer with a codebook is next to it") != std::string::npos;
                          }),
            2);
}

TEST(DelegateGraph, LeavesGraphsWithoutCodebooks) {
  MockRuntime runtime;
  const int x = runtime.AddTensor(tfl::Type::kFloat32, {1, 5, 6, 3}, "x");
  const int y = runtime.AddTensor(tfl::Type::kFloat32, {1, 5, 6, 3}, "y");
  runtime.AddNode(tfl::kBuiltinAdd, {x, x}, {y}, tfl::ElementwiseParams{tfl::Activation::kNone});
  runtime.graph_outputs = {y};
  const std::vector<int> plan = runtime.plan();
  const OwnedDelegate delegate = NewDelegate();
  EXPECT_EQ(runtime.Apply(delegate.get()), tfl::kOk);
  EXPECT_EQ(runtime.plan(), plan);
  EXPECT_TRUE(ReadClaim(delegate.get()).weightless_refusals.empty());
}

// The chain of a layer that is refused (somebody else reads it) computes from constants: none of it is taken, and none
// is mentioned.
TEST(DelegateGraph, LeavesBrokenChainsWhole) {
  MockRuntime runtime;
  GraphBuilder graph(&runtime);
  const int a = graph.Conv();
  ChainBuilder builder(&runtime, 3);
  LayerSpec spec;
  spec.filter = {3, 3, 3, 3};
  spec.scale = true;
  const LayerIds broken = builder.Layer(spec, a);
  const int sum = graph.Add(broken.output, a);
  runtime.graph_outputs = {sum, broken.filter};
  const ClaimStatistics claim = CheckClaim(&runtime, graph);
  EXPECT_EQ(claim.claimed_operators, 1);
  EXPECT_EQ(claim.refusals.size(), 1U);
  EXPECT_EQ(claim.weightless_operators, 0);
  EXPECT_EQ(claim.weightless_refusals.size(), 1U);  // the ADD behind the layer that is left
}

TEST(DelegateGraph, ConstantsAreOperands) {
  MockRuntime runtime;
  GraphBuilder graph(&runtime);
  const int a = graph.Conv();
  const int shift = runtime.Constant<float>({1, 1, 1, 3}, {1.0F, -2.0F, 3.0F});
  runtime.graph_outputs = {graph.Add(a, shift)};
  EXPECT_EQ(CheckClaim(&runtime, graph).weightless_operators, 1);
}

// Layers with plain filters, as first and last layers often are, beside one with a codebook and alone.
TEST(DelegateGraph, PlainFiltersBesideCodebooks) {
  for (const bool int8 : {false, true}) {
    for (const bool beside : {true, false}) {
      MockRuntime runtime;
      ChainBuilder builder(&runtime, 17);
      std::vector<LayerSpec> specs(3);
      specs[0].filter = {4, 3, 3, 3};
      specs[1].builtin = tfl::kBuiltinDepthwiseConv2d;
      specs[1].filter = {1, 3, 2, 8};
      specs[2].builtin = tfl::kBuiltinFullyConnected;
      specs[2].filter = {5, 240};
      GraphBuilder graph(&runtime, int8);
      int value = -1;
      for (LayerSpec& spec : specs) {
        spec.int8 = int8;
        const LayerIds ids = builder.PlainLayer(spec, value);
        if (graph.first.input < 0) graph.first = ids;
        value = ids.output;
        if (int8) runtime.Quantize(value, {ChainBuilder::kInputScale}, {-5});
      }
      LayerSpec last;
      last.int8 = int8;
      last.builtin = tfl::kBuiltinFullyConnected;
      last.filter = {7, 5};
      if (beside) value = builder.Layer(last, value).output;
      runtime.graph_outputs = {value};
      const std::vector<float> expected = RunAll(&runtime, graph.first);
      const ClaimStatistics claim = CheckClaim(&runtime, graph);
      EXPECT_EQ(claim.claimed_operators, beside ? 4 : 0);
      EXPECT_EQ(claim.candidate_operators, beside ? 4 : 3);
      EXPECT_EQ(claim.nodes_left, beside ? 0 : 3);
      if (int8) {
        EXPECT_EQ(RunAll(&runtime, graph.first), expected);
      }
    }
  }
}

TEST(DelegateGraph, Int8ReshapesShareMemory) {
  MockRuntime runtime;
  GraphBuilder graph(&runtime, /*int8=*/true);
  const int a = graph.Conv();
  const int flat = graph.Reshape(a, {3, 30});
  const int back = graph.Reshape(flat, {1, 5, 6, 3});
  runtime.Quantize(back, {ChainBuilder::kInputScale}, {-5});
  const int b = graph.Conv(back);
  runtime.graph_outputs = {b, graph.Reshape(b, {90})};
  const ClaimStatistics claim = CheckClaim(&runtime, graph);
  EXPECT_EQ(claim.weightless_operators, 3);
  EXPECT_EQ(runtime.plan().size(), 1U);
}

TEST(DelegateGraph, LeavesReshapesWithoutAConstantShape) {
  for (const std::vector<int>& dims :
       std::vector<std::vector<int>>{{90}, {-1, 6, 3}, {0, 90}, {-1, -1, 90}, {-2, 45}, {}, {7, 13}}) {
    MockRuntime runtime;
    GraphBuilder graph(&runtime);
    const int a = graph.Conv();
    const int shape = runtime.Constant<int32_t>({static_cast<int>(dims.size())}, dims);
    const int output = runtime.AddTensor(tfl::Type::kFloat32, {90});
    runtime.AddNode(tfl::kBuiltinReshape, {a, shape}, {output});
    runtime.graph_outputs = {output};
    const OwnedDelegate delegate = NewDelegate();
    ASSERT_EQ(runtime.Apply(delegate.get()), tfl::kOk);
    const bool usual = dims == std::vector<int>{90} || dims == std::vector<int>{-1, 6, 3};
    EXPECT_EQ(ReadClaim(delegate.get()).weightless_operators, usual ? 1 : 0) << ::testing::PrintToString(dims);
  }
}

}  // namespace
}  // namespace dgms::testing
