// For depthwise kernels that know nothing of padding: the runs of pixels that have the same taps inside of the line.
#ifndef DGMS_KERNELS_DEPTHWISE_EDGES_H_
#define DGMS_KERNELS_DEPTHWISE_EDGES_H_

#include "kernels/kernel.h"

namespace dgms {
namespace {

// Calls run(args) for them, from left to right, without padding.
template <typename RunFn>
void ForEachRun(const DepthwiseF32Args& args, const RunFn& run) {
  if (args.line_columns == 0) return run(args);
  const int64_t step = args.pixel_stride / args.tap_stride, end = args.pad_left + args.line_columns;
  DepthwiseF32Args part = args;
  part.pad_left = part.line_columns = 0;
  for (int64_t i = 0; i < args.pixels; i += part.pixels) {
    const int64_t at = i * step;
    const int64_t first = args.pad_left > at ? args.pad_left - at : 0;  // tap inside
    const int64_t last = end - at < args.kernel_w ? end - at : args.kernel_w;
    part.pixels = 1;
    if (first == 0 && last == args.kernel_w) {  // and those of the pixels behind it that have all taps as well
      const int64_t whole = (end - args.kernel_w - at) / step + 1;
      part.pixels = whole < args.pixels - i ? whole : args.pixels - i;
    }
    part.kernel_w = last - first;
    part.input = args.input + i * args.pixel_stride + first * args.tap_stride;
    part.weights = args.weights + first * args.weight_tap_stride;
    part.output = args.output + i * args.output_stride;
    run(part);
  }
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_DEPTHWISE_EDGES_H_
