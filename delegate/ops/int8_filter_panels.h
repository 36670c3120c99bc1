// An int8 filter as the panels that the int8 matrix kernels read: a codebook filter packed in their tile order
// (kernel_s8.h), or a view of a dense filter, whose blocks are brought into dot order where the others are decoded.
#ifndef DGMS_OPS_INT8_FILTER_PANELS_H_
#define DGMS_OPS_INT8_FILTER_PANELS_H_

#include <cstddef>
#include <cstdint>

#include "kernels/select_kernel.h"
#include "ops/filter.h"
#include "ops/filter_blocks.h"
#include "ops/memory.h"
#include "ops/status.h"

namespace dgms {

class Int8FilterPanels {
 public:
  // Neighbouring output channels of one group.
  struct Panel {
    int64_t group;
    int64_t first_channel;  // in the whole layer
    int n, width;
    const uint8_t* packed;  // codebooks: the first block
    TablesS8 tables;
    const int8_t* values;  // dense: the first channel's weights
  };

  // Packs codes, keeps a view of values. The filter has groups * columns * k weights.
  Status Init(const FilterMatrix& shape, const Int8Filter& filter, const KernelSet& kernels);

  const GemmS8Kernel& kernel() const { return *kernel_; }
  const FilterMatrix& shape() const { return shape_; }
  int64_t k() const { return shape_.segment_count * shape_.segment_length; }
  int64_t channels() const { return shape_.groups * shape_.columns; }
  int64_t panels() const { return shape_.groups * panels_per_group_; }
  Panel panel(int64_t index) const;
  int64_t blocks() const { return block_count_; }
  const FilterBlock& block(int64_t index) const { return blocks_[index]; }
  // Places of a block in the panel: its segments' lengths rounded up to k_unit.
  int64_t Places(const FilterBlock& block) const;
  // The weights of one block in dot order, as GemmS8Args::panel wants them: Places(block) * width bytes.
  void Decode(const Panel& panel, int64_t block, int8_t* decoded) const;
  // The sum of each output channel's weights, modulo 2^32: [channels].
  const int32_t* column_sums() const { return column_sums_.data(); }
  size_t bytes() const;

 private:
  void Pack(const Int8CodebookFilter& filter);
  Status FillTables(const Int8CodebookFilter& filter);
  void SumColumns(const Int8CodebookFilter& filter);
  void SumRows();
  void ToDotOrder(const int8_t* values, int64_t places, const Panel& panel, int8_t* decoded) const;
  int Columns(int64_t panel_in_group) const;
  int64_t FirstChannel(int64_t panel) const;

  const GemmS8Kernel* kernel_ = nullptr;
  const DenseKernel* dense_kernel_ = nullptr;
  const int8_t* values_ = nullptr;  // dense; else null
  FilterMatrix shape_;
  int64_t panels_per_group_ = 0;
  int64_t block_count_ = 0;
  int64_t places_ = 0;  // of all blocks
  Buffer<FilterBlock> blocks_;
  Buffer<int64_t> first_place_;  // of each block, among a panel's places
  Buffer<uint8_t> packed_;
  Buffer<int8_t> tables_;         // [codebooks][16], each once
  Buffer<int32_t> column_table_;  // [panels][max_columns]
  Buffer<uint8_t> mixed_;         // [panels]: 1 where a panel has more than one table
  Buffer<int32_t> column_sums_;
};

}  // namespace dgms

#endif  // DGMS_OPS_INT8_FILTER_PANELS_H_
