// How two operands of different shapes meet: NumPy's broadcasting, cut into rows for the kernels.
#ifndef DGMS_OPS_BROADCAST_H_
#define DGMS_OPS_BROADCAST_H_

#include <algorithm>
#include <cstdint>

#include "kernels/kernel_pointwise.h"
#include "ops/pieces.h"
#include "ops/tensor_shape.h"

namespace dgms {

class Broadcast {
 public:
  // Computes the output's shape. False if a shape is invalid, or if the two do not go together.
  bool Plan(const TensorShape& a, const TensorShape& b, TensorShape* output);

  // Calls the kernel for all rows. `args` has everything but the operands.
  template <typename T, typename Args, typename Kernel>
  void Run(const void* const* inputs, void* output, const Args& args, Kernel kernel, ThreadPool& pool) const {
    if (lines_ == 0) return;
    const T *a = static_cast<const T*>(inputs[0]), *b = static_cast<const T*>(inputs[1]);
    const auto rows = [&](int64_t line, int64_t count, int64_t first, int64_t n) {
      Args rows_args = args;
      rows_args.operands = {count,
                            n,
                            a + Offset(0, line) + (row_.repeated[0] ? 0 : first),
                            row_stride(0),
                            row_.repeated[0] ? 0 : 1,
                            b + Offset(1, line) + (row_.repeated[1] ? 0 : first),
                            row_stride(1),
                            row_.repeated[1] ? 0 : 1,
                            static_cast<T*>(output) + line * row_.size + first};
      kernel(rows_args);
    };
    if (lines_ == 1) {
      RunPieces(row_.size, pool, [&](int64_t first, int64_t n) { rows(0, 1, first, n); });
      return;
    }
    RunLines(lines_, row_.size, pool, [&](int64_t line, int64_t end) {
      while (line < end) {  // to the end of the lines that are evenly spaced
        const int64_t count = std::min(end - line, groups_[0].size - line % groups_[0].size);
        rows(line, count, 0, row_.size);
        line += count;
      }
    });
  }

 private:
  // Neighbouring dimensions in which each operand either goes on or is repeated.
  struct Group {
    int64_t size = 1;
    int64_t stride[2] = {};  // of either operand, in elements; 0 where it is repeated
    bool repeated[2] = {};
  };

  int64_t row_stride(int operand) const { return groups_[0].stride[operand]; }

  // Where a line of the output begins in an operand.
  int64_t Offset(int operand, int64_t line) const {
    int64_t offset = 0;
    for (int i = 0; i < group_count_ && line > 0; ++i) {
      offset += line % groups_[i].size * groups_[i].stride[operand];
      line /= groups_[i].size;
    }
    return offset;
  }

  Group row_;                            // the innermost one
  Group groups_[TensorShape::kMaxRank];  // the others, from the inside; at least one
  int group_count_ = 0;
  int64_t lines_ = 0;
};

}  // namespace dgms

#endif  // DGMS_OPS_BROADCAST_H_
