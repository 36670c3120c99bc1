#include "ops/quantize_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace dgms {
namespace {

// Elements that one item of a job handles: rows are cut here and nowhere else, whatever the number of threads.
constexpr int64_t kPiece = 16384;

// Below this many elements a job is not worth waking workers for.
constexpr int64_t kMinParallelElements = 32768;

struct Range {
  float min, max;
  bool finite;
};
constexpr Range kNoRange = {0.0f, 0.0f, true};

// Independent lanes, which compilers turn into vectors.
Range RangeOf(const float* x, int64_t count) {
  constexpr int kLanes = 16;
  float min[kLanes] = {}, max[kLanes] = {}, poison[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const float value = x[i + lane];
      min[lane] = value < min[lane] ? value : min[lane];
      max[lane] = value > max[lane] ? value : max[lane];
      poison[lane] += value * 0.0f;  // NaN for NaN and for infinities, else zero
    }
  }
  for (int lane = 0; i < count; ++i, ++lane) {
    min[lane] = std::min(min[lane], x[i]);
    max[lane] = std::max(max[lane], x[i]);
    poison[lane] += x[i] * 0.0f;
  }
  Range range = kNoRange;
  for (int lane = 0; lane < kLanes; ++lane) {
    range.min = std::min(range.min, min[lane]);
    range.max = std::max(range.max, max[lane]);
    range.finite = range.finite && poison[lane] == 0.0f;
  }
  return range;
}

RowQuantization QuantizationOf(const Range& range) {
  if (!range.finite) return {std::numeric_limits<float>::quiet_NaN(), 0};
  const float scale = static_cast<float>((static_cast<double>(range.max) - static_cast<double>(range.min)) / 255.0);
  if (scale < std::numeric_limits<float>::min()) return {0.0f, 0};
  const double zero = std::nearbyint(-128.0 - static_cast<double>(range.min) / static_cast<double>(scale));
  return {scale, static_cast<int32_t>(std::clamp(zero, -128.0, 127.0))};
}

// Adding 1.5 * 2^23 leaves the nearest integer, halves to even, in the low bits of a float.
inline int32_t Nearest(float x) {
  constexpr float kMagic = 12582912.0f;
  const float moved = x + kMagic;
  int32_t bits;
  std::memcpy(&bits, &moved, sizeof(bits));
  return bits - 0x4b400000;
}

void Quantize(const float* x, int64_t count, const RowQuantization& q, int8_t flip, int8_t* output) {
  if (!(q.scale > 0)) {
    std::fill(output, output + count, static_cast<int8_t>(q.zero ^ flip));
    return;
  }
  const float inverse = 1.0f / q.scale;
  const int32_t zero = q.zero;
  for (int64_t i = 0; i < count; ++i) {
    const int32_t value = std::min(std::max(Nearest(x[i] * inverse) + zero, -128), 127);
    output[i] = static_cast<int8_t>(value ^ flip);
  }
}

}  // namespace

void QuantizeRows(const float* input, int64_t rows, int64_t length, bool flip, int8_t* output, float* scales,
                  int32_t* zeros, ThreadPool& pool) {
  const bool parallel = rows * length >= kMinParallelElements;
  const int8_t mask = flip ? -128 : 0;
  const int32_t moved = flip ? 128 : 0;
  const auto finish = [&](int64_t row, const Range& range) {
    const RowQuantization q = QuantizationOf(range);
    scales[row] = q.scale;
    zeros[row] = q.zero + moved;
    return q;
  };
  if (length <= kPiece) {
    const auto job = [&](int64_t row) {
      const float* x = input + row * length;
      Quantize(x, length, finish(row, RangeOf(x, length)), mask, output + row * length);
    };
    pool.Run(rows, job, parallel);
    return;
  }
  // Long rows, one after another: first all pieces' ranges, then all pieces. The ranges wait where the outputs will be.
  const int64_t pieces = (length + kPiece - 1) / kPiece;
  static_assert(sizeof(Range) <= kPiece, "a piece's range fits in its outputs");
  for (int64_t row = 0; row < rows; ++row) {
    const float* x = input + row * length;
    int8_t* y = output + row * length;
    const auto size = [&](int64_t piece) { return std::min(kPiece, length - piece * kPiece); };
    // The last piece may be shorter than a range: it goes with the one before.
    const auto measure = [&](int64_t piece) {
      const int64_t count = piece + 2 == pieces ? size(piece) + size(piece + 1) : size(piece);
      const Range range = RangeOf(x + piece * kPiece, count);
      std::memcpy(y + piece * kPiece, &range, sizeof(range));
    };
    pool.Run(pieces - 1, measure, parallel);
    Range range = kNoRange;
    for (int64_t piece = 0; piece + 1 < pieces; ++piece) {
      Range one;
      std::memcpy(&one, y + piece * kPiece, sizeof(one));
      range = {std::min(range.min, one.min), std::max(range.max, one.max), range.finite && one.finite};
    }
    const RowQuantization q = finish(row, range);
    const auto quantize = [&](int64_t piece) {
      Quantize(x + piece * kPiece, size(piece), q, mask, y + piece * kPiece);
    };
    pool.Run(pieces, quantize, parallel);
  }
}

}  // namespace dgms
