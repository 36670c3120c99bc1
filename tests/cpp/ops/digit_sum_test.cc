// Sums by digits against the exact integers, for all pairs of operands.
#include "ops/digit_sum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/random_values.h"
#include "kernels/select_kernel.h"
#include "ops/quantization.h"

namespace dgms::testing {
namespace {

// The reference kernels' factors for these scales.
AddS8Args ArgsOf(const Quantization& a, const Quantization& b, const Quantization& output, bool subtract) {
  const auto fixed = [](double factor) {
    int exponent = 0;
    const double fraction = std::frexp(factor, &exponent);
    return FixedFactor{static_cast<int32_t>(std::llround(fraction * 2147483647.0)), 0, -exponent};
  };
  const double twice = 2.0 * std::max(a.scale, b.scale);
  AddS8Args args = {};
  args.a_zero = a.zero;
  args.b_zero = b.zero;
  args.zero = output.zero;
  args.a_factor = fixed(a.scale / twice * 0.999);  // at most one half
  args.b_factor = fixed(b.scale / twice * 0.999);
  args.factor = fixed(twice / (1048576.0 * output.scale));
  args.subtract = subtract;
  args.near.margin = 1.0f;  // in integers alone
  args.min = -128;
  args.max = 127;
  return args;
}

// DigitSumS8 as it is written, with a check that nothing leaves 16 bits.
int ByDigits(const DigitSumS8& d, int a, int b) {
  const auto fits = [](int x) { EXPECT_TRUE(x >= INT16_MIN && x <= INT16_MAX) << x; };
  const int x0 = a * d.a[0] + b * d.b[0];
  const int x1 = a * d.a[1] + b * d.b[1] + d.start[0] + ((x0 + (d.half ? 128 : 0)) >> 8);
  const int x2 = a * d.a[2] + b * d.b[2] + d.start[1] + (x1 >> 8);
  fits(x0);
  fits(x1);
  fits(x2);
  return (x2 + (1 << (d.shift - 1))) >> d.shift;
}

void CheckAllPairs(const AddS8Fn add_s8, AddS8Args args) {
  std::vector<int8_t> all(256), exact(65536);
  for (int i = 0; i < 256; ++i) all[i] = static_cast<int8_t>(i - 128);
  for (int i = 0; i < 256; ++i) {
    args.operands = {1, 256, all.data() + i, 0, 0, all.data(), 0, 1, exact.data() + 256 * i};
    add_s8(args);
  }
  for (int i = 0; i < 65536; ++i) {
    const int a = i / 256 - 128, b = i % 256 - 128;
    ASSERT_EQ(std::clamp(ByDigits(args.digits, a, b), args.min, args.max), exact[i]) << a << " and " << b;
  }
}

// Scales as networks have them: nearly all have digits, and those are right.
TEST(DigitSum, AllPairs) {
  Random random(1);
  const AddS8Fn add_s8 = BestKernels()->pointwise->add_s8;
  int found = 0;
  constexpr int kTries = 60;
  for (int i = 0; i < kTries && !::testing::Test::HasFailure(); ++i) {
    const float a = random.Floats(1, 0.02f, 0.1f)[0], b = random.Floats(1, 0.02f, 0.1f)[0];
    const auto zero = [&] { return i % 3 == 0 ? -128 : static_cast<int32_t>(random.Int(-60, 60)); };
    AddS8Args args = ArgsOf({a, zero()}, {b, zero()}, {random.Floats(1, 0.5f, 1.2f)[0] * (a + b), zero()}, i % 4 == 3);
    if (i % 5 == 0) args.min = -30;
    if (i % 7 == 0) args.max = 90;
    const double error = 4 * std::ldexp(1.0, -args.factor.right);
    if (!FindDigitSum(add_s8, error, &args)) continue;
    ++found;
    CheckAllPairs(add_s8, args);
  }
  EXPECT_GE(found, kTries * 9 / 10);
}

// Ties are rounded away from zero, which no single start does on both sides of zero.
TEST(DigitSum, Ties) {
  AddS8Args args = {};
  args.a_factor = args.b_factor = {1 << 30, 0, 0};
  args.factor = {1 << 30, 0, 19};  // halves of sums
  args.near.margin = 1.0f;
  args.min = -128;
  args.max = 127;
  EXPECT_FALSE(FindDigitSum(BestKernels()->pointwise->add_s8, 1e-5, &args));
}

}  // namespace
}  // namespace dgms::testing
