// Recognises the operators that the delegate can run.
#ifndef DGMS_TFLITE_MATCH_OP_H_
#define DGMS_TFLITE_MATCH_OP_H_

#include <string>
#include <variant>
#include <vector>

#include "tflite/graph.h"
#include "tflite/match_layer.h"
#include "tflite/match_weightless.h"

namespace dgms {

// Everything that is needed to build and run one operator, taken from the model. A filter's planes point into the
// model's memory; the rest is copied.
struct OpMatch {
  int node = -1;            // position in the plan
  int node_index = -1;      // the runtime's number
  std::vector<int> inputs;  // tensors that are read whenever it runs: activations, and constants that are not packed
  int output = -1;          // tensor
  std::vector<int> folded;  // positions of PADs that it takes the place of: its input is theirs
  std::string name;         // of the output tensor, for people
  tfl::Type input_type = tfl::Type::kFloat32;  // of all inputs: kFloat32 or kInt8
  tfl::Type output_type = tfl::Type::kFloat32;
  std::variant<LayerMatch, WeightlessMatch> parameters;

  const LayerMatch* layer() const { return std::get_if<LayerMatch>(&parameters); }                 // or null
  const WeightlessMatch* weightless() const { return std::get_if<WeightlessMatch>(&parameters); }  // or null
  // Whether it has a filter of indices and a codebook: what the delegate is for.
  bool has_codebook() const { return !chain().empty(); }
  // Positions in the plan of the operators that decode its filter.
  const std::vector<int>& chain() const;
};

// Matches the operator at `position` of the plan. Returns an empty string, or why it is left to the runtime.
std::string MatchOp(const Graph& graph, int position, OpMatch* match);

}  // namespace dgms

#endif  // DGMS_TFLITE_MATCH_OP_H_
