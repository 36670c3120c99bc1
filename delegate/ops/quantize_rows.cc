#include "ops/quantize_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace dgms {
namespace {

// Rows longer than this are cut, here and nowhere else, whatever the number of threads, unless there are many.
constexpr int64_t kPiece = 16384;
constexpr int64_t kManyRows = 8;

constexpr int64_t kItemsPerThread = 5;

// Below this many elements a job is not worth waking workers for.
constexpr int64_t kMinParallelElements = 32768;

constexpr FloatRange kNoRange = {0.0f, 0.0f, true};

RowQuantization QuantizationOf(const FloatRange& range) {
  if (!range.finite) return {std::numeric_limits<float>::quiet_NaN(), 0};
  const float scale = static_cast<float>((static_cast<double>(range.max) - static_cast<double>(range.min)) / 255.0);
  if (scale < std::numeric_limits<float>::min()) return {0.0f, 0};
  const double zero = std::nearbyint(-128.0 - static_cast<double>(range.min) / static_cast<double>(scale));
  return {scale, static_cast<int32_t>(std::clamp(zero, -128.0, 127.0))};
}

void Quantize(const QuantizeS8Kernel& kernel, const float* x, int64_t count, const RowQuantization& q, bool flip,
              int8_t* output) {
  if (q.scale > 0) {
    kernel.quantize({x, count, 1.0f / q.scale, q.zero, flip, output});
  } else {
    std::fill(output, output + count, static_cast<int8_t>(flip ? q.zero ^ -128 : q.zero));
  }
}

// Stores what the range of a row makes of it.
RowQuantization Store(const QuantizeRowsArgs& args, int64_t row, const FloatRange& range) {
  const RowQuantization q = QuantizationOf(range);
  args.scales[row] = q.scale;
  args.zeros[row] = q.zero + (args.flip ? 128 : 0);
  return q;
}

// A long row: first all pieces' ranges, then all pieces. The ranges wait where the outputs will be.
void QuantizeInPieces(const QuantizeS8Kernel& kernel, const QuantizeRowsArgs& args, int64_t row, ThreadPool& pool) {
  const int64_t length = args.length, pieces = (length + kPiece - 1) / kPiece;
  static_assert(sizeof(FloatRange) <= kPiece, "a piece's range fits in its outputs");
  const float* x = args.input + row * args.row_stride;
  int8_t* y = args.output + row * length;
  const bool parallel = length >= kMinParallelElements;
  const auto size = [&](int64_t piece) { return std::min(kPiece, length - piece * kPiece); };
  // The last piece may be shorter than a range: it goes with the one before.
  const auto measure = [&](int64_t piece) {
    const int64_t count = piece + 2 == pieces ? size(piece) + size(piece + 1) : size(piece);
    const FloatRange range = kernel.range(x + piece * kPiece, count);
    std::memcpy(y + piece * kPiece, &range, sizeof(range));
  };
  pool.Run(pieces - 1, measure, parallel);
  FloatRange range = kNoRange;
  for (int64_t piece = 0; piece + 1 < pieces; ++piece) {
    FloatRange one;
    std::memcpy(&one, y + piece * kPiece, sizeof(one));
    range = {std::min(range.min, one.min), std::max(range.max, one.max), range.finite && one.finite};
  }
  const RowQuantization q = Store(args, row, range);
  const auto quantize = [&](int64_t piece) {
    Quantize(kernel, x + piece * kPiece, size(piece), q, args.flip, y + piece * kPiece);
  };
  pool.Run(pieces, quantize, parallel);
}

}  // namespace

void QuantizeRow(const QuantizeS8Kernel& kernel, const QuantizeRowsArgs& args, int64_t row) {
  const float* x = args.input + row * args.row_stride;
  const RowQuantization q = Store(args, row, kernel.range(x, args.length));
  Quantize(kernel, x, args.length, q, args.flip, args.output + row * args.length);
}

void QuantizeRows(const QuantizeS8Kernel& kernel, const QuantizeRowsArgs& args, ThreadPool& pool) {
  if (args.length > kPiece && args.rows < kManyRows) {
    for (int64_t row = 0; row < args.rows; ++row) QuantizeInPieces(kernel, args, row, pool);
    return;
  }
  const int64_t items = std::min<int64_t>(args.rows, kItemsPerThread * pool.num_threads());
  const auto job = [&](int64_t item) {
    for (int64_t row = args.rows * item / items; row < args.rows * (item + 1) / items; ++row) {
      QuantizeRow(kernel, args, row);
    }
  };
  pool.Run(items, job, args.rows * args.length >= kMinParallelElements);
}

}  // namespace dgms
