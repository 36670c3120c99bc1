#include "tflite/claim.h"

#include "tflite/log.h"

namespace dgms {
namespace {

std::vector<bool> ClaimedPositions(const Graph& graph, const Claim& claim) {
  std::vector<bool> claimed(graph.node_count(), false);
  for (const OpMatch& op : claim.ops) {
    claimed[op.node] = true;
    for (int position : op.chain()) claimed[position] = true;
  }
  return claimed;
}

void Refuse(const Graph& graph, int position, const std::string& why, Claim* claim) {
  const GraphNode& node = graph.node(position);
  claim->refusals.push_back({node.index, graph.tensor_name(node.output(0)), BuiltinName(node.builtin), why});
}

// An empty string if nobody outside of the claim needs what the chain of `op` computes: a chain may feed several
// consumers if all of them are claimed.
std::string WhyNotClosed(const Graph& graph, const OpMatch& op, const std::vector<bool>& claimed) {
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
  return "";
}

// Drops operators until every chain is closed. Ends because each round drops at least one.
void CloseChains(const Graph& graph, Claim* claim) {
  for (bool changed = true; changed;) {
    changed = false;
    const std::vector<bool> claimed = ClaimedPositions(graph, *claim);
    std::vector<OpMatch> kept;
    for (OpMatch& op : claim->ops) {
      const std::string why = WhyNotClosed(graph, op, claimed);
      if (why.empty()) {
        kept.push_back(std::move(op));
      } else {
        Refuse(graph, op.node, why, claim);
        changed = true;
      }
    }
    claim->ops = std::move(kept);
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

}  // namespace

void ClaimStatistics::Add(const ClaimStatistics& other) {
  claimed_operators += other.claimed_operators;
  candidate_operators += other.candidate_operators;
  claimed_nodes += other.claimed_nodes;
  packed_bytes += other.packed_bytes;
  refusals.insert(refusals.end(), other.refusals.begin(), other.refusals.end());
}

std::string RefusalText(const Refusal& refusal) {
  return Format("%s, node %d, output '%s': %s", refusal.op.c_str(), refusal.node_index, refusal.name.c_str(),
                refusal.why.c_str());
}

Claim FindClaim(const Graph& graph, const tfl::Delegate* self) {
  Claim claim;
  for (int position = 0; position < graph.node_count(); ++position) {
    if (!IsLayer(graph.node(position))) continue;
    OpMatch match;
    std::string why = MatchOp(graph, position, &match);
    if (why.empty() && TakenByAnother(graph, match, self)) why = "another delegate has taken its tensors";
    if (why.empty()) {
      claim.ops.push_back(std::move(match));
    } else {
      Refuse(graph, position, why, &claim);
    }
  }
  CloseChains(graph, &claim);
  return claim;
}

void DropOp(const Graph& graph, size_t i, const std::string& why, Claim* claim) {
  Refuse(graph, claim->ops[i].node, why, claim);
  claim->ops.erase(claim->ops.begin() + static_cast<std::ptrdiff_t>(i));
  CloseChains(graph, claim);
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
