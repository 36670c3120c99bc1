// The kernels of operators without weights: see pointwise.h. MAX_POOL_2D is written here, because compilers keep the
// maxima of a window in memory; ADD, SUB and MUL, because one instruction loads or stores four vectors.
#include <arm_neon.h>

#include "kernels/pointwise.h"
#if DGMS_AARCH64
#include "kernels/add_digits_s8_neon.h"
#endif

namespace dgms {
namespace {

// The same choices as Clamped and the plain loop make, for NaN and zeros of either sign, too.
DGMS_INLINE float32x4_t Larger(float32x4_t most, float32x4_t x) { return vbslq_f32(vcgtq_f32(x, most), x, most); }
DGMS_INLINE float32x4_t Smaller(float32x4_t least, float32x4_t x) { return vbslq_f32(vcltq_f32(x, least), x, least); }
DGMS_INLINE float32x4_t Load(const float* p) { return vld1q_f32(p); }
DGMS_INLINE float32x4_t Repeat(float x) { return vdupq_n_f32(x); }
DGMS_INLINE void Store(float* p, float32x4_t x) { vst1q_f32(p, x); }

DGMS_INLINE int8x16_t Larger(int8x16_t most, int8x16_t x) { return vmaxq_s8(most, x); }
DGMS_INLINE int8x16_t Smaller(int8x16_t least, int8x16_t x) { return vminq_s8(least, x); }
DGMS_INLINE int8x16_t Load(const int8_t* p) { return vld1q_s8(p); }
DGMS_INLINE int8x16_t Repeat(int8_t x) { return vdupq_n_s8(x); }
DGMS_INLINE void Store(int8_t* p, int8x16_t x) { vst1q_s8(p, x); }

// `vectors` vectors of channels of one window.
template <int vectors, typename T, typename Args>
DGMS_INLINE void MaxPoolVectors(const Args& args, T lowest, const T* input, T* output) {
  constexpr int kWide = 16 / sizeof(T);
  decltype(Repeat(lowest)) most[vectors];
#pragma GCC unroll 8
  for (int v = 0; v < vectors; ++v) most[v] = Repeat(lowest);
  for (int64_t ky = 0; ky < args.kernel_h; ++ky) {
    const T* line = input + ky * args.line_stride;
    for (int64_t left = args.kernel_w; left > 0; --left, line += args.tap_stride) {
      __asm__("" : "+r"(left));  // counts down to 0: one instruction
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) most[v] = Larger(most[v], Load(line + kWide * v));
    }
  }
  const auto min = Repeat(static_cast<T>(args.min)), max = Repeat(static_cast<T>(args.max));
#pragma GCC unroll 8
  for (int v = 0; v < vectors; ++v) Store(output + kWide * v, Smaller(Larger(most[v], min), max));
}

// `vectors` at a time, then one at a time; the channels that are left by `rest_of`.
template <int vectors, typename T, typename Args>
DGMS_INLINE void MaxPoolNeon(const Args& args, T lowest, void (*rest_of)(const Args&)) {
  constexpr int kWide = 16 / sizeof(T);
  Args rest = args;
  rest.channels = args.channels % kWide;
  const int64_t whole = args.channels - rest.channels;
  for (int64_t pixel = 0; pixel < args.pixels; ++pixel) {
    const T* input = args.input + pixel * args.pixel_stride;
    T* output = args.output + pixel * args.output_stride;
    int64_t c = 0;
    for (; c + vectors * kWide <= whole; c += vectors * kWide) {
      MaxPoolVectors<vectors>(args, lowest, input + c, output + c);
    }
    for (; c < whole; c += kWide) MaxPoolVectors<1>(args, lowest, input + c, output + c);
  }
  if (rest.channels == 0) return;
  rest.input += whole;
  rest.output += whole;
  rest_of(rest);
}

void MaxPoolF32Neon(const PoolF32Args& args) { MaxPoolNeon<8>(args, kLowest, MaxPoolF32); }
void MaxPoolS8Neon(const PoolS8Args& args) { MaxPoolNeon<4>(args, int8_t{-128}, MaxPoolS8); }

#if DGMS_AARCH64
template <BinaryKind kind, bool bounded>
DGMS_INLINE float32x4_t Binary(float32x4_t a, float32x4_t b, float32x4_t min, float32x4_t max) {
  const float32x4_t z = kind == BinaryKind::kAdd   ? vaddq_f32(a, b)
                        : kind == BinaryKind::kSub ? vsubq_f32(a, b)
                                                   : vmulq_f32(a, b);
  return bounded ? Smaller(Larger(z, min), max) : z;
}

// Rows of both operands, element by element.
template <BinaryKind kind, bool bounded>
void BinaryRowsNeon(const BinaryF32Args& args) {
  constexpr int kLanes = 4, kRegisters = 4, kStep = kRegisters * kLanes;
  const float low = args.min, high = args.max;
  const float32x4_t min = Repeat(low), max = Repeat(high);
  const int64_t n = args.operands.n;
  ForEachRow(args.operands, [=](const float* a, const float* b, float* output) DGMS_INLINED {
    for (int64_t left = n / kStep; left > 0; --left) {
      const float32x4x4_t x = vld1q_f32_x4(a), y = vld1q_f32_x4(b);
      float32x4x4_t z;
#pragma GCC unroll 4
      for (int v = 0; v < kRegisters; ++v) z.val[v] = Binary<kind, bounded>(x.val[v], y.val[v], min, max);
      vst1q_f32_x4(output, z);
      a += kStep, b += kStep, output += kStep;
      __asm__("" : "+r"(a), "+r"(b), "+r"(output));  // keeps the steps in the loads and the store
    }
    for (int64_t left = n % kStep / kLanes; left > 0; --left, a += kLanes, b += kLanes, output += kLanes) {
      Store(output, Binary<kind, bounded>(Load(a), Load(b), min, max));
    }
    for (int64_t i = 0; i < n % kLanes; ++i) {
      const float z = kind == BinaryKind::kAdd ? a[i] + b[i] : kind == BinaryKind::kSub ? a[i] - b[i] : a[i] * b[i];
      output[i] = bounded ? Clamped(z, low, high) : z;
    }
  });
}

template <BinaryKind kind>
void BinaryRowsNeon(const BinaryF32Args& args) {
  const bool bounded = args.min > -__builtin_inff() || args.max < __builtin_inff();
  bounded ? BinaryRowsNeon<kind, true>(args) : BinaryRowsNeon<kind, false>(args);
}

void BinaryF32Neon(const BinaryF32Args& args) {
  if (args.operands.a_step == 0 || args.operands.b_step == 0) return BinaryF32(args);
  switch (args.kind) {
    case BinaryKind::kAdd:
      return BinaryRowsNeon<BinaryKind::kAdd>(args);
    case BinaryKind::kSub:
      return BinaryRowsNeon<BinaryKind::kSub>(args);
    case BinaryKind::kMul:
      return BinaryRowsNeon<BinaryKind::kMul>(args);
  }
}
#endif

constexpr PointwiseKernel Kernels() {
  PointwiseKernel kernels = {"pointwise_neon", Isa::kNeon, DGMS_POINTWISE_KERNELS};
  kernels.max_pool_f32 = MaxPoolF32Neon;
  kernels.max_pool_s8 = MaxPoolS8Neon;
#if DGMS_AARCH64
  kernels.binary_f32 = BinaryF32Neon;
  kernels.add_s8 = AddS8Neon;
  kernels.add_digits_s8 = AddDigitsS8Neon;
  kernels.mul_s8 = MulS8Neon;
  kernels.quantize_f32 = QuantizeF32Neon;
#endif
  return kernels;
}

}  // namespace

const PointwiseKernel pointwise_neon = Kernels();

}  // namespace dgms
