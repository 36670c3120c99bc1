// Damaged graphs, differentially: a random layer or two, one to three random changes, then the mock runtime's stock
// kernels against the delegate. The delegate may leave what it likes, but it must not crash, must not read outside of a
// buffer (run this under AddressSanitizer), must not fail to be applied, and must be right where it claims.
//
// DGMS_MUTATIONS=1000000 in the environment runs that many.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "ops/memory.h"
#include "tflite/chain_builder.h"
#include "tflite/delegate.h"
#include "tflite/mock_runtime.h"

namespace dgms::testing {
namespace {

class Mutator {
 public:
  explicit Mutator(uint32_t seed) : random_(seed) {}

  int Below(int bound) { return static_cast<int>(random_() % static_cast<uint32_t>(bound)); }

  template <typename T>
  T Pick(std::initializer_list<T> values) {
    return values.begin()[Below(static_cast<int>(values.size()))];
  }

  LayerSpec Spec() {
    LayerSpec spec;
    spec.bits = 2 + Below(3);
    spec.int8 = Below(3) == 0;
    spec.one_scale = Below(4) == 0;
    spec.scale = Below(2) == 0;
    spec.group_size = Below(3) == 0 ? 1 + Below(4) : 0;
    spec.bias = Below(8) != 0;
    spec.activation = Pick({tfl::Activation::kNone, tfl::Activation::kRelu, tfl::Activation::kRelu6});
    spec.padding = Pick({tfl::Padding::kSame, tfl::Padding::kValid});
    spec.stride_h = 1 + Below(2);
    spec.dilation_w = 1 + Below(2);
    switch (Below(3)) {
      case 0:
        spec.filter = {4, 1 + Below(3), 1 + Below(2), 3};
        break;
      case 1:
        spec.builtin = tfl::kBuiltinDepthwiseConv2d;
        spec.filter = {1, 1 + Below(3), 1 + Below(2), 3 * (1 + Below(2))};
        break;
      default:
        spec.builtin = tfl::kBuiltinFullyConnected;
        spec.filter = {1 + Below(5), 3};
        spec.keep_num_dims = Below(2) == 0;
        break;
    }
    return spec;
  }

  // One change. The description says what was done.
  std::string Mutate(MockRuntime* runtime) {
    const int id = Below(runtime->tensor_count());
    const int index = Below(runtime->node_count());
    tfl::Tensor& tensor = runtime->tensor(id);
    tfl::Node& node = runtime->node(index);
    const std::string where = "tensor " + std::to_string(id) + ": ";
    const std::string at = "node " + std::to_string(index) + ": ";
    switch (Below(14)) {
      case 0:
        tensor.type = Pick({tfl::Type::kFloat32, tfl::Type::kInt32, tfl::Type::kUInt8, tfl::Type::kInt8,
                            tfl::Type::kInt64, static_cast<tfl::Type>(77)});
        return where + "type";
      case 1:
        tensor.allocation_type = static_cast<tfl::Allocation>(Below(9));
        return where + "allocation type";
      case 2:
        tensor.data = nullptr;
        return where + "no data";
      case 3:
        tensor.bytes = static_cast<size_t>(Below(static_cast<int>(tensor.bytes) + 1));
        return where + "fewer bytes";
      case 4: {
        std::vector<int> dims = runtime->Dims(id);
        if (dims.empty()) return "nothing";
        dims[Below(static_cast<int>(dims.size()))] = Size();
        runtime->SetDims(id, dims);
        return where + "a dimension";
      }
      case 5: {
        std::vector<int> dims = runtime->Dims(id);
        if (Below(2) == 0 && !dims.empty()) {
          dims.pop_back();
        } else {
          dims.push_back(Size());
        }
        runtime->SetDims(id, dims);
        return where + "rank";
      }
      case 6:
        switch (Below(3)) {
          case 0:
            tensor.is_variable = 1;
            break;
          case 1:
            tensor.sparsity = &tensor;
            break;
          default:
            Requantize(runtime, id);
            break;
        }
        return where + "variable, sparse or quantised";
      case 7:
      case 8:
        return where + Contents(runtime, id);
      case 9: {
        if (node.inputs->size == 0) return "nothing";
        node.inputs->data()[Below(node.inputs->size)] = Pick({Below(runtime->tensor_count()), -1, -5, 100000});
        return at + "an input";
      }
      case 10:
        node.outputs->data()[0] = Pick({Below(runtime->tensor_count()), -1, 100000});
        return at + "the output";
      case 11:
        runtime->registration(index).builtin_code =
            Pick<int>({tfl::kBuiltinAdd, tfl::kBuiltinMul, tfl::kBuiltinGather, tfl::kBuiltinCast, tfl::kBuiltinReshape,
                       tfl::kBuiltinSlice, tfl::kBuiltinCustom});
        // An operator whose parameters are of another size would be the test's fault, so it gets none.
        if (node.builtin_data != nullptr) node.builtin_data = nullptr;
        return at + "another operator";
      case 12: {
        if (node.builtin_data == nullptr) return "nothing";
        // All parameter structs are ints, except for two trailing bools in FullyConnectedParams: whole ints only.
        const int fields = Fields(runtime->registration(index).builtin_code);
        static_cast<int32_t*>(node.builtin_data)[Below(fields)] = Pick({-1, 0, 1, 2, 3, 4, 5, 1 << 30});
        return at + "a parameter";
      }
      default:
        runtime->graph_outputs.push_back(id);
        return where + "an output";
    }
  }

 private:
  int Size() { return Pick({-1, 0, 1, 2, 3, 4, 8, 16, 256, 257, 0x7fffffff}); }

  static int Fields(int builtin) {
    switch (builtin) {
      case tfl::kBuiltinConv2d:
        return 6;
      case tfl::kBuiltinDepthwiseConv2d:
        return 7;
      case tfl::kBuiltinFullyConnected:
      case tfl::kBuiltinGather:
        return 2;
      case tfl::kBuiltinReshape:
        return 9;
      default:
        return 1;
    }
  }

  // Affine quantisation: without parameters, or with unusual ones.
  void Requantize(MockRuntime* runtime, int id) {
    runtime->tensor(id).quantization = {1, nullptr};
    if (Below(4) == 0) return;
    const int count = Pick({0, 1, 1, 1, 2, 3, 4, 5});
    std::vector<float> scales;
    for (int i = 0; i < count; ++i) scales.push_back(Pick({0.0F, -1.0F, 0.05F, 0.5F, 1e-30F}));
    runtime->Quantize(id, scales, std::vector<int>(count, Pick({0, 0, 0, 5, -128, 127, 128})), Below(4));
  }

  std::string Contents(MockRuntime* runtime, int id) {
    tfl::Tensor& tensor = runtime->tensor(id);
    if (tensor.data == nullptr || tensor.bytes < 4) return "nothing";
    if (tensor.type == tfl::Type::kFloat32) {
      const float value = Pick({0.0F, 1.5F, -3.0F, 1e-30F});
      std::memcpy(static_cast<char*>(tensor.data) + 4 * Below(static_cast<int>(tensor.bytes / 4)), &value, 4);
    } else if (tensor.type == tfl::Type::kInt32) {
      const int value = Size();
      std::memcpy(static_cast<char*>(tensor.data) + 4 * Below(static_cast<int>(tensor.bytes / 4)), &value, 4);
    } else {
      static_cast<uint8_t*>(tensor.data)[Below(static_cast<int>(tensor.bytes))] = static_cast<uint8_t>(Below(256));
    }
    return "contents";
  }

  std::mt19937 random_;
};

// The graph of a seed, changes included; always the same.
std::string Build(uint32_t seed, MockRuntime* runtime, int* input) {
  Mutator mutator(seed);
  ChainBuilder builder(runtime, seed);
  const LayerIds first = builder.Layer(mutator.Spec());
  *input = first.input;
  runtime->graph_outputs = {first.output};
  if (mutator.Below(3) == 0) {
    LayerSpec spec;
    spec.builtin = tfl::kBuiltinFullyConnected;
    const std::vector<int> dims = runtime->Dims(first.output);
    spec.filter = {2, dims.back()};
    spec.bits = 2 + mutator.Below(3);
    spec.int8 = runtime->tensor(first.output).type == tfl::Type::kInt8;
    runtime->graph_outputs = {builder.Layer(spec, first.output).output};
  }
  runtime->stock_has_bias = false;
  std::string what;
  for (int i = 1 + mutator.Below(3); i > 0; --i) what += mutator.Mutate(runtime) + "; ";
  return what;
}

bool RunAll(MockRuntime* runtime, int input) {
  if (runtime->Allocate() != tfl::kOk) return false;
  const tfl::Tensor& tensor = runtime->tensor(input);
  if (tensor.allocation_type != tfl::Allocation::kMmapRo && tensor.data != nullptr) {
    MockRuntime unused;
    runtime->Set(input, ChainBuilder(&unused, 3).Floats(static_cast<int64_t>(tensor.bytes)));
  }
  return runtime->Invoke() == tfl::kOk;
}

std::string Errors(const MockRuntime& runtime) {
  std::string text;
  for (const std::string& error : runtime.errors) text += error + "; ";
  return text;
}

// Activations that are quantised at run time are not compared: this is about crashes and answers alone.
TEST(Mutation, DynamicInt8Survives) {
  Options options;
  options.dynamic_int8 = true;
  std::string error;
  tfl::Delegate* const delegate = CreateDelegate(options, &error);
  ASSERT_NE(delegate, nullptr) << error;
  SetAllocationHook([](size_t bytes) { return bytes < (size_t{1} << 30); });  // the mock runtime's own limit
  for (uint32_t seed = 0; seed < 3000; ++seed) {
    MockRuntime stock, ours;
    int input = -1;
    const std::string what = Build(seed, &stock, &input);
    Build(seed, &ours, &input);
    SCOPED_TRACE(::testing::Message() << "seed " << seed << ": " << what);
    ASSERT_EQ(ours.Apply(delegate), tfl::kOk) << Errors(ours);
    if (ours.delegate_nodes().empty()) continue;
    const bool stock_runs = RunAll(&stock, input);
    ASSERT_EQ(RunAll(&ours, input), stock_runs) << "stock: " << Errors(stock) << ", delegate: " << Errors(ours);
  }
  SetAllocationHook(nullptr);
  DestroyDelegate(delegate);
}

TEST(Mutation, DelegateAgreesWithStockKernels) {
  Options options;
  std::string error;
  tfl::Delegate* const delegate = CreateDelegate(options, &error);
  ASSERT_NE(delegate, nullptr) << error;
  const char* wanted = std::getenv("DGMS_MUTATIONS");
  const int count = wanted == nullptr ? 5000 : std::atoi(wanted);
  SetAllocationHook([](size_t bytes) { return bytes < (size_t{1} << 30); });  // the mock runtime's own limit
  int claimed = 0, compared = 0;
  for (int i = 0; i < count; ++i) {
    const auto seed = static_cast<uint32_t>(i);
    MockRuntime stock, ours;
    int input = -1;
    const std::string what = Build(seed, &stock, &input);
    Build(seed, &ours, &input);
    SCOPED_TRACE(::testing::Message() << "seed " << seed << ": " << what);
    ASSERT_EQ(ours.Apply(delegate), tfl::kOk) << Errors(ours);
    const bool stock_runs = RunAll(&stock, input);
    if (ours.delegate_nodes().empty()) continue;
    ++claimed;
    const bool ours_runs = RunAll(&ours, input);
    ASSERT_EQ(ours_runs, stock_runs) << "stock: " << Errors(stock) << ", delegate: " << Errors(ours);
    if (!stock_runs) continue;
    ++compared;
    for (int id : stock.graph_outputs) {
      const tfl::Type type = stock.tensor(id).type;
      if (type != tfl::Type::kFloat32 && type != tfl::Type::kInt8) continue;
      ASSERT_EQ(ours.Dims(id), stock.Dims(id)) << "output " << id;
      const std::vector<float> result = ours.Get(id), expected = stock.Get(id);
      ASSERT_EQ(result.size(), expected.size());
      if (type == tfl::Type::kInt8) {
        ASSERT_EQ(result, expected) << "int8 output " << id;
        continue;
      }
      float largest = 0;
      for (float value : expected) largest = std::max(largest, std::abs(value));
      for (size_t n = 0; n < result.size(); ++n) {
        // Sums of at most a few dozen products; float errors are below 1e-5 of the largest of them.
        ASSERT_TRUE(std::abs(result[n] - expected[n]) <= 1e-2F + 1e-4F * largest ||
                    (std::isnan(result[n]) && std::isnan(expected[n])))
            << "output " << id << "[" << n << "]: " << result[n] << " instead of " << expected[n];
      }
    }
  }
  SetAllocationHook(nullptr);
  DestroyDelegate(delegate);
  // The changes leave enough graphs intact for the comparison to mean something.
  EXPECT_GT(claimed, count / 20);
  EXPECT_GT(compared, count / 40);
}

}  // namespace
}  // namespace dgms::testing
