#include "ops/binary.h"

#include <algorithm>
#include <cmath>

#include "ops/broadcast.h"
#include "ops/create_weightless.h"
#include "ops/digit_sum.h"

namespace dgms {
namespace {

constexpr double kTwo20 = 1048576.0;

// Floats of the fast way must stay below 2^22 in magnitude, and what they may be wrong by well below a half.
constexpr double kMaxFloatResult = 4194304.0;
constexpr double kMaxMargin = 0.125;

// What the fast way's roundings of floats to 24 bits add up to, as a part of the largest sum (255 * (a_float +
// b_float)): both factors, the offset made of both and the zero points, two products and three sums, none of which is
// larger than twice that sum, are each off by 2^-25 of themselves at most.
constexpr double kFloatError = 16 * 1.0 / 33554432.0;

// What a factor's two roundings may add to its result: half of one step before the shift to the right, half of one
// after.
double RoundingError(const FixedFactor& factor) {
  return factor.right == 0 ? 0.5 : 0.5 + 0.5 / (int64_t{1} << factor.right);
}

NearHalf MarginOf(double largest, double error) {
  const double margin = error + largest * kFloatError;
  if (!(margin <= kMaxMargin) || !(largest < kMaxFloatResult)) return {1.0f};
  return {static_cast<float>(margin)};
}

class BinaryOp : public WeightlessOp {
 public:
  BinaryOp(const BinaryParams& params, const PointwiseKernel& kernel) : params_(params), kernel_(kernel) {}

  Status Init();
  Status Reshape(const TensorShape* inputs, int count, TensorShape* output) override;
  Status Run(const void* const* inputs, void* output, ThreadPool& pool) override;
  bool RunsInPlace(int input) const override { return ready_ && input >= 0 && input < 2 && same_shape_[input]; }
  const char* kernel_name() const override { return kernel_.name; }

 private:
  Status InitAdd();
  Status InitMul();

  const BinaryParams params_;
  const PointwiseKernel& kernel_;
  BinaryF32Args f32_ = {};
  AddS8Args add_ = {};
  bool adds_digits_ = false;
  MulS8Args mul_ = {};
  Broadcast broadcast_;
  bool same_shape_[2] = {};
  bool ready_ = false;
};

Status BinaryOp::Init() {
  if (params_.type == ElementType::kFloat32) {
    const ActivationRange range = RangeOf(params_.activation);
    f32_.kind = params_.kind;
    f32_.min = range.min;
    f32_.max = range.max;
    return Status::kOk;
  }
  if (!IsValid(params_.input[0]) || !IsValid(params_.input[1]) || !IsValid(params_.output)) {
    return Status::kInvalidArgument;
  }
  return params_.kind == BinaryKind::kMul ? InitMul() : InitAdd();
}

// TFLite: both inputs are brought to twice the larger of their scales, with 20 more bits; the sum from there to the
// output's scale. The products of scales are computed in float or double as there.
Status BinaryOp::InitAdd() {
  const Quantization &a = params_.input[0], &b = params_.input[1], &output = params_.output;
  const double common = static_cast<double>(2 * std::max(a.scale, b.scale));
  const double factor = common / static_cast<double>(static_cast<float>(kTwo20) * output.scale);
  const double a_factor = static_cast<double>(a.scale) / common, b_factor = static_cast<double>(b.scale) / common;
  if (!ToFixedFactor(a_factor, &add_.a_factor) || !ToFixedFactor(b_factor, &add_.b_factor) ||
      !ToFixedFactor(factor, &add_.factor) || factor >= 1.0 || add_.a_factor.left + add_.b_factor.left > 0 ||
      add_.factor.left > 0) {
    return Status::kInvalidArgument;
  }
  add_.a_zero = a.zero;
  add_.b_zero = b.zero;
  add_.zero = output.zero;
  add_.subtract = params_.kind == BinaryKind::kSub;
  const double a_step = a_factor * kTwo20 * factor, b_step = b_factor * kTwo20 * factor;
  add_.a_float = static_cast<float>(a_step);
  add_.b_float = static_cast<float>(b_step);
  // A fixed factor is itself rounded, by 2^-31 of it: far below the floats' errors.
  const double operand_error = (RoundingError(add_.a_factor) + RoundingError(add_.b_factor)) * factor;
  const double error = operand_error + RoundingError(add_.factor) * std::ldexp(1.0, -add_.factor.right);
  add_.near = MarginOf(255.0 * (a_step + b_step), error);
  if (!QuantizedRange(params_.activation, output, &add_.min, &add_.max)) return Status::kInvalidArgument;
  adds_digits_ = kernel_.add_digits_s8 != nullptr && FindDigitSum(kernel_.add_s8, error, &add_);
  return Status::kOk;
}

Status BinaryOp::InitMul() {
  const Quantization &a = params_.input[0], &b = params_.input[1], &output = params_.output;
  const double factor = static_cast<double>(a.scale * b.scale / output.scale);
  if (!ToFixedFactor(factor, &mul_.factor)) return Status::kInvalidArgument;
  mul_.a_zero = a.zero;
  mul_.b_zero = b.zero;
  mul_.zero = output.zero;
  mul_.factor_float = static_cast<float>(factor);
  // The factor and one fused or two roundings; where the product is multiplied by more than 1 first, it may overflow.
  mul_.near = mul_.factor.left > 0 ? NearHalf{1.0f} : MarginOf(255.0 * 255.0 * factor, 0);
  if (!QuantizedRange(params_.activation, output, &mul_.min, &mul_.max)) return Status::kInvalidArgument;
  return Status::kOk;
}

Status BinaryOp::Reshape(const TensorShape* inputs, int count, TensorShape* output) {
  ready_ = false;
  if (count != 2 || !broadcast_.Plan(inputs[0], inputs[1], output)) return Status::kInvalidArgument;
  for (int i = 0; i < 2; ++i) same_shape_[i] = inputs[i].Count() == output->Count();
  ready_ = true;
  return Status::kOk;
}

Status BinaryOp::Run(const void* const* inputs, void* output, ThreadPool& pool) {
  if (!ready_) return Status::kNotReady;
  if (params_.type == ElementType::kFloat32) {
    broadcast_.Run<float>(inputs, output, f32_, kernel_.binary_f32, pool);
  } else if (params_.kind == BinaryKind::kMul) {
    broadcast_.Run<int8_t>(inputs, output, mul_, kernel_.mul_s8, pool);
  } else {
    broadcast_.Run<int8_t>(inputs, output, add_, adds_digits_ ? kernel_.add_digits_s8 : kernel_.add_s8, pool);
  }
  return Status::kOk;
}

}  // namespace

std::unique_ptr<WeightlessOp> CreateBinary(const BinaryParams& params, const KernelSet& kernels, Status* status) {
  return CreateWeightless<BinaryOp>(params, kernels, status);
}

}  // namespace dgms
