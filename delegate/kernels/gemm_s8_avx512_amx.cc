// AMX int8: tiles of up to 32 rows by 32 columns, signed by signed; up to 48 rows a call where K is short, because
// there the tiles' latencies are most of the time.
//
// A tile register holds 16 rows of 64 bytes. One instruction multiplies 16 rows of up to 64 places (A) with the same
// places of 16 columns (B), whose rows are groups of four places in dot order: 16 lines of the panel, as they are.
// It takes 16 cycles (measured; little less for smaller tiles), so many that A and B may come from memory every time: C
// takes four of the eight registers, A and B one each, and one more each, of the shape that the last places of K need.
//
// Nothing beyond the stated ranges is read: a tile register has exactly the rows and bytes of its shape. Up to 16 rows
// are one register; more are two of 16 rows that overlap, so that most calls of a layer share their shapes. Setting
// them takes about 300 cycles, therefore they stay from call to call (GemmState).
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/kernel_s8.h"

#define DGMS_INLINE inline __attribute__((always_inline))

namespace dgms {
namespace {

constexpr int kUnit = 4;
constexpr int kTileRows = 16;
constexpr int kTileBytes = 64;  // of a row
constexpr int kTileColumns = 16;
constexpr int kShort = kTileBytes / 2;  // segments up to this are gathered: several make one row of A

// The registers' shapes, in the form that the processor takes.
struct alignas(64) TileShapes {
  uint8_t palette;
  uint8_t start_row;
  uint8_t reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(TileShapes) == 64, "the processor reads 64 bytes");

// Registers: sums of the first and the second 16 rows (0, 2) and columns (+0, +1); A and B; A and B of the rest, or,
// where there is none, of the second 16 rows and columns.
enum { kSums = 0, kA = 4, kB = 5, kRestA = 6, kRestB = 7 };

// How K is cut into steps, each of which fills one row of A.
struct Steps {
  bool gathered;     // A is copied together from short segments, which are padded to a multiple of four places
  int64_t places;    // that a segment takes in the panel
  int64_t together;  // segments per step where they are gathered
  int64_t chunk;     // places of a step in the panel: of one segment, or of `together`
  int64_t rest;      // the same of the last step, if it is a shorter one; else 0
};

// What the registers are set up for, kept in GemmState.
struct Plan {
  int64_t rows, segment_count, segment_length;
  Steps steps;
};
static_assert(sizeof(Plan) <= sizeof(GemmState::words), "a plan fits where it is kept");

DGMS_INLINE int64_t Padded(int64_t length) { return (length + kUnit - 1) / kUnit * kUnit; }

// The largest step of at least half a row that divides a segment, so that nothing is left; else a whole row.
int64_t Chunk(int64_t places) {
  if (places <= kTileBytes) return places;
  const int64_t groups = places / kUnit;
  for (int64_t d = kTileBytes / kUnit; d >= kShort / kUnit; --d) {
    if (groups % d == 0) return d * kUnit;
  }
  return kTileBytes;
}

Steps PlanSteps(int64_t count, int64_t length) {
  Steps steps = {false, Padded(length), 1, 0, 0};
  const bool padded = steps.places != length;
  if (steps.places <= kShort && (count > 1 || padded)) {
    steps.gathered = true;
    steps.together = kTileBytes / steps.places;
    if (steps.together > count) steps.together = count;
    steps.chunk = steps.together * steps.places;
    steps.rest = count % steps.together * steps.places;
  } else {
    steps.chunk = padded ? kTileBytes : Chunk(length);
    steps.rest = Padded(length % steps.chunk);
  }
  return steps;
}

void SetShapes(const Plan& plan) {
  const Steps& steps = plan.steps;
  TileShapes shapes = {};
  shapes.palette = 1;
  const auto set = [&](int tile, int64_t tile_rows, int64_t bytes) {
    shapes.rows[tile] = static_cast<uint8_t>(tile_rows);
    shapes.row_bytes[tile] = static_cast<uint16_t>(bytes);
  };
  for (int i = 0; i < 4; ++i) set(kSums + i, plan.rows, kTileBytes);
  if (steps.gathered || steps.chunk <= plan.segment_length) {
    set(kA, plan.rows, steps.chunk);
    set(kB, steps.chunk / kUnit, kTileBytes);
  }
  const int64_t rest = steps.rest > 0 ? steps.rest : steps.chunk;
  set(kRestA, plan.rows, rest);
  set(kRestB, rest / kUnit, kTileBytes);
  __asm__ volatile("" : : "r"(&shapes) : "memory");  // all 64 bytes are in memory: GCC 12's intrinsic says 8
  _tile_loadconfig(&shapes);
}

void Release() { _tile_release(); }

// One step of all tiles: A's rows at `a` (and `a1`, the second 16), B's lines at `b`. Takes the numbers of its
// registers, which only a macro can pass on. With a second pair of registers all loads go ahead of the products, which
// counts where two threads share a core and little is renamed.
#define DGMS_AMX_STEP(A, B, a, a1, a_stride, b)                   \
  do {                                                            \
    _tile_loadd(A, a, a_stride);                                  \
    _tile_loadd(B, b, kWidth * kUnit);                            \
    _tile_dpbssd(0, A, B);                                        \
    if (vectors == 2) {                                           \
      _tile_loadd(B, (b) + kTileColumns * kUnit, kWidth * kUnit); \
      _tile_dpbssd(1, A, B);                                      \
    }                                                             \
    if (tiles == 2) {                                             \
      _tile_loadd(A, a1, a_stride);                               \
      if (vectors == 2) {                                         \
        _tile_dpbssd(3, A, B);                                    \
        _tile_loadd(B, b, kWidth * kUnit);                        \
      }                                                           \
      _tile_dpbssd(2, A, B);                                      \
    }                                                             \
  } while (0)
#define DGMS_AMX_STEP_OF_FOUR(a, a1, a_stride, b)                                 \
  do {                                                                            \
    _tile_loadd(4, a, a_stride);                                                  \
    _tile_loadd(5, b, kWidth * kUnit);                                            \
    if (tiles == 2) _tile_loadd(6, a1, a_stride);                                 \
    if (vectors == 2) _tile_loadd(7, (b) + kTileColumns * kUnit, kWidth * kUnit); \
    _tile_dpbssd(0, 4, 5);                                                        \
    if (vectors == 2) _tile_dpbssd(1, 4, 7);                                      \
    if (tiles == 2) _tile_dpbssd(2, 6, 5);                                        \
    if (tiles == 2 && vectors == 2) _tile_dpbssd(3, 6, 7);                        \
  } while (0)

// Rows of A that are copied together, of a few steps: all copies go ahead of all products, because a tile load soon
// after a store to the same place waits.
constexpr int kStagedSteps = 4;
struct alignas(64) Stage {
  int8_t rows[kStagedSteps][2 * kTileRows][kTileBytes];
};

// Segments of one step, side by side in one row each of A: `count` of them, which begin at `segments` from `a`.
struct Pieces {
  const int8_t* a;
  int64_t row_stride;
  const int64_t* segments;
  int64_t count, length, places;
};

template <int rows>
DGMS_INLINE void GatherRows(const Pieces& pieces, int64_t first_row, int8_t (*to)[kTileBytes]) {
  __m512i row[rows];
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) row[r] = _mm512_setzero_si512();
  for (int64_t i = 0; i < pieces.count; ++i) {
    const __mmask64 mask = ~uint64_t{0} >> (kTileBytes - pieces.length) << (i * pieces.places);
    // Where the row would begin if all of it came from this segment; only the mask's bytes are read.
    const uintptr_t at = reinterpret_cast<uintptr_t>(pieces.a + pieces.segments[i] + first_row * pieces.row_stride) -
                         static_cast<uintptr_t>(i * pieces.places);
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
      const uintptr_t from = at + static_cast<uintptr_t>(r * pieces.row_stride);
      row[r] = _mm512_mask_loadu_epi8(row[r], mask, reinterpret_cast<const void*>(from));
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) _mm512_store_si512(to[r], row[r]);
}

// All rows of a call, as the tiles take them: the first 16 and the last 16, or all of fewer.
template <int tiles>
void Gather(const GemmS8Args& args, const int64_t* segments, int64_t count, int64_t length, int64_t offset,
            int64_t places, int8_t (*to)[kTileBytes]) {
  const Pieces pieces = {args.a + offset, args.a_row_stride, segments, count, length, places};
  if (args.rows >= kTileRows) {
    GatherRows<kTileRows>(pieces, 0, to);
    if (tiles == 2) GatherRows<kTileRows>(pieces, args.rows - kTileRows, to + kTileRows);
  } else {
    for (int r = 0; r < args.rows; ++r) GatherRows<1>(pieces, r, to + r);
  }
}

// The stage is complete in memory before tile loads, of which the compiler does not know what they read.
DGMS_INLINE void Fence() { __asm__ volatile("" : : : "memory"); }

template <int tiles, int vectors>
__attribute__((noinline)) void Tile(const GemmS8Args& args, const Steps& steps) {
  constexpr int64_t kWidth = vectors * kTileColumns;
  constexpr int64_t kSumsStride = kWidth * sizeof(int32_t);
  const int64_t second = tiles == 2 ? args.rows - kTileRows : 0;
  int32_t* c = args.c;
  int32_t* c1 = args.c + second * kWidth;
  if (args.accumulate) {
    _tile_loadd(0, c, kSumsStride);
    if (vectors == 2) _tile_loadd(1, c + kTileColumns, kSumsStride);
    if (tiles == 2) _tile_loadd(2, c1, kSumsStride);
    if (tiles == 2 && vectors == 2) _tile_loadd(3, c1 + kTileColumns, kSumsStride);
  } else {
    _tile_zero(0);
    if (vectors == 2) _tile_zero(1);
    if (tiles == 2) _tile_zero(2);
    if (tiles == 2 && vectors == 2) _tile_zero(3);
  }
  const int8_t* panel = args.panel;
  const int64_t stride = args.a_row_stride;
  Stage stage;
  if (steps.gathered) {
    for (int64_t s = 0; s < args.segment_count;) {
      int staged = 0;
      for (int64_t next = s; staged < kStagedSteps && next < args.segment_count; ++staged, next += steps.together) {
        const int64_t left = args.segment_count - next;
        Gather<tiles>(args, args.segments + next, left < steps.together ? left : steps.together, args.segment_length, 0,
                      steps.places, stage.rows[staged]);
      }
      Fence();
      for (int i = 0; i < staged; ++i, s += steps.together) {
        const int8_t* row = stage.rows[i][0];
        const int8_t* row1 = stage.rows[i][kTileRows];
        if (s + steps.together <= args.segment_count) {
          DGMS_AMX_STEP(4, 5, row, row1, kTileBytes, panel);
        } else {
          DGMS_AMX_STEP(6, 7, row, row1, kTileBytes, panel);
        }
        panel += steps.chunk * kWidth;
      }
    }
  } else if (steps.rest == 0) {
    for (int64_t s = 0; s < args.segment_count; ++s) {
      const int8_t* a = args.a + args.segments[s];
      for (int64_t left = args.segment_length; left > 0; left -= steps.chunk) {
        DGMS_AMX_STEP_OF_FOUR(a, a + second * stride, stride, panel);
        a += steps.chunk;
        panel += steps.chunk * kWidth;
      }
    }
  } else {
    for (int64_t s = 0; s < args.segment_count; ++s) {
      const int8_t* a = args.a + args.segments[s];
      int64_t left = args.segment_length;
      for (; left >= steps.chunk; left -= steps.chunk, a += steps.chunk, panel += steps.chunk * kWidth) {
        DGMS_AMX_STEP(4, 5, a, a + second * stride, stride, panel);
      }
      if (left > 0) {
        if (steps.places == args.segment_length) {
          DGMS_AMX_STEP(6, 7, a, a + second * stride, stride, panel);
        } else {
          const int64_t here = 0;
          Gather<tiles>(args, &here, 1, left, a - args.a, 0, stage.rows[0]);
          Fence();
          DGMS_AMX_STEP(6, 7, stage.rows[0][0], stage.rows[0][kTileRows], kTileBytes, panel);
        }
        panel += steps.rest * kWidth;
      }
    }
  }
  _tile_stored(0, c, kSumsStride);
  if (vectors == 2) _tile_stored(1, c + kTileColumns, kSumsStride);
  if (tiles == 2) _tile_stored(2, c1, kSumsStride);
  if (tiles == 2 && vectors == 2) _tile_stored(3, c1 + kTileColumns, kSumsStride);
}

// The products of 16 rows, step after step; B stays in its registers from one call to the next where K is one step.
#define DGMS_AMX_ROWS(first, second, A, row)                                                 \
  do {                                                                                       \
    const int8_t* from = a + (row) * stride;                                                 \
    const int8_t* b = args.panel;                                                            \
    _tile_zero(first);                                                                       \
    if (vectors == 2) _tile_zero(second);                                                    \
    for (int64_t left = args.segment_length; left > 0; left -= chunk) {                      \
      _tile_loadd(A, from, stride);                                                          \
      if (!single) _tile_loadd(5, b, kWidth * kUnit);                                        \
      _tile_dpbssd(first, A, 5);                                                             \
      if (!single && vectors == 2) _tile_loadd(7, b + kTileColumns * kUnit, kWidth * kUnit); \
      if (vectors == 2) _tile_dpbssd(second, A, 7);                                          \
      if (single) break;                                                                     \
      from += chunk;                                                                         \
      b += chunk * kWidth;                                                                   \
    }                                                                                        \
  } while (0)
#define DGMS_AMX_STORE(first, second, row)                                 \
  do {                                                                     \
    int32_t* const c = args.c + (row) * kWidth;                            \
    _tile_stored(first, c, kSumsStride);                                   \
    if (vectors == 2) _tile_stored(second, c + kTileColumns, kSumsStride); \
  } while (0)

// All rows, at least 16, of one segment that is whole steps: sums of 16 rows are stored when the next rows' loads are
// under way, which is 5 to 10 % faster (likely because loads wait for stores before them to addresses that agree in
// twelve bits). The last 16 rows may have been in work before.
template <int vectors, bool single>
void RowByRow(const GemmS8Args& args, int64_t chunk) {
  constexpr int64_t kWidth = vectors * kTileColumns;
  constexpr int64_t kSumsStride = kWidth * sizeof(int32_t);
  const int64_t stride = args.a_row_stride, last = args.rows - kTileRows;
  const int8_t* a = args.a + args.segments[0];
  if (single) {
    _tile_loadd(5, args.panel, kWidth * kUnit);
    if (vectors == 2) _tile_loadd(7, args.panel + kTileColumns * kUnit, kWidth * kUnit);
  }
  int64_t row = 0;
  DGMS_AMX_ROWS(0, 1, 4, 0);
  while (row < last) {
    const int64_t odd = row + kTileRows < last ? row + kTileRows : last;
    DGMS_AMX_ROWS(2, 3, 6, odd);
    DGMS_AMX_STORE(0, 1, row);
    if (odd == last) {
      DGMS_AMX_STORE(2, 3, odd);
      return;
    }
    row = odd + kTileRows < last ? odd + kTileRows : last;
    DGMS_AMX_ROWS(0, 1, 4, row);
    DGMS_AMX_STORE(2, 3, odd);
  }
  DGMS_AMX_STORE(0, 1, row);
}

template <int vectors>
DGMS_INLINE void RunTile(const GemmS8Args& args, const Steps& steps) {
  (args.rows <= kTileRows ? Tile<1, vectors> : Tile<2, vectors>)(args, steps);
}

// Some of the rows.
template <int vectors>
void RunPart(const GemmS8Args& args, int first, int rows, const Steps& steps) {
  GemmS8Args part = args;
  part.rows = rows;
  part.a += first * args.a_row_stride;
  part.c += first * args.width;
  RunTile<vectors>(part, steps);
}

// All rows. Where they are more than 16, no tile has less, so that the shapes are the same.
template <int vectors>
void Run(const GemmS8Args& args, const Steps& steps) {
  constexpr int kRows = 2 * kTileRows;
  if (!args.accumulate && !steps.gathered && steps.rest == 0 && args.segment_count == 1 &&
      args.segment_length <= kShortS8 && args.rows >= kTileRows) {
    return (args.segment_length == steps.chunk ? RowByRow<vectors, true> : RowByRow<vectors, false>)(args, steps.chunk);
  }
  if (args.rows <= kRows) return RunTile<vectors>(args, steps);
  if (args.accumulate) {  // in tiles that do not overlap
    const int tiles = (args.rows + kRows - 1) / kRows, rows = args.rows / tiles, longer = args.rows % tiles;
    for (int i = 0, first = 0; i < tiles; ++i) {
      const int count = rows + (i < longer ? 1 : 0);
      RunPart<vectors>(args, first, count, steps);
      first += count;
    }
    return;
  }
  int first = 0;
  for (; first + kRows <= args.rows; first += kRows) RunPart<vectors>(args, first, kRows, steps);
  const int left = args.rows - first;
  if (left == 0) return;
  if (left < kTileRows) {
    RunPart<vectors>(args, args.rows - kTileRows, kTileRows, steps);
  } else {
    RunPart<vectors>(args, first, left, steps);
  }
}

}  // namespace

void s8_32x32_avx512_amx_decode(const uint8_t* packed, int64_t places, int width, const TablesS8& tables,
                                int8_t* panel) {
  s8_14x32_avx512_vnni_decode(packed, places, width, tables, panel);
}

void s8_32x32_avx512_amx_gemm(const GemmS8Args& args) {
  const int64_t rows = args.rows < kTileRows ? args.rows : kTileRows;
  Plan plan = {};
  if (args.state != nullptr) memcpy(&plan, args.state->words, sizeof(plan));
  if (plan.rows != rows || plan.segment_count != args.segment_count || plan.segment_length != args.segment_length) {
    plan = {rows, args.segment_count, args.segment_length, PlanSteps(args.segment_count, args.segment_length)};
    SetShapes(plan);
    if (args.state != nullptr) {
      args.state->release = Release;
      memcpy(args.state->words, &plan, sizeof(plan));
    }
  }
  (args.width == kTileColumns ? Run<1> : Run<2>)(args, plan.steps);
  if (args.state == nullptr) Release();
}

}  // namespace dgms
