// What the kernels of RescaleRowsArgs share. For kernel files only.
#ifndef DGMS_KERNELS_RESCALE_ROWS_S8_H_
#define DGMS_KERNELS_RESCALE_ROWS_S8_H_

#include "kernels/kernel_s8.h"

namespace dgms {
namespace {

// Calls run(args) for rows that share an entry, which then is the first, at a time. Most calls have rows of one entry,
// and need no copy.
template <typename Run>
inline void ForRowsAlike(const RescaleRowsArgs& all, const Run& run) {
  if (all.rows <= all.first_rows) return run(all);
  RescaleRowsArgs args = all;
  int64_t left = args.first_rows;
  for (int rows = args.rows; rows > 0; rows -= args.rows, left = args.rows_each) {
    args.rows = rows < left ? rows : static_cast<int>(left);
    run(args);
    ++args.zero;
    ++args.scale;
    args.sums += args.rows * args.sums_row_stride;
    args.output += args.rows * args.output_row_stride;
  }
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_RESCALE_ROWS_S8_H_
