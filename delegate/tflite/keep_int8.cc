#include "tflite/keep_int8.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "ops/int8_codebook.h"
#include "ops/shapes.h"
#include "tflite/operator.h"
#include "tflite/widened_filter.h"

namespace dgms {
namespace {

// Of a layer that may read and write such maps; else null. (Only layers of int8 models have factors.)
LayerMatch* Int8Layer(const KernelSet& kernels, OpMatch* op) {
  auto* layer = std::get_if<LayerMatch>(&op->parameters);
  if (layer == nullptr || layer->stays_float || !layer->quantization.factor.empty()) return nullptr;
  const bool can = layer->kind == LayerKind::kDepthwiseConv2D ? PaysInInt8(*layer, kernels)
                                                              : layer->kind == LayerKind::kConv2D && op->has_codebook();
  return can ? layer : nullptr;
}

// LargestOutput of its weights; below 0: they cannot be read.
float LargestOutputOf(const LayerMatch& layer) {
  if (layer.filter.values != nullptr) {
    const DenseFilter filter = {static_cast<const float*>(layer.filter.values), layer.filter.count};
    return LargestOutput(filter, layer.out_channels(), layer.bias);
  }
  WidenedFilter filter;
  if (filter.Init(layer.filter) != Status::kOk) return -1;
  return LargestOutput(filter.AsFloat(), layer.out_channels(), layer.kind == LayerKind::kDepthwiseConv2D, layer.bias);
}

// Whether a map has one position in each image, as in squeeze-and-excitation: its values may be far below the bound
// (means of whole maps are), and making it anew costs nothing.
bool HasOnePosition(const std::vector<int>& dims) { return dims.size() == 4 && dims[1] == 1 && dims[2] == 1; }

// Whether outputs become large enough for 8 bits over the activation's whole range to be fine enough: a quarter of it,
// on inputs of size 1. Weights that were trained with a normalisation behind them make outputs of about that size by
// themselves, and reach far more; under weights that do not, maps vanish that a measured range would save.
bool FillsRange(LayerMatch* layer) {
  constexpr float kShare = 0.25f;
  if (layer->largest_output < 0) layer->largest_output = LargestOutputOf(*layer);
  return layer->largest_output >= kShare * RangeOf(layer->activation).max;
}

class Keeper {
 public:
  Keeper(const Graph& graph, const KernelSet& kernels, Claim* claim)
      : graph_(graph), kernels_(kernels), ops_(claim->ops) {
    std::map<int, int> partition_of;  // by the runtime's numbers
    std::vector<std::vector<int>> partitions;
    if (graph.Partitions(ClaimedNodes(graph, *claim), &partitions)) {
      for (size_t i = 0; i < partitions.size(); ++i) {
        for (int node : partitions[i]) partition_of[node] = static_cast<int>(i);
      }
    }
    for (size_t i = 0; i < ops_.size(); ++i) {
      op_at_[ops_[i].node] = i;
      for (int pad : ops_[i].folded) op_at_[pad] = i;
      const auto found = partition_of.find(ops_[i].node_index);
      partition_.push_back(found == partition_of.end() ? kNone : found->second);
    }
  }

  std::vector<int> Run() {
    std::map<int, Quantization> kept;  // tensors
    for (size_t i = 0; i < ops_.size(); ++i) {
      Quantization quantization;
      if (CanKeep(i, &quantization)) kept[ops_[i].output] = quantization;
    }
    DropHalfDepthwise(&kept);
    std::vector<int> changed;
    for (OpMatch& op : ops_) {
      const auto types = std::make_pair(op.input_type, op.output_type);
      Mark(kept, &op);
      if (types != std::make_pair(op.input_type, op.output_type)) changed.push_back(op.node_index);
    }
    return changed;
  }

 private:
  static constexpr int kNone = -1;

  // Whether the output of ops_[i] may be kept, as far as its readers are no depthwise layers.
  bool CanKeep(size_t i, Quantization* quantization) {
    LayerMatch* layer = Int8Layer(kernels_, &ops_[i]);
    const int tensor = ops_[i].output;
    if (layer == nullptr || partition_[i] == kNone || graph_.is_graph_output(tensor)) return false;
    if (!QuantizationOf(layer->activation, quantization) || HasOnePosition(graph_.dims(tensor))) return false;
    const IntSpan readers = graph_.consumers(tensor);
    const bool all_read = std::all_of(readers.begin(), readers.end(), [&](int position) {
      const auto found = op_at_.find(position);
      if (found == op_at_.end() || partition_[found->second] != partition_[i]) return false;
      OpMatch& op = ops_[found->second];
      const LayerMatch* reader = Int8Layer(kernels_, &op);
      return reader != nullptr && op.inputs[0] == tensor;
    });
    return !readers.empty() && all_read && FillsRange(layer);
  }

  void DropHalfDepthwise(std::map<int, Quantization>* kept) {
    for (bool dropped = true; dropped;) {
      dropped = false;
      for (const OpMatch& op : ops_) {
        const LayerMatch* layer = op.layer();
        if (layer == nullptr || layer->kind != LayerKind::kDepthwiseConv2D) continue;
        const bool reads = kept->count(op.inputs[0]) != 0, writes = kept->count(op.output) != 0;
        if (reads == writes) continue;
        kept->erase(reads ? op.inputs[0] : op.output);
        dropped = true;
      }
    }
  }

  static void Mark(const std::map<int, Quantization>& kept, OpMatch* op) {
    auto* layer = std::get_if<LayerMatch>(&op->parameters);
    if (layer == nullptr || !layer->quantization.factor.empty()) return;
    const auto mark = [&kept](int tensor, std::optional<Quantization>* quantization, tfl::Type* type) {
      const auto found = kept.find(tensor);
      *quantization = found == kept.end() ? std::nullopt : std::optional<Quantization>(found->second);
      *type = found == kept.end() ? tfl::Type::kFloat32 : tfl::Type::kInt8;
    };
    mark(op->inputs[0], &layer->int8_input, &op->input_type);
    mark(op->output, &layer->int8_output, &op->output_type);
  }

  const Graph& graph_;
  const KernelSet& kernels_;
  std::vector<OpMatch>& ops_;
  std::map<int, size_t> op_at_;  // by position in the plan
  std::vector<int> partition_;   // of each operator
};

}  // namespace

std::vector<int> KeepInt8(const Graph& graph, const KernelSet& kernels, Claim* claim) {
  return Keeper(graph, kernels, claim).Run();
}

}  // namespace dgms
