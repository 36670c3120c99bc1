#include "tflite/graph.h"

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <numeric>

#include "ops/memory.h"
#include "tflite/log.h"

namespace dgms {
namespace {

size_t TypeBytes(tfl::Type type) {
  switch (type) {
    case tfl::Type::kFloat32:
    case tfl::Type::kInt32:
      return 4;
    case tfl::Type::kInt64:
      return 8;
    case tfl::Type::kUInt8:
    case tfl::Type::kInt8:
      return 1;
    default:
      return 0;
  }
}

}  // namespace

bool MultiplyChecked(int64_t a, int64_t b, int64_t* product) {
  return a >= 0 && b >= 0 && !__builtin_mul_overflow(a, b, product);
}

bool ElementCount(const tfl::IntArray* dims, int64_t* count) {
  if (dims == nullptr || dims->size < 0) return false;
  // A zero among huge dims must not hide an overflow in their product from whoever multiplies them in another order.
  int64_t product = 1;
  bool empty = false;
  for (int dim : *dims) {
    if (dim < 0) return false;
    empty = empty || dim == 0;
    if (!MultiplyChecked(product, std::max(dim, 1), &product)) return false;
  }
  *count = empty ? 0 : product;
  return true;
}

bool DimsEqual(const tfl::IntArray* dims, IntSpan expected) {
  return dims != nullptr && dims->size >= 0 && std::equal(dims->begin(), dims->end(), expected.begin(), expected.end());
}

std::string DimsText(const tfl::IntArray* dims) {
  if (dims == nullptr) return "no shape";
  std::string text = "[";
  for (int dim : *dims) text += (text.size() > 1 ? "," : "") + std::to_string(dim);
  return text + "]";
}

const char* BuiltinName(int builtin) {
  switch (builtin) {
    case tfl::kBuiltinAdd:
      return "ADD";
    case tfl::kBuiltinAveragePool2d:
      return "AVERAGE_POOL_2D";
    case tfl::kBuiltinConcatenation:
      return "CONCATENATION";
    case tfl::kBuiltinConv2d:
      return "CONV_2D";
    case tfl::kBuiltinDepthwiseConv2d:
      return "DEPTHWISE_CONV_2D";
    case tfl::kBuiltinDequantize:
      return "DEQUANTIZE";
    case tfl::kBuiltinFullyConnected:
      return "FULLY_CONNECTED";
    case tfl::kBuiltinLogistic:
      return "LOGISTIC";
    case tfl::kBuiltinMaxPool2d:
      return "MAX_POOL_2D";
    case tfl::kBuiltinMul:
      return "MUL";
    case tfl::kBuiltinRelu:
      return "RELU";
    case tfl::kBuiltinReluN1To1:
      return "RELU_N1_TO_1";
    case tfl::kBuiltinRelu6:
      return "RELU6";
    case tfl::kBuiltinReshape:
      return "RESHAPE";
    case tfl::kBuiltinSoftmax:
      return "SOFTMAX";
    case tfl::kBuiltinPad:
      return "PAD";
    case tfl::kBuiltinGather:
      return "GATHER";
    case tfl::kBuiltinMean:
      return "MEAN";
    case tfl::kBuiltinSub:
      return "SUB";
    case tfl::kBuiltinSqueeze:
      return "SQUEEZE";
    case tfl::kBuiltinCast:
      return "CAST";
    case tfl::kBuiltinPadV2:
      return "PADV2";
    case tfl::kBuiltinSlice:
      return "SLICE";
    case tfl::kBuiltinExpandDims:
      return "EXPAND_DIMS";
    case tfl::kBuiltinQuantize:
      return "QUANTIZE";
    case tfl::kBuiltinHardSwish:
      return "HARD_SWISH";
    default:
      return "operator";
  }
}

void FreeIntArray::operator()(tfl::IntArray* array) const { std::free(array); }

OwnedIntArray NewIntArray(const std::vector<int>& values) {
  const size_t bytes = sizeof(tfl::IntArray) + values.size() * sizeof(int);
  auto* array = static_cast<tfl::IntArray*>(AllocationAllowed(bytes) ? std::malloc(bytes) : nullptr);
  if (array != nullptr) {
    array->size = static_cast<int>(values.size());
    std::copy(values.begin(), values.end(), array->data());
  }
  return OwnedIntArray(array);
}

bool Graph::Read(tfl::Context* context, std::string* why) {
  context_ = context;
  if (context->GetExecutionPlan == nullptr || context->GetNodeAndRegistration == nullptr ||
      context->PreviewDelegatePartitioning == nullptr || context->ReplaceNodeSubsetsWithDelegateKernels == nullptr ||
      context->tensors_size > INT_MAX) {
    *why = "this runtime lacks a function that the delegate needs";
    return false;
  }
  tfl::IntArray* runtime_plan = nullptr;
  if (context->GetExecutionPlan(context, &runtime_plan) != tfl::kOk || runtime_plan == nullptr) {
    *why = "the runtime gave no execution plan";
    return false;
  }
  const std::vector<int> plan(runtime_plan->begin(), runtime_plan->end());  // the runtime's own dies with its next call
  return ReadNodes(plan, why) && ReadGraphOutputs(plan, why);
}

bool Graph::ReadNodes(const std::vector<int>& plan, std::string* why) {
  producers_.assign(context_->tensors_size, kNone);
  nodes_.clear();
  nodes_.reserve(plan.size());
  for (int index : plan) {
    tfl::Node* node = nullptr;
    tfl::Registration* registration = nullptr;
    if (context_->GetNodeAndRegistration(context_, index, &node, &registration) != tfl::kOk || node == nullptr ||
        registration == nullptr) {
      *why = Format("the runtime gave no node %d", index);
      return false;
    }
    GraphNode entry;
    entry.index = index;
    entry.node = node;
    entry.builtin = registration->builtin_code;
    const int position = node_count();
    for (int i = 0; i < entry.output_count(); ++i) {
      if (tensor(entry.output(i)) == nullptr) continue;
      int& producer = producers_[entry.output(i)];
      producer = producer == kNone ? position : kSeveral;
    }
    nodes_.push_back(entry);
  }
  ReadConsumers();
  if (!InOrder(why)) return false;
  varies_.clear();
  varies_.reserve(nodes_.size());
  for (const GraphNode& node : nodes_) varies_.push_back(Varies(node));
  return true;
}

// All lists lie in one piece of memory: one for each tensor would cost a start more time than to read all nodes twice.
void Graph::ReadConsumers() {
  const size_t tensors = context_->tensors_size;
  std::vector<int> last_reader;
  const auto for_each_reader = [&](const auto& use) {  // of each tensor, in rising order, each once
    last_reader.assign(tensors, kNone);
    for (int position = 0; position < node_count(); ++position) {
      for (int i = 0; i < nodes_[position].input_count(); ++i) {
        const int id = nodes_[position].input(i);
        if (tensor(id) == nullptr || last_reader[id] == position) continue;
        last_reader[id] = position;
        use(id, position);
      }
    }
  };
  first_consumer_.assign(tensors + 1, 0);
  for_each_reader([&](int id, int) { ++first_consumer_[id + 1]; });
  std::partial_sum(first_consumer_.begin(), first_consumer_.end(), first_consumer_.begin());
  consumers_.resize(static_cast<size_t>(first_consumer_.back()));
  std::vector<int> next = first_consumer_;
  for_each_reader([&](int id, int position) { consumers_[next[id]++] = position; });
}

// Nodes are in order: what was said of those before this one is known.
bool Graph::Varies(const GraphNode& node) const {
  bool has_inputs = false;
  for (int i = 0; i < node.input_count(); ++i) {
    const tfl::Tensor* t = tensor(node.input(i));
    if (t == nullptr) continue;
    has_inputs = true;
    const int from = producers_[node.input(i)];
    if (from == kNone ? t->allocation_type != tfl::Allocation::kMmapRo : varies_[from]) return true;
  }
  return !has_inputs;  // random numbers, variables
}

// Partitioning runs nodes in the order of their data, which is that of the plan only if every tensor is written once
// and before it is read.
bool Graph::InOrder(std::string* why) const {
  for (size_t id = 0; id < producers_.size(); ++id) {
    const int producer = producers_[id];
    const IntSpan readers = consumers(static_cast<int>(id));
    const bool late = producer != kNone && !readers.empty() && readers[0] <= producer;
    if (producer == kSeveral || late) {
      *why = Format("tensor %zu is written twice, or after it is read", id);
      return false;
    }
  }
  return true;
}

// The runtime does not tell a delegate which tensors the subgraph returns. But if the delegate took every node, they
// would be exactly the outputs of the single partition: so we ask for a preview of that. More than one partition means
// that every tensor shall be kept or that node fusion is off; then a fused chain would lose tensors, and all is left
// to the runtime.
bool Graph::ReadGraphOutputs(const std::vector<int>& plan, std::string* why) {
  graph_outputs_.assign(context_->tensors_size, false);
  if (plan.empty()) return true;
  const OwnedIntArray all = NewIntArray(plan);
  tfl::DelegateParams* partitions = nullptr;
  int count = 0;
  if (all == nullptr || context_->PreviewDelegatePartitioning(context_, all.get(), &partitions, &count) != tfl::kOk) {
    *why = "the runtime gave no preview of the partitions";
    return false;
  }
  if (count != 1 || partitions == nullptr || partitions[0].output_tensors == nullptr) {
    *why = "the runtime keeps all tensors or does not fuse nodes";
    return false;
  }
  if (partitions[0].nodes_to_replace == nullptr || partitions[0].nodes_to_replace->size != node_count()) {
    *why = "the graph has a cycle";
    return false;
  }
  for (int id : *partitions[0].output_tensors) {
    if (tensor(id) != nullptr) graph_outputs_[id] = true;
  }
  // A claim of the whole graph, which is the common one, need not be previewed once more.
  asked_nodes_ = plan;
  partitions_.assign(1, {partitions[0].nodes_to_replace->begin(), partitions[0].nodes_to_replace->end()});
  return true;
}

bool Graph::Partitions(const std::vector<int>& nodes, std::vector<std::vector<int>>* partitions) const {
  partitions->clear();
  if (nodes.empty()) return true;
  if (nodes == asked_nodes_) {
    *partitions = partitions_;
    return true;
  }
  const OwnedIntArray list = NewIntArray(nodes);
  tfl::DelegateParams* params = nullptr;
  int count = 0;
  if (list == nullptr || context_->PreviewDelegatePartitioning(context_, list.get(), &params, &count) != tfl::kOk ||
      (count > 0 && params == nullptr)) {
    return false;
  }
  for (int i = 0; i < count; ++i) {
    const tfl::IntArray* of = params[i].nodes_to_replace;
    if (of == nullptr) return false;
    partitions->emplace_back(of->begin(), of->end());
  }
  asked_nodes_ = nodes;
  partitions_ = *partitions;
  return true;
}

const tfl::Tensor* Graph::tensor(int id) const {
  return id >= 0 && static_cast<size_t>(id) < context_->tensors_size ? &context_->tensors[id] : nullptr;
}

const char* Graph::tensor_name(int id) const {
  const tfl::Tensor* t = tensor(id);
  return t != nullptr && t->name != nullptr ? t->name : "";
}

std::vector<int> Graph::dims(int id) const {
  const tfl::Tensor* t = tensor(id);
  return t != nullptr && t->dims != nullptr ? std::vector<int>(t->dims->begin(), t->dims->end()) : std::vector<int>();
}

int Graph::producer(int id) const { return tensor(id) != nullptr ? producers_[id] : kNone; }

IntSpan Graph::consumers(int id) const {
  if (tensor(id) == nullptr) return {nullptr, nullptr};
  return {consumers_.data() + first_consumer_[id], consumers_.data() + first_consumer_[id + 1]};
}

bool Graph::is_graph_output(int id) const { return tensor(id) != nullptr && graph_outputs_[id]; }

const void* Graph::ConstantData(int id, tfl::Type type, int64_t* count) const {
  const tfl::Tensor* t = tensor(id);
  return t != nullptr && t->quantization.type == 0 ? QuantizedConstantData(id, type, count) : nullptr;
}

const void* Graph::QuantizedConstantData(int id, tfl::Type type, int64_t* count) const {
  const tfl::Tensor* t = tensor(id);
  int64_t bytes = 0;
  const bool constant = t != nullptr && t->type == type && t->allocation_type == tfl::Allocation::kMmapRo &&
                        t->data != nullptr && t->is_variable == 0 && t->sparsity == nullptr &&
                        producers_[id] == kNone && ElementCount(t->dims, count) &&
                        MultiplyChecked(*count, static_cast<int64_t>(TypeBytes(type)), &bytes) &&
                        static_cast<uint64_t>(bytes) <= t->bytes;
  return constant ? t->data : nullptr;
}

}  // namespace dgms
