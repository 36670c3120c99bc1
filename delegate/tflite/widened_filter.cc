#include "tflite/widened_filter.h"

#include "format/packed_codes.h"
#include "kernels/codes.h"

namespace dgms {

Status WidenedFilter::Init(const FilterMatch& match) {
  match_ = &match;
  codes_.codes = match.planes[0];
  if (match.format->bits < kMaxBits) {
    if (!nibbles_.Reserve(CodeBytes(match.count))) return Status::kOutOfMemory;
    WidenCodes(*match.format, match.planes, match.count, nibbles_.data());
    codes_.codes = nibbles_.data();
  }
  codes_.count = match.count;
  codes_.bits = match.format->bits;
  codes_.group_size = match.group_size;
  return Status::kOk;
}

CodebookFilter WidenedFilter::AsFloat() const {
  CodebookFilter filter;
  static_cast<FilterCodes&>(filter) = codes_;
  filter.codebooks = match_->codebooks.data();
  filter.scale = match_->scale.empty() ? nullptr : match_->scale.data();
  return filter;
}

Int8CodebookFilter WidenedFilter::AsInt8(const int8_t* codebooks) const {
  Int8CodebookFilter filter;
  static_cast<FilterCodes&>(filter) = codes_;
  filter.codebooks = codebooks;
  return filter;
}

}  // namespace dgms
