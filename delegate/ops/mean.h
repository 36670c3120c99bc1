// MEAN over any axes.
#ifndef DGMS_OPS_MEAN_H_
#define DGMS_OPS_MEAN_H_

#include <memory>

#include "ops/weightless_op.h"

namespace dgms {

// One input of any shape without a dimension of 0. Does not run in place.
//
// Float: sums in float. Where the last dimension stays, in the input's order, as the reference kernel adds; else in the
// order of SumF32Fn (kernel_pointwise.h). int8: equal to TFLite's reference kernel bit for bit.
struct MeanParams {
  ElementType type = ElementType::kFloat32;
  int axis_count = 0;
  int axes[TensorShape::kMaxRank] = {};  // -rank..rank-1, in any order, repeated or not
  bool keep_dims = false;
  Quantization input, output;  // int8 only
};

// Null on failure, with the reason in *status.
std::unique_ptr<WeightlessOp> CreateMean(const MeanParams& params, const KernelSet& kernels, Status* status);

}  // namespace dgms

#endif  // DGMS_OPS_MEAN_H_
