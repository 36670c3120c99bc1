// The kernels of operators without weights, in plain loops over independent lanes: every file that includes this
// compiles them with its own instruction set's flags, and compilers turn them into its vectors. No sum and no order of
// operations depends on the number of lanes, so all results are the same.
#ifndef DGMS_KERNELS_POINTWISE_H_
#define DGMS_KERNELS_POINTWISE_H_

#include "kernels/pointwise_binary.h"
#include "kernels/pointwise_common.h"

namespace dgms {
namespace {

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

// Calls piece(first, count, done) for channels first..first+count-1, of which the first `done` were in the piece
// before. Counts are known at compile time but for fewer than 16 channels: the last piece ends with the channels.
template <int size, typename Piece>
DGMS_INLINE void ChannelPieces(int64_t n, const Piece& piece) {
  int64_t c = 0;
  for (; c + size <= n; c += size) piece(c, size, 0);
  if (c < n) piece(n - size, size, static_cast<int>(c - (n - size)));
}

template <typename Piece>
DGMS_INLINE void ForEachChannelPiece(int64_t n, const Piece& piece) {
  if (n >= kPiece) return ChannelPieces<kPiece>(n, piece);
  if (n >= kShortPiece) return ChannelPieces<kShortPiece>(n, piece);
  piece(0, static_cast<int>(n), 0);
}

template <typename Sum, typename T>
DGMS_INLINE void AddRow(Sum* sums, const T* x, int count) {
  for (int i = 0; i < count; ++i) sums[i] = static_cast<Sum>(sums[i] + x[i]);
}

template <typename Sum, typename T, typename Bound, typename Take, typename Finish>
DGMS_INLINE void Pool(const PoolArgs<T, Bound>& args, Sum start, const Take& take, const Finish& finish) {
  for (int64_t pixel = 0; pixel < args.pixels; ++pixel) {
    const T* input = args.input + pixel * args.pixel_stride;
    T* output = args.output + pixel * args.output_stride;
    ForEachChannelPiece(args.channels, [&](int64_t c, int count, int) DGMS_INLINED {
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
  ForEachChannelPiece(args.n, [&](int64_t c, int count, int done) DGMS_INLINED {
    const int8_t* row = args.input + c;
    for (int64_t left = args.rows; left > 0; left -= kMaxShortSum) {
      int16_t part[kPiece] = {};
      for (int64_t r = left < kMaxShortSum ? left : kMaxShortSum; r > 0; --r, row += args.row_stride) {
        AddRow(part, row, count);
      }
      AddRow(args.sums + c + done, part + done, count - done);
    }
  });
}

// In the order of the rows, whatever was there before them.
void SumRowsF32(const SumRowsF32Args& args) {
  ForEachChannelPiece(args.n, [&](int64_t c, int count, int done) DGMS_INLINED {
    float sums[kPiece];
    for (int i = 0; i < count; ++i) sums[i] = args.sums[c + i];
    const float* row = args.input + c;
    for (int64_t r = 0; r < args.rows; ++r, row += args.row_stride) AddRow(sums, row, count);
    for (int i = done; i < count; ++i) args.sums[c + i] = sums[i];
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
