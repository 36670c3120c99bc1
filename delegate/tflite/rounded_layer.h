// A float layer with its weights rounded to int8, and what its sums then become.
#ifndef DGMS_TFLITE_ROUNDED_LAYER_H_
#define DGMS_TFLITE_ROUNDED_LAYER_H_

#include <cstdint>
#include <vector>

#include "ops/filter.h"
#include "ops/int8_output.h"
#include "tflite/match_layer.h"

namespace dgms {

class RoundedLayer {
 public:
  explicit RoundedLayer(const LayerMatch& match) : match_(match) {}  // which outlives it

  // False if the weights cannot be rounded: then the layer stays float.
  bool Init(const CodebookFilter& filter);
  // The same of a plain filter of a depthwise layer.
  bool Init(const DenseFilter& filter);

  const int8_t* values() const { return values_.data(); }  // of the codebooks, or of the plain filter

  // How outputs are made of sums: as LayerMatch::int8_input and int8_output say, in integers alone where both maps are
  // int8 and that is possible. Views of the layer, which are put into one of the arguments.
  Int8LayerOutput Output(Requantization* integers, Dequantization* dynamic) const;

 private:
  void FindIntegers();

  const LayerMatch& match_;
  std::vector<int8_t> values_;
  std::vector<float> scales_;          // of each channel's weights
  std::vector<int32_t> integer_bias_;  // in units of the sums, between int8 maps
  std::vector<double> factors_;        // to the output's units; empty: not in integers alone
  int32_t min_ = -128, max_ = 127;     // of int8 outputs
};

}  // namespace dgms

#endif  // DGMS_TFLITE_ROUNDED_LAYER_H_
