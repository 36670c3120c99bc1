// int8 layers in a mock runtime: what the delegate claims, that it is right (exactly), and what it leaves.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <new>
#include <string>
#include <vector>

#include "ops/op_testing.h"
#include "tflite/delegate_testing.h"
#include "tflite/failing_new.h"

namespace dgms::testing {
namespace {

std::vector<LayerSpec> ManySpecs() {
  std::vector<LayerSpec> specs;
  for (int bits : {2, 3, 4}) {
    for (int group_size : {0, 1, 3}) {
      for (bool one_scale : {false, true}) {
        LayerSpec conv;
        conv.int8 = true;
        conv.bits = bits;
        conv.group_size = group_size;
        conv.one_scale = one_scale;
        specs.push_back(conv);
        LayerSpec strided = conv;
        strided.filter = {4, 2, 3, 3};
        strided.stride_h = 2;
        strided.dilation_w = 2;
        strided.padding = tfl::Padding::kValid;
        strided.activation = tfl::Activation::kRelu6;
        strided.input_zero = 127;
        specs.push_back(strided);
        LayerSpec grouped = conv;
        grouped.input = {2, 4, 3, 6};
        grouped.activation = tfl::Activation::kRelu;
        grouped.bias = false;
        grouped.output_zero = -128;
        specs.push_back(grouped);
        LayerSpec depthwise = conv;
        depthwise.builtin = tfl::kBuiltinDepthwiseConv2d;
        depthwise.filter = {1, 3, 2, 6};
        depthwise.stride_w = 2;
        depthwise.activation = tfl::Activation::kReluN1To1;
        depthwise.input_zero = -128;
        specs.push_back(depthwise);
        LayerSpec dense = conv;
        dense.builtin = tfl::kBuiltinFullyConnected;
        dense.input = {2, 3, 5};
        dense.filter = {4, 15};
        dense.output_zero = 127;
        specs.push_back(dense);
        dense.filter = {4, 5};
        dense.keep_num_dims = true;
        dense.bias = false;
        specs.push_back(dense);
      }
    }
  }
  return specs;
}

TEST(DelegateInt8, ClaimsEveryKindOfChainAndIsExact) {
  const OwnedDelegate delegate = NewDelegate();
  uint32_t seed = 0;
  for (const LayerSpec& spec : ManySpecs()) {
    SCOPED_TRACE(::testing::Message() << "spec " << seed << ", operator " << spec.builtin << ", bits " << spec.bits
                                      << ", group size " << spec.group_size << ", one scale " << spec.one_scale);
    MockRuntime runtime;
    const LayerIds layer = ChainBuilder(&runtime, ++seed).Layer(spec);
    runtime.graph_outputs = {layer.output};
    runtime.stock_has_bias = false;
    const std::vector<float> expected = RunGraph(&runtime, layer, layer.output);
    ASSERT_FALSE(expected.empty()) << FirstError(runtime);
    ASSERT_EQ(runtime.Apply(delegate.get()), tfl::kOk);
    ASSERT_EQ(runtime.plan().size(), 1U);
    EXPECT_EQ(RunGraph(&runtime, layer, layer.output), expected);
    // Taken out, the stock kernels work again; put in again, so does the delegate.
    runtime.RemoveDelegates();
    EXPECT_EQ(RunGraph(&runtime, layer, layer.output), expected);
    ASSERT_EQ(runtime.Apply(delegate.get()), tfl::kOk);
    ASSERT_EQ(runtime.plan().size(), 1U);
    EXPECT_EQ(RunGraph(&runtime, layer, layer.output), expected);
    EXPECT_EQ(FirstError(runtime), "");
  }
}

// Layers that pass int8 maps to each other inside of a partition, beside a float one in the same partition.
TEST(DelegateInt8, PartitionsOfSeveralLayers) {
  MockRuntime runtime;
  ChainBuilder builder(&runtime, 7);
  LayerSpec spec;
  spec.int8 = true;
  spec.filter = {3, 3, 3, 3};
  spec.one_scale = true;
  const LayerIds first = builder.Layer(spec);
  const LayerIds second = builder.Layer(spec, first.output);
  spec.builtin = tfl::kBuiltinDepthwiseConv2d;
  spec.filter = {1, 3, 3, 3};
  const LayerIds third = builder.Layer(spec, second.output);
  const LayerIds other = builder.Layer(LayerSpec());
  runtime.graph_outputs = {third.output, other.output};
  const std::vector<float> expected = RunGraph(&runtime, first, third.output);
  const std::vector<float> expected_other = RunGraph(&runtime, other, other.output);
  const OwnedDelegate delegate = NewDelegate();
  ASSERT_EQ(runtime.Apply(delegate.get()), tfl::kOk);
  EXPECT_EQ(runtime.plan().size(), 1U);
  for (int batch : {1, 3, 1}) {
    runtime.Resize(first.input, {batch, 5, 6, 3});
    const std::vector<float> result = RunGraph(&runtime, first, third.output);
    if (batch == 1) {
      EXPECT_EQ(result, expected);
    }
    EXPECT_EQ(result.size(), expected.size() * batch);
  }
  ExpectNear(RunGraph(&runtime, other, other.output), expected_other);
}

// ---- activations quantised at run time ----

// Against the float layer: a wrong weight or a wrong place is far above a few per cent of the largest output.
TEST(DelegateDynamicInt8, IsNearFloatAndRightWhereItCannotBe) {
  const OwnedDelegate dynamic = NewDelegate(2, true);
  uint32_t seed = 0;
  for (LayerSpec spec : ManySpecs()) {
    spec.int8 = false;
    spec.scale = seed % 2 == 0;
    SCOPED_TRACE(::testing::Message() << "spec " << seed);
    MockRuntime runtime;
    const LayerIds layer = ChainBuilder(&runtime, ++seed).Layer(spec);
    runtime.graph_outputs = {layer.output};
    runtime.stock_has_bias = false;
    const std::vector<float> expected = RunGraph(&runtime, layer, layer.output);
    ASSERT_EQ(runtime.Apply(dynamic.get()), tfl::kOk);
    ASSERT_EQ(runtime.plan().size(), 1U);
    const std::vector<float> result = RunGraph(&runtime, layer, layer.output);
    ASSERT_EQ(result.size(), expected.size());
    float largest = 1;
    for (const float value : expected) largest = std::max(largest, std::abs(value));
    for (size_t i = 0; i < result.size(); ++i) ASSERT_NEAR(result[i], expected[i], 0.08F * largest) << "output " << i;
  }
}

// ---- memory ----

// Whatever allocation fails while the delegate is applied and prepared, the runtime hears of it, and all is well when
// memory is there again. `Fail` refuses the nth one; `happened` says whether there was one.
template <typename Fail, typename Happened>
void CheckMemory(const LayerSpec& spec, bool dynamic, const Happened& happened) {
  int failures = 0;
  bool failed = true;
  for (int64_t nth = 0; failed; ++nth) {
    SCOPED_TRACE(::testing::Message() << "allocation " << nth);
    MockRuntime runtime;
    const LayerIds layer = ChainBuilder(&runtime, 5).Layer(spec);
    runtime.graph_outputs = {layer.output};
    const OwnedDelegate delegate = NewDelegate(1, dynamic);
    tfl::Status status = tfl::kOk;
    try {
      const Fail fail(nth);
      status = runtime.Apply(delegate.get());
      if (status == tfl::kOk) status = runtime.Allocate();
      failed = happened(fail, nth);
    } catch (const std::bad_alloc&) {  // the mock runtime's own
      status = tfl::kError;
    }
    if (status != tfl::kOk) ++failures;
    // Where only a preview fails, nothing is claimed, and that is no error.
    ASSERT_TRUE(failed || status == tfl::kOk);
    runtime.RemoveDelegates();
    const std::vector<float> expected = RunGraph(&runtime, layer, layer.output);
    ASSERT_EQ(runtime.Apply(delegate.get()), tfl::kOk);
    const std::vector<float> result = RunGraph(&runtime, layer, layer.output);
    ASSERT_EQ(result.size(), expected.size());
    if (!dynamic) {
      ASSERT_EQ(result, expected);
    }
  }
  EXPECT_GT(failures, 5);
}

TEST(DelegateInt8, RunsOutOfMemoryAnywhere) {
  for (const bool dynamic : {false, true}) {
    LayerSpec spec;
    spec.int8 = !dynamic;
    spec.group_size = 2;
    LayerSpec depthwise = spec, dense = spec;
    depthwise.builtin = tfl::kBuiltinDepthwiseConv2d;
    depthwise.filter = {1, 3, 3, 6};
    dense.builtin = tfl::kBuiltinFullyConnected;
    dense.filter = {4, 3};
    for (const LayerSpec& kind : {spec, depthwise, dense}) {
      SCOPED_TRACE(::testing::Message() << "operator " << kind.builtin << (dynamic ? ", dynamic" : ", int8"));
      CheckMemory<FailAllocation>(kind, dynamic,
                                  [](const FailAllocation& fail, int64_t nth) { return fail.allocations() > nth; });
      CheckMemory<FailNew>(kind, dynamic, [](const FailNew& fail, int64_t) { return fail.happened(); });
      if (HasFatalFailure()) return;
    }
  }
}

// ---- what is left to the runtime ----

using Spoil = std::function<void(MockRuntime*, const LayerIds&)>;

bool IsClaimed(const LayerSpec& spec, const Spoil& spoil) {
  MockRuntime runtime;
  const LayerIds layer = ChainBuilder(&runtime, 5).Layer(spec);
  runtime.graph_outputs = {layer.output};
  spoil(&runtime, layer);
  const OwnedDelegate delegate = NewDelegate();
  EXPECT_EQ(runtime.Apply(delegate.get()), tfl::kOk);
  EXPECT_EQ(FirstError(runtime), "");
  return !runtime.delegate_nodes().empty();
}

TEST(DelegateInt8, LeavesOddQuantisation) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();
  LayerSpec spec;
  spec.int8 = true;  // filter {4, 3, 3, 3}
  const std::vector<float> four = {0.1F, 0.1F, 0.1F, 0.1F};
  const std::vector<int> zeros(4, 0);
  const std::pair<const char*, Spoil> cases[] = {
      {"input: no parameters", [](MockRuntime* r, const LayerIds& l) { r->tensor(l.input).quantization = {}; }},
      {"input: null parameters",
       [](MockRuntime* r, const LayerIds& l) { r->tensor(l.input).quantization.params = nullptr; }},
      {"input: unknown kind", [](MockRuntime* r, const LayerIds& l) { r->tensor(l.input).quantization.type = 2; }},
      {"input: null scales",
       [](MockRuntime* r, const LayerIds& l) {
         static_cast<tfl::AffineQuantization*>(r->tensor(l.input).quantization.params)->scale = nullptr;
       }},
      {"input: null zero points",
       [](MockRuntime* r, const LayerIds& l) {
         static_cast<tfl::AffineQuantization*>(r->tensor(l.input).quantization.params)->zero_point = nullptr;
       }},
      {"input: no scale", [](MockRuntime* r, const LayerIds& l) { r->Quantize(l.input, {}, {0}); }},
      {"input: no zero point", [](MockRuntime* r, const LayerIds& l) { r->Quantize(l.input, {0.1F}, {}); }},
      {"input: scale 0", [](MockRuntime* r, const LayerIds& l) { r->Quantize(l.input, {0.0F}, {0}); }},
      {"input: scale below 0", [](MockRuntime* r, const LayerIds& l) { r->Quantize(l.input, {-1.0F}, {0}); }},
      {"input: scale NaN", [=](MockRuntime* r, const LayerIds& l) { r->Quantize(l.input, {kNan}, {0}); }},
      {"input: scale infinite", [=](MockRuntime* r, const LayerIds& l) { r->Quantize(l.input, {kInf}, {0}); }},
      {"input: zero point 128", [](MockRuntime* r, const LayerIds& l) { r->Quantize(l.input, {0.1F}, {128}); }},
      {"input: two descriptions", [](MockRuntime* r, const LayerIds& l) { r->tensor(l.input).params.scale *= 2; }},
      {"output: no parameters", [](MockRuntime* r, const LayerIds& l) { r->tensor(l.output).quantization = {}; }},
      {"output: zero point", [](MockRuntime* r, const LayerIds& l) { r->Quantize(l.output, {0.1F}, {-129}); }},
      {"output: scale too small", [](MockRuntime* r, const LayerIds& l) { r->Quantize(l.output, {1e-20F}, {0}); }},
      {"output: float", [](MockRuntime* r, const LayerIds& l) { r->tensor(l.output).type = tfl::Type::kFloat32; }},
      {"filter: no parameters", [](MockRuntime* r, const LayerIds& l) { r->tensor(l.filter).quantization = {}; }},
      {"filter: null parameters",
       [](MockRuntime* r, const LayerIds& l) { r->tensor(l.filter).quantization.params = nullptr; }},
      {"filter: another dimension", [=](MockRuntime* r, const LayerIds& l) { r->Quantize(l.filter, four, zeros, 3); }},
      {"filter: too few scales",
       [](MockRuntime* r, const LayerIds& l) { r->Quantize(l.filter, {0.1F, 0.1F}, {0, 0}); }},
      {"filter: no scales", [](MockRuntime* r, const LayerIds& l) { r->Quantize(l.filter, {}, {}); }},
      {"filter: too few zero points", [=](MockRuntime* r, const LayerIds& l) { r->Quantize(l.filter, four, {0, 0}); }},
      {"filter: a zero point", [=](MockRuntime* r, const LayerIds& l) { r->Quantize(l.filter, four, {0, 0, 0, 1}); }},
      {"filter: scale 0",
       [=](MockRuntime* r, const LayerIds& l) { r->Quantize(l.filter, {0.1F, 0.1F, 0.0F, 0.1F}, zeros); }},
      {"filter: scale below 0",
       [=](MockRuntime* r, const LayerIds& l) { r->Quantize(l.filter, {0.1F, 0.1F, -0.1F, 0.1F}, zeros); }},
      {"filter: scale NaN",
       [=](MockRuntime* r, const LayerIds& l) { r->Quantize(l.filter, {0.1F, kNan, 0.1F, 0.1F}, zeros); }},
      {"bias: float", [](MockRuntime* r, const LayerIds& l) { r->tensor(l.bias).type = tfl::Type::kFloat32; }},
      {"bias: zero point", [](MockRuntime* r, const LayerIds& l) { r->Quantize(l.bias, {0.1F}, {1}); }},
      {"bias: computed",
       [](MockRuntime* r, const LayerIds& l) { r->tensor(l.bias).allocation_type = tfl::Allocation::kArenaRw; }},
      {"codebook: -128",
       [](MockRuntime* r, const LayerIds& l) {
         for (int id : l.constants) {
           if (r->tensor(id).type == tfl::Type::kInt8) static_cast<int8_t*>(r->tensor(id).data)[5] = -128;
         }
       }},
  };
  EXPECT_TRUE(IsClaimed(spec, [](MockRuntime*, const LayerIds&) {}));
  for (const auto& [name, spoil] : cases) EXPECT_FALSE(IsClaimed(spec, spoil)) << name;
  spec.builtin = tfl::kBuiltinFullyConnected;
  spec.filter = {4, 3};
  spec.one_scale = true;
  EXPECT_TRUE(IsClaimed(spec, [](MockRuntime*, const LayerIds&) {}));
  EXPECT_FALSE(IsClaimed(spec, [](MockRuntime* r, const LayerIds& l) { r->Quantize(l.bias, {0.5F}, {0}); }))
      << "a bias of another scale";
}

}  // namespace
}  // namespace dgms::testing
