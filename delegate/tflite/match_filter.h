// Recognises the decode chains of FORMAT.md (sections 3.1 to 3.5) behind a filter tensor, and plain constant filters.
#ifndef DGMS_TFLITE_MATCH_FILTER_H_
#define DGMS_TFLITE_MATCH_FILTER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "format/packed_codes.h"
#include "tflite/graph.h"

namespace dgms {

// A filter as its chain describes it, computed from the chain's constants alone; or a plain one.
struct FilterMatch {
  const void* values = nullptr;  // of a plain filter, in the model's memory; null: it has a chain
  std::vector<int> nodes;        // positions in the plan of the chain's operators, the last one first
  std::vector<int> shape;        // of the filter: all dims > 0
  const CodeFormat* format = nullptr;
  const uint8_t* planes[kMaxPlanes] = {};  // in the model's memory, alive as long as the interpreter
  int64_t count = 0;                       // product of shape
  std::vector<float> codebooks;            // [groups][2^bits], of a float chain
  std::vector<int8_t> int8_codebooks;      // the same, of an int8 chain
  int64_t group_size = 0;                  // output channels per codebook; 0: one codebook
  std::vector<float> scale;                // one factor per output channel; empty: none
};

// Matches the chain that ends in tensor `id`.
//   channel_axis, rank   where the consumer's output channels are in its filter's shape: 0 of 4 for CONV_2D, 3 of 4 for
//                        DEPTHWISE_CONV_2D, 0 of 2 for FULLY_CONNECTED
//   values               kFloat32, or kInt8: an int8 codebook, int8 tensors after it (quantised, which the caller looks
//                        at), and no scale
// Returns an empty string, or what does not fit FORMAT.md.
std::string MatchFilter(const Graph& graph, int id, int channel_axis, int rank, tfl::Type values, FilterMatch* match);

// A filter that is stored as plain constant values of the type `values`. Returns an empty string, or why it is none.
std::string MatchPlainFilter(const Graph& graph, int id, int rank, tfl::Type values, FilterMatch* match);

}  // namespace dgms

#endif  // DGMS_TFLITE_MATCH_FILTER_H_
