// Requantising in fewer steps: another bias and multiplier for a channel, with which 16 bits hold the scaled sum
// (NarrowS8 in kernel_s8.h), and that give what RequantizeArgs' own do for every sum that can occur.
#ifndef DGMS_OPS_NARROW_REQUANTIZATION_H_
#define DGMS_OPS_NARROW_REQUANTIZATION_H_

#include <cstdint>

namespace dgms {

// A channel as RequantizeArgs has it, with a zero point of -128 and the bounds of 8 bits.
struct ChannelScale {
  int32_t multiplier;
  int32_t right;            // the shift; there is none to the left
  int64_t lowest, highest;  // sums, with the bias: lowest <= highest
};

struct NarrowScale {
  int32_t offset;  // added to the bias
  int32_t multiplier;
};

// False: there is none, or none was found.
bool FindNarrowScale(const ChannelScale& channel, NarrowScale* narrow);

}  // namespace dgms

#endif  // DGMS_OPS_NARROW_REQUANTIZATION_H_
