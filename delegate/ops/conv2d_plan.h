// The geometry of CONV_2D as a matrix product, whatever the type of its activations.
#ifndef DGMS_OPS_CONV2D_PLAN_H_
#define DGMS_OPS_CONV2D_PLAN_H_

#include <cstdint>

#include "ops/conv2d.h"
#include "ops/filter_panels.h"
#include "ops/line_op.h"
#include "ops/memory.h"
#include "ops/padded_input.h"
#include "ops/row_tiles.h"
#include "ops/shapes.h"
#include "ops/status.h"

namespace dgms {

struct Conv2DPlan {
  Conv2DParams params;
  bool channel_ranges = false;  // what FilterShape says of it
  ConvDim h, w;
  int64_t batch = 0;
  bool copied = false;  // the kernels read a copy of the input: padded, or changed in type
  PaddedInput copy;
  int64_t copy_elements = 0;
  RowLayout rows = {};
  Buffer<int64_t> segments;  // offsets of the filter's segments from a row's start

  bool ValidParams() const;

  // A kernel line's pixels are contiguous in the input: one long segment per kernel line, else one per tap.
  bool WholeLines() const {
    return params.groups == 1 && (params.dilation_w == 1 || params.kernel_w == 1) && !channel_ranges;
  }
  FilterMatrix FilterShape() const;
  int64_t group_stride() const { return params.in_channels / params.groups; }

  // Makes room for the segments.
  Status Init();

  // Plans for an input of [batch, in_h, in_w, in_channels]; fills all of the above.
  Status Plan(int64_t batch, int64_t in_h, int64_t in_w, bool always_copy);

  // The part of the copy that some lines of one image's output read, from the lines of the input under them.
  PaddedInput CopyUnder(const LineRange& lines) const;
  // Where the rows of those lines are, in it or (without a copy) in the lines of the input under them.
  RowLayout RowsOf(const LineRange& lines) const;
};

}  // namespace dgms

#endif  // DGMS_OPS_CONV2D_PLAN_H_
