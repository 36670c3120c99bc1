// int8 with the ARMv8.2 dot product. One instruction multiplies four places of four columns with four places of a row,
// which it takes from any lane of the row's vector.
//
// Registers hold the sums of 5 rows by 16 columns (20), 16 places of each row (5) and 4 places of the 16 columns (4).
// Few other instructions remain beside the 80 dot products of 16 places: 5 loads of rows, 4 of the panel, 2 for the
// loop. A call goes through many such register tiles, so that what a call costs is shared among them. int8 outputs are
// made of the sums where they are.
#include "kernels/decode_s8_neon.h"
#include "kernels/places_s8.h"
#include "kernels/requantize_s8_neon.h"

namespace dgms {
namespace {

constexpr int kUnit = 4, kPlaces = 16;

// Rows of a register tile of 4 * vectors columns.
template <int vectors>
constexpr int kTileRows = vectors == 4 ? 5 : 8;

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

template <int lane, int rows, int vectors>
DGMS_INLINE void StepLane(SumsS8<rows, vectors>& sums, const int8x16_t (&x)[rows], const int8_t** panel) {
  int8x16_t w[vectors];
  NextWeights<vectors>(panel, w);
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sums.v[r][v] = vdotq_laneq_s32(sums.v[r][v], w[v], x[r], lane);
  }
  After(panel, sums);
}

// `count` (1..4) places of each row.
template <int rows, int vectors>
DGMS_INLINE void StepLast(SumsS8<rows, vectors>& sums, const int8_t* const (&a)[rows], int64_t p, int64_t count,
                          const int8_t** panel) {
  int8x16_t w[vectors];
  NextWeights<vectors>(panel, w);
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
    const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(LoadPlaces(a[r] + p, count)));
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sums.v[r][v] = vdotq_s32(sums.v[r][v], w[v], x);
  }
}

// Rows are reached from the end of their last whole 16 places by an index that counts up to 0: one register is the
// position in all rows and the loop's counter. The empty assembly keeps compilers from undoing that.
template <int rows, int vectors>
DGMS_INLINE void Accumulate(SumsS8<rows, vectors>& sums, const GemmS8Args& args, const int8_t* first) {
  const int8_t* panel = args.panel;
  const int64_t length = args.segment_length, whole = length & ~int64_t{kPlaces - 1}, stride = args.a_row_stride;
  for (int64_t s = 0; s < args.segment_count; ++s) {
    const int8_t* a[rows];
    const int8_t* row = first + args.segments[s] + whole;
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      a[r] = row;
      __asm__("" : "+r"(a[r]));
      row = a[r] + stride;
    }
    for (int64_t p = -whole; p != 0; p += kPlaces) {
      __asm__("" : "+r"(p));
      int8x16_t x[rows];
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) x[r] = vld1q_s8(a[r] + p);
      StepLane<0>(sums, x, &panel);
      StepLane<1>(sums, x, &panel);
      StepLane<2>(sums, x, &panel);
      StepLane<3>(sums, x, &panel);
    }
    int64_t p = 0;
    if (length - whole >= 2 * kUnit) {
      int8x16_t x[rows];
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) x[r] = vcombine_s8(vld1_s8(a[r]), vdup_n_s8(0));
      StepLane<0>(sums, x, &panel);
      StepLane<1>(sums, x, &panel);
      p = 2 * kUnit;
    }
    if (length - whole - p >= kUnit) {
      StepLast(sums, a, p, kUnit, &panel);
      p += kUnit;
    }
    if (length - whole - p > 0) StepLast(sums, a, p, length - whole - p, &panel);
  }
}

// What tiles begin with and what becomes of their sums. To int32, for the blocks of K that follow or another kernel:
template <int vectors>
class ToSums {
 public:
  DGMS_INLINE explicit ToSums(const GemmS8Args& args) : c_(args.c), accumulate_(args.accumulate) {}

  template <int rows>
  DGMS_INLINE void Begin(SumsS8<rows, vectors>& sums) const {
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sums.v[r][v] = vdupq_n_s32(0);
    }
  }

  template <int rows>
  DGMS_INLINE void Finish(SumsS8<rows, vectors>& sums) {
    if (accumulate_) AddFrom(c_, sums);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r, c_ += vectors * kLanes) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) vst1q_s32(c_ + v * kLanes, sums.v[r][v]);
    }
  }

  template <int rows>
  static DGMS_INLINE void AddFrom(const int32_t* c, SumsS8<rows, vectors>& sums) {
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        sums.v[r][v] = vaddq_s32(sums.v[r][v], vld1q_s32(c + (r * vectors + v) * kLanes));
      }
    }
  }

 private:
  int32_t* c_;
  const bool accumulate_;
};

// To int8 in fixed point (requantize_s8_neon.h): sums begin at the bias, and all that is left is in registers.
template <int vectors>
class ToBytes {
 public:
  DGMS_INLINE ToBytes(const GemmS8Args& args, const RequantizeArgs& output)
      : c_(args.accumulate ? args.c : nullptr),
        bias_(output.bias),
        multiplier_(output.multiplier),
        output_(output.output),
        output_stride_(output.output_row_stride),
        ties_(HasTies(output)),
        clamp_(HasClamp(output)),
        fits_(!args.accumulate && FitsHalves<vectors>(output, args.segment_count * args.segment_length)),
        zero_(static_cast<int16_t>(output.zero)),
        min_(static_cast<int8_t>(output.min)),
        max_(static_cast<int8_t>(output.max)) {
    StoreShifts<vectors>(output.right, shift_);
  }

  template <int rows>
  DGMS_INLINE void Begin(SumsS8<rows, vectors>& sums) const {
    int32x4_t bias[vectors];
    LoadColumns(bias_, bias);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sums.v[r][v] = bias[v];
    }
  }

  template <int rows>
  DGMS_INLINE void Finish(SumsS8<rows, vectors>& sums) {
    if (c_ != nullptr) {
      ToSums<vectors>::AddFrom(c_, sums);
      c_ += rows * vectors * kLanes;
    }
    ties_ ? Multiply<true>(sums) : Multiply<false>(sums);
    int8x16_t bytes[rows];
    fits_ ? Shift<true>(sums, bytes) : Shift<false>(sums, bytes);
    if (clamp_) {
      const int8x16_t min = vdupq_n_s8(min_), max = vdupq_n_s8(max_);
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) bytes[r] = vminq_s8(vmaxq_s8(bytes[r], min), max);
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r, output_ += output_stride_) StoreBytes<vectors>(output_, bytes[r]);
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
    LoadColumns(shift_, shift);
    const int16x8_t zero = vdupq_n_s16(zero_);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sums.v[r][v] = vrshlq_s32(sums.v[r][v], shift[v]);
      bytes[r] = Bytes<fits>(sums.v[r], zero);
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

// `tiles` register tiles, one below the other.
template <int rows, int vectors, typename Output>
void TilesS8(const GemmS8Args& args, const int8_t* a, int tiles, Output* output) {
  const int64_t step = rows * args.a_row_stride;
  for (; tiles > 0; --tiles, a += step) {
    SumsS8<rows, vectors> sums;
    output->Begin(sums);
    Accumulate(sums, args, a);
    output->Finish(sums);
  }
}

template <typename Output>
using TilesFn = void (*)(const GemmS8Args& args, const int8_t* a, int tiles, Output* output);

// By their rows.
template <int vectors, typename Output>
constexpr TilesFn<Output> kTiles[] = {TilesS8<1, vectors, Output>, TilesS8<2, vectors, Output>,
                                      TilesS8<3, vectors, Output>, TilesS8<4, vectors, Output>,
                                      TilesS8<5, vectors, Output>};
template <typename Output>
constexpr TilesFn<Output> kTiles<2, Output>[] = {TilesS8<1, 2, Output>, TilesS8<2, 2, Output>, TilesS8<3, 2, Output>,
                                                 TilesS8<4, 2, Output>, TilesS8<5, 2, Output>, TilesS8<6, 2, Output>,
                                                 TilesS8<7, 2, Output>, TilesS8<8, 2, Output>};

// The rows in register tiles as equal as possible: the first ones have one row more than the others.
template <int vectors, typename Output>
void RunTiles(const GemmS8Args& args, Output output) {
  constexpr int most = kTileRows<vectors>;
  const int tiles = (args.rows + most - 1) / most, rows = args.rows / tiles, longer = args.rows % tiles;
  const int8_t* a = args.a;
  if (longer > 0) kTiles<vectors, Output>[rows](args, a, longer, & output);
  a += longer * (rows + 1) * args.a_row_stride;
  kTiles<vectors, Output>[rows - 1](args, a, tiles - longer, & output);
}

}  // namespace

void s8_5x16_neon_dotprod_decode(const uint8_t* packed, int64_t places, int width, const TablesS8& tables,
                                 int8_t* panel) {
  DecodeS8<kUnit>(packed, places, width, tables, panel);
}

void s8_5x16_neon_dotprod_gemm(const GemmS8Args& args) {
  args.width == 16 ? RunTiles<4>(args, ToSums<4>(args)) : RunTiles<2>(args, ToSums<2>(args));
}

void s8_5x16_neon_dotprod_requantize(const GemmS8Args& args, const RequantizeArgs& output) {
  args.width == 16 ? RunTiles<4>(args, ToBytes<4>(args, output)) : RunTiles<2>(args, ToBytes<2>(args, output));
}

}  // namespace dgms
