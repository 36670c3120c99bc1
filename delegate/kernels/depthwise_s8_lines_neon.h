// What the kernels that make int8 depthwise outputs of whole lines with dot products share: lines of the map with
// padding above and below, weights, and the end of sums. For *_neon_dotprod.cc only.
#ifndef DGMS_KERNELS_DEPTHWISE_S8_LINES_NEON_H_
#define DGMS_KERNELS_DEPTHWISE_S8_LINES_NEON_H_

#include <string.h>

#include "kernels/kernel_s8.h"
#include "kernels/requantize_s8_neon.h"
#include "kernels/simd_neon.h"

namespace dgms {
namespace {

constexpr int kLines = 4;  // of one dot product

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

// Prepared weights: for every four lines, for every 16 channels, for every tap, the weights of each channel
// in four bytes, those of lines that are not there zero. Channels come up to a multiple of kDepthwiseChannelsS8, with
// zeros for those that are not there.
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

// A line of the map at some column and channel, `step` bytes from a column to the next. Lines outside of the map are
// one pixel of padding, again and again.
struct Row {
  const int8_t* at;
  int64_t step;
};

class MapLines {
 public:
  explicit MapLines(const DepthwiseLinesS8Args& args) : args_(args) {
    vst1q_s8(padding_, vdupq_n_s8(static_cast<int8_t>(args.zero)));
  }
  Row At(int64_t line, int64_t column, int64_t c) const {
    if (line < 0 || line >= args_.in_h) return Padding();
    return {args_.input + line * args_.line_stride + column * args_.column_stride + c, args_.column_stride};
  }
  Row Padding() const { return {padding_, 0}; }

 private:
  const DepthwiseLinesS8Args& args_;
  alignas(16) int8_t padding_[16];
};

// One instruction loads and moves on to the next column.
DGMS_INLINE int8x16_t NextBytes(Row& row) {
  const int8_t* at = row.at;
  int8x16_t v;
  __asm__("ld1 {%0.16b}, [%1], %2"
          : "=w"(v), "+r"(at)
          : "r"(row.step), "m"(*reinterpret_cast<const int8_t (*)[16]>(at)));
  row.at = at;
  return v;
}
DGMS_INLINE int8x16_t NextHalf(Row& row) {
  const int8_t* at = row.at;
  int8x16_t v;
  __asm__("ld1 {%0.8b}, [%1], %2" : "=w"(v), "+r"(at) : "r"(row.step), "m"(*reinterpret_cast<const int8_t (*)[8]>(at)));
  row.at = at;
  return v;
}

// One half, and on by `step`.
template <int half>
DGMS_INLINE void StoreHalf(int8x16_t v, int8_t** to, int64_t step) {
  int8_t* at = *to;
  __asm__("st1 {%2.d}[%c4], [%1], %3"
          : "=m"(*reinterpret_cast<int8_t (*)[8]>(at)), "+r"(at)
          : "w"(v), "r"(step), "i"(half));
  *to = at;
}

// The weights of four channels from c on at one tap: of kernel lines 4 * group..4 * group + 3, a byte each.
inline int8x16_t TapWeights(const DepthwiseLinesS8Args& args, int64_t group, int64_t tap, int64_t c) {
  const auto at = [&](int64_t channel) {
    return args.prepared + PreparedOffset(args.prepared_channels, args.kernel_w, group * kLines, tap, channel);
  };
  if (c % kLanes == 0) return vld1q_s8(at(c));
  alignas(16) int8_t bytes[16];
  for (int i = 0; i < kLanes; ++i) memcpy(bytes + kLines * i, at(c + i), kLines);
  return vld1q_s8(bytes);
}

// The same of a kernel that begins a line further down; `above` are the weights of the group before.
DGMS_INLINE int8x16_t OneLineDown(int8x16_t weights, int8x16_t above) {
  return vreinterpretq_s8_u32(
      vsriq_n_u32(vshlq_n_u32(vreinterpretq_u32_s8(weights), 8), vreinterpretq_u32_s8(above), 24));
}

// What is known of the outputs of some channels.
enum class OutputsOf {
  kAny,     // nothing
  kPlain,   // no clamp but that of 8 bits, no ties, FitsHalves, the zero point is -128 (requantize_s8_neon.h)
  kNarrow,  // NarrowS8
};

struct Ending {
  bool plain;  // OutputsOf::kPlain
  int16x8_t zero;
  int8x16_t min, max;

  Ending(const DepthwiseLinesS8Args& args, const RequantizeArgs& output)
      : zero(vdupq_n_s16(static_cast<int16_t>(output.zero))),
        min(vdupq_n_s8(static_cast<int8_t>(output.min))),
        max(vdupq_n_s8(static_cast<int8_t>(output.max))) {
    plain = output.zero == INT8_MIN && !HasTies(output) && !HasClamp(output);
    // Inputs less the zero point reach up to 255, which is less than 2 * 128.
    for (int64_t c = 0; plain && c < args.channels; c += 16) {
      RequantizeArgs columns = output;
      columns.bias += c;
      columns.right += c;
      plain = FitsHalves<4>(columns, 2 * args.kernel_h * args.kernel_w);
    }
  }
};

// 16 outputs of numbers after the shift, which narrow ones do not have.
template <OutputsOf of>
DGMS_INLINE int8x16_t ToBytes(const int32x4_t (&y)[4], const Ending& ending, uint8x16_t top_bits) {
  if (of == OutputsOf::kNarrow) return NarrowBytes(y, top_bits);
  if (of == OutputsOf::kPlain) return BytesAbove128(y, top_bits);
  return vminq_s8(vmaxq_s8(Bytes<false>(y, ending.zero), ending.min), ending.max);
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_DEPTHWISE_S8_LINES_NEON_H_
