// Recognises the operators without weights, on float32 and int8.
#ifndef DGMS_TFLITE_MATCH_WEIGHTLESS_H_
#define DGMS_TFLITE_MATCH_WEIGHTLESS_H_

#include <string>
#include <variant>
#include <vector>

#include "ops/binary.h"
#include "ops/concatenation.h"
#include "ops/mean.h"
#include "ops/pad.h"
#include "ops/pool2d.h"
#include "ops/quantize.h"
#include "ops/softmax.h"
#include "ops/unary.h"
#include "tflite/graph.h"

namespace dgms {

// RESHAPE, SQUEEZE and EXPAND_DIMS: the values stay, the shape changes.
struct ReshapeMatch {
  enum class Kind { kReshape, kSqueeze, kExpandDims };
  Kind kind = Kind::kReshape;
  ElementType type = ElementType::kFloat32;
  // kReshape: the new shape, one dimension of it may be -1 (what is left); kSqueeze: the dimensions to leave out, or
  // none: all of size 1; kExpandDims: where to put a dimension of 1. The last two may count from the end.
  std::vector<int> values;
};

// The shape of the output; false if the input does not fit.
bool ReshapedDims(const ReshapeMatch& match, const std::vector<int>& input, std::vector<int>* output);

using WeightlessMatch = std::variant<BinaryParams, UnaryParams, Pool2DParams, MeanParams, PadParams,
                                     ConcatenationParams, SoftmaxParams, QuantizeParams, ReshapeMatch>;

// The inputs of the operator that are activations (or constants in their place): the others are read now and never
// again. Empty if the delegate does not have the operator.
std::vector<int> WeightlessInputs(const GraphNode& node);

// Matches an operator for which WeightlessInputs gave `inputs`; these and the output are known to be plain tensors of
// float32 or int8, all inputs of the same. Returns an empty string, or why not.
std::string MatchWeightless(const Graph& graph, const GraphNode& node, const std::vector<int>& inputs,
                            WeightlessMatch* match);

}  // namespace dgms

#endif  // DGMS_TFLITE_MATCH_WEIGHTLESS_H_
