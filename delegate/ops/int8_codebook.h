// What becomes of a float layer's weights where its activations are int8.
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
//   channels        of the output
//   channels_last   the codes of a tap's channels follow one another (depthwise); else one channel's codes do
float RoundCodebooks(const CodebookFilter& filter, int64_t channels, bool channels_last, int8_t* rounded);

// The same of a plain filter whose channels follow one another (depthwise), with a scale of its own for each of them:
// that of its largest weight, but not far below the layer's largest scale, as biases are counted in it. False as above
// where that returns 0.
bool RoundChannels(const DenseFilter& filter, int64_t channels, int8_t* rounded, float* scales);

// About how large outputs become, before the activation, on maps of independent values with a mean square of 1: four
// standard deviations from the bias, which some of thousands of values reach. Of the channel where that is most; a
// channel's weights count as large as all weights are, apart from the scale.
// May throw std::bad_alloc.
float LargestOutput(const CodebookFilter& filter, int64_t channels, bool channels_last, const float* bias);

// The same of a plain filter whose channels follow one another, each with the size of its own weights.
float LargestOutput(const DenseFilter& filter, int64_t channels, const float* bias);

}  // namespace dgms

#endif  // DGMS_OPS_INT8_CODEBOOK_H_
