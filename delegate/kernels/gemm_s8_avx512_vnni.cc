// AVX-512 with VNNI: tiles of up to 14 rows by 32 columns (28 of 32 registers hold sums). Activations are unsigned
// (`flip`), as the dot product instruction wants one operand.
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own intrinsics trip this warning (its bug 105593); our code is checked by the other compilers.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include "kernels/decode_s8.h"
#include "kernels/kernel_s8.h"
#include "kernels/places_s8.h"

#define DGMS_INLINE inline __attribute__((always_inline))

namespace dgms {
namespace {

constexpr int kUnit = 4;
constexpr int kLanes = 16;  // columns per vector

// Bytes: weights come from far away and are decoded once per layer, and a new page stops the processor's own
// prefetching.
constexpr int kAhead = 4096;

template <int rows, int vectors>
struct Sums {
  __m512i v[rows][vectors];
};

// `count` (1..4) places of every row. Rows are reached from every fourth row's pointer by 0, 1, 2 or 3 strides (x86
// addresses scale by 1 and 2), because a pointer for each row would not fit in the registers.
template <int rows, int vectors, int pointers>
DGMS_INLINE void Step(Sums<rows, vectors>& sums, const char* const (&a)[pointers], int64_t stride, int64_t stride3,
                      int64_t count, const int8_t* panel) {
  __m512i weights[vectors];
#pragma GCC unroll 2
  for (int v = 0; v < vectors; ++v) weights[v] = _mm512_loadu_si512(panel + v * kLanes * kUnit);
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
    const char* row = a[r / 4] + (r % 4 == 3 ? stride3 : (r % 4) * stride);
    const __m512i x = _mm512_set1_epi32(LoadPlaces(row, count));
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) sums.v[r][v] = _mm512_dpbusd_epi32(sums.v[r][v], x, weights[v]);
  }
}

template <int rows, int vectors>
void Tile(const GemmS8Args& args) {
  constexpr int kWidth = vectors * kLanes, kPointers = (rows + 3) / 4;
  Sums<rows, vectors> sums;
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) {
      sums.v[r][v] = args.accumulate ? _mm512_load_si512(args.c + r * kWidth + v * kLanes) : _mm512_setzero_si512();
    }
  }
  const int64_t stride = args.a_row_stride, stride3 = stride * 3;
  const int8_t* panel = args.panel;
  for (int64_t s = 0; s < args.segment_count; ++s) {
    const char* a[kPointers];
#pragma GCC unroll 4
    for (int i = 0; i < kPointers; ++i) {
      a[i] = reinterpret_cast<const char*>(args.a + args.segments[s]) + 4 * i * stride;
    }
    int64_t left = args.segment_length;
    for (; left >= kUnit; left -= kUnit, panel += kWidth * kUnit) {
      Step<rows, vectors>(sums, a, stride, stride3, kUnit, panel);
#pragma GCC unroll 4
      for (int i = 0; i < kPointers; ++i) a[i] += kUnit;
    }
    if (left > 0) {
      Step<rows, vectors>(sums, a, stride, stride3, left, panel);
      panel += kWidth * kUnit;
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) _mm512_store_si512(args.c + r * kWidth + v * kLanes, sums.v[r][v]);
  }
}

template <int vectors>
constexpr GemmS8Fn kTiles[] = {Tile<1, vectors>,  Tile<2, vectors>,  Tile<3, vectors>,  Tile<4, vectors>,
                               Tile<5, vectors>,  Tile<6, vectors>,  Tile<7, vectors>,  Tile<8, vectors>,
                               Tile<9, vectors>,  Tile<10, vectors>, Tile<11, vectors>, Tile<12, vectors>,
                               Tile<13, vectors>, Tile<14, vectors>};

// The codes of two runs in the order of their weights: the runs' bytes go to two quarters of the vector each, and the
// second of the two is shifted.
DGMS_INLINE __m512i Codes(const uint8_t* packed) {
  const __m512i bytes = _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(packed)));
  const __m512i twice = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 1, 0, 1, 2, 3, 2, 3), bytes);
  const __m512i shifts = _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4);
  return _mm512_and_si512(_mm512_srlv_epi64(twice, shifts), _mm512_set1_epi8(15));
}

DGMS_INLINE __m512i Table(const int8_t* table) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
}

void DecodeTables(const uint8_t* packed, int64_t places, int width, const TablesS8& tables, int8_t* panel) {
  alignas(64) uint8_t foreign[kMaxColumns * kUnit];
  ForEachTable<kUnit>(tables, width, foreign, [&](const int8_t* table_at, bool is_first) {
    const __m512i table = Table(table_at);
    const uint8_t* from = packed;
    for (int64_t i = 0; i < places * width; i += 2 * kRunS8, from += kRunS8) {
      const __m512i mask = _mm512_load_si512(foreign + i % (width * kUnit));
      const __m512i bytes = _mm512_shuffle_epi8(table, _mm512_or_si512(Codes(from), mask));
      _mm512_store_si512(panel + i, is_first ? bytes : _mm512_or_si512(bytes, _mm512_load_si512(panel + i)));
    }
  });
}

}  // namespace

void s8_14x32_avx512_vnni_decode(const uint8_t* packed, int64_t places, int width, const TablesS8& tables,
                                 int8_t* panel) {
  if (tables.column_table != nullptr) return DecodeTables(packed, places, width, tables, panel);
  const __m512i table = Table(tables.tables);
  for (int64_t i = 0; i < places * width; i += 2 * kRunS8, packed += kRunS8) {
    _mm_prefetch(reinterpret_cast<const char*>(packed) + kAhead, _MM_HINT_T0);
    _mm512_store_si512(panel + i, _mm512_shuffle_epi8(table, Codes(packed)));
  }
}

void s8_14x32_avx512_vnni_gemm(const GemmS8Args& args) {
  (args.width == kLanes ? kTiles<1> : kTiles<2>)[args.rows - 1](args);
}

}  // namespace dgms
