// The kernels of operators without weights: see pointwise.h.
#include "kernels/pointwise.h"

namespace dgms {

const PointwiseKernel pointwise_avx2 = {"pointwise_avx2", Isa::kAvx2, DGMS_POINTWISE_KERNELS};

}  // namespace dgms
