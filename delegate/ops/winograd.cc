#include "ops/winograd.h"

#include <algorithm>
#include <atomic>

#include "kernels/pack_weights.h"

namespace dgms {
namespace {

// Below this many multiply-adds a job is not worth waking workers for, as in FloatGemm.
constexpr int64_t kMinParallelMacs = 100000;

// Asks for part i of so many of what will be read next: cached filters come from far away.
void Prefetch(const float* p, int64_t floats, int64_t i, int64_t parts) {
  constexpr int64_t kLine = kAlignment / sizeof(float);
  for (int64_t at = floats * i / parts; at < floats * (i + 1) / parts; at += kLine) __builtin_prefetch(p + at);
}

}  // namespace

// The op's arguments of one Run.
struct Winograd::Arrays {
  const FilterPanels& filter;
  const ActivationRange& range;
  const float* input;
  const float* residual;
  float* output;
};

Winograd::Tile Winograd::TileAt(int64_t index) const {
  const int64_t line = index / tiles_w_;
  return {line / tiles_h_, line % tiles_h_ * kWinogradTile, index % tiles_w_ * kWinogradTile};
}

Winograd::Block Winograd::BlockAt(int64_t share, int64_t index, float* input) const {
  const int64_t first = tiles_ * share / shares_ + index * block_tiles_, end = tiles_ * (share + 1) / shares_;
  return {first, std::clamp<int64_t>(end - first, 0, block_tiles_), input};
}

int64_t Winograd::ChannelBlocks() const { return CeilDiv(in_channels_, kWinogradChannels); }

int64_t Winograd::GroupElements() const {
  return ChannelBlocks() * kWinogradPositions * kWinogradGroup * kWinogradChannels;
}

// Writes the transformed inputs of one tile of the block to their place; `args` says where the patch is.
void Winograd::TransformPatch(WinogradInputArgs args, int64_t index, const Block& block) const {
  if (!few_tiles_) {
    args.channels = in_channels_;
    args.position_stride = input_stride_;
    args.output = block.input + index * in_channels_;
    return kernel_->transform_input(args);
  }
  args.position_stride = int64_t{kWinogradGroup} * kWinogradChannels;
  args.output =
      block.input + index / kWinogradGroup * GroupElements() + index % kWinogradGroup * int64_t{kWinogradChannels};
  for (int64_t c = 0; c < in_channels_; c += kWinogradChannels) {
    args.channels = std::min<int64_t>(kWinogradChannels, in_channels_ - c);
    kernel_->transform_input(args);
    args.input += kWinogradChannels;
    args.output += kWinogradPositions * args.position_stride;
  }
}

// Gives the last group's places without a tile values, so that their products are no slower than others.
void Winograd::ClearUnusedTiles(const Block& block) const {
  const int64_t used = block.count % kWinogradGroup;
  if (!few_tiles_ || used == 0) return;
  float* group = block.input + block.count / kWinogradGroup * GroupElements();
  for (int64_t i = 0; i < ChannelBlocks() * kWinogradPositions; ++i) {
    std::fill(group + (i * kWinogradGroup + used) * kWinogradChannels,
              group + (i + 1) * kWinogradGroup * kWinogradChannels, 0.0f);
  }
}

void Winograd::TransformInput(const Arrays& arrays, int64_t first_tile, int64_t end_tile, const Block& block) const {
  const auto clip = [](int64_t position, int64_t size) {
    return static_cast<int>(std::max<int64_t>(0, std::min<int64_t>(kWinogradPatch, size - position)));
  };
  WinogradInputArgs args = {};
  args.line_stride = in_w_ * in_channels_;
  args.pixel_stride = in_channels_;
  // One thread alone: the one that has the last tile.
  if (first_tile < end_tile && end_tile == block.first + block.count) ClearUnusedTiles(block);
  for (int64_t t = first_tile; t < end_tile; ++t) {
    const Tile tile = TileAt(t);
    const int64_t y = tile.y - pad_top_, x = tile.x - pad_left_;  // the patch's first pixel
    args.first_y = static_cast<int>(std::max<int64_t>(0, -y));
    args.first_x = static_cast<int>(std::max<int64_t>(0, -x));
    args.end_y = clip(y, in_h_);
    args.end_x = clip(x, in_w_);
    args.input = arrays.input + ((tile.image * in_h_ + y + args.first_y) * in_w_ + x + args.first_x) * in_channels_;
    TransformPatch(args, t - block.first, block);
  }
}

int64_t Winograd::TransformedElements(const FilterPanels& filter) const {
  return Positions(range_channels_ * filter.kernel().max_columns);
}

// Decodes and transforms a panel's filters of one range of input channels: [position][channel][column].
void Winograd::TransformFilter(const FilterPanels& filter, const FilterPanels::Panel& panel, int64_t range,
                               float* transformed) const {
  alignas(kAlignment) float decoded[kPanelFloats];
  const int64_t width = RoundUp(panel.n, filter.kernel().column_unit);
  WinogradFilterArgs args = {};
  args.taps = decoded;
  args.output = transformed;
  args.position_stride = range_channels_ * width + kApart;
  for (int64_t b = RangeStart(filter, range); b < RangeStart(filter, range + 1); ++b) {
    filter.Decode(panel, b, /*scaled=*/false, decoded);
    args.count = filter.block(b).segment_length * width;
    kernel_->transform_filter(args);
    args.output += args.count;
  }
}

Status Winograd::FillCache(const FilterPanels& filter) {
  if (cache_.bytes() > 0) return Status::kOk;  // it depends on the filter alone
  const CheckedSize elements = CheckedSize(filter.panels()) * ranges_ * TransformedElements(filter);
  if (!elements.FitsFloats() || !cache_.Reserve(elements.value())) return Status::kOutOfMemory;
  float* transformed = cache_.data();
  for (int64_t i = 0; i < filter.panels(); ++i) {
    const FilterPanels::Panel panel = filter.panel(i);
    for (int64_t r = 0; r < ranges_; ++r, transformed += TransformedElements(filter)) {
      TransformFilter(filter, panel, r, transformed);
    }
  }
  return Status::kOk;
}

// sums[position][tile][column] (+)= the products over some input channels.
void Winograd::Multiply(const FilterPanels& filter, const Block& block, int width, int64_t first_channel,
                        int64_t channels, const float* transformed, float* sums) const {
  const GemmF32Kernel& gemm = filter.kernel();
  const int64_t no_offset = 0;
  GemmF32Args args = {};
  args.n = width;
  args.a_row_stride = in_channels_;
  args.segments = &no_offset;
  args.segment_count = 1;
  args.segment_length = channels;
  args.c_row_stride = width;
  args.accumulate = first_channel > 0;
  // One call for all rows; with a cache there is something to do between them.
  const bool cached = cache_.bytes() > 0;
  const int64_t calls = cached ? CeilDiv(block.count, gemm.max_rows) : 1;
  const int64_t panel_stride = range_channels_ * width + kApart;
  for (int64_t position = 0; position < kWinogradPositions; ++position) {
    args.panel = transformed + position * panel_stride;
    const float* a = block.input + position * input_stride_ + first_channel;
    float* c = sums + position * (block_tiles_ * width + kApart);
    for (int64_t i = 0; i < calls; ++i) {
      const int64_t row = block.count * i / calls;
      args.rows = block.count * (i + 1) / calls - row;
      args.a = a + row * in_channels_;
      args.c = c + row * width;
      if (cached && position + 1 < kWinogradPositions) {
        Prefetch(args.panel + panel_stride, channels * width, i, calls);
      }
      gemm.gemm(args);
    }
  }
}

void Winograd::TransformOutput(const Arrays& arrays, const Block& block, const FilterPanels::Panel& panel,
                               const float* sums) const {
  const int64_t width = RoundUp(panel.n, arrays.filter.kernel().column_unit);
  WinogradOutputArgs args = {};
  args.position_stride = block_tiles_ * width + kApart;
  args.n = panel.n;
  args.line_stride = out_w_ * out_channels_;
  args.pixel_stride = out_channels_;
  args.epilogue = {panel.scale, panel.bias, arrays.range.min, arrays.range.max};
  args.epilogue.unit_scale = arrays.filter.unit_scale();
  for (int64_t t = 0; t < block.count; ++t) {
    const Tile tile = TileAt(block.first + t);
    const int64_t at = ((tile.image * out_h_ + tile.y) * out_w_ + tile.x) * out_channels_ + panel.first_channel;
    args.height = static_cast<int>(std::min<int64_t>(kWinogradTile, out_h_ - tile.y));
    args.width = static_cast<int>(std::min<int64_t>(kWinogradTile, out_w_ - tile.x));
    args.sums = sums + t * width;
    args.output = arrays.output + at;
    if (arrays.residual != nullptr) args.epilogue.residual = arrays.residual + at;
    kernel_->transform_output(args);
  }
}

// The products of all input channels, few tiles.
void Winograd::MultiplyGroups(const FilterPanels& filter, const Block& block, const FilterPanels::Panel& panel,
                              float* sums) const {
  alignas(kAlignment) float decoded[kPanelFloats];
  WinogradProductArgs args = {};
  args.taps = decoded;
  args.width = RoundUp(panel.n, filter.kernel().column_unit);
  args.position_stride = block_tiles_ * args.width + kApart;
  for (int64_t b = 0; b < filter.blocks(); ++b) {
    filter.Decode(panel, b, /*scaled=*/false, decoded);
    args.first_channel = filter.block(b).offset;
    args.channels = filter.block(b).segment_length;
    args.accumulate = b > 0;
    for (int64_t t = 0; t < block.count; t += kWinogradGroup) {
      args.input = block.input + t / kWinogradGroup * GroupElements();
      args.sums = sums + t * args.width;
      kernel_->multiply_group(args);
    }
  }
}

// The same, many tiles.
void Winograd::MultiplyBlock(const FilterPanels& filter, const Block& block, int64_t index, float* lane) const {
  const FilterPanels::Panel panel = filter.panel(index);
  const int width = static_cast<int>(RoundUp(panel.n, filter.kernel().column_unit));
  for (int64_t r = 0; r < ranges_; ++r) {
    const int64_t first = RangeStart(filter, r), end = RangeStart(filter, r + 1);
    const int64_t channel = filter.block(first).offset;
    const int64_t channels = filter.block(end - 1).offset + filter.block(end - 1).segment_length - channel;
    const float* transformed = lane;
    if (cache_.bytes() > 0) {
      transformed = cache_.data() + (index * ranges_ + r) * TransformedElements(filter);
    } else {
      TransformFilter(filter, panel, r, lane);
    }
    Multiply(filter, block, width, channel, channels, transformed, lane + sums_at_);
  }
}

void Winograd::MultiplyPanel(const Arrays& arrays, const Block& block, int64_t index, float* lane) const {
  const FilterPanels::Panel panel = arrays.filter.panel(index);
  if (few_tiles_) {
    MultiplyGroups(arrays.filter, block, panel, lane + sums_at_);
  } else {
    MultiplyBlock(arrays.filter, block, index, lane);
  }
  TransformOutput(arrays, block, panel, lane + sums_at_);
}

// In rounds of some blocks: all threads transform the inputs, each a part of every block; then all panels of all blocks
// are multiplied. Each thread takes the next item, and has one lane's memory until there is none.
void Winograd::RunTogether(const Arrays& arrays, float* workspace, int64_t threads, ThreadPool& pool) const {
  const int64_t panels = arrays.filter.panels();
  for (int64_t first = 0; first < share_blocks_; first += round_) {
    const int64_t blocks = std::min(round_, share_blocks_ - first);
    const auto block_at = [&](int64_t i) { return BlockAt(0, first + i, workspace + i * block_elements_); };
    const int64_t parts = threads > 1 ? kItemsPerThread * threads : 1;
    pool.Run(
        blocks * parts,
        [&](int64_t item) {
          const Block block = block_at(item / parts);
          const int64_t part = item % parts;
          TransformInput(arrays, block.first + block.count * part / parts,
                         block.first + block.count * (part + 1) / parts, block);
        },
        threads > 1);
    std::atomic<int64_t> next{0};
    pool.Run(
        std::min(threads, blocks * panels),
        [&](int64_t lane) {
          float* const memory = workspace + input_elements_ + lane * lane_elements_;
          for (int64_t item; (item = next.fetch_add(1, std::memory_order_relaxed)) < blocks * panels;) {
            MultiplyPanel(arrays, block_at(item / panels), item % panels, memory);
          }
        },
        threads > 1);
  }
}

// Each thread does the blocks of its own share, then what is left of the others'.
void Winograd::RunShares(const Arrays& arrays, float* workspace, int64_t threads, ThreadPool& pool) const {
  std::atomic<int64_t> next[ThreadPool::kMaxThreads] = {};
  pool.Run(
      threads,
      [&](int64_t lane) {
        float* const memory = workspace + input_elements_ + lane * lane_elements_;
        for (int64_t i = 0; i < shares_; ++i) {
          const int64_t share = (lane + i) % shares_;
          for (int64_t index; (index = next[share].fetch_add(1, std::memory_order_relaxed)) < share_blocks_;) {
            const Block block = BlockAt(share, index, workspace + lane * block_elements_);
            if (block.count == 0) continue;  // shares differ by a tile
            TransformInput(arrays, block.first, block.first + block.count, block);
            for (int64_t panel = 0; panel < arrays.filter.panels(); ++panel) {
              MultiplyPanel(arrays, block, panel, memory);
            }
          }
        }
      },
      threads > 1);
}

void Winograd::Run(const FilterPanels& filter, const ActivationRange& range, const float* input, const float* residual,
                   float* output, float* workspace, ThreadPool& pool) const {
  const Arrays arrays = {filter, range, input, residual, output};
  const bool parallel = tiles_ * kWinogradPositions * in_channels_ * out_channels_ >= kMinParallelMacs;
  const int64_t threads = parallel ? std::min<int64_t>(lanes_, pool.num_threads()) : 1;
  shares_ > 1 ? RunShares(arrays, workspace, threads, pool) : RunTogether(arrays, workspace, threads, pool);
}

}  // namespace dgms
