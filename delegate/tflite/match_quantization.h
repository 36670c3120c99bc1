// Reads what an int8 operator needs beside its filter: zero points, factors, bias and the range of its outputs.
#ifndef DGMS_TFLITE_MATCH_QUANTIZATION_H_
#define DGMS_TFLITE_MATCH_QUANTIZATION_H_

#include <string>
#include <vector>

#include "ops/shapes.h"
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
  ActivationRange activation;
};

// Returns an empty string, or what is missing or odd. The arithmetic is that of TFLite's kernels: factors are computed
// in double, the range of the fused activation in float.
std::string MatchQuantization(const Graph& graph, const QuantizedOp& op, QuantizationMatch* match);

}  // namespace dgms

#endif  // DGMS_TFLITE_MATCH_QUANTIZATION_H_
