// Depthwise convolution with AVX2 and FMA: 8 output pixels by 8 channels at a time, so that a weight is loaded once per
// 8 pixels and the sums' chains are long enough to hide the latency of the multiply-add.
#include <immintrin.h>

#include "kernels/kernel.h"

namespace dgms {
namespace {

constexpr int kLanes = 8;
constexpr int kPixels = 8;

struct All {
  __m256 Load(const float* p) const { return _mm256_loadu_ps(p); }
  void Store(float* p, __m256 v) const { _mm256_storeu_ps(p, v); }
};

struct Masked {
  __m256i mask;
  __m256 Load(const float* p) const { return _mm256_maskload_ps(p, mask); }
  void Store(float* p, __m256 v) const { _mm256_maskstore_ps(p, mask, v); }
};

// `pixels` outputs from pixel `first` on, channels c..c+7.
template <int pixels, typename Lanes>
inline __attribute__((always_inline)) void Vector(const DepthwiseF32Args& args, int64_t first, int64_t c,
                                                  const Lanes& lanes) {
  __m256 sums[pixels];
  const __m256 bias = lanes.Load(args.bias + c);
#pragma GCC unroll 8
  for (int i = 0; i < pixels; ++i) sums[i] = bias;
  const int64_t stride = args.pixel_stride, stride3 = 3 * stride;
  for (int64_t ky = 0; ky < args.kernel_h; ++ky) {
    const float* input = args.input + ky * args.line_stride + first * stride + c;
    const float* weights = args.weights + ky * args.weight_line_stride + c;
    for (int64_t kx = 0; kx < args.kernel_w; ++kx, input += args.tap_stride, weights += args.channels) {
      const __m256 weight = lanes.Load(weights);
#pragma GCC unroll 8
      for (int i = 0; i < pixels; ++i) {  // input + i strides, from two pointers
        const float* x = (i < 4 ? input : input + 4 * stride) + (i % 4 == 3 ? stride3 : (i % 4) * stride);
        sums[i] = _mm256_fmadd_ps(lanes.Load(x), weight, sums[i]);
      }
    }
  }
  // NaN passes: max and min return their second operand if either is NaN.
  const __m256 min = _mm256_set1_ps(args.min), max = _mm256_set1_ps(args.max);
  float* output = args.output + first * args.output_stride + c;
#pragma GCC unroll 8
  for (int i = 0; i < pixels; ++i) {
    lanes.Store(output + i * args.output_stride, _mm256_min_ps(max, _mm256_max_ps(min, sums[i])));
  }
}

template <int pixels>
void Run(const DepthwiseF32Args& args, int64_t first) {
  int64_t c = 0;
  for (; c + kLanes <= args.channels; c += kLanes) Vector<pixels>(args, first, c, All{});
  if (c < args.channels) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const int left = static_cast<int>(args.channels - c);
    Vector<pixels>(args, first, c, Masked{_mm256_cmpgt_epi32(_mm256_set1_epi32(left), lane)});
  }
}

}  // namespace

void f32_depthwise_avx2(const DepthwiseF32Args& args) {
  using RunFn = void (*)(const DepthwiseF32Args&, int64_t);
  static constexpr RunFn kRuns[kPixels] = {Run<1>, Run<2>, Run<3>, Run<4>, Run<5>, Run<6>, Run<7>, Run<8>};
  for (int64_t first = 0; first < args.pixels; first += kPixels) {
    const int64_t left = args.pixels - first;
    kRuns[(left < kPixels ? left : kPixels) - 1](args, first);
  }
}

}  // namespace dgms
