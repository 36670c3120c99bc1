// Multiplies rows of activations with a packed filter: the part that CONV_2D and FULLY_CONNECTED share.
#ifndef DGMS_OPS_FLOAT_GEMM_H_
#define DGMS_OPS_FLOAT_GEMM_H_

#include <cstdint>

#include "ops/filter_panels.h"
#include "ops/memory.h"
#include "ops/row_tiles.h"
#include "ops/shapes.h"
#include "ops/status.h"
#include "ops/thread_pool.h"

namespace dgms {

class FloatGemm {
 public:
  FilterPanels filter;
  ActivationRange range = {};

  // Plans for these rows.
  //   segments      offsets in floats of the filter's segments from a row's start, [segment_count]
  //   group_stride  floats from one group's input channels to the next's
  Status Plan(const RowLayout& rows, const int64_t* segments, int64_t group_stride);

  // Row-major output: [rows][channels].
  //   residual   [rows][channels], added before the activation; or null. Overlaps no output.
  void Run(const float* input, const float* residual, float* output, ThreadPool& pool) const;

  // Some rows on the calling thread: those of `rows`, whose last stride is that of the planned ones. Every output is
  // what Run makes of its row, unless runs_as_gemv().
  //   residual   of these rows; or null
  void RunRows(const RowLayout& rows, const float* input, const float* residual, const ActivationRange& activation,
               float* output) const;

  bool runs_as_gemv() const { return gemv_; }

 private:
  // Tiles first_tile..end_tile-1 of one panel: what one thread does at a time.
  struct Item {
    int64_t panel, first_tile, end_tile;
  };
  Item ItemAt(int64_t index, int64_t chunks) const;
  struct Maps {
    const float* input;
    const float* residual;
    float* output;
  };
  void RunItem(const RowTiles& tiles, const Maps& maps, const ActivationRange& activation, const Item& item) const;
  void RunGemv(const float* input, const float* residual, float* output, ThreadPool& pool, bool parallel) const;

  RowTiles tiles_;
  int64_t group_stride_ = 0;
  bool gemv_ = false;               // one row, and its segments follow one another
  bool scale_weights_ = false;      // instead of the sums
  Buffer<int64_t> segments_;        // the offsets of every block's segments, block after block
  Buffer<int64_t> block_segments_;  // where a block's begin in segments_
};

}  // namespace dgms

#endif  // DGMS_OPS_FLOAT_GEMM_H_
