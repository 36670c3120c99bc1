// int8 depthwise sums in plain C++.
#include "kernels/kernel_s8.h"

namespace dgms {

void s8_depthwise_portable(const DepthwiseS8Args& args) {
  for (int64_t i = 0; i < args.pixels; ++i) {
    for (int64_t c = 0; c < args.channels; ++c) {
      uint32_t sum = 0;
      for (int64_t ky = 0; ky < args.kernel_h; ++ky) {
        const int8_t* input = args.input + ky * args.line_stride + i * args.pixel_stride + c;
        const int16_t* weights = args.weights + ky * args.weight_line_stride + c;
        for (int64_t kx = 0; kx < args.kernel_w; ++kx) {
          const int32_t x = input[kx * args.tap_stride] - args.zero;
          sum += static_cast<uint32_t>(x * weights[kx * args.weight_tap_stride]);
        }
      }
      args.sums[i * args.channels + c] = static_cast<int32_t>(sum);
    }
  }
}

}  // namespace dgms
