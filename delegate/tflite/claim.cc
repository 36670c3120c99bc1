#include "tflite/claim.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "tflite/fold_pads.h"
#include "tflite/log.h"

namespace dgms {
namespace {

std::vector<bool> ClaimedPositions(const Graph& graph, const Claim& claim) {
  std::vector<bool> claimed(graph.node_count(), false);
  for (const OpMatch& op : claim.ops) {
    claimed[op.node] = true;
    for (int position : op.chain()) claimed[position] = true;
    for (int position : op.folded) claimed[position] = true;
  }
  return claimed;
}

void Refuse(const Graph& graph, int position, const std::string& why, Claim* claim) {
  const GraphNode& node = graph.node(position);
  claim->refusals.push_back(
      {node.index, graph.tensor_name(node.output(0)), BuiltinName(node.builtin), why, IsLayer(node)});
}

void RefuseOp(const Graph& graph, const OpMatch& op, const std::string& why, Claim* claim) {
  Refuse(graph, op.node, why, claim);
  for (int position : op.folded) Refuse(graph, position, "the operator behind it is left to the runtime", claim);
}

// Null if nobody outside of the claim needs what the chain of `op` computes: a chain may feed several
// consumers if all of them are claimed.
const char* WhyNotClosed(const Graph& graph, const OpMatch& op, const std::vector<bool>& claimed) {
  for (int position : op.chain()) {
    const GraphNode& node = graph.node(position);
    for (int i = 0; i < node.output_count(); ++i) {
      if (graph.is_graph_output(node.output(i))) return "a tensor of its decode chain is an output of the graph";
      for (int consumer : graph.consumers(node.output(i))) {
        // Input 0 of an operator that is claimed for its own filter is its activations, which it really reads.
        const bool as_activations = IsLayer(graph.node(consumer)) && graph.node(consumer).input(0) == node.output(i);
        if (!claimed[consumer] || as_activations) return "another operator reads a tensor of its decode chain";
      }
    }
  }
  return nullptr;
}

// Refuses the operators for which `why` gives a reason.
template <typename Why>
bool DropWhere(const Graph& graph, const Why& why, Claim* claim) {
  std::vector<OpMatch>& ops = claim->ops;
  size_t kept = 0;
  for (size_t i = 0; i < ops.size(); ++i) {
    const char* reason = why(ops[i]);
    if (reason != nullptr) {
      RefuseOp(graph, ops[i], reason, claim);
      continue;
    }
    if (kept != i) ops[kept] = std::move(ops[i]);
    ++kept;
  }
  const bool dropped = kept < ops.size();
  ops.erase(ops.begin() + static_cast<std::ptrdiff_t>(kept), ops.end());
  return dropped;
}

// Drops operators until every chain is closed. Ends because each round drops at least one.
void CloseChains(const Graph& graph, Claim* claim) {
  for (bool changed = true; changed;) {
    changed = false;
    const std::vector<bool> claimed = ClaimedPositions(graph, *claim);
    changed = DropWhere(graph, [&](const OpMatch& op) { return WhyNotClosed(graph, op, claimed); }, claim);
  }
}

// A tensor that another delegate has marked as its own would make the runtime fail when we take its operator.
bool TakenByAnother(const Graph& graph, const GraphNode& node, const tfl::Delegate* self) {
  for (int i = 0; i < node.output_count(); ++i) {
    const tfl::Tensor* tensor = graph.tensor(node.output(i));
    if (tensor != nullptr && tensor->delegate != nullptr && tensor->delegate != self) return true;
  }
  return false;
}

bool TakenByAnother(const Graph& graph, const OpMatch& op, const tfl::Delegate* self) {
  if (TakenByAnother(graph, graph.node(op.node), self)) return true;
  for (int position : op.chain()) {
    if (TakenByAnother(graph, graph.node(position), self)) return true;
  }
  return false;
}

constexpr char kPlainFilter[] = "its filter is stored as plain values, not as indices and a codebook";

const char* WhyIsland(const OpMatch& op) {
  return op.layer() != nullptr ? kPlainFilter : "no layer with a codebook is next to it";
}

// Nodes of the plan, by the runtime's numbers.
class NodeSet {
 public:
  explicit NodeSet(const Graph& graph) {
    int most = -1;
    for (int position = 0; position < graph.node_count(); ++position) most = std::max(most, graph.node(position).index);
    has_.assign(static_cast<size_t>(most + 1), false);
  }
  void Add(int node) {
    if (Fits(node)) has_[node] = true;
  }
  bool Has(int node) const { return Fits(node) && has_[node]; }

 private:
  bool Fits(int node) const { return node >= 0 && static_cast<size_t>(node) < has_.size(); }

  std::vector<bool> has_;
};

// Drops operators without a codebook that would run in a partition without one: the stock path runs these as well, and
// a partition costs a little. Without them the runtime may cut the graph otherwise, so this goes on until all is well;
// each round but the last drops something.
void DropIslands(const Graph& graph, Claim* claim) {
  for (bool dropped = true; dropped;) {
    NodeSet beside(graph);  // nodes that share a partition with a codebook
    std::vector<std::vector<int>> partitions;
    if (graph.Partitions(ClaimedNodes(graph, *claim), &partitions)) {
      NodeSet codebooks(graph);
      for (const OpMatch& op : claim->ops) {
        if (op.has_codebook()) codebooks.Add(op.node_index);
      }
      for (const std::vector<int>& nodes : partitions) {
        const bool has = std::any_of(nodes.begin(), nodes.end(), [&](int node) { return codebooks.Has(node); });
        for (size_t i = 0; has && i < nodes.size(); ++i) beside.Add(nodes[i]);
      }
    }
    dropped = DropWhere(
        graph,
        [&](const OpMatch& op) { return op.has_codebook() || beside.Has(op.node_index) ? nullptr : WhyIsland(op); },
        claim);
  }
}

bool HasCodebook(const Claim& claim) {
  return std::any_of(claim.ops.begin(), claim.ops.end(), [](const OpMatch& op) { return op.has_codebook(); });
}

// Puts operators without a codebook between the claimed ones. None of them touches a decode chain: nobody but claimed
// layers reads those, and what depends on constants alone is not looked at.
void AddOthers(const Graph& graph, std::vector<OpMatch> others, Claim* claim) {
  const std::vector<bool> claimed = ClaimedPositions(graph, *claim);
  std::vector<OpMatch> all;
  all.reserve(claim->ops.size() + others.size());
  auto next = claim->ops.begin();
  for (OpMatch& op : others) {  // both are in the order of the plan
    for (; next != claim->ops.end() && next->node < op.node; ++next) all.push_back(std::move(*next));
    if (!claimed[op.node]) all.push_back(std::move(op));
  }
  std::move(next, claim->ops.end(), std::back_inserter(all));
  claim->ops = std::move(all);
}

// Whether the operator at `position` is looked at, claimed or refused.
bool IsCandidate(const Graph& graph, int position, ClaimScope scope) {
  return IsLayer(graph.node(position)) || (scope == ClaimScope::kGraph && graph.varies(position));
}

int CountLayers(const Graph& graph) {
  int count = 0;
  for (int position = 0; position < graph.node_count(); ++position) count += IsLayer(graph.node(position)) ? 1 : 0;
  return count;
}

}  // namespace

void ClaimStatistics::Add(const ClaimStatistics& other) {
  claimed_operators += other.claimed_operators;
  candidate_operators += other.candidate_operators;
  weightless_operators += other.weightless_operators;
  claimed_nodes += other.claimed_nodes;
  partitions += other.partitions;
  nodes_left += other.nodes_left;
  packed_bytes += other.packed_bytes;
  refusals.insert(refusals.end(), other.refusals.begin(), other.refusals.end());
  weightless_refusals.insert(weightless_refusals.end(), other.weightless_refusals.begin(),
                             other.weightless_refusals.end());
}

std::string RefusalText(const Refusal& refusal) {
  return Format("%s, node %d, output '%s': %s", refusal.op.c_str(), refusal.node_index, refusal.name.c_str(),
                refusal.why.c_str());
}

Claim FindClaim(const Graph& graph, const tfl::Delegate* self, ClaimScope scope) {
  Claim claim;
  std::vector<OpMatch> others;
  claim.ops.reserve(static_cast<size_t>(CountLayers(graph)));
  for (int position = 0; position < graph.node_count(); ++position) {
    if (!IsCandidate(graph, position, scope)) continue;
    OpMatch match;
    std::string why = MatchOp(graph, position, &match);
    if (why.empty() && TakenByAnother(graph, match, self)) why = "another delegate has taken its tensors";
    if (!why.empty()) {
      Refuse(graph, position, why, &claim);
    } else if (match.has_codebook()) {
      claim.ops.push_back(std::move(match));
    } else if (scope == ClaimScope::kGraph) {
      others.push_back(std::move(match));
    } else {
      Refuse(graph, position, kPlainFilter, &claim);
    }
  }
  CloseChains(graph, &claim);
  if (scope == ClaimScope::kGraph) {
    AddOthers(graph, std::move(others), &claim);
    DropIslands(graph, &claim);
    FoldPads(graph, ClaimedNodes(graph, claim), &claim.ops);
  }
  if (!HasCodebook(claim)) {  // then operators without weights are of no interest
    claim.refusals.erase(std::remove_if(claim.refusals.begin(), claim.refusals.end(),
                                        [](const Refusal& refusal) { return !refusal.layer; }),
                         claim.refusals.end());
  }
  return claim;
}

void DropOp(const Graph& graph, size_t i, const std::string& why, Claim* claim) {
  RefuseOp(graph, claim->ops[i], why, claim);
  claim->ops.erase(claim->ops.begin() + static_cast<std::ptrdiff_t>(i));
  CloseChains(graph, claim);
  DropIslands(graph, claim);
}

std::vector<int> ClaimedNodes(const Graph& graph, const Claim& claim) {
  const std::vector<bool> claimed = ClaimedPositions(graph, claim);
  std::vector<int> nodes;
  for (int position = 0; position < graph.node_count(); ++position) {
    if (claimed[position]) nodes.push_back(graph.node(position).index);
  }
  return nodes;
}

}  // namespace dgms
