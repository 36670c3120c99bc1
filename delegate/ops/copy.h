// RESHAPE, SQUEEZE and EXPAND_DIMS where input and output cannot share their memory: a copy.
#ifndef DGMS_OPS_COPY_H_
#define DGMS_OPS_COPY_H_

#include <memory>

#include "ops/weightless_op.h"

namespace dgms {

// One input of any shape. Its output has the same shape as far as this op is concerned; callers know the new one.
// Runs in place (then it does nothing).
struct CopyParams {
  ElementType type = ElementType::kFloat32;
};

// Null on failure, with the reason in *status.
std::unique_ptr<WeightlessOp> CreateCopy(const CopyParams& params, const KernelSet& kernels, Status* status);

}  // namespace dgms

#endif  // DGMS_OPS_COPY_H_
