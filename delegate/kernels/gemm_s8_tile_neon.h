// Register tiles of int8 products on 64-bit ARM: their weights, what their sums begin with and what becomes of them.
// For *_neon*.cc only.
#ifndef DGMS_KERNELS_GEMM_S8_TILE_NEON_H_
#define DGMS_KERNELS_GEMM_S8_TILE_NEON_H_

#include "kernels/kernel_s8.h"
#include "kernels/requantize_s8_neon.h"
#include "kernels/simd_neon.h"

namespace dgms {
namespace {

// 4 * vectors columns of some rows.
template <int rows, int vectors>
struct SumsS8 {
  int32x4_t v[rows][vectors];
};

// Four places of all columns; moves on to the next.
template <int vectors>
DGMS_INLINE void NextWeights(const int8_t** panel, int8x16_t (&w)[vectors]) {
  if constexpr (vectors == 4) {
    const int8x16x4_t all = vld1q_s8_x4(*panel);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) w[v] = all.val[v];
  } else {
    const int8x16x2_t all = vld1q_s8_x2(*panel);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) w[v] = all.val[v];
  }
  *panel += vectors * 16;
  __asm__("" : "+r"(*panel));  // keeps the step in the load: it has no other offset
}

// What is loaded through `panel` comes after these sums: compilers would load weights early, for which there are no
// registers. No instruction. (GCC copies sums about where it is told by way of the sums, clang where it is not.)
template <int rows, int vectors>
DGMS_INLINE void After(const int8_t** panel, SumsS8<rows, vectors>& sums) {
#if defined(__clang__)
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v += 2) __asm__("" : "+r"(*panel), "+w"(sums.v[r][v]), "+w"(sums.v[r][v + 1]));
  }
#else
  (void)sums;
  __asm__ volatile("" : "+r"(*panel) : : "memory");
#endif
}

// Every row from the same columns. One instruction loads two vectors, which is less than copying them from row to row:
// the empty assembly keeps compilers from that.
template <int rows, int vectors>
DGMS_INLINE void BeginAt(const int32_t* columns, SumsS8<rows, vectors>& sums) {
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
    __asm__ volatile("" : : : "memory");
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sums.v[r][v] = vld1q_s32(columns + v * kLanes);
  }
}

// The same for tiles that leave few registers free, and whose sums have no other beginning: one instruction loads four
// vectors, but to neighbouring registers only. Compilers keep sums where they come from if that has a name, else they
// copy all of them.
DGMS_INLINE void BeginAt(const int32_t* columns, SumsS8<6, 4>& sums) {
#define DGMS_LOAD_ROW(row, r0, r1, r2, r3)                                              \
  do {                                                                                  \
    register int32x4_t x0 __asm__(#r0);                                                 \
    register int32x4_t x1 __asm__(#r1);                                                 \
    register int32x4_t x2 __asm__(#r2);                                                 \
    register int32x4_t x3 __asm__(#r3);                                                 \
    __asm__ volatile("ld1 {%0.4s, %1.4s, %2.4s, %3.4s}, [%4]"                           \
                     : "=w"(x0), "=w"(x1), "=w"(x2), "=w"(x3)                           \
                     : "r"(columns)                                                     \
                     : "memory");                                                       \
    sums.v[row][0] = x0, sums.v[row][1] = x1, sums.v[row][2] = x2, sums.v[row][3] = x3; \
  } while (false)
  DGMS_LOAD_ROW(0, v8, v9, v10, v11);
  DGMS_LOAD_ROW(1, v12, v13, v14, v15);
  DGMS_LOAD_ROW(2, v16, v17, v18, v19);
  DGMS_LOAD_ROW(3, v20, v21, v22, v23);
  DGMS_LOAD_ROW(4, v24, v25, v26, v27);
  DGMS_LOAD_ROW(5, v28, v29, v30, v31);
#undef DGMS_LOAD_ROW
}

// What the blocks of K before left in memory: [rows][4 * vectors].
template <int rows, int vectors>
DGMS_INLINE void Add(const int32_t* c, SumsS8<rows, vectors>& sums) {
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      sums.v[r][v] = vaddq_s32(sums.v[r][v], vld1q_s32(c + (r * vectors + v) * kLanes));
    }
  }
}

// To int32, for the blocks of K that follow or another kernel.
template <int vectors>
class ToSums {
 public:
  DGMS_INLINE ToSums(int32_t* c, bool accumulate) : c_(c), accumulate_(accumulate) {}

  template <int rows>
  DGMS_INLINE void Begin(SumsS8<rows, vectors>& sums) const {
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sums.v[r][v] = vdupq_n_s32(0);
    }
    if (accumulate_) Add(c_, sums);
  }

  template <int rows>
  DGMS_INLINE void Finish(SumsS8<rows, vectors>& sums) {
    int32_t* c = c_;
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r, c += vectors * kLanes) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) vst1q_s32(c + v * kLanes, sums.v[r][v]);
    }
    c_ = c;
  }

 private:
  int32_t* c_;
  const bool accumulate_;
};

// What is known of the outputs of a panel's columns before the first tile: less to look at, and to do, at each tile's
// end.
enum class BytesOf {
  kAny,       // nothing
  kSigned,    // no clamp but that of 8 bits, HasTies, FitsHalves
  kUnsigned,  // the same without ties, the zero point is -128: outputs less that saturate to 0..255
  kNarrow,    // NarrowS8
};

// To int8 in fixed point (requantize_s8_neon.h): sums begin at the bias, and all that is left is in registers.
template <int vectors, BytesOf of>
class ToBytes {
 public:
  // `c`: what the blocks before left, or null. `fits`: FitsHalves; the sums are all of K.
  DGMS_INLINE ToBytes(const int32_t* c, const RequantizeArgs& output, bool fits)
      : c_(c),
        bias_(of == BytesOf::kNarrow ? output.narrow.bias : output.bias),
        multiplier_(of == BytesOf::kNarrow ? output.narrow.multiplier : output.multiplier),
        output_(output.output),
        output_stride_(output.output_row_stride),
        ties_(HasTies(output)),
        clamp_(HasClamp(output)),
        fits_(fits),
        zero_(static_cast<int16_t>(output.zero)),
        min_(static_cast<int8_t>(output.min)),
        max_(static_cast<int8_t>(output.max)) {
    if constexpr (of != BytesOf::kNarrow) StoreShifts<vectors>(output.right, shift_);
  }

  template <int rows>
  DGMS_INLINE void Begin(SumsS8<rows, vectors>& sums) {
    if constexpr (of != BytesOf::kAny) return BeginAt(bias_, sums);
    BeginAt<rows, vectors>(bias_, sums);
    if (c_ == nullptr) return;
    Add(c_, sums);
    c_ += rows * vectors * kLanes;
  }

  template <int rows>
  DGMS_INLINE void Finish(SumsS8<rows, vectors>& sums) {
    int8x16_t bytes[rows];
    if constexpr (of == BytesOf::kAny) {
      ties_ ? Multiply<true>(sums) : Multiply<false>(sums);
      fits_ ? Shift<true>(sums, bytes) : Shift<false>(sums, bytes);
      if (clamp_) {
        const int8x16_t min = vdupq_n_s8(min_), max = vdupq_n_s8(max_);
#pragma GCC unroll 8
        for (int r = 0; r < rows; ++r) bytes[r] = vminq_s8(vmaxq_s8(bytes[r], min), max);
      }
    } else if constexpr (of == BytesOf::kNarrow) {
      Multiply<false>(sums);
      const uint8x16_t top_bits = TopBits();
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) bytes[r] = NarrowBytes(sums.v[r], top_bits);
    } else {
      Multiply<of == BytesOf::kSigned>(sums);
      Shift<true>(sums, bytes);
    }
    int8_t* output = output_;  // a copy: stores of bytes might change the member
    const int64_t stride = output_stride_;
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r, output += stride) StoreBytes<vectors>(output, bytes[r]);
    output_ = output;
  }

 private:
  template <bool ties, int rows>
  DGMS_INLINE void Multiply(SumsS8<rows, vectors>& sums) const {
    int32x4_t multiplier[vectors];
    LoadColumns(multiplier_, multiplier);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sums.v[r][v] = Multiplied<ties>(sums.v[r][v], multiplier[v]);
    }
  }

  template <bool fits, int rows>
  DGMS_INLINE void Shift(SumsS8<rows, vectors>& sums, int8x16_t (&bytes)[rows]) const {
    int32x4_t shift[vectors];
    __asm__ volatile("" : : : "memory");  // not while there are multipliers in registers
    LoadColumns(shift_, shift);
    const int16x8_t zero = vdupq_n_s16(zero_);
    const uint8x16_t top_bits = TopBits();
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sums.v[r][v] = vrshlq_s32(sums.v[r][v], shift[v]);
      if constexpr (of == BytesOf::kUnsigned) {
        bytes[r] = BytesAbove128(sums.v[r], top_bits);
      } else {
        bytes[r] = Bytes<fits>(sums.v[r], zero);
      }
    }
  }

  const int32_t* c_;
  const int32_t *bias_, *multiplier_;
  int8_t* output_;
  const int64_t output_stride_;
  const bool ties_, clamp_, fits_;
  const int16_t zero_;
  const int8_t min_, max_;
  alignas(16) int32_t shift_[vectors * kLanes];
};

// run(what makes bytes of sums), for sums of so many products in all of K.
template <int vectors, typename Run>
DGMS_INLINE void WithBytes(const int32_t* c, const RequantizeArgs& output, int64_t products, const Run& run) {
  if constexpr (vectors == 4) {
    if (c == nullptr && IsNarrow<vectors>(output.narrow)) {
      return run(ToBytes<vectors, BytesOf::kNarrow>(c, output, true));
    }
  }
  const bool fits = c == nullptr && FitsHalves<vectors>(output, products);
  if constexpr (vectors == 4) {  // narrow panels are few
    if (fits && !HasClamp(output)) {
      if (HasTies(output)) return run(ToBytes<vectors, BytesOf::kSigned>(c, output, fits));
      return run(ToBytes<vectors, BytesOf::kUnsigned>(c, output, fits));
    }
  }
  run(ToBytes<vectors, BytesOf::kAny>(c, output, fits));
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_GEMM_S8_TILE_NEON_H_
