// Quantisation of float activations. Compilers make no vectors of the plain loops of quantize_s8.h on ARM, so 64-bit
// ARM has its own; 32-bit ARM has no instruction that rounds halves to even, and takes the loops.
#include "kernels/quantize_s8.h"
#include "kernels/simd_neon.h"

namespace dgms {

#if DGMS_AARCH64

namespace {

constexpr int kWide = 16;

}  // namespace

// NaN stays: these instructions return NaN if either operand is one. Infinities are the smallest or the largest.
FloatRange s8_quantize_neon_range(const float* x, int64_t count) {
  constexpr float kInfinity = __builtin_inff();
  float32x4_t min[4], max[4];
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) min[v] = max[v] = vdupq_n_f32(0.0f);
  int64_t i = 0;
  for (; i + kWide <= count; i += kWide) {
    const float32x4x4_t all = vld1q_f32_x4(x + i);
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      min[v] = vminq_f32(min[v], all.val[v]);
      max[v] = vmaxq_f32(max[v], all.val[v]);
    }
  }
  for (; i < count; ++i) {
    const float32x4_t one = vld1q_dup_f32(x + i);
    min[0] = vminq_f32(min[0], one);
    max[0] = vmaxq_f32(max[0], one);
  }
  const float least = vminvq_f32(vminq_f32(vminq_f32(min[0], min[1]), vminq_f32(min[2], min[3])));
  const float most = vmaxvq_f32(vmaxq_f32(vmaxq_f32(max[0], max[1]), vmaxq_f32(max[2], max[3])));
  return {least, most, least > -kInfinity && most < kInfinity};
}

// Narrowing saturates, so nothing needs clamping.
void s8_quantize_neon_quantize(const QuantizeArgs& args) {
  const float32x4_t inverse = vdupq_n_f32(args.inverse);
  const int16x8_t zero = vdupq_n_s16(static_cast<int16_t>(args.zero));
  const int8x16_t flip = vdupq_n_s8(args.flip ? INT8_MIN : 0);
  int64_t i = 0;
#pragma GCC unroll 2
  for (; i + kWide <= args.count; i += kWide) {
    const float32x4x4_t x = vld1q_f32_x4(args.input + i);
    int32x4_t q[4];
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) q[v] = vcvtnq_s32_f32(vmulq_f32(x.val[v], inverse));
    const int16x8_t low = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(q[0]), q[1]), zero);
    const int16x8_t high = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(q[2]), q[3]), zero);
    vst1q_s8(args.output + i, veorq_s8(vqmovn_high_s16(vqmovn_s16(low), high), flip));
  }
  Quantize({args.input + i, args.count - i, args.inverse, args.zero, args.flip, args.output + i});
}

#else

FloatRange s8_quantize_neon_range(const float* x, int64_t count) { return RangeOf(x, count); }

void s8_quantize_neon_quantize(const QuantizeArgs& args) { Quantize(args); }

#endif

}  // namespace dgms
