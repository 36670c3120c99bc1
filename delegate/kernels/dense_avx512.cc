// Dense filters with AVX-512.
#include "kernels/simd_avx512.h"

// The order matters: dense_x86.h is written over the names of the header above.
#include "kernels/dense_x86.h"

namespace dgms {

void dense_avx512_transpose(const void* rows, int64_t row_bytes, int64_t k, int n, int width, void* panel) {
  Transpose(rows, row_bytes, k, n, width, panel);
}

void dense_avx512_dot_rows(const DotRowsF32Args& args) { DotAllRows(args); }

}  // namespace dgms
