// Depthwise convolution with AVX-512: 8 output pixels by 16 channels at a time, so that a weight is loaded once per
// 8 pixels and the sums' chains are long enough to hide the latency of the multiply-add.
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own intrinsics trip this warning (its bug 105593); our code is checked by the other compilers.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include "kernels/kernel.h"

namespace dgms {
namespace {

constexpr int kLanes = 16;
constexpr int kPixels = 8;

struct All {
  __m512 Load(const float* p) const { return _mm512_loadu_ps(p); }
  void Store(float* p, __m512 v) const { _mm512_storeu_ps(p, v); }
};

struct Masked {
  __mmask16 mask;
  __m512 Load(const float* p) const { return _mm512_maskz_loadu_ps(mask, p); }
  void Store(float* p, __m512 v) const { _mm512_mask_storeu_ps(p, mask, v); }
};

// `pixels` outputs from pixel `first` on, channels c..c+15.
template <int pixels, typename Lanes>
inline __attribute__((always_inline)) void Vector(const DepthwiseF32Args& args, int64_t first, int64_t c,
                                                  const Lanes& lanes) {
  __m512 sums[pixels];
  const __m512 bias = lanes.Load(args.bias + c);
#pragma GCC unroll 8
  for (int i = 0; i < pixels; ++i) sums[i] = bias;
  const int64_t stride = args.pixel_stride, stride3 = 3 * stride;
  for (int64_t ky = 0; ky < args.kernel_h; ++ky) {
    const float* input = args.input + ky * args.line_stride + first * stride + c;
    const float* weights = args.weights + ky * args.weight_line_stride + c;
    for (int64_t kx = 0; kx < args.kernel_w; ++kx, input += args.tap_stride, weights += args.channels) {
      const __m512 weight = lanes.Load(weights);
#pragma GCC unroll 8
      for (int i = 0; i < pixels; ++i) {  // input + i strides, from two pointers
        const float* x = (i < 4 ? input : input + 4 * stride) + (i % 4 == 3 ? stride3 : (i % 4) * stride);
        sums[i] = _mm512_fmadd_ps(lanes.Load(x), weight, sums[i]);
      }
    }
  }
  // NaN passes: max and min return their second operand if either is NaN.
  const __m512 min = _mm512_set1_ps(args.min), max = _mm512_set1_ps(args.max);
  float* output = args.output + first * args.output_stride + c;
#pragma GCC unroll 8
  for (int i = 0; i < pixels; ++i) {
    lanes.Store(output + i * args.output_stride, _mm512_min_ps(max, _mm512_max_ps(min, sums[i])));
  }
}

template <int pixels>
void Run(const DepthwiseF32Args& args, int64_t first) {
  int64_t c = 0;
  for (; c + kLanes <= args.channels; c += kLanes) Vector<pixels>(args, first, c, All{});
  if (c < args.channels) {
    Vector<pixels>(args, first, c, Masked{static_cast<__mmask16>((1u << (args.channels - c)) - 1u)});
  }
}

}  // namespace

void f32_depthwise_avx512(const DepthwiseF32Args& args) {
  using RunFn = void (*)(const DepthwiseF32Args&, int64_t);
  static constexpr RunFn kRuns[kPixels] = {Run<1>, Run<2>, Run<3>, Run<4>, Run<5>, Run<6>, Run<7>, Run<8>};
  for (int64_t first = 0; first < args.pixels; first += kPixels) {
    const int64_t left = args.pixels - first;
    kRuns[(left < kPixels ? left : kPixels) - 1](args, first);
  }
}

}  // namespace dgms
