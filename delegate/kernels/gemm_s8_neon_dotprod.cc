// int8 with the ARMv8.2 dot product. One instruction multiplies four places of four columns with four places of a row,
// which it takes from any lane of the row's vector.
//
// Registers hold the sums of 5 rows by 16 columns (20), 16 places of each row (5) and 4 places of the 16 columns (4).
// Few other instructions remain beside the 80 dot products of 16 places: 5 loads of rows, 4 of the panel, 2 for the
// loop. A call goes through many such register tiles, so that what a call costs is shared among them. int8 outputs are
// made of the sums where they are.
#include "kernels/decode_s8_neon.h"
#include "kernels/gemm_s8_tile_neon.h"
#include "kernels/places_s8.h"

namespace dgms {
namespace {

constexpr int kUnit = 4, kPlaces = 16;

// Rows of a register tile of 4 * vectors columns.
template <int vectors>
constexpr int kTileRows = vectors == 4 ? 5 : 8;

template <int lane, int rows, int vectors>
DGMS_INLINE void StepLane(SumsS8<rows, vectors>& sums, const int8x16_t (&x)[rows], const int8_t** panel) {
  int8x16_t w[vectors];
  NextWeights<vectors>(panel, w);
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sums.v[r][v] = vdotq_laneq_s32(sums.v[r][v], w[v], x[r], lane);
  }
  After(panel, sums);
}

// `count` (1..4) places of each row.
template <int rows, int vectors>
DGMS_INLINE void StepLast(SumsS8<rows, vectors>& sums, const int8_t* const (&a)[rows], int64_t p, int64_t count,
                          const int8_t** panel) {
  int8x16_t w[vectors];
  NextWeights<vectors>(panel, w);
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
    const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(LoadPlaces(a[r] + p, count)));
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sums.v[r][v] = vdotq_s32(sums.v[r][v], w[v], x);
  }
}

// Rows are reached from the end of their last whole 16 places by an index that counts up to 0: one register is the
// position in all rows and the loop's counter. The empty assembly keeps compilers from undoing that.
template <int rows, int vectors>
DGMS_INLINE void Accumulate(SumsS8<rows, vectors>& sums, const GemmS8Args& args, const int8_t* first) {
  const int8_t* panel = args.panel;
  const int64_t length = args.segment_length, whole = length & ~int64_t{kPlaces - 1}, stride = args.a_row_stride;
  for (int64_t s = 0; s < args.segment_count; ++s) {
    const int8_t* a[rows];
    const int8_t* row = first + args.segments[s] + whole;
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      a[r] = row;
      __asm__("" : "+r"(a[r]));
      row = a[r] + stride;
    }
    for (int64_t p = -whole; p != 0; p += kPlaces) {
      __asm__("" : "+r"(p));
      int8x16_t x[rows];
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) x[r] = vld1q_s8(a[r] + p);
      StepLane<0>(sums, x, &panel);
      StepLane<1>(sums, x, &panel);
      StepLane<2>(sums, x, &panel);
      StepLane<3>(sums, x, &panel);
    }
    int64_t p = 0;
    if (length - whole >= 2 * kUnit) {
      int8x16_t x[rows];
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) x[r] = vcombine_s8(vld1_s8(a[r]), vdup_n_s8(0));
      StepLane<0>(sums, x, &panel);
      StepLane<1>(sums, x, &panel);
      p = 2 * kUnit;
    }
    if (length - whole - p >= kUnit) {
      StepLast(sums, a, p, kUnit, &panel);
      p += kUnit;
    }
    if (length - whole - p > 0) StepLast(sums, a, p, length - whole - p, &panel);
  }
}

// `tiles` register tiles, one below the other.
template <int rows, int vectors, typename Output>
void TilesS8(const GemmS8Args& args, const int8_t* a, int tiles, Output* output) {
  const int64_t step = rows * args.a_row_stride;
  for (; tiles > 0; --tiles, a += step) {
    SumsS8<rows, vectors> sums;
    output->Begin(sums);
    Accumulate(sums, args, a);
    output->Finish(sums);
  }
}

template <typename Output>
using TilesFn = void (*)(const GemmS8Args& args, const int8_t* a, int tiles, Output* output);

// By their rows.
template <int vectors, typename Output>
constexpr TilesFn<Output> kTiles[] = {TilesS8<1, vectors, Output>, TilesS8<2, vectors, Output>,
                                      TilesS8<3, vectors, Output>, TilesS8<4, vectors, Output>,
                                      TilesS8<5, vectors, Output>};
template <typename Output>
constexpr TilesFn<Output> kTiles<2, Output>[] = {TilesS8<1, 2, Output>, TilesS8<2, 2, Output>, TilesS8<3, 2, Output>,
                                                 TilesS8<4, 2, Output>, TilesS8<5, 2, Output>, TilesS8<6, 2, Output>,
                                                 TilesS8<7, 2, Output>, TilesS8<8, 2, Output>};

// The rows in register tiles as equal as possible: the first ones have one row more than the others.
template <int vectors, typename Output>
void RunTiles(const GemmS8Args& args, Output output) {
  constexpr int most = kTileRows<vectors>;
  const int tiles = (args.rows + most - 1) / most, rows = args.rows / tiles, longer = args.rows % tiles;
  const int8_t* a = args.a;
  if (longer > 0) kTiles<vectors, Output>[rows](args, a, longer, & output);
  a += longer * (rows + 1) * args.a_row_stride;
  kTiles<vectors, Output>[rows - 1](args, a, tiles - longer, & output);
}

}  // namespace

void s8_5x16_neon_dotprod_decode(const uint8_t* packed, int64_t places, int width, const TablesS8& tables,
                                 int8_t* panel) {
  DecodeS8<kUnit>(packed, places, width, tables, panel);
}

void s8_5x16_neon_dotprod_gemm(const GemmS8Args& args) {
  args.width == 16 ? RunTiles<4>(args, ToSums<4>(args.c, args.accumulate))
                   : RunTiles<2>(args, ToSums<2>(args.c, args.accumulate));
}

void s8_5x16_neon_dotprod_requantize(const GemmS8Args& args, const RequantizeArgs& output) {
  const int32_t* c = args.accumulate ? args.c : nullptr;
  const int64_t products = args.segment_count * args.segment_length;
  if (args.width == 16) {
    WithBytes<4>(c, output, products, [&](const auto& bytes) { RunTiles<4>(args, bytes); });
  } else {
    WithBytes<2>(c, output, products, [&](const auto& bytes) { RunTiles<2>(args, bytes); });
  }
}

}  // namespace dgms
