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
// Where it cannot (NEON of 32 bits rounds otherwise), plain code is right, and no reason for a warning.
#pragma clang diagnostic ignored "-Wpass-failed"
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
  ForEachRow(args.operands, [=](const float* a, const float* b, float* output) DGMS_INLINED {
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

// a * b + c, rounded once or twice: for results that do not depend on it.
DGMS_INLINE float MultiplyAddAnyhow(float a, float b, float c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

// x / 2^right, halves away from zero, for |x| <= 2^30.
struct RoundingShift {
  int32_t right, half, sign;  // sign: all bits, if halves need any care at all

  explicit RoundingShift(int32_t right) : right(right), half((1 << right) >> 1), sign(right > 0 ? -1 : 0) {}
  DGMS_INLINE int32_t operator()(int32_t x) const { return (x + half + ((x >> 31) & sign)) >> right; }
};

// The same for any x; right may be 31.
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

template <typename Piece>
DGMS_INLINE void ForEachPiece(int64_t n, const Piece& piece) {
  int64_t i = 0;
  for (; i + kPiece <= n; i += kPiece) piece(i, kPiece);
  if (i < n) piece(i, static_cast<int>(n - i));
}

// A row of two operands' bytes in pieces of `size`; piece(x, y, results, size) has a size known at compile time. The
// last piece, of `last_size`, ends with the row and may overlap the one before. It is computed first and stored last,
// and results wait in an array of their own: the output may be an input.
template <int size, int last_size, int a_step, int b_step, typename Piece>
DGMS_INLINE void BytePieces(const int8_t* a, const int8_t* b, int8_t* output, int64_t n, const Piece& piece) {
  int8_t last[last_size], results[size];
  const int64_t last_at = n - last_size;
  piece(a + a_step * last_at, b + b_step * last_at, last, last_size);
  for (int64_t i = 0; i < last_at; i += size) {
    piece(a + a_step * i, b + b_step * i, results, size);
    memcpy(output + i, results, size);
  }
  memcpy(output + last_at, last, last_size);
}

constexpr int kShortPiece = 16;

template <int a_step, int b_step, typename Piece>
DGMS_INLINE void ForEachBytePiece(const BinaryOperands<int8_t>& o, const Piece& piece) {
  const int64_t n = o.n;
  ForEachRow(o, [&](const int8_t* a, const int8_t* b, int8_t* output) DGMS_INLINED {
    constexpr int kShort = kShortPiece;
    if (n > kPiece && (n - 1) % kPiece < kShort) {
      return BytePieces<kPiece, kShort, a_step, b_step>(a, b, output, n, piece);
    }
    if (n >= kPiece) return BytePieces<kPiece, kPiece, a_step, b_step>(a, b, output, n, piece);
    if (n >= kShort) return BytePieces<kShort, kShort, a_step, b_step>(a, b, output, n, piece);
    // Filled up with the first element.
    int8_t x[kShortPiece], y[kShortPiece], results[kShortPiece];
    for (int i = 0; i < kShortPiece; ++i) {
      const int64_t from = i < n ? i : 0;
      x[i] = a[a_step * from];
      y[i] = b[b_step * from];
    }
    piece(x, y, results, kShortPiece);
    memcpy(output, results, static_cast<size_t>(n));
  });
}

// From floats to outputs: the nearest integer, plus the zero point, clamped.
struct FloatRounding {
  float magic, min, max;  // an output y is the float kMagic + y here
  int32_t limit;          // how far from the nearest integer a result is sure: the bits of a float >= 0, or below 0

  FloatRounding(NearHalf near, int32_t zero, int32_t min, int32_t max)
      : magic(kMagic + static_cast<float>(zero)),
        min(kMagic + static_cast<float>(min)),
        max(kMagic + static_cast<float>(max)),
        limit(near.margin < 0.5f ? Bits(0.5f - near.margin) : -1) {}

  // *unsure becomes negative if the output may be wrong. (Floats >= 0 compare as their bits do.)
  DGMS_INLINE int8_t operator()(float y, int32_t* unsure) const {
    const float near = y + magic;
    const float rest = y - (near - magic);  // exact
    *unsure |= limit - (Bits(rest) & INT32_MAX);
    return static_cast<int8_t>(Bits(Clamped(near, min, max)));
  }
};

// In integers, as the contract says.
template <int a_step, int b_step>
void AddS8Exactly(const AddS8Args& args, const int8_t* x, const int8_t* y, int8_t* results, int count) {
  const int32_t a_zero = args.a_zero, b_zero = args.b_zero, sign = args.subtract ? -1 : 1;
  const FixedFactor a_factor = args.a_factor, b_factor = args.b_factor, factor = args.factor;
  const int32_t zero = args.zero, min = args.min, max = args.max;
  for (int i = 0; i < count; ++i) {
    const int32_t sum =
        ScaledOperand(x[a_step * i] - a_zero, a_factor) + sign * ScaledOperand(y[b_step * i] - b_zero, b_factor);
    results[i] = static_cast<int8_t>(Clamped(Multiplied(sum, factor) + zero, min, max));
  }
}

template <int a_step, int b_step>
void AddS8Rows(const AddS8Args& args) {
  const FloatRounding rounded(args.near, args.zero, args.min, args.max);
  const float a_float = args.a_float, b_float = args.subtract ? -args.b_float : args.b_float;
  const float offset = -(a_float * static_cast<float>(args.a_zero)) - b_float * static_cast<float>(args.b_zero);
  const auto piece = [&](const int8_t* x, const int8_t* y, int8_t* results, int count) DGMS_INLINED {
    int32_t unsure = 0;
    for (int i = 0; i < count; ++i) {
      const float b_part = MultiplyAddAnyhow(static_cast<float>(y[b_step * i]), b_float, offset);
      results[i] = rounded(MultiplyAddAnyhow(static_cast<float>(x[a_step * i]), a_float, b_part), &unsure);
    }
    if (unsure < 0) AddS8Exactly<a_step, b_step>(args, x, y, results, count);
  };
  ForEachBytePiece<a_step, b_step>(args.operands, piece);
}

void AddS8(const AddS8Args& args) {
  if (args.operands.a_step == 0) return AddS8Rows<0, 1>(args);
  if (args.operands.b_step == 0) return AddS8Rows<1, 0>(args);
  AddS8Rows<1, 1>(args);
}

// Products of |x| <= 255^2 by a factor below 1. With the multiplier m cut into high * 2^16 + low, |low| <= 2^15,
//     (x * m + 2^30) >> 31 = (x * high + 2^14 + (x * low >> 16)) >> 15,
// and nothing leaves 32 bits, as 255^2 * 2^15 is below 2^31 - 2^24.
struct SmallProduct {
  int32_t high, low;
  RoundingShift shift;
  explicit SmallProduct(const FixedFactor& factor)
      : high((factor.multiplier >> 16) + ((factor.multiplier >> 15) & 1)),
        low(static_cast<int16_t>(factor.multiplier & 0xffff)),
        shift(factor.right) {}
  DGMS_INLINE int32_t operator()(int32_t x) const { return shift((x * high + 16384 + ((x * low) >> 16)) >> 15); }
};

struct AnyProduct {
  FixedFactor factor;
  explicit AnyProduct(const FixedFactor& factor) : factor(factor) {}
  DGMS_INLINE int32_t operator()(int32_t x) const { return Multiplied(x, factor); }
};

// In integers, as the contract says.
template <int a_step, int b_step, typename Product>
void MulS8Exactly(const MulS8Args& args, const Product& product, const int8_t* x, const int8_t* y, int8_t* results,
                  int count) {
  const int32_t a_zero = args.a_zero, b_zero = args.b_zero, min = args.min, max = args.max;
  const uint32_t zero = static_cast<uint32_t>(args.zero);
  for (int i = 0; i < count; ++i) {
    const int32_t value = product((x[a_step * i] - a_zero) * (y[b_step * i] - b_zero));
    const int32_t moved = static_cast<int32_t>(static_cast<uint32_t>(value) + zero);
    results[i] = static_cast<int8_t>(Clamped(moved, min, max));
  }
}

// The first of a factor's two roundings moves where the second one turns: it does so as if half a step of the first
// were added to the magnitude. In float that is the nudge, whose sign is the product's; products of two operands are
// exact.
DGMS_INLINE int32_t NudgeBits(const FixedFactor& factor) {
  return factor.right == 0 ? 0 : Bits(1.0f) - ((factor.right + 1) << 23);
}

template <typename Product, int a_step, int b_step>
void MulS8Rows(const MulS8Args& args) {
  const FloatRounding rounded(args.near, args.zero, args.min, args.max);
  const float a_zero_float = static_cast<float>(args.a_zero), b_zero_float = static_cast<float>(args.b_zero);
  const float factor_float = args.factor_float;
  const int32_t nudge = NudgeBits(args.factor);
  const Product product(args.factor);
  const auto piece = [&](const int8_t* x, const int8_t* y, int8_t* results, int count) DGMS_INLINED {
    int32_t unsure = 0;
    for (int i = 0; i < count; ++i) {
      const float a_part = static_cast<float>(x[a_step * i]) - a_zero_float;
      const float exact = a_part * (static_cast<float>(y[b_step * i]) - b_zero_float);
      const float signed_nudge = FromBits(nudge | (Bits(exact) & INT32_MIN));
      results[i] = rounded(MultiplyAddAnyhow(exact, factor_float, signed_nudge), &unsure);
    }
    if (unsure < 0) MulS8Exactly<a_step, b_step>(args, product, x, y, results, count);
  };
  ForEachBytePiece<a_step, b_step>(args.operands, piece);
}

template <typename Product>
void MulS8AnySteps(const MulS8Args& args) {
  if (args.operands.a_step == 0) return MulS8Rows<Product, 0, 1>(args);
  if (args.operands.b_step == 0) return MulS8Rows<Product, 1, 0>(args);
  MulS8Rows<Product, 1, 1>(args);
}

void MulS8(const MulS8Args& args) {
  if (args.factor.left == 0 && args.factor.right < 31) return MulS8AnySteps<SmallProduct>(args);
  MulS8AnySteps<AnyProduct>(args);
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
  const int8_t *table = args.table + 128, *input = args.input;
  int8_t* output = args.output;
  const int64_t count = args.count;
  for (int64_t i = 0; i < count; ++i) output[i] = table[input[i]];
}

void QuantizeF32(const QuantizeF32Args& args) {
  constexpr float kBound = 1024.0f;  // beyond every zero point and range
  const float* input = args.input;
  const float scale = args.scale;
  const int32_t moved = args.zero - kMagicBits;
  const int64_t count = args.count;  // a store of bytes could change args for all that the compiler knows
  int8_t* output = args.output;
  for (int64_t i = 0; i < count; ++i) {
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

// So many int8 values have a sum that fits 16 bits.
constexpr int64_t kMaxShortSum = 256;

template <typename Sum, typename T>
DGMS_INLINE void AddRow(Sum* sums, const T* x, int count) {
  for (int i = 0; i < count; ++i) sums[i] = static_cast<Sum>(sums[i] + x[i]);
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
constexpr int32_t kMaxFloatWindow = 32768;

template <typename Sum>
DGMS_INLINE void AveragePoolS8By(const PoolS8Args& args, int32_t count, bool by_float) {
  const int32_t half = count / 2, min = args.min, max = args.max;
  const float divisor = static_cast<float>(count);
  const auto add = [](Sum sum, int8_t x) DGMS_INLINED { return static_cast<Sum>(sum + x); };
  const auto average = [=](Sum sum) DGMS_INLINED {
    const int32_t rounded = sum > 0 ? sum + half : sum - half;
    const int32_t quotient = by_float ? static_cast<int32_t>(static_cast<float>(rounded) / divisor) : rounded / count;
    return static_cast<int8_t>(Clamped(quotient, min, max));
  };
  Pool<Sum>(args, 0, add, average);
}

void AveragePoolS8(const PoolS8Args& args) {
  const int64_t count = args.kernel_h * args.kernel_w;
  if (count <= kMaxShortSum) return AveragePoolS8By<int16_t>(args, static_cast<int32_t>(count), true);
  if (count <= kMaxFloatWindow) return AveragePoolS8By<int32_t>(args, static_cast<int32_t>(count), true);
  AveragePoolS8By<int32_t>(args, static_cast<int32_t>(count), false);
}

void SumRowsS8(const SumRowsS8Args& args) {
  ForEachPiece(args.n, [&](int64_t c, int count) DGMS_INLINED {
    const int8_t* row = args.input + c;
    for (int64_t left = args.rows; left > 0; left -= kMaxShortSum) {
      int16_t part[kPiece] = {};
      for (int64_t r = left < kMaxShortSum ? left : kMaxShortSum; r > 0; --r, row += args.row_stride) {
        AddRow(part, row, count);
      }
      AddRow(args.sums + c, part, count);
    }
  });
}

// In the order of the rows, whatever was there before them.
void SumRowsF32(const SumRowsF32Args& args) {
  ForEachPiece(args.n, [&](int64_t c, int count) DGMS_INLINED {
    float sums[kPiece];
    for (int i = 0; i < count; ++i) sums[i] = args.sums[c + i];
    const float* row = args.input + c;
    for (int64_t r = 0; r < args.rows; ++r, row += args.row_stride) AddRow(sums, row, count);
    for (int i = 0; i < count; ++i) args.sums[c + i] = sums[i];
  });
}

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
