#include "ops/quantize.h"

#include <algorithm>

#include "ops/create_weightless.h"
#include "ops/lookup_table.h"
#include "ops/pieces.h"

namespace dgms {
namespace {

class QuantizeOp : public WeightlessOp {
 public:
  QuantizeOp(const QuantizeParams& params, const PointwiseKernel& kernel) : params_(params), kernel_(kernel) {}

  Status Init();
  Status Reshape(const TensorShape* inputs, int count, TensorShape* output) override;
  Status Run(const void* const* inputs, void* output, ThreadPool& pool) override;
  bool RunsInPlace(int input) const override {
    return ready_ && input == 0 && params_.input_type == params_.output_type;
  }
  const char* kernel_name() const override { return kernel_.name; }

 private:
  const QuantizeParams params_;
  const PointwiseKernel& kernel_;
  LookupTable table_;  // int8 to int8
  int64_t count_ = 0;
  bool ready_ = false;
};

Status QuantizeOp::Init() {
  const bool from_int8 = params_.input_type == ElementType::kInt8, to_int8 = params_.output_type == ElementType::kInt8;
  if ((!from_int8 && !to_int8) || (from_int8 && !IsValid(params_.input)) || (to_int8 && !IsValid(params_.output))) {
    return Status::kInvalidArgument;
  }
  if (!from_int8 || !to_int8) return Status::kOk;
  const Quantization &input = params_.input, &output = params_.output;
  FixedFactor factor;
  if (!ToFixedFactor(static_cast<double>(input.scale) / static_cast<double>(output.scale), &factor)) {
    return Status::kInvalidArgument;
  }
  table_.Fill([&](int32_t x) {
    const int64_t y = int64_t{MultiplyFixed(x - input.zero, factor)} + output.zero;
    return static_cast<int32_t>(std::clamp<int64_t>(y, -128, 127));
  });
  return Status::kOk;
}

Status QuantizeOp::Reshape(const TensorShape* inputs, int count, TensorShape* output) {
  ready_ = false;
  if (count != 1 || !inputs[0].IsValid()) return Status::kInvalidArgument;
  *output = inputs[0];
  count_ = inputs[0].Count();
  ready_ = true;
  return Status::kOk;
}

Status QuantizeOp::Run(const void* const* inputs, void* output, ThreadPool& pool) {
  if (!ready_) return Status::kNotReady;
  if (params_.input_type == ElementType::kFloat32) {
    const float* x = static_cast<const float*>(inputs[0]);
    int8_t* y = static_cast<int8_t*>(output);
    RunPieces(count_, pool, [&](int64_t first, int64_t count) {
      kernel_.quantize_f32({x + first, y + first, count, params_.output.scale, params_.output.zero});
    });
  } else if (params_.output_type == ElementType::kFloat32) {
    const int8_t* x = static_cast<const int8_t*>(inputs[0]);
    float* y = static_cast<float*>(output);
    RunPieces(count_, pool, [&](int64_t first, int64_t count) {
      kernel_.dequantize_s8({x + first, y + first, count, params_.input.scale, params_.input.zero});
    });
  } else {
    table_.Run(kernel_, inputs[0], output, count_, pool);
  }
  return Status::kOk;
}

}  // namespace

std::unique_ptr<WeightlessOp> CreateQuantize(const QuantizeParams& params, const KernelSet& kernels, Status* status) {
  return CreateWeightless<QuantizeOp>(params, kernels, status);
}

}  // namespace dgms
