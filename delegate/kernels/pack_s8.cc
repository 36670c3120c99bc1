// The tile order of all int8 kernels: see kernel_s8.h.
//
// Example, width 8, k_unit 4, k = 4, n = 8, code p of every column at place p: a group is 32 weights, 0 1 2 3 for each
// column; the run's first 16 weights are those of columns 0..3, its last 16 those of columns 4..7, so its 16 bytes are
// 00 11 22 33 00 11 22 33 ... (hexadecimal).
#include <string.h>

#include "kernels/codes.h"
#include "kernels/kernel_s8.h"

namespace dgms {
namespace {

constexpr int kHalf = kRunS8 / 2;

template <int unit>
void Pack(const uint8_t* codes, int64_t first, int64_t column_stride, int64_t k, int n, int width, uint8_t* packed) {
  uint8_t weights[kMaxColumns * unit];  // `unit` places of every column
  memset(weights + n * unit, 0, static_cast<size_t>((width - n) * unit));
  for (int64_t p = 0; p < k; p += unit) {
    const int64_t places = k - p < unit ? k - p : unit;
    for (int j = 0; j < n; ++j) {
      const uint64_t bytes = NibblesToBytes(UpToEightCodes(codes, first + j * column_stride + p, places));
      memcpy(weights + j * unit, &bytes, unit);
    }
    for (int run = 0; run < width * unit; run += kRunS8, packed += kHalf) {
      for (int i = 0; i < kHalf; ++i) {
        packed[i] = static_cast<uint8_t>(weights[run + i] | weights[run + kHalf + i] << 4);
      }
    }
  }
}

}  // namespace

void pack_s8(const uint8_t* codes, int64_t first, int64_t column_stride, int64_t k, int n, int width, int k_unit,
             uint8_t* packed) {
  static_assert(kMaxUnitS8 == 8, "a case for every k_unit");
  (k_unit == 4 ? Pack<4> : Pack<8>)(codes, first, column_stride, k, n, width, packed);
}

}  // namespace dgms
