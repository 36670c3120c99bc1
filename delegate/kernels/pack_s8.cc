// The tile order of all int8 kernels: see kernel_s8.h.
//
// Example, width 8, k_unit 4, k = 4, n = 8, code p of every column at place p: a group is 32 weights, 0 1 2 3 for each
// column; the run's first 16 weights are those of columns 0..3, its last 16 those of columns 4..7, so its 16 bytes are
// 00 11 22 33 00 11 22 33 ... (hexadecimal).
#include "kernels/kernel_s8.h"

namespace dgms {

void pack_s8(const uint8_t* codes, int64_t column_stride, int64_t k, int n, int width, int k_unit, uint8_t* packed) {
  constexpr int kHalf = kRunS8 / 2;
  uint8_t weights[kMaxColumns * kMaxUnitS8];
  for (int64_t p0 = 0; p0 < k; p0 += k_unit) {
    for (int i = 0; i < width * k_unit; ++i) {
      const int column = i / k_unit;
      const int64_t place = p0 + i % k_unit;
      weights[i] = column < n && place < k ? codes[column * column_stride + place] : 0;
    }
    for (int run = 0; run < width * k_unit; run += kRunS8, packed += kHalf) {
      for (int i = 0; i < kHalf; ++i) {
        packed[i] = static_cast<uint8_t>(weights[run + i] | weights[run + kHalf + i] << 4);
      }
    }
  }
}

}  // namespace dgms
