// The portable kernels: plain C++, right everywhere. Tile order: pack_rows (see pack_weights.h).
#include "kernels/gemm_tiles.h"
#include "kernels/kernel.h"

namespace dgms {
namespace {

constexpr int kColumns = 8;
constexpr int kRows = 4;

// NaN passes: both comparisons are false for it.
inline float Clamp(float value, float min, float max) {
  value = value < min ? min : value;
  return value > max ? max : value;
}

inline float Finished(float sum, const Epilogue& e, int row, int column) {
  float value = sum * e.scale[column] + e.bias[column];
  if (e.residual != nullptr) value += e.residual[row * e.residual_row_stride + column];
  return Clamp(value, e.min, e.max);
}

inline const float* Table(const Tables& tables, int column) {
  return tables.tables + (tables.column_table == nullptr ? 0 : int64_t{kTableSize} * tables.column_table[column]);
}

inline int Code(const uint8_t* row, int column) { return (row[column / 2] >> (4 * (column % 2))) & 15; }

// All rows at once, so that a weight is loaded once; the sums live in registers.
template <int rows>
void Tile(const GemmF32Args& args) {
  float sum[rows][kColumns] = {};
  const float* panel = args.panel;
  for (int64_t s = 0; s < args.segment_count; ++s) {
    const float* a = args.a + args.segments[s];
    for (int64_t p = 0; p < args.segment_length; ++p, panel += kColumns) {
      for (int r = 0; r < rows; ++r) {
        const float x = a[r * args.a_row_stride + p];
        for (int j = 0; j < kColumns; ++j) sum[r][j] += x * panel[j];
      }
    }
  }
  const Epilogue& e = args.epilogue;
  for (int r = 0; r < rows; ++r) {
    float* c = args.c + r * args.c_row_stride;
    for (int j = 0; j < args.n; ++j) {
      float value = sum[r][j];
      if (args.accumulate) value += c[j];
      if (args.finish) value = Finished(value, e, r, j);
      c[j] = value;
    }
  }
}

}  // namespace

void f32_4x8_portable_decode(const uint8_t* packed, int64_t k, int n, const Tables& tables, float* panel) {
  (void)n;  // a panel is always stored as 8 columns
  for (int64_t p = 0; p < k; ++p, packed += kColumns / 2, panel += kColumns) {
    for (int j = 0; j < kColumns; ++j) panel[j] = Table(tables, j)[Code(packed, j)];
  }
}

void f32_4x8_portable_gemm(const GemmF32Args& args) {
  static constexpr TileFn kTiles[kRows] = {Tile<1>, Tile<2>, Tile<3>, Tile<4>};
  RunTiles(args, kTiles);
}

void f32_4x8_portable_gemv(const GemvF32Args& args) {
  float sum[kColumns] = {};
  const uint8_t* packed = args.packed;
  for (int64_t p = 0; p < args.k; ++p, packed += kColumns / 2) {
    for (int j = 0; j < kColumns; ++j) sum[j] += args.x[p] * Table(args.tables, j)[Code(packed, j)];
  }
  const Epilogue& e = args.epilogue;
  for (int j = 0; j < args.n; ++j) args.y[j] = Finished(sum[j], e, 0, j);
}

}  // namespace dgms
