// Requantising in float, exactly: what the vector kernels share. For kernel files only.
//
// The contract (kernel_s8.h) rounds twice: h = floor(x * m / 2^31 + 1/2), then h / 2^r to the nearest integer, halves
// away from zero. In real numbers, with p = x * m / 2^(31 + r), and for r >= 1, that is one rounding:
//   h >= 0:  floor((h + 2^(r-1)) / 2^r)     = floor(p + 2^-(r+1) + 1/2)
//   h < 0:   floor((h + 2^(r-1) - 1) / 2^r) = floor(p - 2^-(r+1) + 1/2)
// because floor((floor(a) + i) / n) = floor((a + i) / n) for integers i and n > 0. Where x and h differ in sign h is 0,
// and both lines give 0. So the result is the integer nearest to
//   q = p + 2^-(r+1) with the sign of x,
// unless q is half-way between two integers.
//
// Where no output is below the zero point, sums below zero need no sign of their own: without it their q is at most
// 2^-(r+1) <= 1/4, so they still become 0 or less.
//
// In float, q = fma(float(x), float(m) * 2^-(31 + r), +-2^-(r+1)), or with the zero point added to the last term: four
// or five roundings, each of at most 2^-24 of its value. Up to |p| = 257 the error is less than
// (3.01 * 257 + 386 + 128.25) * 2^-24 < 0.00008; beyond, either result is outside of what any zero point brings back to
// 8 bits, so both are clamped to the same end. Therefore the integer nearest to float q is the contract's unless float
// q is less than that from a half. Then, about one number in 6000, the kernels take the 64-bit way for the few rows
// that they have in hand; likewise for columns with r = 0 or a left shift.
//
// Instead of comparing float q with its nearest integer, kernels may turn it into fixed point: t is the integer nearest
// to float Q, Q = fma(float(x), float(m) * 2^(16 - 31 - r), S), S = (zero + 1/2 +- 2^-(r+1)) * 2^16 + kMargin. In units
// of 2^-16, up to |p| = 257 the roundings of x and m are at most 1.01 each, that of S (less than 2^23) 0.25, that of Q,
// which may be the sum of two floats, 1 each, that of t 0.5: less than kMargin. So t - kMargin is less than kMargin
// from E = (q + zero + 1/2) * 2^16, and the output, before it is clamped, is floor(E / 2^16). Where the low 16 bits of
// t are kUnsure = 2 * kMargin or more, E is between the same two multiples of 2^16 as t, whose high 16 bits are then
// the output. Otherwise, about one number in 5500, they may not be. Beyond |p| = 257 both are clamped to the same end:
// Q is no further from its value than one part in 2^21, and where it does not fit 32 bits the conversion gives
// 0x80000000, whose low bits are less than kUnsure.
#ifndef DGMS_KERNELS_REQUANTIZE_S8_H_
#define DGMS_KERNELS_REQUANTIZE_S8_H_

namespace dgms {
namespace {

// A float q that is less than this from an integer surely rounds to the contract's.
constexpr float kSurelyRounded = 0.5f - 0.00008f;

// Of the fixed point.
constexpr int kFractionBits = 16;
constexpr int kMargin = 6;
constexpr int kUnsure = 2 * kMargin;
// S without its last term; exact.
constexpr float FixedStart(int zero) {
  return static_cast<float>(zero) * (1 << kFractionBits) + ((1 << (kFractionBits - 1)) + kMargin);
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_REQUANTIZE_S8_H_
