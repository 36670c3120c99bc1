// int8 sums in fixed point, for kernels by hand: included, after pointwise.h's like, by files of one instruction set.
#ifndef DGMS_KERNELS_FIXED_SUM_S8_H_
#define DGMS_KERNELS_FIXED_SUM_S8_H_

#include <stdint.h>

#include "kernels/kernel_pointwise.h"

namespace dgms {
namespace {

// Sums in fixed point, with kFraction bits behind the point: a sum is a * a_step + b * b_step + start, in which the
// zero points, a half (so that cutting off rounds) and the margin are, too. Adding the margin before cutting off leaves
// all sure results alone, and those that are not have a fraction below twice the margin.
//   step_fraction   bits behind the point of the steps
//   rounding        how far a sum in fixed point may be from what it stands for, in units of its last bit
//   most_step       steps are less
template <int fraction, int step_fraction, int rounding, int most_step>
struct FixedSumS8 {
  static constexpr int kFraction = fraction;
  static constexpr double kOne = 1 << kFraction, kStepOne = 1 << step_fraction, kRounding = rounding / kOne;

  int32_t a_step, b_step, start;
  uint32_t unsure;  // fractions below, shifted up by 32 - kFraction
  bool fits;        // all sums fit 32 bits

  explicit FixedSumS8(const AddS8Args& args) {
    const double a = static_cast<double>(args.a_float);
    const double b = args.subtract ? -static_cast<double>(args.b_float) : static_cast<double>(args.b_float);
    const double margin = static_cast<double>(args.near.margin) + kRounding;
    const double constant = args.zero + 0.5 + margin - a * args.a_zero - b * args.b_zero;
    fits = margin < 0.25 && a < most_step && __builtin_fabs(b) < most_step &&
           128 * (a + __builtin_fabs(b)) + __builtin_fabs(constant) < 2147483648.0 / kOne - 1;
    if (!fits) return;
    a_step = Nearest(a * kStepOne);
    b_step = Nearest(b * kStepOne);
    start = Nearest(constant * kOne);
    unsure = static_cast<uint32_t>(2 * margin * kOne + 1) << (32 - kFraction);
  }

  static int32_t Nearest(double x) { return static_cast<int32_t>(x < 0 ? x - 0.5 : x + 0.5); }
};

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_FIXED_SUM_S8_H_
