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

  // Floats of the copy, checked; or an error.
  Status Floats(int64_t* floats) const;

  // Writes all of the copy.
  void Copy(const float* input, float* copy, ThreadPool& pool) const;

 private:
  void CopyLine(const float* input, float* copy, int64_t line) const;
};

}  // namespace dgms

#endif  // DGMS_OPS_PADDED_INPUT_H_
