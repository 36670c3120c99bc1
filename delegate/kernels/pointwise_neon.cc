// The kernels of operators without weights: see pointwise.h.
#include "kernels/pointwise.h"

namespace dgms {

const PointwiseKernel pointwise_neon = {"pointwise_neon", Isa::kNeon, DGMS_POINTWISE_KERNELS};

}  // namespace dgms
