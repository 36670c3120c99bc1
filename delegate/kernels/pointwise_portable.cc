// The kernels of operators without weights: see pointwise.h.
#include "kernels/pointwise.h"

namespace dgms {

const PointwiseKernel pointwise_portable = {"pointwise_portable", Isa::kPortable, DGMS_POINTWISE_KERNELS};

}  // namespace dgms
