#include "ops/row_tiles.h"

namespace dgms {
namespace {

// Rows whose weights are worth decoding again: decoding costs about as much as two rows of arithmetic.
constexpr int64_t kMinChunkRows = 128;

// Up to this many rows threads share the work by columns alone.
constexpr int64_t kColumnsOnlyRows = 100;

// With more, each has rows of its own, and at least so many: the pool gives the same part of every map to the same
// thread, which has it in its cache.
constexpr int64_t kMinThreadRows = 64;

// Input that one chunk of rows reads: stays in a second-level cache while the panels go over it.
constexpr int64_t kChunkBytes = 512 * 1024;

constexpr int64_t kItemsPerThread = 5;

}  // namespace

bool RowTiles::Plan(const RowLayout& rows, int max_rows) {
  rows_ = rows;
  const CheckedSize total = CheckedSize(rows.count[0]) * rows.count[1] * rows.count[2];
  if (!total.ok()) return false;
  total_rows_ = total.value();
  // Merge neighbouring dimensions where rows are evenly spaced across them: longer lines, fuller tiles.
  int64_t* count = rows_.count;
  int64_t* stride = rows_.stride;
  for (int outer = 1; outer >= 0; --outer) {
    for (int i = outer; i < 2; ++i) {  // dimension i into i + 1
      if (count[i + 1] == 1 || count[i] == 1 || stride[i] == count[i + 1] * stride[i + 1]) {
        if (count[i + 1] == 1) stride[i + 1] = stride[i];
        count[i + 1] *= count[i];
        count[i] = 1;
      }
    }
  }
  tiles_per_line_ = CeilDiv(count[2], max_rows);
  tiles_ = count[0] * count[1] * tiles_per_line_;
  return true;
}

int64_t RowTiles::Chunks(int64_t panels, int threads, int64_t row_bytes) const {
  int64_t chunks = 1;
  if (total_rows_ > kColumnsOnlyRows || panels < threads) {
    const int64_t cached_rows = std::max(kMinChunkRows, kChunkBytes / std::max<int64_t>(1, row_bytes));
    chunks = CeilDiv(total_rows_, cached_rows);
    if (threads > 1) {
      const int64_t wanted = CeilDiv(kItemsPerThread * threads, panels);
      chunks = std::max(chunks, std::min(wanted, CeilDiv(total_rows_, kMinChunkRows)));
      chunks = std::max(chunks, CeilDiv(threads, panels));
      chunks = std::max(chunks, std::min<int64_t>(threads, total_rows_ / kMinThreadRows));
    }
  }
  return std::min(chunks, tiles_);
}

}  // namespace dgms
