// AVX2 with FMA: tiles of up to 6 rows by 16 columns (12 of 16 registers hold sums). Tile order: pack_lanes32.
//
// A permute looks 8 floats up by the low 3 bits of each lane and ignores the rest, so 16 floats take two permutes and a
// blend by bit 3, which is moved to the sign (where a blend looks). Shifting a vector of packed words right by 4 per
// place brings each place's code down.
#include <immintrin.h>

#include "kernels/kernel.h"

namespace dgms {
namespace {

constexpr int kLanes = 8;
constexpr int kPlaces = 8;  // places of K per packed word

inline int Vectors(int n) { return (n + kLanes - 1) / kLanes; }

// All bits set in the lanes of vector v that hold columns below n.
inline __m256i ColumnMask(int n, int v) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n - v * kLanes), lane);
}

// NaN passes: max and min return their second operand if either is NaN.
inline __m256 Clamp(__m256 value, __m256 min, __m256 max) { return _mm256_min_ps(max, _mm256_max_ps(min, value)); }

// ---- looking codes up
// ------------------------------------------------------------------------------------------------

// A vector of columns that share one table.
struct OneTable {
  __m256 low, high;  // entries 0..7 and 8..15
  OneTable(const Tables& tables, int v) {
    const float* table = tables.tables;
    if (tables.column_table != nullptr) table += int64_t{kTableSize} * tables.column_table[v * kLanes];
    low = _mm256_loadu_ps(table);
    high = _mm256_loadu_ps(table + 8);
  }
  __m256 operator()(__m256i words, int place) const {
    const __m256i code = _mm256_srli_epi32(words, 4 * place);
    const __m256 bit3 = _mm256_castsi256_ps(_mm256_slli_epi32(words, 28 - 4 * place));
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, code), _mm256_permutevar8x32_ps(high, code), bit3);
  }
};

// A vector of columns with tables of their own.
struct ManyTables {
  const float* tables;
  __m256i first;  // of each lane's table
  ManyTables(const Tables& tables, int v)
      : tables(tables.tables),
        first(_mm256_slli_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(tables.column_table + v * kLanes)),
                                4)) {}
  __m256 operator()(__m256i words, int place) const {
    const __m256i code = _mm256_and_si256(_mm256_srli_epi32(words, 4 * place), _mm256_set1_epi32(15));
    return _mm256_i32gather_ps(tables, _mm256_add_epi32(first, code), 4);
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
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(packed));
#pragma GCC unroll 8
    for (int place = 0; place < kPlaces; ++place) _mm256_store_ps(panel + place * width, lookup(words, place));
  }
}

// ---- one tile
// --------------------------------------------------------------------------------------------------------

template <int rows, int vectors>
struct Sums {
  __m256 v[rows][vectors];
};

// One place of K: sums[r] += a[r] * panel row. Rows 0..3 are reached from one pointer by 0, 1, 2 or 3 strides, rows 4
// and 5 from another.
template <int rows, int vectors>
inline __attribute__((always_inline)) void Step(Sums<rows, vectors>& sums, const char* const (&a)[2], int64_t stride,
                                                int64_t stride3, int offset, const float* panel) {
  __m256 weights[vectors];
#pragma GCC unroll 2
  for (int v = 0; v < vectors; ++v) weights[v] = _mm256_load_ps(panel + v * kLanes);
#pragma GCC unroll 6
  for (int r = 0; r < rows; ++r) {
    const char* row = a[r / 4] + (r % 4 == 3 ? stride3 : (r % 4) * stride) + offset * 4;
    const __m256 x = _mm256_broadcast_ss(reinterpret_cast<const float*>(row));
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) sums.v[r][v] = _mm256_fmadd_ps(x, weights[v], sums.v[r][v]);
  }
}

template <int rows, int vectors>
void Tile(const GemmF32Args& args) {
  Sums<rows, vectors> sums;
#pragma GCC unroll 6
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) sums.v[r][v] = _mm256_setzero_ps();
  }
  const int64_t stride = args.a_row_stride * 4, stride3 = stride * 3;
  const float* panel = args.panel;
  for (int64_t s = 0; s < args.segment_count; ++s) {
    const char* first = reinterpret_cast<const char*>(args.a + args.segments[s]);
    const char* a[2] = {first, first + 4 * stride};
    int64_t p = args.segment_length;
    for (; p >= 4; p -= 4) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) Step<rows, vectors>(sums, a, stride, stride3, i, panel + i * vectors * kLanes);
      panel += 4 * vectors * kLanes;
      for (int i = 0; i < 2; ++i) a[i] += 16;
    }
    for (; p > 0; --p) {
      Step<rows, vectors>(sums, a, stride, stride3, 0, panel);
      panel += vectors * kLanes;
      for (int i = 0; i < 2; ++i) a[i] += 4;
    }
  }
  const __m256 min = _mm256_set1_ps(args.epilogue.min), max = _mm256_set1_ps(args.epilogue.max);
#pragma GCC unroll 2
  for (int v = 0; v < vectors; ++v) {
    const __m256i mask = ColumnMask(args.n, v);
    float* c = args.c + v * kLanes;
    if (args.accumulate) {
#pragma GCC unroll 6
      for (int r = 0; r < rows; ++r) {
        sums.v[r][v] = _mm256_add_ps(sums.v[r][v], _mm256_maskload_ps(c + r * args.c_row_stride, mask));
      }
    }
    if (args.finish) {
      const __m256 scale = _mm256_loadu_ps(args.epilogue.scale + v * kLanes);
      const __m256 bias = _mm256_loadu_ps(args.epilogue.bias + v * kLanes);
#pragma GCC unroll 6
      for (int r = 0; r < rows; ++r) sums.v[r][v] = Clamp(_mm256_fmadd_ps(sums.v[r][v], scale, bias), min, max);
    }
    if (args.n >= (v + 1) * kLanes) {  // a masked store is slow on some processors
#pragma GCC unroll 6
      for (int r = 0; r < rows; ++r) _mm256_storeu_ps(c + r * args.c_row_stride, sums.v[r][v]);
    } else {
#pragma GCC unroll 6
      for (int r = 0; r < rows; ++r) _mm256_maskstore_ps(c + r * args.c_row_stride, mask, sums.v[r][v]);
    }
  }
}

template <int vectors>
void Gemm(const GemmF32Args& args) {
  using TileFn = void (*)(const GemmF32Args&);
  static constexpr TileFn kTiles[] = {Tile<1, vectors>, Tile<2, vectors>, Tile<3, vectors>,
                                      Tile<4, vectors>, Tile<5, vectors>, Tile<6, vectors>};
  kTiles[args.rows - 1](args);
}

// ---- one row, decoding in registers
// -----------------------------------------------------------------------------------

// Four chains of sums (places 0, 4; 1, 5; 2, 6; 3, 7 of each word) hide the latency of the multiply-add.
template <typename Lookup>
__m256 GemvVector(const GemvF32Args& args, int vectors, int v) {
  constexpr int kChains = 4;
  const Lookup lookup(args.tables, v);
  const uint8_t* packed = args.packed + v * kLanes * 4;
  const int64_t step = int64_t{vectors} * kLanes * 4;
  __m256 sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = _mm256_setzero_ps();
  int64_t p = 0;
  for (; p + kPlaces <= args.k; p += kPlaces, packed += step) {
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(packed));
#pragma GCC unroll 8
    for (int place = 0; place < kPlaces; ++place) {
      sums[place % kChains] =
          _mm256_fmadd_ps(_mm256_broadcast_ss(args.x + p + place), lookup(words, place), sums[place % kChains]);
    }
  }
  if (p < args.k) {
    __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(packed));
    for (; p < args.k; ++p, words = _mm256_srli_epi32(words, 4)) {
      sums[0] = _mm256_fmadd_ps(_mm256_broadcast_ss(args.x + p), lookup(words, 0), sums[0]);
    }
  }
  return _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]));
}

}  // namespace

void f32_6x16_avx2_decode(const uint8_t* packed, int64_t k, int n, const Tables& tables, float* panel) {
  const int vectors = Vectors(n);
  for (int v = 0; v < vectors; ++v) {
    if (SharesTable(tables, v)) {
      DecodeVector<OneTable>(packed, k, vectors, v, tables, panel);
    } else {
      DecodeVector<ManyTables>(packed, k, vectors, v, tables, panel);
    }
  }
}

void f32_6x16_avx2_gemm(const GemmF32Args& args) { args.n <= kLanes ? Gemm<1>(args) : Gemm<2>(args); }

void f32_6x16_avx2_gemv(const GemvF32Args& args) {
  const int vectors = Vectors(args.n);
  const Epilogue& e = args.epilogue;
  for (int v = 0; v < vectors; ++v) {
    const __m256 sum =
        SharesTable(args.tables, v) ? GemvVector<OneTable>(args, vectors, v) : GemvVector<ManyTables>(args, vectors, v);
    const __m256 y = _mm256_fmadd_ps(sum, _mm256_loadu_ps(e.scale + v * kLanes), _mm256_loadu_ps(e.bias + v * kLanes));
    _mm256_maskstore_ps(args.y + v * kLanes, ColumnMask(args.n, v),
                        Clamp(y, _mm256_set1_ps(e.min), _mm256_set1_ps(e.max)));
  }
}

}  // namespace dgms
