// Recognises the operators that the delegate can run: CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED on float32 or int8
// with a codebook filter.
#ifndef DGMS_TFLITE_MATCH_OP_H_
#define DGMS_TFLITE_MATCH_OP_H_

#include <string>
#include <vector>

#include "ops/filter.h"
#include "tflite/graph.h"
#include "tflite/match_filter.h"
#include "tflite/match_quantization.h"

namespace dgms {

enum class OpKind { kConv2D, kDepthwiseConv2D, kFullyConnected };

// Everything that is needed to build and run one operator, taken from the model. The filter's planes point into the
// model's memory; the rest is copied.
struct OpMatch {
  OpKind kind = OpKind::kConv2D;
  int node = -1;        // position in the plan
  int node_index = -1;  // the runtime's number
  int input = -1;       // tensors
  int output = -1;
  std::string name;                      // of the output tensor, for people
  tfl::Type type = tfl::Type::kFloat32;  // of input and output: kFloat32 or kInt8
  FilterMatch filter;
  std::vector<float> bias;         // float only; empty: none
  QuantizationMatch quantization;  // int8 only
  int stride_h = 1, stride_w = 1;
  int dilation_h = 1, dilation_w = 1;
  Padding padding = Padding::kValid;
  Activation activation = Activation::kNone;
  bool keep_num_dims = false;  // FULLY_CONNECTED

  int out_channels() const { return filter.shape[kind == OpKind::kDepthwiseConv2D ? 3 : 0]; }
};

// Whether the operator is one that `MatchOp` looks at.
bool IsCandidate(const GraphNode& node);

// Matches the candidate at `position` of the plan. Returns an empty string, or why it is left to the runtime.
std::string MatchOp(const Graph& graph, int position, OpMatch* match);

}  // namespace dgms

#endif  // DGMS_TFLITE_MATCH_OP_H_
