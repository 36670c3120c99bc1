// From sums to outputs with NEON: four columns at a time (16 where they are there, on 64-bit ARM), all rows of a tile
// before the next ones. The last columns are computed in full vectors (the per-column arrays may be read that far, see
// kernel_s8.h) and stored one by one.
#include <string.h>

#include "kernels/kernel_s8.h"
#include "kernels/rescale_rows_s8.h"
#include "kernels/simd_neon.h"
#if DGMS_AARCH64
#include "kernels/requantize_s8_neon.h"
#endif

namespace dgms {
namespace {

// Four columns, or the first few: nothing beyond is read or written.
struct AllColumns {
  DGMS_INLINE int32x4_t Load(const int32_t* p) const { return vld1q_s32(p); }
  DGMS_INLINE void Store(int8_t* p, int8x8_t bytes) const {
    const int32_t word = vget_lane_s32(vreinterpret_s32_s8(bytes), 0);
    memcpy(p, &word, sizeof(word));
  }
  DGMS_INLINE float32x4_t Load(const float* p) const { return vld1q_f32(p); }
  DGMS_INLINE void Store(float* p, float32x4_t values) const { vst1q_f32(p, values); }
};
struct SomeColumns {
  int count;
  DGMS_INLINE int32x4_t Load(const int32_t* p) const {
    int32_t all[kLanes] = {};
    memcpy(all, p, static_cast<size_t>(count) * sizeof(int32_t));
    return vld1q_s32(all);
  }
  DGMS_INLINE float32x4_t Load(const float* p) const {
    float all[kLanes] = {};
    memcpy(all, p, static_cast<size_t>(count) * sizeof(float));
    return vld1q_f32(all);
  }
  DGMS_INLINE void Store(int8_t* p, int8x8_t bytes) const {
    int8_t all[2 * kLanes];
    vst1_s8(all, bytes);
    memcpy(p, all, static_cast<size_t>(count));
  }
  DGMS_INLINE void Store(float* p, float32x4_t values) const { StoreFirst(p, values, count); }
};

// Calls columns(j, AllColumns or SomeColumns) for every four columns from j on.
template <typename Columns>
DGMS_INLINE void ForColumns(int j, int n, const Columns& columns) {
  for (; j + kLanes <= n; j += kLanes) columns(j, AllColumns{});
  if (j < n) columns(j, SomeColumns{n - j});
}

// The low bytes of the lanes of x + zero, clamped.
struct LowBytes {
  int32x4_t zero, min, max;
  DGMS_INLINE LowBytes(int32_t zero_, int32_t min_, int32_t max_)
      : zero(vdupq_n_s32(zero_)), min(vdupq_n_s32(min_)), max(vdupq_n_s32(max_)) {}
  DGMS_INLINE int8x8_t operator()(int32x4_t x) const {
    const int16x4_t y = vmovn_s32(vminq_s32(vmaxq_s32(vaddq_s32(x, zero), min), max));
    return vmovn_s16(vcombine_s16(y, y));
  }
};

#if DGMS_AARCH64
// Four products in double, rounded to integers with halves away from zero.
DGMS_INLINE int32x4_t Rounded(int32x4_t x, float64x2_t low_factor, float64x2_t high_factor) {
  const float64x2_t most = vdupq_n_f64(1073741824.0), least = vnegq_f64(most);
  const float64x2_t low = vmulq_f64(vcvtq_f64_s64(vmovl_s32(vget_low_s32(x))), low_factor);
  const float64x2_t high = vmulq_f64(vcvtq_f64_s64(vmovl_s32(vget_high_s32(x))), high_factor);
  return vcombine_s32(vmovn_s64(vcvtaq_s64_f64(vminq_f64(vmaxq_f64(low, least), most))),
                      vmovn_s64(vcvtaq_s64_f64(vminq_f64(vmaxq_f64(high, least), most))));
}

// Fixed point, 16 columns, if they are simple (requantize_s8_neon.h).
constexpr int kWide = 16, kVectors = kWide / kLanes;

bool IsSimple(const RequantizeArgs& args, int j) {
  int32x4_t left = vdupq_n_s32(0), least_right = vdupq_n_s32(1);
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    left = vorrq_s32(left, vld1q_s32(args.left + j + v * kLanes));
    least_right = vminq_s32(least_right, vld1q_s32(args.right + j + v * kLanes));
  }
  return vmaxvq_u32(vreinterpretq_u32_s32(left)) == 0 && vminvq_s32(least_right) == 1;
}

template <bool ties, bool clamp>
void RequantizeWide(const RequantizeArgs& args, int j) {
  const int32x4x4_t bias = vld1q_s32_x4(args.bias + j), multiplier = vld1q_s32_x4(args.multiplier + j);
  int32x4x4_t right = vld1q_s32_x4(args.right + j);
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) right.val[v] = vnegq_s32(right.val[v]);
  const int16x8_t zero = vdupq_n_s16(static_cast<int16_t>(args.zero));
  const int8x16_t min = vdupq_n_s8(static_cast<int8_t>(args.min)), max = vdupq_n_s8(static_cast<int8_t>(args.max));
  const int32_t* sums = args.sums + j;
  int8_t* output = args.output + j;
  const int64_t sums_stride = args.sums_row_stride, output_stride = args.output_row_stride;
  for (int r = args.rows; r > 0; --r, sums += sums_stride, output += output_stride) {
    const int32x4x4_t x = vld1q_s32_x4(sums);
    int32x4_t y[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      y[v] = Multiplied<ties>(vaddq_s32(x.val[v], bias.val[v]), multiplier.val[v]);
      y[v] = vrshlq_s32(y[v], right.val[v]);
    }
    int8x16_t bytes = Bytes<false>(y, zero);
    if (clamp) bytes = vminq_s8(vmaxq_s8(bytes, min), max);
    vst1q_s8(output, bytes);
  }
}

// The columns from the first on that it can do, 16 at a time; returns how many.
int RequantizeWideColumns(const RequantizeArgs& args) {
  static constexpr decltype(&RequantizeWide<true, true>) kWays[2][2] = {
      {RequantizeWide<false, false>, RequantizeWide<false, true>},
      {RequantizeWide<true, false>, RequantizeWide<true, true>}};
  const bool ties = HasTies(args), clamp = HasClamp(args);
  int j = 0;
  for (; j + kWide <= args.n && IsSimple(args, j); j += kWide) kWays[ties][clamp](args, j);
  return j;
}
// To float, 16 columns; all rows share the first entry.
template <bool adds, bool lower, bool upper>
void DequantizeWide(const DequantizeArgs& args, int j) {
  int32x4x4_t zero = vld1q_s32_x4(args.column_sum + j);
  float32x4x4_t scale = vld1q_f32_x4(args.column_scale + j);
  const float32x4x4_t bias = vld1q_f32_x4(args.bias + j);
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    zero.val[v] = vmulq_n_s32(zero.val[v], args.zero[0]);
    scale.val[v] = vmulq_n_f32(scale.val[v], args.scale[0]);
  }
  const float32x4_t min = vdupq_n_f32(args.min), max = vdupq_n_f32(args.max);
  const int32_t* sums = args.sums + j;
  const float* residual = args.residual + (adds ? j : 0);
  float* output = args.output + j;
  const int64_t sums_stride = args.sums_row_stride, output_stride = args.output_row_stride;
  for (int r = args.rows; r > 0; --r, sums += sums_stride, output += output_stride) {
    const int32x4x4_t x = vld1q_s32_x4(sums);
    float32x4x4_t y;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const float32x4_t sum = vcvtq_f32_s32(vsubq_s32(x.val[v], zero.val[v]));
      y.val[v] = vaddq_f32(vmulq_f32(sum, scale.val[v]), bias.val[v]);
      if (adds) y.val[v] = vaddq_f32(y.val[v], vld1q_f32(residual + v * kLanes));
      if (lower) y.val[v] = vmaxq_f32(y.val[v], min);
      if (upper) y.val[v] = vminq_f32(y.val[v], max);
    }
    vst1q_f32_x4(output, y);
    if (adds) residual += args.residual_row_stride;
  }
}

int DequantizeWideColumns(const DequantizeArgs& args) {
  static constexpr decltype(&DequantizeWide<true, true, true>) kWays[2][2][2] = {
      {{DequantizeWide<false, false, false>, DequantizeWide<false, false, true>},
       {DequantizeWide<false, true, false>, DequantizeWide<false, true, true>}},
      {{DequantizeWide<true, false, false>, DequantizeWide<true, false, true>},
       {DequantizeWide<true, true, false>, DequantizeWide<true, true, true>}}};
  const bool adds = args.residual != nullptr;
  const bool lower = args.min > -__builtin_inff(), upper = args.max < __builtin_inff();
  int j = 0;
  for (; j + kWide <= args.n; j += kWide) kWays[adds][lower][upper](args, j);
  return j;
}
#endif

#if DGMS_AARCH64
// To int8; all rows share the first entry. The conversion saturates, narrowing does, too; NaN becomes 0.
void RescaleRowsAlike(const RescaleRowsArgs& args) {
  const int64_t sums_stride = args.sums_row_stride, stride = args.output_row_stride;
  int j = 0;
  for (; j + kWide <= args.n; j += kWide) {
    int32x4x4_t zero = vld1q_s32_x4(args.column_sum + j);
    float32x4x4_t scale = vld1q_f32_x4(args.column_scale + j);
    const float32x4x4_t bias = vld1q_f32_x4(args.bias + j);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      zero.val[v] = vmulq_n_s32(zero.val[v], args.zero[0]);
      scale.val[v] = vmulq_n_f32(scale.val[v], args.scale[0]);
    }
    const int32_t* sums = args.sums + j;
    int8_t* output = args.output + j;
    for (int r = args.rows; r > 0; --r, sums += sums_stride, output += stride) {
      const int32x4x4_t x = vld1q_s32_x4(sums);
      uint32x4_t q[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const float32x4_t sum = vcvtq_f32_s32(vsubq_s32(x.val[v], zero.val[v]));
        q[v] = vcvtnq_u32_f32(vaddq_f32(vmulq_f32(sum, scale.val[v]), bias.val[v]));
      }
      const uint8x16_t bytes =
          vqmovn_high_u16(vqmovn_u16(vqmovn_high_u32(vqmovn_u32(q[0]), q[1])), vqmovn_high_u32(vqmovn_u32(q[2]), q[3]));
      vst1q_s8(output, vreinterpretq_s8_u8(veorq_u8(bytes, vdupq_n_u8(128))));
    }
  }
  ForColumns(j, args.n, [&](int column, const auto& columns) {
    const int32x4_t to_subtract = vmulq_n_s32(vld1q_s32(args.column_sum + column), args.zero[0]);
    const float32x4_t scale = vmulq_n_f32(vld1q_f32(args.column_scale + column), args.scale[0]);
    const float32x4_t bias = vld1q_f32(args.bias + column);
    const int32_t* sums = args.sums + column;
    int8_t* output = args.output + column;
    for (int r = args.rows; r > 0; --r, sums += sums_stride, output += stride) {
      const float32x4_t sum = vcvtq_f32_s32(vsubq_s32(columns.Load(sums), to_subtract));
      const uint16x4_t q = vqmovn_u32(vcvtnq_u32_f32(vaddq_f32(vmulq_f32(sum, scale), bias)));
      const uint8x8_t bytes = vqmovn_u16(vcombine_u16(q, q));
      columns.Store(output, vreinterpret_s8_u8(veor_u8(bytes, vdup_n_u8(128))));
    }
  });
}
#endif

// To float; all rows share the first entry.
void DequantizeAlike(const DequantizeArgs& args) {
  const float32x4_t min = vdupq_n_f32(args.min), max = vdupq_n_f32(args.max);
#if DGMS_AARCH64
  const int first = DequantizeWideColumns(args);
#else
  const int first = 0;
#endif
  ForColumns(first, args.n, [&](int j, const auto& columns) {
    const int32x4_t to_subtract = vmulq_n_s32(vld1q_s32(args.column_sum + j), args.zero[0]);
    const float32x4_t scale = vmulq_n_f32(vld1q_f32(args.column_scale + j), args.scale[0]);
    const float32x4_t bias = vld1q_f32(args.bias + j);
    const int32_t* sums = args.sums + j;
    float* output = args.output + j;
    for (int r = 0; r < args.rows; ++r, sums += args.sums_row_stride, output += args.output_row_stride) {
      const int32x4_t sum = vsubq_s32(columns.Load(sums), to_subtract);
      float32x4_t y = vaddq_f32(vmulq_f32(vcvtq_f32_s32(sum), scale), bias);
      if (args.residual != nullptr) {
        y = vaddq_f32(y, columns.Load(args.residual + r * args.residual_row_stride + j));
      }
      columns.Store(output, Clamp(y, min, max));
    }
  });
}

}  // namespace

void s8_output_neon_requantize(const RequantizeArgs& args) {
  const LowBytes bytes(args.zero, args.min, args.max);
#if DGMS_AARCH64
  const int first = RequantizeWideColumns(args);
#else
  const int first = 0;
#endif
  ForColumns(first, args.n, [&](int j, const auto& columns) {
    const int32x4_t bias = vld1q_s32(args.bias + j), multiplier = vld1q_s32(args.multiplier + j);
    const int32x4_t left = vld1q_s32(args.left + j), right = vnegq_s32(vld1q_s32(args.right + j));
    const int32_t* sums = args.sums + j;
    int8_t* output = args.output + j;
    for (int r = args.rows; r > 0; --r, sums += args.sums_row_stride, output += args.output_row_stride) {
      int32x4_t x = vshlq_s32(vaddq_s32(columns.Load(sums), bias), left);
      x = vqrdmulhq_s32(x, multiplier);
      // The shift rounds halves up; one less for negative numbers makes it away from zero.
      x = vqaddq_s32(x, vshrq_n_s32(vandq_s32(x, right), 31));
      columns.Store(output, bytes(vrshlq_s32(x, right)));
    }
  });
}

void s8_output_neon_rescale(const RescaleArgs& args) {
#if DGMS_AARCH64
  const LowBytes bytes(args.zero, args.min, args.max);
  ForColumns(0, args.n, [&](int j, const auto& columns) {
    const int32x4_t bias = vld1q_s32(args.bias + j);
    const float64x2_t low = vld1q_f64(args.factor + j), high = vld1q_f64(args.factor + j + 2);
    const int32_t* sums = args.sums + j;
    int8_t* output = args.output + j;
    for (int r = args.rows; r > 0; --r, sums += args.sums_row_stride, output += args.output_row_stride) {
      columns.Store(output, bytes(Rounded(vaddq_s32(columns.Load(sums), bias), low, high)));
    }
  });
#else
  s8_output_portable_rescale(args);  // no vectors of doubles
#endif
}

void s8_output_neon_dequantize(const DequantizeArgs& args) {
  // Rows that share an entry at a time.
  DequantizeArgs alike = args;
  int64_t left = args.first_rows;
  for (int rows = args.rows; rows > 0; rows -= alike.rows, left = args.rows_each) {
    alike.rows = rows < left ? rows : static_cast<int>(left);
    DequantizeAlike(alike);
    ++alike.zero;
    ++alike.scale;
    alike.sums += alike.rows * args.sums_row_stride;
    alike.output += alike.rows * args.output_row_stride;
    if (args.residual != nullptr) alike.residual += alike.rows * args.residual_row_stride;
  }
}

void s8_output_neon_rescale_rows(const RescaleRowsArgs& args) {
#if DGMS_AARCH64
  ForRowsAlike(args, RescaleRowsAlike);
#else
  s8_output_portable_rescale_rows(args);  // no instruction rounds halves to even
#endif
}

}  // namespace dgms
