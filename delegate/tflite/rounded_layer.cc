#include "tflite/rounded_layer.h"

#include <cmath>

#include "ops/int8_codebook.h"
#include "ops/quantization.h"
#include "ops/shapes.h"

namespace dgms {

bool RoundedLayer::Init(const CodebookFilter& filter) {
  const int64_t channels = match_.out_channels();
  values_.resize(match_.filter.codebooks.size());
  const float scale = RoundCodebooks(filter, channels, match_.kind == LayerKind::kDepthwiseConv2D, values_.data());
  if (scale == 0) return false;
  scales_.assign(static_cast<size_t>(channels), scale);
  for (int64_t c = 0; c < channels && filter.scale != nullptr; ++c) {
    scales_[c] = scale * filter.scale[c];
    if (!std::isfinite(scales_[c])) return false;
  }
  if (match_.int8_input && match_.int8_output) FindIntegers();
  return true;
}

bool RoundedLayer::Init(const DenseFilter& filter) {
  values_.resize(static_cast<size_t>(filter.count));
  scales_.resize(static_cast<size_t>(match_.out_channels()));
  if (!RoundChannels(filter, match_.out_channels(), values_.data(), scales_.data())) return false;
  if (match_.int8_input && match_.int8_output) FindIntegers();
  return true;
}

void RoundedLayer::FindIntegers() {
  constexpr double kMost = 1073741824.0;  // 2^30: of factors, and of biases so that sums do not overflow
  const Quantization& input = *match_.int8_input;
  const Quantization& output = *match_.int8_output;
  bool possible = QuantizedRange(match_.activation, output, &min_, &max_);
  for (size_t c = 0; c < scales_.size() && possible; ++c) {
    const double sum_scale = static_cast<double>(input.scale) * static_cast<double>(scales_[c]);
    const double factor = sum_scale / static_cast<double>(output.scale);
    const double bias = match_.bias == nullptr ? 0.0 : std::round(static_cast<double>(match_.bias[c]) / sum_scale);
    possible = factor > 0 && factor < kMost && std::fabs(bias) < kMost;
    if (!possible) break;
    factors_.push_back(factor);
    integer_bias_.push_back(static_cast<int32_t>(bias));
  }
  if (!possible) factors_.clear();
}

Int8LayerOutput RoundedLayer::Output(Requantization* integers, Dequantization* dynamic) const {
  if (!factors_.empty()) {
    integers->input_zero = match_.int8_input->zero;
    integers->bias = integer_bias_.data();
    integers->factor = factors_.data();
    integers->output_zero = match_.int8_output->zero;
    integers->min = min_;
    integers->max = max_;
    return {integers, nullptr};
  }
  dynamic->scale = scales_.data();
  dynamic->bias = match_.bias;
  dynamic->range = RangeOf(match_.activation);
  if (match_.int8_input) dynamic->input = &*match_.int8_input;
  if (match_.int8_output) dynamic->output = &*match_.int8_output;
  return {nullptr, dynamic};
}

}  // namespace dgms
