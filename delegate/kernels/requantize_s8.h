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
#ifndef DGMS_KERNELS_REQUANTIZE_S8_H_
#define DGMS_KERNELS_REQUANTIZE_S8_H_

namespace dgms {
namespace {

// A float q that is less than this from an integer surely rounds to the contract's.
constexpr float kSurelyRounded = 0.5f - 0.00008f;

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_REQUANTIZE_S8_H_
