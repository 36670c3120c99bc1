// TFLite's int8 arithmetic, as plainly as possible: what ours is compared with.
#ifndef DGMS_TESTS_OPS_INT8_ORACLE_H_
#define DGMS_TESTS_OPS_INT8_ORACLE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace dgms::testing {

// The low 32 bits, as a signed number.
inline int32_t Wrap32(int64_t value) { return static_cast<int32_t>(static_cast<uint64_t>(value)); }

// A convolution's product: the factor as 31 fractional bits and an exponent, rounded once (half up) and once more (half
// away from zero) when it is shifted right. Factors that shift everything out to the left give 0.
inline int64_t FixedPointProduct(int64_t sum, double factor) {
  if (!(factor < std::ldexp(1.0, 30))) return 0;
  int exponent = 0;
  double fraction = std::frexp(factor, &exponent);
  if (exponent < -31) return 0;
  int64_t multiplier = std::llround(fraction * std::ldexp(1.0, 31));
  if (multiplier == int64_t{1} << 31) {
    multiplier /= 2;
    ++exponent;
  }
  const int64_t x = exponent > 0 ? Wrap32(Wrap32(sum) * (int64_t{1} << exponent)) : Wrap32(sum);
  const int64_t high = static_cast<int64_t>(
      std::floor((static_cast<long double>(x) * static_cast<long double>(multiplier) + std::ldexp(1.0L, 30)) /
                 std::ldexp(1.0L, 31)));
  return exponent >= 0 ? high : std::llround(std::ldexp(static_cast<double>(high), exponent));
}

// A fully connected layer's.
inline int64_t DoubleProduct(int64_t sum, double factor) { return std::llround(Wrap32(sum) * factor); }

inline int8_t ClampInt8(int64_t value, int32_t min, int32_t max) {
  return static_cast<int8_t>(std::min<int64_t>(max, std::max<int64_t>(min, value)));
}

}  // namespace dgms::testing

#endif  // DGMS_TESTS_OPS_INT8_ORACLE_H_
