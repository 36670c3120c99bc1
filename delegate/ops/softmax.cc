#include "ops/softmax.h"

#include <algorithm>
#include <cmath>

#include "ops/create_weightless.h"
#include "ops/int8_softmax.h"
#include "ops/pieces.h"

namespace dgms {
namespace {

constexpr int64_t kExpCost = 8;  // elements of a copy that cost as much as one exponential

class SoftmaxOp : public WeightlessOp {
 public:
  SoftmaxOp(const SoftmaxParams& params, const PointwiseKernel& kernel) : params_(params), kernel_(kernel) {}

  Status Init() {
    if (!std::isfinite(params_.beta)) return Status::kInvalidArgument;
    if (params_.type == ElementType::kFloat32) return Status::kOk;
    if (!IsValid(params_.input) || !IsValid(params_.output) || params_.output.zero != -128 ||
        !(std::fabs(params_.output.scale - 1.0f / 256) <= 0.001f / 256)) {
      return Status::kInvalidArgument;
    }
    const double step = static_cast<double>(params_.beta) * static_cast<double>(params_.input.scale);
    return int8_.Init(step) ? Status::kOk : Status::kInvalidArgument;
  }

  Status Reshape(const TensorShape* inputs, int count, TensorShape* output) override {
    ready_ = false;
    if (count != 1 || inputs[0].rank < 1 || !inputs[0].IsValid()) return Status::kInvalidArgument;
    depth_ = inputs[0].dims[inputs[0].rank - 1];
    if (params_.type == ElementType::kInt8 && depth_ > Int8Softmax::kMaxDepth) return Status::kInvalidArgument;
    *output = inputs[0];
    rows_ = depth_ == 0 ? 0 : inputs[0].Count() / depth_;
    ready_ = true;
    return Status::kOk;
  }

  Status Run(const void* const* inputs, void* output, ThreadPool& pool) override {
    if (!ready_) return Status::kNotReady;
    const bool is_float = params_.type == ElementType::kFloat32;
    RunLines(rows_, depth_ * kExpCost, pool, [&](int64_t row, int64_t end) {
      for (; row < end; ++row) {
        const int64_t at = row * depth_;
        if (is_float) {
          const float* x = static_cast<const float*>(inputs[0]);
          kernel_.softmax_f32({x + at, static_cast<float*>(output) + at, depth_, params_.beta});
        } else {
          int8_.Run(static_cast<const int8_t*>(inputs[0]) + at, static_cast<int8_t*>(output) + at, depth_);
        }
      }
    });
    return Status::kOk;
  }

  bool RunsInPlace(int input) const override { return ready_ && input == 0; }
  const char* kernel_name() const override { return kernel_.name; }

 private:
  const SoftmaxParams params_;
  const PointwiseKernel& kernel_;
  Int8Softmax int8_;
  int64_t rows_ = 0, depth_ = 0;
  bool ready_ = false;
};

}  // namespace

std::unique_ptr<WeightlessOp> CreateSoftmax(const SoftmaxParams& params, const KernelSet& kernels, Status* status) {
  return CreateWeightless<SoftmaxOp>(params, kernels, status);
}

}  // namespace dgms
