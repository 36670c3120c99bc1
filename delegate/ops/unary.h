// Activations that are operators: RELU, RELU6, RELU_N1_TO_1, HARD_SWISH, LOGISTIC.
#ifndef DGMS_OPS_UNARY_H_
#define DGMS_OPS_UNARY_H_

#include <memory>

#include "ops/weightless_op.h"

namespace dgms {

enum class UnaryFunction { kRelu, kRelu6, kReluN1To1, kHardSwish, kLogistic };

// One input of any shape. Runs in place.
//
// Float: RELU* are exact, HARD_SWISH rounds as the reference kernel does; LOGISTIC is within 4 units in the last place
// (values below 2^-126 become 0). int8: equal to TFLite's reference kernels bit for bit.
struct UnaryParams {
  UnaryFunction function = UnaryFunction::kRelu;
  ElementType type = ElementType::kFloat32;
  Quantization input, output;  // int8 only
};

// Null on failure, with the reason in *status. kInvalidArgument: quantisation that the reference kernels refuse, too
// (LOGISTIC: an output scale other than 1/256; HARD_SWISH: an output scale below 1/128 of the input's).
std::unique_ptr<WeightlessOp> CreateUnary(const UnaryParams& params, const KernelSet& kernels, Status* status);

}  // namespace dgms

#endif  // DGMS_OPS_UNARY_H_
