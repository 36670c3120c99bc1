// The kernels of operators without weights: see pointwise.h.
#include "kernels/pointwise_s8_avx512.h"

namespace dgms {
namespace {

constexpr PointwiseKernel Kernels() {
  PointwiseKernel kernels = {"pointwise_avx512", Isa::kAvx512, DGMS_POINTWISE_KERNELS};
  kernels.add_s8 = AddS8Avx512;
  kernels.mul_s8 = MulS8Avx512;
  kernels.quantize_f32 = QuantizeF32Avx512;
  return kernels;
}

}  // namespace

const PointwiseKernel pointwise_avx512 = Kernels();

}  // namespace dgms
