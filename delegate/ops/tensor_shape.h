// The shape of a tensor, of up to TensorShape::kMaxRank dimensions.
#ifndef DGMS_OPS_TENSOR_SHAPE_H_
#define DGMS_OPS_TENSOR_SHAPE_H_

#include <cstdint>
#include <initializer_list>

#include "ops/shapes.h"

namespace dgms {

struct TensorShape {
  static constexpr int kMaxRank = 6;

  int rank = 0;                 // 0: a scalar
  int64_t dims[kMaxRank] = {};  // outermost first; 0 behind `rank`

  TensorShape() = default;
  TensorShape(std::initializer_list<int64_t> values) {
    for (const int64_t value : values) {
      if (rank < kMaxRank) dims[rank++] = value;
    }
  }

  // Whether all dimensions fit a non-negative int32 and the number of elements can be addressed.
  bool IsValid() const {
    CheckedSize count(1);
    for (int i = 0; i < rank; ++i) {
      if (dims[i] < 0 || dims[i] > INT32_MAX) return false;
      // A dimension of 0 does not excuse the others from fitting.
      count = count * (dims[i] == 0 ? 1 : dims[i]);
    }
    return rank >= 0 && rank <= kMaxRank && count.FitsFloats();
  }

  // The number of elements of a valid shape; of dimensions first..end-1 only.
  int64_t Count() const { return Count(0, rank); }
  int64_t Count(int first, int end) const {
    int64_t count = 1;
    for (int i = first; i < end; ++i) count *= dims[i];
    return count;
  }

  bool operator==(const TensorShape& other) const {
    for (int i = 0; i < kMaxRank; ++i) {
      if (dims[i] != other.dims[i]) return false;
    }
    return rank == other.rank;
  }
  bool operator!=(const TensorShape& other) const { return !(*this == other); }
};

}  // namespace dgms

#endif  // DGMS_OPS_TENSOR_SHAPE_H_
