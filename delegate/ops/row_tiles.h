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
    ForEachLine(first, end, [&](int64_t in_line, int64_t line_end, int64_t offset, int64_t row) {
      const int64_t rows = Rows(), longer = Longer();
      for (; in_line < line_end; ++in_line) {
        const int64_t count = rows + (in_line < longer ? 1 : 0);
        tile(offset, row, static_cast<int>(count));
        offset += count * rows_.stride[2];
        row += count;
      }
    });
  }

  // The same rows, but those of a line, which are evenly spaced, at once.
  template <typename Run>
  void ForEachRun(int64_t first, int64_t end, const Run& run) const {
    ForEachLine(first, end, [&](int64_t in_line, int64_t line_end, int64_t offset, int64_t row) {
      run(offset, row, FirstRow(line_end) - FirstRow(in_line));
    });
  }

 private:
  // A line: the rows of one (i0, i1).
  int64_t Rows() const { return rows_.count[2] / tiles_per_line_; }  // of the shorter tiles of a line
  int64_t Longer() const { return rows_.count[2] % tiles_per_line_; }
  int64_t FirstRow(int64_t tile) const { return tile * Rows() + std::min(tile, Longer()); }  // in the line

  // Calls line(its first tile, end of its tiles, offset of its first row in the input, its first row).
  template <typename Line>
  void ForEachLine(int64_t first, int64_t end, const Line& line) const {
    int64_t in_line = first % tiles_per_line_;
    for (int64_t i = first / tiles_per_line_, left = end - first; left > 0; ++i) {
      const int64_t line_end = std::min(tiles_per_line_, in_line + left), row = FirstRow(in_line);
      line(in_line, line_end,
           (i / rows_.count[1]) * rows_.stride[0] + (i % rows_.count[1]) * rows_.stride[1] + row * rows_.stride[2],
           i * rows_.count[2] + row);
      left -= line_end - in_line;
      in_line = 0;
    }
  }

  RowLayout rows_ = {};
  int64_t total_rows_ = 0;
  int64_t tiles_per_line_ = 0;
  int64_t tiles_ = 0;
};

}  // namespace dgms

#endif  // DGMS_OPS_ROW_TILES_H_
