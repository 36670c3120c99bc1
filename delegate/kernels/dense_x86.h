// Dense filters on AVX2 and AVX-512, written once over simd_avx2.h or simd_avx512.h, which the including file includes
// first.
#ifndef DGMS_KERNELS_DENSE_X86_H_
#define DGMS_KERNELS_DENSE_X86_H_

#include "kernels/kernel.h"

namespace dgms {
namespace {

constexpr int kQuad = 4;  // words of a row that are loaded at once

// Four words of kLanes rows, from byte `at` of each. Vector i takes rows i, i + 4, i + 8 ... in its 128-bit lanes, so
// that transposing inside of the lanes leaves the columns in order; the first `columns` of them are written.
DGMS_INLINE void TransposeQuad(const char* const (&rows)[kLanes], int64_t at, int columns, int64_t width, char* panel) {
  Floats v[kQuad];
#pragma GCC unroll 4
  for (int i = 0; i < kQuad; ++i) {
    const char* lanes[kLanes / 4];
#pragma GCC unroll 4
    for (int lane = 0; lane < kLanes / 4; ++lane) lanes[lane] = rows[i + 4 * lane] + at;
    v[i] = LoadQuads(lanes);
  }
  TransposeQuads(v);
#pragma GCC unroll 4
  for (int i = 0; i < kQuad; ++i) {
    float* to = reinterpret_cast<float*>(panel + i * width * 4);
    columns >= kLanes ? Store(to, v[i]) : Store(to, v[i], First(columns));
  }
}

void Transpose(const void* rows, int64_t row_bytes, int64_t k, int n, int width, void* panel) {
  for (int column = 0; column < width; column += kLanes) {
    const char* row[kLanes];
    for (int j = 0; j < kLanes; ++j) {  // columns without a row repeat the last
      row[j] = static_cast<const char*>(rows) + (column + j < n ? column + j : n - 1) * row_bytes;
    }
    char* to = static_cast<char*>(panel) + column * 4;
    const int columns = width - column < kLanes ? width - column : kLanes;
    int64_t p = 0;
    for (; p + kQuad <= k; p += kQuad) TransposeQuad(row, 4 * p, columns, width, to + p * width * 4);
    if (p < k && k >= kQuad) {  // the last four words once more
      TransposeQuad(row, 4 * (k - kQuad), columns, width, to + (k - kQuad) * width * 4);
      continue;
    }
    for (; p < k; ++p) {
      for (int j = 0; j < columns; ++j) __builtin_memcpy(to + (p * width + j) * 4, row[j] + 4 * p, 4);
    }
  }
}

// `rows` outputs from output j on. Two chains of sums for each row, whatever the number of rows.
template <int rows>
DGMS_INLINE void DotRows(const DotRowsF32Args& args, int64_t j) {
  const float* row = args.rows + j * args.row_stride;
  Floats sums[rows][2];
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r) sums[r][0] = sums[r][1] = Zero();
  int64_t p = 0;
  for (; p + 2 * kLanes <= args.k; p += 2 * kLanes) {
    const Floats x0 = Load(args.x + p), x1 = Load(args.x + p + kLanes);
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
      sums[r][0] = MultiplyAdd(x0, Load(row + r * args.row_stride + p), sums[r][0]);
      sums[r][1] = MultiplyAdd(x1, Load(row + r * args.row_stride + p + kLanes), sums[r][1]);
    }
  }
  for (; p < args.k; p += kLanes) {
    const Mask mask = First(args.k - p);
    const Floats x = Load(args.x + p, mask);
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
      sums[r][0] = MultiplyAdd(x, Load(row + r * args.row_stride + p, mask), sums[r][0]);
    }
  }
  const Epilogue& e = args.epilogue;
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r) {
    float y = Sum(Add(sums[r][0], sums[r][1])) * e.scale[j + r] + e.bias[j + r];
    if (e.residual != nullptr) y += e.residual[j + r];
    const float above = y < e.min ? e.min : y;  // NaN passes
    args.y[j + r] = above > e.max ? e.max : above;
  }
}

void DotAllRows(const DotRowsF32Args& args) {
  int64_t j = 0;
  for (; j + 4 <= args.n; j += 4) DotRows<4>(args, j);
  for (; j < args.n; ++j) DotRows<1>(args, j);
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_DENSE_X86_H_
