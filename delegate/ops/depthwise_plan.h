// The geometry of DEPTHWISE_CONV_2D, whatever the type of its activations.
#ifndef DGMS_OPS_DEPTHWISE_PLAN_H_
#define DGMS_OPS_DEPTHWISE_PLAN_H_

#include <cstdint>

#include "ops/depthwise_conv2d.h"
#include "ops/padded_input.h"
#include "ops/shapes.h"
#include "ops/status.h"

namespace dgms {

// Taps first..end-1 of a kernel's line (or lines of a kernel).
struct TapRange {
  int64_t first, end;
  int64_t count() const { return end - first; }
};

// The taps that fall inside an input of `size` when tap 0 is at `origin`.
TapRange TapsInside(int64_t origin, int64_t kernel, int64_t dilation, int64_t size);

// Neighbouring output pixels of one line that have the same taps inside the input.
struct DepthwiseRun {
  int64_t x;  // the first one
  int64_t pixels;
  TapRange lines, taps;  // either may be empty: nothing but padding under a dilated kernel
  int64_t input;         // offset of the first tap of the first pixel, channel 0
};

struct DepthwisePlan {
  DepthwiseConv2DParams params;
  int64_t channels = 0;  // output channels
  int64_t batch = 0, in_h = 0, in_w = 0;
  ConvDim h, w;
  PaddedInput repeated;  // the input with each channel depth_multiplier times
  int64_t repeated_elements = 0;

  bool ValidParams() const;
  int64_t taps() const { return int64_t{params.kernel_h} * params.kernel_w; }
  int64_t line_stride() const { return params.dilation_h * in_w * channels; }
  int64_t tap_stride() const { return params.dilation_w * channels; }
  int64_t pixel_stride() const { return params.stride_w * channels; }
  int64_t weight_line_stride() const { return params.kernel_w * channels; }

  // Plans for an input of [batch, in_h, in_w, in_channels].
  Status Plan(int64_t batch, int64_t in_h, int64_t in_w);

  // Channels that are done together, line by line: few enough that the input lines under the kernel, and the line that
  // is written, stay in the first-level cache from one line to the next. A large input comes from further away, and
  // faster if it is read from beginning to end: then all channels.
  int64_t BlockChannels() const;

  // The lines and taps of one line of the output as if its pixels had all taps inside: for kernels that leave out taps
  // themselves (kernel.h), which need neighbouring taps to be neighbouring pixels, and one inside under every window.
  bool WholeLines() const {
    const int64_t last = (w.output - 1) * params.stride_w - w.pad_before;  // where the last window begins
    return params.dilation_w == 1 && w.pad_before < params.kernel_w && last < in_w;
  }
  DepthwiseRun WholeLine(int64_t line) const {
    const int64_t y = line % h.output * params.stride_h - h.pad_before;
    const TapRange lines = TapsInside(y, params.kernel_h, params.dilation_h, in_h);
    const int64_t first_line = line / h.output * in_h + y + lines.first * params.dilation_h;
    return {0, w.output, lines, {0, params.kernel_w}, (first_line * in_w - w.pad_before) * channels};
  }

  // Calls run(DepthwiseRun) for all pixels of one line of the output. Output columns whose taps all lie inside the
  // input are one run; the others go one by one.
  template <typename RunFn>
  void ForEachRun(int64_t line, const RunFn& call) const {
    const int64_t y = line % h.output * params.stride_h - h.pad_before;
    const TapRange lines = TapsInside(y, params.kernel_h, params.dilation_h, in_h);
    const int64_t first_line = line / h.output * in_h + y + lines.first * params.dilation_h;
    DepthwiseRun run = {};
    run.lines = lines;
    for (run.x = 0; run.x < w.output; run.x += run.pixels) {
      const int64_t origin = run.x * params.stride_w - w.pad_before;
      const bool interior = run.x >= interior_first_ && run.x < interior_end_;
      run.pixels = interior ? interior_end_ - run.x : 1;
      run.taps = interior ? TapRange{0, params.kernel_w} : TapsInside(origin, params.kernel_w, params.dilation_w, in_w);
      run.input = (first_line * in_w + origin + run.taps.first * params.dilation_w) * channels;
      call(run);
    }
  }

 private:
  void PlanInterior();

  int64_t interior_first_ = 0, interior_end_ = 0;  // output columns whose taps are all inside the input
};

}  // namespace dgms

#endif  // DGMS_OPS_DEPTHWISE_PLAN_H_
