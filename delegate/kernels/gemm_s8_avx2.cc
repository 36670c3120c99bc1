// AVX2 int8: tiles of up to 4 rows by 16 columns.
//
// The instruction that multiplies bytes (vpmaddubsw) wants one operand unsigned, and adds two products in 16 bits. So
// the signs of the activations move over to the weights: |x| * (w with the sign of x) = x * w. With |x| <= 128 and
// |w| <= 127 two products are at most 2 * 128 * 127 = 32512: nothing saturates, and the sums are exact.
#include <immintrin.h>

#include "kernels/decode_s8.h"
#include "kernels/kernel_s8.h"
#include "kernels/places_s8.h"

#define DGMS_INLINE inline __attribute__((always_inline))

namespace dgms {
namespace {

constexpr int kUnit = 4;
constexpr int kLanes = 8;  // columns per vector

template <int rows, int vectors>
struct Sums {
  __m256i v[rows][vectors];
};

// Four places of every row, given as 32 bits each.
template <int rows, int vectors>
DGMS_INLINE void Step(Sums<rows, vectors>& sums, const int32_t (&x)[rows], const int8_t* panel) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i weights[vectors];
#pragma GCC unroll 2
  for (int v = 0; v < vectors; ++v) {
    weights[v] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel + v * kLanes * kUnit));
  }
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r) {
    const __m256i signs = _mm256_set1_epi32(x[r]), magnitudes = _mm256_abs_epi8(signs);
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) {
      const __m256i pairs = _mm256_maddubs_epi16(magnitudes, _mm256_sign_epi8(weights[v], signs));
      sums.v[r][v] = _mm256_add_epi32(sums.v[r][v], _mm256_madd_epi16(pairs, ones));
    }
  }
}

template <int rows, int vectors>
void Tile(const GemmS8Args& args) {
  Sums<rows, vectors> sums;
  constexpr int kWidth = vectors * kLanes;
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) {
      sums.v[r][v] = args.accumulate
                         ? _mm256_load_si256(reinterpret_cast<const __m256i*>(args.c + r * kWidth + v * kLanes))
                         : _mm256_setzero_si256();
    }
  }
  const int8_t* panel = args.panel;
  for (int64_t s = 0; s < args.segment_count; ++s) {
    const int8_t* a = args.a + args.segments[s];
    int64_t left = args.segment_length;
    int32_t x[rows];
    for (; left >= kUnit; left -= kUnit, a += kUnit, panel += kWidth * kUnit) {
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) x[r] = LoadPlaces(a + r * args.a_row_stride, kUnit);
      Step<rows, vectors>(sums, x, panel);
    }
    if (left > 0) {
      for (int r = 0; r < rows; ++r) x[r] = LoadPlaces(a + r * args.a_row_stride, left);
      Step<rows, vectors>(sums, x, panel);
      panel += kWidth * kUnit;
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(args.c + r * kWidth + v * kLanes), sums.v[r][v]);
    }
  }
}

template <int vectors>
constexpr GemmS8Fn kTiles[] = {Tile<1, vectors>, Tile<2, vectors>, Tile<3, vectors>, Tile<4, vectors>};

// The codes of one run in the order of its weights.
DGMS_INLINE __m256i Codes(const uint8_t* packed) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(packed));
  const __m256i both = _mm256_set_m128i(_mm_srli_epi16(bytes, 4), bytes);
  return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

DGMS_INLINE __m256i Table(const int8_t* table) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
}

void DecodeTables(const uint8_t* packed, int64_t places, int width, const TablesS8& tables, int8_t* panel) {
  alignas(32) uint8_t foreign[kMaxColumns * kUnit];
  ForEachTable<kUnit>(tables, width, foreign, [&](const int8_t* table_at, bool is_first) {
    const __m256i table = Table(table_at);
    const uint8_t* from = packed;
    for (int64_t i = 0; i < places * width; i += kRunS8, from += kRunS8 / 2) {
      const __m256i mask = _mm256_load_si256(reinterpret_cast<const __m256i*>(foreign + i % (width * kUnit)));
      __m256i* to = reinterpret_cast<__m256i*>(panel + i);
      const __m256i bytes = _mm256_shuffle_epi8(table, _mm256_or_si256(Codes(from), mask));
      _mm256_store_si256(to, is_first ? bytes : _mm256_or_si256(bytes, _mm256_load_si256(to)));
    }
  });
}

}  // namespace

void s8_4x16_avx2_decode(const uint8_t* packed, int64_t places, int width, const TablesS8& tables, int8_t* panel) {
  if (tables.column_table != nullptr) return DecodeTables(packed, places, width, tables, panel);
  const __m256i table = Table(tables.tables);
  for (int64_t i = 0; i < places * width; i += kRunS8, packed += kRunS8 / 2) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(panel + i), _mm256_shuffle_epi8(table, Codes(packed)));
  }
}

void s8_4x16_avx2_gemm(const GemmS8Args& args) { (args.width == kLanes ? kTiles<1> : kTiles<2>)[args.rows - 1](args); }

}  // namespace dgms
