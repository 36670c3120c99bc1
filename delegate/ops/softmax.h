// SOFTMAX over the last dimension.
#ifndef DGMS_OPS_SOFTMAX_H_
#define DGMS_OPS_SOFTMAX_H_

#include <memory>

#include "ops/weightless_op.h"

namespace dgms {

// One input of one dimension or more. Runs in place.
//
// Float: each output within (6 + log2(n)) units in the last place of the exact quotient, plus what rounding (x -
// largest)
// * beta before the exponential does: 2^-24 * |x - largest| * beta, relatively; values below 2^-126 are 0.
// int8: equal to TFLite's reference kernel bit for bit. (Its optimised kernel computes differently.)
struct SoftmaxParams {
  ElementType type = ElementType::kFloat32;
  float beta = 1.0f;
  Quantization input, output;  // int8 only
};

// Null on failure, with the reason in *status. int8: the output's scale must be 1/256 within a thousandth and its zero
// point -128, as the reference kernel demands.
std::unique_ptr<WeightlessOp> CreateSoftmax(const SoftmaxParams& params, const KernelSet& kernels, Status* status);

}  // namespace dgms

#endif  // DGMS_OPS_SOFTMAX_H_
