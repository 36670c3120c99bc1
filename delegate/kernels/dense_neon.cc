// Dense filters with NEON, 64-bit and 32-bit.
#include "kernels/kernel.h"
#include "kernels/simd_neon.h"

namespace dgms {
namespace {

constexpr int kQuad = 4;  // words of a row that are loaded at once

// Four words of four rows, from byte `at` of each.
DGMS_INLINE void TransposeQuad(const uint8_t* const (&rows)[kLanes], int64_t at, int64_t width, uint32_t* panel) {
  uint32x4_t v[kQuad];
  for (int i = 0; i < kQuad; ++i) v[i] = vreinterpretq_u32_u8(vld1q_u8(rows[i] + at));
  const uint32x4x2_t t01 = vtrnq_u32(v[0], v[1]), t23 = vtrnq_u32(v[2], v[3]);
  vst1q_u32(panel, vcombine_u32(vget_low_u32(t01.val[0]), vget_low_u32(t23.val[0])));
  vst1q_u32(panel + width, vcombine_u32(vget_low_u32(t01.val[1]), vget_low_u32(t23.val[1])));
  vst1q_u32(panel + 2 * width, vcombine_u32(vget_high_u32(t01.val[0]), vget_high_u32(t23.val[0])));
  vst1q_u32(panel + 3 * width, vcombine_u32(vget_high_u32(t01.val[1]), vget_high_u32(t23.val[1])));
}

DGMS_INLINE float Sum(float32x4_t v) {
  const float32x2_t pairs = vadd_f32(vget_low_f32(v), vget_high_f32(v));
  return vget_lane_f32(vpadd_f32(pairs, pairs), 0);
}

// `rows` outputs from output j on. Two chains of sums for each row, whatever the number of rows.
template <int rows>
DGMS_INLINE void DotRows(const DotRowsF32Args& args, int64_t j) {
  const float* row = args.rows + j * args.row_stride;
  float32x4_t sums[rows][2];
  for (int r = 0; r < rows; ++r) sums[r][0] = sums[r][1] = vdupq_n_f32(0.0f);
  int64_t p = 0;
  for (; p + 2 * kLanes <= args.k; p += 2 * kLanes) {
    const float32x4_t x0 = vld1q_f32(args.x + p), x1 = vld1q_f32(args.x + p + kLanes);
    for (int r = 0; r < rows; ++r) {
      sums[r][0] = vfmaq_f32(sums[r][0], x0, vld1q_f32(row + r * args.row_stride + p));
      sums[r][1] = vfmaq_f32(sums[r][1], x1, vld1q_f32(row + r * args.row_stride + p + kLanes));
    }
  }
  for (; p < args.k; p += kLanes) {
    const int places = static_cast<int>(args.k - p < kLanes ? args.k - p : kLanes);
    const float32x4_t x = LoadFirst(args.x + p, places);
    for (int r = 0; r < rows; ++r) {
      sums[r][0] = vfmaq_f32(sums[r][0], x, LoadFirst(row + r * args.row_stride + p, places));
    }
  }
  const Epilogue& e = args.epilogue;
  for (int r = 0; r < rows; ++r) {
    float y = Sum(vaddq_f32(sums[r][0], sums[r][1])) * e.scale[j + r] + e.bias[j + r];
    if (e.residual != nullptr) y += e.residual[j + r];
    const float above = y < e.min ? e.min : y;  // NaN passes
    args.y[j + r] = above > e.max ? e.max : above;
  }
}

}  // namespace

void dense_neon_transpose(const void* rows, int64_t row_bytes, int64_t k, int n, int width, void* panel) {
  for (int column = 0; column < width; column += kLanes) {
    const uint8_t* row[kLanes];
    for (int j = 0; j < kLanes; ++j) {  // columns without a row repeat the last
      row[j] = static_cast<const uint8_t*>(rows) + (column + j < n ? column + j : n - 1) * row_bytes;
    }
    uint32_t* to = static_cast<uint32_t*>(panel) + column;
    int64_t p = 0;
    for (; p + kQuad <= k; p += kQuad) TransposeQuad(row, 4 * p, width, to + p * width);
    if (p < k && k >= kQuad) {  // the last four words once more
      TransposeQuad(row, 4 * (k - kQuad), width, to + (k - kQuad) * width);
      continue;
    }
    for (; p < k; ++p) {
      for (int j = 0; j < kLanes; ++j) __builtin_memcpy(to + p * width + j, row[j] + 4 * p, 4);
    }
  }
}

void dense_neon_dot_rows(const DotRowsF32Args& args) {
  int64_t j = 0;
  for (; j + 4 <= args.n; j += 4) DotRows<4>(args, j);
  for (; j < args.n; ++j) DotRows<1>(args, j);
}

}  // namespace dgms
