// Sizes: overflow-checked arithmetic, and the output size and padding of a convolution.
#ifndef DGMS_OPS_SHAPES_H_
#define DGMS_OPS_SHAPES_H_

#include <cstdint>

#include "ops/filter.h"

namespace dgms {

// A non-negative 64-bit size that remembers whether any step of its computation overflowed or went negative.
class CheckedSize {
 public:
  CheckedSize(int64_t value) : value_(value), ok_(value >= 0) {}  // NOLINT: implicit on purpose
  friend CheckedSize operator*(CheckedSize a, CheckedSize b) {
    CheckedSize result(0);
    result.ok_ = !__builtin_mul_overflow(a.value_, b.value_, &result.value_) && a.ok_ && b.ok_;
    return result;
  }
  friend CheckedSize operator+(CheckedSize a, CheckedSize b) {
    CheckedSize result(0);
    result.ok_ = !__builtin_add_overflow(a.value_, b.value_, &result.value_) && a.ok_ && b.ok_;
    return result;
  }
  // True if the value is exact and that many floats can be addressed, with room for rounding up.
  bool FitsFloats() const { return ok_ && value_ <= PTRDIFF_MAX / 16; }
  bool ok() const { return ok_; }
  int64_t value() const { return value_; }

 private:
  int64_t value_;
  bool ok_;
};

inline int64_t CeilDiv(int64_t value, int64_t by) { return (value + by - 1) / by; }

// One spatial dimension of a convolution.
struct ConvDim {
  int64_t input = 0;
  int64_t output = 0;
  int64_t pad_before = 0;  // input positions that are padding, before the first real one
  int64_t extent = 0;      // positions from the first tap of the first output to the last tap of the last

  // Whether a tap falls outside of the input.
  bool reads_padding() const { return pad_before > 0 || extent > input; }
};

// False if the parameters make no sense (sizes below 1, a VALID kernel larger than the padded input) or overflow.
//   before, after   explicit padding of the input, which `padding` then sees as part of it
bool PlanConvDim(int64_t input, int64_t before, int64_t after, int64_t kernel, int64_t stride, int64_t dilation,
                 Padding padding, ConvDim* dim);
inline bool PlanConvDim(int64_t input, int64_t kernel, int64_t stride, int64_t dilation, Padding padding,
                        ConvDim* dim) {
  return PlanConvDim(input, 0, 0, kernel, stride, dilation, padding, dim);
}

inline bool IsValid(const ExplicitPadding& pads) {
  return pads.top >= 0 && pads.bottom >= 0 && pads.left >= 0 && pads.right >= 0;
}

// What convolutions over NHWC maps have in common.
struct WindowParams {
  int kernel_h = 1, kernel_w = 1;
  int stride_h = 1, stride_w = 1;
  int dilation_h = 1, dilation_w = 1;
  Padding padding = Padding::kValid;
  ExplicitPadding pads;  // of zeros
  int64_t in_channels = 0;
  Activation activation = Activation::kNone;
};

// The range of a fused activation; infinities where there is no bound.
struct ActivationRange {
  float min, max;
};
ActivationRange RangeOf(Activation activation);

}  // namespace dgms

#endif  // DGMS_OPS_SHAPES_H_
