#include "tflite/mock_runtime.h"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <set>

namespace dgms::testing {
namespace {

tfl::IntArray* NewList(const std::vector<int>& values) {
  auto* list = static_cast<tfl::IntArray*>(std::malloc(sizeof(tfl::IntArray) + values.size() * sizeof(int)));
  list->size = static_cast<int>(values.size());
  std::copy(values.begin(), values.end(), list->data());
  return list;
}

std::unique_ptr<tfl::IntArray, void (*)(void*)> OwnedList(const std::vector<int>& values) {
  return {NewList(values), std::free};
}

std::vector<int> Values(const tfl::IntArray* list) {
  return list == nullptr ? std::vector<int>() : std::vector<int>(list->begin(), list->end());
}

// False for negative dims, and for sizes that no test needs and no machine should be asked for.
bool SizeOf(tfl::Type type, const std::vector<int>& dims, size_t* bytes) {
  *bytes = BytesOf(type);
  for (int dim : dims) {
    if (dim < 0 || *bytes > (size_t{1} << 30)) return false;
    *bytes *= static_cast<size_t>(dim);
  }
  return *bytes <= (size_t{1} << 30);
}

}  // namespace

size_t BytesOf(tfl::Type type) {
  switch (type) {
    case tfl::Type::kFloat32:
    case tfl::Type::kInt32:
      return 4;
    case tfl::Type::kUInt8:
    case tfl::Type::kInt8:
      return 1;
    default:
      return 8;
  }
}

struct MockRuntime::Preview {
  std::vector<tfl::DelegateParams> params;
  std::vector<std::unique_ptr<tfl::IntArray, void (*)(void*)>> lists;

  tfl::IntArray* List(const std::vector<int>& values) {
    lists.push_back(OwnedList(values));
    return lists.back().get();
  }
  void Add(const Subset& subset, tfl::Delegate* delegate) {
    params.push_back({delegate, List(subset.nodes), List(subset.inputs), List(subset.outputs)});
  }
};

MockRuntime::MockRuntime() : plan_cache_(nullptr, std::free) {
  context_.impl = this;
  context_.ResizeTensor = ResizeTensor;
  context_.ReportError = ReportError;
  context_.recommended_num_threads = -1;
  AllowDelegateFunctions(false);
}

MockRuntime::~MockRuntime() {
  for (auto& node : nodes_) FreeNode(node.get());
  for (tfl::Tensor& tensor : tensors_) std::free(tensor.dims);
}

void MockRuntime::AllowDelegateFunctions(bool allowed) {
  const auto forbidden_node = [](tfl::Context*, int, tfl::Node**, tfl::Registration**) { return tfl::kError; };
  context_.GetExecutionPlan = allowed ? GetExecutionPlan : [](tfl::Context*, tfl::IntArray**) { return tfl::kError; };
  context_.GetNodeAndRegistration = allowed ? GetNode : +forbidden_node;
  context_.ReplaceNodeSubsetsWithDelegateKernels =
      allowed ? Replace
              : [](tfl::Context*, tfl::Registration, const tfl::IntArray*, tfl::Delegate*) { return tfl::kError; };
  context_.PreviewDelegatePartitioning =
      allowed ? PreviewPartitions
              : [](tfl::Context*, const tfl::IntArray*, tfl::DelegateParams**, int*) { return tfl::kError; };
}

void MockRuntime::FreeNode(MockNode* node) {
  if (node->node.user_data != nullptr && node->registration.free != nullptr) {
    node->registration.free(&context_, node->node.user_data);
  }
  node->node.user_data = nullptr;
}

// Everything that is not read again from the context after this is a use after free.
void MockRuntime::MoveTensors() {
  std::vector<tfl::Tensor> moved(tensors_);
  tensors_.swap(moved);
  context_.tensors = tensors_.data();
  context_.tensors_size = tensors_.size();
}

int MockRuntime::AddTensor(tfl::Type type, const std::vector<int>& dims, const char* name) {
  tfl::Tensor tensor = {};
  tensor.type = type;
  tensor.dims = NewList(dims);
  tensor.allocation_type = tfl::Allocation::kArenaRw;
  tensor.buffer_handle = -1;
  names_.push_back(std::make_unique<std::string>(name));
  tensor.name = names_.back()->c_str();
  tensors_.push_back(tensor);
  data_.emplace_back();
  MoveTensors();
  return tensor_count() - 1;
}

int MockRuntime::AddConstant(tfl::Type type, const std::vector<int>& dims, const void* data, size_t bytes) {
  const int id = AddTensor(type, dims);
  data_[id].reset(new char[bytes]);
  if (bytes > 0) std::memcpy(data_[id].get(), data, bytes);
  tensors_[id].data = data_[id].get();
  tensors_[id].bytes = bytes;
  tensors_[id].allocation_type = tfl::Allocation::kMmapRo;
  return id;
}

int MockRuntime::AddNodeWithParams(int builtin, const std::vector<int>& inputs, const std::vector<int>& outputs,
                                   const void* params, size_t bytes) {
  auto node = std::make_unique<MockNode>();
  const auto list = [&](const std::vector<int>& values) {
    node->lists.push_back(OwnedList(values));
    return node->lists.back().get();
  };
  node->node.inputs = list(inputs);
  node->node.outputs = list(outputs);
  node->registration.builtin_code = builtin;
  if (params != nullptr) {
    node->params.reset(new char[bytes]);
    std::memcpy(node->params.get(), params, bytes);
  }
  node->node.builtin_data = node->params.get();
  nodes_.push_back(std::move(node));
  plan_.push_back(node_count() - 1);
  return node_count() - 1;
}

void MockRuntime::SetDims(int id, const std::vector<int>& dims) {
  std::free(tensors_[id].dims);
  tensors_[id].dims = NewList(dims);
}

std::vector<int> MockRuntime::Dims(int id) const { return Values(tensors_[id].dims); }

std::vector<int> MockRuntime::delegate_nodes() const {
  std::vector<int> nodes;
  for (int index : plan_) {
    if (nodes_[index]->node.delegate != nullptr) nodes.push_back(index);
  }
  return nodes;
}

tfl::Status MockRuntime::GetExecutionPlan(tfl::Context* context, tfl::IntArray** plan) {
  MockRuntime* self = Self(context);
  if (self->plan_fails) return tfl::kError;
  self->plan_cache_.reset(NewList(self->plan_));
  *plan = self->plan_cache_.get();
  return tfl::kOk;
}

tfl::Status MockRuntime::GetNode(tfl::Context* context, int index, tfl::Node** node, tfl::Registration** registration) {
  MockRuntime* self = Self(context);
  if (index < 0 || index >= self->node_count()) return tfl::kError;
  *node = &self->nodes_[index]->node;
  *registration = &self->nodes_[index]->registration;
  return tfl::kOk;
}

// Rounds: each takes all nodes of one kind that are ready, again and again until no more are (TFLite's greedy way).
std::vector<MockRuntime::Subset> MockRuntime::Partition(const std::vector<int>& claimed) const {
  const std::set<int> is_claimed(claimed.begin(), claimed.end());
  std::vector<int> made_by(tensors_.size(), -2);  // the subset that makes a tensor; -2: always there, -1: not yet
  const auto known = [&](int id) { return id >= 0 && id < tensor_count(); };
  for (int index : plan_) {
    for (int id : Values(nodes_[index]->node.outputs)) {
      if (known(id)) made_by[id] = -1;
    }
  }
  std::vector<bool> done(nodes_.size(), false);
  std::vector<Subset> subsets;
  for (bool found = true; found;) {
    Subset subset;
    for (bool changed = true; changed;) {
      changed = false;
      for (int index : plan_) {
        const tfl::Node& node = nodes_[index]->node;
        if (done[index]) continue;
        if (!fuse_nodes && !subset.nodes.empty()) break;
        if (!subset.nodes.empty() && (is_claimed.count(index) != 0) != subset.claimed) continue;
        const std::vector<int> inputs = Values(node.inputs);
        if (std::any_of(inputs.begin(), inputs.end(), [&](int id) { return known(id) && made_by[id] == -1; })) continue;
        subset.claimed = is_claimed.count(index) != 0;
        subset.nodes.push_back(index);
        done[index] = changed = true;
        const int number = static_cast<int>(subsets.size());
        for (int id : Values(node.outputs)) {
          if (known(id)) made_by[id] = number;
        }
        for (int id : inputs) {
          if (!known(id) || made_by[id] == number) continue;
          subset.inputs.push_back(id);
          if (made_by[id] >= 0) subsets[made_by[id]].outputs.push_back(id);
        }
      }
    }
    found = !subset.nodes.empty();
    if (found) subsets.push_back(subset);
  }
  for (int id : graph_outputs) {
    if (known(id) && made_by[id] >= 0) subsets[made_by[id]].outputs.push_back(id);
  }
  for (Subset& subset : subsets) {
    for (std::vector<int>* list : {&subset.inputs, &subset.outputs}) {
      std::sort(list->begin(), list->end());
      list->erase(std::unique(list->begin(), list->end()), list->end());
    }
  }
  return subsets;
}

tfl::Status MockRuntime::PreviewPartitions(tfl::Context* context, const tfl::IntArray* nodes,
                                           tfl::DelegateParams** partitions, int* count) {
  MockRuntime* self = Self(context);
  if (self->preview_fails) return tfl::kError;
  self->preview_ = std::make_unique<Preview>();
  size_t scheduled = 0;
  for (const Subset& subset : self->Partition(Values(nodes))) {
    scheduled += subset.nodes.size();
    if (subset.claimed) self->preview_->Add(subset, nullptr);
  }
  if (self->cycles_are_errors && scheduled != self->plan_.size()) return tfl::kError;
  *partitions = self->preview_->params.data();
  *count = static_cast<int>(self->preview_->params.size());
  return tfl::kOk;
}

tfl::Status MockRuntime::Replace(tfl::Context* context, tfl::Registration registration, const tfl::IntArray* nodes,
                                 tfl::Delegate* delegate) {
  MockRuntime* self = Self(context);
  if (self->replace_fails) return tfl::kError;
  const std::vector<Subset> subsets = self->Partition(Values(nodes));
  std::vector<int> plan;
  self->plan_.clear();
  for (const Subset& subset : subsets) {
    if (!subset.claimed) {
      plan.insert(plan.end(), subset.nodes.begin(), subset.nodes.end());
      continue;
    }
    const int index = self->AddNode(registration.builtin_code, subset.inputs, subset.outputs);
    MockNode& node = *self->nodes_[index];
    node.registration = registration;
    Preview params;
    params.Add(subset, delegate);
    node.node.builtin_data = &params.params[0];
    node.node.user_data =
        registration.init(context, reinterpret_cast<const char*>(&params.params[0]), 0);  // copies what it needs
    node.node.builtin_data = nullptr;
    node.node.delegate = delegate;
    plan.push_back(index);
    for (int id : subset.outputs) {
      tfl::Delegate*& mark = self->tensors_[id].delegate;
      if (mark != nullptr && mark != delegate) return tfl::kError;
      mark = delegate;
    }
  }
  self->plan_ = plan;
  return tfl::kOk;
}

tfl::Status MockRuntime::ResizeTensor(tfl::Context* context, tfl::Tensor* tensor, tfl::IntArray* size) {
  MockRuntime* self = Self(context);
  std::unique_ptr<tfl::IntArray, void (*)(void*)> owned(size, std::free);
  const int id = static_cast<int>(tensor - self->tensors_.data());
  size_t bytes = 0;
  if (tensor->allocation_type == tfl::Allocation::kMmapRo || !SizeOf(tensor->type, Values(size), &bytes)) {
    return tfl::kError;
  }
  std::free(tensor->dims);
  tensor->dims = owned.release();
  tensor->bytes = bytes;
  tensor->data = nullptr;
  self->data_[id].reset();
  self->MoveTensors();
  return tfl::kOk;
}

void MockRuntime::ReportError(tfl::Context* context, const char* format, ...) {
  char text[1000];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  try {
    Self(context)->errors.push_back(text);
  } catch (const std::bad_alloc&) {  // a test of that: C functions do not throw
  }
}

tfl::Status MockRuntime::Apply(tfl::Delegate* delegate) {
  if (plan_before_delegates_.empty()) plan_before_delegates_ = plan_;
  AllowDelegateFunctions(true);
  const tfl::Status status = delegate->Prepare(&context_, delegate);
  AllowDelegateFunctions(false);
  preview_.reset();
  if (status != tfl::kOk) RemoveDelegates();
  return status;
}

void MockRuntime::RemoveDelegates() {
  if (plan_before_delegates_.empty()) return;
  plan_ = plan_before_delegates_;
  plan_before_delegates_.clear();
  const size_t kept = static_cast<size_t>(*std::max_element(plan_.begin(), plan_.end())) + 1;
  for (size_t i = kept; i < nodes_.size(); ++i) FreeNode(nodes_[i].get());
  nodes_.resize(kept);
}

tfl::Status MockRuntime::Allocate() {
  for (int index : plan_) {
    if (nodes_[index]->node.delegate != nullptr) {
      if (nodes_[index]->registration.prepare(&context_, &nodes_[index]->node) != tfl::kOk) return tfl::kError;
      continue;
    }
    std::vector<int> dims;
    const std::string why = StockShape(this, index, &dims);
    if (!why.empty()) {
      errors.push_back("stock: " + why);
      return tfl::kError;
    }
    tfl::Tensor* output = &tensors_[node(index).outputs->data()[0]];
    if (ResizeTensor(&context_, output, NewList(dims)) != tfl::kOk) return tfl::kError;
  }
  for (int id = 0; id < tensor_count(); ++id) {
    if (tensors_[id].allocation_type == tfl::Allocation::kMmapRo || tensors_[id].data != nullptr) continue;
    // Intermediates of a chain that a delegate has taken keep the shapes of the file: no memory for them, as in TFLite.
    bool needed = false;
    for (int index : plan_) {
      for (const tfl::IntArray* list : {nodes_[index]->node.inputs, nodes_[index]->node.outputs}) {
        needed = needed || std::count(list->begin(), list->end(), id) != 0;
      }
    }
    if (!needed) continue;
    size_t bytes = 0;
    if (!SizeOf(tensors_[id].type, Dims(id), &bytes)) {
      errors.push_back("stock: a tensor is too large");
      return tfl::kError;
    }
    if (bytes == 0) continue;
    data_[id].reset(new char[bytes]);
    std::memset(data_[id].get(), 0xcd, bytes);
    tensors_[id].data = data_[id].get();
    tensors_[id].bytes = bytes;
  }
  return tfl::kOk;
}

tfl::Status MockRuntime::Invoke() {
  for (int index : plan_) {
    if (nodes_[index]->node.delegate != nullptr) {
      if (nodes_[index]->registration.invoke(&context_, &nodes_[index]->node) != tfl::kOk) return tfl::kError;
      continue;
    }
    const std::string why = StockRun(this, index);
    if (!why.empty()) {
      errors.push_back("stock: " + why);
      return tfl::kError;
    }
  }
  return tfl::kOk;
}

void MockRuntime::Resize(int id, const std::vector<int>& dims) {
  ResizeTensor(&context_, &tensors_[id], NewList(dims));
}

void MockRuntime::Quantize(int id, const std::vector<float>& scales, const std::vector<int>& zeros, int dimension) {
  auto affine = std::make_unique<Affine>();
  affine->zeros = OwnedList(zeros);
  auto* floats = static_cast<tfl::FloatArray*>(std::malloc(sizeof(tfl::FloatArray) + scales.size() * sizeof(float)));
  floats->size = static_cast<int>(scales.size());
  std::copy(scales.begin(), scales.end(), floats->data());
  affine->scales.reset(floats);
  affine->params = {floats, affine->zeros.get(), dimension};
  tfl::Tensor& tensor = tensors_[id];
  tensor.quantization = {tfl::kAffineQuantization, &affine->params};
  tensor.params = {};
  if (scales.size() == 1 && zeros.size() == 1) tensor.params = {scales[0], zeros[0]};
  affines_.push_back(std::move(affine));
}

void MockRuntime::Set(int id, const std::vector<float>& values) {
  tfl::Tensor& tensor = tensors_[id];
  const bool is_int8 = tensor.type == tfl::Type::kInt8;
  const size_t count = std::min(values.size(), tensor.bytes / (is_int8 ? 1 : sizeof(float)));
  if (count == 0 || tensor.data == nullptr) return;
  if (is_int8) {
    auto* to = static_cast<int8_t*>(tensor.data);
    for (size_t i = 0; i < count; ++i) {
      to[i] = static_cast<int8_t>(std::lround(std::min(127.0F, std::max(-128.0F, values[i] * 40))));
    }
  } else {
    std::memcpy(tensor.data, values.data(), count * sizeof(float));
  }
}

std::vector<float> MockRuntime::Get(int id) const {
  const tfl::Tensor& tensor = tensors_[id];
  std::vector<float> values(tensor.bytes / (tensor.type == tfl::Type::kInt8 ? 1 : sizeof(float)));
  if (values.empty() || tensor.data == nullptr) return values;
  if (tensor.type == tfl::Type::kInt8) {
    const auto* from = static_cast<const int8_t*>(tensor.data);
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(from[i]) / 40;
  } else {
    std::memcpy(values.data(), tensor.data, values.size() * sizeof(float));
  }
  return values;
}

}  // namespace dgms::testing
