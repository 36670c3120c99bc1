// A copy of the input with the padding around it, so that kernels need not know about borders.
#ifndef DGMS_OPS_PADDED_INPUT_H_
#define DGMS_OPS_PADDED_INPUT_H_

#include <cstdint>

#include "ops/status.h"
#include "ops/thread_pool.h"

namespace dgms {

struct PaddedInput {
  int64_t batch = 0, in_h = 0, in_w = 0, channels = 0;
  int64_t pad_top = 0, pad_left = 0;
  int64_t rows = 0, columns = 0;  // of the copy; input beyond them is left out (strides may never reach it)
  int64_t repeat = 1;             // every channel that many times (depth multiplier)

  // Elements of the copy, checked; or an error.
  Status Elements(int64_t* elements) const;

  // Writes all of the copy, with zeros as padding.
  void Copy(const float* input, float* copy, ThreadPool& pool) const;

  // The same on the calling thread.
  void Copy(const float* input, float* copy) const;

  // The same for int8 with `zero` as padding; with `flip` the top bit of every element is inverted (see kernel_s8.h).
  void Copy(const int8_t* input, int8_t* copy, int8_t zero, bool flip, ThreadPool& pool) const;
  void Copy(const int8_t* input, int8_t* copy, int8_t zero, bool flip) const;
};

}  // namespace dgms

#endif  // DGMS_OPS_PADDED_INPUT_H_
