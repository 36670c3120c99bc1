// Winograd F(4x4, 3x3) with NEON.
#include "kernels/simd_neon.h"

namespace dgms {
namespace {

using Floats = float32x4_t;
using Mask = int;  // how many of the first lanes take part

DGMS_INLINE Mask First(int64_t count) { return count < kLanes ? static_cast<int>(count) : kLanes; }
DGMS_INLINE Floats Zero() { return vdupq_n_f32(0.0f); }
DGMS_INLINE Floats Splat(float x) { return vdupq_n_f32(x); }
DGMS_INLINE Floats Load(const float* p) { return vld1q_f32(p); }
DGMS_INLINE Floats Load(const float* p, Mask count) { return LoadFirst(p, count); }
DGMS_INLINE void Store(float* p, Floats v) { vst1q_f32(p, v); }
DGMS_INLINE void Store(float* p, Floats v, Mask count) { StoreFirst(p, v, count); }
DGMS_INLINE Floats Add(Floats a, Floats b) { return vaddq_f32(a, b); }
DGMS_INLINE Floats Subtract(Floats a, Floats b) { return vsubq_f32(a, b); }
DGMS_INLINE Floats Multiply(Floats a, Floats b) { return vmulq_f32(a, b); }
DGMS_INLINE Floats MultiplyAdd(Floats a, Floats b, Floats c) { return vfmaq_f32(c, a, b); }
DGMS_INLINE Floats MinusProduct(Floats a, Floats b, Floats c) { return vfmsq_f32(c, a, b); }

}  // namespace
}  // namespace dgms

// The order matters: winograd.h is written over the names above.
#include "kernels/winograd.h"

namespace dgms {

void f32_winograd_neon_input(const WinogradInputArgs& args) { TransformInput(args); }
void f32_winograd_neon_filter(const WinogradFilterArgs& args) { TransformFilter(args); }
void f32_winograd_neon_output(const WinogradOutputArgs& args) { TransformOutput(args); }

}  // namespace dgms
