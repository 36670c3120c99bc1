#include "ops/mean.h"

#include <algorithm>

#include "ops/create_weightless.h"
#include "ops/memory.h"
#include "ops/pieces.h"

namespace dgms {
namespace {

constexpr int64_t kColumns = 256;                    // sums that are made together
constexpr int64_t kMaxParts = 8;                     // of the reduced rows, each summed by one thread
constexpr int64_t kMaxInt8Count = int64_t{1} << 23;  // values per int8 mean whose sum surely fits 32 bits

// Neighbouring dimensions that are all reduced or all kept.
struct Group {
  int64_t size, stride;  // elements of the input from one index to the next
};

class MeanOp : public WeightlessOp {
 public:
  MeanOp(const MeanParams& params, const PointwiseKernel& kernel) : params_(params), kernel_(kernel) {}

  Status Init();
  Status Reshape(const TensorShape* inputs, int count, TensorShape* output) override;
  Status Run(const void* const* inputs, void* output, ThreadPool& pool) override;
  bool RunsInPlace(int) const override { return false; }
  const char* kernel_name() const override { return kernel_.name; }

 private:
  bool ReadAxes(const TensorShape& input, bool* reduced) const;
  void PlanGroups(const TensorShape& input, const bool* reduced);
  int64_t KeptOffset(int64_t line) const;
  template <typename Visit>
  void ForEachReducedRow(const Visit& visit) const;

  // Sums of `n` neighbouring outputs, the first at `input`.
  void Sum(const float* input, int64_t n, float* sums) const;
  void Sum(const int8_t* input, int64_t n, int32_t* sums) const;
  // Adds rows of `n` elements to sums.
  void AddRows(const float* rows, const Group& group, int64_t n, float* sums) const {
    kernel_.sum_rows_f32({rows, group.size, group.stride, n, sums});
  }
  void AddRows(const int8_t* rows, const Group& group, int64_t n, int32_t* sums) const {
    kernel_.sum_rows_s8({rows, group.size, group.stride, n, sums});
  }
  float Finish(float sum) const { return sum / static_cast<float>(values_); }
  int8_t Finish(int32_t sum) const;

  template <typename T, typename Accumulator>
  void RunLinesOf(const void* input, void* output, ThreadPool& pool) const;
  template <typename T, typename Accumulator>
  void RunPartsOf(const void* input, void* output, Accumulator* sums, ThreadPool& pool) const;

  const MeanParams params_;
  const PointwiseKernel& kernel_;
  FixedFactor scale_factor_ = {};                                       // int8: from the input's to the output's steps
  FixedFactor factor_ = {};                                             // the same, divided by the number of values
  Group kept_[TensorShape::kMaxRank], reduced_[TensorShape::kMaxRank];  // from the inside; without the columns
  int kept_count_ = 0, reduced_count_ = 0;
  int64_t columns_ = 1;          // the innermost kept dimensions, where no reduced ones are inside; else 1
  bool contiguous_ = false;      // the innermost dimensions are reduced
  int64_t values_ = 1;           // per mean
  int64_t lines_ = 0;            // outputs / columns
  int64_t parts_ = 1;            // of a line's rows: more than one for few lines of one group of many rows
  Buffer<float> part_sums_f32_;  // [lines][parts][columns]
  Buffer<int32_t> part_sums_s8_;
  bool ready_ = false;
};

Status MeanOp::Init() {
  if (params_.axis_count < 0 || params_.axis_count > TensorShape::kMaxRank) return Status::kInvalidArgument;
  if (params_.type == ElementType::kFloat32) return Status::kOk;
  const Quantization &input = params_.input, &output = params_.output;
  if (!IsValid(input) || !IsValid(output) ||
      !ToFixedFactor(static_cast<double>(input.scale) / static_cast<double>(output.scale), &scale_factor_)) {
    return Status::kInvalidArgument;
  }
  return Status::kOk;
}

bool MeanOp::ReadAxes(const TensorShape& input, bool* reduced) const {
  std::fill(reduced, reduced + TensorShape::kMaxRank, false);
  for (int i = 0; i < params_.axis_count; ++i) {
    const int axis = params_.axes[i] < 0 ? params_.axes[i] + input.rank : params_.axes[i];
    if (axis < 0 || axis >= input.rank) return false;
    reduced[axis] = true;
  }
  return true;
}

void MeanOp::PlanGroups(const TensorShape& input, const bool* reduced) {
  kept_count_ = reduced_count_ = 0;
  columns_ = values_ = 1;
  contiguous_ = false;
  int64_t stride = 1;
  bool innermost = true, last = false;
  Group* open = nullptr;
  for (int i = input.rank - 1; i >= 0; --i) {
    const int64_t dim = input.dims[i];
    if (dim == 1) continue;
    if (innermost) contiguous_ = reduced[i];
    if (open == nullptr || last != reduced[i]) {
      open = reduced[i] ? &reduced_[reduced_count_++] : &kept_[kept_count_++];
      *open = {1, stride};
    }
    open->size *= dim;
    if (reduced[i]) values_ *= dim;
    stride *= dim;
    last = reduced[i];
    innermost = false;
  }
  if (!contiguous_ && kept_count_ > 0 && kept_[0].stride == 1) {
    columns_ = kept_[0].size;
    for (int i = 1; i < kept_count_; ++i) kept_[i - 1] = kept_[i];
    --kept_count_;
  }
}

Status MeanOp::Reshape(const TensorShape* inputs, int count, TensorShape* output) {
  ready_ = false;
  bool reduced[TensorShape::kMaxRank];
  if (count != 1 || !inputs[0].IsValid() || !ReadAxes(inputs[0], reduced)) return Status::kInvalidArgument;
  const TensorShape& input = inputs[0];
  if (input.Count() == 0) return Status::kInvalidArgument;
  *output = TensorShape();
  for (int i = 0; i < input.rank; ++i) {
    if (!reduced[i] || params_.keep_dims) output->dims[output->rank++] = reduced[i] ? 1 : input.dims[i];
  }
  PlanGroups(input, reduced);
  lines_ = output->Count() / columns_;
  // The threads that wrote a map's lines have them in their caches: each sums its own. The parts are those of the
  // shape, and so is the order of a float sum.
  parts_ = 1;
  if (!contiguous_ && reduced_count_ == 1 && lines_ < kMaxParts) {
    parts_ = std::clamp<int64_t>(columns_ * values_ / kPieceElements, 1, std::min(kMaxParts, values_));
  }
  if (parts_ > 1) {
    const auto reserve = [&](auto& sums) { return sums.Reserve(static_cast<size_t>(lines_ * parts_ * columns_)); };
    if (!(params_.type == ElementType::kFloat32 ? reserve(part_sums_f32_) : reserve(part_sums_s8_))) {
      return Status::kOutOfMemory;
    }
  }
  if (params_.type == ElementType::kInt8) {
    if (values_ >= kMaxInt8Count) return Status::kInvalidArgument;
    // TFLite divides the multiplier, after shifting it as far to the left as the number of values has bits.
    int shift = 63 - __builtin_clzll(static_cast<uint64_t>(values_));
    const int exponent = scale_factor_.left - scale_factor_.right;
    shift = std::min(shift, 31 + exponent);
    const int64_t multiplier = (int64_t{scale_factor_.multiplier} << shift) / values_;
    factor_ = {static_cast<int32_t>(multiplier), std::max(exponent - shift, 0), std::max(shift - exponent, 0)};
  }
  ready_ = true;
  return Status::kOk;
}

int64_t MeanOp::KeptOffset(int64_t line) const {
  int64_t offset = 0;
  for (int i = 0; i < kept_count_; ++i) {
    offset += line % kept_[i].size * kept_[i].stride;
    line /= kept_[i].size;
  }
  return offset;
}

// Calls visit(offset) for every index of the reduced groups but the innermost one, in rising order.
template <typename Visit>
void MeanOp::ForEachReducedRow(const Visit& visit) const {
  const int64_t rows = reduced_count_ == 0 ? 1 : values_ / reduced_[0].size;
  for (int64_t row = 0; row < rows; ++row) {
    int64_t offset = 0, rest = row;
    for (int i = 1; i < reduced_count_; ++i) {
      offset += rest % reduced_[i].size * reduced_[i].stride;
      rest /= reduced_[i].size;
    }
    visit(offset);
  }
}

void MeanOp::Sum(const float* input, int64_t n, float* sums) const {
  const Group inner = reduced_count_ == 0 ? Group{1, 0} : reduced_[0];
  std::fill(sums, sums + n, 0.0f);
  ForEachReducedRow([&](int64_t offset) {
    if (contiguous_) {
      *sums += kernel_.sum_f32(input + offset, inner.size);
    } else {
      AddRows(input + offset, inner, n, sums);
    }
  });
}

void MeanOp::Sum(const int8_t* input, int64_t n, int32_t* sums) const {
  const Group inner = reduced_count_ == 0 ? Group{1, 0} : reduced_[0];
  std::fill(sums, sums + n, 0);
  ForEachReducedRow([&](int64_t offset) {
    if (contiguous_) {
      *sums += kernel_.sum_s8(input + offset, inner.size);
    } else {
      AddRows(input + offset, inner, n, sums);
    }
  });
}

int8_t MeanOp::Finish(int32_t sum) const {
  const int32_t centred = sum - params_.input.zero * static_cast<int32_t>(values_);
  const int64_t y = int64_t{MultiplyFixed(centred, factor_)} + params_.output.zero;
  return static_cast<int8_t>(std::clamp<int64_t>(y, -128, 127));
}

template <typename T, typename Accumulator>
void MeanOp::RunLinesOf(const void* input, void* output, ThreadPool& pool) const {
  const T* x = static_cast<const T*>(input);
  T* y = static_cast<T*>(output);
  const int64_t pieces = CeilDiv(columns_, kColumns);
  RunLines(lines_ * pieces, std::min(columns_, kColumns) * values_, pool, [&](int64_t item, int64_t end) {
    Accumulator sums[kColumns];
    for (; item < end; ++item) {
      const int64_t line = item / pieces, first = item % pieces * kColumns;
      const int64_t n = std::min(kColumns, columns_ - first);
      Sum(x + KeptOffset(line) + first, n, sums);
      for (int64_t i = 0; i < n; ++i) y[line * columns_ + first + i] = Finish(sums[i]);
    }
  });
}

template <typename T, typename Accumulator>
void MeanOp::RunPartsOf(const void* input, void* output, Accumulator* sums, ThreadPool& pool) const {
  const T* x = static_cast<const T*>(input);
  T* y = static_cast<T*>(output);
  const int64_t stride = reduced_[0].stride;
  const auto add_part = [&](int64_t item) {
    const int64_t part = item % parts_, first = part * values_ / parts_, end = (part + 1) * values_ / parts_;
    Accumulator* part_sums = sums + item * columns_;
    std::fill(part_sums, part_sums + columns_, Accumulator{0});
    AddRows(x + KeptOffset(item / parts_) + first * stride, {end - first, stride}, columns_, part_sums);
  };
  pool.Run(lines_ * parts_, add_part);
  for (int64_t line = 0; line < lines_; ++line) {
    Accumulator* total = sums + line * parts_ * columns_;
    for (int64_t part = 1; part < parts_; ++part) {
      for (int64_t i = 0; i < columns_; ++i) total[i] += total[part * columns_ + i];
    }
    for (int64_t i = 0; i < columns_; ++i) y[line * columns_ + i] = Finish(total[i]);
  }
}

Status MeanOp::Run(const void* const* inputs, void* output, ThreadPool& pool) {
  if (!ready_) return Status::kNotReady;
  const bool is_float = params_.type == ElementType::kFloat32;
  if (parts_ > 1 && is_float) {
    RunPartsOf<float>(inputs[0], output, part_sums_f32_.data(), pool);
  } else if (parts_ > 1) {
    RunPartsOf<int8_t>(inputs[0], output, part_sums_s8_.data(), pool);
  } else if (is_float) {
    RunLinesOf<float, float>(inputs[0], output, pool);
  } else {
    RunLinesOf<int8_t, int32_t>(inputs[0], output, pool);
  }
  return Status::kOk;
}

}  // namespace

std::unique_ptr<WeightlessOp> CreateMean(const MeanParams& params, const KernelSet& kernels, Status* status) {
  return CreateWeightless<MeanOp>(params, kernels, status);
}

}  // namespace dgms
