// Multiplies rows of int8 activations with a packed int8 filter: the part that the int8 CONV_2D and FULLY_CONNECTED
// share.
#ifndef DGMS_OPS_INT8_GEMM_H_
#define DGMS_OPS_INT8_GEMM_H_

#include <cstdint>

#include "ops/int8_filter_panels.h"
#include "ops/int8_output.h"
#include "ops/memory.h"
#include "ops/row_tiles.h"
#include "ops/status.h"
#include "ops/thread_pool.h"

namespace dgms {

class Int8Gemm {
 public:
  Int8FilterPanels filter;
  Int8Output output;

  // Plans for these rows.
  //   segments      offsets in elements of the filter's segments from a row's start, [segment_count]
  //   group_stride  elements from one group's input channels to the next's
  Status Plan(const RowLayout& rows, const int64_t* segments, int64_t group_stride);

  // The input is as the kernel wants it (GemmS8Kernel::flip).
  void Run(const int8_t* input, const Int8Output::Target& target, ThreadPool& pool) const;

  // Some rows on the calling thread: those of `rows`, whose last stride is that of the planned ones. Every output is
  // what Run makes of its row. Input and target are of these rows.
  void RunRows(const RowLayout& rows, const int8_t* input, const Int8Output::Target& target) const;

 private:
  // Tiles first..end-1 of one panel: what one thread does at a time.
  struct Item {
    int64_t panel, first, end;
  };
  int MostRows() const;  // of a tile
  bool RunGemv(const int8_t* a, const Int8Output::Target& target, const Int8FilterPanels::Panel& panel) const;
  void RunItem(const RowTiles& tiles, const int8_t* input, const Int8Output::Target& target, const Item& item,
               GemmState* state) const;
  void RunTiles(const RowTiles& tiles, const int8_t* input, const Int8Output::Target& target,
                const Int8FilterPanels::Panel& panel, int64_t first_tile, int64_t end_tile, GemmState* state) const;

  RowTiles tiles_;
  int64_t group_stride_ = 0;
  Buffer<int64_t> segments_;        // the offsets of every block's segments, block after block
  Buffer<int64_t> block_segments_;  // where a block's begin in segments_
};

}  // namespace dgms

#endif  // DGMS_OPS_INT8_GEMM_H_
