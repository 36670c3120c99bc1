// A function from int8 to int8, computed once for all 256 values.
#ifndef DGMS_OPS_LOOKUP_TABLE_H_
#define DGMS_OPS_LOOKUP_TABLE_H_

#include <cstdint>

#include "kernels/kernel_pointwise.h"
#include "ops/pieces.h"
#include "ops/thread_pool.h"

namespace dgms {

class LookupTable {
 public:
  // function(x) is -128..127 for every x in -128..127.
  template <typename Function>
  void Fill(const Function& function) {
    for (int32_t x = -128; x <= 127; ++x) entries_[x + 128] = static_cast<int8_t>(function(x));
  }

  // Of `count` int8 values.
  void Run(const PointwiseKernel& kernel, const void* input, void* output, int64_t count, ThreadPool& pool) const {
    const int8_t* x = static_cast<const int8_t*>(input);
    int8_t* y = static_cast<int8_t*>(output);
    RunPieces(count, pool,
              [&](int64_t first, int64_t piece) { kernel.lookup_s8({entries_, x + first, y + first, piece}); });
  }

 private:
  int8_t entries_[256] = {};
};

}  // namespace dgms

#endif  // DGMS_OPS_LOOKUP_TABLE_H_
