// int8 sums by digits (DigitSumS8): which digits, and the proof that they give what the exact integers give.
#ifndef DGMS_OPS_DIGIT_SUM_H_
#define DGMS_OPS_DIGIT_SUM_H_

#include "kernels/kernel_pointwise.h"

namespace dgms {

// Sets args->digits to some that clamp to `add_s8`'s output for all 256 * 256 pairs of operands. False: none were
// found.
//   error   how far add_s8 may be, before it rounds to integers, from what `args` stands for in real numbers
bool FindDigitSum(AddS8Fn add_s8, double error, AddS8Args* args);

}  // namespace dgms

#endif  // DGMS_OPS_DIGIT_SUM_H_
