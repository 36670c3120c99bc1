// 3x3 convolutions with stride 1 by Winograd's F(4x4, 3x3) (kernels/kernel_winograd.h): a quarter of the
// multiplications. Filters stay packed; each panel is decoded and transformed again for every block of tiles. There are
// two ways to do it:
//   many tiles   the transformed filters of some input channels are written to memory, and multiplied with all tiles by
//                the matrix kernel;
//   few tiles    they never leave the registers: tiles go in groups of four, and each group transforms them again.
// The map's size decides, and the instruction set (WinogradF32Kernel's costs). Conv2DParams::cache_filters keeps the
// transformed filters of many tiles; with few tiles there is nothing to keep, and reading it would take longer.
//
// Rounding. Let W be the sum over input channels of (sum of the filter's |w|) * (largest |x| of the tile's 6x6 patch).
// An output's error is at most about 160 n eps/2 W, 160 being what the matrices' absolute values allow and n the
// roundings on the way of a value (about 20, and the additions of a range of channels). Roundings being independent,
// nothing near it is seen: below 3 eps W in all tests, which allow 6. Against the sum of |w x| of the output alone, as
// one states it for a direct sum, that is up to 5 eps with 32 and more channels of both signs, and up to 14 eps where
// all weights and inputs are positive. The bound is one for the whole tile: an output beside much larger ones loses
// what their roundings take.
#ifndef DGMS_OPS_WINOGRAD_H_
#define DGMS_OPS_WINOGRAD_H_

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_winograd.h"
#include "ops/conv2d_plan.h"
#include "ops/filter_panels.h"
#include "ops/memory.h"
#include "ops/shapes.h"
#include "ops/status.h"
#include "ops/thread_pool.h"

namespace dgms {

class Winograd {
 public:
  // True if a convolution's parameters allow it. Its filter is then packed by ranges of input channels
  // (FilterMatrix::channel_ranges), which serves the direct convolution just as well.
  static bool Fits(const Conv2DParams& params);

  // True if it takes less time than the direct convolution on maps of this size: `plan` after Plan. The number of
  // images has no say in it, so that a batch gives what its images give alone.
  static bool Pays(const Conv2DPlan& plan, const WinogradF32Kernel& kernel);

  // Plans for the input that `plan` is for, and fills the cache that plan.params.cache_filters asks for. It stays from
  // then on, whatever the later maps.
  //   threads   how many threads work at the same time, at most
  Status Plan(const Conv2DPlan& plan, const FilterPanels& filter, const WinogradF32Kernel& kernel, int threads);

  size_t cached_bytes() const { return cache_.bytes(); }
  int64_t workspace_elements() const { return input_elements_ + lanes_ * lane_elements_; }

  // output = clamp(convolution + bias + residual), the residual being null or like the output.
  void Run(const FilterPanels& filter, const ActivationRange& range, const float* input, const float* residual,
           float* output, float* workspace, ThreadPool& pool) const;

 private:
  // Neighbouring tiles that are worked on together.
  struct Block {
    int64_t first, count;  // tiles
    float* input;          // transformed: [position][tile][channel]; or group by group, as WinogradProductArgs says
  };
  // Positions lie this many floats further apart than their contents need: one cache line, because strides that are a
  // large power of two would put all 36 into the same few places of a cache.
  static constexpr int64_t kApart = 16;
  static constexpr int64_t Positions(int64_t floats) { return kWinogradPositions * (floats + kApart); }

  // Items of work per thread, where there are enough.
  static constexpr int64_t kItemsPerThread = 4;

  struct Arrays;
  // Where a tile lies.
  struct Tile {
    int64_t image, y, x;  // of its first output
  };
  Tile TileAt(int64_t index) const;
  Block BlockAt(int64_t share, int64_t index, float* input) const;
  int64_t RangeStart(const FilterPanels& filter, int64_t range) const { return filter.blocks() * range / ranges_; }
  void TransformInput(const Arrays& arrays, int64_t first_tile, int64_t end_tile, const Block& block) const;
  void TransformPatch(WinogradInputArgs args, int64_t index, const Block& block) const;
  void ClearUnusedTiles(const Block& block) const;
  int64_t ChannelBlocks() const;
  int64_t GroupElements() const;
  void MultiplyGroups(const FilterPanels& filter, const Block& block, const FilterPanels::Panel& panel,
                      float* sums) const;
  void MultiplyBlock(const FilterPanels& filter, const Block& block, int64_t panel, float* lane) const;
  void MultiplyPanel(const Arrays& arrays, const Block& block, int64_t panel, float* lane) const;
  void RunTogether(const Arrays& arrays, float* workspace, int64_t threads, ThreadPool& pool) const;
  void RunShares(const Arrays& arrays, float* workspace, int64_t threads, ThreadPool& pool) const;
  void TransformFilter(const FilterPanels& filter, const FilterPanels::Panel& panel, int64_t range,
                       float* transformed) const;
  Status FillCache(const FilterPanels& filter);
  int64_t TransformedElements(const FilterPanels& filter) const;
  void Multiply(const FilterPanels& filter, const Block& block, int width, int64_t first_channel, int64_t channels,
                const float* transformed, float* sums) const;
  void TransformOutput(const Arrays& arrays, const Block& block, const FilterPanels::Panel& panel,
                       const float* sums) const;

  const WinogradF32Kernel* kernel_ = nullptr;
  bool few_tiles_ = false;
  int64_t batch_ = 0, in_h_ = 0, in_w_ = 0, out_h_ = 0, out_w_ = 0, pad_top_ = 0, pad_left_ = 0;
  int64_t in_channels_ = 0, out_channels_ = 0;
  int64_t tiles_h_ = 0, tiles_w_ = 0, tiles_ = 0;  // of an image, each way; of all
  int64_t shares_ = 1;        // as equal as possible: more than one, so that each thread does its own
  int64_t share_blocks_ = 0;  // blocks of a share, all of block_tiles_ but the last
  int64_t block_tiles_ = 0;
  int64_t round_ = 0;           // blocks whose transformed inputs are held at the same time
  int64_t ranges_ = 0;          // of the filter's blocks, as equal as possible
  int64_t range_channels_ = 0;  // input channels of the largest
  int64_t input_stride_ = 0;    // many tiles: from one position to the next, of a block's transformed input
  int64_t block_elements_ = 0;  // of a block's transformed input
  int64_t input_elements_ = 0;
  int64_t lanes_ = 0;  // threads that can work at the same time; each has its own transformed filters and sums
  int64_t lane_elements_ = 0;
  int64_t sums_at_ = 0;  // in a lane's memory, behind the transformed filters
  Buffer<float> cache_;  // [panel][range][position][channel][column]: all transformed filters, or nothing
};

}  // namespace dgms

#endif  // DGMS_OPS_WINOGRAD_H_
