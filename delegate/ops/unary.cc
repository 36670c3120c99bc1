#include "ops/unary.h"

#include <algorithm>
#include <cmath>

#include "ops/create_weightless.h"
#include "ops/lookup_table.h"
#include "ops/pieces.h"

namespace dgms {
namespace {

Activation ActivationOf(UnaryFunction function) {
  switch (function) {
    case UnaryFunction::kRelu6:
      return Activation::kRelu6;
    case UnaryFunction::kReluN1To1:
      return Activation::kReluN1To1;
    default:
      return Activation::kRelu;
  }
}

// RELU*: rescaled from the input's to the output's steps, then clamped.
Status MakeReluTable(const UnaryParams& p, LookupTable* table) {
  FixedFactor factor;
  int32_t min = 0, max = 0;
  if (!ToFixedFactor(static_cast<double>(p.input.scale / p.output.scale), &factor) ||
      !QuantizedRange(ActivationOf(p.function), p.output, &min, &max)) {
    return Status::kInvalidArgument;
  }
  table->Fill([&](int32_t x) {
    const int64_t y = int64_t{MultiplyFixed(x - p.input.zero, factor)} + p.output.zero;
    return static_cast<int32_t>(std::clamp<int64_t>(y, min, max));
  });
  return Status::kOk;
}

// LOGISTIC: in float, with the C library's expf, as the runtime's kernel fills its own table.
Status MakeLogisticTable(const UnaryParams& p, LookupTable* table) {
  if (p.output.scale != 1.0f / 256.0f) return Status::kInvalidArgument;
  table->Fill([&](int32_t x) {
    const float value = p.input.scale * static_cast<float>(x - p.input.zero);
    const float y = 1.0f / (1.0f + std::exp(-value));
    const float rounded = std::round(y * 256.0f) + static_cast<float>(p.output.zero);
    return std::clamp(static_cast<int32_t>(rounded), -128, 127);
  });
  return Status::kOk;
}

// HARD_SWISH in 16-bit fixed point. -----------------------------------------------------------------------------------

int32_t Saturated16(int64_t x) { return static_cast<int32_t>(std::clamp<int64_t>(x, -32768, 32767)); }

// a * b / 2^15, rounded, halves up; or cut off towards zero. -1 * -1 saturates.
int32_t RoundedHigh16(int32_t a, int32_t b) { return Saturated16((int64_t{a} * b + 16384) >> 15); }
int32_t CutHigh16(int32_t a, int32_t b) { return Saturated16(int64_t{a} * b / 32768); }

// x / 2^right, halves away from zero.
int32_t RoundedShift(int32_t x, int32_t right) {
  if (right == 0) return x;
  const int32_t half = 1 << (right - 1);
  return x < 0 ? -((-x + half) >> right) : (x + half) >> right;
}

// A factor with 15 bits instead of 31.
int32_t Multiplier16(const FixedFactor& factor) {
  return std::min(static_cast<int32_t>((int64_t{factor.multiplier} + 32768) >> 16), 32767);
}

// x (in 128ths of the input's steps) is brought to 32768ths of 3, saturating: the "relu-ish" of x; then from -1..1 to
// 0..1. Shifts to the left stop one short before the multiplication, which cannot overflow then.
int32_t ReluIsh(int32_t x, const FixedFactor& factor) {
  if (factor.left > 0) x = Saturated16(int64_t{x} * (int64_t{1} << (factor.left - 1)));
  x = RoundedHigh16(x, Multiplier16(factor));
  if (factor.left > 0) x = Saturated16(int64_t{x} * 2);
  x = RoundedShift(x, factor.right);
  return (x + 32768) >> 1;
}

// The steps and roundings are those of TFLite's reference kernel.
Status MakeHardSwishTable(const UnaryParams& p, LookupTable* table) {
  constexpr int32_t kMaxShift = 15;  // beyond it, shifts of 16-bit numbers mean nothing
  const float fine_scale = (1.0f / 128.0f) * p.input.scale;
  FixedFactor to_output, to_reluish;
  if (!ToFixedFactor(static_cast<double>(fine_scale / p.output.scale), &to_output) ||
      !ToFixedFactor(static_cast<double>(fine_scale / (3.0f / 32768.0f)), &to_reluish) || to_output.left > 0 ||
      to_output.right > kMaxShift || to_reluish.right > kMaxShift) {
    return Status::kInvalidArgument;
  }
  table->Fill([&](int32_t x) {
    const int32_t fine = (x - p.input.zero) * 128;
    const int32_t on_output_scale = RoundedHigh16(fine, Multiplier16(to_output));
    const int32_t product = CutHigh16(ReluIsh(fine, to_reluish), on_output_scale);
    return std::clamp(RoundedShift(product, to_output.right) + p.output.zero, -128, 127);
  });
  return Status::kOk;
}

// ---------------------------------------------------------------------------------------------------------------------

class UnaryOp : public WeightlessOp {
 public:
  UnaryOp(const UnaryParams& params, const PointwiseKernel& kernel) : params_(params), kernel_(kernel) {}

  Status Init() {
    if (params_.type == ElementType::kFloat32) {
      const ActivationRange range = RangeOf(ActivationOf(params_.function));
      args_.kind = params_.function == UnaryFunction::kHardSwish  ? UnaryKind::kHardSwish
                   : params_.function == UnaryFunction::kLogistic ? UnaryKind::kLogistic
                                                                  : UnaryKind::kClamp;
      args_.min = range.min;
      args_.max = range.max;
      return Status::kOk;
    }
    if (!IsValid(params_.input) || !IsValid(params_.output)) return Status::kInvalidArgument;
    switch (params_.function) {
      case UnaryFunction::kHardSwish:
        return MakeHardSwishTable(params_, &table_);
      case UnaryFunction::kLogistic:
        return MakeLogisticTable(params_, &table_);
      default:
        return MakeReluTable(params_, &table_);
    }
  }

  Status Reshape(const TensorShape* inputs, int count, TensorShape* output) override {
    ready_ = false;
    if (count != 1 || !inputs[0].IsValid()) return Status::kInvalidArgument;
    *output = inputs[0];
    count_ = inputs[0].Count();
    ready_ = true;
    return Status::kOk;
  }

  Status Run(const void* const* inputs, void* output, ThreadPool& pool) override {
    if (!ready_) return Status::kNotReady;
    if (params_.type == ElementType::kInt8) {
      table_.Run(kernel_, inputs[0], output, count_, pool);
      return Status::kOk;
    }
    const float* x = static_cast<const float*>(inputs[0]);
    float* y = static_cast<float*>(output);
    RunPieces(count_, pool, [&](int64_t first, int64_t count) {
      UnaryF32Args args = args_;
      args.input = x + first;
      args.output = y + first;
      args.count = count;
      kernel_.unary_f32(args);
    });
    return Status::kOk;
  }

  bool RunsInPlace(int input) const override { return ready_ && input == 0; }
  const char* kernel_name() const override { return kernel_.name; }

 private:
  const UnaryParams params_;
  const PointwiseKernel& kernel_;
  UnaryF32Args args_ = {};
  LookupTable table_;
  int64_t count_ = 0;
  bool ready_ = false;
};

}  // namespace

std::unique_ptr<WeightlessOp> CreateUnary(const UnaryParams& params, const KernelSet& kernels, Status* status) {
  return CreateWeightless<UnaryOp>(params, kernels, status);
}

}  // namespace dgms
