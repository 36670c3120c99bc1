#include "tflite/build_ops.h"

#include <iterator>
#include <set>
#include <utility>

#include "tflite/keep_int8.h"

namespace dgms {
namespace {

// An operator that was built may have left the claim with another, whose decode chain it shares.
void DropUnclaimed(const Claim& claim, BuiltOps* built) {
  if (built->size() == claim.ops.size()) return;  // as nearly always: all of the claim are built
  std::set<int> claimed;
  for (const OpMatch& match : claim.ops) claimed.insert(match.node_index);
  for (auto op = built->begin(); op != built->end();) {
    op = claimed.count(op->first) == 0 ? built->erase(op) : std::next(op);
  }
}

}  // namespace

std::string BuildOps(const Graph& graph, const BuildSettings& settings, Claim* claim, BuiltOps* built) {
  // Operators whose activations' types change are built anew.
  const auto keep_int8 = [&] {
    if (!settings.dynamic_int8) return;
    for (const int node : KeepInt8(graph, *settings.kernels, claim)) built->erase(node);
  };
  keep_int8();
  for (size_t i = 0; i < claim->ops.size();) {
    OpMatch& match = claim->ops[i];
    if (built->count(match.node_index) != 0) {
      ++i;
      continue;
    }
    std::vector<Shape> dims;
    for (int input : match.inputs) dims.push_back(graph.dims(input));
    Status status = Status::kOk;
    std::unique_ptr<Operator> op = Operator::Create(match, dims, settings, &status);
    if (op != nullptr) {
      (*built)[match.node_index] = std::move(op);
      ++i;
    } else if (status == Status::kOutOfMemory) {
      return StatusText(status);
    } else {
      auto* layer = std::get_if<LayerMatch>(&match.parameters);
      if (layer != nullptr && (layer->int8_input || layer->int8_output)) {
        layer->stays_float = true;
      } else {
        DropOp(graph, i, "no kernel takes it", claim);
      }
      keep_int8();
      i = 0;
    }
  }
  DropUnclaimed(*claim, built);
  return "";
}

std::vector<ByteRange> CodesOf(const Claim& claim) {
  std::vector<ByteRange> ranges;
  for (const OpMatch& op : claim.ops) {
    const LayerMatch* layer = op.layer();
    if (layer == nullptr || layer->filter.format == nullptr) continue;
    for (int plane = 0; plane < layer->filter.format->plane_count; ++plane) {
      ranges.push_back({layer->filter.planes[plane], layer->filter.format->plane_bytes(plane, layer->filter.count)});
    }
  }
  return ranges;
}

}  // namespace dgms
