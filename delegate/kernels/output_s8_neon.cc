// From sums to outputs with NEON: four columns at a time, all rows of a tile before the next four. The last columns are
// computed in full vectors (the per-column arrays may be read that far, see kernel_s8.h) and stored one by one.
#include <string.h>

#include "kernels/kernel_s8.h"
#include "kernels/simd_neon.h"

namespace dgms {
namespace {

// Four columns, or the first few: nothing beyond is read or written.
struct AllColumns {
  DGMS_INLINE int32x4_t Load(const int32_t* p) const { return vld1q_s32(p); }
  DGMS_INLINE void Store(int8_t* p, int8x8_t bytes) const {
    const int32_t word = vget_lane_s32(vreinterpret_s32_s8(bytes), 0);
    memcpy(p, &word, sizeof(word));
  }
  DGMS_INLINE void Store(float* p, float32x4_t values) const { vst1q_f32(p, values); }
};
struct SomeColumns {
  int count;
  DGMS_INLINE int32x4_t Load(const int32_t* p) const {
    int32_t all[kLanes] = {};
    memcpy(all, p, static_cast<size_t>(count) * sizeof(int32_t));
    return vld1q_s32(all);
  }
  DGMS_INLINE void Store(int8_t* p, int8x8_t bytes) const {
    int8_t all[2 * kLanes];
    vst1_s8(all, bytes);
    memcpy(p, all, static_cast<size_t>(count));
  }
  DGMS_INLINE void Store(float* p, float32x4_t values) const { StoreFirst(p, values, count); }
};

// Calls columns(j, AllColumns or SomeColumns) for every four columns.
template <typename Columns>
DGMS_INLINE void ForColumns(int n, const Columns& columns) {
  int j = 0;
  for (; j + kLanes <= n; j += kLanes) columns(j, AllColumns{});
  if (j < n) columns(j, SomeColumns{n - j});
}

// The low bytes of the lanes of x + zero, clamped.
struct Bytes {
  int32x4_t zero, min, max;
  DGMS_INLINE Bytes(int32_t zero_, int32_t min_, int32_t max_)
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
#endif

}  // namespace

void s8_output_neon_requantize(const RequantizeArgs& args) {
  const Bytes bytes(args.zero, args.min, args.max);
  ForColumns(args.n, [&](int j, const auto& columns) {
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
  const Bytes bytes(args.zero, args.min, args.max);
  ForColumns(args.n, [&](int j, const auto& columns) {
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
  const float32x4_t min = vdupq_n_f32(args.min), max = vdupq_n_f32(args.max);
  ForColumns(args.n, [&](int j, const auto& columns) {
    const int32x4_t column_sum = vld1q_s32(args.column_sum + j);
    const float32x4_t column_scale = vld1q_f32(args.column_scale + j), bias = vld1q_f32(args.bias + j);
    const int32_t* sums = args.sums + j;
    float* output = args.output + j;
    for (int r = 0; r < args.rows; ++r, sums += args.sums_row_stride, output += args.output_row_stride) {
      const int32x4_t zero = vdupq_n_s32(args.row_zero[r * args.row_step]);
      const float32x4_t scale = vmulq_f32(vdupq_n_f32(args.row_scale[r * args.row_step]), column_scale);
      const int32x4_t sum = vmlsq_s32(columns.Load(sums), zero, column_sum);
      const float32x4_t y = vaddq_f32(vmulq_f32(vcvtq_f32_s32(sum), scale), bias);
      columns.Store(output, Clamp(y, min, max));
    }
  });
}

}  // namespace dgms
