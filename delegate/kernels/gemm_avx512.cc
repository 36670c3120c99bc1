// AVX-512: tiles of up to 14 rows by 32 columns (28 of 32 registers hold sums). Tile order: pack_lanes32.
//
// Decoding is one permute per 16 weights: `vpermps` looks 16 floats up by the low 4 bits of each lane and ignores the
// rest, so shifting a vector of packed words right by 4 per place needs no mask.
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own intrinsics trip this warning (its bug 105593); our code is checked by the other compilers.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include "kernels/kernel.h"

namespace dgms {
namespace {

constexpr int kLanes = 16;
constexpr int kPlaces = 8;  // places of K per packed word

inline int Vectors(int n) { return (n + kLanes - 1) / kLanes; }

// The lanes of vector v that hold columns below n.
inline __mmask16 ColumnMask(int n, int v) {
  const int columns = n - v * kLanes;
  return columns >= kLanes ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1u << columns) - 1u);
}

// NaN passes: max and min return their second operand if either is NaN.
inline __m512 Clamp(__m512 value, __m512 min, __m512 max) { return _mm512_min_ps(max, _mm512_max_ps(min, value)); }

// ---- looking codes up
// ------------------------------------------------------------------------------------------------

// A vector of columns that share one table.
struct OneTable {
  __m512 table;
  OneTable(const Tables& tables, int v)
      : table(_mm512_loadu_ps(tables.tables + (tables.column_table == nullptr
                                                   ? 0
                                                   : int64_t{kTableSize} * tables.column_table[v * kLanes]))) {}
  __m512 operator()(__m512i words, int place) const {
    return _mm512_permutexvar_ps(_mm512_srli_epi32(words, static_cast<unsigned>(4 * place)), table);
  }
};

// A vector of columns with tables of their own.
struct ManyTables {
  const float* tables;
  __m512i first;  // of each lane's table
  ManyTables(const Tables& tables, int v)
      : tables(tables.tables), first(_mm512_slli_epi32(_mm512_loadu_si512(tables.column_table + v * kLanes), 4)) {}
  __m512 operator()(__m512i words, int place) const {
    const __m512i code =
        _mm512_and_si512(_mm512_srli_epi32(words, static_cast<unsigned>(4 * place)), _mm512_set1_epi32(15));
    return _mm512_i32gather_ps(_mm512_add_epi32(first, code), tables, 4);
  }
};

inline bool SharesTable(const Tables& tables, int v) {
  return tables.column_table == nullptr ||
         tables.column_table[v * kLanes] == tables.column_table[v * kLanes + kLanes - 1];
}

template <typename Lookup>
void DecodeVector(const uint8_t* packed, int64_t k, int vectors, int v, const Tables& tables, float* panel) {
  const Lookup lookup(tables, v);
  packed += v * kLanes * 4;
  panel += v * kLanes;
  const int64_t width = vectors * kLanes;
  for (int64_t p = 0; p < k; p += kPlaces, packed += width * 4, panel += width * kPlaces) {
    const __m512i words = _mm512_loadu_si512(packed);
#pragma GCC unroll 8
    for (int place = 0; place < kPlaces; ++place) _mm512_store_ps(panel + place * width, lookup(words, place));
  }
}

// ---- one tile
// --------------------------------------------------------------------------------------------------------

template <int rows, int vectors>
struct Sums {
  __m512 v[rows][vectors];
};

// One place of K: sums[r] += a[r] * panel row. Rows are reached from every fourth row's pointer by 0, 1, 2 or 3 strides
// (x86 addresses scale by 1 and 2), because 14 pointers do not fit in the registers.
template <int rows, int vectors>
inline __attribute__((always_inline)) void Step(Sums<rows, vectors>& sums, const char* const (&a)[4], int64_t stride,
                                                int64_t stride3, int offset, const float* panel) {
  __m512 weights[vectors];
#pragma GCC unroll 2
  for (int v = 0; v < vectors; ++v) weights[v] = _mm512_load_ps(panel + v * kLanes);
#pragma GCC unroll 14
  for (int r = 0; r < rows; ++r) {
    const char* row = a[r / 4] + (r % 4 == 3 ? stride3 : (r % 4) * stride) + offset * 4;
    const __m512 x = _mm512_set1_ps(*reinterpret_cast<const float*>(row));
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) sums.v[r][v] = _mm512_fmadd_ps(x, weights[v], sums.v[r][v]);
  }
}

template <int rows, int vectors>
void Tile(const GemmF32Args& args) {
  Sums<rows, vectors> sums;
#pragma GCC unroll 14
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) sums.v[r][v] = _mm512_setzero_ps();
  }
  const int64_t stride = args.a_row_stride * 4, stride3 = stride * 3;
  const float* panel = args.panel;
  for (int64_t s = 0; s < args.segment_count; ++s) {
    const char* first = reinterpret_cast<const char*>(args.a + args.segments[s]);
    const char* a[4] = {first, first + 4 * stride, first + 8 * stride, first + 12 * stride};
    int64_t p = args.segment_length;
    for (; p >= 4; p -= 4) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) Step<rows, vectors>(sums, a, stride, stride3, i, panel + i * vectors * kLanes);
      panel += 4 * vectors * kLanes;
      for (int i = 0; i < 4; ++i) a[i] += 16;
    }
    for (; p > 0; --p) {
      Step<rows, vectors>(sums, a, stride, stride3, 0, panel);
      panel += vectors * kLanes;
      for (int i = 0; i < 4; ++i) a[i] += 4;
    }
  }
  const __m512 min = _mm512_set1_ps(args.epilogue.min), max = _mm512_set1_ps(args.epilogue.max);
#pragma GCC unroll 2
  for (int v = 0; v < vectors; ++v) {
    const __mmask16 mask = ColumnMask(args.n, v);
    float* c = args.c + v * kLanes;
    if (args.accumulate) {
#pragma GCC unroll 14
      for (int r = 0; r < rows; ++r) {
        sums.v[r][v] = _mm512_add_ps(sums.v[r][v], _mm512_maskz_loadu_ps(mask, c + r * args.c_row_stride));
      }
    }
    if (args.finish) {
      const __m512 scale = _mm512_loadu_ps(args.epilogue.scale + v * kLanes);
      const __m512 bias = _mm512_loadu_ps(args.epilogue.bias + v * kLanes);
#pragma GCC unroll 14
      for (int r = 0; r < rows; ++r) {
        sums.v[r][v] = Clamp(_mm512_fmadd_ps(sums.v[r][v], scale, bias), min, max);
      }
    }
#pragma GCC unroll 14
    for (int r = 0; r < rows; ++r) _mm512_mask_storeu_ps(c + r * args.c_row_stride, mask, sums.v[r][v]);
  }
}

template <int vectors>
void Gemm(const GemmF32Args& args) {
  using TileFn = void (*)(const GemmF32Args&);
  static constexpr TileFn kTiles[] = {Tile<1, vectors>,  Tile<2, vectors>,  Tile<3, vectors>,  Tile<4, vectors>,
                                      Tile<5, vectors>,  Tile<6, vectors>,  Tile<7, vectors>,  Tile<8, vectors>,
                                      Tile<9, vectors>,  Tile<10, vectors>, Tile<11, vectors>, Tile<12, vectors>,
                                      Tile<13, vectors>, Tile<14, vectors>};
  kTiles[args.rows - 1](args);
}

// ---- one row, decoding in registers
// -----------------------------------------------------------------------------------

// Four chains of sums (places 0, 4; 1, 5; 2, 6; 3, 7 of each word) hide the latency of the multiply-add.
template <typename Lookup>
__m512 GemvVector(const GemvF32Args& args, int vectors, int v) {
  constexpr int kChains = 4;
  const Lookup lookup(args.tables, v);
  const uint8_t* packed = args.packed + v * kLanes * 4;
  const int64_t step = int64_t{vectors} * kLanes * 4;
  __m512 sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = _mm512_setzero_ps();
  int64_t p = 0;
  for (; p + kPlaces <= args.k; p += kPlaces, packed += step) {
    const __m512i words = _mm512_loadu_si512(packed);
#pragma GCC unroll 8
    for (int place = 0; place < kPlaces; ++place) {
      sums[place % kChains] =
          _mm512_fmadd_ps(_mm512_set1_ps(args.x[p + place]), lookup(words, place), sums[place % kChains]);
    }
  }
  if (p < args.k) {
    __m512i words = _mm512_loadu_si512(packed);
    for (; p < args.k; ++p, words = _mm512_srli_epi32(words, 4)) {
      sums[0] = _mm512_fmadd_ps(_mm512_set1_ps(args.x[p]), lookup(words, 0), sums[0]);
    }
  }
  return _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3]));
}

}  // namespace

void f32_14x32_avx512_decode(const uint8_t* packed, int64_t k, int n, const Tables& tables, float* panel) {
  const int vectors = Vectors(n);
  for (int v = 0; v < vectors; ++v) {
    if (SharesTable(tables, v)) {
      DecodeVector<OneTable>(packed, k, vectors, v, tables, panel);
    } else {
      DecodeVector<ManyTables>(packed, k, vectors, v, tables, panel);
    }
  }
}

void f32_14x32_avx512_gemm(const GemmF32Args& args) { args.n <= kLanes ? Gemm<1>(args) : Gemm<2>(args); }

void f32_14x32_avx512_gemv(const GemvF32Args& args) {
  const int vectors = Vectors(args.n);
  const Epilogue& e = args.epilogue;
  for (int v = 0; v < vectors; ++v) {
    const __m512 sum =
        SharesTable(args.tables, v) ? GemvVector<OneTable>(args, vectors, v) : GemvVector<ManyTables>(args, vectors, v);
    const __m512 y = _mm512_fmadd_ps(sum, _mm512_loadu_ps(e.scale + v * kLanes), _mm512_loadu_ps(e.bias + v * kLanes));
    _mm512_mask_storeu_ps(args.y + v * kLanes, ColumnMask(args.n, v),
                          Clamp(y, _mm512_set1_ps(e.min), _mm512_set1_ps(e.max)));
  }
}

}  // namespace dgms
