// Winograd F(4x4, 3x3) with AVX-512.
#include "kernels/simd_avx512.h"

namespace dgms {
namespace {

DGMS_INLINE Floats Subtract(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
DGMS_INLINE Floats Multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
DGMS_INLINE Floats MinusProduct(Floats a, Floats b, Floats c) { return _mm512_fnmadd_ps(a, b, c); }

}  // namespace
}  // namespace dgms

// The order matters: winograd.h is written over the names above.
#include "kernels/winograd.h"

namespace dgms {

void f32_winograd_avx512_input(const WinogradInputArgs& args) { TransformInput(args); }
void f32_winograd_avx512_filter(const WinogradFilterArgs& args) { TransformFilter(args); }
void f32_winograd_avx512_output(const WinogradOutputArgs& args) { TransformOutput(args); }

}  // namespace dgms
