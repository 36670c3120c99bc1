// A float filter as the panels that the matrix kernels read: a codebook filter packed in a kernel's tile order (what
// stays in memory of its layer's weights), or a view of a dense filter, whose blocks are transposed where the others
// are decoded.
#ifndef DGMS_OPS_FILTER_PANELS_H_
#define DGMS_OPS_FILTER_PANELS_H_

#include <cstddef>
#include <cstdint>

#include "kernels/select_kernel.h"
#include "ops/filter.h"
#include "ops/filter_blocks.h"
#include "ops/memory.h"
#include "ops/shapes.h"
#include "ops/status.h"

namespace dgms {

class FilterPanels {
 public:
  using Block = FilterBlock;

  // Neighbouring output channels of one group.
  struct Panel {
    int64_t group;
    int64_t first_channel;  // in the whole layer
    int n;
    const uint8_t* packed;  // codebooks: the first block
    Tables tables;
    const float* values;  // dense: the first channel's weights
    const float* scale;
    const float* bias;
  };

  // Packs codes, keeps a view of values. The filter has groups * columns * k weights; bias may be null.
  Status Init(const FilterMatrix& shape, const FloatFilter& filter, const float* bias, const KernelSet& kernels);

  const GemmF32Kernel& kernel() const { return *kernel_; }
  const FilterMatrix& shape() const { return shape_; }
  int64_t k() const { return shape_.segment_count * shape_.segment_length; }
  int64_t channels() const { return shape_.groups * shape_.columns; }
  int64_t panels() const { return shape_.groups * panels_per_group_; }
  Panel panel(int64_t index) const;
  int64_t blocks() const { return block_count_; }
  const Block& block(int64_t index) const { return blocks_[index]; }

  // Whether no column is scaled (Epilogue::unit_scale).
  bool unit_scale() const { return unit_scale_; }

  // Whether Decode may scale the weights, so that sums need no scale: the kernels can, and nothing overflows or
  // vanishes that would not if sums were scaled.
  bool can_scale_weights() const { return can_scale_weights_; }

  // The weights of one block, [k][round_up(n, column_unit)], as GemmF32Args::panel wants them. `decoded` has room for
  // round_up(k, k_unit) rows.
  //   scaled   whether they are multiplied by their column's scale
  void Decode(const Panel& panel, int64_t block, bool scaled, float* decoded) const;

  // True if MultiplyRow may be used: a panel's whole K is one run in memory.
  bool one_run() const { return one_run_; }

  // One row of activations (k() floats) by a panel: its n outputs. The residual (n floats) may be null.
  void MultiplyRow(const Panel& panel, const float* x, const float* residual, float* y,
                   const ActivationRange& range) const;

  size_t bytes() const;

 private:
  Status PlanBlocks();
  Status PackCodes(const CodebookFilter& filter);
  Status FillTables(const CodebookFilter& filter);
  Status FillEpilogue(const float* scale, const float* bias);
  int Columns(int64_t panel_in_group) const;
  int64_t FirstChannel(int64_t panel) const;
  // How many runs of neighbouring places of K a block is: of equal length, a segment's stride apart.
  int64_t Runs(const Block& block) const { return shape_.channel_ranges ? block.segment_count : 1; }

  const GemmF32Kernel* kernel_ = nullptr;
  const DenseKernel* dense_kernel_ = nullptr;
  const float* values_ = nullptr;  // dense; else null
  FilterMatrix shape_;
  int64_t panels_per_group_ = 0;
  int64_t block_count_ = 0;
  int64_t padded_k_ = 0;            // sum over the blocks of k rounded up to k_unit
  int64_t packed_panel_bytes_ = 0;  // of a full panel
  int64_t packed_group_bytes_ = 0;
  int64_t group_size_ = 0;  // channels per codebook, or 0
  bool one_run_ = false;
  bool unit_scale_ = true;
  bool can_scale_weights_ = false;
  Buffer<Block> blocks_;
  Buffer<int64_t> first_place_;  // of each block, among a panel's padded places
  Buffer<uint8_t> packed_;
  Buffer<float> tables_;          // [codebooks][16]
  Buffer<int32_t> column_table_;  // [panels][max_columns], only if a panel has more than one codebook
  Buffer<float> scale_, bias_;    // [panels][max_columns]; without scales all panels share [max_columns] of 1
};

}  // namespace dgms

#endif  // DGMS_OPS_FILTER_PANELS_H_
