// Register tiles of int8 products on 64-bit ARM, where activations were quantised at run time: what becomes of their
// sums. For *_neon*.cc only.
#ifndef DGMS_KERNELS_GEMM_S8_BY_ROWS_NEON_H_
#define DGMS_KERNELS_GEMM_S8_BY_ROWS_NEON_H_

#include "kernels/gemm_s8_tile_neon.h"

namespace dgms {
namespace {

alignas(16) constexpr int32_t kNoSums[4 * kLanes] = {};

// To real numbers (ByRowsArgs). Where all rows of a tile have one zero point and scale, as most have, sums begin at
// what the zero point takes from them, and what the two make of the columns is in memory. Else the kernel for sums in
// memory has the rest, too.
template <int vectors, typename Args>
class ByRows {
 public:
  // `c`: what the blocks before left, or null.
  DGMS_INLINE ByRows(const int32_t* c, const Args& output) : c_(c), args_(output) {
    args_.n = vectors * kLanes;
    PrepareRows();
  }

  template <int rows>
  DGMS_INLINE void Begin(SumsS8<rows, vectors>& sums) {
    BeginAt<rows, vectors>(alike(rows) ? start_ : kNoSums, sums);
    if (c_ == nullptr) return;
    Add(c_, sums);
    c_ += rows * vectors * kLanes;
  }

 protected:
  DGMS_INLINE bool alike(int rows) const { return rows <= args_.first_rows; }

  template <int rows>
  DGMS_INLINE void ToReal(const SumsS8<rows, vectors>& sums, float32x4_t (&y)[rows][vectors]) const {
    {
      float32x4_t scale[vectors];
      LoadColumns(scale_, scale);
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) y[r][v] = vmulq_f32(vcvtq_f32_s32(sums.v[r][v]), scale[v]);
      }
    }
    float32x4_t bias[vectors];
    LoadColumns(args_.bias, bias);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) y[r][v] = vaddq_f32(y[r][v], bias[v]);
    }
  }

  // Rows that are not alike.
  template <int rows>
  DGMS_INLINE void FinishMixed(const SumsS8<rows, vectors>& sums, void (*kernel)(const Args& args)) const {
    alignas(16) int32_t c[rows * vectors * kLanes];
    Args args = args_;
    args.rows = rows;
    args.sums = c;
    args.sums_row_stride = vectors * kLanes;
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) vst1q_s32(c + (r * vectors + v) * kLanes, sums.v[r][v]);
    }
    kernel(args);
  }

  // To the next tile.
  DGMS_INLINE void Advance(int rows) {
    args_.output += rows * args_.output_row_stride;
    args_.rows -= rows;
    args_.first_rows -= rows;
    if (args_.first_rows > 0) return;
    for (; args_.first_rows <= 0; args_.first_rows += args_.rows_each) {
      ++args_.zero;
      ++args_.scale;
    }
    if (args_.rows > 0) PrepareRows();  // there is an entry
  }

  const int32_t* c_;
  Args args_;  // of the rows that are left

 private:
  DGMS_INLINE void PrepareRows() {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      vst1q_s32(start_ + v * kLanes, vmulq_n_s32(vld1q_s32(args_.column_sum + v * kLanes), -*args_.zero));
      vst1q_f32(scale_ + v * kLanes, vmulq_n_f32(vld1q_f32(args_.column_scale + v * kLanes), *args_.scale));
    }
  }

  alignas(16) int32_t start_[vectors * kLanes];
  alignas(16) float scale_[vectors * kLanes];
};

// To float.
template <int vectors>
class ToFloats : public ByRows<vectors, DequantizeArgs> {
 public:
  DGMS_INLINE ToFloats(const int32_t* c, const DequantizeArgs& output)
      : ByRows<vectors, DequantizeArgs>(c, output),
        lower_(output.min > -__builtin_inff()),
        upper_(output.max < __builtin_inff()) {}

  template <int rows>
  DGMS_INLINE void Finish(SumsS8<rows, vectors>& sums) {
    if (this->alike(rows)) {
      FinishAlike(sums);
    } else {
      this->FinishMixed(sums, s8_output_neon_dequantize);
    }
    if (this->args_.residual != nullptr) this->args_.residual += rows * this->args_.residual_row_stride;
    this->Advance(rows);
  }

 private:
  template <int rows>
  DGMS_INLINE void FinishAlike(const SumsS8<rows, vectors>& sums) const {
    const DequantizeArgs& args = this->args_;
    float32x4_t y[rows][vectors];
    this->ToReal(sums, y);
    if (const float* residual = args.residual; residual != nullptr) {
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r, residual += args.residual_row_stride) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) y[r][v] = vaddq_f32(y[r][v], vld1q_f32(residual + v * kLanes));
      }
    }
    if (lower_) Each(y, [min = vdupq_n_f32(args.min)](float32x4_t x) { return vmaxq_f32(x, min); });
    if (upper_) Each(y, [max = vdupq_n_f32(args.max)](float32x4_t x) { return vminq_f32(x, max); });
    float* output = args.output;
    const int64_t stride = args.output_row_stride;  // a copy: stores might change the member
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r, output += stride) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) vst1q_f32(output + v * kLanes, y[r][v]);
    }
  }

  template <int rows, typename Of>
  static DGMS_INLINE void Each(float32x4_t (&y)[rows][vectors], const Of& of) {
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) y[r][v] = of(y[r][v]);
    }
  }

  const bool lower_, upper_;
};

// To int8 (RescaleRowsArgs). The conversion and the narrowing saturate; NaN becomes 0, which stands for -128.
template <int vectors>
class ToRoundedBytes : public ByRows<vectors, RescaleRowsArgs> {
 public:
  using ByRows<vectors, RescaleRowsArgs>::ByRows;

  template <int rows>
  DGMS_INLINE void Finish(SumsS8<rows, vectors>& sums) {
    if (this->alike(rows)) {
      FinishAlike(sums);
    } else {
      this->FinishMixed(sums, s8_output_neon_rescale_rows);
    }
    this->Advance(rows);
  }

 private:
  template <int rows>
  DGMS_INLINE void FinishAlike(const SumsS8<rows, vectors>& sums) const {
    float32x4_t y[rows][vectors];
    this->ToReal(sums, y);
    int8_t* output = this->args_.output;
    const int64_t stride = this->args_.output_row_stride;  // a copy: stores of bytes might change the member
    const uint8x16_t top_bits = TopBits();
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r, output += stride) StoreBytes<vectors>(output, Rounded(y[r], top_bits));
  }

  static DGMS_INLINE uint16x8_t Halves(float32x4_t low, float32x4_t high) {
    return vqmovn_high_u32(vqmovn_u32(vcvtnq_u32_f32(low)), vcvtnq_u32_f32(high));
  }
  static DGMS_INLINE int8x16_t Rounded(const float32x4_t (&y)[4], uint8x16_t top_bits) {
    const uint8x16_t above = vqmovn_high_u16(vqmovn_u16(Halves(y[0], y[1])), Halves(y[2], y[3]));
    return vreinterpretq_s8_u8(veorq_u8(above, top_bits));
  }
  static DGMS_INLINE int8x16_t Rounded(const float32x4_t (&y)[2], uint8x16_t top_bits) {
    const uint8x8_t above = vqmovn_u16(Halves(y[0], y[1]));
    return vreinterpretq_s8_u8(veorq_u8(vcombine_u8(above, above), top_bits));
  }
};

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_GEMM_S8_BY_ROWS_NEON_H_
