// QUANTIZE (float or int8 to int8) and DEQUANTIZE (int8 to float), with one scale and zero point per tensor.
#ifndef DGMS_OPS_QUANTIZE_H_
#define DGMS_OPS_QUANTIZE_H_

#include <memory>

#include "ops/weightless_op.h"

namespace dgms {

// One input of any shape. Runs in place where both types have the same size. Equal to TFLite's reference kernels bit
// for bit for all values that these are defined for: floats beyond the range of int32 (in steps) saturate here, NaN
// gives -128.
struct QuantizeParams {
  ElementType input_type = ElementType::kFloat32;
  ElementType output_type = ElementType::kInt8;
  Quantization input, output;  // of the int8 ones
};

// Null on failure, with the reason in *status (float to float is kInvalidArgument).
std::unique_ptr<WeightlessOp> CreateQuantize(const QuantizeParams& params, const KernelSet& kernels, Status* status);

}  // namespace dgms

#endif  // DGMS_OPS_QUANTIZE_H_
