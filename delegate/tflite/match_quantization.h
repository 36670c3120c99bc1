// Reads what an int8 operator needs beside its filter: zero points, factors, bias and the range of its outputs.
#ifndef DGMS_TFLITE_MATCH_QUANTIZATION_H_
#define DGMS_TFLITE_MATCH_QUANTIZATION_H_

#include <string>
#include <vector>

#include "ops/filter.h"
#include "ops/quantization.h"
#include "tflite/graph.h"

namespace dgms {

struct QuantizationMatch {
  int32_t input_zero = 0, output_zero = 0;
  std::vector<double> factor;     // one per output channel: input scale * filter scale / output scale
  std::vector<int32_t> bias;      // empty: none
  int32_t min = -128, max = 127;  // of the outputs
};

// What the caller has found out already.
struct QuantizedOp {
  int input, filter, bias, output;  // tensors; the bias may be kOptionalTensor
  int channels;                     // output channels
  int channel_axis;                 // of the filter's shape
  bool fully_connected;
  Activation activation;
};

// Of an int8 activation: one scale, one zero point, and the older description, which stock kernels read, says the same.
// Returns an empty string, or what is missing or odd; `what` names the tensor: "input".
std::string ReadQuantization(const tfl::Tensor& tensor, const char* what, Quantization* result);

// Returns an empty string, or what is missing or odd. The arithmetic is that of TFLite's kernels: factors are computed
// in double, the range of the fused activation in float.
std::string MatchQuantization(const Graph& graph, const QuantizedOp& op, QuantizationMatch* match);

}  // namespace dgms

#endif  // DGMS_TFLITE_MATCH_QUANTIZATION_H_
