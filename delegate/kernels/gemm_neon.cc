// NEON: tiles of up to 5 rows by 16 columns on 64-bit ARM (gemm_tile_neon.h has the usual ones in assembly), 4 by 8 on
// 32-bit ARM (8 of 16). Tile order: pack_runs32. 7 rows by 12 columns have more arithmetic per load, but not per
// instruction, because one instruction loads four vectors of weights; and 16 divides what networks have of channels.
#include "kernels/decode_neon.h"
#include "kernels/gemm_tile_neon.h"
#include "kernels/gemm_tiles.h"
#include "kernels/kernel.h"
#include "kernels/simd_neon.h"

namespace dgms {
namespace {

constexpr float kInfinity = __builtin_inff();

inline int Vectors(int n) { return (n + kLanes - 1) / kLanes; }

// ---- one tile ----

template <int rows, int vectors>
struct Sums {
  float32x4_t v[rows][vectors];
};

// sum = operation(sum, its vector of columns) for all sums.
template <int rows, int vectors, typename Operation>
DGMS_INLINE void ForAll(Sums<rows, vectors>& sums, const Operation& operation) {
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sums.v[r][v] = operation(sums.v[r][v], v);
  }
}

// One row of the panel; moves on to the next.
template <int vectors>
DGMS_INLINE void NextWeights(const float** panel, float32x4_t (&weights)[vectors]) {
#if DGMS_AARCH64 && !defined(__clang__)
  // One load of them all. GCC then also allocates registers without copying sums about; clang does not.
  if constexpr (vectors >= 3) {
    const auto all = [&] {
      if constexpr (vectors == 3) return vld1q_f32_x3(*panel);
      if constexpr (vectors == 4) return vld1q_f32_x4(*panel);
    }();
    for (int v = 0; v < vectors; ++v) weights[v] = all.val[v];
    *panel += vectors * kLanes;
    __asm__("" : "+r"(*panel));  // keeps the step in the load: it has no other offset
    return;
  }
#endif
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) weights[v] = vld1q_f32(*panel + v * kLanes);
  *panel += vectors * kLanes;
}

// Four places of K: 4 floats of each row meet 4 rows of the panel. `p` is a position in the rows in bytes.
// Rows are the outer loop: GCC otherwise copies sums between registers.
template <int rows, int vectors>
DGMS_INLINE void Step4(Sums<rows, vectors>& sums, const char* const (&a)[rows], ptrdiff_t p, const float** panel) {
  constexpr int kPlaces = vectors == 2 && kMaxVectors == 4 ? 2 : 1;  // whose weights are loaded together
  float32x4_t x[rows];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) x[r] = vld1q_f32(reinterpret_cast<const float*>(a[r] + p));
#pragma GCC unroll 4
  for (int i = 0; i < 4; i += kPlaces) {
    float32x4_t weights[kPlaces * vectors];
    NextWeights<kPlaces * vectors>(panel, weights);
#pragma GCC unroll 2
    for (int place = 0; place < kPlaces; ++place) {
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) {
          sums.v[r][v] = FmaLane(sums.v[r][v], weights[place * vectors + v], x[r], i + place);
        }
      }
    }
  }
}

template <int rows, int vectors>
DGMS_INLINE void Step1(Sums<rows, vectors>& sums, const char* const (&a)[rows], ptrdiff_t p, const float** panel) {
  float32x4_t weights[vectors];
  NextWeights<vectors>(panel, weights);
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
    const float32x4_t x = vld1q_dup_f32(reinterpret_cast<const float*>(a[r] + p));
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sums.v[r][v] = vfmaq_f32(sums.v[r][v], weights[v], x);
  }
}

// Rows are reached from the end of their last whole four by an index that counts up to 0: one register is the position
// in all rows and the loop's counter. The empty assembly keeps both compilers from undoing that: clang would compute
// each row from the one before, or step every row by itself.
template <int rows, int vectors>
DGMS_INLINE void Accumulate(Sums<rows, vectors>& sums, const GemmF32Args& args) {
  constexpr ptrdiff_t kFloat = sizeof(float), kFour = 4 * kFloat;
  const ptrdiff_t length = args.segment_length * kFloat, fours = length & ~(kFour - 1);
  const ptrdiff_t stride = args.a_row_stride * kFloat;
  const float* panel = args.panel;
  const int64_t segment_count = args.segment_count;
  for (int64_t s = 0; s < segment_count; ++s) {
    const char* a[rows];
    const char* row = reinterpret_cast<const char*>(args.a + args.segments[s]) + fours;
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      a[r] = row;
      __asm__("" : "+r"(a[r]));
      row = a[r] + stride;
    }
    ptrdiff_t p = -fours;
    for (; p != 0; p += kFour) {
      __asm__("" : "+r"(p));
      Step4<rows, vectors>(sums, a, p, &panel);
    }
    for (p = 0; p < length - fours; p += kFloat) Step1<rows, vectors>(sums, a, p, &panel);
  }
}

// Adds what lies at c (the tile's output, or its residual), row by row: `last` columns of the last vector.
template <int rows, int vectors>
DGMS_INLINE void AddRows(Sums<rows, vectors>& sums, const float* c, int64_t stride, int last) {
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r, c += stride) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      sums.v[r][v] = vaddq_f32(sums.v[r][v], LoadFirst(c + v * kLanes, v + 1 < vectors ? kLanes : last));
    }
  }
}

template <int rows, int vectors>
DGMS_INLINE void StoreOutput(const Sums<rows, vectors>& sums, float* c, int64_t stride, int last) {
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r, c += stride) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) StoreFirst(c + v * kLanes, sums.v[r][v], v + 1 < vectors ? kLanes : last);
  }
}

template <int rows, int vectors>
DGMS_INLINE void Finish(Sums<rows, vectors>& sums, const GemmF32Args& args) {
  const Epilogue& e = args.epilogue;
  float* c = args.c;
  const int64_t stride = args.c_row_stride;
  const int last = args.n - (vectors - 1) * kLanes;  // columns of the last vector
  if (args.accumulate) {
    last == kLanes ? AddRows(sums, c, stride, kLanes) : AddRows(sums, c, stride, last);
  }
  if (args.finish) {
    // Multiplied and added apart: a fused multiply-add would need a copy of the bias for every sum to add to.
    if (!e.unit_scale) {
      float32x4_t columns[vectors];
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) columns[v] = vld1q_f32(e.scale + v * kLanes);
      ForAll(sums, [&](float32x4_t sum, int v) { return vmulq_f32(sum, columns[v]); });
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) columns[v] = vld1q_f32(e.bias + v * kLanes);
      ForAll(sums, [&](float32x4_t sum, int v) { return vaddq_f32(sum, columns[v]); });
    }
    if (e.residual != nullptr) {
      last == kLanes ? AddRows(sums, e.residual, e.residual_row_stride, kLanes)
                     : AddRows(sums, e.residual, e.residual_row_stride, last);
    }
    // Most layers have no bounds, or a lower one alone. NaN passes: vmax and vmin return NaN if either operand is NaN.
    if (e.min > -kInfinity) {
      const float32x4_t min = vdupq_n_f32(e.min);
      ForAll(sums, [&](float32x4_t sum, int) { return vmaxq_f32(sum, min); });
    }
    if (e.max < kInfinity) {
      const float32x4_t max = vdupq_n_f32(e.max);
      ForAll(sums, [&](float32x4_t sum, int) { return vminq_f32(sum, max); });
    }
  }
  last == kLanes ? StoreOutput(sums, c, stride, kLanes) : StoreOutput(sums, c, stride, last);
}

template <int rows, int vectors>
void Tile(const GemmF32Args& args) {
  Sums<rows, vectors> sums;
  const bool from_bias = args.finish && args.epilogue.unit_scale;  // as the tiles in assembly
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) {
    const float32x4_t start = from_bias ? vld1q_f32(args.epilogue.bias + v * kLanes) : vdupq_n_f32(0.0f);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) sums.v[r][v] = start;
  }
  Accumulate<rows, vectors>(sums, args);
  Finish<rows, vectors>(sums, args);
}

#if DGMS_AARCH64
template <int vectors>
constexpr TileFn kTiles[] = {Tile<1, vectors>, Tile<2, vectors>, Tile<3, vectors>, Tile<4, vectors>, Tile<5, vectors>};
// What 8 columns are left behind whole panels: their sums leave registers for more rows.
template <>
constexpr TileFn kTiles<2>[] = {Tile<1, 2>, Tile<2, 2>, Tile<3, 2>, Tile<4, 2>,
                                Tile<5, 2>, Tile<6, 2>, Tile<7, 2>, Tile<8, 2>};

#if DGMS_NEON_ASSEMBLY
// All 16 columns: tiles in assembly, of 5 rows and then of 4, or 1 to 3 rows before them where those do not add up (1,
// 2, 3, 6, 7 and 11 rows).
template <bool one_segment>
void RunWideTiles(const GemmF32Args& args) {
  TileRun run(args);
  int64_t tiles = (args.rows + 4) / 5, fives = args.rows - 4 * tiles;
  if (fives < 0) {
    const int64_t rows = args.rows % 4;
    GemmF32Args first = args;
    first.rows = rows;
    kTiles<kMaxVectors>[rows - 1](first);
    run.a += rows * args.a_row_stride;
    run.c += rows * args.c_row_stride;
    if (run.residual != nullptr) run.residual += rows * args.epilogue.residual_row_stride;
    tiles = args.rows / 4, fives = 0;
  }
  for (tiles -= fives; fives > 0; --fives) WideTile<5, one_segment>(args, run);
  for (; tiles > 0; --tiles) WideTile<4, one_segment>(args, run);
}
void RunWideTiles(const GemmF32Args& args) {
  args.segment_count == 1 ? RunWideTiles<true>(args) : RunWideTiles<false>(args);
}
#else
void RunWideTiles(const GemmF32Args& args) { RunTiles(args, kTiles<kMaxVectors>); }
#endif
#else
template <int vectors>
constexpr TileFn kTiles[] = {Tile<1, vectors>, Tile<2, vectors>, Tile<3, vectors>, Tile<4, vectors>};
#endif

// ---- one row ----

// Decodes a piece of the panel that fits the first-level cache and multiplies it: cheaper than assembling the floats in
// registers, because the interleaving store does that work. One chain of sums for each place modulo 4 hides the latency
// of the multiply-add.
constexpr int kPiece = 64;  // places

template <int vectors, typename Decoder>
void Gemv(const GemvF32Args& args) {
  constexpr int kChains = 4;
  constexpr int width = vectors * kLanes;
  static_assert(kPiece * kLanes % kRun == 0, "a piece is whole runs");
  alignas(kAlignment) float panel[kPiece * width];
  Decoder decoder(args.tables, width);
  float32x4_t sums[kChains][vectors];
#pragma GCC unroll 4
  for (int i = 0; i < kChains; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sums[i][v] = vdupq_n_f32(0.0f);
  }
  const uint8_t* packed = args.packed;
  const float* x = args.x;
  for (int64_t left = args.k; left > 0; left -= kPiece, packed += kPiece * width / 2) {
    const int places = left < kPiece ? static_cast<int>(left) : kPiece;
    DecodeRuns(decoder, packed, static_cast<int64_t>((places + 7) / 8 * 8) * width, panel);
    const float* w = panel;
    int p = 0;
    for (; p + 4 <= places; p += 4, x += 4) {
      const float32x4_t four = vld1q_f32(x);
#pragma GCC unroll 4
      for (int i = 0; i < kChains; ++i) {
        float32x4_t weights[vectors];
        NextWeights<vectors>(&w, weights);
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) sums[i][v] = FmaLane(sums[i][v], weights[v], four, i);
      }
    }
    for (; p < places; ++p, ++x, w += width) {  // only in the last piece
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sums[0][v] = FmaBroadcast(sums[0][v], vld1q_f32(w + v * kLanes), x);
    }
  }
  const Epilogue& e = args.epilogue;
  const float32x4_t min = vdupq_n_f32(e.min), max = vdupq_n_f32(e.max);
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) {
    const float32x4_t sum = vaddq_f32(vaddq_f32(sums[0][v], sums[1][v]), vaddq_f32(sums[2][v], sums[3][v]));
    const int columns = args.n - v * kLanes < kLanes ? args.n - v * kLanes : kLanes;
    float32x4_t y = vfmaq_f32(vld1q_f32(e.bias + v * kLanes), sum, vld1q_f32(e.scale + v * kLanes));
    if (e.residual != nullptr) y = vaddq_f32(y, LoadFirst(e.residual + v * kLanes, columns));
    StoreFirst(args.y + v * kLanes, Clamp(y, min, max), columns);
  }
}

template <int vectors>
void Gemv(const GemvF32Args& args) {
  SharesTable(args.tables, vectors * kLanes) ? Gemv<vectors, OneTable>(args) : Gemv<vectors, ManyTables>(args);
}

void Decode(const uint8_t* packed, int64_t k, int n, const Tables& tables, float* panel) {
  const int width = Vectors(n) * kLanes;
  const int64_t weights = (k + 7) / 8 * 8 * width;
  if (SharesTable(tables, width)) {
    OneTable decoder(tables, width);
    DecodeRuns(decoder, packed, weights, panel);
  } else {
    ManyTables decoder(tables, width);
    DecodeRuns(decoder, packed, weights, panel);
  }
}

template <int vectors>
void ScaleColumns(const float* scale, int64_t k, float* panel) {
  constexpr ptrdiff_t kRow = vectors * kLanes * sizeof(float);
  constexpr int kRows = 4;  // a panel has a multiple of 8
  const Registers<vectors> factors = LoadNext<vectors>(&scale, 0);
  const float* from = panel;
  for (int64_t left = (k + 7) / 8 * (8 / kRows); left > 0; --left) {
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      Registers<vectors> row = LoadNext<vectors>(&from, kRow);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) row.val[v] = vmulq_f32(row.val[v], factors.val[v]);
      StoreNext<vectors>(&panel, kRow, row);
    }
  }
}

}  // namespace

void f32_scale_columns_neon(const float* scale, int64_t k, int width, float* panel) {
#if DGMS_AARCH64
  if (width == 4 * kLanes) return ScaleColumns<4>(scale, k, panel);
  if (width == 3 * kLanes) return ScaleColumns<3>(scale, k, panel);
#endif
  width == 2 * kLanes ? ScaleColumns<2>(scale, k, panel) : ScaleColumns<1>(scale, k, panel);
}

#if DGMS_AARCH64

void f32_5x16_neon_decode(const uint8_t* packed, int64_t k, int n, const Tables& tables, float* panel) {
  Decode(packed, k, n, tables, panel);
}

void f32_5x16_neon_gemm(const GemmF32Args& args) {
  if (args.n == kMaxVectors * kLanes) return RunWideTiles(args);
  switch (Vectors(args.n)) {
    case 1:
      return RunTiles(args, kTiles<1>);
    case 2:
      return RunTiles(args, kTiles<2>);
    case 3:
      return RunTiles(args, kTiles<3>);
    default:
      return RunTiles(args, kTiles<4>);
  }
}

void f32_5x16_neon_gemv(const GemvF32Args& args) {
  static constexpr GemvF32Fn kByVectors[] = {Gemv<1>, Gemv<2>, Gemv<3>, Gemv<4>};
  kByVectors[Vectors(args.n) - 1](args);
}

#else

void f32_4x8_neon_decode(const uint8_t* packed, int64_t k, int n, const Tables& tables, float* panel) {
  Decode(packed, k, n, tables, panel);
}

void f32_4x8_neon_gemm(const GemmF32Args& args) {
  Vectors(args.n) == 1 ? RunTiles(args, kTiles<1>) : RunTiles(args, kTiles<2>);
}

void f32_4x8_neon_gemv(const GemvF32Args& args) {
  static constexpr GemvF32Fn kByVectors[] = {Gemv<1>, Gemv<2>};
  kByVectors[Vectors(args.n) - 1](args);
}

#endif

}  // namespace dgms
