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
// In float, q = fma(float(x), float(m) * 2^-(31 + r), +-2^-(r+1)): four roundings, each of at most 2^-24 of its value.
// Up to |p| = 257 the error is less than 4.01 * 2^-24 * 257 < 2^-13.9; beyond, either result is outside of what any
// zero point brings back to 8 bits, so both are clamped to the same end. Therefore the integer nearest to float q is
// the contract's unless float q is less than 0.00007 > 2^-13.9 from a half. Then, about one number in 7000, the kernels
// take the 64-bit way for the few rows that they have in hand; likewise for columns with r = 0 or a left shift.
#ifndef DGMS_KERNELS_REQUANTIZE_S8_H_
#define DGMS_KERNELS_REQUANTIZE_S8_H_

namespace dgms {
namespace {

// A float q that is less than this from an integer surely rounds to the contract's.
constexpr float kSurelyRounded = 0.5f - 0.00007f;

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_REQUANTIZE_S8_H_
