// Operators of two operands, ADD, SUB and MUL, in float and int8: a part of pointwise.h.
#ifndef DGMS_KERNELS_POINTWISE_BINARY_H_
#define DGMS_KERNELS_POINTWISE_BINARY_H_

#include "kernels/pointwise_common.h"

namespace dgms {
namespace {

// Calls row(a, b, output) for every row, with steps known at compile time.
template <typename Row, typename T>
DGMS_INLINE void ForEachRow(const BinaryOperands<T>& o, const Row& row) {
  for (int64_t r = 0; r < o.rows; ++r) row(o.a + r * o.a_row_stride, o.b + r * o.b_row_stride, o.output + r * o.n);
}

template <BinaryKind kind, int a_step, int b_step, bool bounded>
void BinaryRows(const BinaryF32Args& args) {
  const float min = args.min, max = args.max;
  const int64_t n = args.operands.n;
  ForEachRow(args.operands, [=](const float* a, const float* b, float* output) DGMS_INLINED {
    DGMS_INDEPENDENT
    DGMS_UNROLL_4
    for (int64_t i = 0; i < n; ++i) {
      const float x = a[a_step * i], y = b[b_step * i];
      const float z = kind == BinaryKind::kAdd ? x + y : kind == BinaryKind::kSub ? x - y : x * y;
      output[i] = bounded ? Clamped(z, min, max) : z;
    }
  });
}

// Most have no activation.
template <BinaryKind kind, int a_step, int b_step>
void BinaryRows(const BinaryF32Args& args) {
  const bool bounded = args.min > -__builtin_inff() || args.max < __builtin_inff();
  bounded ? BinaryRows<kind, a_step, b_step, true>(args) : BinaryRows<kind, a_step, b_step, false>(args);
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
// and results wait in an array of their own unless pieces are read before they are written (reads_first): the output
// may be an input.
template <int size, int last_size, int a_step, int b_step, bool reads_first, typename Piece>
DGMS_INLINE void BytePieces(const int8_t* a, const int8_t* b, int8_t* output, int64_t n, const Piece& piece) {
  int8_t last[last_size], results[size];
  const int64_t last_at = n - last_size;
  piece(a + a_step * last_at, b + b_step * last_at, last, last_size);
  for (int64_t i = 0; i < last_at; i += size) {
    piece(a + a_step * i, b + b_step * i, reads_first ? output + i : results, size);
    if (!reads_first) memcpy(output + i, results, size);
  }
  memcpy(output + last_at, last, last_size);
}

constexpr int kShortPiece = 16;

template <int a_step, int b_step, bool reads_first = false, typename Piece>
DGMS_INLINE void ForEachBytePiece(const BinaryOperands<int8_t>& o, const Piece& piece) {
  const int64_t n = o.n;
  ForEachRow(o, [&](const int8_t* a, const int8_t* b, int8_t* output) DGMS_INLINED {
    constexpr int kShort = kShortPiece;
    if (n > kPiece && (n - 1) % kPiece < kShort) {
      return BytePieces<kPiece, kShort, a_step, b_step, reads_first>(a, b, output, n, piece);
    }
    if (n >= kPiece) return BytePieces<kPiece, kPiece, a_step, b_step, reads_first>(a, b, output, n, piece);
    if (n >= kShort) return BytePieces<kShort, kShort, a_step, b_step, reads_first>(a, b, output, n, piece);
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

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_POINTWISE_BINARY_H_
