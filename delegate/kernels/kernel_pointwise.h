// The contract of the kernels of operators without weights. The general rules are those of kernel.h: nothing outside of
// the stated ranges is touched, and results depend neither on the instruction set nor on how the work is cut, but for
// float sums where it is said. An output may be the very same memory as an input whose elements lie in the same places;
// no other overlap is allowed.
//
// Clamping (min, max) returns NaN for NaN. A comparison with NaN is false, which decides what becomes of it elsewhere.
#ifndef DGMS_KERNELS_KERNEL_POINTWISE_H_
#define DGMS_KERNELS_KERNEL_POINTWISE_H_

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernel.h"

namespace dgms {

// ---------------------------------------------------------------------------------------------------------------------
// Two operands. Rows of n elements: element i of row r is
//     a[r * a_row_stride + (a_step ? i : 0)]      and      output[r * n + i]
// A row stride of 0 repeats a row, a step of 0 repeats an element; at least one step is 1.
template <typename T>
struct BinaryOperands {
  int64_t rows;  // >= 1
  int64_t n;     // >= 1
  const T* a;
  int64_t a_row_stride;
  int a_step;  // 0 or 1
  const T* b;
  int64_t b_row_stride;
  int b_step;
  T* output;
};

enum class BinaryKind { kAdd, kSub, kMul };

struct BinaryF32Args {
  BinaryKind kind;
  BinaryOperands<float> operands;
  float min, max;  // -inf and +inf without a fused activation
};
using BinaryF32Fn = void (*)(const BinaryF32Args& args);

// A positive factor in fixed point: multiplier / 2^31 * 2^(left - right); left or right is 0, multiplier >= 0. It acts
// on x in two steps, each of which rounds:
//     high = (x * 2^left * multiplier + 2^30) >> 31          a 64-bit product; x * 2^left is computed modulo 2^32
//     high / 2^right, halves away from zero
struct FixedFactor {
  int32_t multiplier;
  int32_t left;   // 0..30
  int32_t right;  // 0..31
};

// Exact integer arithmetic is slow beside memory, and a float tells where its result is sure: outputs are first
// computed in float, and a piece is computed again in integers where one of its floats comes closer than `margin` to a
// half. A margin of 0.5 or more means that floats are of no use.
struct NearHalf {
  float margin;
};

//   sum    = ((a - a_zero) * 2^20 by a_factor)  +  ((b - b_zero) * 2^20 by b_factor, negated where `subtract`)
//   output = clamp(sum by factor + zero, min, max)
// a_factor and b_factor are at most one half (left is 0), `factor` is below 1.
//   a_float, b_float   what one step of a and of b is worth in steps of the output
//   digits             for add_digits_s8 alone

// A sum of two int8 operands in fixed point, cut so that all arithmetic has 16 bits. Digits are to the base of 256, the
// first one is the lowest:
//   x0 = a * a[0] + b * b[0]
//   x1 = a * a[1] + b * b[1] + start[0] + ((x0 + half) >> 8)    half: 128 or 0
//   x2 = a * a[2] + b * b[2] + start[1] + (x1 >> 8)
//   result = (x2 + 2^(shift - 1)) >> shift
// x0, x0 + half, x1 and x2 fit 16 bits for all operands; what they are sums of may not.
struct DigitSumS8 {
  int8_t a[3], b[3];
  bool half;
  int16_t start[2];
  int shift;  // 5..7
};

struct AddS8Args {
  BinaryOperands<int8_t> operands;
  int32_t a_zero, b_zero, zero;  // -128..127
  FixedFactor a_factor, b_factor, factor;
  bool subtract;
  float a_float, b_float;
  NearHalf near;
  int32_t min, max;  // -128 <= min <= max <= 127
  DigitSumS8 digits;
};
using AddS8Fn = void (*)(const AddS8Args& args);

//   output = clamp((a - a_zero) * (b - b_zero) by factor + zero, min, max)
struct MulS8Args {
  BinaryOperands<int8_t> operands;
  int32_t a_zero, b_zero, zero;
  FixedFactor factor;
  float factor_float;  // the same, in one
  NearHalf near;
  int32_t min, max;
};
using MulS8Fn = void (*)(const MulS8Args& args);

// ---------------------------------------------------------------------------------------------------------------------
// One operand.
enum class UnaryKind {
  kClamp,      // clamp(x, min, max)
  kHardSwish,  // x * min(6, max(0, x + 3)) / 6, each step rounded
  kLogistic,   // 1 / (1 + exp(-x)) within 4 units in the last place; below 2^-126: 0
};
struct UnaryF32Args {
  UnaryKind kind;
  const float* input;
  float* output;
  int64_t count;
  float min, max;  // kClamp only
};
using UnaryF32Fn = void (*)(const UnaryF32Args& args);

// output[i] = table[input[i] + 128]
struct LookupS8Args {
  const int8_t* table;  // 256 entries
  const int8_t* input;
  int8_t* output;
  int64_t count;
};
using LookupS8Fn = void (*)(const LookupS8Args& args);

// output = clamp(round(input / scale) + zero, -128, 127): the quotient rounded to float, then to an integer, halves
// away from zero. NaN gives -128.
struct QuantizeF32Args {
  const float* input;
  int8_t* output;
  int64_t count;
  float scale;  // > 0, finite
  int32_t zero;
};
using QuantizeF32Fn = void (*)(const QuantizeF32Args& args);

// output = (input - zero) * scale, rounded once
struct DequantizeS8Args {
  const int8_t* input;
  float* output;
  int64_t count;
  float scale;
  int32_t zero;
};
using DequantizeS8Fn = void (*)(const DequantizeS8Args& args);

// ---------------------------------------------------------------------------------------------------------------------
// Windows over maps with channels last: a run of output pixels of one row, as DepthwiseF32Args without weights.
//   output[i * output_stride + c] of input[ky * line_stride + i * pixel_stride + kx * tap_stride + c]
// Maximum: starts from the lowest finite value, takes x where it is larger; clamps.
// Average: the sum from 0 in the order of ky, then kx, divided by kernel_h * kernel_w and clamped; int8 divides as
//     (sum + sign * count / 2) / count, both divisions cut off towards zero, sign that of the sum
template <typename T, typename Bound>
struct PoolArgs {
  const T* input;
  int64_t line_stride;
  int64_t tap_stride;
  int64_t pixel_stride;
  int64_t kernel_h;  // >= 1
  int64_t kernel_w;  // >= 1; kernel_h * kernel_w is below 2^23
  int64_t pixels;    // >= 1
  int64_t channels;  // >= 1
  T* output;
  int64_t output_stride;
  Bound min, max;
};
using PoolF32Args = PoolArgs<float, float>;
using PoolS8Args = PoolArgs<int8_t, int32_t>;
using PoolF32Fn = void (*)(const PoolF32Args& args);
using PoolS8Fn = void (*)(const PoolS8Args& args);

// ---------------------------------------------------------------------------------------------------------------------
// Sums. sums[c] += input[r * row_stride + c] for r = 0.. in this order; c in [0, n).
template <typename T, typename Sum>
struct SumRowsArgs {
  const T* input;
  int64_t rows;
  int64_t row_stride;
  int64_t n;
  Sum* sums;
};
using SumRowsF32Args = SumRowsArgs<float, float>;
using SumRowsS8Args = SumRowsArgs<int8_t, int32_t>;
using SumRowsF32Fn = void (*)(const SumRowsF32Args& args);
using SumRowsS8Fn = void (*)(const SumRowsS8Args& args);

// The sum of `count` neighbours. The float one adds every 64th to one of 64 sums, which are then added in pairs.
using SumF32Fn = float (*)(const float* input, int64_t count);
using SumS8Fn = int32_t (*)(const int8_t* input, int64_t count);

// ---------------------------------------------------------------------------------------------------------------------
// output = exp((input - largest) * beta) / sum of these; exp within 3 units in the last place, values below 2^-126 as
// 0. The order of the sum is that of SumF32Fn.
struct SoftmaxF32Args {
  const float* input;
  float* output;
  int64_t count;  // >= 1
  float beta;
};
using SoftmaxF32Fn = void (*)(const SoftmaxF32Args& args);

// ---------------------------------------------------------------------------------------------------------------------
struct PointwiseKernel {
  const char* name;
  Isa isa;
  BinaryF32Fn binary_f32;
  AddS8Fn add_s8;
  MulS8Fn mul_s8;
  UnaryF32Fn unary_f32;
  LookupS8Fn lookup_s8;
  QuantizeF32Fn quantize_f32;
  DequantizeS8Fn dequantize_s8;
  PoolF32Fn max_pool_f32;
  PoolF32Fn average_pool_f32;
  PoolS8Fn max_pool_s8;
  PoolS8Fn average_pool_s8;
  SumRowsF32Fn sum_rows_f32;
  SumRowsS8Fn sum_rows_s8;
  SumF32Fn sum_f32;
  SumS8Fn sum_s8;
  SoftmaxF32Fn softmax_f32;
  AddS8Fn add_digits_s8 = nullptr;  // add_s8 where clamp(result of `digits`, min, max) is known to be the same; or null
};

#define DGMS_POINTWISE(name, isa) extern const PointwiseKernel name;
#include "kernels/kernels_pointwise.inc"
#undef DGMS_POINTWISE

}  // namespace dgms

#endif  // DGMS_KERNELS_KERNEL_POINTWISE_H_
