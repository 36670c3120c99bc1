// Cuts the rows of a call of `gemm` into tiles: what the float matrix kernels of all instruction sets share.
#ifndef DGMS_KERNELS_GEMM_TILES_H_
#define DGMS_KERNELS_GEMM_TILES_H_

#include "kernels/kernel.h"

namespace dgms {
namespace {  // a copy of its own for each file: see the last rule of kernel.h

using TileFn = void (*)(const GemmF32Args&);

// Tiles of `max_rows` rows; what is left behind them is cut in halves if it is more than a tile. tiles[r - 1] computes
// one of r rows. (Nothing is divided: short products take a few hundred cycles.)
template <int max_rows>
inline __attribute__((always_inline)) void RunTiles(const GemmF32Args& args, const TileFn (&tiles)[max_rows]) {
  if (args.rows <= max_rows) return tiles[args.rows - 1](args);
  GemmF32Args tile = args;
  for (int64_t left = args.rows; left > 0; left -= tile.rows) {
    tile.rows = left >= 2 * max_rows ? max_rows : left > max_rows ? (left + 1) / 2 : left;
    tiles[tile.rows - 1](tile);
    tile.a += tile.rows * tile.a_row_stride;
    tile.c += tile.rows * tile.c_row_stride;
    if (tile.epilogue.residual != nullptr) tile.epilogue.residual += tile.rows * tile.epilogue.residual_row_stride;
  }
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_GEMM_TILES_H_
