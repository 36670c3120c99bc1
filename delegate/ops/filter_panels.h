// A float filter as panels in a kernel's tile order: what stays in memory of a convolution's or fully connected layer's
// weights.
#ifndef DGMS_OPS_FILTER_PANELS_H_
#define DGMS_OPS_FILTER_PANELS_H_

#include <cstddef>
#include <cstdint>

#include "kernels/kernel.h"
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
    const uint8_t* packed;  // the first block
    Tables tables;
    const float* scale;
    const float* bias;
  };

  // Packs. The filter must be valid (IsValid) and have groups * columns * k codes; bias may be null.
  Status Init(const FilterMatrix& shape, const CodebookFilter& filter, const float* bias, const GemmF32Kernel& kernel);

  const GemmF32Kernel& kernel() const { return *kernel_; }
  const FilterMatrix& shape() const { return shape_; }
  int64_t k() const { return shape_.segment_count * shape_.segment_length; }
  int64_t channels() const { return shape_.groups * shape_.columns; }
  int64_t panels() const { return shape_.groups * panels_per_group_; }
  Panel panel(int64_t index) const;
  int64_t blocks() const { return block_count_; }
  const Block& block(int64_t index) const { return blocks_[index]; }
  // From a block's packed bytes to the next block's of the same panel.
  int64_t PackedBytes(const Block& block, int n) const;
  // True if the blocks of a panel together are `pack` of the whole k, which is what gemv reads.
  bool one_run() const { return one_run_; }
  size_t bytes() const;

 private:
  Status PlanBlocks();
  Status PackCodes(const CodebookFilter& filter);
  Status FillTables(const CodebookFilter& filter);
  Status FillEpilogue(const CodebookFilter& filter, const float* bias);
  int Columns(int64_t panel_in_group) const;

  const GemmF32Kernel* kernel_ = nullptr;
  FilterMatrix shape_;
  int64_t panels_per_group_ = 0;
  int64_t block_count_ = 0;
  int64_t padded_k_ = 0;            // sum over the blocks of k rounded up to k_unit
  int64_t packed_panel_bytes_ = 0;  // of a full panel
  int64_t packed_group_bytes_ = 0;
  int64_t group_size_ = 0;  // channels per codebook, or 0
  bool one_run_ = false;
  Buffer<Block> blocks_;
  Buffer<uint8_t> packed_;
  Buffer<float> tables_;          // [codebooks][16]
  Buffer<int32_t> column_table_;  // [panels][max_columns], only if a panel has more than one codebook
  Buffer<float> scale_, bias_;    // [panels][max_columns]
};

}  // namespace dgms

#endif  // DGMS_OPS_FILTER_PANELS_H_
