#include "tflite/match_weightless.h"

#include <algorithm>
#include <cstring>

#include "tflite/match_layer.h"
#include "tflite/match_quantization.h"

namespace dgms {
namespace {

// One operator under examination.
struct Subject {
  const Graph& graph;
  const GraphNode& node;
  const std::vector<int>& inputs;  // those that WeightlessInputs gave

  const tfl::Tensor& input(size_t i) const { return *graph.tensor(inputs[i]); }
  const tfl::Tensor& output() const { return *graph.tensor(node.output(0)); }
};

ElementType TypeOf(const tfl::Tensor& tensor) {
  return tensor.type == tfl::Type::kInt8 ? ElementType::kInt8 : ElementType::kFloat32;
}

constexpr char kTypesDiffer[] = "its inputs and output are not of the same type";
constexpr char kNoParameters[] = "it has no parameters";
constexpr char kActivation[] = "its fused activation is not supported";

// Input and output have one type, and where that is int8, quantisation that goes to *input and *output.
std::string ReadSameType(const Subject& subject, ElementType* type, Quantization* input, Quantization* output) {
  if (subject.input(0).type != subject.output().type) return kTypesDiffer;
  *type = TypeOf(subject.output());
  if (*type == ElementType::kFloat32) return "";
  const std::string why = ReadQuantization(subject.input(0), "input", input);
  return why.empty() ? ReadQuantization(subject.output(), "output", output) : why;
}

// A constant vector (or scalar) of int32; null if it is none.
const int32_t* ConstantInts(const Graph& graph, int id, int max_rank, int64_t* count) {
  const void* data = graph.ConstantData(id, tfl::Type::kInt32, count);
  return data != nullptr && graph.tensor(id)->dims->size <= max_rank ? static_cast<const int32_t*>(data) : nullptr;
}

std::string MatchBinary(const Subject& subject, WeightlessMatch* match) {
  const auto* params = subject.node.params<tfl::ElementwiseParams>();
  BinaryParams result;
  result.kind = subject.node.builtin == tfl::kBuiltinAdd   ? BinaryKind::kAdd
                : subject.node.builtin == tfl::kBuiltinSub ? BinaryKind::kSub
                                                           : BinaryKind::kMul;
  if (params == nullptr) return kNoParameters;
  if (!ReadActivation(params->activation, &result.activation)) return kActivation;
  std::string why = ReadSameType(subject, &result.type, &result.input[0], &result.output);
  if (why.empty() && result.type == ElementType::kInt8) {
    why = ReadQuantization(subject.input(1), "second input", &result.input[1]);
  }
  *match = result;
  return why;
}

std::string MatchUnary(const Subject& subject, WeightlessMatch* match) {
  UnaryParams result;
  switch (subject.node.builtin) {
    case tfl::kBuiltinRelu:
      result.function = UnaryFunction::kRelu;
      break;
    case tfl::kBuiltinRelu6:
      result.function = UnaryFunction::kRelu6;
      break;
    case tfl::kBuiltinReluN1To1:
      result.function = UnaryFunction::kReluN1To1;
      break;
    case tfl::kBuiltinHardSwish:
      result.function = UnaryFunction::kHardSwish;
      break;
    default:
      result.function = UnaryFunction::kLogistic;
      break;
  }
  const std::string why = ReadSameType(subject, &result.type, &result.input, &result.output);
  *match = result;
  return why;
}

// Windows that are larger than any map are better left to stock kernels.
constexpr int kMaxWindow = 4096;

std::string MatchPool(const Subject& subject, WeightlessMatch* match) {
  const auto* params = subject.node.params<tfl::PoolParams>();
  Pool2DParams result;
  Quantization output;
  if (params == nullptr) return kNoParameters;
  if (params->stride_height <= 0 || params->stride_width <= 0) return "a stride is not positive";
  if (params->filter_height <= 0 || params->filter_width <= 0) return "its window is empty";
  if (std::max(params->filter_height, params->filter_width) > kMaxWindow) return "its window is very large";
  if (params->padding != tfl::Padding::kSame && params->padding != tfl::Padding::kValid) return "unknown padding";
  if (!ReadActivation(params->activation, &result.activation)) return kActivation;
  const std::string why = ReadSameType(subject, &result.type, &result.quantization, &output);
  if (!why.empty()) return why;
  if (result.type == ElementType::kInt8 && !(result.quantization == output)) {
    return "its input and output are quantised differently";
  }
  result.kind = subject.node.builtin == tfl::kBuiltinMaxPool2d ? PoolKind::kMax : PoolKind::kAverage;
  result.kernel_h = params->filter_height;
  result.kernel_w = params->filter_width;
  result.stride_h = params->stride_height;
  result.stride_w = params->stride_width;
  result.padding = params->padding == tfl::Padding::kSame ? Padding::kSame : Padding::kValid;
  *match = result;
  return "";
}

std::string MatchMean(const Subject& subject, WeightlessMatch* match) {
  const auto* params = subject.node.params<tfl::ReducerParams>();
  MeanParams result;
  if (params == nullptr) return kNoParameters;
  const std::string why = ReadSameType(subject, &result.type, &result.input, &result.output);
  if (!why.empty()) return why;
  int64_t count = 0;
  const int32_t* axes = ConstantInts(subject.graph, subject.node.input(1), 1, &count);
  if (axes == nullptr || count > TensorShape::kMaxRank) return "its axes are not a short constant vector";
  result.axis_count = static_cast<int>(count);
  for (int64_t i = 0; i < count; ++i) std::memcpy(&result.axes[i], axes + i, sizeof(int32_t));
  result.keep_dims = params->keep_dims != 0;
  *match = result;
  return "";
}

// PADV2's value: of the output's quantisation.
std::string ReadPadValue(const Subject& subject, const Quantization& output, PadParams* result) {
  const int id = subject.node.input(2);
  int64_t count = 0;
  const void* data = subject.graph.QuantizedConstantData(id, subject.output().type, &count);
  if (data == nullptr || count != 1) return "its padding value is not a constant";
  if (result->type == ElementType::kFloat32) {
    std::memcpy(&result->float_value, data, sizeof(float));
    return "";
  }
  Quantization value;
  const std::string why = ReadQuantization(*subject.graph.tensor(id), "padding value", &value);
  if (!why.empty()) return why;
  if (!(value == output)) return "its padding value is quantised differently";
  std::memcpy(&result->int8_value, data, sizeof(int8_t));
  return "";
}

std::string MatchPad(const Subject& subject, WeightlessMatch* match) {
  PadParams result;
  Quantization input, output;
  std::string why = ReadSameType(subject, &result.type, &input, &output);
  if (!why.empty()) return why;
  if (result.type == ElementType::kInt8 && !(input == output)) return "its input and output are quantised differently";
  result.rank = subject.input(0).dims->size;
  if (result.rank < 1 || result.rank > TensorShape::kMaxRank) return "its input has an unexpected rank";
  int64_t count = 0;
  const int32_t* pads = ConstantInts(subject.graph, subject.node.input(1), 2, &count);
  if (pads == nullptr || !DimsEqual(subject.graph.tensor(subject.node.input(1))->dims, {result.rank, 2})) {
    return "its paddings are not a constant of two for each dimension";
  }
  for (int i = 0; i < result.rank; ++i) {
    int32_t pair[2];
    std::memcpy(pair, pads + 2 * i, sizeof(pair));
    if (pair[0] < 0 || pair[1] < 0) return "a padding is negative";
    result.before[i] = pair[0];
    result.after[i] = pair[1];
  }
  result.int8_value = static_cast<int8_t>(output.zero);
  if (subject.node.builtin == tfl::kBuiltinPadV2) why = ReadPadValue(subject, output, &result);
  *match = result;
  return why;
}

std::string MatchConcatenation(const Subject& subject, WeightlessMatch* match) {
  const auto* params = subject.node.params<tfl::ConcatenationParams>();
  dgms::ConcatenationParams result;
  if (params == nullptr) return kNoParameters;
  if (params->activation != tfl::Activation::kNone) return kActivation;
  if (subject.input(0).type != subject.output().type) return kTypesDiffer;
  result.type = TypeOf(subject.output());
  result.axis = params->axis;
  *match = result;
  if (result.type == ElementType::kFloat32) return "";
  Quantization output;
  std::string why = ReadQuantization(subject.output(), "output", &output);
  for (size_t i = 0; i < subject.inputs.size() && why.empty(); ++i) {
    Quantization input;
    why = ReadQuantization(subject.input(i), "input", &input);
    if (why.empty() && !(input == output)) why = "its inputs and output are quantised differently";
  }
  return why;
}

std::string MatchSoftmax(const Subject& subject, WeightlessMatch* match) {
  const auto* params = subject.node.params<tfl::SoftmaxParams>();
  dgms::SoftmaxParams result;
  if (params == nullptr) return kNoParameters;
  result.beta = params->beta;
  const std::string why = ReadSameType(subject, &result.type, &result.input, &result.output);
  *match = result;
  return why;
}

std::string MatchQuantize(const Subject& subject, WeightlessMatch* match) {
  QuantizeParams result;
  result.input_type = TypeOf(subject.input(0));
  result.output_type = TypeOf(subject.output());
  std::string why;
  if (result.input_type == ElementType::kInt8) why = ReadQuantization(subject.input(0), "input", &result.input);
  if (why.empty() && result.output_type == ElementType::kInt8) {
    why = ReadQuantization(subject.output(), "output", &result.output);
  }
  const bool dequantizes = subject.node.builtin == tfl::kBuiltinDequantize;
  if (dequantizes != (result.output_type == ElementType::kFloat32)) return "its output is not of the expected type";
  *match = result;
  return why;
}

// The new shape: the second input where it is a vector of int32, as the stock kernel has it, else the operator's own
// parameters.
std::string ReadNewShape(const Subject& subject, std::vector<int>* shape) {
  if (subject.node.input_count() == 2) {
    int64_t count = 0;
    const int32_t* values = ConstantInts(subject.graph, subject.node.input(1), 1, &count);
    if (values == nullptr || count > TensorShape::kMaxRank ||
        subject.graph.tensor(subject.node.input(1))->dims->size != 1) {
      return "its new shape is not a short constant vector";
    }
    shape->resize(static_cast<size_t>(count));
    if (count > 0) std::memcpy(shape->data(), values, static_cast<size_t>(count) * sizeof(int32_t));
  } else {
    const auto* params = subject.node.params<tfl::ReshapeParams>();
    if (params == nullptr || params->num_dimensions < 0 || params->num_dimensions > TensorShape::kMaxRank) {
      return "it has no constant shape";
    }
    shape->assign(params->shape, params->shape + params->num_dimensions);
  }
  const auto odd = std::count_if(shape->begin(), shape->end(), [](int dim) { return dim < 1 && dim != -1; });
  if (odd != 0 || shape->empty() || std::count(shape->begin(), shape->end(), -1) > 1) {
    return "its new shape has unusual dimensions";
  }
  return "";
}

std::string MatchReshape(const Subject& subject, WeightlessMatch* match) {
  ReshapeMatch result;
  if (subject.input(0).type != subject.output().type) return kTypesDiffer;
  result.type = TypeOf(subject.output());
  std::string why;
  if (subject.node.builtin == tfl::kBuiltinReshape) {
    why = ReadNewShape(subject, &result.values);
  } else if (subject.node.builtin == tfl::kBuiltinSqueeze) {
    result.kind = ReshapeMatch::Kind::kSqueeze;
    const auto* params = subject.node.params<tfl::SqueezeParams>();
    if (params == nullptr) return kNoParameters;
    if (params->num_squeeze_dims < 0 || params->num_squeeze_dims > 8) return "its dimensions are not 0 to 8";
    result.values.assign(params->squeeze_dims, params->squeeze_dims + params->num_squeeze_dims);
  } else {
    result.kind = ReshapeMatch::Kind::kExpandDims;
    int64_t count = 0;
    const int32_t* axis = ConstantInts(subject.graph, subject.node.input(1), 1, &count);
    if (axis == nullptr || count != 1) return "its axis is not a constant";
    result.values.resize(1);
    std::memcpy(result.values.data(), axis, sizeof(int32_t));
  }
  *match = result;
  return why;
}

bool NewShapeDims(const std::vector<int>& shape, const std::vector<int>& input, std::vector<int>* output) {
  int64_t total = 1, known = 1;
  for (int dim : input) {
    if (!MultiplyChecked(total, dim, &total)) return false;
  }
  for (int dim : shape) {
    if (dim != -1 && !MultiplyChecked(known, dim, &known)) return false;
  }
  *output = shape;
  const auto open = std::find(output->begin(), output->end(), -1);
  if (open == output->end()) return known == total;
  const int64_t rest = total / known;  // `known` is a product of positive numbers
  *open = static_cast<int>(rest);
  return rest * known == total && rest <= INT32_MAX;
}

bool SqueezedDims(const std::vector<int>& which, const std::vector<int>& input, std::vector<int>* output) {
  const int rank = static_cast<int>(input.size());
  std::vector<bool> gone(input.size(), false);
  for (int i = 0; i < rank; ++i) gone[i] = which.empty() && input[i] == 1;
  for (int dim : which) {
    const int i = dim < 0 ? dim + rank : dim;
    if (i < 0 || i >= rank || input[i] != 1) return false;
    gone[i] = true;
  }
  output->clear();
  for (int i = 0; i < rank; ++i) {
    if (!gone[i]) output->push_back(input[i]);
  }
  return true;
}

// All operators without weights that the delegate has. `activations` of an operator's inputs are activations, from the
// first on; kAll: as many as it has.
constexpr int kAll = -1;
struct Entry {
  int builtin;
  int min_inputs, max_inputs;
  int activations;
  std::string (*match)(const Subject& subject, WeightlessMatch* match);
};
constexpr Entry kEntries[] = {
    {tfl::kBuiltinAdd, 2, 2, 2, MatchBinary},
    {tfl::kBuiltinSub, 2, 2, 2, MatchBinary},
    {tfl::kBuiltinMul, 2, 2, 2, MatchBinary},
    {tfl::kBuiltinRelu, 1, 1, 1, MatchUnary},
    {tfl::kBuiltinRelu6, 1, 1, 1, MatchUnary},
    {tfl::kBuiltinReluN1To1, 1, 1, 1, MatchUnary},
    {tfl::kBuiltinHardSwish, 1, 1, 1, MatchUnary},
    {tfl::kBuiltinLogistic, 1, 1, 1, MatchUnary},
    {tfl::kBuiltinMaxPool2d, 1, 1, 1, MatchPool},
    {tfl::kBuiltinAveragePool2d, 1, 1, 1, MatchPool},
    {tfl::kBuiltinMean, 2, 2, 1, MatchMean},
    {tfl::kBuiltinPad, 2, 2, 1, MatchPad},
    {tfl::kBuiltinPadV2, 3, 3, 1, MatchPad},
    {tfl::kBuiltinConcatenation, 1, INT32_MAX, kAll, MatchConcatenation},
    {tfl::kBuiltinSoftmax, 1, 1, 1, MatchSoftmax},
    {tfl::kBuiltinQuantize, 1, 1, 1, MatchQuantize},
    {tfl::kBuiltinDequantize, 1, 1, 1, MatchQuantize},
    {tfl::kBuiltinReshape, 1, 2, 1, MatchReshape},
    {tfl::kBuiltinSqueeze, 1, 1, 1, MatchReshape},
    {tfl::kBuiltinExpandDims, 2, 2, 1, MatchReshape},
};

const Entry* Find(const GraphNode& node) {
  for (const Entry& entry : kEntries) {
    if (entry.builtin == node.builtin) return &entry;
  }
  return nullptr;
}

}  // namespace

std::vector<int> WeightlessInputs(const GraphNode& node) {
  const Entry* entry = Find(node);
  std::vector<int> inputs;
  if (entry == nullptr || node.input_count() < entry->min_inputs || node.input_count() > entry->max_inputs) return {};
  const int count = entry->activations == kAll ? node.input_count() : entry->activations;
  for (int i = 0; i < count; ++i) inputs.push_back(node.input(i));
  return inputs;
}

std::string MatchWeightless(const Graph& graph, const GraphNode& node, const std::vector<int>& inputs,
                            WeightlessMatch* match) {
  return Find(node)->match({graph, node, inputs}, match);
}

bool ReshapedDims(const ReshapeMatch& match, const std::vector<int>& input, std::vector<int>* output) {
  if (match.kind == ReshapeMatch::Kind::kReshape) return NewShapeDims(match.values, input, output);
  if (match.kind == ReshapeMatch::Kind::kSqueeze) return SqueezedDims(match.values, input, output);
  const int rank = static_cast<int>(input.size());
  const int axis = match.values[0] < 0 ? match.values[0] + rank + 1 : match.values[0];
  if (axis < 0 || axis > rank) return false;
  *output = input;
  output->insert(output->begin() + axis, 1);
  return true;
}

}  // namespace dgms
