#include "ops/int8_gemm.h"

#include <algorithm>

namespace dgms {
namespace {

// Below this many multiply-adds (a few microseconds) a job is not worth waking workers for.
constexpr int64_t kMinParallelMacs = 300000;

// Sums that wait between the blocks of K, on the stack: at least one tile of any kernel.
constexpr int kWaitingSums = 8192;
constexpr int kMaxRows = kWaitingSums / kMaxColumns;

// Lets the kernel give back what it keeps in the thread's registers: kept for as many calls as one thread makes.
struct ReleasedState {
  GemmState state = {};
  ReleasedState() = default;
  ReleasedState(const ReleasedState&) = delete;
  ReleasedState& operator=(const ReleasedState&) = delete;
  ~ReleasedState() {
    if (state.release != nullptr) state.release();
  }
};

}  // namespace

int Int8Gemm::MostRows() const {
  const bool is_short = filter.shape().segment_count == 1 && filter.shape().segment_length <= kShortS8;
  return is_short ? filter.kernel().max_rows : filter.kernel().long_rows;
}

Status Int8Gemm::Plan(const RowLayout& rows, const int64_t* segments, int64_t group_stride) {
  group_stride_ = group_stride;
  if (MostRows() > kMaxRows || !tiles_.Plan(rows, MostRows())) {
    return Status::kInvalidArgument;
  }
  const CheckedSize outputs = CheckedSize(tiles_.total_rows()) * filter.channels();
  if (!outputs.FitsFloats() || !(outputs * filter.k()).ok()) return Status::kInvalidArgument;
  int64_t entries = 0;
  for (int64_t b = 0; b < filter.blocks(); ++b) entries += filter.block(b).segment_count;
  if (!segments_.Reserve(entries) || !block_segments_.Reserve(filter.blocks())) return Status::kOutOfMemory;
  entries = 0;
  for (int64_t b = 0; b < filter.blocks(); ++b) {
    const FilterBlock& block = filter.block(b);
    block_segments_[b] = entries;
    for (int64_t s = 0; s < block.segment_count; ++s) {
      segments_[entries++] = segments[block.first_segment + s] + block.offset;
    }
  }
  return Status::kOk;
}

// Tiles of one panel, few enough that their sums fit the stack unless K is one block.
void Int8Gemm::RunTiles(const RowTiles& tiles, const int8_t* input, const Int8Output::Target& target,
                        const Int8FilterPanels::Panel& panel, int64_t first_tile, int64_t end_tile,
                        GemmState* state) const {
  alignas(kAlignment) int8_t decoded[kPanelBytes];
  alignas(kAlignment) int32_t sums[kWaitingSums];
  const GemmS8Kernel& kernel = filter.kernel();
  GemmS8Args args = {};
  args.width = panel.width;
  args.a_row_stride = tiles.row_stride();
  args.panel = decoded;
  args.state = state;
  for (int64_t b = 0; b < filter.blocks(); ++b) {
    const FilterBlock& block = filter.block(b);
    filter.Decode(panel, b, decoded);
    args.segments = segments_.data() + block_segments_[b];
    args.segment_count = block.segment_count;
    args.segment_length = block.segment_length;
    args.accumulate = b > 0;
    const bool last = b + 1 == filter.blocks();
    const bool fused = last && kernel.requantize != nullptr && output.simple() && panel.n == panel.width;
    args.c = sums;
    tiles.ForEach(first_tile, end_tile, [&](int64_t offset, int64_t row, int rows) {
      args.rows = rows;
      args.a = input + offset;
      if (fused) {
        kernel.requantize(args, output.Requantizing(target, row, rows, panel.first_channel, panel.n));
      } else {
        kernel.gemm(args);
      }
      if (last && !fused) output.Finish(target, row, rows, panel.first_channel, panel.n, args.c, panel.width);
      if (filter.blocks() > 1) args.c += rows * panel.width;
    });
  }
}

// One row by one panel without a decoded panel, where the kernel and the panel allow that.
bool Int8Gemm::RunGemv(const int8_t* a, const Int8Output::Target& target, const Int8FilterPanels::Panel& panel) const {
  const GemmS8Kernel& kernel = filter.kernel();
  if (kernel.gemv == nullptr || filter.shape().segment_count > 1 || panel.width != kernel.max_columns ||
      panel.packed == nullptr || panel.tables.column_table != nullptr) {
    return false;
  }
  alignas(kAlignment) int32_t sums[kMaxColumns];
  kernel.gemv({a + segments_[0], filter.k(), panel.packed, panel.tables.tables, kernel.flip, sums});
  output.Finish(target, 0, 1, panel.first_channel, panel.n, sums, panel.width);
  return true;
}

void Int8Gemm::RunItem(const RowTiles& tiles, const int8_t* input, const Int8Output::Target& target, const Item& item,
                       GemmState* state) const {
  const int64_t together =
      filter.blocks() == 1 ? tiles.tiles() : kWaitingSums / (tiles.most_rows() * filter.kernel().max_columns);
  const Int8FilterPanels::Panel panel = filter.panel(item.panel);
  input += panel.group * group_stride_;
  if (tiles.total_rows() == 1 && RunGemv(input, target, panel)) return;
  for (int64_t first = item.first; first < item.end; first += together) {
    RunTiles(tiles, input, target, panel, first, std::min(item.end, first + together), state);
  }
}

void Int8Gemm::Run(const int8_t* input, const Int8Output::Target& target, ThreadPool& pool) const {
  if (tiles_.total_rows() == 0) return;
  const bool parallel = tiles_.total_rows() * filter.channels() * filter.k() >= kMinParallelMacs;
  const int64_t panels = filter.panels();
  const int64_t chunks = tiles_.Chunks(panels, parallel ? pool.num_threads() : 1, tiles_.row_stride());
  const auto run = [&](int64_t item, GemmState* state) {
    // All panels of one range of rows, then the next range: the range's input stays in the cache.
    const int64_t chunk = item / panels;
    RunItem(tiles_, input, target,
            {item % panels, tiles_.tiles() * chunk / chunks, tiles_.tiles() * (chunk + 1) / chunks}, state);
  };
  const int64_t items = chunks * panels;
  // To set the registers up anew costs as much as some tiles.
  if (!parallel || pool.num_threads() == 1) {
    const auto all = [&](int64_t) {
      ReleasedState kept;
      for (int64_t item = 0; item < items; ++item) run(item, &kept.state);
    };
    pool.Run(1, all, false);
    return;
  }
  const auto job = [&run](int64_t item) {
    ReleasedState kept;
    run(item, &kept.state);
  };
  pool.Run(items, job);
}

void Int8Gemm::RunRows(const RowLayout& rows, const int8_t* input, const Int8Output::Target& target) const {
  RowTiles tiles;
  tiles.Plan(rows, MostRows());  // fewer rows than planned, whose number did not overflow
  ReleasedState kept;
  for (int64_t i = 0; i < filter.panels(); ++i) RunItem(tiles, input, target, {i, 0, tiles.tiles()}, &kept.state);
}

}  // namespace dgms
