#include "tflite/match_op.h"

#include <utility>

namespace dgms {
namespace {

bool IsPlain(const tfl::Tensor* tensor, tfl::Type type) {
  return tensor != nullptr && tensor->type == type && tensor->is_variable == 0 && tensor->sparsity == nullptr &&
         tensor->dims != nullptr;
}

bool IsActivationType(tfl::Type type) { return type == tfl::Type::kFloat32 || type == tfl::Type::kInt8; }

// The types of inputs and output, which must be plain tensors.
std::string ReadTypes(const Graph& graph, OpMatch* match) {
  const tfl::Tensor* output = graph.tensor(match->output);
  const tfl::Tensor* first = graph.tensor(match->inputs[0]);
  bool plain = first != nullptr && output != nullptr && IsActivationType(first->type) &&
               IsActivationType(output->type) && IsPlain(output, output->type);
  for (int input : match->inputs) plain = plain && IsPlain(graph.tensor(input), first->type);
  if (!plain) return "its inputs and output are not all plain float32 or plain int8";
  if (output->allocation_type == tfl::Allocation::kMmapRo) return "its output is a constant";
  match->input_type = first->type;
  match->output_type = output->type;
  return "";
}

}  // namespace

const std::vector<int>& OpMatch::chain() const {
  static const std::vector<int> none;
  return layer() == nullptr ? none : layer()->filter.nodes;
}

std::string MatchOp(const Graph& graph, int position, OpMatch* match) {
  const GraphNode& node = graph.node(position);
  *match = OpMatch();
  match->node = position;
  match->node_index = node.index;
  if (node.output_count() != 1) return "it has an unexpected number of inputs or outputs";
  match->output = node.output(0);
  match->name = graph.tensor_name(match->output);
  const bool is_layer = IsLayer(node);
  match->inputs = is_layer ? std::vector<int>{node.input(0)} : WeightlessInputs(node);
  if (match->inputs.empty()) return "the delegate does not have this operator, or not with so many inputs";
  std::string why = ReadTypes(graph, match);
  if (!why.empty()) return why;
  if (!is_layer) {
    WeightlessMatch weightless;
    why = MatchWeightless(graph, node, match->inputs, &weightless);
    match->parameters = std::move(weightless);
    return why;
  }
  if (match->input_type != match->output_type) return "its input and output are not of the same type";
  LayerMatch layer;
  why = MatchLayer(graph, node, match->input_type, &layer);
  match->parameters = std::move(layer);
  return why;
}

}  // namespace dgms
