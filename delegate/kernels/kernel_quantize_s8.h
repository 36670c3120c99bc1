// The contract of the kernels that quantise float activations to int8 at run time.
#ifndef DGMS_KERNELS_KERNEL_QUANTIZE_S8_H_
#define DGMS_KERNELS_KERNEL_QUANTIZE_S8_H_

#include <stdint.h>

#include "kernels/kernel.h"

namespace dgms {

// The smallest and the largest value, 0 among them; `finite` is false if there is a NaN or an infinity (then the others
// mean nothing).
struct FloatRange {
  float min, max;
  bool finite;
};
using FloatRangeFn = FloatRange (*)(const float* x, int64_t count);

// output = clamp(round(x * inverse) + zero, -128, 127), the product rounded to float, then to an integer, halves to
// even; |x * inverse| is below 2^22. With `flip` the top bit of every output is inverted.
struct QuantizeArgs {
  const float* input;
  int64_t count;
  float inverse;
  int32_t zero;  // -128..127
  bool flip;
  int8_t* output;
};
using QuantizeFn = void (*)(const QuantizeArgs& args);

struct QuantizeS8Kernel {
  const char* name;
  Isa isa;
  FloatRangeFn range;
  QuantizeFn quantize;
};

}  // namespace dgms

#endif  // DGMS_KERNELS_KERNEL_QUANTIZE_S8_H_
