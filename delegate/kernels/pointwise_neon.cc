// The kernels of operators without weights: see pointwise.h. MAX_POOL_2D of floats is written here, because compilers
// keep the maxima of a window in memory.
#include <arm_neon.h>

#include "kernels/pointwise.h"
#if DGMS_AARCH64
#include "kernels/pointwise_s8_neon.h"
#endif

namespace dgms {
namespace {

// The same choices as Clamped and the plain loop make, for NaN and zeros of either sign, too.
DGMS_INLINE float32x4_t Larger(float32x4_t most, float32x4_t x) { return vbslq_f32(vcgtq_f32(x, most), x, most); }
DGMS_INLINE float32x4_t Smaller(float32x4_t least, float32x4_t x) { return vbslq_f32(vcltq_f32(x, least), x, least); }

// `vectors` vectors of four channels of one window.
template <int vectors>
DGMS_INLINE void MaxPoolVectors(const PoolF32Args& args, const float* input, float* output) {
  float32x4_t most[vectors];
#pragma GCC unroll 8
  for (int v = 0; v < vectors; ++v) most[v] = vdupq_n_f32(kLowest);
  for (int64_t ky = 0; ky < args.kernel_h; ++ky) {
    const float* line = input + ky * args.line_stride;
    for (int64_t kx = 0; kx < args.kernel_w; ++kx, line += args.tap_stride) {
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) most[v] = Larger(most[v], vld1q_f32(line + 4 * v));
    }
  }
  const float32x4_t min = vdupq_n_f32(args.min), max = vdupq_n_f32(args.max);
#pragma GCC unroll 8
  for (int v = 0; v < vectors; ++v) vst1q_f32(output + 4 * v, Smaller(Larger(most[v], min), max));
}

void MaxPoolF32Neon(const PoolF32Args& args) {
  PoolF32Args rest = args;
  rest.channels = args.channels % 4;
  const int64_t whole = args.channels - rest.channels;
  for (int64_t pixel = 0; pixel < args.pixels; ++pixel) {
    const float* input = args.input + pixel * args.pixel_stride;
    float* output = args.output + pixel * args.output_stride;
    int64_t c = 0;
    for (; c + 32 <= whole; c += 32) MaxPoolVectors<8>(args, input + c, output + c);
    for (; c < whole; c += 4) MaxPoolVectors<1>(args, input + c, output + c);
  }
  if (rest.channels == 0) return;
  rest.input += whole;
  rest.output += whole;
  MaxPoolF32(rest);
}

constexpr PointwiseKernel Kernels() {
  PointwiseKernel kernels = {"pointwise_neon", Isa::kNeon, DGMS_POINTWISE_KERNELS};
  kernels.max_pool_f32 = MaxPoolF32Neon;
#if DGMS_AARCH64
  kernels.add_s8 = AddS8Neon;
  kernels.mul_s8 = MulS8Neon;
  kernels.quantize_f32 = QuantizeF32Neon;
#endif
  return kernels;
}

}  // namespace

const PointwiseKernel pointwise_neon = Kernels();

}  // namespace dgms
