#include "ops/filter.h"

#include <algorithm>
#include <cstring>

#include "kernels/codes.h"
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
  if (filter.bits == 4) return true;
  int all = 0;
  for (int64_t i = 0; i < filter.count / 2; ++i) all |= filter.codes[i];
  if (filter.count % 2 != 0) all |= CodeAt(filter.codes, filter.count - 1);
  return (all | all >> 4) % 16 < (1 << filter.bits);
}

}  // namespace

int64_t CodebookCount(const FilterCodes& filter, int64_t channels) {
  return filter.group_size == 0 ? 1 : CeilDiv(channels, filter.group_size);
}

bool IsValid(const FloatFilter& filter, int64_t channels, int64_t weights) {
  if (const auto* dense = std::get_if<DenseFilter>(&filter)) {
    return channels >= 1 && dense->count == weights && (dense->values != nullptr || weights == 0);
  }
  const CodebookFilter& codebook = *std::get_if<CodebookFilter>(&filter);
  return codebook.count == weights && codebook.codebooks != nullptr && AreValid(codebook, channels);
}

bool IsValid(const Int8Filter& filter, int64_t channels, int64_t weights) {
  if (const auto* dense = std::get_if<Int8DenseFilter>(&filter)) {
    return channels >= 1 && dense->count == weights &&
           (weights == 0 || (dense->values != nullptr &&
                             std::memchr(dense->values, uint8_t{0x80}, static_cast<size_t>(weights)) == nullptr));
  }
  const Int8CodebookFilter& codebook = *std::get_if<Int8CodebookFilter>(&filter);
  if (codebook.count != weights || codebook.codebooks == nullptr || !AreValid(codebook, channels)) return false;
  const int8_t* end = codebook.codebooks + (CodebookCount(codebook, channels) << codebook.bits);
  return std::find(codebook.codebooks, end, int8_t{-128}) == end;
}

}  // namespace dgms
