#include "ops/packed_int8_gemm.h"

#include <algorithm>

#include "kernels/pack_weights.h"
#include "ops/shapes.h"

namespace dgms {
namespace {

// Below this many multiply-adds (a few microseconds) a job is not worth waking workers for.
constexpr int64_t kMinParallelMacs = 300000;
constexpr int64_t kMinParallelBytes = 32768;  // to pack

// Fewer columns do not pay for packing, unless segments that are no whole groups of places are dear without it.
constexpr int64_t kMinColumns = 64, kMinRaggedColumns = 16;

// Packed rows at a time: they stay in a second-level cache while the panels go over them. But at least so many rows,
// each of which shares what decoding a panel costs.
constexpr int64_t kChunkBytes = 512 * 1024, kMinChunkRows = 126;

constexpr int64_t kItemsPerThread = 5;
constexpr int64_t kMinItemRows = 48;

// Sums that wait, on the stack: between the blocks of K, or before another kernel makes outputs of them (a few rows at
// a time, so that they stay in the nearest cache).
constexpr int64_t kWaitingSums = 8192, kFewSums = 1536;

}  // namespace

bool PackedInt8Gemm::Pays(const GemmS8Kernel& kernel, const FilterMatrix& shape) {
  if (kernel.packed == nullptr || shape.groups != 1) return false;
  const bool ragged = shape.segment_length % kPackedPlaces != 0;
  return shape.columns >= (ragged && shape.segment_count > 1 ? kMinRaggedColumns : kMinColumns);
}

FilterMatrix PackedInt8Gemm::OneSegment(FilterMatrix shape) {
  shape.segment_length *= shape.segment_count;
  shape.segment_count = 1;
  return shape;
}

Status PackedInt8Gemm::Plan(const Int8FilterPanels& filter, const RowLayout& rows, const Segments& segments) {
  kernel_ = filter.kernel().packed;
  k_ = filter.k();
  rows_ = rows;
  segment_length_ = segments.length;
  const CheckedSize total = CheckedSize(rows.count[0]) * rows.count[1] * rows.count[2];
  const CheckedSize outputs = total * filter.channels();
  if (kernel_ == nullptr || filter.shape().segment_count != 1 || segments.count * segments.length != k_ ||
      !outputs.FitsFloats() || !(outputs * k_).ok() || !(total * RoundUp(k_, kPackedPlaces)).ok()) {
    return Status::kInvalidArgument;
  }
  if (!offsets_.Reserve(segments.count)) return Status::kOutOfMemory;
  std::copy(segments.offsets, segments.offsets + segments.count, offsets_.data());
  return Status::kOk;
}

int64_t PackedInt8Gemm::TileBytes() const { return kernel_->tile_rows * RoundUp(k_, kPackedPlaces); }

int64_t PackedInt8Gemm::MostChunkRows() const {
  return std::max(kMinChunkRows, kChunkBytes / RoundUp(k_, kPackedPlaces));
}

// Whole tiles.
int64_t PackedInt8Gemm::ChunkRows(int64_t rows) const {
  return RoundUp(CeilDiv(rows, CeilDiv(rows, MostChunkRows())), kernel_->tile_rows);
}

// Not what ChunkRows(rows) take: fewer rows may be a larger chunk, and are to find room, too.
int64_t PackedInt8Gemm::ScratchBytes(int64_t rows) const {
  return CeilDiv(std::min(rows, MostChunkRows()), kernel_->tile_rows) * TileBytes();
}

// Rows range.first.. of `rows`, the first of which begins a tile.
void PackedInt8Gemm::Pack(const RowLayout& rows, const int8_t* input, const Range& range, int8_t* packed) const {
  const int8_t* row[kMaxPackedRows];
  PackRowsS8Args args = {0, row, offsets_.data(), 0, segment_length_, packed};
  args.segment_count = k_ / segment_length_;
  int64_t i2 = range.first % rows.count[2], line = range.first / rows.count[2];
  const int8_t* at = nullptr;
  const auto find = [&] {
    at = input + line / rows.count[1] * rows.stride[0] + line % rows.count[1] * rows.stride[1] + i2 * rows.stride[2];
  };
  find();
  for (int64_t first = range.first; first < range.end; first += args.rows, args.packed += TileBytes()) {
    args.rows = static_cast<int>(std::min<int64_t>(kernel_->tile_rows, range.end - first));
    if (args.rows == kernel_->tile_rows && rows.count[2] - i2 >= kernel_->tile_rows) {  // in one line, as most are
      i2 += args.rows;
      for (int r = 0; r < args.rows; ++r, at += rows.stride[2]) row[r] = at;
      kernel_->pack(args);
      continue;
    }
    for (int r = 0; r < args.rows; ++r, at += rows.stride[2], ++i2) {
      if (i2 == rows.count[2]) {
        i2 = 0;
        ++line;
        find();
      }
      row[r] = at;
    }
    kernel_->pack(args);
  }
}

// One panel over rows of a chunk; `packed` are those from chunk_first on.
void PackedInt8Gemm::Multiply(const Int8Gemm& gemm, int64_t panel_index, int64_t chunk_first, const Range& range,
                              const int8_t* packed, const Int8Output::Target& target) const {
  alignas(kAlignment) int8_t decoded[kPanelBytes];
  alignas(kAlignment) int32_t sums[kWaitingSums];
  const Int8FilterPanels& filter = gemm.filter;
  const Int8FilterPanels::Panel panel = filter.panel(panel_index);
  const int64_t blocks = filter.blocks(), tile_rows = kernel_->tile_rows;
  const bool dynamic = gemm.output.dynamic();
  const bool fused = (dynamic || gemm.output.simple()) && panel.n == panel.width;
  int64_t together = range.count();
  if (!fused || blocks > 1) together = (blocks > 1 ? kWaitingSums : kFewSums) / panel.width / tile_rows * tile_rows;
  PackedGemmS8Args args = {};
  args.width = panel.width;
  args.tile_stride = TileBytes();
  args.panel = decoded;
  args.c = sums;
  if (blocks == 1) filter.Decode(panel, 0, decoded);
  for (int64_t first = range.first; first < range.end; first += together) {
    args.rows = static_cast<int>(std::min(together, range.end - first));
    args.packed = packed + (first - chunk_first) / tile_rows * TileBytes();
    for (int64_t b = 0; b < blocks; ++b) {
      const FilterBlock& block = filter.block(b);
      if (blocks > 1) filter.Decode(panel, b, decoded);
      args.places = filter.Places(block);
      args.accumulate = b > 0;
      if (!fused || b + 1 < blocks) {
        kernel_->gemm(args);
      } else if (gemm.output.dequantizes()) {
        kernel_->dequantize(args, gemm.output.Dequantizing(target, first, args.rows, panel.first_channel, panel.n));
      } else if (dynamic) {
        kernel_->rescale_rows(args, gemm.output.Rescaling(target, first, args.rows, panel.first_channel, panel.n));
      } else {
        kernel_->requantize(args, gemm.output.Requantizing(target, first, args.rows, panel.first_channel, panel.n));
      }
      args.packed += args.places * tile_rows;
    }
    if (!fused) gemm.output.Finish(target, first, args.rows, panel.first_channel, panel.n, sums, panel.width);
  }
}

void PackedInt8Gemm::Run(const Int8Gemm& gemm, const int8_t* input, const Int8Output::Target& target, int8_t* scratch,
                         ThreadPool& pool) const {
  const int64_t total = rows_.count[0] * rows_.count[1] * rows_.count[2];
  if (total == 0) return;
  const int64_t panels = gemm.filter.panels(), tile_rows = kernel_->tile_rows, threads = pool.num_threads();
  const int64_t chunk_rows = ChunkRows(total);
  for (int64_t first = 0; first < total; first += chunk_rows) {
    const int64_t count = std::min(chunk_rows, total - first), tiles = CeilDiv(count, tile_rows);
    const auto rows_of = [&](int64_t item, int64_t items) -> Range {
      return {first + tiles * item / items * tile_rows,
              std::min(first + count, first + tiles * (item + 1) / items * tile_rows)};
    };
    const int64_t pieces = std::min(tiles, kItemsPerThread * threads);
    const auto pack = [&](int64_t item) {
      const Range range = rows_of(item, pieces);
      Pack(rows_, input, range, scratch + (range.first - first) / tile_rows * TileBytes());
    };
    pool.Run(pieces, pack, count * k_ >= kMinParallelBytes);
    int64_t ranges = 1;
    if (threads > 1) {
      ranges = std::min(CeilDiv(kItemsPerThread * threads, panels), std::max<int64_t>(1, count / kMinItemRows));
    }
    const auto multiply = [&](int64_t item) {
      Multiply(gemm, item % panels, first, rows_of(item / panels, ranges), scratch, target);
    };
    pool.Run(ranges * panels, multiply, count * gemm.filter.channels() * k_ >= kMinParallelMacs);
  }
}

void PackedInt8Gemm::RunRows(const Int8Gemm& gemm, const RowLayout& rows, const int8_t* input,
                             const Int8Output::Target& target, int8_t* scratch) const {
  const int64_t total = rows.count[0] * rows.count[1] * rows.count[2];
  const int64_t chunk_rows = total == 0 ? 1 : ChunkRows(total);
  for (int64_t first = 0; first < total; first += chunk_rows) {
    const Range range = {first, std::min(total, first + chunk_rows)};
    Pack(rows, input, range, scratch);
    for (int64_t i = 0; i < gemm.filter.panels(); ++i) Multiply(gemm, i, first, range, scratch, target);
  }
}

}  // namespace dgms
