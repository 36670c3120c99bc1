// Products of int8 rows with a filter of many columns, of rows that are packed first (PackedGemmS8, kernel_s8.h): the
// other way of Int8Gemm, whose filter and output it shares.
//
// Packing costs about as much as the products with two or three columns. For that every panel meets rows in the order
// of use, in tiles that know of no lines and no segments.
#ifndef DGMS_OPS_PACKED_INT8_GEMM_H_
#define DGMS_OPS_PACKED_INT8_GEMM_H_

#include <cstdint>

#include "ops/int8_gemm.h"
#include "ops/memory.h"
#include "ops/row_tiles.h"
#include "ops/status.h"
#include "ops/thread_pool.h"

namespace dgms {

class PackedInt8Gemm {
 public:
  // The segments of a row; the filter has them as one.
  struct Segments {
    const int64_t* offsets;  // in elements from the row's start, [count]
    int64_t count;
    int64_t length;
  };

  // Whether packing pays for a filter of this shape; and, for one segment, which can do without, for so many rows.
  static bool Pays(const GemmS8Kernel& kernel, const FilterMatrix& shape);
  static bool Pays(const Int8FilterPanels& filter, int64_t rows) { return rows >= filter.kernel().packed->tile_rows; }

  // The shape that the filter has then.
  static FilterMatrix OneSegment(FilterMatrix shape);

  // Of a filter with OneSegment's shape.
  Status Plan(const Int8FilterPanels& filter, const RowLayout& rows, const Segments& segments);

  // What packed rows take, if up to so many are multiplied at a time.
  int64_t ScratchBytes(int64_t rows) const;

  // As Int8Gemm::Run, on the rows of Plan.
  //   scratch   ScratchBytes(all rows), aligned to kAlignment
  void Run(const Int8Gemm& gemm, const int8_t* input, const Int8Output::Target& target, int8_t* scratch,
           ThreadPool& pool) const;

  // As Int8Gemm::RunRows.
  //   scratch   ScratchBytes(the number of `rows`), aligned to kAlignment
  void RunRows(const Int8Gemm& gemm, const RowLayout& rows, const int8_t* input, const Int8Output::Target& target,
               int8_t* scratch) const;

 private:
  struct Range {
    int64_t first, end;
    int64_t count() const { return end - first; }
  };
  int64_t TileBytes() const;
  int64_t MostChunkRows() const;
  int64_t ChunkRows(int64_t rows) const;
  void Pack(const RowLayout& rows, const int8_t* input, const Range& range, int8_t* packed) const;
  void Multiply(const Int8Gemm& gemm, int64_t panel, int64_t chunk_first, const Range& range, const int8_t* packed,
                const Int8Output::Target& target) const;

  const PackedGemmS8* kernel_ = nullptr;
  int64_t k_ = 0;
  RowLayout rows_ = {};
  Buffer<int64_t> offsets_;
  int64_t segment_length_ = 0;
};

}  // namespace dgms

#endif  // DGMS_OPS_PACKED_INT8_GEMM_H_
