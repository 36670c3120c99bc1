#include "kernels/pack_weights.h"

#include <cstdint>
#include <cstring>

#include "kernels/codes.h"

namespace dgms {
namespace {

// Codes first..first+7 of a column with `places` left, or zeros for a column that does not exist.
uint32_t ColumnWord(const uint8_t* codes, int64_t first, int64_t places, bool exists) {
  return exists ? UpToEightCodes(codes, first, places < 8 ? places : 8) : 0;
}

// Two words of each of two columns, which become two rows of two words.
void TransposePair(const uint8_t* columns, int64_t column_stride, uint8_t* rows, int64_t row_stride) {
  uint64_t a, b;
  memcpy(&a, columns, sizeof(a));
  memcpy(&b, columns + column_stride, sizeof(b));
  const uint64_t first = (a & 0xffffffff) | b << 32, second = a >> 32 | b >> 32 << 32;
  memcpy(rows, &first, sizeof(first));
  memcpy(rows + row_stride, &second, sizeof(second));
}

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
  int64_t p = 0;
  if (n == width && first % 2 == 0 && column_stride % 2 == 0) {  // the words are there already, column by column
    const uint8_t* words = codes + first / 2;
    const int64_t stride = column_stride / 2;
    if (width % 2 == 0) {  // transposed two by two: half the loads and stores
      for (; p + 16 <= k; p += 16, words += 8, packed += 8 * width) {
        for (int j = 0; j < width; j += 2) TransposePair(words + j * stride, stride, packed + 4 * j, 4 * width);
      }
    }
    for (; p + 8 <= k; p += 8, words += 4) {
      for (int j = 0; j < width; ++j, packed += 4) memcpy(packed, words + j * stride, 4);
    }
  }
  for (; p < k; p += 8) {
    for (int j = 0; j < width; ++j, packed += 4) {
      const uint32_t word = ColumnWord(codes, first + j * column_stride + p, k - p, j < n);
      memcpy(packed, &word, sizeof(word));
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
