// A checked, read-only view of the graph that the runtime shows to Delegate::Prepare. Nothing in a model file is
// trusted: indices are checked, sizes are computed from dims without overflow, and unknown things are simply unknown.
#ifndef DGMS_TFLITE_GRAPH_H_
#define DGMS_TFLITE_GRAPH_H_

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "tflite/tflite_abi.h"

namespace dgms {

// Integers of somebody else's, valid as long as those are: a list in braces to the end of the call.
class IntSpan {
 public:
  IntSpan(const int* first, const int* last) : first_(first), last_(last) {}
  IntSpan(const std::vector<int>& all) : IntSpan(all.data(), all.data() + all.size()) {}
  IntSpan(std::initializer_list<int> all) : IntSpan(all.begin(), all.end()) {}
  const int* begin() const { return first_; }
  const int* end() const { return last_; }
  bool empty() const { return first_ == last_; }
  size_t size() const { return static_cast<size_t>(last_ - first_); }
  int operator[](size_t i) const { return first_[i]; }

 private:
  const int* first_;
  const int* last_;
};

// a * b for a, b >= 0; false if it does not fit.
bool MultiplyChecked(int64_t a, int64_t b, int64_t* product);

// The product of dims. False if a dim is negative, `dims` is null or the product does not fit 63 bits.
bool ElementCount(const tfl::IntArray* dims, int64_t* count);

bool DimsEqual(const tfl::IntArray* dims, IntSpan expected);
std::string DimsText(const tfl::IntArray* dims);
const char* BuiltinName(int builtin);

struct FreeIntArray {
  void operator()(tfl::IntArray* array) const;
};
using OwnedIntArray = std::unique_ptr<tfl::IntArray, FreeIntArray>;

// A list allocated as the runtime does it, so it may be handed over. Null if memory runs out.
OwnedIntArray NewIntArray(const std::vector<int>& values);

struct GraphNode {
  int index = -1;  // the runtime's number
  const tfl::Node* node = nullptr;
  int builtin = tfl::kBuiltinCustom;

  int input_count() const { return node->inputs != nullptr && node->inputs->size > 0 ? node->inputs->size : 0; }
  int output_count() const { return node->outputs != nullptr && node->outputs->size > 0 ? node->outputs->size : 0; }
  // The tensor, or kOptionalTensor where the input is left out or does not exist.
  int input(int i) const { return i < input_count() ? node->inputs->data()[i] : tfl::kOptionalTensor; }
  int output(int i) const { return i < output_count() ? node->outputs->data()[i] : tfl::kOptionalTensor; }
  template <typename Params>
  const Params* params() const {
    return static_cast<const Params*>(node->builtin_data);
  }
};

class Graph {
 public:
  static constexpr int kNone = -1;

  // Reads the execution plan. False if the runtime or the graph is not what a delegate can work with; `*why` says so.
  // The view holds until the plan changes.
  bool Read(tfl::Context* context, std::string* why);

  tfl::Context* context() const { return context_; }
  int node_count() const { return static_cast<int>(nodes_.size()); }
  const GraphNode& node(int position) const { return nodes_[position]; }  // position in the execution plan

  // Null if there is no such tensor (kOptionalTensor among them).
  const tfl::Tensor* tensor(int id) const;
  const char* tensor_name(int id) const;
  std::vector<int> dims(int id) const;  // as they are declared now

  // Position of the node that computes the tensor; kNone if there is none.
  int producer(int id) const;
  // Positions of the nodes that read it, in rising order, each once; the graph's own.
  IntSpan consumers(int id) const;
  // Whether what the node computes can differ from one run to the next. What depends on constants alone (the decoding
  // of a filter) does not.
  bool varies(int position) const { return varies_[position]; }
  // Whether the subgraph returns the tensor.
  bool is_graph_output(int id) const;

  // How the runtime would cut the graph if these nodes (its numbers) were claimed: the claimed nodes of each partition.
  // False if it does not say.
  bool Partitions(const std::vector<int>& nodes, std::vector<std::vector<int>>* partitions) const;

  // A tensor that is constant for the life of the interpreter: data in the file, no sparse encoding, no quantisation,
  // all of its elements there. Null otherwise. `*count` receives the number of elements.
  const void* ConstantData(int id, tfl::Type type, int64_t* count) const;

  // The same, with or without quantisation parameters.
  const void* QuantizedConstantData(int id, tfl::Type type, int64_t* count) const;

 private:
  static constexpr int kSeveral = -2;

  bool ReadNodes(const std::vector<int>& plan, std::string* why);
  void ReadConsumers();
  bool InOrder(std::string* why) const;
  bool Varies(const GraphNode& node) const;
  bool ReadGraphOutputs(const std::vector<int>& plan, std::string* why);

  tfl::Context* context_ = nullptr;
  std::vector<GraphNode> nodes_;
  std::vector<bool> varies_;         // by position
  std::vector<int> producers_;       // by tensor
  std::vector<int> first_consumer_;  // by tensor, and one more: where its consumers begin in consumers_
  std::vector<int> consumers_;       // of all tensors
  std::vector<bool> graph_outputs_;  // by tensor

  // The last answer of Partitions: the same claim is looked at several times.
  mutable std::vector<int> asked_nodes_;
  mutable std::vector<std::vector<int>> partitions_;
};

}  // namespace dgms

#endif  // DGMS_TFLITE_GRAPH_H_
