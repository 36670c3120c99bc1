// Dense filters in plain C++.
#include <string.h>

#include "kernels/kernel.h"

namespace dgms {

void dense_portable_transpose(const void* rows, int64_t row_bytes, int64_t k, int n, int width, void* panel) {
  for (int j = 0; j < width; ++j) {  // columns without a row repeat the last
    const char* from = static_cast<const char*>(rows) + (j < n ? j : n - 1) * row_bytes;
    char* to = static_cast<char*>(panel) + 4 * j;
    for (int64_t p = 0; p < k; ++p) memcpy(to + 4 * p * width, from + 4 * p, 4);
  }
}

void dense_portable_dot_rows(const DotRowsF32Args& args) {
  constexpr int kChains = 8;
  for (int64_t j = 0; j < args.n; ++j) {
    const float* row = args.rows + j * args.row_stride;
    float sums[kChains] = {};
    int64_t p = 0;
    for (; p + kChains <= args.k; p += kChains) {
      for (int i = 0; i < kChains; ++i) sums[i] += args.x[p + i] * row[p + i];
    }
    for (int i = 0; p < args.k; ++p, ++i) sums[i] += args.x[p] * row[p];
    for (int step = kChains / 2; step > 0; step /= 2) {
      for (int i = 0; i < step; ++i) sums[i] += sums[i + step];
    }
    float y = sums[0] * args.epilogue.scale[j] + args.epilogue.bias[j];
    if (args.epilogue.residual != nullptr) y += args.epilogue.residual[j];
    const float above = y < args.epilogue.min ? args.epilogue.min : y;  // NaN passes
    args.y[j] = above > args.epilogue.max ? args.epilogue.max : above;
  }
}

}  // namespace dgms
