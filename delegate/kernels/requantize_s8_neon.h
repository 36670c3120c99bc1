// Requantising in fixed point with 64-bit NEON, without what the contract's general form (kernel_s8.h) needs but simple
// columns do not: what the kernels that make int8 outputs of sums share. For *_neon*.cc only, after simd_neon.h.
//   - simple columns have no left shift, but a right one (layers with a factor below 1/2);
//   - the right shift rounds halves up, and away from zero once 1 is taken from negative numbers. That is left out
//     (HasTies) where outputs are clamped at the zero point (ReLU): negative numbers become that, however rounded;
//   - narrowing saturates, which is all the clamping that a range of -128..127 needs (HasClamp). Where it is known that
//     nothing leaves 16 bits (FitsHalves), 32 bits become 16 by leaving out every other half.
#ifndef DGMS_KERNELS_REQUANTIZE_S8_NEON_H_
#define DGMS_KERNELS_REQUANTIZE_S8_NEON_H_

#include "kernels/kernel_s8.h"
#include "kernels/simd_neon.h"

namespace dgms {
namespace {

DGMS_INLINE bool HasTies(const RequantizeArgs& args) { return args.min < args.zero; }
DGMS_INLINE bool HasClamp(const RequantizeArgs& args) { return args.min != INT8_MIN || args.max != INT8_MAX; }

// Four columns of a row, with or without their bias, before the shift.
template <bool ties>
DGMS_INLINE int32x4_t Multiplied(int32x4_t x, int32x4_t multiplier) {
  int32x4_t y = vqrdmulhq_s32(x, multiplier);
  if (ties) __asm__("ssra %0.4s, %0.4s, #31" : "+w"(y));  // in place: of vsraq_n_s32 compilers make copies
  return y;
}

// Eight outputs as halves, from numbers after the shift.
template <bool fits>
DGMS_INLINE int16x8_t Halves(int32x4_t low, int32x4_t high, int16x8_t zero) {
  if (fits) return vqaddq_s16(vuzp1q_s16(vreinterpretq_s16_s32(low), vreinterpretq_s16_s32(high)), zero);
  return vqaddq_s16(vqmovn_high_s32(vqmovn_s32(low), high), zero);
}

// 16 outputs, or eight in the low half.
template <bool fits>
DGMS_INLINE int8x16_t Bytes(const int32x4_t (&y)[4], int16x8_t zero) {
  return vqmovn_high_s16(vqmovn_s16(Halves<fits>(y[0], y[1], zero)), Halves<fits>(y[2], y[3], zero));
}
template <bool fits>
DGMS_INLINE int8x16_t Bytes(const int32x4_t (&y)[2], int16x8_t zero) {
  return vcombine_s8(vqmovn_s16(Halves<fits>(y[0], y[1], zero)), vdup_n_s8(0));
}

// Made where it is wanted: kept in a register for long it would take that from sums.
DGMS_INLINE uint8x16_t TopBits() {
  uint8x16_t bits;
  __asm__ volatile("movi %0.16b, #0x80" : "=w"(bits));
  return bits;
}

// The same where the zero point is -128 and clamping is all that befalls numbers below 0 and above 255.
DGMS_INLINE int8x16_t BytesAbove128(const int32x4_t (&y)[4], uint8x16_t top_bits) {
  const auto halves = [](int32x4_t low, int32x4_t high) {
    return vuzp1q_s16(vreinterpretq_s16_s32(low), vreinterpretq_s16_s32(high));
  };
  const uint8x16_t above = vqmovun_high_s16(vqmovun_s16(halves(y[0], y[1])), halves(y[2], y[3]));
  return vreinterpretq_s8_u8(veorq_u8(above, top_bits));
}

// Whether 4 * vectors columns all have NarrowS8.
template <int vectors>
DGMS_INLINE bool IsNarrow(const NarrowS8& narrow) {
  if (narrow.bias == nullptr) return false;
  if constexpr (vectors == 4) return vminvq_u8(vld1q_u8(narrow.applies)) != 0;
  return vminv_u8(vld1_u8(narrow.applies)) != 0;
}

// 16 outputs of NarrowS8, from numbers after the multiplication.
DGMS_INLINE int8x16_t NarrowBytes(const int32x4_t (&x)[4], uint8x16_t top_bits) {
  const int16x8_t low = vuzp1q_s16(vreinterpretq_s16_s32(x[0]), vreinterpretq_s16_s32(x[1]));
  const int16x8_t high = vuzp1q_s16(vreinterpretq_s16_s32(x[2]), vreinterpretq_s16_s32(x[3]));
  const uint8x16_t above = vqrshrun_high_n_s16(vqrshrun_n_s16(low, kNarrowBits), high, kNarrowBits);
  return vreinterpretq_s8_u8(veorq_u8(above, top_bits));
}

template <int vectors>
DGMS_INLINE void StoreBytes(int8_t* p, int8x16_t bytes) {
  if constexpr (vectors == 4) {
    vst1q_s8(p, bytes);
  } else {
    vst1_s8(p, vget_low_s8(bytes));
  }
}

// One instruction, where the compiler finds neighbouring registers.
DGMS_INLINE void LoadColumns(const int32_t* p, int32x4_t (&to)[4]) {
  const int32x4x4_t all = vld1q_s32_x4(p);
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) to[v] = all.val[v];
}
DGMS_INLINE void LoadColumns(const int32_t* p, int32x4_t (&to)[2]) {
  const int32x4x2_t all = vld1q_s32_x2(p);
#pragma GCC unroll 2
  for (int v = 0; v < 2; ++v) to[v] = all.val[v];
}

DGMS_INLINE void LoadColumns(const float* p, float32x4_t (&to)[4]) {
  const float32x4x4_t all = vld1q_f32_x4(p);
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) to[v] = all.val[v];
}
DGMS_INLINE void LoadColumns(const float* p, float32x4_t (&to)[2]) {
  const float32x4x2_t all = vld1q_f32_x2(p);
#pragma GCC unroll 2
  for (int v = 0; v < 2; ++v) to[v] = all.val[v];
}

// The shifts of 4 * vectors columns, as the instruction wants them.
template <int vectors>
DGMS_INLINE void StoreShifts(const int32_t* right, int32_t* shifts) {
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) vst1q_s32(shifts + v * kLanes, vnegq_s32(vld1q_s32(right + v * kLanes)));
}

// Whether sums of so many products of activations and weights, with these columns' biases, fit 16 bits after the shift.
// (The multiplier is below 1; the shift rounds.)
template <int vectors>
DGMS_INLINE bool FitsHalves(const RequantizeArgs& args, int64_t products) {
  constexpr int64_t kLargestProduct = 128 * 127;
  uint32x4_t bias = vdupq_n_u32(0);
  int32x4_t right = vdupq_n_s32(31);
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) {
    bias = vmaxq_u32(bias, vreinterpretq_u32_s32(vabsq_s32(vld1q_s32(args.bias + v * kLanes))));
    right = vminq_s32(right, vld1q_s32(args.right + v * kLanes));
  }
  const int64_t largest = products * kLargestProduct + vmaxvq_u32(bias);
  return largest <= INT32_MAX && largest >> vminvq_s32(right) < INT16_MAX - 1;
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_REQUANTIZE_S8_NEON_H_
