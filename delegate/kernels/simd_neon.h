// What the NEON kernels need beyond the intrinsics, alike on 64-bit and 32-bit ARM. For *_neon.cc only.
#ifndef DGMS_KERNELS_SIMD_NEON_H_
#define DGMS_KERNELS_SIMD_NEON_H_

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/arch.h"

namespace dgms {
namespace {  // a copy of its own for each file: see the last rule of kernel.h

#define DGMS_INLINE inline __attribute__((always_inline))

constexpr int kLanes = 4;  // floats per vector

// sum + x[lane] * weights, rounded once. `lane` is a constant once inlined; the vector it is taken from holds four
// neighbouring places of K.
DGMS_INLINE float32x4_t FmaLane(float32x4_t sum, float32x4_t weights, float32x4_t x, int lane) {
#if DGMS_AARCH64
  switch (lane) {
    case 0:
      return vfmaq_laneq_f32(sum, weights, x, 0);
    case 1:
      return vfmaq_laneq_f32(sum, weights, x, 1);
    case 2:
      return vfmaq_laneq_f32(sum, weights, x, 2);
    default:
      return vfmaq_laneq_f32(sum, weights, x, 3);
  }
#else  // no fused multiply-add by a lane
  switch (lane) {
    case 0:
      return vfmaq_f32(sum, weights, vdupq_lane_f32(vget_low_f32(x), 0));
    case 1:
      return vfmaq_f32(sum, weights, vdupq_lane_f32(vget_low_f32(x), 1));
    case 2:
      return vfmaq_f32(sum, weights, vdupq_lane_f32(vget_high_f32(x), 0));
    default:
      return vfmaq_f32(sum, weights, vdupq_lane_f32(vget_high_f32(x), 1));
  }
#endif
}

// sum + *x * weights, rounded once.
DGMS_INLINE float32x4_t FmaBroadcast(float32x4_t sum, float32x4_t weights, const float* x) {
  return vfmaq_f32(sum, weights, vld1q_dup_f32(x));
}

// The bytes of a 16-byte table at 16 indices; 0 where an index is above 15.
DGMS_INLINE uint8x16_t Lookup(uint8x16_t table, uint8x16_t index) {
#if DGMS_AARCH64
  return vqtbl1q_u8(table, index);
#else
  const uint8x8x2_t halves = {{vget_low_u8(table), vget_high_u8(table)}};
  return vcombine_u8(vtbl2_u8(halves, vget_low_u8(index)), vtbl2_u8(halves, vget_high_u8(index)));
#endif
}

// The same, but `old` where an index is above 15.
DGMS_INLINE uint8x16_t LookupOr(uint8x16_t old, uint8x16_t table, uint8x16_t index) {
#if DGMS_AARCH64
  return vqtbx1q_u8(old, table, index);
#else
  const uint8x8x2_t halves = {{vget_low_u8(table), vget_high_u8(table)}};
  return vcombine_u8(vtbx2_u8(vget_low_u8(old), halves, vget_low_u8(index)),
                     vtbx2_u8(vget_high_u8(old), halves, vget_high_u8(index)));
#endif
}

// NaN passes: unlike vmaxnm and vminnm, these return NaN if either operand is NaN.
DGMS_INLINE float32x4_t Clamp(float32x4_t value, float32x4_t min, float32x4_t max) {
  return vminq_f32(vmaxq_f32(value, min), max);
}

// Loads four floats and moves on by `step` bytes, in one instruction on 64-bit ARM: compilers make two of it.
DGMS_INLINE float32x4_t LoadNext(const float** p, ptrdiff_t step) {
#if DGMS_AARCH64
  float32x4_t v;
  __asm__("ld1 {%0.4s}, [%1], %2" : "=w"(v), "+r"(*p) : "r"(step), "m"(*reinterpret_cast<const float (*)[kLanes]>(*p)));
#else
  const float32x4_t v = vld1q_f32(*p);
  *p = reinterpret_cast<const float*>(reinterpret_cast<const char*>(*p) + step);
#endif
  return v;
}

// Neighbouring vectors of four, which one instruction loads or stores: in neighbouring registers.
template <int count>
struct RegistersOf;
template <>
struct RegistersOf<1> {
  struct Type {
    float32x4_t val[1];
  };
};
template <>
struct RegistersOf<2> {
  using Type = float32x4x2_t;
};
template <>
struct RegistersOf<3> {
  using Type = float32x4x3_t;
};
template <>
struct RegistersOf<4> {
  using Type = float32x4x4_t;
};
template <int count>
using Registers = typename RegistersOf<count>::Type;

// The same for `count` (1 to 4) vectors of four.
template <int count>
DGMS_INLINE Registers<count> LoadNext(const float** p, ptrdiff_t step) {
  Registers<count> v;
#if DGMS_AARCH64 && !defined(__clang__)  // clang has no names for the registers behind the first
  if constexpr (count == 2) {
    __asm__("ld1 {%S0.4s - %T0.4s}, [%1], %2"
            : "=w"(v), "+r"(*p)
            : "r"(step), "m"(*reinterpret_cast<const float (*)[count * kLanes]>(*p)));
    return v;
  }
  if constexpr (count == 3) {
    __asm__("ld1 {%S0.4s - %U0.4s}, [%1], %2"
            : "=w"(v), "+r"(*p)
            : "r"(step), "m"(*reinterpret_cast<const float (*)[count * kLanes]>(*p)));
    return v;
  }
  if constexpr (count == 4) {
    __asm__("ld1 {%S0.4s - %V0.4s}, [%1], %2"
            : "=w"(v), "+r"(*p)
            : "r"(step), "m"(*reinterpret_cast<const float (*)[count * kLanes]>(*p)));
    return v;
  }
#endif
  if constexpr (count == 1) {
    v.val[0] = LoadNext(p, step);
  } else {
#pragma GCC unroll 4
    for (int i = 0; i < count; ++i) v.val[i] = vld1q_f32(*p + i * kLanes);
    *p = reinterpret_cast<const float*>(reinterpret_cast<const char*>(*p) + step);
  }
  return v;
}

// Loads vectors that other registers hold already: compilers would copy them, vector by vector.
template <int count>
DGMS_INLINE void LoadAgain(const float* p, float32x4_t (&v)[count]) {
#if DGMS_AARCH64
  if constexpr (count % 2 == 0) {
#pragma GCC unroll 2
    for (int i = 0; i < count; i += 2, p += 2 * kLanes) {
      __asm__ volatile("ldp %q0, %q1, [%2]"
                       : "=w"(v[i]), "=w"(v[i + 1])
                       : "r"(p), "m"(*reinterpret_cast<const float (*)[2 * kLanes]>(p)));
    }
    return;
  }
#endif
#pragma GCC unroll 4
  for (int i = 0; i < count; ++i) v[i] = vld1q_f32(p + i * kLanes);
}

// Stores four floats and moves on, likewise.
DGMS_INLINE void StoreNext(float** p, ptrdiff_t step, float32x4_t v) {
#if DGMS_AARCH64
  __asm__("st1 {%2.4s}, [%1], %3" : "=m"(*reinterpret_cast<float (*)[kLanes]>(*p)), "+r"(*p) : "w"(v), "r"(step));
#else
  vst1q_f32(*p, v);
  *p = reinterpret_cast<float*>(reinterpret_cast<char*>(*p) + step);
#endif
}

template <int count>
DGMS_INLINE void StoreNext(float** p, ptrdiff_t step, Registers<count> v) {
#if DGMS_AARCH64 && !defined(__clang__)
  if constexpr (count == 2) {
    __asm__("st1 {%S2.4s - %T2.4s}, [%1], %3"
            : "=m"(*reinterpret_cast<float (*)[count * kLanes]>(*p)), "+r"(*p)
            : "w"(v), "r"(step));
    return;
  }
  if constexpr (count == 3) {
    __asm__("st1 {%S2.4s - %U2.4s}, [%1], %3"
            : "=m"(*reinterpret_cast<float (*)[count * kLanes]>(*p)), "+r"(*p)
            : "w"(v), "r"(step));
    return;
  }
  if constexpr (count == 4) {
    __asm__("st1 {%S2.4s - %V2.4s}, [%1], %3"
            : "=m"(*reinterpret_cast<float (*)[count * kLanes]>(*p)), "+r"(*p)
            : "w"(v), "r"(step));
    return;
  }
#endif
#pragma GCC unroll 4
  for (int i = 0; i < count; ++i) vst1q_f32(*p + i * kLanes, v.val[i]);
  *p = reinterpret_cast<float*>(reinterpret_cast<char*>(*p) + step);
}

// The first n (1..4) floats at p; zeros behind them. Reads nothing else.
DGMS_INLINE float32x4_t LoadFirst(const float* p, int n) {
  if (n >= kLanes) return vld1q_f32(p);
  float32x4_t v = vld1q_lane_f32(p, vdupq_n_f32(0.0f), 0);
  if (n > 1) v = vld1q_lane_f32(p + 1, v, 1);
  if (n > 2) v = vld1q_lane_f32(p + 2, v, 2);
  return v;
}

// Writes the first n (1..4) floats of v to p, and nothing else.
DGMS_INLINE void StoreFirst(float* p, float32x4_t v, int n) {
  if (n >= kLanes) {
    vst1q_f32(p, v);
    return;
  }
  vst1q_lane_f32(p, v, 0);
  if (n > 1) vst1q_lane_f32(p + 1, v, 1);
  if (n > 2) vst1q_lane_f32(p + 2, v, 2);
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_SIMD_NEON_H_
