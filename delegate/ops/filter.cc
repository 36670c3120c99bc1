#include "ops/filter.h"

#include <algorithm>

#include "kernels/kernel.h"
#include "ops/shapes.h"

namespace dgms {
namespace {

bool AreValid(const FilterCodes& filter, int64_t channels) {
  if (filter.bits < 2 || filter.bits > 4 || filter.group_size < 0 || filter.count < 0 || channels < 1) return false;
  // CeilDiv must not overflow, and a column's table index is 32 bits.
  if (filter.group_size > INT64_MAX - channels || CodebookCount(filter, channels) > INT32_MAX / kTableSize)
    return false;
  if (filter.codes == nullptr && filter.count > 0) return false;
  uint8_t all = 0;
  for (int64_t i = 0; i < filter.count; ++i) all |= filter.codes[i];
  return all < (1 << filter.bits);
}

}  // namespace

int64_t CodebookCount(const FilterCodes& filter, int64_t channels) {
  return filter.group_size == 0 ? 1 : CeilDiv(channels, filter.group_size);
}

bool IsValid(const CodebookFilter& filter, int64_t channels) {
  return filter.codebooks != nullptr && AreValid(filter, channels);
}

bool IsValid(const Int8CodebookFilter& filter, int64_t channels) {
  if (filter.codebooks == nullptr || !AreValid(filter, channels)) return false;
  const int8_t* end = filter.codebooks + (CodebookCount(filter, channels) << filter.bits);
  return std::find(filter.codebooks, end, int8_t{-128}) == end;
}

}  // namespace dgms
