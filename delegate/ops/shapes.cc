#include "ops/shapes.h"

#include <limits>

namespace dgms {

bool PlanConvDim(int64_t input, int64_t before, int64_t after, int64_t kernel, int64_t stride, int64_t dilation,
                 Padding padding, ConvDim* dim) {
  if (input < 1 || kernel < 1 || stride < 1 || dilation < 1) return false;
  dim->input = input;
  const CheckedSize reach = CheckedSize(kernel - 1) * dilation + 1;  // positions under one dilated kernel
  const CheckedSize checked = CheckedSize(input) + before + after;
  if (!reach.ok() || !(checked + stride).ok()) return false;
  const int64_t padded = checked.value();
  if (padding == Padding::kSame) {
    dim->output = CeilDiv(padded, stride);
  } else {
    if (padded < reach.value()) return false;
    dim->output = (padded - reach.value()) / stride + 1;
  }
  const CheckedSize extent = CheckedSize(dim->output - 1) * stride + reach;
  if (!extent.ok()) return false;
  dim->extent = extent.value();
  // TFLite: half of what is missing goes before, the odd one after. VALID misses nothing.
  dim->pad_before = before + (dim->extent > padded ? (dim->extent - padded) / 2 : 0);
  return true;
}

ActivationRange RangeOf(Activation activation) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  switch (activation) {
    case Activation::kNone:
      break;
    case Activation::kRelu:
      return {0.0f, kInfinity};
    case Activation::kRelu6:
      return {0.0f, 6.0f};
    case Activation::kReluN1To1:
      return {-1.0f, 1.0f};
  }
  return {-kInfinity, kInfinity};
}

}  // namespace dgms
