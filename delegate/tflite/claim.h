// Decides which operators of a graph the delegate takes.
#ifndef DGMS_TFLITE_CLAIM_H_
#define DGMS_TFLITE_CLAIM_H_

#include <cstdint>
#include <string>
#include <vector>

#include "tflite/graph.h"
#include "tflite/match_op.h"

namespace dgms {

// What is claimed beside the layers with a codebook, which always are (the option `claim`).
enum class ClaimScope {
  kCodebook,  // nothing
  kGraph,     // operators that share a partition with such a layer
};

struct Refusal {
  int node_index;
  std::string name;  // of the output tensor
  std::string op;    // e.g. "CONV_2D"
  std::string why;
  bool layer;  // a convolution or fully connected layer
};

struct Claim {
  std::vector<OpMatch> ops;       // in the order of the plan
  std::vector<Refusal> refusals;  // layers, and (kGraph) other operators, that are left to the runtime
};

// A claim in figures, for people and for programs. Figures of several graphs can be added.
struct ClaimStatistics {
  int64_t claimed_operators = 0;      // layers: convolutions and fully connected layers
  int64_t candidate_operators = 0;    // the same, claimed or not
  int64_t weightless_operators = 0;   // other operators that are claimed
  int64_t claimed_nodes = 0;          // of the runtime: all claimed operators and the decode chains of their filters
  int64_t partitions = 0;             // nodes of the delegate that take their place
  int64_t nodes_left = 0;             // of the plan, which are not the delegate's
  int64_t packed_bytes = 0;           // of the claimed layers' weights
  std::vector<std::string> refusals;  // one text for each candidate that is left to the runtime: which one, and why
  std::vector<std::string> weightless_refusals;  // the same for other operators

  void Add(const ClaimStatistics& other);
};

// "CONV_2D, node 7, output 'x': the filter is not decoded in the graph"
std::string RefusalText(const Refusal& refusal);

// Matches all operators, then drops those whose chain is needed by somebody else, until nothing changes, and last all
// that would be islands without a codebook.
Claim FindClaim(const Graph& graph, const tfl::Delegate* self, ClaimScope scope);

// Drops `claim.ops[i]` for a reason found later (`why`), and all that cannot stay without it.
void DropOp(const Graph& graph, size_t i, const std::string& why, Claim* claim);

// The runtime's numbers of all nodes of the claim, each once: the operators and their chains.
std::vector<int> ClaimedNodes(const Graph& graph, const Claim& claim);

}  // namespace dgms

#endif  // DGMS_TFLITE_CLAIM_H_
