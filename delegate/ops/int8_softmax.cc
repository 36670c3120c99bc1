// Numbers in fixed point, as their comments say: Q5.26 has 5 bits in front of the point, 26 behind it, and a sign.
#include "ops/int8_softmax.h"

#include <algorithm>
#include <cmath>

#include "ops/quantization.h"

namespace dgms {
namespace {

constexpr int32_t kOne = INT32_MAX;  // 1 in Q0.31, or nearly
constexpr int kInputBits = 5;        // exponents are Q5.26
constexpr int kSumBits = 12;         // sums are Q12.19

// The product of two fixed-point numbers: the bits in front of the point add up.
int32_t Product(int32_t a, int32_t b) {
  if (a == b && a == INT32_MIN) return INT32_MAX;
  return static_cast<int32_t>((int64_t{a} * b + (int64_t{1} << 30)) >> 31);
}

// x / 2^right, halves away from zero.
int32_t RoundedShift(int32_t x, int right) {
  if (right == 0) return x;
  const int64_t half = int64_t{1} << (right - 1), wide = x;
  return static_cast<int32_t>(wide < 0 ? -((-wide + half) >> right) : (wide + half) >> right);
}

// x * 2^left, saturating.
int32_t SaturatedShift(int32_t x, int left) {
  return static_cast<int32_t>(std::clamp<int64_t>(int64_t{x} * (int64_t{1} << left), INT32_MIN, INT32_MAX));
}

int32_t FromDouble(double value, int fraction_bits) {
  return static_cast<int32_t>(std::llround(std::ldexp(value, fraction_bits)));
}

// exp(a) for a in [-1/4, 0), Q0.31 to Q0.31: its series around -1/8 up to the fourth power,
//     exp(-1/8) * (1 + x + x^2/2 + x^3/6 + x^4/24), x = a + 1/8, the last three as ((x^4/4 + x^3) / 3 + x^2) / 2
int32_t ExpOfQuarter(int32_t a) {
  const int32_t at_centre = FromDouble(std::exp(-0.125), 31), third = FromDouble(1.0 / 3, 31);
  const int32_t x = a + (1 << 28);
  const int32_t x2 = Product(x, x);
  const int32_t x3 = Product(x2, x), x4 = Product(x2, x2);
  const int32_t rest = RoundedShift(Product(RoundedShift(x4, 2) + x3, third) + x2, 1);
  return at_centre + Product(at_centre, x + rest);
}

// exp(a) for a <= 0, Q5.26 to Q0.31: a is cut into a part in [-1/4, 0) and quarters, whose binary digits select
// factors.
int32_t Exp(int32_t a) {
  constexpr int32_t kQuarter = 1 << (31 - kInputBits - 2);
  if (a == 0) return kOne;
  const int32_t part = (a & (kQuarter - 1)) - kQuarter;
  int32_t result = ExpOfQuarter(part * (1 << kInputBits));
  const int32_t quarters = part - a;
  for (int power = -2; power < kInputBits; ++power) {
    if (quarters & (1 << (31 - kInputBits + power))) {
      result = Product(result, FromDouble(std::exp(-std::ldexp(1.0, power)), 31));
    }
  }
  return result;
}

// 1 / (1 + a) for a in [0, 1), Q0.31 to Q0.31: three steps of Newton's method for half the denominator, on Q2.29.
int32_t ReciprocalOfOnePlus(int32_t a) {
  const int32_t half_denominator = static_cast<int32_t>((int64_t{a} + kOne + 1) / 2);
  const int32_t slope = FromDouble(-32.0 / 17, 29), offset = FromDouble(48.0 / 17, 29), one = 1 << 29;
  int32_t x = offset + Product(half_denominator, slope);
  for (int i = 0; i < 3; ++i) x += SaturatedShift(Product(x, one - Product(half_denominator, x)), 2);
  return SaturatedShift(x, 1);
}

}  // namespace

bool Int8Softmax::Init(double step) {
  const double factor = std::min(step * (1 << (31 - kInputBits)), 2147483647.0);
  if (!(factor > 1.0)) return false;
  int exponent = 0;
  int64_t multiplier = std::llround(std::ldexp(std::frexp(factor, &exponent), 31));
  if (multiplier == int64_t{1} << 31) {
    multiplier /= 2;
    ++exponent;
  }
  // Smaller differences do not leave Q5.26.
  const double radius =
      std::floor(31.0 * (int64_t{1} << (31 - kInputBits)) / static_cast<double>(int64_t{1} << exponent));
  for (int i = 0; i < 256; ++i) {
    exp_[i] = term_[i] = 0;
    if (i > radius) continue;
    exp_[i] = Exp(Product(static_cast<int32_t>(-i * (int64_t{1} << exponent)), static_cast<int32_t>(multiplier)));
    term_[i] = RoundedShift(exp_[i], kSumBits);
  }
  return true;
}

void Int8Softmax::Run(const int8_t* input, int8_t* output, int64_t depth) const {
  const int32_t largest = *std::max_element(input, input + depth);
  int32_t sum = 0;
  for (int64_t i = 0; i < depth; ++i) sum += term_[largest - input[i]];
  // The largest value's term is 2^19, so the sum has a leading bit among the first 12.
  const int headroom = __builtin_clz(static_cast<uint32_t>(sum));
  const uint32_t fraction = (static_cast<uint32_t>(sum) << headroom) - (uint32_t{1} << 31);
  const int32_t reciprocal = ReciprocalOfOnePlus(static_cast<int32_t>(fraction));
  const int right = kSumBits - headroom + 31 - 8;
  for (int64_t i = 0; i < depth; ++i) {
    const int32_t y = RoundedShift(Product(reciprocal, exp_[largest - input[i]]), right) - 128;
    output[i] = static_cast<int8_t>(std::clamp(y, -128, 127));
  }
}

}  // namespace dgms
