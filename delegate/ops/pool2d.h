// MAX_POOL_2D and AVERAGE_POOL_2D over NHWC maps.
#ifndef DGMS_OPS_POOL2D_H_
#define DGMS_OPS_POOL2D_H_

#include <memory>

#include "ops/filter.h"
#include "ops/weightless_op.h"

namespace dgms {

enum class PoolKind { kMax, kAverage };

// One input [N, H, W, C]. The padding of kSame takes no part: averages divide by the positions inside the map. Does
// not run in place.
//
// Float and int8: equal to TFLite's reference kernels bit for bit, but infinities are not replaced by the largest
// finite number where there is no fused activation.
struct Pool2DParams {
  PoolKind kind = PoolKind::kMax;
  ElementType type = ElementType::kFloat32;
  int kernel_h = 1, kernel_w = 1;
  int stride_h = 1, stride_w = 1;
  Padding padding = Padding::kValid;
  // kMax with kValid only: values that take part as those of the map do, as behind a PAD.
  ExplicitPadding pads;
  float float_pad = 0.0f;
  int8_t int8_pad = 0;
  Activation activation = Activation::kNone;
  Quantization quantization;  // int8 only; of input and output alike
};

// Null on failure, with the reason in *status. Reshape answers kInvalidArgument where the output would be empty.
std::unique_ptr<WeightlessOp> CreatePool2D(const Pool2DParams& params, const KernelSet& kernels, Status* status);

}  // namespace dgms

#endif  // DGMS_OPS_POOL2D_H_
