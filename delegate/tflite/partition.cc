#include "tflite/partition.h"

#include <algorithm>
#include <chrono>
#include <unordered_map>

#include "tflite/graph.h"
#include "tflite/log.h"
#include "tflite/memory_plan.h"

namespace dgms {
namespace {

int64_t ElementBytes(tfl::Type type) { return type == tfl::Type::kInt8 ? 1 : sizeof(float); }

tfl::Tensor* TensorOf(tfl::Context* context, int id) {
  return id >= 0 && static_cast<size_t>(id) < context->tensors_size ? &context->tensors[id] : nullptr;
}

// The bytes of a map, at most what any machine could hold.
bool MapBytes(const std::vector<int>& dims, int64_t element_bytes, int64_t* bytes) {
  int64_t product = element_bytes;
  for (int dim : dims) {
    if (!MultiplyChecked(product, dim, &product)) return false;
  }
  *bytes = product;
  return product <= PTRDIFF_MAX - kMemoryUnit;
}

// A fixed set of tensors: the inputs of a partition are all of its constants, too, hundreds.
class TensorSet {
 public:
  explicit TensorSet(const tfl::IntArray& ids) : ids_(ids.begin(), ids.end()) { std::sort(ids_.begin(), ids_.end()); }
  bool Has(int id) const { return std::binary_search(ids_.begin(), ids_.end(), id); }

 private:
  std::vector<int> ids_;
};

// Gives a tensor of the runtime a new shape.
std::string Resize(tfl::Context* context, int id, const std::vector<int>& dims, int64_t element_bytes) {
  tfl::Tensor* tensor = TensorOf(context, id);
  if (tensor == nullptr || context->ResizeTensor == nullptr) return Format("tensor %d cannot be resized", id);
  int64_t bytes = 0;
  if (tensor->data != nullptr && DimsEqual(tensor->dims, dims) && MapBytes(dims, element_bytes, &bytes) &&
      tensor->bytes == static_cast<size_t>(bytes)) {
    return "";  // it has all that it needs
  }
  OwnedIntArray size = NewIntArray(dims);
  if (size == nullptr) return StatusText(Status::kOutOfMemory);
  if (context->ResizeTensor(context, tensor, size.release()) != tfl::kOk) {
    return Format("the runtime could not resize tensor %d", id);
  }
  return "";
}

}  // namespace

Partition::Partition(const tfl::DelegateParams& params, std::map<int, PreparedOp>* prepared, const Resources& resources)
    : resources_(resources) {
  steps_.reserve(std::min(prepared->size(), static_cast<size_t>(params.nodes_to_replace->size)));
  for (int node : *params.nodes_to_replace) {
    const auto found = prepared->find(node);
    if (found == prepared->end()) continue;
    Step step;
    step.match = std::move(found->second.match);
    step.op = std::move(found->second.op);
    prepared->erase(found);
    steps_.push_back(std::move(step));
  }
  FindPlaces(params);
}

// An activation is the partition's own if the runtime asks for it neither as an input nor as an output: a tensor that
// is read inside and outside of the partition, or that the graph returns, lives in the runtime's memory.
void Partition::FindPlaces(const tfl::DelegateParams& params) {
  const TensorSet inputs(*params.input_tensors), outputs(*params.output_tensors);
  std::unordered_map<int, int> computed;  // tensor -> step
  computed.reserve(steps_.size());
  for (size_t i = 0; i < steps_.size(); ++i) {
    Step& step = steps_[i];
    step.inputs.reserve(step.match.inputs.size());
    for (int tensor : step.match.inputs) {
      const auto inside = computed.find(tensor);
      if (inside == computed.end() && !inputs.Has(tensor)) {
        broken_ = Format("tensor %d is neither an input of its partition nor computed in it", tensor);
      }
      const bool own = inside != computed.end() && !outputs.Has(tensor);
      step.inputs.push_back({tensor, own ? inside->second : Step::kNone});
    }
    step.own_output = !outputs.Has(step.match.output);
    const LayerMatch* layer = step.match.layer();
    if (layer != nullptr && layer->int8_output && !step.own_output) {
      broken_ = Format("the runtime cut the graph at tensor %d, other than it said before", step.match.output);
    }
    computed[step.match.output] = static_cast<int>(i);
  }
  for (int id : *params.output_tensors) {
    if (computed.count(id) == 0) skipped_.push_back(id);
  }
}

std::string Partition::Prepare(tfl::Context* context) {
  if (!broken_.empty()) return broken_;
  const std::string why = PrepareAll(context);
  if (!why.empty()) ++resources_.scratch->losses;
  losses_ = why.empty() ? resources_.scratch->losses : -1;
  return why;
}

std::string Partition::PrepareAll(tfl::Context* context) {
  // Decoded filters that the runtime believes to pass from this partition to another: they get no memory.
  for (int id : skipped_) {
    const std::string why = Resize(context, id, {0}, sizeof(float));
    if (!why.empty()) return why;
  }
  Workspace& workspace = resources_.scratch->workspace;
  workspace.Defer();
  for (Step& step : steps_) {
    const std::string why = PrepareStep(context, &step);
    if (!why.empty()) return Format("%s (output '%s')", why.c_str(), step.match.name.c_str());
  }
  const Status status = PlanPasses(steps_, resources_.build.threads, &passes_, &chain_memory_);
  if (status != Status::kOk) return StatusText(status);
  workspace.Reserve(chain_memory_.elements());
  if (!workspace.Allocate()) return StatusText(Status::kOutOfMemory);
  return PlaceOutputs();
}

std::string Partition::PrepareStep(tfl::Context* context, Step* step) {
  step->input_dims.resize(step->inputs.size());
  for (size_t i = 0; i < step->inputs.size(); ++i) {
    const Step::Place& place = step->inputs[i];
    if (place.step != Step::kNone) {
      step->input_dims[i] = steps_[place.step].output_dims;
      continue;
    }
    const tfl::Tensor* input = TensorOf(context, place.tensor);
    if (input == nullptr || input->dims == nullptr || input->type != step->match.input_type) {
      return "an input is not of the type that was claimed";
    }
    step->input_dims[i].assign(input->dims->begin(), input->dims->end());
  }
  if (!step->op->Fits(step->input_dims)) {
    // The number of channels became known, or changed, only now: other groups, so other packed weights.
    Status status = Status::kOk;
    std::unique_ptr<Operator> op = Operator::Create(step->match, step->input_dims, resources_.build, &status);
    if (op == nullptr && status == Status::kOutOfMemory) return StatusText(status);
    if (op != nullptr) step->op = std::move(op);  // else Reshape says what is wrong
  }
  const std::string why = step->op->Reshape(step->input_dims, &resources_.scratch->workspace, &step->output_dims);
  if (!why.empty()) return why;
  if (step->own_output) return "";
  return Resize(context, step->match.output, step->output_dims, ElementBytes(step->match.output_type));
}

std::string Partition::PlaceOutputs() {
  std::vector<PlannedStep> planned(steps_.size());  // what is read and written when, by the step of a pass's output
  for (const Pass& pass : passes_) {
    const Step& step = steps_[pass.output()];
    PlannedStep& entry = planned[pass.output()];
    entry.planned = step.own_output;
    entry.copies = step.op->copies();
    if (!MapBytes(step.output_dims, ElementBytes(step.match.output_type), &entry.bytes)) {
      return "an intermediate map is too large";
    }
    const Step& first = steps_[pass.members[0].runner];
    const bool alone = pass.members.size() == 1 && !pass.members[0].adds();
    for (size_t i = 0; i < first.inputs.size(); ++i) {
      entry.inputs.push_back(first.inputs[i].step);
      entry.in_place.push_back(alone && first.op->RunsInPlace(static_cast<int>(i)));
    }
    for (const Pass::Member& member : pass.members) {
      if (!member.adds()) continue;
      entry.inputs.push_back(ResidualOf(steps_, member).step);
      entry.in_place.push_back(false);
    }
  }
  MemoryPlan plan;
  if (!PlanMemory(planned, &plan)) return "the intermediate maps are too large";
  for (size_t i = 0; i < steps_.size(); ++i) steps_[i].offset = plan.offsets[i];
  return resources_.scratch->maps.Reserve(plan.bytes) ? "" : StatusText(Status::kOutOfMemory);
}

std::string Partition::Invoke(tfl::Context* context) {
  if (losses_ != resources_.scratch->losses) {
    const std::string why = Prepare(context);
    if (!why.empty()) return why;
  }
  for (const Pass& pass : passes_) {
    const std::string why = RunPass(context, pass);
    if (!why.empty()) return Format("%s (output '%s')", why.c_str(), steps_[pass.output()].match.name.c_str());
  }
  return "";
}

std::string Partition::InputPointer(tfl::Context* context, const Step::Place& place, const Shape& dims,
                                    const void** pointer) const {
  if (place.step != Step::kNone) {
    *pointer = resources_.scratch->maps.data() + steps_[place.step].offset;
    return "";
  }
  const tfl::Tensor* tensor = TensorOf(context, place.tensor);
  if (tensor == nullptr || !DimsEqual(tensor->dims, dims)) {
    return "the input's shape has changed since it was prepared";
  }
  *pointer = tensor->data;
  return tensor->data != nullptr ? "" : "a tensor has no memory";
}

std::string Partition::OutputPointer(tfl::Context* context, const Step& step, int64_t bytes, void** pointer) const {
  if (step.own_output) {
    *pointer = resources_.scratch->maps.data() + step.offset;
    return "";
  }
  const tfl::Tensor* tensor = TensorOf(context, step.match.output);
  if (tensor == nullptr || tensor->bytes < static_cast<size_t>(bytes)) return "the output's shape has changed";
  *pointer = tensor->data;
  return tensor->data != nullptr ? "" : "a tensor has no memory";
}

// The maps that a pass reads, all of them.
std::string Partition::FindPointers(tfl::Context* context, const Pass& pass) {
  const Step& first = steps_[pass.members[0].runner];
  inputs_.assign(first.inputs.size(), nullptr);
  residuals_.assign(pass.members.size(), nullptr);
  for (size_t i = 0; i < first.inputs.size(); ++i) {
    const std::string why = InputPointer(context, first.inputs[i], first.input_dims[i], &inputs_[i]);
    if (!why.empty()) return why;
  }
  for (size_t i = 0; i < pass.members.size(); ++i) {
    if (!pass.members[i].adds()) continue;
    const Step::Place& residual = ResidualOf(steps_, pass.members[i]);
    const std::string why = InputPointer(context, residual, steps_[pass.members[i].sum].output_dims, &residuals_[i]);
    if (!why.empty()) return why;
  }
  return "";
}

Status Partition::RunOperators(const Pass& pass, void* output) {
  if (pass.chain != nullptr) {
    pass.chain->Run(inputs_[0], residuals_.data(), output, resources_.scratch->workspace.data(),
                    chain_memory_.lane_stride, *resources_.pool);
    return Status::kOk;
  }
  const Pass::Member& member = pass.members[0];
  Operator& op = *steps_[member.runner].op;
  if (!member.adds()) return op.Run(inputs_.data(), output, *resources_.pool);
  return op.RunAdding(inputs_.data(), residuals_[0], SumActivation(steps_[member.sum]), output, *resources_.pool);
}

std::string Partition::RunPass(tfl::Context* context, const Pass& pass) {
  const Step& step = steps_[pass.output()];
  int64_t output_bytes = 0;
  if (!MapBytes(step.output_dims, ElementBytes(step.match.output_type), &output_bytes)) return "it was not prepared";
  if (output_bytes == 0) return "";  // an empty batch
  std::string why = FindPointers(context, pass);
  if (!why.empty()) return why;
  void* output = nullptr;
  why = OutputPointer(context, step, output_bytes, &output);
  if (!why.empty()) return why;

  const auto start = std::chrono::steady_clock::now();
  const Status status = RunOperators(pass, output);
  if (resources_.profile != nullptr) {
    const auto time = std::chrono::steady_clock::now() - start;
    Measure(pass, std::chrono::duration_cast<std::chrono::nanoseconds>(time).count());
  }
  return status == Status::kOk ? "" : StatusText(status);
}

void Partition::Measure(const Pass& pass, int64_t nanoseconds) const {
  int64_t macs = 0;
  size_t packed_bytes = 0;
  for (const Pass::Member& member : pass.members) {
    macs += steps_[member.runner].op->macs();
    packed_bytes += steps_[member.runner].op->packed_bytes();
  }
  resources_.profile->Add(steps_[pass.output()].match.name, KernelName(steps_, pass), macs,
                          static_cast<int64_t>(packed_bytes), nanoseconds);
}

}  // namespace dgms
