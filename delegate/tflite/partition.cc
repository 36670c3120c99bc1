#include "tflite/partition.h"

#include <algorithm>
#include <chrono>
#include <set>

#include "tflite/graph.h"
#include "tflite/log.h"

namespace dgms {
namespace {

constexpr int64_t kMemoryUnit = 64;  // bytes: own maps begin at a cache line

int64_t ElementBytes(const OpMatch& match) { return match.type == tfl::Type::kInt8 ? 1 : sizeof(float); }

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
  const std::set<int> inputs(params.input_tensors->begin(), params.input_tensors->end());
  const std::set<int> outputs(params.output_tensors->begin(), params.output_tensors->end());
  std::set<int> computed;
  for (Step& step : steps_) {
    step.input.tensor = step.match.input;
    step.output.tensor = step.match.output;
    const bool inside = computed.count(step.match.input) != 0;
    if (!inside && inputs.count(step.match.input) == 0) {
      broken_ = Format("tensor %d is neither an input of its partition nor computed in it", step.match.input);
    }
    step.input.own = inside && outputs.count(step.match.input) == 0;
    step.output.own = outputs.count(step.match.output) == 0;
    computed.insert(step.match.output);
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
  return PlanMemory();
}

std::string Partition::PrepareStep(tfl::Context* context, Step* step) {
  if (step->input.own) {
    for (const Step& earlier : steps_) {
      if (earlier.match.output == step->match.input) step->input_dims = earlier.output_dims;
    }
  } else {
    const tfl::Tensor* input = TensorOf(context, step->input.tensor);
    if (input == nullptr || input->dims == nullptr || input->type != step->match.type) {
      return "the input is not of the type that was claimed";
    }
    step->input_dims.assign(input->dims->begin(), input->dims->end());
  }
  if (!step->op->Fits(step->input_dims)) {
    // The number of channels became known, or changed, only now: other groups, so other packed weights.
    Status status = Status::kOk;
    std::unique_ptr<CodebookOp> op =
        CodebookOp::Create(step->match, step->input_dims, *resources_.kernels, resources_.dynamic_int8, &status);
    if (op == nullptr && status == Status::kOutOfMemory) return StatusText(status);
    if (op != nullptr) step->op = std::move(op);  // else Reshape says what is wrong
  }
  const std::string why = step->op->Reshape(step->input_dims, &resources_.scratch->workspace, &step->output_dims);
  if (!why.empty()) return why;
  if (step->output.own) return "";
  return Resize(context, step->output.tensor, step->output_dims, ElementBytes(step->match));
}

// Places the activations that only this partition sees: each at the lowest address that is free from the step that
// computes it to the last step that reads it.
std::string Partition::PlanMemory() {
  struct Block {
    int64_t begin, end;
    size_t last_use;
  };
  std::vector<Block> blocks;  // in use, by address
  int64_t total = 0;
  for (size_t i = 0; i < steps_.size(); ++i) {
    blocks.erase(std::remove_if(blocks.begin(), blocks.end(), [i](const Block& b) { return b.last_use < i; }),
                 blocks.end());
    Step& step = steps_[i];
    if (!step.output.own) continue;
    int64_t size = 0;
    if (!MapBytes(step.output_dims, ElementBytes(step.match), &size)) return "an intermediate map is too large";
    size = (size + kMemoryUnit - 1) / kMemoryUnit * kMemoryUnit;
    Block block = {0, 0, i};
    auto position = blocks.begin();
    for (; position != blocks.end() && position->begin - block.begin < size; ++position) block.begin = position->end;
    if (__builtin_add_overflow(block.begin, size, &block.end)) return "the intermediate maps are too large";
    for (size_t j = i + 1; j < steps_.size(); ++j) {
      if (steps_[j].match.input == step.match.output) {
        steps_[j].input.offset = block.begin;
        block.last_use = j;
      }
    }
    step.output.offset = block.begin;
    blocks.insert(position, block);
    total = std::max(total, block.end);
  }
  return resources_.scratch->maps.Reserve(total) ? "" : StatusText(Status::kOutOfMemory);
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

std::string Partition::RunStep(tfl::Context* context, Step* step) {
  int64_t output_bytes = 0;
  if (!MapBytes(step->output_dims, ElementBytes(step->match), &output_bytes)) return "it was not prepared";
  if (output_bytes == 0) return "";  // an empty batch
  const void* input = nullptr;
  void* output = nullptr;
  if (step->input.own) {
    input = resources_.scratch->maps.data() + step->input.offset;
  } else {
    const tfl::Tensor* tensor = TensorOf(context, step->input.tensor);
    if (tensor == nullptr || !DimsEqual(tensor->dims, step->input_dims)) {
      return "the input's shape has changed since it was prepared";
    }
    input = tensor->data;
  }
  if (step->output.own) {
    output = resources_.scratch->maps.data() + step->output.offset;
  } else {
    const tfl::Tensor* tensor = TensorOf(context, step->output.tensor);
    if (tensor == nullptr || tensor->bytes < static_cast<size_t>(output_bytes)) return "the output's shape has changed";
    output = tensor->data;
  }
  if (input == nullptr || output == nullptr) return "a tensor has no memory";

  if (resources_.profile == nullptr) {
    const Status status = step->op->Run(input, output, *resources_.pool);
    return status == Status::kOk ? "" : StatusText(status);
  }
  const auto start = std::chrono::steady_clock::now();
  const Status status = step->op->Run(input, output, *resources_.pool);
  const auto time = std::chrono::steady_clock::now() - start;
  resources_.profile->Add(step->match.name, step->op->kernel_name(), step->op->macs(),
                          static_cast<int64_t>(step->op->packed_bytes()),
                          std::chrono::duration_cast<std::chrono::nanoseconds>(time).count());
  return status == Status::kOk ? "" : StatusText(status);
}

}  // namespace dgms
