// CONCATENATION along one axis.
#ifndef DGMS_OPS_CONCATENATION_H_
#define DGMS_OPS_CONCATENATION_H_

#include <memory>

#include "ops/weightless_op.h"

namespace dgms {

// Any number of inputs that differ along `axis` only. Copies bytes: int8 inputs must have the output's quantisation
// (which TFLite demands, too). Does not run in place.
struct ConcatenationParams {
  ElementType type = ElementType::kFloat32;
  int axis = 0;  // -rank..rank-1
};

// Null on failure, with the reason in *status.
std::unique_ptr<WeightlessOp> CreateConcatenation(const ConcatenationParams& params, const KernelSet& kernels,
                                                  Status* status);

}  // namespace dgms

#endif  // DGMS_OPS_CONCATENATION_H_
