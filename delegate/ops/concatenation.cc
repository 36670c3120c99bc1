#include "ops/concatenation.h"

#include <cstring>

#include "ops/create_weightless.h"
#include "ops/pieces.h"

namespace dgms {
namespace {

class ConcatenationOp : public WeightlessOp {
 public:
  ConcatenationOp(const ConcatenationParams& params, const PointwiseKernel&) : params_(params) {}

  Status Init() const { return Status::kOk; }
  Status Reshape(const TensorShape* inputs, int count, TensorShape* output) override;
  Status Run(const void* const* inputs, void* output, ThreadPool& pool) override;
  bool RunsInPlace(int) const override { return false; }
  const char* kernel_name() const override { return "copy"; }

 private:
  const ConcatenationParams params_;
  int count_ = 0;
  int64_t rows_ = 0;             // indices in front of the axis
  int64_t row_bytes_ = 0;        // of the output
  Buffer<int64_t> input_bytes_;  // of a row of each input
  bool ready_ = false;
};

Status ConcatenationOp::Reshape(const TensorShape* inputs, int count, TensorShape* output) {
  ready_ = false;
  if (count < 1 || !inputs[0].IsValid()) return Status::kInvalidArgument;
  const int rank = inputs[0].rank, axis = params_.axis < 0 ? params_.axis + rank : params_.axis;
  if (axis < 0 || axis >= rank) return Status::kInvalidArgument;
  if (!input_bytes_.Reserve(count)) return Status::kOutOfMemory;
  CheckedSize along(0);
  for (int i = 0; i < count; ++i) {
    TensorShape like_first = inputs[i];
    if (!inputs[i].IsValid() || inputs[i].rank != rank) return Status::kInvalidArgument;
    like_first.dims[axis] = inputs[0].dims[axis];
    if (like_first != inputs[0]) return Status::kInvalidArgument;
    along = along + inputs[i].dims[axis];
    input_bytes_[i] = inputs[i].Count(axis, rank) * ElementBytes(params_.type);
  }
  *output = inputs[0];
  output->dims[axis] = along.value();
  if (!along.ok() || !output->IsValid()) return Status::kInvalidArgument;
  count_ = count;
  rows_ = output->Count(0, axis);
  row_bytes_ = output->Count(axis, rank) * ElementBytes(params_.type);
  ready_ = true;
  return Status::kOk;
}

Status ConcatenationOp::Run(const void* const* inputs, void* output, ThreadPool& pool) {
  if (!ready_) return Status::kNotReady;
  char* to = static_cast<char*>(output);
  if (rows_ == 1) {  // each input is one piece
    for (int i = 0; i < count_; to += input_bytes_[i++]) {
      const char* from = static_cast<const char*>(inputs[i]);
      RunPieces(input_bytes_[i], pool, [=](int64_t first, int64_t bytes) {
        std::memcpy(to + first, from + first, static_cast<size_t>(bytes));
      });
    }
    return Status::kOk;
  }
  RunLines(rows_, row_bytes_, pool, [&](int64_t first, int64_t end) {
    int64_t offset = 0;
    for (int i = 0; i < count_; offset += input_bytes_[i++]) {
      const int64_t bytes = input_bytes_[i];
      const char* from = static_cast<const char*>(inputs[i]);
      for (int64_t row = first; row < end && bytes > 0; ++row) {
        std::memcpy(to + row * row_bytes_ + offset, from + row * bytes, static_cast<size_t>(bytes));
      }
    }
  });
  return Status::kOk;
}

}  // namespace

std::unique_ptr<WeightlessOp> CreateConcatenation(const ConcatenationParams& params, const KernelSet& kernels,
                                                  Status* status) {
  return CreateWeightless<ConcatenationOp>(params, kernels, status);
}

}  // namespace dgms
