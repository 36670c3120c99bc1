// How the rows (output pixels) of a matrix product are cut into tiles, and tiles into what one thread does at a time.
#ifndef DGMS_OPS_ROW_TILES_H_
#define DGMS_OPS_ROW_TILES_H_

#include <algorithm>
#include <cstdint>

#include "ops/shapes.h"

namespace dgms {

// Where the rows are: row (i0, i1, i2) starts at i0 * stride[0] + i1 * stride[1] + i2 * stride[2] elements of the
// input, and is row (i0 * count[1] + i1) * count[2] + i2 of the output.
struct RowLayout {
  int64_t count[3];
  int64_t stride[3];
};

class RowTiles {
 public:
  // False if the number of rows overflows.
  bool Plan(const RowLayout& rows, int max_rows);

  int64_t total_rows() const { return total_rows_; }
  int64_t tiles() const { return tiles_; }
  // Of the largest tile; 1 if there are none.
  int64_t most_rows() const { return tiles_ == 0 ? 1 : CeilDiv(rows_.count[2], tiles_per_line_); }
  int64_t row_stride() const { return rows_.stride[2]; }

  // Into how many ranges of tiles the work on `panels` panels is best cut.
  //   row_bytes   from one row to the next, in the input
  int64_t Chunks(int64_t panels, int threads, int64_t row_bytes) const;

  // Calls tile(offset of its first row in the input, its first row, its number of rows) for tiles first..end-1. A
  // line's tiles are as equal as possible: the first `longer` have one row more than the others. Small layers spend a
  // few hundred cycles per tile, so nothing is divided for each.
  template <typename Tile>
  void ForEach(int64_t first, int64_t end, const Tile& tile) const {
    const int64_t rows = rows_.count[2] / tiles_per_line_, longer = rows_.count[2] % tiles_per_line_;
    int64_t in_line = first % tiles_per_line_;
    for (int64_t line = first / tiles_per_line_, left = end - first; left > 0; ++line) {
      const int64_t line_end = std::min(tiles_per_line_, in_line + left);
      int64_t row = in_line * rows + std::min(in_line, longer);  // in the line
      int64_t offset =
          (line / rows_.count[1]) * rows_.stride[0] + (line % rows_.count[1]) * rows_.stride[1] + row * rows_.stride[2];
      row += line * rows_.count[2];
      left -= line_end - in_line;
      for (; in_line < line_end; ++in_line) {
        const int64_t count = rows + (in_line < longer ? 1 : 0);
        tile(offset, row, static_cast<int>(count));
        offset += count * rows_.stride[2];
        row += count;
      }
      in_line = 0;
    }
  }

 private:
  RowLayout rows_ = {};
  int64_t total_rows_ = 0;
  int64_t tiles_per_line_ = 0;  // a line: the rows of one (i0, i1)
  int64_t tiles_ = 0;
};

}  // namespace dgms

#endif  // DGMS_OPS_ROW_TILES_H_
