// The int8 softmax of TFLite's reference kernel, in 32-bit fixed point.
#ifndef DGMS_OPS_INT8_SOFTMAX_H_
#define DGMS_OPS_INT8_SOFTMAX_H_

#include <cstdint>

namespace dgms {

class Int8Softmax {
 public:
  // More values could make the sum of their exponentials leave 32 bits: 4096 times 2^19.
  static constexpr int64_t kMaxDepth = 4095;

  //   step   what one step of the inputs is worth in the exponent: beta * scale
  // False if the reference kernel refuses it: 2^-26 or less.
  bool Init(double step);

  // Of 1..kMaxDepth values; input and output may be the same.
  void Run(const int8_t* input, int8_t* output, int64_t depth) const;

 private:
  // By how far below the largest value of its row an input is:
  int32_t exp_[256] = {};   // its exponential, in 2^-31; 0 where that is too small
  int32_t term_[256] = {};  // the same in 2^-19: what it adds to the sum
};

}  // namespace dgms

#endif  // DGMS_OPS_INT8_SOFTMAX_H_
