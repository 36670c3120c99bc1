#include "ops/codebook_gemm.h"

#include <algorithm>

namespace dgms {
namespace {

// Below this many multiply-adds (a few microseconds) a job is not worth waking workers for.
constexpr int64_t kMinParallelMacs = 100000;

// Rows whose weights are worth decoding again: decoding costs about as much as two rows of arithmetic.
constexpr int64_t kMinChunkRows = 128;

// Up to this many rows threads share the work by columns alone.
constexpr int64_t kColumnsOnlyRows = 196;

// Input that one chunk of rows reads: stays in a second-level cache while the panels go over it.
constexpr int64_t kChunkBytes = 512 * 1024;

constexpr int64_t kItemsPerThread = 5;

}  // namespace

Status CodebookGemm::Plan(const RowLayout& rows, const int64_t* segments, int64_t group_stride) {
  rows_ = rows;
  group_stride_ = group_stride;
  const CheckedSize total = CheckedSize(rows.count[0]) * rows.count[1] * rows.count[2];
  if (!(total * filter.channels()).FitsFloats() || !(total * filter.channels() * filter.k()).ok()) {
    return Status::kInvalidArgument;
  }
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
  tiles_per_line_ = CeilDiv(count[2], filter.kernel().max_rows);
  tiles_ = count[0] * count[1] * tiles_per_line_;

  int64_t entries = 0;
  for (int64_t b = 0; b < filter.blocks(); ++b) entries += filter.block(b).segment_count;
  if (!segments_.Reserve(entries) || !block_segments_.Reserve(filter.blocks())) return Status::kOutOfMemory;
  entries = 0;
  for (int64_t b = 0; b < filter.blocks(); ++b) {
    const PackedFilter::Block& block = filter.block(b);
    block_segments_[b] = entries;
    for (int64_t s = 0; s < block.segment_count; ++s)
      segments_[entries++] = segments[block.first_segment + s] + block.offset;
  }
  gemv_ = total_rows_ == 1 && filter.one_run();
  for (int64_t s = 1; s < filter.shape().segment_count; ++s) {
    if (segments[s] != segments[0] + s * filter.shape().segment_length) gemv_ = false;
  }
  return Status::kOk;
}

int64_t CodebookGemm::Chunks(int threads) const {
  const int64_t panels = filter.panels();
  int64_t chunks = 1;
  if (total_rows_ > kColumnsOnlyRows || panels < threads) {
    const int64_t row_bytes = rows_.stride[2] * static_cast<int64_t>(sizeof(float));
    const int64_t cached_rows = std::max(kMinChunkRows, kChunkBytes / std::max<int64_t>(1, row_bytes));
    chunks = CeilDiv(total_rows_, cached_rows);
    if (threads > 1) {
      const int64_t wanted = CeilDiv(kItemsPerThread * threads, panels);
      chunks = std::max(chunks, std::min(wanted, CeilDiv(total_rows_, kMinChunkRows)));
      chunks = std::max(chunks, CeilDiv(threads, panels));
    }
  }
  return std::min(chunks, tiles_);
}

CodebookGemm::Item CodebookGemm::ItemAt(int64_t index, int64_t chunks) const {
  // All panels of one range of rows, then the next range: the range's input stays in the cache.
  const int64_t chunk = index / filter.panels();
  return {index % filter.panels(), tiles_ * chunk / chunks, tiles_ * (chunk + 1) / chunks};
}

// Tiles first_tile..end_tile-1 of one block. A line's tiles are as equal as possible: the first `longer` have one row
// more than the others. Small layers spend a few hundred cycles per tile, so nothing is divided for each.
void CodebookGemm::RunTiles(const float* input, float* output, const Item& item, GemmF32Args* args) const {
  const int64_t rows = rows_.count[2] / tiles_per_line_, longer = rows_.count[2] % tiles_per_line_;
  const int64_t channels = filter.channels();
  const GemmF32Fn gemm = filter.kernel().gemm;
  int64_t in_line = item.first_tile % tiles_per_line_;
  for (int64_t line = item.first_tile / tiles_per_line_, left = item.end_tile - item.first_tile; left > 0; ++line) {
    const int64_t end = std::min(tiles_per_line_, in_line + left);
    const int64_t first = in_line * rows + std::min(in_line, longer);
    args->a = input + (line / rows_.count[1]) * rows_.stride[0] + (line % rows_.count[1]) * rows_.stride[1] +
              first * rows_.stride[2];
    args->c = output + (line * rows_.count[2] + first) * channels;
    left -= end - in_line;
    for (; in_line < end; ++in_line) {
      args->rows = static_cast<int>(rows + (in_line < longer ? 1 : 0));
      gemm(*args);
      args->a += args->rows * rows_.stride[2];
      args->c += args->rows * channels;
    }
    in_line = 0;
  }
}

void CodebookGemm::RunItem(const float* input, float* output, const Item& item) const {
  alignas(kAlignment) float decoded[kPanelFloats];
  const PackedFilter::Panel panel = filter.panel(item.panel);
  GemmF32Args args = {};
  args.n = panel.n;
  args.a_row_stride = rows_.stride[2];
  args.panel = decoded;
  args.c_row_stride = filter.channels();
  args.epilogue = {panel.scale, panel.bias, range.min, range.max};
  input += panel.group * group_stride_;
  output += panel.first_channel;
  const uint8_t* packed = panel.packed;
  for (int64_t b = 0; b < filter.blocks(); ++b) {
    const PackedFilter::Block& block = filter.block(b);
    filter.kernel().decode(packed, block.k(), panel.n, panel.tables, decoded);
    packed += filter.PackedBytes(block, panel.n);
    args.segments = segments_.data() + block_segments_[b];
    args.segment_count = block.segment_count;
    args.segment_length = block.segment_length;
    args.accumulate = b > 0;
    args.finish = b + 1 == filter.blocks();
    RunTiles(input, output, item, &args);
  }
}

void CodebookGemm::RunGemv(const float* input, float* output, ThreadPool& pool, bool parallel) const {
  const int64_t items = std::min(filter.panels(), 2 * kItemsPerThread * pool.num_threads());
  const auto job = [&](int64_t item) {
    for (int64_t i = filter.panels() * item / items; i < filter.panels() * (item + 1) / items; ++i) {
      const PackedFilter::Panel panel = filter.panel(i);
      GemvF32Args args = {};
      args.x = input + panel.group * group_stride_ + segments_[0];
      args.k = filter.k();
      args.n = panel.n;
      args.packed = panel.packed;
      args.tables = panel.tables;
      args.y = output + panel.first_channel;
      args.epilogue = {panel.scale, panel.bias, range.min, range.max};
      filter.kernel().gemv(args);
    }
  };
  pool.Run(items, job, parallel);
}

void CodebookGemm::Run(const float* input, float* output, ThreadPool& pool) const {
  if (total_rows_ == 0) return;
  const bool parallel = total_rows_ * filter.channels() * filter.k() >= kMinParallelMacs;
  if (gemv_) return RunGemv(input, output, pool, parallel);
  const int64_t chunks = Chunks(parallel ? pool.num_threads() : 1);
  const auto job = [&](int64_t item) { RunItem(input, output, ItemAt(item, chunks)); };
  pool.Run(chunks * filter.panels(), job, parallel);
}

}  // namespace dgms
