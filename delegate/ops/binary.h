// ADD, SUB and MUL with broadcasting and a fused activation.
#ifndef DGMS_OPS_BINARY_H_
#define DGMS_OPS_BINARY_H_

#include <memory>

#include "kernels/kernel_pointwise.h"
#include "ops/filter.h"
#include "ops/weightless_op.h"

namespace dgms {

// Two inputs of up to 4 dimensions that need not be 1 each; shapes are aligned at their ends, and a dimension of 1 is
// repeated (NumPy's rules).
//
// Float: rounded once, then clamped. int8: equal to TFLite's reference kernels bit for bit. Runs in place where an
// input has the output's shape.
struct BinaryParams {
  BinaryKind kind = BinaryKind::kAdd;
  ElementType type = ElementType::kFloat32;  // of both inputs and the output
  Activation activation = Activation::kNone;
  Quantization input[2], output;  // int8 only
};

// Null on failure, with the reason in *status. kInvalidArgument: scales that the reference kernels refuse, too (an
// ADD's output scale below about 2^-19 times the larger input scale, say).
std::unique_ptr<WeightlessOp> CreateBinary(const BinaryParams& params, const KernelSet& kernels, Status* status);

}  // namespace dgms

#endif  // DGMS_OPS_BINARY_H_
