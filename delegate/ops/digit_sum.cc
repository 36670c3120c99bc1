#include "ops/digit_sum.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace dgms {
namespace {

constexpr int kValues = 256, kLowest = -128;
constexpr int kLowBits = 16;         // of the two lower digits
constexpr int64_t kStartUnit = 128;  // half a second digit: DigitSumS8::half

// Pairs whose sums in fixed point come so close to a half, in units of the last digit, are looked at one by one. All
// others are right as long as what sums in digits and the exact ones differ by adds up to less.
constexpr int64_t kNear = 2048;
constexpr int kMostNear = 512;  // more are those of scales that make ties

// Steps are tried up to so far from the nearest ones: each moves the sums of the pairs near a half another way.
constexpr int kMostMove = 4;

double Value(const FixedFactor& factor) { return std::ldexp(factor.multiplier, factor.left - factor.right - 31); }

// a * a_step + b * b_step + start, with shift + kLowBits bits behind the point; the rounding half is in it.
struct FixedSum {
  int64_t a_step, b_step, start;
  int64_t operator()(int64_t a, int64_t b) const { return a * a_step + b * b_step + start; }
};

// A pair near a half, and what its sum has to be for the exact result.
struct NearPair {
  int a, b;
  int64_t bound;
  bool above;  // at least `bound`; else less
};
struct NearPairs {
  NearPair pair[kMostNear];
  int count = 0;
};

int64_t Modulo(int64_t x, int64_t one) { return x & (one - 1); }  // one: a power of two

int8_t Exact(AddS8Fn add_s8, AddS8Args args, int a, int b) {
  const int8_t x = static_cast<int8_t>(a), y = static_cast<int8_t>(b);
  int8_t output = 0;
  args.operands = {1, 1, &x, 1, 1, &y, 1, 1, &output};
  add_s8(args);
  return output;
}

// False: there are too many.
bool FindNear(AddS8Fn add_s8, const AddS8Args& args, const FixedSum& sum, int64_t one, NearPairs* near) {
  // The second operands in the order of the fractions of their products.
  struct Fraction {
    int64_t fraction;
    int b;
  };
  Fraction order[kValues];
  for (int i = 0; i < kValues; ++i) order[i] = {Modulo((kLowest + i) * sum.b_step, one), kLowest + i};
  const auto less = [](const Fraction& x, const Fraction& y) { return x.fraction < y.fraction; };
  std::sort(order, order + kValues, less);
  for (int a = kLowest; a < kLowest + kValues; ++a) {
    const int64_t from = Modulo(-sum(a, 0) - kNear, one);
    int64_t at = std::lower_bound(order, order + kValues, Fraction{from, 0}, less) - order;
    for (int count = 0; count < kValues; ++count, ++at) {
      const Fraction& second = order[at % kValues];
      if (Modulo(second.fraction - from, one) > 2 * kNear) break;
      const int64_t near_sum = sum(a, second.b) + kNear;
      const int64_t upper = (near_sum - Modulo(near_sum, one)) / one;  // of the two results
      if (upper <= args.min || upper > args.max) continue;             // both clamp to the same
      if (near->count == kMostNear) return false;
      near->pair[near->count++] = {a, second.b, upper * one, Exact(add_s8, args, a, second.b) >= upper};
    }
  }
  return true;
}

// The digits of a number of so many; false: it has more. Each is -128..127.
template <int count, typename Digit>
bool ToDigits(int64_t x, Digit* digits) {
  for (int i = 0; i + 1 < count; ++i) {
    const int64_t low = ((x + 128) & 255) - 128;
    digits[i] = static_cast<Digit>(low);
    x = (x - low) >> 8;
  }
  digits[count - 1] = static_cast<Digit>(x);
  return digits[count - 1] == x;
}

// What DigitSumS8 wants: no sum leaves 16 bits.
bool ToDigitSum(const FixedSum& sum, int64_t half, int shift, DigitSumS8* digits) {
  const int64_t start = sum.start - half;
  if (!ToDigits<3>(sum.a_step, digits->a) || !ToDigits<3>(sum.b_step, digits->b) ||
      !ToDigits<2>(start >> 8, digits->start)) {
    return false;
  }
  digits->half = (start & 128) != 0;
  digits->shift = shift;
  const auto largest = [&](int i) { return 128 * (std::abs(int{digits->a[i]}) + std::abs(int{digits->b[i]})); };
  const int carry = 128;
  if (largest(0) + (digits->half ? 128 : 0) > INT16_MAX ||
      largest(1) + std::abs(int{digits->start[0]}) + carry > INT16_MAX)
    return false;
  for (const int64_t a : {-128, 127}) {
    for (const int64_t b : {-128, 127}) {
      const int64_t highest = (sum(a, b) - half) >> kLowBits;
      if (highest < INT16_MIN || highest > INT16_MAX) return false;
    }
  }
  return true;
}

// A start that makes all pairs near a half right, a multiple of kStartUnit.
//   most   how far it may be from sum->start
bool FindStart(const NearPairs& near, int64_t most, FixedSum* sum) {
  int64_t low = sum->start - most, high = sum->start + most;
  for (int i = 0; i < near.count; ++i) {
    const NearPair& pair = near.pair[i];
    const int64_t start = pair.bound - (pair.a * sum->a_step + pair.b * sum->b_step);
    if (pair.above) {
      low = std::max(low, start);
    } else {
      high = std::min(high, start - 1);
    }
  }
  const int64_t start = ((low + high) / 2 + kStartUnit / 2) & -kStartUnit;
  if (start < low || start > high) return false;
  sum->start = start;
  return true;
}

}  // namespace

bool FindDigitSum(AddS8Fn add_s8, double error, AddS8Args* args) {
  const double a_value = Value(args->a_factor) * 1048576 * Value(args->factor);
  const double b_value = Value(args->b_factor) * 1048576 * Value(args->factor) * (args->subtract ? -1 : 1);
  const double start_value = args->zero + 0.5 - a_value * args->a_zero - b_value * args->b_zero;
  if (std::fabs(start_value) + 128 * (a_value + std::fabs(b_value)) > 4096) return false;
  for (int shift = 7; shift >= 5; --shift) {
    const int64_t one = int64_t{1} << (shift + kLowBits), half = one / 2;
    const double unit = static_cast<double>(one);
    const FixedSum nearest = {std::llround(a_value * unit), std::llround(b_value * unit),
                              std::llround(start_value * unit)};
    // The nearest sum and the exact one differ by at most: two steps and the start, rounded; add_s8's own error.
    const int64_t different = 128 + 1 + static_cast<int64_t>(std::ceil(error * unit));
    DigitSumS8 digits;
    FixedSum coarse = nearest;
    coarse.start &= -kStartUnit;
    if (!ToDigitSum(coarse, half, shift, &digits)) continue;  // with fewer bits it may
    NearPairs near;
    if (!FindNear(add_s8, *args, nearest, one, &near)) return false;
    for (int move = 0; move < (2 * kMostMove + 1) * (2 * kMostMove + 1); ++move) {
      const int a_move = move % (2 * kMostMove + 1) - kMostMove, b_move = move / (2 * kMostMove + 1) - kMostMove;
      const int64_t most = kNear - different - 128 * (std::abs(a_move) + std::abs(b_move));
      FixedSum sum = {nearest.a_step + a_move, nearest.b_step + b_move, nearest.start};
      if (most > 0 && FindStart(near, most, &sum) && ToDigitSum(sum, half, shift, &args->digits)) return true;
    }
  }
  return false;
}

}  // namespace dgms
