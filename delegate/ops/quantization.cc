#include "ops/quantization.h"

#include <algorithm>
#include <cmath>

#include "ops/int8_output.h"
#include "ops/shapes.h"

namespace dgms {
namespace {

bool QuantizedEnd(float value, const Quantization& output, int32_t* end) {
  if (std::isinf(value)) return true;  // no such end
  const float ratio = std::round(value / output.scale);
  if (!(std::fabs(ratio) < 1e9f)) return false;
  *end = std::clamp(output.zero + static_cast<int32_t>(ratio), -128, 127);
  return true;
}

}  // namespace

bool IsValid(const Quantization& quantization) {
  return std::isfinite(quantization.scale) && quantization.scale > 0 && quantization.zero >= -128 &&
         quantization.zero <= 127;
}

bool QuantizedRange(Activation activation, const Quantization& output, int32_t* min, int32_t* max) {
  const ActivationRange range = RangeOf(activation);
  *min = -128;
  *max = 127;
  return QuantizedEnd(range.min, output, min) && QuantizedEnd(range.max, output, max);
}

bool QuantizationOf(Activation activation, Quantization* result) {
  const ActivationRange range = RangeOf(activation);
  if (std::isinf(range.min) || std::isinf(range.max)) return false;
  result->scale = (range.max - range.min) / 255.0f;
  result->zero = static_cast<int32_t>(std::nearbyint(-128.0f - range.min / result->scale));
  return true;
}

bool ToFixedFactor(double factor, FixedFactor* fixed) {
  if (!(factor > 0 && factor < 1073741824.0)) return false;
  const FixedPoint point = ToFixedPoint(factor);
  *fixed = {point.multiplier, std::max(point.exponent, 0), std::max(-point.exponent, 0)};
  return fixed->left <= 30;
}

int32_t MultiplyFixed(int32_t x, const FixedFactor& factor) {
  const int64_t shifted = static_cast<int32_t>(static_cast<uint32_t>(x) << factor.left);
  const int64_t high = (shifted * factor.multiplier + (int64_t{1} << 30)) >> 31;
  if (factor.right == 0) return static_cast<int32_t>(high);
  const int64_t half = int64_t{1} << (factor.right - 1);
  return static_cast<int32_t>(high < 0 ? -((-high + half) >> factor.right) : (high + half) >> factor.right);
}

}  // namespace dgms
