// Quantisation of float activations: see quantize_s8.h.
#include "kernels/quantize_s8.h"

namespace dgms {

FloatRange s8_quantize_avx2_range(const float* x, int64_t count) { return RangeOf(x, count); }

void s8_quantize_avx2_quantize(const QuantizeArgs& args) { Quantize(args); }

}  // namespace dgms
