// What Winograd's method costs, and how its work is cut into blocks.
#include <algorithm>

#include "kernels/pack_weights.h"
#include "ops/winograd.h"

namespace dgms {
namespace {

// The sums of a panel for the tiles that one thread works on should stay in its second-level cache: at most this many
// bytes.
constexpr int64_t kSumBytes = 320 * 1024;

// Packed blocks of the filter (of about 24 channels) that are transformed and multiplied together. More of them write
// and read the sums less often, fewer leave more of the second-level cache to the rest.
constexpr int64_t kRangeBlocks = 3;

// Ranges of input channels are whole packed words of every kernel.
constexpr int64_t kChannelUnit = 8;

// With fewer channels the errors of the transforms average out less than a direct sum's (see the header).
constexpr int64_t kMinChannels = 32;

// What a patch's or a tile's transform costs per channel, in multiply-adds that take as long. Measured: 50 to 90 ns per
// vector with AVX-512 and AVX2, where a vector's multiply-add takes 0.19 ns; little of the whole, so one number does.
constexpr double kTileCost = 350;

// What it costs to read a float that another core wrote just now, in the same unit. Measured on Sapphire Rapids: 0.65
// ns.
constexpr double kTransferCost = 48;

// A patch is never all padding: its first outputs' windows are not.
bool EveryPatchMeetsTheMap(const ExplicitPadding& pads) {
  return std::max({pads.top, pads.bottom, pads.left, pads.right}) < 3;
}

int64_t Tiles(const Conv2DPlan& plan) {  // of an image
  return CeilDiv(plan.h.output, kWinogradTile) * CeilDiv(plan.w.output, kWinogradTile);
}

// What the products of one pair of channels cost for that many tiles, with many and with few of them.
double ManyTilesCost(int64_t tiles, const WinogradF32Kernel& kernel) {
  return static_cast<double>(tiles * kWinogradPositions) + kernel.filter_cost;
}
double FewTilesCost(int64_t tiles, const WinogradF32Kernel& kernel) {
  return static_cast<double>(CeilDiv(tiles, kWinogradGroup)) * kernel.product_cost;
}

// The number of images has no say in it: a batch gives what its images give alone.
bool AreFewTiles(int64_t tiles, const WinogradF32Kernel& kernel) {
  return kernel.multiply_group != nullptr && FewTilesCost(tiles, kernel) < ManyTilesCost(tiles, kernel);
}

// Whether it takes less time that each thread does some tiles by itself, all panels of them, than that all threads
// transform all inputs together and then do a panel of a block each: filters are transformed by every thread, but
// transformed inputs stay where they are. Costs are those of one pair of channels.
//   blocks   into which all tiles together are cut
//   each     into which one thread's tiles are
bool ThreadsHaveTiles(int64_t tiles, int64_t threads, int64_t blocks, int64_t each, int64_t out_channels,
                      double filter_cost) {
  const double share = static_cast<double>(tiles) / static_cast<double>(threads) * kWinogradPositions;
  const double others = share * static_cast<double>(threads - 1) / static_cast<double>(out_channels) * kTransferCost;
  const double together = static_cast<double>(blocks) / static_cast<double>(threads) * filter_cost + others;
  const double most = static_cast<double>(CeilDiv(tiles, threads)) * kWinogradPositions;
  return most - share + static_cast<double>(each) * filter_cost < together;
}

}  // namespace

bool Winograd::Fits(const Conv2DParams& p) {
  return p.kernel_h == 3 && p.kernel_w == 3 && p.stride_h == 1 && p.stride_w == 1 && p.dilation_h == 1 &&
         p.dilation_w == 1 && p.groups == 1 && p.in_channels % kChannelUnit == 0 && p.in_channels >= kMinChannels &&
         EveryPatchMeetsTheMap(p.pads);
}

bool Winograd::Pays(const Conv2DPlan& plan, const WinogradF32Kernel& kernel) {
  const int64_t tiles = Tiles(plan);
  const double in = static_cast<double>(plan.params.in_channels), out = static_cast<double>(plan.params.out_channels);
  const double direct = 9 * in * out * static_cast<double>(plan.h.output * plan.w.output);
  const double products = AreFewTiles(tiles, kernel) ? FewTilesCost(tiles, kernel) : ManyTilesCost(tiles, kernel);
  return products * in * out + static_cast<double>(tiles) * kTileCost * (in + out) < direct;
}

Status Winograd::Plan(const Conv2DPlan& plan, const FilterPanels& filter, const WinogradF32Kernel& kernel,
                      int threads) {
  kernel_ = &kernel;
  batch_ = plan.batch;
  in_h_ = plan.h.input;
  in_w_ = plan.w.input;
  out_h_ = plan.h.output;
  out_w_ = plan.w.output;
  pad_top_ = plan.h.pad_before;
  pad_left_ = plan.w.pad_before;
  in_channels_ = plan.params.in_channels;
  out_channels_ = plan.params.out_channels;
  tiles_h_ = CeilDiv(out_h_, kWinogradTile);
  tiles_w_ = CeilDiv(out_w_, kWinogradTile);
  const CheckedSize tiles = CheckedSize(batch_) * tiles_h_ * tiles_w_;
  if (!(tiles * kWinogradPositions * (CheckedSize(in_channels_) + out_channels_)).FitsFloats()) {
    return Status::kInvalidArgument;
  }
  tiles_ = tiles.value();

  // Blocks of tiles: as equal as whole row tiles of the matrix kernel allow, the last one being shorter.
  const GemmF32Kernel& gemm = filter.kernel();
  few_tiles_ = AreFewTiles(Tiles(plan), kernel);
  const int64_t width = gemm.max_columns, rows = few_tiles_ ? kWinogradGroup : gemm.max_rows;
  constexpr int64_t kFloat = sizeof(float);
  const int64_t most = std::max(rows, kSumBytes / (kWinogradPositions * width * kFloat) / rows * rows);
  shares_ = 1;
  if (!few_tiles_ && threads > 1 && tiles_ >= threads) {
    const int64_t each = CeilDiv(CeilDiv(tiles_, threads), most);
    if (ThreadsHaveTiles(tiles_, threads, CeilDiv(tiles_, most), each, out_channels_, kernel.filter_cost)) {
      shares_ = threads;
    }
  }
  const int64_t share = std::max<int64_t>(1, CeilDiv(tiles_, shares_));
  share_blocks_ = CeilDiv(share, most);
  block_tiles_ = RoundUp(CeilDiv(share, share_blocks_), rows);
  if (!few_tiles_) block_tiles_ = std::min(share, block_tiles_);
  share_blocks_ = tiles_ == 0 ? 0 : CeilDiv(share, block_tiles_);

  ranges_ = std::max<int64_t>(1, (filter.blocks() + kRangeBlocks / 2) / kRangeBlocks);
  range_channels_ = 0;
  for (int64_t r = 0; r < ranges_; ++r) {
    int64_t channels = 0;
    for (int64_t b = RangeStart(filter, r); b < RangeStart(filter, r + 1); ++b) {
      channels += filter.block(b).segment_length;
    }
    range_channels_ = std::max(range_channels_, channels);
  }

  // Blocks of a round: enough that all threads have work.
  const int64_t wanted = threads > 1 ? kItemsPerThread * threads : 1;
  round_ = std::max<int64_t>(1, std::min(share_blocks_, CeilDiv(wanted, filter.panels())));
  if (shares_ > 1) round_ = threads;  // one of each
  input_stride_ = block_tiles_ * in_channels_ + kApart;
  block_elements_ = few_tiles_ ? block_tiles_ / kWinogradGroup * GroupElements() : kWinogradPositions * input_stride_;
  input_elements_ = round_ * block_elements_;
  lanes_ = threads;
  if (!few_tiles_ && plan.params.cache_filters) {
    const Status status = FillCache(filter);
    if (status != Status::kOk) return status;
  }
  const bool transforms = !few_tiles_ && cache_.bytes() == 0;
  sums_at_ = transforms ? TransformedElements(filter) : 0;
  lane_elements_ = sums_at_ + Positions(block_tiles_ * width);
  return Status::kOk;
}

}  // namespace dgms
