#include "kernels/pack_weights.h"

#include <cstring>

namespace dgms {

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
      if (j < n) {
        const uint8_t* column = codes + j * column_stride + p0;
        for (int64_t p = 0; p < places; ++p) word |= static_cast<uint32_t>(column[p]) << (4 * p);
      }
      for (int byte = 0; byte < 4; ++byte) *packed++ = static_cast<uint8_t>(word >> (8 * byte));
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
