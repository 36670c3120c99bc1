// Recognises the operators with weights: CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED on float32 or int8 with a
// codebook filter or a plain one.
#ifndef DGMS_TFLITE_MATCH_LAYER_H_
#define DGMS_TFLITE_MATCH_LAYER_H_

#include <optional>
#include <string>
#include <vector>

#include "ops/filter.h"
#include "ops/quantization.h"
#include "tflite/graph.h"
#include "tflite/match_filter.h"
#include "tflite/match_quantization.h"

namespace dgms {

enum class LayerKind { kConv2D, kDepthwiseConv2D, kFullyConnected };

struct LayerMatch {
  LayerKind kind = LayerKind::kConv2D;
  FilterMatch filter;
  const float* bias = nullptr;     // float only; in the model's memory; null: none
  QuantizationMatch quantization;  // int8 only
  int stride_h = 1, stride_w = 1;
  int dilation_h = 1, dilation_w = 1;
  Padding padding = Padding::kValid;
  ExplicitPadding pads;  // of a PAD in front that it does itself (fold_pads.h)
  Activation activation = Activation::kNone;
  bool keep_num_dims = false;  // FULLY_CONNECTED

  // Of a float layer: the quantisation of an input and an output that are int8 all the same (keep_int8.h).
  std::optional<Quantization> int8_input, int8_output;
  bool stays_float = false;      // its weights cannot be rounded to int8
  float largest_output = -1.0f;  // LargestOutput, once it is known

  int out_channels() const { return filter.shape[kind == LayerKind::kDepthwiseConv2D ? 3 : 0]; }
};

// Whether the operator is one that `MatchLayer` looks at.
bool IsLayer(const GraphNode& node);

// Matches a layer whose input and output are plain tensors of type `type`. Returns an empty string, or why not.
std::string MatchLayer(const Graph& graph, const GraphNode& node, tfl::Type type, LayerMatch* match);

// Reads a fused activation; false if the delegate does not have it.
bool ReadActivation(tfl::Activation activation, Activation* result);

}  // namespace dgms

#endif  // DGMS_TFLITE_MATCH_LAYER_H_
