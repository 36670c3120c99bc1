#include "ops/conv2d_plan.h"

namespace dgms {

bool Conv2DPlan::ValidParams() const {
  const Conv2DParams& p = params;
  return p.kernel_h >= 1 && p.kernel_w >= 1 && p.stride_h >= 1 && p.stride_w >= 1 && p.dilation_h >= 1 &&
         p.dilation_w >= 1 && p.groups >= 1 && p.in_channels >= 1 && p.out_channels >= 1 &&
         p.in_channels % p.groups == 0 && p.out_channels % p.groups == 0 && IsValid(p.pads) &&
         (CheckedSize(p.kernel_h) * p.kernel_w * p.in_channels).ok();
}

FilterMatrix Conv2DPlan::FilterShape() const {
  FilterMatrix shape;
  const int64_t inputs = params.in_channels / params.groups;
  shape.groups = params.groups;
  shape.columns = params.out_channels / params.groups;
  shape.segment_count = WholeLines() ? params.kernel_h : int64_t{params.kernel_h} * params.kernel_w;
  shape.segment_length = WholeLines() ? params.kernel_w * inputs : inputs;
  shape.channel_ranges = channel_ranges;
  return shape;
}

Status Conv2DPlan::Init() { return segments.Reserve(FilterShape().segment_count) ? Status::kOk : Status::kOutOfMemory; }

Status Conv2DPlan::Plan(int64_t new_batch, int64_t in_h, int64_t in_w, bool always_copy) {
  const Conv2DParams& p = params;
  batch = new_batch;
  copy_elements = 0;
  if (batch < 0 || !PlanConvDim(in_h, p.pads.top, p.pads.bottom, p.kernel_h, p.stride_h, p.dilation_h, p.padding, &h) ||
      !PlanConvDim(in_w, p.pads.left, p.pads.right, p.kernel_w, p.stride_w, p.dilation_w, p.padding, &w) ||
      !(CheckedSize(batch) * in_h * in_w * p.in_channels).FitsFloats() ||
      !(CheckedSize(batch) * h.output * w.output * p.out_channels).FitsFloats()) {
    return Status::kInvalidArgument;
  }
  copied = always_copy || h.reads_padding() || w.reads_padding();
  if (copied) {
    copy = {batch, in_h, in_w, p.in_channels, h.pad_before, w.pad_before, h.extent, w.extent, 1};
    const Status status = copy.Elements(&copy_elements);
    if (status != Status::kOk) return status;
  }
  const int64_t channels = p.in_channels;
  const int64_t columns = copied ? copy.columns : in_w;  // pixels of a line, wherever the kernels read from
  const int64_t lines = copied ? copy.rows : in_h;
  if (!(CheckedSize(batch) * lines * columns * channels).FitsFloats()) return Status::kInvalidArgument;
  const int64_t line = columns * channels;
  rows = {{batch, h.output, w.output}, {lines * line, p.stride_h * line, p.stride_w * channels}};
  const int64_t per_line = WholeLines() ? 1 : p.kernel_w;
  for (int64_t s = 0; s < FilterShape().segment_count; ++s) {
    segments[s] = s / per_line * p.dilation_h * line + s % per_line * p.dilation_w * channels;
  }
  return Status::kOk;
}

PaddedInput Conv2DPlan::CopyUnder(const LineRange& lines) const {
  const LineWindow window = WindowOf(h, params);
  const LineRange under = window.Under(lines);
  PaddedInput part = copy;
  part.batch = 1;
  part.in_h = under.count();
  part.pad_top = under.first - (lines.first * window.stride - window.pad_before);
  part.rows = (lines.count() - 1) * window.stride + window.extent;
  return part;
}

RowLayout Conv2DPlan::RowsOf(const LineRange& lines) const {
  return {{1, lines.count(), rows.count[2]}, {0, rows.stride[1], rows.stride[2]}};
}

}  // namespace dgms
