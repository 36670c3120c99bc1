#include "ops/pad.h"

#include <algorithm>

#include "ops/create_weightless.h"
#include "ops/pieces.h"

namespace dgms {
namespace {

class PadOp : public WeightlessOp {
 public:
  PadOp(const PadParams& params, const PointwiseKernel&) : params_(params) {}

  Status Init() const {
    if (params_.rank < 0 || params_.rank > TensorShape::kMaxRank) return Status::kInvalidArgument;
    for (int i = 0; i < params_.rank; ++i) {
      if (params_.before[i] < 0 || params_.after[i] < 0) return Status::kInvalidArgument;
    }
    return Status::kOk;
  }

  Status Reshape(const TensorShape* inputs, int count, TensorShape* output) override;
  Status Run(const void* const* inputs, void* output, ThreadPool& pool) override;
  bool RunsInPlace(int) const override { return false; }
  const char* kernel_name() const override { return "copy"; }

 private:
  template <typename T>
  void RunRows(const T* input, T* output, T value, ThreadPool& pool) const;

  // Which row of the input the row of the output is; -1 if it is padding.
  int64_t InputRow(int64_t row) const;

  const PadParams params_;
  TensorShape input_, output_;
  int last_ = 0;        // the last padded dimension: with all inside, a row
  int64_t rows_ = 0;    // of the output
  int64_t before_ = 0;  // elements of padding in front of a row that is not all padding; then the input's; then padding
  int64_t copied_ = 0;
  int64_t row_ = 0;
  bool ready_ = false;
};

Status PadOp::Reshape(const TensorShape* inputs, int count, TensorShape* output) {
  ready_ = false;
  if (count != 1 || inputs[0].rank != params_.rank || !inputs[0].IsValid()) return Status::kInvalidArgument;
  input_ = output_ = inputs[0];
  last_ = 0;
  for (int i = 0; i < params_.rank; ++i) {
    const CheckedSize dim = CheckedSize(input_.dims[i]) + params_.before[i] + params_.after[i];
    if (!dim.ok()) return Status::kInvalidArgument;
    output_.dims[i] = dim.value();
    if (output_.dims[i] != input_.dims[i]) last_ = i;
  }
  if (!output_.IsValid()) return Status::kInvalidArgument;
  const int64_t inside = params_.rank == 0 ? 1 : output_.Count(last_ + 1, params_.rank);
  rows_ = output_.Count(0, last_);
  row_ = params_.rank == 0 ? 1 : output_.dims[last_] * inside;
  before_ = params_.rank == 0 ? 0 : params_.before[last_] * inside;
  copied_ = params_.rank == 0 ? 1 : input_.dims[last_] * inside;
  *output = output_;
  ready_ = true;
  return Status::kOk;
}

int64_t PadOp::InputRow(int64_t row) const {
  int64_t input_row = 0, stride = 1;
  for (int i = last_ - 1; i >= 0; --i) {
    const int64_t at = row % output_.dims[i] - params_.before[i];
    row /= output_.dims[i];
    if (at < 0 || at >= input_.dims[i]) return -1;
    input_row += at * stride;
    stride *= input_.dims[i];
  }
  return input_row;
}

template <typename T>
void PadOp::RunRows(const T* input, T* output, T value, ThreadPool& pool) const {
  RunLines(rows_, row_, pool, [&](int64_t row, int64_t end) {
    for (; row < end; ++row) {
      T* to = output + row * row_;
      const int64_t from = InputRow(row);
      if (from < 0) {
        std::fill(to, to + row_, value);
        continue;
      }
      std::fill(to, to + before_, value);
      std::copy(input + from * copied_, input + (from + 1) * copied_, to + before_);
      std::fill(to + before_ + copied_, to + row_, value);
    }
  });
}

Status PadOp::Run(const void* const* inputs, void* output, ThreadPool& pool) {
  if (!ready_) return Status::kNotReady;
  if (row_ == 0) return Status::kOk;
  if (params_.type == ElementType::kFloat32) {
    RunRows(static_cast<const float*>(inputs[0]), static_cast<float*>(output), params_.float_value, pool);
  } else {
    RunRows(static_cast<const int8_t*>(inputs[0]), static_cast<int8_t*>(output), params_.int8_value, pool);
  }
  return Status::kOk;
}

}  // namespace

std::unique_ptr<WeightlessOp> CreatePad(const PadParams& params, const KernelSet& kernels, Status* status) {
  return CreateWeightless<PadOp>(params, kernels, status);
}

}  // namespace dgms
