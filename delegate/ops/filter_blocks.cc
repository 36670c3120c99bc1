#include "ops/filter_blocks.h"

#include <algorithm>

#include "kernels/pack_weights.h"
#include "ops/shapes.h"

namespace dgms {

Status PlanFilterBlocks(int64_t segments, int64_t length, int64_t limit, int64_t unit, bool pad_segments,
                        Buffer<FilterBlock>* blocks, int64_t* block_count) {
  const int64_t room = pad_segments ? RoundUp(length, unit) : length;               // that a segment takes
  const int64_t parts = CeilDiv(length, limit);                                     // of one segment
  const int64_t part = parts > 1 ? RoundUp(CeilDiv(length, parts), unit) : length;  // places of one part
  const int64_t together = CeilDiv(segments, CeilDiv(segments, std::max<int64_t>(1, limit / room)));  // if parts == 1
  *block_count = parts > 1 ? segments * CeilDiv(length, part) : CeilDiv(segments, together);
  if (!blocks->Reserve(*block_count)) return Status::kOutOfMemory;
  int64_t count = 0;
  if (parts > 1) {
    for (int64_t s = 0; s < segments; ++s) {
      for (int64_t p = 0; p < length; p += part) (*blocks)[count++] = {s, 1, p, std::min(part, length - p)};
    }
  } else {
    for (int64_t s = 0; s < segments; s += together) {
      (*blocks)[count++] = {s, std::min(together, segments - s), 0, length};
    }
  }
  return Status::kOk;
}

Status PlanChannelRanges(int64_t segments, int64_t length, int64_t limit, int64_t unit, Buffer<FilterBlock>* blocks,
                         int64_t* block_count) {
  const int64_t parts = CeilDiv(length, limit / segments / unit * unit);
  const int64_t part = RoundUp(CeilDiv(length, parts), unit);
  *block_count = CeilDiv(length, part);
  if (!blocks->Reserve(*block_count)) return Status::kOutOfMemory;
  for (int64_t b = 0; b < *block_count; ++b) {
    (*blocks)[b] = {0, segments, b * part, std::min(part, length - b * part)};
  }
  return Status::kOk;
}

}  // namespace dgms
