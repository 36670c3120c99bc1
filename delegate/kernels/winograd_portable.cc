// Winograd F(4x4, 3x3) in plain C++: vectors of one float.
#include <stdint.h>

#define DGMS_INLINE inline

namespace dgms {
namespace {

constexpr int kLanes = 1;
using Floats = float;
struct Mask {};  // never needed: one lane is always full

inline Mask First(int64_t) { return {}; }
inline Floats Zero() { return 0.0f; }
inline Floats Splat(float x) { return x; }
inline Floats Load(const float* p) { return *p; }
inline Floats Load(const float* p, Mask) { return *p; }
inline void Store(float* p, Floats v) { *p = v; }
inline void Store(float* p, Floats v, Mask) { *p = v; }
inline Floats Add(Floats a, Floats b) { return a + b; }
inline Floats Subtract(Floats a, Floats b) { return a - b; }
inline Floats Multiply(Floats a, Floats b) { return a * b; }
inline Floats MultiplyAdd(Floats a, Floats b, Floats c) { return a * b + c; }
inline Floats MinusProduct(Floats a, Floats b, Floats c) { return c - a * b; }
inline Floats Clamp(Floats v, Floats min, Floats max) {  // both comparisons are false for NaN
  v = v < min ? min : v;
  return v > max ? max : v;
}

}  // namespace
}  // namespace dgms

// The order matters: winograd.h is written over the names above.
#include "kernels/winograd.h"

namespace dgms {

void f32_winograd_portable_input(const WinogradInputArgs& args) { TransformInput(args); }
void f32_winograd_portable_filter(const WinogradFilterArgs& args) { TransformFilter(args); }
void f32_winograd_portable_output(const WinogradOutputArgs& args) { TransformOutput(args); }

}  // namespace dgms
