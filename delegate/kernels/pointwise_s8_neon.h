// int8 operators without weights whose loops compilers make poor vectors of, by hand for 64-bit ARM. For
// pointwise_neon.cc only, after pointwise.h.
#ifndef DGMS_KERNELS_POINTWISE_S8_NEON_H_
#define DGMS_KERNELS_POINTWISE_S8_NEON_H_

#include <arm_neon.h>

#include "kernels/fixed_sum_s8.h"
#include "kernels/pointwise.h"

namespace dgms {
namespace {

constexpr int kVectors = 4;

template <int step>
DGMS_INLINE int8x16_t LoadOrRepeat(const int8_t* p) {
  return step == 0 ? vld1q_dup_s8(p) : vld1q_s8(p);
}

DGMS_INLINE void Widen(int8x16_t x, int32x4_t (&wide)[kVectors]) {
  const int16x8_t low = vmovl_s8(vget_low_s8(x)), high = vmovl_high_s8(x);
  wide[0] = vmovl_s16(vget_low_s16(low));
  wide[1] = vmovl_high_s16(low);
  wide[2] = vmovl_s16(vget_low_s16(high));
  wide[3] = vmovl_high_s16(high);
}

// The integer parts of 16 sums, with as many bits of their fractions as fit 16, become bytes by a shift that saturates.
DGMS_INLINE int8x16_t IntegerPart(int32x4_t a, int32x4_t b, int32x4_t c, int32x4_t d) {
  constexpr int kShift = FixedSumS8::kFraction - 16;
  const auto top = [](int32x4_t low, int32x4_t high) {
    return vuzp2q_s16(vreinterpretq_s16_s32(low), vreinterpretq_s16_s32(high));
  };
  return vqshrn_high_n_s16(vqshrn_n_s16(top(a, b), kShift), top(c, d), kShift);
}

// The first 16 bits of eight sums' fractions.
DGMS_INLINE uint16x8_t FractionPart(int32x4_t low, int32x4_t high) {
  constexpr int kLeftOut = FixedSumS8::kFraction - 16;
  const uint16x4_t first = vshrn_n_u32(vreinterpretq_u32_s32(low), kLeftOut);
  return vshrn_high_n_u32(first, vreinterpretq_u32_s32(high), kLeftOut);
}

template <int a_step, int b_step>
void AddS8RowsNeon(const AddS8Args& args, const FixedSumS8& fixed) {
  const int32x4_t a_factor = vdupq_n_s32(fixed.a_step), b_factor = vdupq_n_s32(fixed.b_step);
  const int32x4_t start = vdupq_n_s32(fixed.start);
  const uint16_t unsure = static_cast<uint16_t>(fixed.unsure >> 16);
  const int8x16_t min = vdupq_n_s8(static_cast<int8_t>(args.min)), max = vdupq_n_s8(static_cast<int8_t>(args.max));
  const auto piece = [&](const int8_t* x, const int8_t* y, int8_t* results, int count) DGMS_INLINED {
    uint16x8_t least = vdupq_n_u16(UINT16_MAX);
    for (int i = 0; i < count; i += kShortPiece) {
      int32x4_t a[kVectors], b[kVectors];
      Widen(LoadOrRepeat<a_step>(x + a_step * i), a);
      Widen(LoadOrRepeat<b_step>(y + b_step * i), b);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        a[v] = vmlaq_s32(vmlaq_s32(start, a[v], a_factor), b[v], b_factor);
      }
      least = vminq_u16(least, vminq_u16(FractionPart(a[0], a[1]), FractionPart(a[2], a[3])));
      const int8x16_t bytes = IntegerPart(a[0], a[1], a[2], a[3]);
      vst1q_s8(results + i, vminq_s8(vmaxq_s8(bytes, min), max));
    }
    if (vminvq_u16(least) <= unsure) AddS8Exactly<a_step, b_step>(args, x, y, results, count);
  };
  ForEachBytePiece<a_step, b_step>(args.operands, piece);
}

void AddS8Neon(const AddS8Args& args) {
  const FixedSumS8 fixed(args);
  if (!fixed.fits) return AddS8(args);
  if (args.operands.a_step == 0) return AddS8RowsNeon<0, 1>(args, fixed);
  if (args.operands.b_step == 0) return AddS8RowsNeon<1, 0>(args, fixed);
  AddS8RowsNeon<1, 1>(args, fixed);
}

// Products in integers, as the contract says: the doubling product with its rounding is one instruction, and so is the
// shift, which rounds halves up, and away from zero once 1 is taken from negative numbers.
template <int a_step, int b_step>
void MulS8RowsNeon(const MulS8Args& args) {
  constexpr int kVectors = 4;
  const int8x16_t a_zero = vdupq_n_s8(static_cast<int8_t>(args.a_zero));
  const int8x16_t b_zero = vdupq_n_s8(static_cast<int8_t>(args.b_zero));
  const int32x4_t multiplier = vdupq_n_s32(args.factor.multiplier), shift = vdupq_n_s32(-args.factor.right);
  const int32x4_t ties = vdupq_n_s32(args.factor.right > 0 ? INT32_MIN : 0);
  const int16x8_t zero = vdupq_n_s16(static_cast<int16_t>(args.zero));
  const int8x16_t min = vdupq_n_s8(static_cast<int8_t>(args.min)), max = vdupq_n_s8(static_cast<int8_t>(args.max));
  const auto piece = [&](const int8_t* x, const int8_t* y, int8_t* results, int count) DGMS_INLINED {
    for (int i = 0; i < count; i += kShortPiece) {
      const int8x16_t a = LoadOrRepeat<a_step>(x + a_step * i), b = LoadOrRepeat<b_step>(y + b_step * i);
      const int16x8_t a_low = vsubl_s8(vget_low_s8(a), vget_low_s8(a_zero)), a_high = vsubl_high_s8(a, a_zero);
      const int16x8_t b_low = vsubl_s8(vget_low_s8(b), vget_low_s8(b_zero)), b_high = vsubl_high_s8(b, b_zero);
      int32x4_t q[kVectors] = {vmull_s16(vget_low_s16(a_low), vget_low_s16(b_low)), vmull_high_s16(a_low, b_low),
                               vmull_s16(vget_low_s16(a_high), vget_low_s16(b_high)), vmull_high_s16(a_high, b_high)};
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        q[v] = vqrdmulhq_s32(q[v], multiplier);
        q[v] = vrshlq_s32(vsraq_n_s32(q[v], vandq_s32(q[v], ties), 31), shift);
      }
      const int16x8_t low = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(q[0]), q[1]), zero);
      const int16x8_t high = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(q[2]), q[3]), zero);
      vst1q_s8(results + i, vminq_s8(vmaxq_s8(vqmovn_high_s16(vqmovn_s16(low), high), min), max));
    }
  };
  ForEachBytePiece<a_step, b_step>(args.operands, piece);
}

void MulS8Neon(const MulS8Args& args) {
  if (args.factor.left > 0) return MulS8(args);
  if (args.operands.a_step == 0) return MulS8RowsNeon<0, 1>(args);
  if (args.operands.b_step == 0) return MulS8RowsNeon<1, 0>(args);
  MulS8RowsNeon<1, 1>(args);
}

// Quotients become integers by the instruction that rounds halves away from zero and saturates; narrowing saturates,
// too. Only NaN needs care.
void QuantizeF32Neon(const QuantizeF32Args& args) {
  constexpr int kWide = 16;
  const float32x4_t scale = vdupq_n_f32(args.scale), lowest = vdupq_n_f32(-1024.0f);
  const int16x8_t zero = vdupq_n_s16(static_cast<int16_t>(args.zero));
  int64_t i = 0;
  for (; i + kWide <= args.count; i += kWide) {
    const float32x4x4_t x = vld1q_f32_x4(args.input + i);
    int32x4_t q[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) q[v] = vcvtaq_s32_f32(vmaxnmq_f32(vdivq_f32(x.val[v], scale), lowest));
    const int16x8_t low = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(q[0]), q[1]), zero);
    const int16x8_t high = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(q[2]), q[3]), zero);
    vst1q_s8(args.output + i, vqmovn_high_s16(vqmovn_s16(low), high));
  }
  QuantizeF32({args.input + i, args.output + i, args.count - i, args.scale, args.zero});
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_POINTWISE_S8_NEON_H_
