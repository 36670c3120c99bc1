#include "tflite/match_op.h"

#include <algorithm>
#include <cstring>

namespace dgms {
namespace {

bool SetActivation(tfl::Activation activation, OpMatch* match) {
  switch (activation) {
    case tfl::Activation::kNone:
      match->activation = Activation::kNone;
      return true;
    case tfl::Activation::kRelu:
      match->activation = Activation::kRelu;
      return true;
    case tfl::Activation::kRelu6:
      match->activation = Activation::kRelu6;
      return true;
    case tfl::Activation::kReluN1To1:
      match->activation = Activation::kReluN1To1;
      return true;
  }
  return false;
}

// Strides, dilations and padding: CONV_2D and DEPTHWISE_CONV_2D have the same fields at different places.
template <typename Params>
std::string ReadWindow(const GraphNode& node, OpMatch* match) {
  const auto* params = node.params<Params>();
  if (params == nullptr) return "it has no parameters";
  if (params->stride_height <= 0 || params->stride_width <= 0) return "a stride is not positive";
  if (params->dilation_height <= 0 || params->dilation_width <= 0) return "a dilation is not positive";
  if (params->padding != tfl::Padding::kSame && params->padding != tfl::Padding::kValid) return "unknown padding";
  if (!SetActivation(params->activation, match)) return "its fused activation is not supported";
  match->stride_h = params->stride_height;
  match->stride_w = params->stride_width;
  match->dilation_h = params->dilation_height;
  match->dilation_w = params->dilation_width;
  match->padding = params->padding == tfl::Padding::kSame ? Padding::kSame : Padding::kValid;
  return "";
}

std::string ReadFullyConnected(const GraphNode& node, OpMatch* match) {
  const auto* params = node.params<tfl::FullyConnectedParams>();
  if (params == nullptr) return "it has no parameters";
  if (params->weights_format != 0) return "its weights are shuffled";
  if (params->asymmetric_quantize_inputs != 0) return "it quantises its inputs";
  if (!SetActivation(params->activation, match)) return "its fused activation is not supported";
  match->keep_num_dims = params->keep_num_dims != 0;
  return "";
}

bool IsPlain(const tfl::Tensor* tensor, tfl::Type type) {
  return tensor != nullptr && tensor->type == type && tensor->is_variable == 0 && tensor->sparsity == nullptr &&
         tensor->dims != nullptr;
}

// The input as it is declared now. It may still change (the runtime propagates shapes later), so this only has to keep
// out what stock kernels refuse and what no later shape could make right.
std::string CheckInput(const tfl::IntArray& dims, const OpMatch& match) {
  for (int dim : dims) {
    if (dim < 0) return "its input has a negative dimension";
  }
  const std::vector<int>& filter = match.filter.shape;
  switch (match.kind) {
    case OpKind::kFullyConnected:
      return "";
    case OpKind::kConv2D: {
      if (dims.size != 4) return "its input has not four dimensions";
      const int channels = dims.data()[3];
      if (channels <= 0 || channels % filter[3] != 0 || filter[0] % (channels / filter[3]) != 0) {
        return "its input's channels do not fit the filter's";
      }
      break;
    }
    case OpKind::kDepthwiseConv2D: {
      if (dims.size != 4) return "its input has not four dimensions";
      if (filter[0] != 1) return "its filter's first dimension is not 1";
      const int channels = dims.data()[3];
      if (channels <= 0 || filter[3] % channels != 0) return "its input's channels do not fit the filter's";
      break;
    }
  }
  if (dims.data()[1] <= 0 || dims.data()[2] <= 0) return "its input is empty";  // an empty batch is fine
  return "";
}

// The ops copy what lies under the whole dilated window; stock kernels skip taps outside of the map. Windows that reach
// further than any real network's are better left to those.
constexpr int64_t kMaxReach = 1024;

std::string CheckWindow(const OpMatch& match) {
  if (match.kind == OpKind::kFullyConnected) return "";
  const std::vector<int>& filter = match.filter.shape;
  const int64_t reach_h = (filter[1] - int64_t{1}) * match.dilation_h;
  const int64_t reach_w = (filter[2] - int64_t{1}) * match.dilation_w;
  return std::max(reach_h, reach_w) > kMaxReach ? "its dilated filter is very large" : "";
}

std::string ReadBias(const Graph& graph, int id, OpMatch* match) {
  if (id == tfl::kOptionalTensor) return "";
  int64_t count = 0;
  const void* data = graph.ConstantData(id, tfl::Type::kFloat32, &count);
  if (data == nullptr) return "its bias is not a float constant";
  if (count != match->out_channels() || graph.tensor(id)->dims->size != 1) return "its bias has the wrong size";
  match->bias.resize(static_cast<size_t>(count));
  std::memcpy(match->bias.data(), data, static_cast<size_t>(count) * sizeof(float));
  return "";
}

}  // namespace

bool IsCandidate(const GraphNode& node) {
  return node.builtin == tfl::kBuiltinConv2d || node.builtin == tfl::kBuiltinDepthwiseConv2d ||
         node.builtin == tfl::kBuiltinFullyConnected;
}

std::string MatchOp(const Graph& graph, int position, OpMatch* match) {
  const GraphNode& node = graph.node(position);
  *match = OpMatch();
  match->node = position;
  match->node_index = node.index;
  if ((node.input_count() != 2 && node.input_count() != 3) || node.output_count() != 1) {
    return "it has an unexpected number of inputs or outputs";
  }
  match->input = node.input(0);
  match->output = node.output(0);
  match->name = graph.tensor_name(match->output);
  const tfl::Tensor* input = graph.tensor(match->input);
  const tfl::Tensor* output = graph.tensor(match->output);
  match->type = input != nullptr && input->type == tfl::Type::kInt8 ? tfl::Type::kInt8 : tfl::Type::kFloat32;
  if (!IsPlain(input, match->type) || !IsPlain(output, match->type)) {
    return "its input and output are neither plain float32 nor plain int8";
  }
  if (output->allocation_type == tfl::Allocation::kMmapRo) return "its output is a constant";

  std::string why;
  int channel_axis = 0;
  switch (node.builtin) {
    case tfl::kBuiltinConv2d:
      match->kind = OpKind::kConv2D;
      why = ReadWindow<tfl::ConvParams>(node, match);
      break;
    case tfl::kBuiltinDepthwiseConv2d:
      match->kind = OpKind::kDepthwiseConv2D;
      channel_axis = 3;
      why = ReadWindow<tfl::DepthwiseConvParams>(node, match);
      break;
    case tfl::kBuiltinFullyConnected:
      match->kind = OpKind::kFullyConnected;
      why = ReadFullyConnected(node, match);
      break;
    default:
      return "it is no operator that the delegate knows";
  }
  const int rank = match->kind == OpKind::kFullyConnected ? 2 : 4;
  if (why.empty()) why = MatchFilter(graph, node.input(1), channel_axis, rank, match->type, &match->filter);
  if (why.empty()) why = CheckInput(*input->dims, *match);
  if (why.empty()) why = CheckWindow(*match);
  if (!why.empty() || match->type == tfl::Type::kFloat32) {
    return why.empty() ? ReadBias(graph, node.input(2), match) : why;
  }
  const QuantizedOp op = {match->input,
                          node.input(1),
                          node.input(2),
                          match->output,
                          match->out_channels(),
                          channel_axis,
                          match->kind == OpKind::kFullyConnected,
                          RangeOf(match->activation)};
  return MatchQuantization(graph, op, &match->quantization);
}

}  // namespace dgms
