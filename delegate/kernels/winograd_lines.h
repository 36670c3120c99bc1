// The three transforms of one line of values each (kernel_winograd.h), over the vectors of the including file, which
// defines first:
//   Floats                      a vector of floats
//   Splat, Add, Subtract        the latter two a + b, a - b
//   Multiply, MultiplyAdd       a * b, a * b + c
//   MinusProduct                c - a * b
#ifndef DGMS_KERNELS_WINOGRAD_LINES_H_
#define DGMS_KERNELS_WINOGRAD_LINES_H_

namespace dgms {
namespace {

constexpr float kPointA = 0.70710678118654752f, kPointB = 1.41421356237309505f;

// B' times six values: 12 operations.
DGMS_INLINE void InputLine(const Floats (&d)[6], Floats (&t)[6]) {
  const Floats even_a = MinusProduct(Splat(2.0f), d[2], d[4]), odd_a = MinusProduct(Splat(2.0f), d[1], d[3]);
  const Floats even_b = MinusProduct(Splat(0.5f), d[2], d[4]), odd_b = MinusProduct(Splat(0.5f), d[1], d[3]);
  t[0] = MinusProduct(Splat(2.5f), d[2], Add(d[0], d[4]));
  t[1] = MultiplyAdd(Splat(kPointA), odd_a, even_a);
  t[2] = MinusProduct(Splat(kPointA), odd_a, even_a);
  t[3] = MultiplyAdd(Splat(kPointB), odd_b, even_b);
  t[4] = MinusProduct(Splat(kPointB), odd_b, even_b);
  t[5] = MinusProduct(Splat(2.5f), d[3], Add(d[1], d[5]));
}

// Two of the six below: those of the points +point and -point. 3 operations.
DGMS_INLINE void FilterPair(float square, float point, Floats g0, Floats g1, Floats g2, Floats* plus, Floats* minus) {
  const Floats even = MultiplyAdd(Splat(square), g2, g0);
  *plus = MultiplyAdd(Splat(point), g1, even);
  *minus = MinusProduct(Splat(point), g1, even);
}

// G times three values: 6 operations.
DGMS_INLINE void FilterLine(Floats g0, Floats g1, Floats g2, Floats (&u)[6]) {
  u[0] = g0;
  FilterPair(0.5f, kPointA, g0, g1, g2, &u[1], &u[2]);
  FilterPair(2.0f, kPointB, g0, g1, g2, &u[3], &u[4]);
  u[5] = g2;
}

// A' times six values: 12 operations.
DGMS_INLINE void OutputLine(const Floats (&m)[6], Floats (&y)[4]) {
  constexpr float f = -2.0f / 3.0f, h = 1.0f / 6.0f;
  const Floats sum_a = Add(m[1], m[2]), difference_a = Subtract(m[1], m[2]);
  const Floats sum_b = Add(m[3], m[4]), difference_b = Subtract(m[3], m[4]);
  y[0] = MultiplyAdd(Splat(f), sum_a, MultiplyAdd(Splat(h), sum_b, m[0]));
  y[1] = MultiplyAdd(Splat(f * kPointA), difference_a, Multiply(Splat(h * kPointB), difference_b));
  y[2] = MultiplyAdd(Splat(f / 2), sum_a, Multiply(Splat(h * 2), sum_b));
  y[3] = MultiplyAdd(Splat(f * kPointA / 2), difference_a, MultiplyAdd(Splat(h * kPointB * 2), difference_b, m[5]));
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_WINOGRAD_LINES_H_
