// Tiles of 4 or 5 rows by 16 columns on 64-bit ARM, in assembly: where networks spend most of their time in float.
//
// Compilers do not find what makes the difference. All 32 registers are in use: 20 hold sums, 4 a row of the panel, and
// 8 the activations, which are loaded for 8 places of K at once (LDP). So 16 places take 320 multiply-adds and 28 other
// instructions. Around the loop nothing is done per vector that can be done per
// row: the sums begin as the bias, because loading four of them is one instruction, as is storing them.
//
// The tiles of gemm_neon.cc, in intrinsics, compute the same to the last bit, and take their place where
// DGMS_NEON_ASSEMBLY is 0 (a CMake option). A MobileNetV2 then executes 103.9 M instructions on a Cortex-A76 instead of
// 97.0 M.
//
// Registers. Row r's sums: v(4r)..v(4r + 3). The panel's row: v28..v31. Activations: rows 0, 1 and 2 have a pair each,
// v20 and v21, v22 and v23, v24 and v25, and so has row 3 of four, v26 and v27. Rows 3 and 4 of five have v26 and v27
// for the places that were loaded with the four before, and load in the middle of the eight places, into registers
// whose places are done and into v26 and v27 again.
#ifndef DGMS_KERNELS_GEMM_TILE_NEON_H_
#define DGMS_KERNELS_GEMM_TILE_NEON_H_

#include <stddef.h>

#include "kernels/kernel.h"
#include "kernels/simd_neon.h"

#if DGMS_AARCH64 && DGMS_NEON_ASSEMBLY

namespace dgms {
namespace {

// What the end of a tile does, and in this order. The assembly tests the bits by their numbers, and knows where an
// Epilogue has its members: it has no room for more operands.
enum TileFlags { kAccumulate = 1 << 0, kScale = 1 << 1, kResidual = 1 << 2, kMin = 1 << 3, kMax = 1 << 4 };
static_assert(offsetof(Epilogue, scale) == 0 && offsetof(Epilogue, bias) == 8 && offsetof(Epilogue, min) == 16 &&
                  offsetof(Epilogue, max) == 20,
              "the offsets in DGMS_TILE");

alignas(kAlignment) const float kZeros[16] = {};

// What is the same for all tiles of a call. Strides are in bytes.
struct TileRun {
  explicit TileRun(const GemmF32Args& args);

  const float* start;  // 16 floats: what the sums begin with
  int64_t a_stride, c_stride, residual_stride;
  int64_t eights[2];  // of a segment's places, that the loops of 4 rows and of 5 go over
  uint64_t flags;
  // The next tile. All of this is copied, so that it can stay in registers.
  const float *a, *residual;
  float* c;
};

inline TileRun::TileRun(const GemmF32Args& args)
    : start(kZeros),
      a_stride(args.a_row_stride * static_cast<int64_t>(sizeof(float))),
      c_stride(args.c_row_stride * static_cast<int64_t>(sizeof(float))),
      residual_stride(args.epilogue.residual_row_stride * static_cast<int64_t>(sizeof(float))),
      eights{args.segment_length / 8, (args.segment_length - 4) / 8},
      flags(args.accumulate ? kAccumulate : 0),
      a(args.a),
      residual(args.epilogue.residual),
      c(args.c) {
  if (!args.finish) return;
  const Epilogue& e = args.epilogue;
  if (e.unit_scale) {
    start = e.bias;
  } else {
    flags |= kScale;
  }
  if (e.residual != nullptr) flags |= kResidual;
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
#define DGMS_EIGHT_5                                                                                            \
  DGMS_LOAD_PAIR(0, 20, 21) DGMS_WEIGHTS DGMS_LOAD_PAIR(1, 22, 23) DGMS_FMA(0, 1, 2, 3, 20, 0)                  \
  DGMS_LOAD_PAIR(2, 24, 25) DGMS_FMA(4, 5, 6, 7, 22, 0) DGMS_FMA(8, 9, 10, 11, 24, 0)                           \
  DGMS_FMA(12, 13, 14, 15, 26, 0) DGMS_FMA(16, 17, 18, 19, 27, 0)                                               \
  DGMS_PLACES_1TO3(DGMS_PLACE_5, 20, 22, 24, 26, 27)                                                            \
  DGMS_LOAD_PAIR(3, 20, 26) DGMS_LOAD_PAIR(4, 22, 27) DGMS_PLACES_4(DGMS_PLACE_5, 21, 23, 25, 20, 22)
#define DGMS_FOUR_4 DGMS_LOADS_4(DGMS_LOAD_QUAD) DGMS_PLACES_4(DGMS_PLACE_4, 20, 22, 24, 26)
#define DGMS_FOUR_5 DGMS_LOADS_5(DGMS_LOAD_QUAD) DGMS_PLACES_4(DGMS_PLACE_5, 20, 22, 24, 26, 27)
#define DGMS_LATER_5 DGMS_LOAD_QUAD(3, 26) DGMS_LOAD_QUAD(4, 27)
#define DGMS_REST_5                                                                                             \
  DGMS_LOAD_QUAD(0, 20) DGMS_LOAD_QUAD(1, 22) DGMS_LOAD_QUAD(2, 24) DGMS_PLACES_4(DGMS_PLACE_5, 20, 22, 24, 26, 27)
#define DGMS_ONE_4 DGMS_LOADS_4(DGMS_LOAD_ONE) DGMS_PLACE_4(0, 20, 22, 24, 26)
#define DGMS_ONE_5 DGMS_LOADS_5(DGMS_LOAD_ONE) DGMS_PLACE_5(0, 20, 22, 24, 26, 27)

#define DGMS_POINTERS_4                                                                                    \
  "ldr %[a0], [%[segment]], #8\n add %[a0], %[a], %[a0], lsl #2\n add %[a1], %[a0], %[a_stride]\n"        \
  "add %[a2], %[a1], %[a_stride]\n add %[a3], %[a2], %[a_stride]\n"
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

// A segment's whole fours of places. Labels: 2 eight places, 3 four places, 4 behind them.
#define DGMS_FOURS_4                                                                                          \
  "mov %[count], %[eights]\n cbz %[count], 3f\n"                                                              \
  "2:\n" DGMS_EIGHT_4 "subs %[count], %[count], #1\n b.ne 2b\n"                                              \
  "3:\n tbz %[length], #2, 4f\n" DGMS_FOUR_4 "4:\n"
// Rows 3 and 4 are four places ahead: so `eights` are those that four places follow. 2 is sixteen places, 7 eight.
#define DGMS_FOURS_5                                                                                          \
  "cmp %[length], #4\n b.lt 4f\n" DGMS_LATER_5 "lsr %[count], %[eights], #1\n cbz %[count], 7f\n"           \
  "2:\n" DGMS_EIGHT_5 DGMS_EIGHT_5 "subs %[count], %[count], #1\n b.ne 2b\n"                                 \
  "7:\n tbz %[eights], #0, 3f\n" DGMS_EIGHT_5                                                                \
  "3:\n" DGMS_REST_5 "tbnz %[length], #2, 4f\n" DGMS_FOUR_5 "4:\n"

// The whole tile. Labels: 1 segments, 5 single places, 6 the next segment; then what the flags ask for.
#define DGMS_TILE(rows)                                                                                       \
  DGMS_ROWS_##rows(DGMS_START_ROW, )                                                                          \
  "1:\n" DGMS_POINTERS_##rows DGMS_FOURS_##rows                                                               \
  "ands %[count], %[length], #3\n b.eq 6f\n"                                                                  \
  "5:\n" DGMS_ONE_##rows "subs %[count], %[count], #1\n b.ne 5b\n"                                           \
  "6:\n subs %[segments_left], %[segments_left], #1\n b.ne 1b\n"                                             \
  "tbz %[flags], #0, 1f\n mov %[count], %[c]\n" DGMS_ROWS_##rows(DGMS_ADD_ROW, "%[count]", "c_stride")       \
  "1:\n tbz %[flags], #1, 2f\n"                                                                              \
  "ldr %[count], [%[epilogue]]\n ld1 {v20.4s-v23.4s}, [%[count]]\n"                                          \
  "ldr %[count], [%[epilogue], #8]\n ld1 {v24.4s-v27.4s}, [%[count]]\n"                                      \
  DGMS_ROWS_##rows(DGMS_EACH_ROW, "fmul", 20, 21, 22, 23) DGMS_ROWS_##rows(DGMS_EACH_ROW, "fadd", 24, 25, 26, 27) \
  "2:\n tbz %[flags], #2, 3f\n" DGMS_ROWS_##rows(DGMS_ADD_ROW, "%[residual]", "residual_stride")             \
  "3:\n tbz %[flags], #3, 4f\n add %[count], %[epilogue], #16\n ld1r {v20.4s}, [%[count]]\n"                \
  DGMS_ROWS_##rows(DGMS_EACH_ROW, "fmax", 20, 20, 20, 20)                                                     \
  "4:\n tbz %[flags], #4, 5f\n add %[count], %[epilogue], #20\n ld1r {v20.4s}, [%[count]]\n"                \
  DGMS_ROWS_##rows(DGMS_EACH_ROW, "fmin", 20, 20, 20, 20)                                                     \
  "5:\n" DGMS_ROWS_##rows(DGMS_STORE_ROW, )
// clang-format on

// Computes the next tile of `run`.
template <int rows>
DGMS_INLINE void WideTile(const GemmF32Args& args, TileRun& run) {
  static_assert(rows == 4 || rows == 5, "the tiles in assembly");
  const char *a0, *a1, *a2, *a3, *a4;
  const float *panel = args.panel, *residual = run.residual;
  float* c = run.c;
  const int64_t* segment = args.segments;
  int64_t segments_left = args.segment_count, count;
#define DGMS_RUN_TILE(rows)                                                                                            \
  __asm__ volatile(                                                                                                    \
      DGMS_TILE(rows)                                                                                                  \
      : [a0] "=&r"(a0), [a1] "=&r"(a1), [a2] "=&r"(a2), [a3] "=&r"(a3), [a4] "=&r"(a4), [count] "=&r"(count),          \
        [panel] "+&r"(panel), [segment] "+&r"(segment), [segments_left] "+&r"(segments_left), [c] "+&r"(c),            \
        [residual] "+&r"(residual)                                                                                     \
      : [a] "r"(run.a), [a_stride] "r"(run.a_stride), [c_stride] "r"(run.c_stride),                                    \
        [residual_stride] "r"(run.residual_stride), [start] "r"(run.start), [eights] "r"(run.eights[rows - 4]),        \
        [length] "r"(args.segment_length), [flags] "r"(run.flags), [epilogue] "r"(&args.epilogue)                      \
      : "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", \
        "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29",       \
        "v30", "v31")
  if constexpr (rows == 4) {
    DGMS_RUN_TILE(4);
  } else {
    DGMS_RUN_TILE(5);
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
