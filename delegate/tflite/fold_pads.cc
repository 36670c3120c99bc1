#include "tflite/fold_pads.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <variant>

namespace dgms {
namespace {

// The PAD's parameters; null if `op` is none, or pads something else than lines and columns of maps.
const PadParams* SpatialPad(const OpMatch& op) {
  const auto* pad = op.weightless() == nullptr ? nullptr : std::get_if<PadParams>(op.weightless());
  if (pad == nullptr || pad->rank != 4) return nullptr;
  const bool maps = pad->before[0] == 0 && pad->after[0] == 0 && pad->before[3] == 0 && pad->after[3] == 0;
  return maps ? pad : nullptr;
}

ExplicitPadding PadsOf(const PadParams& pad) { return {pad.before[1], pad.after[1], pad.before[2], pad.after[2]}; }

bool AllFinite(const float* values, int64_t count) {
  return std::all_of(values, values + count, [](float value) { return std::isfinite(value); });
}

// A zero times a weight that is not finite is NaN; ops may leave out what they know to be zero.
bool HasFiniteWeights(const LayerMatch& layer, tfl::Type type) {
  if (type == tfl::Type::kInt8) return true;
  const FilterMatch& filter = layer.filter;
  return filter.values != nullptr ? AllFinite(static_cast<const float*>(filter.values), filter.count)
                                  : AllFinite(filter.codebooks.data(), static_cast<int64_t>(filter.codebooks.size())) &&
                                        AllFinite(filter.scale.data(), static_cast<int64_t>(filter.scale.size()));
}

// Beyond this a PAD is no margin of a convolution, and copies of its input would be all padding.
constexpr int64_t kMaxPad = 1024;

bool IsMargin(const PadParams& pad) {
  return std::max({pad.before[1], pad.after[1], pad.before[2], pad.after[2]}) <= kMaxPad;
}

bool FoldIntoLayer(const PadParams& pad, tfl::Type type, LayerMatch* layer) {
  if (layer->kind == LayerKind::kFullyConnected || !HasFiniteWeights(*layer, type)) return false;
  const bool zero = type == tfl::Type::kInt8 ? pad.int8_value == layer->quantization.input_zero
                                             : pad.float_value == 0.0f && !std::signbit(pad.float_value);
  if (zero) layer->pads = PadsOf(pad);
  return zero;
}

bool FoldIntoPool(const PadParams& pad, WeightlessMatch* match) {
  auto* pool = std::get_if<Pool2DParams>(match);
  if (pool == nullptr || pool->kind != PoolKind::kMax || pool->padding != Padding::kValid) return false;
  pool->pads = PadsOf(pad);
  pool->float_pad = pad.float_value;
  pool->int8_pad = pad.int8_value;
  return true;
}

bool Fold(const PadParams& pad, OpMatch* op) {
  if (auto* layer = std::get_if<LayerMatch>(&op->parameters)) return FoldIntoLayer(pad, op->input_type, layer);
  return FoldIntoPool(pad, std::get_if<WeightlessMatch>(&op->parameters));
}

// Whether the runtime will run both nodes (its numbers) in one partition.
bool Together(const std::vector<std::vector<int>>& partitions, int first, int second) {
  const auto has = [](const std::vector<int>& nodes, int node) {
    return std::find(nodes.begin(), nodes.end(), node) != nodes.end();
  };
  return std::any_of(partitions.begin(), partitions.end(),
                     [&](const std::vector<int>& nodes) { return has(nodes, first) && has(nodes, second); });
}

// The declared input is a map with something in it, as the operator behind the PAD demands of its own.
bool HasPixels(const Graph& graph, int tensor) {
  const std::vector<int> dims = graph.dims(tensor);
  return dims.size() == 4 && dims[1] > 0 && dims[2] > 0;
}

}  // namespace

void FoldPads(const Graph& graph, const std::vector<int>& nodes, std::vector<OpMatch>* ops) {
  std::vector<std::vector<int>> partitions;
  const bool any = std::any_of(ops->begin(), ops->end(), [](const OpMatch& op) { return SpatialPad(op) != nullptr; });
  if (!any || !graph.Partitions(nodes, &partitions)) return;
  std::vector<bool> gone(ops->size(), false);
  for (size_t i = 0; i < ops->size(); ++i) {
    const OpMatch& pad_op = (*ops)[i];
    const PadParams* pad = SpatialPad(pad_op);
    if (pad == nullptr || !IsMargin(*pad) || graph.is_graph_output(pad_op.output)) continue;
    if (!HasPixels(graph, pad_op.inputs[0])) continue;
    const IntSpan readers = graph.consumers(pad_op.output);
    if (readers.size() != 1) continue;
    const auto reader =
        std::find_if(ops->begin(), ops->end(), [&](const OpMatch& op) { return op.node == readers[0]; });
    if (reader == ops->end() || reader->inputs != std::vector<int>{pad_op.output}) continue;
    if (!Together(partitions, pad_op.node_index, reader->node_index) || !Fold(*pad, &*reader)) continue;
    reader->inputs = pad_op.inputs;
    reader->folded.push_back(pad_op.node);
    gone[i] = true;
  }
  std::vector<OpMatch> kept;
  for (size_t i = 0; i < ops->size(); ++i) {
    if (!gone[i]) kept.push_back(std::move((*ops)[i]));
  }
  *ops = std::move(kept);
}

}  // namespace dgms
