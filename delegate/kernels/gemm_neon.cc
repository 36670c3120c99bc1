// NEON: tiles of up to 5 rows by 16 columns on 64-bit ARM (gemm_tile_neon.h has the usual ones in assembly), 4 by 8 on
// 32-bit ARM (8 of 16). Tile order: pack_runs32. 7 rows by 12 columns have more arithmetic per load, but not per
// instruction, because one instruction loads four vectors of weights; and 16 divides what networks have of channels.
//
// Decoding. A table of 16 floats is seen as four tables of 16 bytes: all first bytes of the floats, all second bytes
// and so on, which is how an interleaving load of 4 (vld4q_u8) reads its 64 bytes. A vector of 16 codes is looked up
// in each of the four (one TBL each), which gives the four bytes of 16 weights in four vectors, and an interleaving
// store of 4 (vst4q_u8) puts them together again: 16 floats in memory, in the order of the codes. That is 13
// instructions (15 with the loop) for the 32 weights of 16 packed bytes, and no dependence on what the columns are: a
// run of 32 weights is the next 32 of the block, read row by row. (An extended table of 256 pairs, one 8-byte load for
// two weights, takes 45; building the floats with ZIPs instead of the interleaving store takes 31.)
#include "kernels/gemm_tile_neon.h"
#include "kernels/gemm_tiles.h"
#include "kernels/kernel.h"
#include "kernels/simd_neon.h"

namespace dgms {
namespace {

#if DGMS_AARCH64
constexpr int kMaxVectors = 4;
#else
constexpr int kMaxVectors = 2;
#endif
constexpr float kInfinity = __builtin_inff();
constexpr int kRun = 32;  // weights per 16 packed bytes: the first 16 in the low nibbles, the last 16 in the high ones

inline int Vectors(int n) { return (n + kLanes - 1) / kLanes; }

// ---- decoding ----

DGMS_INLINE uint8x16x4_t LoadTable(const float* table) { return vld4q_u8(reinterpret_cast<const uint8_t*>(table)); }

DGMS_INLINE void Store16(uint8x16x4_t bytes, float* to) { vst4q_u8(reinterpret_cast<uint8_t*>(to), bytes); }

// A panel whose columns share one table.
class OneTable {
 public:
  OneTable(const Tables& tables, int width) {
    (void)width;
    const int64_t first = tables.column_table == nullptr ? 0 : tables.column_table[0];
    table_ = LoadTable(tables.tables + first * kTableSize);
  }
  DGMS_INLINE void Decode16(uint8x16_t codes, float* to) {
    uint8x16x4_t bytes;
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) bytes.val[i] = Lookup(table_.val[i], codes);
    Store16(bytes, to);
  }

 private:
  uint8x16x4_t table_;
};

// A panel of columns with different tables. Each table is looked up for all 16 codes, with the codes of other tables'
// columns made too large for it (so that they leave what is there), which repeats every `period_` vectors of codes.
class ManyTables {
 public:
  ManyTables(const Tables& tables, int width) : tables_(tables.tables) {
    // 16 weights are a whole number of rows of 4, 8 or 16 columns; of 12 columns it takes three vectors (4 rows).
    period_ = width == 12 ? 3 : 1;
    count_ = 0;
    for (int j = 0; j < width; ++j) {
      if (j == 0 || tables.column_table[j] != ids_[count_ - 1]) ids_[count_++] = tables.column_table[j];
    }
    for (int phase = 0; phase < period_; ++phase) {
      for (int t = 0; t < count_; ++t) {
        for (int i = 0; i < 16; ++i) {
          const bool ours = tables.column_table[(phase * 16 + i) % width] == ids_[t];
          foreign_[phase][t][i] = ours ? 0 : 0xff;
        }
      }
    }
  }
  DGMS_INLINE void Decode16(uint8x16_t codes, float* to) {
    uint8x16x4_t bytes = {{vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0)}};
    for (int t = 0; t < count_; ++t) {
      const uint8x16x4_t table = LoadTable(tables_ + int64_t{kTableSize} * ids_[t]);
      const uint8x16_t index = vorrq_u8(codes, vld1q_u8(foreign_[phase_][t]));
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) bytes.val[i] = LookupOr(bytes.val[i], table.val[i], index);
    }
    Store16(bytes, to);
    phase_ = phase_ + 1 == period_ ? 0 : phase_ + 1;
  }

 private:
  const float* tables_;
  int period_, count_, phase_ = 0;
  int32_t ids_[kMaxVectors * kLanes];
  uint8_t foreign_[3][kMaxVectors * kLanes][16];
};

inline bool SharesTable(const Tables& tables, int width) {
  return tables.column_table == nullptr || tables.column_table[0] == tables.column_table[width - 1];
}

// Decodes `weights` (a multiple of kRun) weights.
template <typename Decoder>
DGMS_INLINE void DecodeRuns(Decoder& decoder, const uint8_t* packed, int64_t weights, float* to) {
  const uint8x16_t low = vdupq_n_u8(15);
  for (; weights > 0; weights -= kRun, packed += kRun / 2) {
    const uint8x16_t codes = vld1q_u8(packed);
    decoder.Decode16(vandq_u8(codes, low), to);
    to += 16;
    __asm__("" : "+r"(to));  // keeps the step in the interleaving store, which has no other offset
    decoder.Decode16(vshrq_n_u8(codes, 4), to);
    to += 16;
  }
}

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
  float32x4_t x[rows];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) x[r] = vld1q_f32(reinterpret_cast<const float*>(a[r] + p));
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    float32x4_t weights[vectors];
    NextWeights<vectors>(panel, weights);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sums.v[r][v] = FmaLane(sums.v[r][v], weights[v], x[r], i);
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

#if DGMS_NEON_ASSEMBLY
// All 16 columns: tiles in assembly, of 5 rows and then of 4, or 1 to 3 rows before them where those do not add up (1,
// 2, 3, 6, 7 and 11 rows).
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
  for (tiles -= fives; fives > 0; --fives) WideTile<5>(args, run);
  for (; tiles > 0; --tiles) WideTile<4>(args, run);
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

}  // namespace

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
