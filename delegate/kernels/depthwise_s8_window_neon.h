// Windows that slide over the columns of a map's lines: what the int8 depthwise kernels with dot products share. For
// *_neon_dotprod.cc only.
//
// A column is what the lines of the kernel have in one place of a line, for 16 channels (8 where the kernel is wide):
// it is interleaved once, and meets the weights of every tap of a line, each for another output pixel. So a window
// slides over the columns, with the sums of all pixels that the newest column belongs to in registers. Per 16 outputs
// of a 3x3 kernel that is 3 loads, 8 interleavings and 12 dot products.
//
// The zero point comes in as what it would add, subtracted before the first tap. Lines that are missing (the map's
// edges, or beyond the kernel's height) have weights of zero and read the last line again.
#ifndef DGMS_KERNELS_DEPTHWISE_S8_WINDOW_NEON_H_
#define DGMS_KERNELS_DEPTHWISE_S8_WINDOW_NEON_H_

#include "kernels/kernel_s8.h"
#include "kernels/simd_neon.h"

namespace dgms {
namespace {

constexpr int kLines = 4;    // of one dot product
constexpr int kMaxTail = 2;  // pixels of a whole line that have padding behind

// Interleaves four vectors of bytes: vector i of `out` has their channels 4i..4i+3, four bytes each.
DGMS_INLINE void Interleave(int8x16_t a, int8x16_t b, int8x16_t c, int8x16_t d, int8x16_t (&out)[4]) {
  const int16x8_t ab0 = vreinterpretq_s16_s8(vzip1q_s8(a, b)), ab1 = vreinterpretq_s16_s8(vzip2q_s8(a, b));
  const int16x8_t cd0 = vreinterpretq_s16_s8(vzip1q_s8(c, d)), cd1 = vreinterpretq_s16_s8(vzip2q_s8(c, d));
  out[0] = vreinterpretq_s8_s16(vzip1q_s16(ab0, cd0));
  out[1] = vreinterpretq_s8_s16(vzip2q_s16(ab0, cd0));
  out[2] = vreinterpretq_s8_s16(vzip1q_s16(ab1, cd1));
  out[3] = vreinterpretq_s8_s16(vzip2q_s16(ab1, cd1));
}

DGMS_INLINE void Interleave(int8x16_t a, int8x16_t b, int8x16_t c, int8x16_t d, int8x16_t (&out)[2]) {
  const int16x8_t ab = vreinterpretq_s16_s8(vzip1q_s8(a, b)), cd = vreinterpretq_s16_s8(vzip1q_s8(c, d));
  out[0] = vreinterpretq_s8_s16(vzip1q_s16(ab, cd));
  out[1] = vreinterpretq_s8_s16(vzip2q_s16(ab, cd));
}

template <int vectors>
DGMS_INLINE int8x16_t LoadBytes(const int8_t* p) {
  if constexpr (vectors == 4) return vld1q_s8(p);
  return vcombine_s8(vld1_s8(p), vdup_n_s8(0));
}

// The weights of one line and tap, as bytes.
template <int vectors>
DGMS_INLINE int8x16_t LoadWeights(const int16_t* p) {
  const int8x8_t low = vmovn_s16(vld1q_s16(p));
  if constexpr (vectors == 4) return vmovn_high_s16(low, vld1q_s16(p + 8));
  return vcombine_s8(low, vdup_n_s8(0));
}

// The weights of one tap of `count` (1..4) lines.
template <int vectors>
DGMS_INLINE void InterleaveWeights(const int16_t* weights, int64_t line_stride, int64_t count,
                                   int8x16_t (&out)[vectors]) {
  int8x16_t w[kLines];
#pragma GCC unroll 4
  for (int i = 0; i < kLines; ++i) w[i] = i < count ? LoadWeights<vectors>(weights + i * line_stride) : vdupq_n_s8(0);
  Interleave(w[0], w[1], w[2], w[3], out);
}

// Prepared weights: for every four lines, for every 16 channels, for every tap, the 64 bytes that InterleaveWeights
// makes. Channels come up to a multiple of kDepthwiseChannelsS8, with zeros for those that are not there.
constexpr int64_t kPreparedChannels = 16;
constexpr int64_t kTapBytes = kPreparedChannels * kLines;

// Where a tap's weights of channel c are.
DGMS_INLINE int64_t PreparedOffset(int64_t channels, int64_t taps, int64_t line, int64_t tap, int64_t c) {
  const int64_t pieces = (channels + kDepthwiseChannelsS8 - 1) / kDepthwiseChannelsS8 * (kDepthwiseChannelsS8 / 16);
  return ((line / kLines * pieces + c / kPreparedChannels) * taps + tap) * kTapBytes + c % kPreparedChannels * kLines;
}

// Loads stay on their side of it: compilers would begin early with those for which there are no registers yet. No
// instruction.
DGMS_INLINE void KeepLoadsHere() { __asm__ volatile("" : : : "memory"); }

// What a window has no registers for. An object of its own, so that compilers keep the window itself in registers: the
// address of this one is taken.
struct Memory {
  static constexpr int kTailBytes = 16;   // of a column's line
  static constexpr int kTailColumns = 4;  // stride 1 or 2
  alignas(16) int32_t start[4 * kLanes];  // what sums begin with
  alignas(16) int32_t shift[4 * kLanes];  // whole lines only, as the rest
  alignas(16) int8_t tail[kLines][kTailColumns * kTailBytes];
};
static_assert(Memory::kTailColumns >= 2 * kMaxTail, "two columns for a pixel");

// What becomes of a pixel's sums: to memory, `step` from pixel to pixel; `add` to what is there.
template <int vectors, bool add, bool whole_lines>
class ToSums {
 public:
  static constexpr bool kWholeLines = whole_lines;
  DGMS_INLINE ToSums(int32_t* sums, int64_t step) : sums_(sums), step_(step) {}

  DGMS_INLINE void Begin(int32x4_t (&sums)[vectors]) const {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sums[v] = vdupq_n_s32(0);
  }

  DGMS_INLINE void Pixel(int32x4_t (&sums)[vectors]) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      int32_t* to = sums_ + v * kLanes;
      vst1q_s32(to, add ? vaddq_s32(sums[v], vld1q_s32(to)) : sums[v]);
    }
    sums_ += step_;
  }

 private:
  int32_t* sums_;
  const int64_t step_;
};

// Up to four lines of the kernel from `first` on, for 4 * vectors channels from c on. `rows` is how many lines are
// loaded, 3 or 4.
// With an Output of whole lines (`first` is 0, all lines in the same four of the prepared ones) the first columns may
// be padding, and the last ones: those of the last pixels are copied, with what is missing, to where they all are.
template <int taps, int stride, int vectors, int rows, typename Output>
class Window {
 public:
  DGMS_INLINE Window(const DepthwiseS8Args& args, int64_t first, int64_t c, const Output& output, Memory* memory)
      : output_(output), step_(args.tap_stride), left_(args.pixels), memory_(memory) {
    const int64_t count = args.kernel_h - first < kLines ? args.kernel_h - first : kLines;
#pragma GCC unroll 4
    for (int i = 0; i < rows; ++i) {
      line_[i] = args.input + (first + (i < count ? i : count - 1)) * args.line_stride + c;
      __asm__("" : "+r"(line_[i]));  // one register each; an offset selects the column
    }
    LoadWeights(args, first, count, c);
    zero_ = vdupq_n_s8(static_cast<int8_t>(args.zero));
    int32x4_t zero_sums[vectors], start[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) zero_sums[v] = vdupq_n_s32(0);
#pragma GCC unroll 8
    for (int kx = 0; kx < taps; ++kx) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) zero_sums[v] = vdotq_s32(zero_sums[v], weights_[kx][v], zero_);
    }
    output_.Begin(start);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) vst1q_s32(memory_->start + v * kLanes, vsubq_s32(start[v], zero_sums[v]));
    if (Output::kWholeLines) {
      pad_ = args.pad_left;
      const int64_t inside = (args.line_columns + pad_ - taps) / stride + 1;  // pixels with all columns, but the first
      if (inside < left_) {
        tail_ = left_ - inside;
        left_ = inside;
      }
      columns_ = args.line_columns;
    }
  }

  DGMS_INLINE void Run() {
#pragma GCC unroll 8
    for (int x = 0; x < taps - stride; ++x) {
      if (Output::kWholeLines && x < pad_) {
        Padding(x);
      } else {
        Column(x);
      }
    }
    for (;;) {
      if (Pixel(0)) return;
      if constexpr (kOpen > 1) {
        if (Pixel(1)) return;
      }
      if constexpr (kOpen > 2) {
        if (Pixel(2)) return;
      }
      if constexpr (kOpen > 3) {
        if (Pixel(3)) return;
      }
      if constexpr (kOpen > 4) {
        if (Pixel(4)) return;
      }
    }
  }

 private:
  static constexpr int kOpen = (taps + stride - 1) / stride;  // pixels whose windows hold a column, at most
  static_assert(kOpen <= 5, "Run is written for five");

  DGMS_INLINE void LoadWeights(const DepthwiseS8Args& args, int64_t first, int64_t count, int64_t c) {
    if (args.prepared == nullptr || c % (vectors * kLanes) != 0) {
      const int16_t* weights = args.weights + first * args.weight_line_stride + c;
#pragma GCC unroll 8
      for (int kx = 0; kx < taps; ++kx) {
        InterleaveWeights(weights + kx * args.weight_tap_stride, args.weight_line_stride, count, weights_[kx]);
      }
      return;
    }
    const int64_t channels = Output::kWholeLines ? args.prepared_channels : args.channels;
    const int64_t line = Output::kWholeLines ? args.first_line : first;
    const int8_t* at = args.prepared + PreparedOffset(channels, args.prepared_taps, line, args.first_tap, c);
#pragma GCC unroll 8
    for (int kx = 0; kx < taps; ++kx) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) weights_[kx][v] = vld1q_s8(at + kx * kTapBytes + v * 16);
    }
    if (!Output::kWholeLines) return;
    // The first line comes to the lowest byte, those behind the last one go.
    const int64_t skipped = line % kLines;
    if (skipped == 0 && (count == kLines || line + count == args.prepared_lines)) return;
    const int32x4_t down = vdupq_n_s32(static_cast<int32_t>(-8 * skipped));
    const int8x16_t kept = vreinterpretq_s8_u32(vdupq_n_u32(UINT32_MAX >> (32 - 8 * count)));
#pragma GCC unroll 8
    for (int kx = 0; kx < taps; ++kx) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        const uint32x4_t moved = vshlq_u32(vreinterpretq_u32_s8(weights_[kx][v]), down);
        weights_[kx][v] = vandq_s8(vreinterpretq_s8_u32(moved), kept);
      }
    }
  }

  // The next column, which is number x if the pixels that its window holds are counted modulo kOpen.
  DGMS_INLINE void Column(int x) {
    const int8x16_t a = LoadBytes<vectors>(line_[0] + at_), b = LoadBytes<vectors>(line_[1] + at_);
    const int8x16_t c = LoadBytes<vectors>(line_[2] + at_);
    const int8x16_t d = rows == 4 ? LoadBytes<vectors>(line_[rows - 1] + at_) : c;
    at_ += step_;
    int8x16_t column[vectors];
    Interleave(a, b, c, d, column);
    Add(x, column);
  }

  // The same for a column of padding.
  DGMS_INLINE void Padding(int x) {
    int8x16_t column[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) column[v] = zero_;
    Add(x, column);
  }

  DGMS_INLINE void Add(int x, const int8x16_t (&column)[vectors]) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
#pragma GCC unroll 8
      for (int kx = 0; kx < taps; ++kx) {
        if (x < kx || (x - kx) % stride != 0) continue;
        int32x4_t& sum = open_[(x - kx) / stride % kOpen][v];
        sum = vdotq_s32(kx == 0 ? vld1q_s32(memory_->start + v * kLanes) : sum, column[v], weights_[kx][v]);
      }
    }
  }

  // The last columns of a pixel (its number modulo kOpen); true after the last pixel.
  DGMS_INLINE bool Pixel(int pixel) {
#pragma GCC unroll 2
    for (int j = 0; j < stride; ++j) Column(pixel * stride + taps - stride + j);
    output_.Pixel(open_[pixel]);
    return --left_ == 0 && !BeginTail();
  }

  // Goes on with the pixels whose last columns are padding; false if there are none.
  DGMS_INLINE bool BeginTail() {
    if (!Output::kWholeLines || tail_ == 0) return false;
    const int64_t there = columns_ - at_ / step_;  // columns that were not read yet
#pragma GCC unroll 4
    for (int i = 0; i < rows; ++i) {
      int8_t* tail = memory_->tail[i];
#pragma GCC unroll 8
      for (int j = 0; j < kMaxTail * stride; ++j) {
        vst1q_s8(tail + j * Memory::kTailBytes, j < there ? LoadBytes<vectors>(line_[i] + at_ + j * step_) : zero_);
      }
      line_[i] = tail;
    }
    at_ = 0;
    step_ = Memory::kTailBytes;
    left_ = tail_;
    tail_ = 0;
    return true;
  }

  Output output_;
  const int8_t* line_[rows];
  int64_t at_ = 0, step_;
  int64_t left_, tail_ = 0, pad_ = 0, columns_ = 0;
  Memory* const memory_;
  int8x16_t zero_;
  int8x16_t weights_[taps][vectors];
  int32x4_t open_[kOpen][vectors];
};

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_DEPTHWISE_S8_WINDOW_NEON_H_
