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

// A step has 24 bits behind the point: high * 2^15 + low, each of which fits 16. With x * 2^7, which does, too,
//     x * step / 2^8 = (x * 2^7) * high + (x * 2^7) * low / 2^15,
// a product of 32 bits and one of 16 that the instruction for such rounds by half a unit. So each operand is off by
// that and by a quarter, for the rounding of its step; the start by a half.
using FixedSum = FixedSumS8<16, 24, 2, 63>;

struct Step {
  int16_t high, low;
  explicit Step(int32_t step)
      : high(static_cast<int16_t>((step + (1 << 14)) >> 15)), low(static_cast<int16_t>(step - high * (1 << 15))) {}
};

// 16 sums: their integer parts saturated to bytes, and the smaller fractions of each two.
struct SumsNeon {
  int8x16_t bytes;
  uint16x8_t least;
};

DGMS_INLINE SumsNeon AddVectors(int8x16_t x, int8x16_t y, const Step& a, const Step& b, int32x4_t start) {
  constexpr int kHalves = 2, kUp = 7;
  const int16x8_t xs[kHalves] = {vshll_n_s8(vget_low_s8(x), kUp), vshll_high_n_s8(x, kUp)};
  const int16x8_t ys[kHalves] = {vshll_n_s8(vget_low_s8(y), kUp), vshll_high_n_s8(y, kUp)};
  int16x8_t integers[kHalves];
  uint16x8_t fractions[kHalves];
#pragma GCC unroll 2
  for (int h = 0; h < kHalves; ++h) {
    const int16x8_t low = vaddq_s16(vqrdmulhq_n_s16(xs[h], a.low), vqrdmulhq_n_s16(ys[h], b.low));
    int32x4_t first = vmlal_n_s16(vaddw_s16(start, vget_low_s16(low)), vget_low_s16(xs[h]), a.high);
    int32x4_t second = vmlal_high_n_s16(vaddw_high_s16(start, low), xs[h], a.high);
    first = vmlal_n_s16(first, vget_low_s16(ys[h]), b.high);
    second = vmlal_high_n_s16(second, ys[h], b.high);
    integers[h] = vuzp2q_s16(vreinterpretq_s16_s32(first), vreinterpretq_s16_s32(second));
    fractions[h] = vuzp1q_u16(vreinterpretq_u16_s32(first), vreinterpretq_u16_s32(second));
  }
  return {vqmovn_high_s16(vqmovn_s16(integers[0]), integers[1]), vminq_u16(fractions[0], fractions[1])};
}

// Pieces are read as a whole before any of them is written.
template <int a_step, int b_step>
void AddS8RowsNeon(const AddS8Args& args, const FixedSum& fixed) {
  constexpr int kMost = kPiece / kShortPiece;
  const Step a(fixed.a_step), b(fixed.b_step);
  const int32x4_t start = vdupq_n_s32(fixed.start);
  const uint16_t unsure = static_cast<uint16_t>(fixed.unsure >> 16);
  const int8x16_t min = vdupq_n_s8(static_cast<int8_t>(args.min)), max = vdupq_n_s8(static_cast<int8_t>(args.max));
  const bool clamp = args.min != INT8_MIN || args.max != INT8_MAX;
  const auto piece = [&](const int8_t* x, const int8_t* y, int8_t* results, int count) DGMS_INLINED {
    const int vectors = count / kShortPiece;
    SumsNeon sums[kMost];
    uint16x8_t least = vdupq_n_u16(UINT16_MAX);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      const int i = v * kShortPiece;
      sums[v] = AddVectors(LoadOrRepeat<a_step>(x + a_step * i), LoadOrRepeat<b_step>(y + b_step * i), a, b, start);
      least = v == 0 ? sums[v].least : vminq_u16(least, sums[v].least);
    }
    if (clamp) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sums[v].bytes = vminq_s8(vmaxq_s8(sums[v].bytes, min), max);
    }
    if (__builtin_expect(vminvq_u16(least) <= unsure, 0)) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        if (vminvq_u16(sums[v].least) > unsure) continue;
        int8_t exact[kShortPiece];
        const int i = v * kShortPiece;
        AddS8Exactly<a_step, b_step>(args, x + a_step * i, y + b_step * i, exact, kShortPiece);
        sums[v].bytes = vld1q_s8(exact);
      }
    }
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) vst1q_s8(results + v * kShortPiece, sums[v].bytes);
  };
  ForEachBytePiece<a_step, b_step, /*reads_first=*/true>(args.operands, piece);
}

void AddS8Neon(const AddS8Args& args) {
  const FixedSum fixed(args);
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
