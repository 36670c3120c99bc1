#include "kernels/pack_weights.h"

#include <cstring>

namespace dgms {
namespace {

// Eight codes, one per byte, as the nibbles of a word: the first in the lowest. They are moved together in pairs, then
// in fours, then all.
uint32_t Nibbles(const uint8_t* codes) {
  uint64_t x;
  memcpy(&x, codes, sizeof(x));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  x = __builtin_bswap64(x);
#endif
  x = (x | x >> 4) & 0x00ff00ff00ff00ff;
  x = (x | x >> 8) & 0x0000ffff0000ffff;
  return static_cast<uint32_t>(x | x >> 16);
}

}  // namespace

void pack_rows(const uint8_t* codes, int64_t column_stride, int64_t k, int n, int width, uint8_t* packed) {
  for (int64_t p = 0; p < k; ++p) {
    uint8_t* row = packed + p * width / 2;
    for (int j = 0; j < width; j += 2) {
      const int low = j < n ? codes[j * column_stride + p] : 0;
      const int high = j + 1 < n ? codes[(j + 1) * column_stride + p] : 0;
      row[j / 2] = static_cast<uint8_t>(low | high << 4);
    }
  }
}

void pack_lanes32(const uint8_t* codes, int64_t column_stride, int64_t k, int n, int width, uint8_t* packed) {
  for (int64_t p0 = 0; p0 < k; p0 += 8) {
    const int64_t places = k - p0 < 8 ? k - p0 : 8;
    for (int j = 0; j < width; ++j) {
      uint32_t word = 0;
      const uint8_t* column = codes + j * column_stride + p0;
      if (j < n && places == 8) {
        word = Nibbles(column);
      } else if (j < n) {
        for (int64_t p = 0; p < places; ++p) word |= static_cast<uint32_t>(column[p]) << (4 * p);
      }
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
      word = __builtin_bswap32(word);
#endif
      memcpy(packed, &word, sizeof(word));
      packed += sizeof(word);
    }
  }
}

void pack_runs32(const uint8_t* codes, int64_t column_stride, int64_t k, int n, int width, uint8_t* packed) {
  constexpr int kPlaces = 8, kHalf = 16;  // 8 places of 4 columns are one run of two halves
  uint8_t weights[kPlaces * kMaxColumns];
  for (int64_t p0 = 0; p0 < k; p0 += kPlaces) {
    const int places = k - p0 < kPlaces ? static_cast<int>(k - p0) : kPlaces;
    if (places < kPlaces || n < width) memset(weights, 0, sizeof(weights));
    for (int j = 0; j < n; ++j) {
      const uint8_t* column = codes + j * column_stride + p0;
      for (int p = 0; p < places; ++p) weights[p * width + j] = column[p];
    }
    for (int run = 0; run < kPlaces * width; run += 2 * kHalf, packed += kHalf) {
      for (int i = 0; i < kHalf; ++i) {
        packed[i] = static_cast<uint8_t>(weights[run + i] | weights[run + kHalf + i] << 4);
      }
    }
  }
}

}  // namespace dgms
