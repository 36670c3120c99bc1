// Quantisation of float activations, in plain loops over independent lanes: every file that includes this compiles them
// with its own instruction set's flags, and compilers turn them into its vectors. No sum and no order of operations
// depends on the number of lanes, so all results are the same.
#ifndef DGMS_KERNELS_QUANTIZE_S8_H_
#define DGMS_KERNELS_QUANTIZE_S8_H_

#include <string.h>

#include "kernels/kernel_s8.h"

namespace dgms {
namespace {

constexpr int kRangeLanes = 64;

inline void Widen(float x, float* min, float* max, float* poison) {
  *min = x < *min ? x : *min;
  *max = x > *max ? x : *max;
  *poison += x * 0.0f;  // NaN for NaN and for infinities, else zero
}

[[maybe_unused]] FloatRange RangeOf(const float* x, int64_t count) {
  float min[kRangeLanes] = {}, max[kRangeLanes] = {}, poison[kRangeLanes] = {};
  int64_t i = 0;
  for (; i + kRangeLanes <= count; i += kRangeLanes) {
    for (int lane = 0; lane < kRangeLanes; ++lane) Widen(x[i + lane], min + lane, max + lane, poison + lane);
  }
  for (int lane = 0; i < count; ++i, ++lane) Widen(x[i], min + lane, max + lane, poison + lane);
  FloatRange range = {0.0f, 0.0f, true};
  for (int lane = 0; lane < kRangeLanes; ++lane) {
    range.min = min[lane] < range.min ? min[lane] : range.min;
    range.max = max[lane] > range.max ? max[lane] : range.max;
    range.finite = range.finite && poison[lane] == 0.0f;
  }
  return range;
}

// Adding 1.5 * 2^23 leaves the nearest integer, halves to even, in the low bits of a float.
void Quantize(const QuantizeArgs& args) {
  constexpr float kMagic = 12582912.0f;
  constexpr int32_t kMagicBits = 0x4b400000;
  const float inverse = args.inverse;
  const int32_t moved = args.zero - kMagicBits;
  // Bytes may alias anything, `args` among it: compilers need to be told otherwise before they use vectors.
  const int64_t count = args.count;
  const float* __restrict x = args.input;
  int8_t* __restrict output = args.output;
  const int32_t flip = args.flip ? 128 : 0;
  for (int64_t i = 0; i < count; ++i) {
    const float near = x[i] * inverse + kMagic;
    int32_t bits;
    memcpy(&bits, &near, sizeof(bits));
    int32_t q = bits + moved;
    q = q < -128 ? -128 : q;
    q = q > 127 ? 127 : q;
    output[i] = static_cast<int8_t>(q ^ flip);
  }
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_QUANTIZE_S8_H_
