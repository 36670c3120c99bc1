// Codes in the order of their file become floats, in plain C++.
#include "kernels/kernel.h"

namespace dgms {

void f32_codes_portable(const uint8_t* codes, int64_t count, const float* table, float* weights) {
  int64_t i = 0;
  for (; i + 2 <= count; i += 2) {
    const int pair = codes[i / 2];
    weights[i] = table[pair & 15];
    weights[i + 1] = table[pair >> 4];
  }
  if (i < count) weights[i] = table[codes[i / 2] & 15];
}

}  // namespace dgms
