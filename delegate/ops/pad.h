// PAD and PADV2: a constant around a tensor.
#ifndef DGMS_OPS_PAD_H_
#define DGMS_OPS_PAD_H_

#include <memory>

#include "ops/weightless_op.h"

namespace dgms {

// One input of up to TensorShape::kMaxRank dimensions (TFLite: 5). Does not run in place.
struct PadParams {
  ElementType type = ElementType::kFloat32;
  int rank = 0;                                // of the input
  int64_t before[TensorShape::kMaxRank] = {};  // >= 0
  int64_t after[TensorShape::kMaxRank] = {};
  float float_value = 0.0f;
  int8_t int8_value = 0;  // PAD: the zero point
};

// Null on failure, with the reason in *status.
std::unique_ptr<WeightlessOp> CreatePad(const PadParams& params, const KernelSet& kernels, Status* status);

}  // namespace dgms

#endif  // DGMS_OPS_PAD_H_
