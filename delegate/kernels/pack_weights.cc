#include "kernels/pack_weights.h"

#include <cstdint>
#include <cstring>

#include "kernels/arch.h"
#include "kernels/codes.h"

#if DGMS_X86_64
#include <emmintrin.h>
#endif

namespace dgms {
namespace {

// Codes first..first+7 of a column with `places` left, or zeros for a column that does not exist.
uint32_t ColumnWord(const uint8_t* codes, int64_t first, int64_t places, bool exists) {
  return exists ? UpToEightCodes(codes, first, places < 8 ? places : 8) : 0;
}

constexpr int kQuad = 4;  // columns, and words of each, that are transposed together

// Four words of each of four columns, which become four rows of four words.
#if DGMS_X86_64
void TransposeQuad(const uint8_t* columns, int64_t column_stride, uint8_t* rows, int64_t row_stride) {
  const auto load = [&](int i) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(columns + i * column_stride));
  };
  const auto store = [&](int i, __m128i row) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(rows + i * row_stride), row);
  };
  const __m128i a = load(0), b = load(1), c = load(2), d = load(3);
  const __m128i ab_low = _mm_unpacklo_epi32(a, b), ab_high = _mm_unpackhi_epi32(a, b);
  const __m128i cd_low = _mm_unpacklo_epi32(c, d), cd_high = _mm_unpackhi_epi32(c, d);
  store(0, _mm_unpacklo_epi64(ab_low, cd_low));
  store(1, _mm_unpackhi_epi64(ab_low, cd_low));
  store(2, _mm_unpacklo_epi64(ab_high, cd_high));
  store(3, _mm_unpackhi_epi64(ab_high, cd_high));
}
#else
void TransposeQuad(const uint8_t* columns, int64_t column_stride, uint8_t* rows, int64_t row_stride) {
  for (int column = 0; column < kQuad; ++column) {
    for (int row = 0; row < kQuad; ++row) {
      memcpy(rows + row * row_stride + 4 * column, columns + column * column_stride + 4 * row, 4);
    }
  }
}
#endif

}  // namespace

void pack_rows(const uint8_t* codes, int64_t first, int64_t column_stride, int64_t k, int n, int width,
               uint8_t* packed) {
  for (int64_t p = 0; p < k; ++p) {
    uint8_t* row = packed + p * width / 2;
    for (int j = 0; j < width; j += 2) {
      const int low = j < n ? CodeAt(codes, first + j * column_stride + p) : 0;
      const int high = j + 1 < n ? CodeAt(codes, first + (j + 1) * column_stride + p) : 0;
      row[j / 2] = static_cast<uint8_t>(low | high << 4);
    }
  }
}

void pack_lanes32(const uint8_t* codes, int64_t first, int64_t column_stride, int64_t k, int n, int width,
                  uint8_t* packed) {
  constexpr int kPlaces = 8;  // of a word
  // Where codes begin on whole bytes, the words are there already, column by column.
  const bool aligned = first % 2 == 0 && column_stride % 2 == 0;
  const int columns = aligned ? n / kQuad * kQuad : 0;
  const int64_t places = k / (kQuad * kPlaces) * (kQuad * kPlaces);
  const int64_t row = 4 * width, stride = column_stride / 2;
  for (int64_t p = 0; p < places; p += kQuad * kPlaces) {
    for (int j = 0; j < columns; j += kQuad) {
      TransposeQuad(codes + (first + p) / 2 + j * stride, stride, packed + p / kPlaces * row + 4 * j, row);
    }
  }
  for (int64_t p = 0; p < k; p += kPlaces, packed += row) {
    for (int j = p < places ? columns : 0; j < width; ++j) {
      const uint32_t word = ColumnWord(codes, first + j * column_stride + p, k - p, j < n);
      memcpy(packed + 4 * j, &word, sizeof(word));
    }
  }
}

void pack_runs32(const uint8_t* codes, int64_t first, int64_t column_stride, int64_t k, int n, int width,
                 uint8_t* packed) {
  constexpr int kPlaces = 8, kHalf = 16;  // 8 places of 4 columns are one run of two halves
  uint8_t weights[kPlaces * kMaxColumns];
  for (int64_t p0 = 0; p0 < k; p0 += kPlaces) {
    for (int j = 0; j < width; ++j) {
      const uint32_t word = ColumnWord(codes, first + j * column_stride + p0, k - p0, j < n);
      for (int p = 0; p < kPlaces; ++p) weights[p * width + j] = static_cast<uint8_t>(word >> (4 * p) & 15);
    }
    for (int run = 0; run < kPlaces * width; run += 2 * kHalf, packed += kHalf) {
      for (int i = 0; i < kHalf; ++i) {
        packed[i] = static_cast<uint8_t>(weights[run + i] | weights[run + kHalf + i] << 4);
      }
    }
  }
}

}  // namespace dgms
