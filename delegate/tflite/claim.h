// Decides which operators of a graph the delegate takes.
#ifndef DGMS_TFLITE_CLAIM_H_
#define DGMS_TFLITE_CLAIM_H_

#include <cstdint>
#include <string>
#include <vector>

#include "tflite/graph.h"
#include "tflite/match_op.h"

namespace dgms {

struct Refusal {
  int node_index;
  std::string name;  // of the output tensor
  std::string op;    // e.g. "CONV_2D"
  std::string why;
};

struct Claim {
  std::vector<OpMatch> ops;       // in the order of the plan
  std::vector<Refusal> refusals;  // candidates that are left to the runtime
};

// A claim in figures, for people and for programs. Figures of several graphs can be added.
struct ClaimStatistics {
  int64_t claimed_operators = 0;
  int64_t candidate_operators = 0;    // convolutions and fully connected layers, claimed or not
  int64_t claimed_nodes = 0;          // of the runtime: the claimed operators and the decode chains of their filters
  int64_t packed_bytes = 0;           // of the claimed operators' weights
  std::vector<std::string> refusals;  // one text for each candidate that is left to the runtime: which one, and why

  void Add(const ClaimStatistics& other);
};

// "CONV_2D, node 7, output 'x': the filter is not decoded in the graph"
std::string RefusalText(const Refusal& refusal);

// Matches all candidates, then drops those whose chain is needed by somebody else, until nothing changes.
Claim FindClaim(const Graph& graph, const tfl::Delegate* self);

// Drops `claim.ops[i]` for a reason found later (`why`), and all that cannot stay without it.
void DropOp(const Graph& graph, size_t i, const std::string& why, Claim* claim);

// The runtime's numbers of all nodes of the claim, each once: the operators and their chains.
std::vector<int> ClaimedNodes(const Graph& graph, const Claim& claim);

}  // namespace dgms

#endif  // DGMS_TFLITE_CLAIM_H_
