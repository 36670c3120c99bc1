// A matched filter of indices and a codebook as ops take it: its codes as nibbles, whatever planes the model has.
#ifndef DGMS_TFLITE_WIDENED_FILTER_H_
#define DGMS_TFLITE_WIDENED_FILTER_H_

#include <cstdint>

#include "ops/filter.h"
#include "ops/memory.h"
#include "ops/status.h"
#include "tflite/match_filter.h"

namespace dgms {

// It lives as long as the views are used, and the match does, too.
class WidenedFilter {
 public:
  Status Init(const FilterMatch& match);

  const FilterCodes& codes() const { return codes_; }
  CodebookFilter AsFloat() const;  // of a float chain
  Int8CodebookFilter AsInt8(const int8_t* codebooks) const;

 private:
  const FilterMatch* match_ = nullptr;
  Buffer<uint8_t> nibbles_;
  FilterCodes codes_;
};

}  // namespace dgms

#endif  // DGMS_TFLITE_WIDENED_FILTER_H_
