#include "ops/float_gemm.h"

#include <algorithm>
#include <array>

namespace dgms {
namespace {

// Below this many multiply-adds (a few microseconds) a job is not worth waking workers for.
constexpr int64_t kMinParallelMacs = 100000;

constexpr int64_t kItemsPerThread = 5;

// Rows for which decoding the weights once more costs less than threads that wait for each other.
constexpr int64_t kMinSharedRows = 20;

alignas(kAlignment) constexpr std::array<float, kMaxColumns> kOnes = [] {
  std::array<float, kMaxColumns> ones = {};
  for (float& one : ones) one = 1.0f;
  return ones;
}();

// True if threads that share whole panels would wait for one of them, for more than an eighth of the time.
bool Uneven(int64_t panels, int64_t threads) { return CeilDiv(panels, threads) * threads * 8 > panels * 9; }

}  // namespace

Status FloatGemm::Plan(const RowLayout& rows, const int64_t* segments, int64_t group_stride) {
  group_stride_ = group_stride;
  if (!tiles_.Plan(rows, filter.kernel().max_rows)) return Status::kInvalidArgument;
  const CheckedSize outputs = CheckedSize(tiles_.total_rows()) * filter.channels();
  if (!outputs.FitsFloats() || !(outputs * filter.k()).ok()) return Status::kInvalidArgument;

  int64_t entries = 0;
  for (int64_t b = 0; b < filter.blocks(); ++b) entries += filter.block(b).segment_count;
  if (!segments_.Reserve(entries) || !block_segments_.Reserve(filter.blocks())) return Status::kOutOfMemory;
  entries = 0;
  for (int64_t b = 0; b < filter.blocks(); ++b) {
    const FilterPanels::Block& block = filter.block(b);
    block_segments_[b] = entries;
    for (int64_t s = 0; s < block.segment_count; ++s)
      segments_[entries++] = segments[block.first_segment + s] + block.offset;
  }
  gemv_ = tiles_.total_rows() == 1 && filter.one_run();
  for (int64_t s = 1; s < filter.shape().segment_count; ++s) {
    if (segments[s] != segments[0] + s * filter.shape().segment_length) gemv_ = false;
  }
  // To scale a row of a decoded block takes as many instructions as to scale a row of sums. What counts is one image,
  // of which each result is the same whatever the batch, and however its rows are cut.
  scale_weights_ =
      filter.can_scale_weights() && !gemv_ && rows.count[1] >= CeilDiv(filter.k(), std::max<int64_t>(1, rows.count[2]));
  return Status::kOk;
}

FloatGemm::Item FloatGemm::ItemAt(int64_t index, int64_t chunks) const {
  // All panels of one range of rows, then the next range: the range's input stays in the cache.
  const int64_t chunk = index / filter.panels();
  return {index % filter.panels(), tiles_.tiles() * chunk / chunks, tiles_.tiles() * (chunk + 1) / chunks};
}

void FloatGemm::RunItem(const RowTiles& tiles, const Maps& maps, const ActivationRange& activation,
                        const Item& item) const {
  alignas(kAlignment) float decoded[kPanelFloats];
  const FilterPanels::Panel panel = filter.panel(item.panel);
  GemmF32Args args = {};
  args.n = panel.n;
  args.a_row_stride = tiles.row_stride();
  args.panel = decoded;
  args.c_row_stride = filter.channels();
  args.epilogue = {panel.scale, panel.bias, activation.min, activation.max};
  args.epilogue.unit_scale = filter.unit_scale() || scale_weights_;
  if (scale_weights_) args.epilogue.scale = kOnes.data();
  const float* const input = maps.input + panel.group * group_stride_;
  const float* const residual = maps.residual == nullptr ? nullptr : maps.residual + panel.first_channel;
  float* const output = maps.output + panel.first_channel;
  args.epilogue.residual_row_stride = args.c_row_stride;
  for (int64_t b = 0; b < filter.blocks(); ++b) {
    const FilterPanels::Block& block = filter.block(b);
    filter.Decode(panel, b, scale_weights_, decoded);
    args.segments = segments_.data() + block_segments_[b];
    args.segment_count = block.segment_count;
    args.segment_length = block.segment_length;
    args.accumulate = b > 0;
    args.finish = b + 1 == filter.blocks();
    tiles.ForEachRun(item.first_tile, item.end_tile, [&](int64_t offset, int64_t row, int64_t rows) {
      args.rows = rows;
      args.a = input + offset;
      args.c = output + row * args.c_row_stride;
      if (residual != nullptr) args.epilogue.residual = residual + row * args.c_row_stride;
      filter.kernel().gemm(args);
    });
  }
}

void FloatGemm::RunGemv(const float* input, const float* residual, float* output, ThreadPool& pool,
                        bool parallel) const {
  const int64_t items = std::min(filter.panels(), 2 * kItemsPerThread * pool.num_threads());
  const auto job = [&](int64_t item) {
    for (int64_t i = filter.panels() * item / items; i < filter.panels() * (item + 1) / items; ++i) {
      const FilterPanels::Panel panel = filter.panel(i);
      filter.MultiplyRow(panel, input + panel.group * group_stride_ + segments_[0],
                         residual == nullptr ? nullptr : residual + panel.first_channel, output + panel.first_channel,
                         range);
    }
  };
  pool.Run(items, job, parallel);
}

void FloatGemm::Run(const float* input, const float* residual, float* output, ThreadPool& pool) const {
  if (tiles_.total_rows() == 0) return;
  const bool parallel = tiles_.total_rows() * filter.channels() * filter.k() >= kMinParallelMacs;
  if (gemv_) return RunGemv(input, residual, output, pool, parallel);
  const int64_t row_bytes = tiles_.row_stride() * static_cast<int64_t>(sizeof(float));
  int64_t chunks = tiles_.Chunks(filter.panels(), parallel ? pool.num_threads() : 1, row_bytes);
  if (parallel && chunks == 1 && Uneven(filter.panels(), pool.num_threads()) &&
      tiles_.total_rows() >= kMinSharedRows * pool.num_threads()) {
    chunks = std::min<int64_t>(pool.num_threads(), tiles_.tiles());
  }
  const Maps maps = {input, residual, output};
  const auto job = [&](int64_t item) { RunItem(tiles_, maps, range, ItemAt(item, chunks)); };
  pool.Run(chunks * filter.panels(), job, parallel);
}

void FloatGemm::RunRows(const RowLayout& rows, const float* input, const float* residual,
                        const ActivationRange& activation, float* output) const {
  RowTiles tiles;
  tiles.Plan(rows, filter.kernel().max_rows);  // fewer rows than planned, whose number did not overflow
  const Maps maps = {input, residual, output};
  for (int64_t i = 0; i < filter.panels(); ++i) RunItem(tiles, maps, activation, {i, 0, tiles.tiles()});
}

}  // namespace dgms
