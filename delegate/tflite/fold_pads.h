// PADs that the operator behind them does itself: a map is then read where it is instead of being copied into a larger
// one first.
#ifndef DGMS_TFLITE_FOLD_PADS_H_
#define DGMS_TFLITE_FOLD_PADS_H_

#include <vector>

#include "tflite/graph.h"
#include "tflite/match_op.h"

namespace dgms {

// Takes each PAD of `ops` out that only one other operator of the same partition reads and that this one can do:
//   CONV_2D, DEPTHWISE_CONV_2D   lines and columns of zeros (int8: of the input's zero point)
//   MAX_POOL_2D, padding VALID   lines and columns of any value
// The operator gets the PAD's input and its paddings.
//   nodes   the runtime's numbers of all nodes of the claim, by which it says how the graph will be cut
void FoldPads(const Graph& graph, const std::vector<int>& nodes, std::vector<OpMatch>* ops);

}  // namespace dgms

#endif  // DGMS_TFLITE_FOLD_PADS_H_
