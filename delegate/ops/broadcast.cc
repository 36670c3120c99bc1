#include "ops/broadcast.h"

namespace dgms {
namespace {

// Dimension `i` of `rank`, counted from the end, is 1 where the shape has no such one.
int64_t FromEnd(const TensorShape& shape, int i) { return i < shape.rank ? shape.dims[shape.rank - 1 - i] : 1; }

}  // namespace

bool Broadcast::Plan(const TensorShape& a, const TensorShape& b, TensorShape* output) {
  if (!a.IsValid() || !b.IsValid()) return false;
  const int rank = std::max(a.rank, b.rank);
  Group all[TensorShape::kMaxRank];
  int count = 0;
  int64_t size[2] = {1, 1};  // of what is inside, of either operand
  *output = TensorShape();
  output->rank = rank;
  for (int i = 0; i < rank; ++i) {
    const int64_t dims[2] = {FromEnd(a, i), FromEnd(b, i)};
    if (dims[0] != dims[1] && dims[0] != 1 && dims[1] != 1) return false;
    const int64_t dim = dims[0] == 1 ? dims[1] : dims[0];
    output->dims[rank - 1 - i] = dim;
    if (dim == 1) continue;
    const bool repeated[2] = {dims[0] == 1, dims[1] == 1};
    if (count > 0 && all[count - 1].repeated[0] == repeated[0] && all[count - 1].repeated[1] == repeated[1]) {
      all[count - 1].size *= dim;
    } else {
      Group& group = all[count++];
      group.size = dim;
      for (int k = 0; k < 2; ++k) {
        group.repeated[k] = repeated[k];
        group.stride[k] = repeated[k] ? 0 : size[k];
      }
    }
    for (int k = 0; k < 2; ++k) size[k] *= dims[k];
  }
  if (!output->IsValid()) return false;
  row_ = all[0];
  group_count_ = std::max(0, count - 1);
  for (int i = 0; i < group_count_; ++i) groups_[i] = all[i + 1];
  if (group_count_ == 0) groups_[0] = Group();
  lines_ = output->Count() == 0 ? 0 : output->Count() / row_.size;
  return true;
}

}  // namespace dgms
