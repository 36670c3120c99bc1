// From a claim to operators that can run.
#ifndef DGMS_TFLITE_BUILD_OPS_H_
#define DGMS_TFLITE_BUILD_OPS_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tflite/claim.h"
#include "tflite/graph.h"
#include "tflite/mapped_file.h"
#include "tflite/operator.h"

namespace dgms {

using BuiltOps = std::map<int, std::unique_ptr<Operator>>;  // by the runtime's node number

// Builds every operator of the claim, before anything is claimed: what cannot be built is left to the runtime.
// Returns an empty string, or why nothing can go on (no memory).
std::string BuildOps(const Graph& graph, const BuildSettings& settings, Claim* claim, BuiltOps* built);

// Where the codes of the claim's filters lie in the model's memory. Nothing reads them once the operators are built,
// unless a resize changes a layer's number of channels.
std::vector<ByteRange> CodesOf(const Claim& claim);

}  // namespace dgms

#endif  // DGMS_TFLITE_BUILD_OPS_H_
