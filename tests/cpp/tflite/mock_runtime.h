// A TFLite runtime of a few hundred lines, for testing the delegate without TFLite: tensors and nodes behind the C ABI,
// partitioning, delegates applied and taken out, and plain "stock" kernels for the operators of FORMAT.md.
//
// It is meaner than the real one: tensors move whenever one is resized, every buffer is a heap block of its exact size,
// and the functions that TFLite forbids outside of Delegate::Prepare fail there.
#ifndef DGMS_TESTS_TFLITE_MOCK_RUNTIME_H_
#define DGMS_TESTS_TFLITE_MOCK_RUNTIME_H_

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "tflite/tflite_abi.h"

namespace dgms::testing {

class MockRuntime {
 public:
  MockRuntime();
  ~MockRuntime();
  MockRuntime(const MockRuntime&) = delete;
  MockRuntime& operator=(const MockRuntime&) = delete;

  // -- building
  int AddConstant(tfl::Type type, const std::vector<int>& dims, const void* data, size_t bytes);
  template <typename T>
  int Constant(const std::vector<int>& dims, const std::vector<T>& values);
  int AddTensor(tfl::Type type, const std::vector<int>& dims, const char* name = "");
  int AddNode(int builtin, const std::vector<int>& inputs, const std::vector<int>& outputs) {
    return AddNodeWithParams(builtin, inputs, outputs, nullptr, 0);
  }
  template <typename Params>
  int AddNode(int builtin, const std::vector<int>& inputs, const std::vector<int>& outputs, const Params& params) {
    return AddNodeWithParams(builtin, inputs, outputs, &params, sizeof(params));
  }
  // Gives a tensor affine quantisation, in the new and, with one scale, in the old description.
  void Quantize(int id, const std::vector<float>& scales, const std::vector<int>& zeros, int dimension = 0);
  std::vector<int> graph_outputs;

  // -- running; errors are in `errors`
  tfl::Status Apply(tfl::Delegate* delegate);  // TFLite's ModifyGraphWithDelegate: on failure the graph is as before
  void RemoveDelegates();                      // TFLite's UndoAllDelegates: tensors keep the delegates' marks
  tfl::Status Allocate();                      // prepare all nodes, then give all tensors memory
  tfl::Status Invoke();
  void Resize(int id, const std::vector<int>& dims);
  // Of int8 tensors, values are multiples of 1/40.
  void Set(int id, const std::vector<float>& values);
  std::vector<float> Get(int id) const;

  // -- looking and spoiling
  tfl::Context* context() { return &context_; }
  tfl::Tensor& tensor(int id) { return tensors_[id]; }
  tfl::Node& node(int index) { return nodes_[index]->node; }
  tfl::Registration& registration(int index) { return nodes_[index]->registration; }
  int tensor_count() const { return static_cast<int>(tensors_.size()); }
  int node_count() const { return static_cast<int>(nodes_.size()); }
  void* builtin_data(int index) { return nodes_[index]->params.get(); }
  void SetDims(int id, const std::vector<int>& dims);
  std::vector<int> Dims(int id) const;
  std::vector<int> delegate_nodes() const;  // numbers in the plan
  const std::vector<int>& plan() const { return plan_; }

  std::vector<std::string> errors;
  bool fuse_nodes = true;         // false: every node is a partition of its own
  bool preview_fails = false;     // PreviewDelegatePartitioning returns an error
  bool plan_fails = false;        // GetExecutionPlan does
  bool replace_fails = false;     // ReplaceNodeSubsetsWithDelegateKernels does
  bool cycles_are_errors = true;  // newer runtimes refuse to partition a graph with a cycle, older ones lose nodes
  bool stock_has_bias = true;     // as TFLite's, the stock CONV_2D refuses to run without a bias

 private:
  struct MockNode {
    tfl::Node node = {};
    tfl::Registration registration = {};
    std::unique_ptr<char[]> params;
    std::vector<std::unique_ptr<tfl::IntArray, void (*)(void*)>> lists;
  };
  struct Subset {
    bool claimed = false;
    std::vector<int> nodes, inputs, outputs;
  };
  struct Preview;
  struct Affine {
    tfl::AffineQuantization params = {};
    std::unique_ptr<tfl::IntArray, void (*)(void*)> zeros{nullptr, std::free};
    std::unique_ptr<tfl::FloatArray, void (*)(void*)> scales{nullptr, std::free};
  };

  static MockRuntime* Self(tfl::Context* context) { return static_cast<MockRuntime*>(context->impl); }
  static tfl::Status GetExecutionPlan(tfl::Context*, tfl::IntArray**);
  static tfl::Status GetNode(tfl::Context*, int, tfl::Node**, tfl::Registration**);
  static tfl::Status Replace(tfl::Context*, tfl::Registration, const tfl::IntArray*, tfl::Delegate*);
  static tfl::Status PreviewPartitions(tfl::Context*, const tfl::IntArray*, tfl::DelegateParams**, int*);
  static tfl::Status ResizeTensor(tfl::Context*, tfl::Tensor*, tfl::IntArray*);
  static void ReportError(tfl::Context*, const char*, ...);

  int AddNodeWithParams(int builtin, const std::vector<int>& inputs, const std::vector<int>& outputs,
                        const void* params, size_t bytes);
  std::vector<Subset> Partition(const std::vector<int>& claimed) const;
  void FreeNode(MockNode* node);
  void MoveTensors();
  void AllowDelegateFunctions(bool allowed);

  tfl::Context context_ = {};
  std::vector<tfl::Tensor> tensors_;
  std::vector<std::unique_ptr<char[]>> data_;  // by tensor
  std::vector<std::unique_ptr<std::string>> names_;
  std::vector<std::unique_ptr<Affine>> affines_;
  std::vector<std::unique_ptr<MockNode>> nodes_;
  std::vector<int> plan_, plan_before_delegates_;
  std::unique_ptr<tfl::IntArray, void (*)(void*)> plan_cache_;
  std::unique_ptr<Preview> preview_;
};

template <typename T>
tfl::Type TypeOf();
template <>
inline tfl::Type TypeOf<float>() {
  return tfl::Type::kFloat32;
}
template <>
inline tfl::Type TypeOf<int32_t>() {
  return tfl::Type::kInt32;
}
template <>
inline tfl::Type TypeOf<uint8_t>() {
  return tfl::Type::kUInt8;
}
template <>
inline tfl::Type TypeOf<int8_t>() {
  return tfl::Type::kInt8;
}

template <typename T>
int MockRuntime::Constant(const std::vector<int>& dims, const std::vector<T>& values) {
  return AddConstant(TypeOf<T>(), dims, values.data(), values.size() * sizeof(T));
}

size_t BytesOf(tfl::Type type);

// The stock kernels: the shape of a node's output, and its values. Both return an empty string or what is wrong.
std::string StockShape(MockRuntime* runtime, int node, std::vector<int>* dims);
std::string StockRun(MockRuntime* runtime, int node);

}  // namespace dgms::testing

#endif  // DGMS_TESTS_TFLITE_MOCK_RUNTIME_H_
