#include "tflite/match_layer.h"

#include <algorithm>
#include <cstdint>

namespace dgms {
namespace {

// Strides, dilations and padding: CONV_2D and DEPTHWISE_CONV_2D have the same fields at different places.
template <typename Params>
std::string ReadWindow(const GraphNode& node, LayerMatch* match) {
  const auto* params = node.params<Params>();
  if (params == nullptr) return "it has no parameters";
  if (params->stride_height <= 0 || params->stride_width <= 0) return "a stride is not positive";
  if (params->dilation_height <= 0 || params->dilation_width <= 0) return "a dilation is not positive";
  if (params->padding != tfl::Padding::kSame && params->padding != tfl::Padding::kValid) return "unknown padding";
  if (!ReadActivation(params->activation, &match->activation)) return "its fused activation is not supported";
  match->stride_h = params->stride_height;
  match->stride_w = params->stride_width;
  match->dilation_h = params->dilation_height;
  match->dilation_w = params->dilation_width;
  match->padding = params->padding == tfl::Padding::kSame ? Padding::kSame : Padding::kValid;
  return "";
}

std::string ReadFullyConnected(const GraphNode& node, LayerMatch* match) {
  const auto* params = node.params<tfl::FullyConnectedParams>();
  if (params == nullptr) return "it has no parameters";
  if (params->weights_format != 0) return "its weights are shuffled";
  if (params->asymmetric_quantize_inputs != 0) return "it quantises its inputs";
  if (!ReadActivation(params->activation, &match->activation)) return "its fused activation is not supported";
  match->keep_num_dims = params->keep_num_dims != 0;
  return "";
}

// The input as it is declared now. It may still change (the runtime propagates shapes later), so this only has to keep
// out what stock kernels refuse and what no later shape could make right.
std::string CheckInput(const tfl::IntArray& dims, const LayerMatch& match) {
  for (int dim : dims) {
    if (dim < 0) return "its input has a negative dimension";
  }
  const std::vector<int>& filter = match.filter.shape;
  switch (match.kind) {
    case LayerKind::kFullyConnected:
      return "";
    case LayerKind::kConv2D: {
      if (dims.size != 4) return "its input has not four dimensions";
      const int channels = dims.data()[3];
      if (channels <= 0 || channels % filter[3] != 0 || filter[0] % (channels / filter[3]) != 0) {
        return "its input's channels do not fit the filter's";
      }
      break;
    }
    case LayerKind::kDepthwiseConv2D: {
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

std::string CheckWindow(const LayerMatch& match) {
  if (match.kind == LayerKind::kFullyConnected) return "";
  const std::vector<int>& filter = match.filter.shape;
  const int64_t reach_h = (filter[1] - int64_t{1}) * match.dilation_h;
  const int64_t reach_w = (filter[2] - int64_t{1}) * match.dilation_w;
  return std::max(reach_h, reach_w) > kMaxReach ? "its dilated filter is very large" : "";
}

std::string ReadBias(const Graph& graph, int id, LayerMatch* match) {
  if (id == tfl::kOptionalTensor) return "";
  int64_t count = 0;
  const void* data = graph.ConstantData(id, tfl::Type::kFloat32, &count);
  if (data == nullptr) return "its bias is not a float constant";
  if (count != match->out_channels() || graph.tensor(id)->dims->size != 1) return "its bias has the wrong size";
  if (reinterpret_cast<uintptr_t>(data) % alignof(float) != 0) return "its bias is not aligned";
  match->bias = static_cast<const float*>(data);
  return "";
}

}  // namespace

bool ReadActivation(tfl::Activation activation, Activation* result) {
  switch (activation) {
    case tfl::Activation::kNone:
      *result = Activation::kNone;
      return true;
    case tfl::Activation::kRelu:
      *result = Activation::kRelu;
      return true;
    case tfl::Activation::kRelu6:
      *result = Activation::kRelu6;
      return true;
    case tfl::Activation::kReluN1To1:
      *result = Activation::kReluN1To1;
      return true;
  }
  return false;
}

bool IsLayer(const GraphNode& node) {
  return node.builtin == tfl::kBuiltinConv2d || node.builtin == tfl::kBuiltinDepthwiseConv2d ||
         node.builtin == tfl::kBuiltinFullyConnected;
}

std::string MatchLayer(const Graph& graph, const GraphNode& node, tfl::Type type, LayerMatch* match) {
  *match = LayerMatch();
  if (node.input_count() != 2 && node.input_count() != 3) return "it has an unexpected number of inputs or outputs";
  std::string why;
  int channel_axis = 0;
  switch (node.builtin) {
    case tfl::kBuiltinConv2d:
      match->kind = LayerKind::kConv2D;
      why = ReadWindow<tfl::ConvParams>(node, match);
      break;
    case tfl::kBuiltinDepthwiseConv2d:
      match->kind = LayerKind::kDepthwiseConv2D;
      channel_axis = 3;
      why = ReadWindow<tfl::DepthwiseConvParams>(node, match);
      break;
    default:
      match->kind = LayerKind::kFullyConnected;
      why = ReadFullyConnected(node, match);
      break;
  }
  const int rank = match->kind == LayerKind::kFullyConnected ? 2 : 4;
  const tfl::Tensor* filter = graph.tensor(node.input(1));
  if (why.empty()) {
    why = filter != nullptr && filter->allocation_type == tfl::Allocation::kMmapRo
              ? MatchPlainFilter(graph, node.input(1), rank, type, &match->filter)
              : MatchFilter(graph, node.input(1), channel_axis, rank, type, &match->filter);
  }
  if (why.empty()) why = CheckInput(*graph.tensor(node.input(0))->dims, *match);
  if (why.empty()) why = CheckWindow(*match);
  if (!why.empty() || type == tfl::Type::kFloat32) {
    return why.empty() ? ReadBias(graph, node.input(2), match) : why;
  }
  const QuantizedOp op = {node.input(0),
                          node.input(1),
                          node.input(2),
                          node.output(0),
                          match->out_channels(),
                          channel_axis,
                          match->kind == LayerKind::kFullyConnected,
                          match->activation};
  return MatchQuantization(graph, op, &match->quantization);
}

}  // namespace dgms
