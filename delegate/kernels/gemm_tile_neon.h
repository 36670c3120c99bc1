// Tiles of 4 or 5 rows by 16 columns on 64-bit ARM, in assembly: where networks spend most of their time in float.
//
// Compilers do not find what makes the difference. All 32 registers are in use: 20 hold sums, 4 a row of the panel, and
// 8 the activations, which are loaded for 8 places of K at once (LDP). So 16 places take 320 multiply-adds and 28 other
// instructions. Around the loop nothing is done per vector that can be done per row: the sums begin as the bias,
// because loading four of them is one instruction, as is storing them. A short K makes the rest count: what a layer
// does not need is jumped over in one step, and a block of one segment (a 1x1 layer's) has tiles that know of no
// others.
//
// The tiles of gemm_neon.cc, in intrinsics, compute the same to the last bit, and take their place where
// DGMS_NEON_ASSEMBLY is 0 (a CMake option). A MobileNetV2 then executes 102.2 M instructions on a Cortex-A76 instead of
// 91.8 M (with the depthwise windows in assembly, depthwise_window_neon.h).
//
// Registers. Row r's sums: v(4r)..v(4r + 3). The panel's row: v28..v31. Activations: rows 0, 1 and 2 have a pair each,
// v20 and v21, v22 and v23, v24 and v25, and so has row 3 of four, v26 and v27. Rows 3 and 4 of five have v26 and v27
// for the places that were loaded with the four before, and load in the middle of the eight places, into registers
// whose places are done and into v26 and v27 again. The last eight places have no others behind them: they load less.
#ifndef DGMS_KERNELS_GEMM_TILE_NEON_H_
#define DGMS_KERNELS_GEMM_TILE_NEON_H_

#include <stddef.h>

#include "kernels/kernel.h"
#include "kernels/simd_neon.h"

#if DGMS_AARCH64 && DGMS_NEON_ASSEMBLY

namespace dgms {
namespace {

// What the end of a tile does, and in this order. The assembly tests the bits by their numbers, and knows where an
// Epilogue has its members (from `min` on): it has no room for more operands.
enum TileFlags { kAccumulate = 1 << 0, kScale = 1 << 1, kResidual = 1 << 2, kMin = 1 << 3, kMax = 1 << 4 };
enum TileBranches { kRest = 1 << 5, kBeforeBounds = 1 << 6 };  // places behind whole eights; any of the first three
static_assert(offsetof(Epilogue, min) - offsetof(Epilogue, scale) == 16 &&
                  offsetof(Epilogue, min) - offsetof(Epilogue, bias) == 8 &&
                  offsetof(Epilogue, max) - offsetof(Epilogue, min) == 4,
              "the offsets in DGMS_TILE");

alignas(kAlignment) const float kZeros[16] = {};

// What is the same for all tiles of a call. Strides are in bytes.
struct TileRun {
  explicit TileRun(const GemmF32Args& args);

  const float* start;  // 16 floats: what the sums begin with
  int64_t a_stride, c_stride, residual_stride;
  int64_t length, eights;  // of a segment: its places, and whole eights of them
  uint64_t flags;
  const float* panel;
  // The next tile. All of this is copied, so that it can stay in registers.
  const float *a, *residual;
  float* c;
};

inline TileRun::TileRun(const GemmF32Args& args)
    : start(kZeros),
      a_stride(args.a_row_stride * static_cast<int64_t>(sizeof(float))),
      c_stride(args.c_row_stride * static_cast<int64_t>(sizeof(float))),
      residual_stride(args.epilogue.residual_row_stride * static_cast<int64_t>(sizeof(float))),
      length(args.segment_length),
      eights(args.segment_length / 8),
      flags((args.accumulate ? kAccumulate : 0) | (length % 8 != 0 ? kRest : 0)),
      panel(args.panel),
      a(args.segment_count == 1 ? args.a + args.segments[0] : args.a),
      residual(args.epilogue.residual),
      c(args.c) {
  const Epilogue& e = args.epilogue;
  if (args.finish && e.unit_scale) start = e.bias;
  if (args.finish && !e.unit_scale) flags |= kScale;
  if (args.finish && e.residual != nullptr) flags |= kResidual;
  if ((flags & (kAccumulate | kScale | kResidual)) != 0) flags |= kBeforeBounds;
  if (!args.finish) return;
  // Most layers have no bounds, or a lower one alone. NaN passes: FMAX and FMIN return NaN if either operand is NaN.
  if (e.min > -__builtin_inff()) flags |= kMin;
  if (e.max < __builtin_inff()) flags |= kMax;
}

// clang-format off
// Row by row: `row(sums' four registers, ...)`.
#define DGMS_ROWS_4(row, ...)                                                                             \
  row(0, 1, 2, 3, __VA_ARGS__) row(4, 5, 6, 7, __VA_ARGS__) row(8, 9, 10, 11, __VA_ARGS__) row(12, 13, 14, 15, __VA_ARGS__)
#define DGMS_ROWS_5(row, ...) DGMS_ROWS_4(row, __VA_ARGS__) row(16, 17, 18, 19, __VA_ARGS__)

// One row at one place: its activation is lane `lane` of v`x`.
#define DGMS_FMA(s0, s1, s2, s3, x, lane)                   \
  "fmla v" #s0 ".4s, v28.4s, v" #x ".s[" #lane "]\n"       \
  "fmla v" #s1 ".4s, v29.4s, v" #x ".s[" #lane "]\n"       \
  "fmla v" #s2 ".4s, v30.4s, v" #x ".s[" #lane "]\n"       \
  "fmla v" #s3 ".4s, v31.4s, v" #x ".s[" #lane "]\n"
#define DGMS_WEIGHTS "ld1 {v28.4s-v31.4s}, [%[panel]], #64\n"
#define DGMS_PLACE_4(lane, x0, x1, x2, x3)                                                     \
  DGMS_WEIGHTS DGMS_FMA(0, 1, 2, 3, x0, lane) DGMS_FMA(4, 5, 6, 7, x1, lane)                  \
  DGMS_FMA(8, 9, 10, 11, x2, lane) DGMS_FMA(12, 13, 14, 15, x3, lane)
#define DGMS_PLACE_5(lane, x0, x1, x2, x3, x4) DGMS_PLACE_4(lane, x0, x1, x2, x3) DGMS_FMA(16, 17, 18, 19, x4, lane)
#define DGMS_PLACES_1TO3(place, ...) place(1, __VA_ARGS__) place(2, __VA_ARGS__) place(3, __VA_ARGS__)
#define DGMS_PLACES_4(place, ...) place(0, __VA_ARGS__) DGMS_PLACES_1TO3(place, __VA_ARGS__)

#define DGMS_LOAD_PAIR(row, x0, x1) "ldp q" #x0 ", q" #x1 ", [%[a" #row "]], #32\n"
#define DGMS_LOAD_QUAD(row, x) "ldr q" #x ", [%[a" #row "]], #16\n"
#define DGMS_LOAD_ONE(row, x) "ldr s" #x ", [%[a" #row "]], #4\n"
#define DGMS_LOADS_4(load) load(0, 20) load(1, 22) load(2, 24) load(3, 26)
#define DGMS_LOADS_5(load) DGMS_LOADS_4(load) load(4, 27)

// The loads lie between the first place's products, for processors that keep the order.
#define DGMS_EIGHT_4                                                                                            \
  DGMS_LOAD_PAIR(0, 20, 21) DGMS_WEIGHTS DGMS_LOAD_PAIR(1, 22, 23) DGMS_FMA(0, 1, 2, 3, 20, 0)                  \
  DGMS_LOAD_PAIR(2, 24, 25) DGMS_FMA(4, 5, 6, 7, 22, 0) DGMS_LOAD_PAIR(3, 26, 27) DGMS_FMA(8, 9, 10, 11, 24, 0) \
  DGMS_FMA(12, 13, 14, 15, 26, 0)                                                                               \
  DGMS_PLACES_1TO3(DGMS_PLACE_4, 20, 22, 24, 26) DGMS_PLACES_4(DGMS_PLACE_4, 21, 23, 25, 27)
#define DGMS_EIGHT_LOADING_5(...)                                                                               \
  DGMS_LOAD_PAIR(0, 20, 21) DGMS_WEIGHTS DGMS_LOAD_PAIR(1, 22, 23) DGMS_FMA(0, 1, 2, 3, 20, 0)                  \
  DGMS_LOAD_PAIR(2, 24, 25) DGMS_FMA(4, 5, 6, 7, 22, 0) DGMS_FMA(8, 9, 10, 11, 24, 0)                           \
  DGMS_FMA(12, 13, 14, 15, 26, 0) DGMS_FMA(16, 17, 18, 19, 27, 0)                                               \
  DGMS_PLACES_1TO3(DGMS_PLACE_5, 20, 22, 24, 26, 27)                                                            \
  __VA_ARGS__ DGMS_PLACES_4(DGMS_PLACE_5, 21, 23, 25, 20, 22)
#define DGMS_EIGHT_5 DGMS_EIGHT_LOADING_5(DGMS_LOAD_PAIR(3, 20, 26) DGMS_LOAD_PAIR(4, 22, 27))
#define DGMS_LAST_EIGHT_5 DGMS_EIGHT_LOADING_5(DGMS_LOAD_QUAD(3, 20) DGMS_LOAD_QUAD(4, 22))
#define DGMS_FOUR_4 DGMS_LOADS_4(DGMS_LOAD_QUAD) DGMS_PLACES_4(DGMS_PLACE_4, 20, 22, 24, 26)
#define DGMS_FOUR_5 DGMS_LOADS_5(DGMS_LOAD_QUAD) DGMS_PLACES_4(DGMS_PLACE_5, 20, 22, 24, 26, 27)
#define DGMS_LATER_5 DGMS_LOAD_QUAD(3, 26) DGMS_LOAD_QUAD(4, 27)
#define DGMS_ONE_4 DGMS_LOADS_4(DGMS_LOAD_ONE) DGMS_PLACE_4(0, 20, 22, 24, 26)
#define DGMS_ONE_5 DGMS_LOADS_5(DGMS_LOAD_ONE) DGMS_PLACE_5(0, 20, 22, 24, 26, 27)

// Rows from the first one on, which begins at a0.
#define DGMS_POINTERS_4                                                                                       \
  "add %[a1], %[a0], %[a_stride]\n add %[a2], %[a1], %[a_stride]\n add %[a3], %[a2], %[a_stride]\n"
#define DGMS_POINTERS_5 DGMS_POINTERS_4 "add %[a4], %[a3], %[a_stride]\n"

#define DGMS_START_ROW(s0, s1, s2, s3, ...) "ld1 {v" #s0 ".4s-v" #s3 ".4s}, [%[start]]\n"
#define DGMS_STORE_ROW(s0, s1, s2, s3, ...) "st1 {v" #s0 ".4s-v" #s3 ".4s}, [%[c]], %[c_stride]\n"
// sums = operation(sums, ...) with one register, with four that are a row, or with what lies in memory, row by row.
#define DGMS_EACH_ROW(s0, s1, s2, s3, operation, x0, x1, x2, x3)          \
  operation " v" #s0 ".4s, v" #s0 ".4s, v" #x0 ".4s\n"                    \
  operation " v" #s1 ".4s, v" #s1 ".4s, v" #x1 ".4s\n"                    \
  operation " v" #s2 ".4s, v" #s2 ".4s, v" #x2 ".4s\n"                    \
  operation " v" #s3 ".4s, v" #s3 ".4s, v" #x3 ".4s\n"
#define DGMS_ADD_ROW(s0, s1, s2, s3, from, stride)                        \
  "ld1 {v20.4s-v23.4s}, [" from "], %[" stride "]\n" DGMS_EACH_ROW(s0, s1, s2, s3, "fadd", 20, 21, 22, 23)

// A segment's places. Labels: 2 sixteen places, 8 their second half, 7 the last eight, 3 what is left: four (or not: 4)
// and one by one (5), 6 behind them.
#define DGMS_EIGHTS_4                                                                                         \
  "cbz %[eights], 3f\n add %[count], %[eights], #1\n lsr %[count], %[count], #1\n tbnz %[eights], #0, 8f\n" \
  "2:\n" DGMS_EIGHT_4 "8:\n" DGMS_EIGHT_4 "subs %[count], %[count], #1\n b.ne 2b\n"
#define DGMS_EIGHTS_5                                                                                         \
  "cbz %[eights], 3f\n" DGMS_LATER_5 "lsr %[count], %[eights], #1\n cbz %[count], 7f\n tbz %[eights], #0, 8f\n" \
  "2:\n" DGMS_EIGHT_5 "8:\n" DGMS_EIGHT_5 "subs %[count], %[count], #1\n b.ne 2b\n"                       \
  "7:\n" DGMS_LAST_EIGHT_5
#define DGMS_PLACES(rows)                                                                                     \
  DGMS_EIGHTS_##rows                                                                                          \
  "3:\n tbz %[flags], #5, 6f\n tbz %[length], #2, 4f\n" DGMS_FOUR_##rows                                    \
  "4:\n ands %[count], %[length], #3\n b.eq 6f\n"                                                           \
  "5:\n" DGMS_ONE_##rows "subs %[count], %[count], #1\n b.ne 5b\n"                                         \
  "6:\n"

// All segments: one, or several (9).
#define DGMS_ONE_SEGMENT(rows) "mov %[a0], %[a]\n" DGMS_POINTERS_##rows DGMS_PLACES(rows)
#define DGMS_SEGMENTS(rows)                                                                                   \
  "9:\n ldr %[a0], [%[segment]], #8\n add %[a0], %[a], %[a0], lsl #2\n" DGMS_POINTERS_##rows DGMS_PLACES(rows) \
  "subs %[segments_left], %[segments_left], #1\n b.ne 9b\n"

// The end of a tile: labels 2 to 6 are behind what a flag asks for.
#define DGMS_END(rows)                                                                                        \
  "cbz %[flags], 6f\n tbz %[flags], #6, 4f\n"                                                                \
  "tbz %[flags], #0, 2f\n mov %[count], %[c]\n" DGMS_ROWS_##rows(DGMS_ADD_ROW, "%[count]", "c_stride")       \
  "2:\n tbz %[flags], #1, 3f\n"                                                                              \
  "ldur %[count], [%[bounds], #-16]\n ld1 {v20.4s-v23.4s}, [%[count]]\n"                                    \
  "ldur %[count], [%[bounds], #-8]\n ld1 {v24.4s-v27.4s}, [%[count]]\n"                                     \
  DGMS_ROWS_##rows(DGMS_EACH_ROW, "fmul", 20, 21, 22, 23) DGMS_ROWS_##rows(DGMS_EACH_ROW, "fadd", 24, 25, 26, 27) \
  "3:\n tbz %[flags], #2, 4f\n" DGMS_ROWS_##rows(DGMS_ADD_ROW, "%[residual]", "residual_stride")             \
  "4:\n ld2r {v20.4s, v21.4s}, [%[bounds]]\n"                                                               \
  "tbz %[flags], #3, 5f\n" DGMS_ROWS_##rows(DGMS_EACH_ROW, "fmax", 20, 20, 20, 20)                           \
  "5:\n tbz %[flags], #4, 6f\n" DGMS_ROWS_##rows(DGMS_EACH_ROW, "fmin", 21, 21, 21, 21)                      \
  "6:\n" DGMS_ROWS_##rows(DGMS_STORE_ROW, )

#define DGMS_TILE(rows, segments) DGMS_ROWS_##rows(DGMS_START_ROW, ) segments(rows) DGMS_END(rows)
// clang-format on

// Computes the next tile of `run`.
template <int rows, bool one_segment>
DGMS_INLINE void WideTile(const GemmF32Args& args, TileRun& run) {
  static_assert(rows == 4 || rows == 5, "the tiles in assembly");
  const char *a0, *a1, *a2, *a3, *a4;
  const float *panel = run.panel, *residual = run.residual;
  float* c = run.c;
  int64_t count;
#define DGMS_RUN_TILE(rows, segments, ...)                                                                             \
  __asm__ volatile(DGMS_TILE(rows, segments)                                                                           \
                   : [a0] "=&r"(a0), [a1] "=&r"(a1), [a2] "=&r"(a2), [a3] "=&r"(a3), [a4] "=&r"(a4),                   \
                     [count] "=&r"(count), [panel] "+&r"(panel), [c] "+&r"(c), [residual] "+&r"(residual)__VA_ARGS__   \
                   : [a] "r"(run.a), [a_stride] "r"(run.a_stride), [c_stride] "r"(run.c_stride),                       \
                     [residual_stride] "r"(run.residual_stride), [start] "r"(run.start), [eights] "r"(run.eights),     \
                     [length] "r"(run.length), [flags] "r"(run.flags), [bounds] "r"(&args.epilogue.min)                \
                   : "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12",  \
                     "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", \
                     "v27", "v28", "v29", "v30", "v31")
  if constexpr (one_segment) {
    if constexpr (rows == 4) {
      DGMS_RUN_TILE(4, DGMS_ONE_SEGMENT, );
    } else {
      DGMS_RUN_TILE(5, DGMS_ONE_SEGMENT, );
    }
  } else {
    const int64_t* segment = args.segments;
    int64_t segments_left = args.segment_count;
#define DGMS_SEGMENT_OPERANDS , [segment] "+&r"(segment), [segments_left] "+&r"(segments_left)
    if constexpr (rows == 4) {
      DGMS_RUN_TILE(4, DGMS_SEGMENTS, DGMS_SEGMENT_OPERANDS);
    } else {
      DGMS_RUN_TILE(5, DGMS_SEGMENTS, DGMS_SEGMENT_OPERANDS);
    }
#undef DGMS_SEGMENT_OPERANDS
  }
#undef DGMS_RUN_TILE
  run.a += rows * (run.a_stride / static_cast<int64_t>(sizeof(float)));
  run.c = c;
  run.residual = residual;
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_AARCH64 && DGMS_NEON_ASSEMBLY

#endif  // DGMS_KERNELS_GEMM_TILE_NEON_H_
