// What the values of int8 activations stand for, and the factors between them, as TFLite's kernels compute them.
#ifndef DGMS_OPS_QUANTIZATION_H_
#define DGMS_OPS_QUANTIZATION_H_

#include <cstdint>

#include "kernels/kernel_pointwise.h"
#include "ops/filter.h"

namespace dgms {

// An int8 stands for scale * (value - zero).
struct Quantization {
  float scale = 1.0f;  // > 0, finite
  int32_t zero = 0;    // -128..127
};

bool IsValid(const Quantization& quantization);

inline bool operator==(const Quantization& a, const Quantization& b) { return a.scale == b.scale && a.zero == b.zero; }

// The range of a fused activation in the output's integers. False where the activation's ends do not fit any integer:
// stock kernels then refuse, too.
bool QuantizedRange(Activation activation, const Quantization& output, int32_t* min, int32_t* max);

// The quantisation that spreads 8 bits over the whole range of an activation with two ends. False: it has none.
bool QuantizationOf(Activation activation, Quantization* result);

// The nearest factor in fixed point. False if it is 2^30 or more, or not positive. Factors below about 2^-32 become 0.
bool ToFixedFactor(double factor, FixedFactor* fixed);

// What the fixed factor does to one number: see FixedFactor.
int32_t MultiplyFixed(int32_t x, const FixedFactor& factor);

}  // namespace dgms

#endif  // DGMS_OPS_QUANTIZATION_H_
