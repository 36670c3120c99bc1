// AVX2 with FMA: tiles of up to 6 rows by 16 columns (12 of 16 registers hold sums).
#include "kernels/simd_avx2.h"

// The order matters: gemm_x86.h is written over the names of the header above.
#include "kernels/gemm_x86.h"

namespace dgms {
namespace {

template <int vectors>
constexpr TileFn kTiles[] = {Tile<1, vectors>, Tile<2, vectors>, Tile<3, vectors>,
                             Tile<4, vectors>, Tile<5, vectors>, Tile<6, vectors>};

}  // namespace

void f32_6x16_avx2_decode(const uint8_t* packed, int64_t k, int n, const Tables& tables, float* panel) {
  Decode(packed, k, n, tables, panel);
}

void f32_6x16_avx2_gemm(const GemmF32Args& args) {
  args.n <= kLanes ? RunTiles(args, kTiles<1>) : RunTiles(args, kTiles<2>);
}

void f32_6x16_avx2_gemv(const GemvF32Args& args) { Gemv(args); }

}  // namespace dgms
