// The kernels of operators without weights: see pointwise.h.
#include "kernels/pointwise.h"

namespace dgms {

const PointwiseKernel pointwise_avx512 = {"pointwise_avx512", Isa::kAvx512, DGMS_POINTWISE_KERNELS};

}  // namespace dgms
