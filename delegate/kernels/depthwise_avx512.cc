// Depthwise convolution with AVX-512.
#include "kernels/simd_avx512.h"

// The order matters: depthwise_x86.h is written over the names of the header above.
#include "kernels/depthwise_x86.h"

namespace dgms {

void f32_depthwise_avx512(const DepthwiseF32Args& args) { Depthwise(args); }

}  // namespace dgms
