// int8 depthwise kernels of 3x3 taps with dot products, in registers. For *_neon_dotprod.cc only.
//
// A pass makes one pixel of two neighbouring output lines for eight channels (stride 1), or of one line for 16 (stride
// 2): 16 outputs. Two lines share their columns: what the map has in one place of four lines is interleaved once, and
// each line of the output has its own weights for it, one of every four being zero. The last three columns stay in
// registers, as weights do. Per 16 outputs and stride 1 that is 4 loads, 4 interleavings and 12 dot products.
#ifndef DGMS_KERNELS_DEPTHWISE_S8_THREE_NEON_H_
#define DGMS_KERNELS_DEPTHWISE_S8_THREE_NEON_H_

#include "kernels/depthwise_s8_lines_neon.h"

namespace dgms {
namespace {

constexpr int kThree = 3;

// What passes have no registers for. An object of its own, so that compilers keep the others in registers: the address
// of this one is taken.
struct ThreeMemory {
  alignas(64) int32_t start[16], multiplier[16], shift[16];
  int8_t unused[8];
};

template <int stride, OutputsOf of>
class ThreeByThree {
 public:
  static constexpr int kTogether = stride == 1 ? 2 : 1;  // lines of the output
  static constexpr int kVectors = 4 / kTogether;
  static constexpr int kRows = kThree + kTogether - 1;
  static constexpr int64_t kWidth = kVectors * kLanes;  // channels

  // Whether padding is only where passes expect it: before the columns that come before the first pixel's last ones,
  // and under few pixels at the end.
  static bool Fits(const DepthwiseLinesS8Args& args) {
    const int64_t rest = args.in_w + args.pad_left - kThree;
    return args.channels >= kWidth && args.pad_left <= kThree - stride && rest >= 0 &&
           args.pixels - (rest / stride + 1) <= kThree - stride;
  }

  // For kWidth channels from c on.
  DGMS_INLINE ThreeByThree(const DepthwiseLinesS8Args& args, const RequantizeArgs& output, const Ending& ending,
                           int64_t c, ThreeMemory* memory)
      : ending_(ending), zero_(vdupq_n_s8(static_cast<int8_t>(args.zero))), top_bits_(TopBits()), memory_(memory) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const int64_t channel = c + v * kLanes;
      int32x4_t zero_sums = vdupq_n_s32(0);
#pragma GCC unroll 3
      for (int kx = 0; kx < kThree; ++kx) {
        weights_[0][kx][v] = TapWeights(args, 0, kx, channel);
        zero_sums = vdotq_s32(zero_sums, weights_[0][kx][v], zero_);
        if constexpr (kTogether == 2) weights_[1][kx][v] = OneLineDown(weights_[0][kx][v], vdupq_n_s8(0));
      }
      const bool narrow = of == OutputsOf::kNarrow;
      const int32x4_t bias = vld1q_s32((narrow ? output.narrow.bias : output.bias) + channel);
      const int32x4_t start = vsubq_s32(bias, zero_sums);
      const int32x4_t multiplier = vld1q_s32((narrow ? output.narrow.multiplier : output.multiplier) + channel);
      const int32x4_t shift = vnegq_s32(vld1q_s32(output.right + channel));
#pragma GCC unroll 2
      for (int line = 0; line < kTogether; ++line) {
        vst1q_s32(memory_->start + (line * kVectors + v) * kLanes, start);
        vst1q_s32(memory_->multiplier + (line * kVectors + v) * kLanes, multiplier);
        vst1q_s32(memory_->shift + (line * kVectors + v) * kLanes, shift);
      }
    }
  }

  // Output lines first..first + kTogether - 1, the last of which may be one too many; channels from c on.
  DGMS_INLINE void Run(const DepthwiseLinesS8Args& args, const MapLines& map, const RequantizeArgs& output,
                       int64_t first, int64_t c) {
    const int64_t inside = (args.in_w + args.pad_left - kThree) / stride + 1;
    const int64_t line = first * stride - args.pad_top;
    const bool all = first + kTogether <= args.first_line + args.lines;
    BeginOutputs(args, output, first, 0, c, all);
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) row_[i] = LineOf(map, line, i, 0, c, all);
#pragma GCC unroll 2
    for (int x = 0; x < kThree - stride; ++x) {
      if (x < args.pad_left) {
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) column_[x][v] = zero_;
      } else {
        NextColumn(x);
      }
    }
    left_ = args.pixels < inside ? args.pixels : inside;
    // Once more for pixels whose last columns are padding.
    for (;;) {
      Pixels();
      if (args.pixels <= inside || done_) break;
      done_ = true;
      BeginOutputs(args, output, first, inside, c, all);
      const int64_t column = inside * stride - args.pad_left + kThree - stride;
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i) {
        row_[i] = map.Padding();
        if (stride == 1 || column >= args.in_w) continue;
        // One column, and from there a step to padding.
        const int8_t* at = LineOf(map, line, i, column, c, all).at;
        row_[i] = {at, static_cast<int64_t>(reinterpret_cast<intptr_t>(row_[i].at) - reinterpret_cast<intptr_t>(at))};
      }
      left_ = args.pixels - inside;
    }
    done_ = false;
  }

 private:
  // Line i of those under lines of the output, of which the last one may not be wanted: then nor is its last line.
  static DGMS_INLINE Row LineOf(const MapLines& map, int64_t line, int i, int64_t column, int64_t c, bool all) {
    return all || i < kThree ? map.At(line + i, column, c) : map.Padding();
  }

  DGMS_INLINE void BeginOutputs(const DepthwiseLinesS8Args& args, const RequantizeArgs& output, int64_t line,
                                int64_t pixel, int64_t c, bool all) {
    const int64_t step = output.output_row_stride;
    to_[0] = output.output + ((line - args.first_line) * args.pixels + pixel) * step + c;
    to_step_[0] = step;
    if constexpr (kTogether == 2) {
      to_[1] = all ? to_[0] + args.pixels * step : memory_->unused;
      to_step_[1] = all ? step : 0;
    }
  }

  static DGMS_INLINE int8x16_t Next(Row& row) { return kVectors == 4 ? NextBytes(row) : NextHalf(row); }

  DGMS_INLINE void NextColumn(int x) {
    const int8x16_t a = Next(row_[0]), b = Next(row_[1]), c = Next(row_[2]);
    Interleave(a, b, c, kRows == 4 ? Next(row_[kRows - 1]) : c, column_[x]);
  }

  // The columns of pixel `number` become those of pixel 0.
  template <int number>
  DGMS_INLINE void Rotate() {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const int8x16_t column[kThree] = {column_[0][v], column_[1][v], column_[2][v]};
#pragma GCC unroll 3
      for (int x = 0; x < kThree; ++x) column_[x][v] = column[(number * stride + x) % kThree];
    }
  }

  // All that are left; the next one has number 0 again.
  DGMS_INLINE void Pixels() {
    for (;;) {
      Pixel<0>();
      if (--left_ == 0) return Rotate<1>();
      Pixel<1>();
      if (--left_ == 0) return Rotate<2>();
      Pixel<2>();
      if (--left_ == 0) return;
    }
  }

  // Two vectors by one instruction, if they are alone.
  static DGMS_INLINE void Load(const int32_t* from, int32x4_t (&to)[kVectors]) {
    if constexpr (kVectors == 4) {
      LoadColumns(from, to);
    } else {
      to[0] = vld1q_s32(from);
      to[1] = vld1q_s32(from + kLanes);
    }
  }

  // One whose number is `number` modulo 3.
  template <int number>
  DGMS_INLINE void Pixel() {
#pragma GCC unroll 2
    for (int j = 0; j < stride; ++j) NextColumn((number * stride + kThree - stride + j) % kThree);
    int32x4_t sums[4], of_channel[kVectors];
    KeepLoadsHere();
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) sums[i] = vld1q_s32(memory_->start + i * kLanes);
    KeepLoadsHere();
#pragma GCC unroll 3
    for (int kx = 0; kx < kThree; ++kx) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        sums[i] = vdotq_s32(sums[i], column_[(number * stride + kx) % kThree][i % kVectors],
                            weights_[i / kVectors][kx][i % kVectors]);
      }
    }
    KeepLoadsHere();
    Load(memory_->multiplier, of_channel);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) sums[i] = Multiplied<of == OutputsOf::kAny>(sums[i], of_channel[i % kVectors]);
    if constexpr (of != OutputsOf::kNarrow) {
      KeepLoadsHere();
      Load(memory_->shift, of_channel);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) sums[i] = vrshlq_s32(sums[i], of_channel[i % kVectors]);
    }
    const int8x16_t bytes = ToBytes<of>(sums, ending_, top_bits_);
    if constexpr (kTogether == 1) {
      vst1q_s8(to_[0], bytes);
      to_[0] += to_step_[0];
    } else {
      StoreHalf<0>(bytes, &to_[0], to_step_[0]);
      StoreHalf<1>(bytes, &to_[1], to_step_[1]);
    }
    KeepLoadsHere();
  }

  const Ending& ending_;
  const int8x16_t zero_;
  const uint8x16_t top_bits_;
  ThreeMemory* const memory_;
  int64_t left_ = 0;
  bool done_ = false;
  Row row_[kRows];
  int8_t* to_[kTogether];
  int64_t to_step_[kTogether];
  int8x16_t weights_[kTogether][kThree][kVectors];
  int8x16_t column_[kThree][kVectors];
};

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_DEPTHWISE_S8_THREE_NEON_H_
