#include "tflite/partition.h"

#include <algorithm>
#include <chrono>
#include <set>

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
  const std::set<int> inputs(params.input_tensors->begin(), params.input_tensors->end());
  const std::set<int> outputs(params.output_tensors->begin(), params.output_tensors->end());
  std::map<int, int> computed;  // tensor -> step
  for (size_t i = 0; i < steps_.size(); ++i) {
    Step& step = steps_[i];
    for (int tensor : step.match.inputs) {
      const auto inside = computed.find(tensor);
      if (inside == computed.end() && inputs.count(tensor) == 0) {
        broken_ = Format("tensor %d is neither an input of its partition nor computed in it", tensor);
      }
      const bool own = inside != computed.end() && outputs.count(tensor) == 0;
      step.inputs.push_back({tensor, own ? inside->second : Place::kTensor});
    }
    step.own_output = outputs.count(step.match.output) == 0;
    step.pointers.resize(step.inputs.size());
    computed[step.match.output] = static_cast<int>(i);
  }
  for (int id : outputs) {
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
  for (Step& step : steps_) {
    const std::string why = PrepareStep(context, &step);
    if (!why.empty()) return Format("%s (output '%s')", why.c_str(), step.match.name.c_str());
  }
  FuseResiduals();
  return PlaceOutputs();
}

std::string Partition::PrepareStep(tfl::Context* context, Step* step) {
  step->input_dims.resize(step->inputs.size());
  for (size_t i = 0; i < step->inputs.size(); ++i) {
    const Place& place = step->inputs[i];
    if (place.step != Place::kTensor) {
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

// Whether input `input` of an ADD is a convolution's output that nobody else reads, of the sum's shape as the other
// summand is.
bool Partition::CanFuse(const Step& add, int input) const {
  const int producer = add.inputs[input].step;
  if (producer == Place::kTensor || steps_[producer].fused || !steps_[producer].op->AddsResidual()) return false;
  if (add.input_dims[0] != add.output_dims || add.input_dims[1] != add.output_dims) return false;  // broadcasting
  int readers = 0;
  for (const Step& step : steps_) {
    for (const Place& place : step.inputs) readers += place.step == producer ? 1 : 0;
  }
  return readers == 1;
}

void Partition::FuseResiduals() {
  for (Step& step : steps_) {
    step.fused = false;
    step.convolution = Place::kTensor;
  }
  for (Step& step : steps_) {
    const auto* weightless = step.match.weightless();
    const auto* binary = weightless == nullptr ? nullptr : std::get_if<BinaryParams>(weightless);
    if (binary == nullptr || binary->kind != BinaryKind::kAdd || binary->type != ElementType::kFloat32) continue;
    // The later of two convolutions: the other one is done by then.
    const int later = step.inputs[0].step > step.inputs[1].step ? 0 : 1;
    for (int input : {later, 1 - later}) {
      if (step.convolution != Place::kTensor || !CanFuse(step, input)) continue;
      step.convolution = step.inputs[input].step;
      step.residual = 1 - input;
      steps_[step.convolution].fused = true;
    }
  }
}

std::string Partition::PlaceOutputs() {
  std::vector<PlannedStep> planned;
  for (const Step& step : steps_) {
    PlannedStep entry;
    entry.planned = step.own_output && !step.fused;
    if (step.convolution != Place::kTensor) {
      entry.inputs = {steps_[step.convolution].inputs[0].step, step.inputs[step.residual].step};
    } else if (!step.fused) {
      for (size_t i = 0; i < step.inputs.size(); ++i) {
        entry.inputs.push_back(step.inputs[i].step);
        entry.in_place.push_back(step.op->RunsInPlace(static_cast<int>(i)));
      }
    }
    entry.copies = step.op->copies();
    if (!MapBytes(step.output_dims, ElementBytes(step.match.output_type), &entry.bytes)) {
      return "an intermediate map is too large";
    }
    planned.push_back(std::move(entry));
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
  for (Step& step : steps_) {
    const std::string why = RunStep(context, &step);
    if (!why.empty()) return Format("%s (output '%s')", why.c_str(), step.match.name.c_str());
  }
  return "";
}

std::string Partition::InputPointer(tfl::Context* context, const Step& step, size_t i, const void** pointer) const {
  const Place& place = step.inputs[i];
  if (place.step != Place::kTensor) {
    *pointer = resources_.scratch->maps.data() + steps_[place.step].offset;
    return "";
  }
  const tfl::Tensor* tensor = TensorOf(context, place.tensor);
  if (tensor == nullptr || !DimsEqual(tensor->dims, step.input_dims[i])) {
    return "the input's shape has changed since it was prepared";
  }
  *pointer = tensor->data;
  return tensor->data != nullptr ? "" : "a tensor has no memory";
}

Status Partition::RunOperator(Step* step, const void* residual, void* output) {
  if (step->convolution == Place::kTensor) return step->op->Run(step->pointers.data(), output, *resources_.pool);
  const Activation activation = std::get<BinaryParams>(*step->match.weightless()).activation;
  Step& convolution = steps_[step->convolution];
  return convolution.op->RunAdding(convolution.pointers.data(), residual, activation, output, *resources_.pool);
}

std::string Partition::RunStep(tfl::Context* context, Step* step) {
  int64_t output_bytes = 0;
  if (!MapBytes(step->output_dims, ElementBytes(step->match.output_type), &output_bytes)) return "it was not prepared";
  if (output_bytes == 0 || step->fused) return "";  // an empty batch; or it runs later
  const bool adds = step->convolution != Place::kTensor;
  Step& reader = adds ? steps_[step->convolution] : *step;
  std::string why;
  for (size_t i = 0; i < reader.inputs.size() && why.empty(); ++i) {
    why = InputPointer(context, reader, i, &reader.pointers[i]);
  }
  const void* residual = nullptr;
  if (adds && why.empty()) why = InputPointer(context, *step, static_cast<size_t>(step->residual), &residual);
  if (!why.empty()) return why;
  void* output = nullptr;
  if (step->own_output) {
    output = resources_.scratch->maps.data() + step->offset;
  } else {
    const tfl::Tensor* tensor = TensorOf(context, step->match.output);
    if (tensor == nullptr || tensor->bytes < static_cast<size_t>(output_bytes)) return "the output's shape has changed";
    output = tensor->data;
  }
  if (output == nullptr) return "a tensor has no memory";

  const auto start = std::chrono::steady_clock::now();
  const Status status = RunOperator(step, residual, output);
  if (resources_.profile != nullptr) {
    const auto time = std::chrono::steady_clock::now() - start;
    resources_.profile->Add(step->match.name, std::string(reader.op->kernel_name()) + (adds ? "+add" : ""),
                            reader.op->macs(), static_cast<int64_t>(reader.op->packed_bytes()),
                            std::chrono::duration_cast<std::chrono::nanoseconds>(time).count());
  }
  return status == Status::kOk ? "" : StatusText(status);
}

}  // namespace dgms
