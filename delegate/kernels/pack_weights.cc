#include "kernels/pack_weights.h"

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

}  // namespace dgms
