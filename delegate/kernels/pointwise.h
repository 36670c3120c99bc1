// The kernels of operators without weights, in plain loops over independent lanes: every file that includes this
// compiles them with its own instruction set's flags, and compilers turn them into its vectors. No sum and no order of
// operations depends on the number of lanes, so all results are the same.
#ifndef DGMS_KERNELS_POINTWISE_H_
#define DGMS_KERNELS_POINTWISE_H_

#include <string.h>

#include "kernels/kernel_pointwise.h"

// Before a loop whose iterations are independent of each other even where the output is the input itself, which
// compilers cannot know.
#if defined(__clang__)
#define DGMS_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define DGMS_INDEPENDENT _Pragma("GCC ivdep")
#endif
#define DGMS_INLINED __attribute__((always_inline))
#define DGMS_INLINE inline DGMS_INLINED

namespace dgms {
namespace {

constexpr int kPiece =
    64;  // elements that are done together where a piece may have to be done again, or of partial sums
constexpr float kLowest = -3.402823466e+38f;  // of finite floats

// NaN passes: both comparisons are false for it.
template <typename T>
DGMS_INLINE T Clamped(T y, T min, T max) {
  y = y < min ? min : y;
  return y > max ? max : y;
}

// Adding 1.5 * 2^23 leaves the nearest integer, halves to even, in the low bits of a float below 2^22 in magnitude.
constexpr float kMagic = 12582912.0f;
constexpr int32_t kMagicBits = 0x4b400000;

DGMS_INLINE int32_t Bits(float x) {
  int32_t bits;
  memcpy(&bits, &x, sizeof(bits));
  return bits;
}

DGMS_INLINE float FromBits(int32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof(x));
  return x;
}

// ---------------------------------------------------------------------------------------------------------------------
// Two operands.

// Calls row(a, b, output) for every row, with steps known at compile time.
template <typename Row, typename T>
DGMS_INLINE void ForEachRow(const BinaryOperands<T>& o, const Row& row) {
  for (int64_t r = 0; r < o.rows; ++r) row(o.a + r * o.a_row_stride, o.b + r * o.b_row_stride, o.output + r * o.n);
}

template <BinaryKind kind, int a_step, int b_step>
void BinaryRows(const BinaryF32Args& args) {
  const float min = args.min, max = args.max;
  const int64_t n = args.operands.n;
  ForEachRow(args.operands, [=](const float* a, const float* b, float* output) {
    DGMS_INDEPENDENT
    for (int64_t i = 0; i < n; ++i) {
      const float x = a[a_step * i], y = b[b_step * i];
      const float z = kind == BinaryKind::kAdd ? x + y : kind == BinaryKind::kSub ? x - y : x * y;
      output[i] = Clamped(z, min, max);
    }
  });
}

template <BinaryKind kind>
void BinaryAnySteps(const BinaryF32Args& args) {
  if (args.operands.a_step == 0) return BinaryRows<kind, 0, 1>(args);
  if (args.operands.b_step == 0) return BinaryRows<kind, 1, 0>(args);
  BinaryRows<kind, 1, 1>(args);
}

void BinaryF32(const BinaryF32Args& args) {
  switch (args.kind) {
    case BinaryKind::kAdd:
      return BinaryAnySteps<BinaryKind::kAdd>(args);
    case BinaryKind::kSub:
      return BinaryAnySteps<BinaryKind::kSub>(args);
    case BinaryKind::kMul:
      return BinaryAnySteps<BinaryKind::kMul>(args);
  }
}

// x / 2^right, halves away from zero.
DGMS_INLINE int32_t RoundingShiftRight(int32_t x, int32_t right) {
  const int32_t mask = static_cast<int32_t>((uint32_t{1} << right) - 1);
  const int32_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);
  return (x >> right) + ((x & mask) > threshold ? 1 : 0);
}

// x by a factor, as FixedFactor says. The low 32 bits of the high product need no signed shift of 64 bits.
DGMS_INLINE int32_t Multiplied(int32_t x, const FixedFactor& factor) {
  const int32_t shifted = static_cast<int32_t>(static_cast<uint32_t>(x) << factor.left);
  const int64_t product = static_cast<int64_t>(shifted) * factor.multiplier + (int64_t{1} << 30);
  return RoundingShiftRight(static_cast<int32_t>(static_cast<uint32_t>(static_cast<uint64_t>(product) >> 31)),
                            factor.right);
}

// x * 2^20 by a factor whose left is 0, for |x| <= 255. With the multiplier m cut into high * 2^11 + low,
//     (x * 2^20 * m + 2^30) >> 31 = (x * m + 2^10) >> 11 = x * high + ((x * low + 2^10) >> 11),
// and nothing leaves 32 bits.
DGMS_INLINE int32_t ScaledOperand(int32_t x, const FixedFactor& factor) {
  const int32_t high = factor.multiplier >> 11, low = factor.multiplier & 2047;
  return RoundingShiftRight(x * high + ((x * low + 1024) >> 11), factor.right);
}

// How one piece is computed in float. Returns whether all results are sure.
struct FloatPiece {
  float limit;  // distance from the nearest integer up to which a result is sure
  uint32_t moved;
  int32_t min, max;

  FloatPiece(NearHalf near, int32_t zero, int32_t min, int32_t max)
      : limit(0.5f - near.margin), moved(static_cast<uint32_t>(zero - kMagicBits)), min(min), max(max) {}

  // Rounds y, which is below 2^22 in magnitude; *unsure becomes nonzero if it may be wrong.
  DGMS_INLINE int8_t Round(float y, int32_t* unsure) const {
    const float near = y + kMagic;
    const float rest = y - (near - kMagic);  // exact
    *unsure |= (rest > limit ? 1 : 0) | (rest < -limit ? 1 : 0);
    return static_cast<int8_t>(Clamped(static_cast<int32_t>(static_cast<uint32_t>(Bits(near)) + moved), min, max));
  }
};

// Results wait in a buffer of their own: the output may be an input, which the second attempt needs.
template <typename Approximate, typename Exact>
DGMS_INLINE void RoundedPiece(const FloatPiece& piece, int count, int8_t* output, const Approximate& approximate,
                              const Exact& exact) {
  int8_t results[kPiece];
  int32_t unsure = 0;
  for (int i = 0; i < count; ++i) results[i] = piece.Round(approximate(i), &unsure);
  if (unsure != 0) {
    for (int i = 0; i < count; ++i) results[i] = exact(i);
  }
  memcpy(output, results, static_cast<size_t>(count));
}

template <typename Piece>
DGMS_INLINE void ForEachPiece(int64_t n, const Piece& piece) {
  int64_t i = 0;
  for (; i + kPiece <= n; i += kPiece) piece(i, kPiece);
  if (i < n) piece(i, static_cast<int>(n - i));
}

template <int a_step, int b_step>
void AddS8Rows(const AddS8Args& args) {
  const FloatPiece piece(args.near, args.zero, args.min, args.max);
  const int32_t a_zero = args.a_zero, b_zero = args.b_zero, sign = args.subtract ? -1 : 1;
  const float a_float = args.a_float, b_float = args.subtract ? -args.b_float : args.b_float;
  const FixedFactor a_factor = args.a_factor, b_factor = args.b_factor, factor = args.factor;
  const int64_t n = args.operands.n;
  ForEachRow(args.operands, [&](const int8_t* a, const int8_t* b, int8_t* output) {
    ForEachPiece(n, [&](int64_t first, int count) DGMS_INLINED {
      const int8_t *x = a + a_step * first, *y = b + b_step * first;
      const auto approximate = [=](int i) DGMS_INLINED {
        return static_cast<float>(x[a_step * i] - a_zero) * a_float +
               static_cast<float>(y[b_step * i] - b_zero) * b_float;
      };
      const auto exact = [=](int i) DGMS_INLINED {
        const int32_t sum =
            ScaledOperand(x[a_step * i] - a_zero, a_factor) + sign * ScaledOperand(y[b_step * i] - b_zero, b_factor);
        return static_cast<int8_t>(Clamped(Multiplied(sum, factor) + args.zero, args.min, args.max));
      };
      RoundedPiece(piece, count, output + first, approximate, exact);
    });
  });
}

void AddS8(const AddS8Args& args) {
  if (args.operands.a_step == 0) return AddS8Rows<0, 1>(args);
  if (args.operands.b_step == 0) return AddS8Rows<1, 0>(args);
  AddS8Rows<1, 1>(args);
}

template <int a_step, int b_step>
void MulS8Rows(const MulS8Args& args) {
  const FloatPiece piece(args.near, args.zero, args.min, args.max);
  const int32_t a_zero = args.a_zero, b_zero = args.b_zero;
  const float factor_float = args.factor_float;
  const FixedFactor factor = args.factor;
  const int64_t n = args.operands.n;
  ForEachRow(args.operands, [&](const int8_t* a, const int8_t* b, int8_t* output) {
    ForEachPiece(n, [&](int64_t first, int count) DGMS_INLINED {
      const int8_t *x = a + a_step * first, *y = b + b_step * first;
      const auto product = [=](int i) DGMS_INLINED { return (x[a_step * i] - a_zero) * (y[b_step * i] - b_zero); };
      const auto approximate = [=](int i) DGMS_INLINED { return static_cast<float>(product(i)) * factor_float; };
      const auto exact = [=](int i) DGMS_INLINED {
        const uint32_t moved = static_cast<uint32_t>(Multiplied(product(i), factor)) + static_cast<uint32_t>(args.zero);
        return static_cast<int8_t>(Clamped(static_cast<int32_t>(moved), args.min, args.max));
      };
      RoundedPiece(piece, count, output + first, approximate, exact);
    });
  });
}

void MulS8(const MulS8Args& args) {
  if (args.operands.a_step == 0) return MulS8Rows<0, 1>(args);
  if (args.operands.b_step == 0) return MulS8Rows<1, 0>(args);
  MulS8Rows<1, 1>(args);
}

// ---------------------------------------------------------------------------------------------------------------------
// One operand.

// exp(x) for any x; results below 2^-126 become 0. NaN passes.
//   x = n * ln 2 + r with |r| <= ln(2) / 2, exp(r) by its Taylor series up to r^7 / 7!, whose rest is below 2^-27.
// ln 2 is subtracted in two parts, of which the first has so few bits that its product with n is exact. 2^n is
// multiplied in two steps, as n may be 128.
DGMS_INLINE float Exp(float x) {
  constexpr float kLog2E = 1.44269504f, kLn2High = 0.693145752f, kLn2Low = 1.42860677e-6f;
  constexpr float kMostNegative = -87.3365402f;  // 2^-126
  const float bounded = Clamped(x, -88.0f, 89.0f);
  const float near = bounded * kLog2E + kMagic;
  const float n = near - kMagic;
  const float r = (bounded - n * kLn2High) - n * kLn2Low;
  float p = 1.0f / 5040.0f;
  p = p * r + 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = p * (r * r) + r + 1.0f;
  const int32_t power = Bits(near) - kMagicBits, half = power >> 1;
  const auto two_to = [](int32_t e) { return FromBits(static_cast<int32_t>(static_cast<uint32_t>(e + 127) << 23)); };
  const float y = p * two_to(half) * two_to(power - half);
  return x < kMostNegative ? 0.0f : y;
}

template <typename Function>
DGMS_INLINE void Map(const UnaryF32Args& args, const Function& function) {
  const float* x = args.input;
  float* output = args.output;
  DGMS_INDEPENDENT
  for (int64_t i = 0; i < args.count; ++i) output[i] = function(x[i]);
}

void UnaryF32(const UnaryF32Args& args) {
  switch (args.kind) {
    case UnaryKind::kClamp:
      return Map(args, [min = args.min, max = args.max](float x) DGMS_INLINED { return Clamped(x, min, max); });
    case UnaryKind::kHardSwish:
      return Map(args, [](float x) DGMS_INLINED { return x * Clamped(x + 3.0f, 0.0f, 6.0f) / 6.0f; });
    case UnaryKind::kLogistic:
      return Map(args, [](float x) DGMS_INLINED { return 1.0f / (1.0f + Exp(-x)); });
  }
}

void LookupS8(const LookupS8Args& args) {
  const int8_t* table = args.table + 128;
  for (int64_t i = 0; i < args.count; ++i) args.output[i] = table[args.input[i]];
}

void QuantizeF32(const QuantizeF32Args& args) {
  constexpr float kBound = 1024.0f;  // beyond every zero point and range
  const float* input = args.input;
  const float scale = args.scale;
  const int32_t moved = args.zero - kMagicBits;
  int8_t* output = args.output;
  for (int64_t i = 0; i < args.count; ++i) {
    float y = input[i] / scale;
    y = y > -kBound ? y : -kBound;  // NaN, too
    y = y < kBound ? y : kBound;
    const float near = y + kMagic;
    const float rest = y - (near - kMagic);  // exact; a half here was rounded to the even neighbour
    const int32_t away = (rest >= 0.5f ? y > 0.0f : 0) - (rest <= -0.5f ? y < 0.0f : 0);
    output[i] = static_cast<int8_t>(Clamped(Bits(near) + moved + away, -128, 127));
  }
}

void DequantizeS8(const DequantizeS8Args& args) {
  const int8_t* input = args.input;
  const float scale = args.scale;
  const int32_t zero = args.zero;
  float* output = args.output;
  for (int64_t i = 0; i < args.count; ++i) output[i] = static_cast<float>(input[i] - zero) * scale;
}

// ---------------------------------------------------------------------------------------------------------------------
// Windows and sums, a piece of the channels at a time.

// Calls piece(c, count) for pieces of [0, n); the usual count is known at compile time once inlined.
template <typename Sum, typename T>
DGMS_INLINE void AddRow(Sum* sums, const T* x, int count) {
  for (int i = 0; i < count; ++i) sums[i] += x[i];
}

template <typename Sum, typename T, typename Bound, typename Take, typename Finish>
DGMS_INLINE void Pool(const PoolArgs<T, Bound>& args, Sum start, const Take& take, const Finish& finish) {
  for (int64_t pixel = 0; pixel < args.pixels; ++pixel) {
    const T* input = args.input + pixel * args.pixel_stride;
    T* output = args.output + pixel * args.output_stride;
    ForEachPiece(args.channels, [&](int64_t c, int count) DGMS_INLINED {
      Sum sums[kPiece];
      for (int i = 0; i < count; ++i) sums[i] = start;
      for (int64_t ky = 0; ky < args.kernel_h; ++ky) {
        const T* line = input + ky * args.line_stride + c;
        for (int64_t kx = 0; kx < args.kernel_w; ++kx, line += args.tap_stride) {
          for (int i = 0; i < count; ++i) sums[i] = take(sums[i], line[i]);
        }
      }
      for (int i = 0; i < count; ++i) output[c + i] = finish(sums[i]);
    });
  }
}

template <typename T, typename Bound>
DGMS_INLINE void MaxPool(const PoolArgs<T, Bound>& args, T lowest) {
  const T min = static_cast<T>(args.min), max = static_cast<T>(args.max);
  Pool<T>(
      args, lowest, [](T most, T x) DGMS_INLINED { return most < x ? x : most; },
      [=](T most) DGMS_INLINED { return Clamped(most, min, max); });
}

void MaxPoolF32(const PoolF32Args& args) { MaxPool(args, kLowest); }
void MaxPoolS8(const PoolS8Args& args) { MaxPool(args, int8_t{-128}); }

void AveragePoolF32(const PoolF32Args& args) {
  const float count = static_cast<float>(args.kernel_h * args.kernel_w), min = args.min, max = args.max;
  Pool<float>(
      args, 0.0f, [](float sum, float x) DGMS_INLINED { return sum + x; },
      [=](float sum) DGMS_INLINED { return Clamped(sum / count, min, max); });
}

// A float quotient of two integers below 2^23 never reaches the next integer, so cutting it off is an integer division.
constexpr int64_t kMaxFloatWindow = 32768;

void AveragePoolS8(const PoolS8Args& args) {
  const int32_t count = static_cast<int32_t>(args.kernel_h * args.kernel_w), half = count / 2;
  const int32_t min = args.min, max = args.max;
  const auto add = [](int32_t sum, int8_t x) DGMS_INLINED { return sum + x; };
  const auto rounded = [=](int32_t sum) DGMS_INLINED { return sum > 0 ? sum + half : sum - half; };
  if (count <= kMaxFloatWindow) {
    const float divisor = static_cast<float>(count);
    Pool<int32_t>(args, 0, add, [=](int32_t sum) DGMS_INLINED {
      const float quotient = static_cast<float>(rounded(sum)) / divisor;
      return static_cast<int8_t>(Clamped(static_cast<int32_t>(quotient), min, max));
    });
  } else {
    Pool<int32_t>(args, 0, add, [=](int32_t sum) DGMS_INLINED {
      return static_cast<int8_t>(Clamped(rounded(sum) / count, min, max));
    });
  }
}

template <typename T, typename Sum>
void SumRows(const SumRowsArgs<T, Sum>& args) {
  ForEachPiece(args.n, [&](int64_t c, int count) DGMS_INLINED {
    Sum sums[kPiece];
    for (int i = 0; i < count; ++i) sums[i] = args.sums[c + i];
    const T* row = args.input + c;
    for (int64_t r = 0; r < args.rows; ++r, row += args.row_stride) AddRow(sums, row, count);
    for (int i = 0; i < count; ++i) args.sums[c + i] = sums[i];
  });
}

void SumRowsF32(const SumRowsF32Args& args) { SumRows(args); }
void SumRowsS8(const SumRowsS8Args& args) { SumRows(args); }

// The sum of 64 partial sums, in pairs.
template <typename Sum>
DGMS_INLINE Sum Total(Sum* sums) {
  for (int width = kPiece / 2; width >= 1; width /= 2) {
    for (int i = 0; i < width; ++i) sums[i] += sums[i + width];
  }
  return sums[0];
}

template <typename Sum, typename T>
DGMS_INLINE Sum SumOf(const T* input, int64_t count) {
  Sum sums[kPiece] = {};
  ForEachPiece(count, [&](int64_t first, int in_piece) DGMS_INLINED { AddRow(sums, input + first, in_piece); });
  return Total(sums);
}

float SumF32(const float* input, int64_t count) { return SumOf<float>(input, count); }
int32_t SumS8(const int8_t* input, int64_t count) { return SumOf<int32_t>(input, count); }

void SoftmaxF32(const SoftmaxF32Args& args) {
  const float* x = args.input;
  float* output = args.output;
  float most[kPiece];
  for (int i = 0; i < kPiece; ++i) most[i] = kLowest;
  ForEachPiece(args.count, [&](int64_t first, int count) DGMS_INLINED {
    for (int i = 0; i < count; ++i) most[i] = most[i] < x[first + i] ? x[first + i] : most[i];
  });
  float largest = kLowest;
  for (int i = 0; i < kPiece; ++i) largest = largest < most[i] ? most[i] : largest;
  const float beta = args.beta;
  float sums[kPiece] = {};
  ForEachPiece(args.count, [&](int64_t first, int count) DGMS_INLINED {
    float e[kPiece];
    for (int i = 0; i < count; ++i) e[i] = Exp((x[first + i] - largest) * beta);
    for (int i = 0; i < count; ++i) sums[i] += e[i];
    memcpy(output + first, e, static_cast<size_t>(count) * sizeof(float));
  });
  const float sum = Total(sums);
  for (int64_t i = 0; i < args.count; ++i) output[i] /= sum;
}

// ---------------------------------------------------------------------------------------------------------------------
// All of them, for the constant that kernels_pointwise.inc names.
#define DGMS_POINTWISE_KERNELS                                                                                   \
  BinaryF32, AddS8, MulS8, UnaryF32, LookupS8, QuantizeF32, DequantizeS8, MaxPoolF32, AveragePoolF32, MaxPoolS8, \
      AveragePoolS8, SumRowsF32, SumRowsS8, SumF32, SumS8, SoftmaxF32

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_POINTWISE_H_
