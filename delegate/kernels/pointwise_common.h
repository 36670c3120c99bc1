// What the plain loops of pointwise.h and pointwise_binary.h are written with. As for those: compiled anew by every
// file that includes it.
#ifndef DGMS_KERNELS_POINTWISE_COMMON_H_
#define DGMS_KERNELS_POINTWISE_COMMON_H_

#include <string.h>

#include "kernels/kernel_pointwise.h"

// Before a loop whose iterations are independent of each other even where the output is the input itself, which
// compilers cannot know.
#if defined(__clang__)
// Where it cannot (NEON of 32 bits rounds otherwise), plain code is right, and no reason for a warning.
#pragma clang diagnostic ignored "-Wpass-failed"
#define DGMS_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#define DGMS_UNROLL_4  // it does so by itself
#else
#define DGMS_INDEPENDENT _Pragma("GCC ivdep")
// Behind it: four vectors per round, where a round is so little that its end counts.
#define DGMS_UNROLL_4 _Pragma("GCC unroll 4")
#endif
#define DGMS_INLINED __attribute__((always_inline))
#define DGMS_INLINE inline DGMS_INLINED

namespace dgms {
namespace {

constexpr int kPiece =
    64;  // elements that are done together where a piece may have to be done again, or of partial sums
constexpr float kLowest = -3.402823466e+38f;  // of finite floats

// NaN passes: both comparisons are false for it.
template <typename T>
DGMS_INLINE T Clamped(T y, T min, T max) {
  y = y < min ? min : y;
  return y > max ? max : y;
}

// Adding 1.5 * 2^23 leaves the nearest integer, halves to even, in the low bits of a float below 2^22 in magnitude.
constexpr float kMagic = 12582912.0f;
constexpr int32_t kMagicBits = 0x4b400000;

DGMS_INLINE int32_t Bits(float x) {
  int32_t bits;
  memcpy(&bits, &x, sizeof(bits));
  return bits;
}

DGMS_INLINE float FromBits(int32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof(x));
  return x;
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_POINTWISE_COMMON_H_
