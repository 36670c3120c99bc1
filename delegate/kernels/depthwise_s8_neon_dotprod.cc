// int8 depthwise sums with the ARMv8.2 dot product, which adds four neighbouring bytes: four lines of the kernel, once
// the bytes of four lines of the input are interleaved.
//
// A column is what the lines of the kernel have in one place of a line, for 16 channels (8 where the kernel is wide):
// it is interleaved once, and meets the weights of every tap of a line, each for another output pixel. So a window
// slides over the columns, with the sums of all pixels that the newest column belongs to in registers. Per 16 outputs
// of a 3x3 kernel that is 3 loads, 8 interleavings and 12 dot products.
//
// The zero point comes in as what it would add, subtracted before the first tap. Kernels of more than four lines take
// four at a time. Lines that are missing (the map's edges, or beyond the kernel's height) have weights of zero and read
// the last line again.
#include "kernels/kernel_s8.h"
#include "kernels/simd_neon.h"

namespace dgms {
namespace {

constexpr int kLines = 4;          // of one dot product
constexpr int64_t kFewPixels = 2;  // so many are not worth a window

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

// Up to four lines of the kernel from `first` on, for 4 * vectors channels from c on. `rows` is how many lines are
// loaded, 3 or 4; `add` adds to what is in args.sums.
template <int taps, int stride, int vectors, int rows, bool add>
class Window {
 public:
  DGMS_INLINE Window(const DepthwiseS8Args& args, int64_t first, int64_t c)
      : step_(args.tap_stride), sums_(args.sums + c), sums_step_(args.channels), left_(args.pixels) {
    const int64_t count = args.kernel_h - first < kLines ? args.kernel_h - first : kLines;
#pragma GCC unroll 4
    for (int i = 0; i < rows; ++i) {
      line_[i] = args.input + (first + (i < count ? i : count - 1)) * args.line_stride + c;
      __asm__("" : "+r"(line_[i]));  // one register each; an offset selects the column
    }
    if (args.prepared != nullptr && c % (vectors * kLanes) == 0) {
      const int8_t* at = args.prepared + PreparedOffset(args.channels, args.prepared_taps, first, args.first_tap, c);
#pragma GCC unroll 8
      for (int kx = 0; kx < taps; ++kx) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) weights_[kx][v] = vld1q_s8(at + kx * kTapBytes + v * 16);
      }
    } else {
      const int16_t* weights = args.weights + first * args.weight_line_stride + c;
#pragma GCC unroll 8
      for (int kx = 0; kx < taps; ++kx) {
        InterleaveWeights(weights + kx * args.weight_tap_stride, args.weight_line_stride, count, weights_[kx]);
      }
    }
    const int8x16_t zero = vdupq_n_s8(static_cast<int8_t>(args.zero));
    int32x4_t zero_sums[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) zero_sums[v] = vdupq_n_s32(0);
#pragma GCC unroll 8
    for (int kx = 0; kx < taps; ++kx) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) zero_sums[v] = vdotq_s32(zero_sums[v], weights_[kx][v], zero);
    }
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) vst1q_s32(start_ + v * kLanes, vnegq_s32(zero_sums[v]));
  }

  DGMS_INLINE void Run() {
#pragma GCC unroll 8
    for (int x = 0; x < taps - stride; ++x) Column(x);
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

  // The next column, which is number x if the pixels that its window holds are counted modulo kOpen.
  DGMS_INLINE void Column(int x) {
    const int8x16_t a = LoadBytes<vectors>(line_[0] + at_), b = LoadBytes<vectors>(line_[1] + at_);
    const int8x16_t c = LoadBytes<vectors>(line_[2] + at_);
    const int8x16_t d = rows == 4 ? LoadBytes<vectors>(line_[rows - 1] + at_) : c;
    at_ += step_;
    int8x16_t column[vectors];
    Interleave(a, b, c, d, column);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
#pragma GCC unroll 8
      for (int kx = 0; kx < taps; ++kx) {
        if (x < kx || (x - kx) % stride != 0) continue;
        int32x4_t& sum = open_[(x - kx) / stride % kOpen][v];
        sum = vdotq_s32(kx == 0 ? vld1q_s32(start_ + v * kLanes) : sum, column[v], weights_[kx][v]);
      }
    }
  }

  // The last columns of a pixel (its number modulo kOpen); true after the last pixel.
  DGMS_INLINE bool Pixel(int pixel) {
#pragma GCC unroll 2
    for (int j = 0; j < stride; ++j) Column(pixel * stride + taps - stride + j);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      int32_t* to = sums_ + v * kLanes;
      vst1q_s32(to, add ? vaddq_s32(open_[pixel][v], vld1q_s32(to)) : open_[pixel][v]);
    }
    sums_ += sums_step_;
    return --left_ == 0;
  }

  const int8_t* line_[rows];
  int64_t at_ = 0, step_;
  int32_t* sums_;
  int64_t sums_step_, left_;
  int8x16_t weights_[taps][vectors];
  int32x4_t open_[kOpen][vectors];
  alignas(16) int32_t start_[vectors * kLanes];
};

template <int taps, int stride, int vectors>
void Channels(const DepthwiseS8Args& args, int64_t c) {
  if (args.kernel_h > 3) {
    Window<taps, stride, vectors, 4, false>(args, 0, c).Run();
  } else {
    Window<taps, stride, vectors, 3, false>(args, 0, c).Run();
  }
  for (int64_t first = kLines; first < args.kernel_h; first += kLines) {
    if (args.kernel_h - first > 3) {
      Window<taps, stride, vectors, 4, true>(args, first, c).Run();
    } else {
      Window<taps, stride, vectors, 3, true>(args, first, c).Run();
    }
  }
}

// The last channels begin where they fill vectors; those done twice come out the same.
template <int taps, int stride, int vectors>
void AllChannels(const DepthwiseS8Args& args) {
  constexpr int64_t kChannels = vectors * kLanes;
  int64_t c = 0;
  for (; c + kChannels <= args.channels; c += kChannels) Channels<taps, stride, vectors>(args, c);
  if (c < args.channels) Channels<taps, stride, vectors>(args, args.channels - kChannels);
}

}  // namespace

void s8_depthwise_neon_dotprod_prepare(const PrepareDepthwiseS8Args& args) {
  const int64_t all = (args.channels + kDepthwiseChannelsS8 - 1) / kDepthwiseChannelsS8 * kDepthwiseChannelsS8;
  int8_t* prepared = args.prepared;
  for (int64_t line = 0; line < args.kernel_h; line += kLines) {
    const int64_t count = args.kernel_h - line < kLines ? args.kernel_h - line : kLines;
    for (int64_t c = 0; c < all; c += kPreparedChannels) {
      for (int64_t kx = 0; kx < args.kernel_w; ++kx, prepared += kTapBytes) {
        const int16_t* weights = args.weights + line * args.line_stride + kx * args.tap_stride + c;
        if (c + kPreparedChannels <= args.channels) {
          int8x16_t bytes[4];
          InterleaveWeights(weights, args.line_stride, count, bytes);
#pragma GCC unroll 4
          for (int v = 0; v < 4; ++v) vst1q_s8(prepared + v * 16, bytes[v]);
        } else {
          for (int64_t i = 0; i < kTapBytes; ++i) {
            const bool is_there = c + i / kLines < args.channels && i % kLines < count;
            prepared[i] = is_there ? static_cast<int8_t>(weights[i % kLines * args.line_stride + i / kLines]) : 0;
          }
        }
      }
    }
  }
}

void s8_depthwise_neon_dotprod(const DepthwiseS8Args& args) {
  const bool stride1 = args.pixel_stride == args.tap_stride, stride2 = args.pixel_stride == 2 * args.tap_stride;
  if (args.pixels > kFewPixels && args.channels >= 16) {
    if (args.kernel_w == 3 && stride1) return AllChannels<3, 1, 4>(args);
    if (args.kernel_w == 3 && stride2) return AllChannels<3, 2, 4>(args);
    if (args.kernel_w == 5 && stride1) return AllChannels<5, 1, 2>(args);
    if (args.kernel_w == 5 && stride2) return AllChannels<5, 2, 2>(args);
  }
  s8_depthwise_neon(args);
}

}  // namespace dgms
