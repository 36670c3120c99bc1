// The delegate in a mock runtime: what it claims, that it is right, and what it leaves.
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "tflite/delegate_testing.h"

namespace dgms::testing {
namespace {

std::vector<LayerSpec> ManySpecs() {
  std::vector<LayerSpec> specs;
  for (int bits : {2, 3, 4}) {
    for (bool scale : {false, true}) {
      for (int group_size : {0, 1, 3, 4}) {
        LayerSpec conv;
        conv.bits = bits;
        conv.scale = scale;
        conv.group_size = group_size;
        specs.push_back(conv);
        LayerSpec strided = conv;
        strided.filter = {4, 2, 3, 3};
        strided.stride_h = 2;
        strided.dilation_w = 2;
        strided.padding = tfl::Padding::kValid;
        strided.activation = tfl::Activation::kRelu6;
        specs.push_back(strided);
        LayerSpec grouped = conv;
        grouped.input = {2, 4, 3, 6};
        grouped.activation = tfl::Activation::kRelu;
        grouped.bias = false;
        specs.push_back(grouped);
        LayerSpec depthwise = conv;
        depthwise.builtin = tfl::kBuiltinDepthwiseConv2d;
        depthwise.filter = {1, 3, 2, 6};
        depthwise.stride_w = 2;
        depthwise.activation = tfl::Activation::kReluN1To1;
        specs.push_back(depthwise);
        LayerSpec dense = conv;
        dense.builtin = tfl::kBuiltinFullyConnected;
        dense.input = {2, 3, 5};
        dense.filter = {4, 15};
        specs.push_back(dense);
        dense.filter = {4, 5};
        dense.keep_num_dims = true;
        specs.push_back(dense);
      }
    }
  }
  return specs;
}

TEST(Delegate, ClaimsEveryKindOfChainAndIsRight) {
  const OwnedDelegate delegate = NewDelegate();
  uint32_t seed = 0;
  for (const LayerSpec& spec : ManySpecs()) {
    SCOPED_TRACE(::testing::Message() << "spec " << seed << ", operator " << spec.builtin << ", bits " << spec.bits
                                      << ", scale " << spec.scale << ", group size " << spec.group_size);
    MockRuntime runtime;
    const LayerIds layer = ChainBuilder(&runtime, ++seed).Layer(spec);
    runtime.graph_outputs = {layer.output};
    runtime.stock_has_bias = false;
    const std::vector<float> expected = RunGraph(&runtime, layer, layer.output);
    ASSERT_FALSE(expected.empty()) << FirstError(runtime);
    const std::vector<int> dims = runtime.Dims(layer.output);

    ASSERT_EQ(runtime.Apply(delegate.get()), tfl::kOk);
    ASSERT_EQ(runtime.plan().size(), 1U);
    ASSERT_EQ(runtime.delegate_nodes().size(), 1U);
    ExpectNear(RunGraph(&runtime, layer, layer.output), expected);
    EXPECT_EQ(runtime.Dims(layer.output), dims);

    // Taken out, the stock kernels work again; put in again, so does the delegate.
    runtime.RemoveDelegates();
    ExpectNear(RunGraph(&runtime, layer, layer.output), expected);
    ASSERT_EQ(runtime.Apply(delegate.get()), tfl::kOk);
    ASSERT_EQ(runtime.plan().size(), 1U);
    ExpectNear(RunGraph(&runtime, layer, layer.output), expected);
    EXPECT_EQ(FirstError(runtime), "");
  }
}

TEST(Delegate, PartitionsPassNoDecodedFilters) {
  for (int bits : {2, 3, 4}) {
    ThreeLayers graph(bits);
    const std::vector<float> expected = RunGraph(&graph.runtime, graph.first, graph.third.output);
    const OwnedDelegate delegate = NewCodebookDelegate();
    ASSERT_EQ(graph.runtime.Apply(delegate.get()), tfl::kOk);
    EXPECT_EQ(graph.runtime.delegate_nodes().size(), 2U);
    EXPECT_EQ(graph.runtime.plan().size(), 3U);
    ExpectNear(RunGraph(&graph.runtime, graph.first, graph.third.output), expected);
    // The third layer's filter is formally an output of the first partition; it must cost no memory.
    EXPECT_EQ(graph.runtime.Dims(graph.third.filter), std::vector<int>{0});
    graph.runtime.RemoveDelegates();
    ExpectNear(RunGraph(&graph.runtime, graph.first, graph.third.output), expected);
    ASSERT_EQ(graph.runtime.Apply(delegate.get()), tfl::kOk);
    EXPECT_EQ(graph.runtime.delegate_nodes().size(), 2U);
    ExpectNear(RunGraph(&graph.runtime, graph.first, graph.third.output), expected);
  }
}

void CheckResizes(ClaimScope claim) {
  ThreeLayers graph;
  MockRuntime& runtime = graph.runtime;
  const OwnedDelegate delegate = NewDelegate(2, false, claim);
  for (const std::vector<int>& dims :
       std::vector<std::vector<int>>{{1, 5, 6, 3}, {3, 2, 9, 3}, {0, 5, 6, 3}, {1, 1, 1, 3}}) {
    runtime.RemoveDelegates();
    runtime.Resize(graph.first.input, dims);
    const std::vector<float> expected = RunGraph(&runtime, graph.first, graph.third.output);
    ASSERT_EQ(runtime.Apply(delegate.get()), tfl::kOk);
    ExpectNear(RunGraph(&runtime, graph.first, graph.third.output), expected);
  }
  const std::vector<int> nodes = runtime.delegate_nodes();
  for (int batch : {4, 1, 2}) {  // the same nodes again and again
    runtime.Resize(graph.first.input, {batch, 5, 6, 3});
    const std::vector<float> result = RunGraph(&runtime, graph.first, graph.third.output);
    EXPECT_EQ(result.size(), static_cast<size_t>(batch * 5 * 6 * 3));
    EXPECT_EQ(runtime.delegate_nodes(), nodes);
  }
  runtime.Resize(graph.first.input, {1, 5, 6, 4});
  EXPECT_EQ(runtime.Allocate(), tfl::kError);
  EXPECT_NE(FirstError(runtime).find("must be [batch, height, width, 3], height and width > 0. Received: [1,5,6,4]"),
            std::string::npos)
      << FirstError(runtime);
}

TEST(Delegate, ResizeWithoutNewNodes) {
  CheckResizes(ClaimScope::kCodebook);
  CheckResizes(ClaimScope::kGraph);
}

// -- cases that no file can make --------------------------------------------------------------------------------------

using Spoil = std::function<void(MockRuntime*, const LayerIds&)>;

void ExpectNothingClaimed(const std::string& name, const LayerSpec& spec, const Spoil& spoil) {
  SCOPED_TRACE(name);
  MockRuntime runtime;
  const LayerIds layer = ChainBuilder(&runtime, 5).Layer(spec);
  runtime.graph_outputs = {layer.output};
  spoil(&runtime, layer);
  const std::vector<int> plan = runtime.plan();
  const OwnedDelegate delegate = NewDelegate();
  EXPECT_EQ(runtime.Apply(delegate.get()), tfl::kOk);
  EXPECT_EQ(runtime.plan(), plan);
  EXPECT_EQ(FirstError(runtime), "");
}

TEST(Delegate, LeavesEveryPartThatIsDamaged) {
  struct Kind {
    const char* name;
    int bits, group_size;
    bool scale;
  };
  for (const Kind& kind : {Kind{"4 bits", 4, 0, true}, Kind{"3 bits", 3, 0, false}, Kind{"2 bits, groups", 2, 3, true},
                           Kind{"3 bits, groups", 3, 2, false}}) {
    LayerSpec spec;
    spec.bits = kind.bits;
    spec.group_size = kind.group_size;
    spec.scale = kind.scale;
    spec.filter = {5, 3, 3, 3};  // 135 codes: not a whole number of blocks
    MockRuntime probe;
    const LayerIds ids = ChainBuilder(&probe, 5).Layer(spec);
    std::vector<int> constants = ids.constants;
    constants.push_back(ids.bias);
    for (int id : constants) {
      const std::string name = std::string(kind.name) + ", constant " + std::to_string(id) + ": ";
      const auto tensor = [id](const std::function<void(tfl::Tensor*)>& change) -> Spoil {
        return [id, change](MockRuntime* runtime, const LayerIds&) { change(&runtime->tensor(id)); };
      };
      ExpectNothingClaimed(name + "no data", spec, tensor([](tfl::Tensor* t) { t->data = nullptr; }));
      ExpectNothingClaimed(name + "in the arena", spec,
                           tensor([](tfl::Tensor* t) { t->allocation_type = tfl::Allocation::kArenaRw; }));
      ExpectNothingClaimed(name + "persistent", spec,
                           tensor([](tfl::Tensor* t) { t->allocation_type = tfl::Allocation::kPersistentRo; }));
      ExpectNothingClaimed(name + "custom memory", spec,
                           tensor([](tfl::Tensor* t) { t->allocation_type = tfl::Allocation::kCustom; }));
      ExpectNothingClaimed(name + "dynamic", spec,
                           tensor([](tfl::Tensor* t) { t->allocation_type = tfl::Allocation::kDynamic; }));
      ExpectNothingClaimed(name + "too few bytes", spec, tensor([](tfl::Tensor* t) { --t->bytes; }));
      ExpectNothingClaimed(name + "variable", spec, tensor([](tfl::Tensor* t) { t->is_variable = 1; }));
      ExpectNothingClaimed(name + "sparse", spec, tensor([](tfl::Tensor* t) { t->sparsity = t; }));
      ExpectNothingClaimed(name + "quantised", spec, tensor([](tfl::Tensor* t) { t->quantization.type = 1; }));
      ExpectNothingClaimed(name + "another type", spec, tensor([](tfl::Tensor* t) { t->type = tfl::Type::kInt64; }));
      ExpectNothingClaimed(name + "a negative dim", spec, tensor([](tfl::Tensor* t) { t->dims->data()[0] *= -1; }));
      ExpectNothingClaimed(name + "a dim too few", spec, tensor([](tfl::Tensor* t) { t->dims->data()[0] -= 1; }));
      ExpectNothingClaimed(name + "huge", spec, tensor([](tfl::Tensor* t) { t->dims->data()[0] = 0x7fffffff; }));
      ExpectNothingClaimed(name + "no dims", spec, [id](MockRuntime* runtime, const LayerIds&) {
        std::free(runtime->tensor(id).dims);
        runtime->tensor(id).dims = nullptr;
      });
      ExpectNothingClaimed(name + "also computed", spec, [id](MockRuntime* runtime, const LayerIds& layer) {
        runtime->AddNode(tfl::kBuiltinAdd, {layer.input, layer.input}, {id});
      });
    }
    for (int id : ids.intermediates) {
      const std::string name = std::string(kind.name) + ", intermediate " + std::to_string(id) + ": ";
      ExpectNothingClaimed(name + "output", spec,
                           [id](MockRuntime* runtime, const LayerIds&) { runtime->graph_outputs.push_back(id); });
      ExpectNothingClaimed(name + "second reader", spec, [id](MockRuntime* runtime, const LayerIds&) {
        const int copy = runtime->AddTensor(tfl::Type::kFloat32, {1});
        runtime->AddNode(tfl::kBuiltinAdd, {id, id}, {copy});
      });
      ExpectNothingClaimed(name + "second writer", spec, [id](MockRuntime* runtime, const LayerIds& layer) {
        runtime->AddNode(tfl::kBuiltinAdd, {layer.input, layer.input}, {id});
      });
      ExpectNothingClaimed(name + "a wrong shape", spec,
                           [id](MockRuntime* runtime, const LayerIds&) { runtime->SetDims(id, {3, 5}); });
      ExpectNothingClaimed(name + "another type", spec, [id](MockRuntime* runtime, const LayerIds&) {
        runtime->tensor(id).type = tfl::Type::kInt8;
      });
      ExpectNothingClaimed(name + "variable", spec,
                           [id](MockRuntime* runtime, const LayerIds&) { runtime->tensor(id).is_variable = 1; });
      ExpectNothingClaimed(name + "no dims", spec, [id](MockRuntime* runtime, const LayerIds&) {
        std::free(runtime->tensor(id).dims);
        runtime->tensor(id).dims = nullptr;
      });
      ExpectNothingClaimed(name + "of another delegate", spec, [id](MockRuntime* runtime, const LayerIds&) {
        static tfl::Delegate other = {};
        runtime->tensor(id).delegate = &other;
      });
    }
    std::vector<int> nodes = ids.chain;
    nodes.push_back(ids.node);
    for (int index : nodes) {
      const std::string name = std::string(kind.name) + ", node " + std::to_string(index) + ": ";
      const int builtin = probe.registration(index).builtin_code;
      if (builtin != tfl::kBuiltinCast && builtin != tfl::kBuiltinSlice && builtin != tfl::kBuiltinReshape) {
        ExpectNothingClaimed(name + "no parameters", spec, [index](MockRuntime* runtime, const LayerIds&) {
          runtime->node(index).builtin_data = nullptr;
        });
      }
      ExpectNothingClaimed(name + "no inputs", spec,
                           [index](MockRuntime* runtime, const LayerIds&) { runtime->node(index).inputs->size = 0; });
      ExpectNothingClaimed(name + "null inputs", spec,
                           [index](MockRuntime* runtime, const LayerIds&) { runtime->node(index).inputs = nullptr; });
      ExpectNothingClaimed(name + "null outputs", spec,
                           [index](MockRuntime* runtime, const LayerIds&) { runtime->node(index).outputs = nullptr; });
      for (int wrong : {-1, -2, 1000000, ids.input}) {
        for (int i = 0; i < probe.node(index).inputs->size; ++i) {
          if (index == ids.node && (wrong == ids.input ? i == 0 : i == 2 && wrong == -1)) continue;  // both are fine
          ExpectNothingClaimed(name + "input " + std::to_string(i) + " is " + std::to_string(wrong), spec,
                               [index, i, wrong](MockRuntime* runtime, const LayerIds&) {
                                 runtime->node(index).inputs->data()[i] = wrong;
                               });
        }
        ExpectNothingClaimed(
            name + "output is " + std::to_string(wrong), spec,
            [index, wrong](MockRuntime* runtime, const LayerIds&) { runtime->node(index).outputs->data()[0] = wrong; });
      }
      ExpectNothingClaimed(name + "another operator", spec, [index](MockRuntime* runtime, const LayerIds&) {
        runtime->registration(index).builtin_code = tfl::kBuiltinCustom;
      });
    }
  }
}

TEST(Delegate, LeavesAllWhereTheRuntimeDoesNotHelp) {
  const LayerSpec spec;
  ExpectNothingClaimed("no fusion", spec, [](MockRuntime* runtime, const LayerIds&) { runtime->fuse_nodes = false; });
  ExpectNothingClaimed("no preview", spec,
                       [](MockRuntime* runtime, const LayerIds&) { runtime->preview_fails = true; });
  for (bool errors : {true, false}) {
    ExpectNothingClaimed("a cycle", spec, [errors](MockRuntime* runtime, const LayerIds& layer) {
      runtime->cycles_are_errors = errors;
      runtime->AddNode(tfl::kBuiltinAdd, {layer.output, layer.output}, {layer.input});
    });
  }
  ExpectNothingClaimed("no plan", spec, [](MockRuntime* runtime, const LayerIds&) { runtime->plan_fails = true; });
  MockRuntime empty;
  const OwnedDelegate delegate = NewDelegate();
  EXPECT_EQ(empty.Apply(delegate.get()), tfl::kOk);
}

TEST(Delegate, ReportsARefusedClaim) {
  MockRuntime runtime;
  const LayerIds layer = ChainBuilder(&runtime, 5).Layer(LayerSpec());
  runtime.graph_outputs = {layer.output};
  runtime.replace_fails = true;
  const OwnedDelegate delegate = NewDelegate();
  EXPECT_EQ(runtime.Apply(delegate.get()), tfl::kError);
  EXPECT_EQ(FirstError(runtime), "DgmsDelegate: applying the delegate: the runtime refused the claim");
  runtime.replace_fails = false;
  EXPECT_EQ(runtime.Apply(delegate.get()), tfl::kOk);
  EXPECT_EQ(runtime.delegate_nodes().size(), 1U);
}

}  // namespace
}  // namespace dgms::testing
