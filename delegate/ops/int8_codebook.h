// Rounds a float layer's codebooks to int8, for activations that are quantised at run time.
#ifndef DGMS_OPS_INT8_CODEBOOK_H_
#define DGMS_OPS_INT8_CODEBOOK_H_

#include <cstdint>

#include "ops/filter.h"

namespace dgms {

// Fills `rounded` ([codebooks][1 << bits]) with -127..127 and returns the scale: codebook value = integer * scale.
// One scale for the whole layer, the one with the smallest sum of squared errors over all weights (each entry weighted
// by how often its code occurs). 0 stays 0. Returns 0 if every weight is zero or there is no such scale: a value in use
// is not finite, or so small that the scale would be denormal.
// May throw std::bad_alloc.
//   channels   of the output; one channel's codes follow one another
float RoundCodebooks(const CodebookFilter& filter, int64_t channels, int8_t* rounded);

}  // namespace dgms

#endif  // DGMS_OPS_INT8_CODEBOOK_H_
