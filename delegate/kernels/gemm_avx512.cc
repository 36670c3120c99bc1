// AVX-512: tiles of up to 14 rows by 32 columns (28 of 32 registers hold sums).
#include "kernels/simd_avx512.h"

// The order matters: gemm_x86.h is written over the names of the header above.
#include "kernels/gemm_x86.h"

namespace dgms {
namespace {

template <int vectors>
constexpr TileFn kTiles[] = {Tile<1, vectors>,  Tile<2, vectors>,  Tile<3, vectors>,  Tile<4, vectors>,
                             Tile<5, vectors>,  Tile<6, vectors>,  Tile<7, vectors>,  Tile<8, vectors>,
                             Tile<9, vectors>,  Tile<10, vectors>, Tile<11, vectors>, Tile<12, vectors>,
                             Tile<13, vectors>, Tile<14, vectors>};

}  // namespace

void f32_14x32_avx512_decode(const uint8_t* packed, int64_t k, int n, const Tables& tables, float* panel) {
  Decode(packed, k, n, tables, panel);
}

void f32_14x32_avx512_gemm(const GemmF32Args& args) {
  args.n <= kLanes ? RunTiles(args, kTiles<1>) : RunTiles(args, kTiles<2>);
}

void f32_14x32_avx512_gemv(const GemvF32Args& args) { Gemv(args); }

}  // namespace dgms
