// The kernels of operators without weights: see pointwise.h.
#include "kernels/pointwise.h"
#if DGMS_AARCH64
#include "kernels/pointwise_s8_neon.h"
#endif

namespace dgms {
namespace {

constexpr PointwiseKernel Kernels() {
  PointwiseKernel kernels = {"pointwise_neon", Isa::kNeon, DGMS_POINTWISE_KERNELS};
#if DGMS_AARCH64
  kernels.add_s8 = AddS8Neon;
  kernels.mul_s8 = MulS8Neon;
  kernels.quantize_f32 = QuantizeF32Neon;
#endif
  return kernels;
}

}  // namespace

const PointwiseKernel pointwise_neon = Kernels();

}  // namespace dgms
