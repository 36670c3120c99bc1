// What the ops with weights have in common: how a filter and its parameters are handed over.
#ifndef DGMS_OPS_FILTER_H_
#define DGMS_OPS_FILTER_H_

#include <cstdint>
#include <variant>

namespace dgms {

// A filter as codes. All pointers are views that need to live during Create only.
struct FilterCodes {
  const uint8_t* codes = nullptr;  // two per byte (kernels/codes.h), in the op's filter order: OHWI (convolution),
                                   // HWC (depthwise: TFLite's 1HWC without the 1), OI (fully connected)
  int64_t count = 0;               // number of codes
  int bits = 4;                    // 2, 3 or 4: every code is below 1 << bits
  int64_t group_size = 0;          // output channels per codebook; 0: one codebook for the whole layer
};

struct CodebookFilter : FilterCodes {
  const float* codebooks = nullptr;  // [groups][1 << bits], groups = ceil(output channels / group_size) or 1
  const float* scale = nullptr;      // [output channels], multiplies the sum before the bias is added; or null
};

struct Int8CodebookFilter : FilterCodes {
  const int8_t* codebooks = nullptr;  // as above; values -127..127
};

// A filter as plain values, in the same orders. The op reads the values where they are instead of keeping a copy
// (depthwise ops, which need few, copy them): they live as long as the op.
struct DenseFilter {
  const float* values = nullptr;
  int64_t count = 0;
};

struct Int8DenseFilter {
  const int8_t* values = nullptr;  // -127..127
  int64_t count = 0;
};

// What an op with weights takes: either kind converts.
using FloatFilter = std::variant<CodebookFilter, DenseFilter>;
using Int8Filter = std::variant<Int8CodebookFilter, Int8DenseFilter>;

// True if the view is consistent: `weights` of them, and for codebooks bits 2..4, every code below 1 << bits, codebooks
// there and (int8) in their range. `channels` counts output channels.
bool IsValid(const FloatFilter& filter, int64_t channels, int64_t weights);
bool IsValid(const Int8Filter& filter, int64_t channels, int64_t weights);

// How many codebooks the view has.
int64_t CodebookCount(const FilterCodes& filter, int64_t channels);

enum class Activation { kNone, kRelu, kRelu6, kReluN1To1 };

// TFLite's padding. kSame puts an odd extra pixel at the bottom and the right.
enum class Padding { kSame, kValid };

// A PAD in front of a window op that the op does itself: the window moves over the input with these lines and columns
// around it, and `Padding` refers to that larger map. All >= 0.
struct ExplicitPadding {
  int64_t top = 0, bottom = 0, left = 0, right = 0;
};

}  // namespace dgms

#endif  // DGMS_OPS_FILTER_H_
