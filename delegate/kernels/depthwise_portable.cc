// Depthwise convolution in plain C++.
#include "kernels/depthwise_edges.h"
#include "kernels/kernel.h"

namespace dgms {
namespace {

void Run(const DepthwiseF32Args& args) {
  for (int64_t i = 0; i < args.pixels; ++i) {
    for (int64_t c = 0; c < args.channels; ++c) {
      float sum = args.bias[c];
      for (int64_t ky = 0; ky < args.kernel_h; ++ky) {
        const float* input = args.input + ky * args.line_stride + i * args.pixel_stride + c;
        const float* weights = args.weights + ky * args.weight_line_stride + c;
        for (int64_t kx = 0; kx < args.kernel_w; ++kx) {
          sum += input[kx * args.tap_stride] * weights[kx * args.weight_tap_stride];
        }
      }
      // NaN passes: both comparisons are false for it.
      sum = sum < args.min ? args.min : sum;
      args.output[i * args.output_stride + c] = sum > args.max ? args.max : sum;
    }
  }
}

}  // namespace

void f32_depthwise_portable(const DepthwiseF32Args& args) { ForEachRun(args, Run); }

}  // namespace dgms
