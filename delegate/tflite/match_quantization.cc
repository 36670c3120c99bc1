#include "tflite/match_quantization.h"

#include <cmath>
#include <cstring>

namespace dgms {
namespace {

constexpr double kMaxFactor = 1073741824.0;  // 2^30: fixed-point kernels shift by less than 32 bits

bool UsableScale(float scale) { return std::isfinite(scale) && scale > 0; }

const tfl::AffineQuantization* Affine(const tfl::Tensor& tensor) {
  return tensor.quantization.type == tfl::kAffineQuantization
             ? static_cast<const tfl::AffineQuantization*>(tensor.quantization.params)
             : nullptr;
}

// The filter's scales, one or one per output channel.
std::string ReadFilterScales(const tfl::Tensor& tensor, const QuantizedOp& op, std::vector<float>* scales) {
  const tfl::AffineQuantization* affine = Affine(tensor);
  if (affine == nullptr || affine->scale == nullptr || affine->zero_point == nullptr) {
    return "its filter has no quantisation parameters";
  }
  const int count = affine->scale->size;
  if (count != 1 && (count != op.channels || affine->quantized_dimension != op.channel_axis)) {
    return "its filter's scales are neither one nor one per output channel";
  }
  if (affine->zero_point->size != 1 && affine->zero_point->size != count) {
    return "its filter has an unexpected number of zero points";
  }
  for (int zero : *affine->zero_point) {
    if (zero != 0) return "a zero point of its filter is not 0";
  }
  scales->assign(affine->scale->data(), affine->scale->data() + count);
  for (float scale : *scales) {
    if (!UsableScale(scale)) return "a scale of its filter is not positive and finite";
  }
  return "";
}

std::string ReadIntegerBias(const Graph& graph, const QuantizedOp& op, QuantizationMatch* match) {
  if (op.bias == tfl::kOptionalTensor) return "";
  int64_t count = 0;
  const void* data = graph.QuantizedConstantData(op.bias, tfl::Type::kInt32, &count);
  if (data == nullptr) return "its bias is not an int32 constant";
  const tfl::Tensor& bias = *graph.tensor(op.bias);
  if (count != op.channels || bias.dims->size != 1) return "its bias has the wrong size";
  if (const tfl::AffineQuantization* affine = Affine(bias)) {
    if (affine->zero_point == nullptr) return "its bias has no zero point";
    for (int zero : *affine->zero_point) {
      if (zero != 0) return "a zero point of its bias is not 0";
    }
  }
  match->bias.resize(static_cast<size_t>(count));
  std::memcpy(match->bias.data(), data, static_cast<size_t>(count) * sizeof(int32_t));
  return "";
}

}  // namespace

std::string ReadQuantization(const tfl::Tensor& tensor, const char* what, Quantization* result) {
  const tfl::AffineQuantization* affine = Affine(tensor);
  if (affine == nullptr || affine->scale == nullptr || affine->scale->size != 1 || affine->zero_point == nullptr ||
      affine->zero_point->size != 1) {
    return std::string("its ") + what + " is not quantised with one scale and zero point";
  }
  *result = {affine->scale->data()[0], affine->zero_point->data()[0]};
  if (!IsValid(*result) || tensor.params.scale != result->scale || tensor.params.zero_point != result->zero) {
    return std::string("its ") + what + " has an unusable scale or zero point";
  }
  return "";
}

std::string MatchQuantization(const Graph& graph, const QuantizedOp& op, QuantizationMatch* match) {
  Quantization input, output;
  std::string why = ReadQuantization(*graph.tensor(op.input), "input", &input);
  if (why.empty()) why = ReadQuantization(*graph.tensor(op.output), "output", &output);
  std::vector<float> scales;
  if (why.empty()) why = ReadFilterScales(*graph.tensor(op.filter), op, &scales);
  if (why.empty()) why = ReadIntegerBias(graph, op, match);
  if (!why.empty()) return why;

  match->input_zero = input.zero;
  match->output_zero = output.zero;
  match->factor.clear();
  for (float scale : scales) {
    const double product = static_cast<double>(input.scale) * static_cast<double>(scale);
    if (op.fully_connected && scales.size() == 1 && op.bias != tfl::kOptionalTensor) {
      // What stock kernels demand of a bias's scale, or else they refuse to run.
      const double difference = std::fabs(product - static_cast<double>(graph.tensor(op.bias)->params.scale));
      if (!(difference / static_cast<double>(output.scale) <= 0.02)) return "its bias has another scale than its sums";
    }
    match->factor.push_back(product / static_cast<double>(output.scale));
    if (!(match->factor.back() < kMaxFactor)) return "its output's scale is too small for its sums";
  }
  match->factor.resize(static_cast<size_t>(op.channels), match->factor[0]);
  if (!QuantizedRange(op.activation, output, &match->min, &match->max)) {
    return "its output's scale is too small for its fused activation";
  }
  return "";
}

}  // namespace dgms
