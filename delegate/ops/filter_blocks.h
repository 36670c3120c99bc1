// A filter as the matrices that the kernels see, and how K is cut into blocks that fit a decoded panel's buffer.
#ifndef DGMS_OPS_FILTER_BLOCKS_H_
#define DGMS_OPS_FILTER_BLOCKS_H_

#include <cstdint>

#include "ops/memory.h"
#include "ops/status.h"

namespace dgms {

// What a filter looks like to the kernels: `groups` matrices of [columns][k], where k is segment_count segments of
// segment_length places that are contiguous in the input.
struct FilterMatrix {
  int64_t groups = 1;
  int64_t columns = 0;  // output channels per group
  int64_t segment_count = 1;
  int64_t segment_length = 0;
  // Blocks hold a part of every segment (all taps of a range of input channels) instead of neighbouring segments.
  // segment_length is then a multiple of the kernel's k_unit.
  bool channel_ranges = false;
};

// A range of K: segment_count whole segments, or a part of one (then segment_count is 1), or the same part of all.
struct FilterBlock {
  int64_t first_segment;
  int64_t segment_count;
  int64_t offset;          // of the part within its segment
  int64_t segment_length;  // of the part
  int64_t k() const { return segment_count * segment_length; }
};

// Blocks as equal as possible: several short segments together, or one long segment in parts.
//   limit          places of a block at most, a multiple of `unit`
//   unit           parts of a segment begin at multiples of it
//   pad_segments   every segment takes its length rounded up to `unit`
Status PlanFilterBlocks(int64_t segments, int64_t length, int64_t limit, int64_t unit, bool pad_segments,
                        Buffer<FilterBlock>* blocks, int64_t* block_count);

// Blocks of FilterMatrix::channel_ranges, as equal as possible; limit >= segments * unit.
Status PlanChannelRanges(int64_t segments, int64_t length, int64_t limit, int64_t unit, Buffer<FilterBlock>* blocks,
                         int64_t* block_count);

}  // namespace dgms

#endif  // DGMS_OPS_FILTER_BLOCKS_H_
