#include "ops/depthwise_plan.h"

#include <algorithm>

namespace dgms {
namespace {

constexpr int64_t kBlockElements = 6144;   // 24 KiB of floats in the first-level cache
constexpr int64_t kBlockUnit = 16;         // channels: a cache line of floats
constexpr int64_t kNearElements = 262144;  // an input of 1 MiB of floats, which the second-level cache still holds

}  // namespace

TapRange TapsInside(int64_t origin, int64_t kernel, int64_t dilation, int64_t size) {
  const int64_t first = origin >= 0 ? 0 : std::min(kernel, CeilDiv(-origin, dilation));
  const int64_t end = origin >= size ? 0 : std::min(kernel, CeilDiv(size - origin, dilation));
  return {first, std::max(first, end)};
}

bool DepthwisePlan::ValidParams() const {
  const DepthwiseConv2DParams& p = params;
  return p.kernel_h >= 1 && p.kernel_w >= 1 && p.stride_h >= 1 && p.stride_w >= 1 && p.dilation_h >= 1 &&
         p.dilation_w >= 1 && p.in_channels >= 1 && p.depth_multiplier >= 1 && IsValid(p.pads) &&
         (CheckedSize(p.kernel_h) * p.kernel_w * p.in_channels * p.depth_multiplier).FitsFloats();
}

Status DepthwisePlan::Plan(int64_t new_batch, int64_t new_h, int64_t new_w) {
  const DepthwiseConv2DParams& p = params;
  if (new_batch < 0 ||
      !PlanConvDim(new_h, p.pads.top, p.pads.bottom, p.kernel_h, p.stride_h, p.dilation_h, p.padding, &h) ||
      !PlanConvDim(new_w, p.pads.left, p.pads.right, p.kernel_w, p.stride_w, p.dilation_w, p.padding, &w) ||
      !(CheckedSize(new_batch) * new_h * new_w * channels).FitsFloats() ||
      !(CheckedSize(new_batch) * h.output * w.output * channels * p.kernel_h * p.kernel_w).FitsFloats()) {
    return Status::kInvalidArgument;
  }
  batch = new_batch;
  in_h = new_h;
  in_w = new_w;
  PlanInterior();
  repeated_elements = 0;
  if (p.depth_multiplier == 1) return Status::kOk;
  repeated = {batch, in_h, in_w, p.in_channels, 0, 0, in_h, in_w, p.depth_multiplier};
  return repeated.Elements(&repeated_elements);
}

void DepthwisePlan::PlanInterior() {
  const int64_t reach = (params.kernel_w - 1) * int64_t{params.dilation_w};
  interior_first_ = std::min(w.output, CeilDiv(w.pad_before, params.stride_w));
  const int64_t last_origin = in_w - 1 - reach + w.pad_before;  // of an output whose last tap is inside
  const int64_t inside = last_origin < 0 ? 0 : last_origin / params.stride_w + 1;
  interior_end_ = std::max(interior_first_, std::min(w.output, inside));
}

int64_t DepthwisePlan::BlockChannels() const {
  if (in_h * in_w * channels > kNearElements) return channels;
  const int64_t lines = std::min<int64_t>(params.kernel_h, in_h) * in_w + w.output;
  const int64_t fitting = kBlockElements / lines / kBlockUnit * kBlockUnit;
  return std::clamp(fitting, kBlockUnit, channels + kBlockUnit);
}

}  // namespace dgms
