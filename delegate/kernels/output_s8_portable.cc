// From sums to outputs, in plain C++: the form that the vector kernels repeat.
#include "kernels/kernel_s8.h"

namespace dgms {
namespace {

// x / 2^right, halves away from zero.
inline int32_t RoundingShiftRight(int32_t x, int32_t right) {
  const int32_t mask = static_cast<int32_t>((uint32_t{1} << right) - 1);
  const int32_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);
  return (x >> right) + ((x & mask) > threshold ? 1 : 0);
}

}  // namespace

void s8_output_portable_requantize(const RequantizeArgs& args) {
  for (int r = 0; r < args.rows; ++r) {
    const int32_t* sums = args.sums + r * args.sums_row_stride;
    int8_t* output = args.output + r * args.output_row_stride;
    for (int j = 0; j < args.n; ++j) {
      const uint32_t biased = static_cast<uint32_t>(sums[j]) + static_cast<uint32_t>(args.bias[j]);
      const int64_t shifted = static_cast<int32_t>(biased << args.left[j]);
      const int32_t high = static_cast<int32_t>((shifted * args.multiplier[j] + (int64_t{1} << 30)) >> 31);
      const uint32_t moved =
          static_cast<uint32_t>(RoundingShiftRight(high, args.right[j])) + static_cast<uint32_t>(args.zero);
      int32_t y = static_cast<int32_t>(moved);
      y = y < args.min ? args.min : y;
      output[j] = static_cast<int8_t>(y > args.max ? args.max : y);
    }
  }
}

void s8_output_portable_rescale(const RescaleArgs& args) {
  constexpr double kMost = 1073741824.0;
  for (int r = 0; r < args.rows; ++r) {
    const int32_t* sums = args.sums + r * args.sums_row_stride;
    int8_t* output = args.output + r * args.output_row_stride;
    for (int j = 0; j < args.n; ++j) {
      const uint32_t biased = static_cast<uint32_t>(sums[j]) + static_cast<uint32_t>(args.bias[j]);
      double x = static_cast<double>(static_cast<int32_t>(biased)) * args.factor[j];
      x = x < -kMost ? -kMost : x;
      x = x > kMost ? kMost : x;
      const int32_t whole = static_cast<int32_t>(x);
      const double rest = x - whole;  // exact
      int32_t y = whole + (rest >= 0.5 ? 1 : 0) - (rest <= -0.5 ? 1 : 0) + args.zero;
      y = y < args.min ? args.min : y;
      output[j] = static_cast<int8_t>(y > args.max ? args.max : y);
    }
  }
}

void s8_output_portable_dequantize(const DequantizeArgs& args) {
  for (int r = 0; r < args.rows; ++r) {
    const int32_t* sums = args.sums + r * args.sums_row_stride;
    const int64_t entry = (r + args.rows_each - args.first_rows) / args.rows_each;
    const uint32_t zero = static_cast<uint32_t>(args.zero[entry]);
    const float scale = args.scale[entry];
    const float* residual = args.residual == nullptr ? nullptr : args.residual + r * args.residual_row_stride;
    float* output = args.output + r * args.output_row_stride;
    for (int j = 0; j < args.n; ++j) {
      const uint32_t sum = static_cast<uint32_t>(sums[j]) - zero * static_cast<uint32_t>(args.column_sum[j]);
      float y = static_cast<float>(static_cast<int32_t>(sum)) * (scale * args.column_scale[j]) + args.bias[j];
      if (residual != nullptr) y += residual[j];
      // NaN passes: both comparisons are false for it.
      y = y < args.min ? args.min : y;
      output[j] = y > args.max ? args.max : y;
    }
  }
}

void s8_output_portable_rescale_rows(const RescaleRowsArgs& args) {
  for (int r = 0; r < args.rows; ++r) {
    const int32_t* sums = args.sums + r * args.sums_row_stride;
    const int64_t entry = (r + args.rows_each - args.first_rows) / args.rows_each;
    const uint32_t zero = static_cast<uint32_t>(args.zero[entry]);
    const float scale = args.scale[entry];
    int8_t* output = args.output + r * args.output_row_stride;
    for (int j = 0; j < args.n; ++j) {
      const uint32_t sum = static_cast<uint32_t>(sums[j]) - zero * static_cast<uint32_t>(args.column_sum[j]);
      float y = static_cast<float>(static_cast<int32_t>(sum)) * (scale * args.column_scale[j]) + args.bias[j];
      y = y > 0.0f ? y : 0.0f;  // NaN is not
      y = y > 255.0f ? 255.0f : y;
      // Numbers from 2^23 to 2^24 are integers: the sum is rounded to one, halves to even.
      constexpr float kIntegers = 8388608.0f;
      output[j] = static_cast<int8_t>(static_cast<int32_t>((y + kIntegers) - kIntegers) - 128);
    }
  }
}

}  // namespace dgms
