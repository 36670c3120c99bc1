// How the functions Create... of operators without weights make their ops.
#ifndef DGMS_OPS_CREATE_WEIGHTLESS_H_
#define DGMS_OPS_CREATE_WEIGHTLESS_H_

#include <memory>

#include "ops/memory.h"
#include "ops/weightless_op.h"

namespace dgms {

// Op has a constructor from the parameters and the kernels, and `Status Init()`.
template <typename Op, typename Params>
std::unique_ptr<WeightlessOp> CreateWeightless(const Params& params, const KernelSet& kernels, Status* status) {
  Status ignored;
  if (status == nullptr) status = &ignored;
  *status = Status::kOutOfMemory;
  std::unique_ptr<Op> op = MakeUnique<Op>(params, *kernels.pointwise);
  if (op == nullptr) return nullptr;
  *status = op->Init();
  if (*status != Status::kOk) return nullptr;
  return op;
}

}  // namespace dgms

#endif  // DGMS_OPS_CREATE_WEIGHTLESS_H_
