// int8 depthwise kernels of any shape with dot products. For *_neon_dotprod.cc only.
//
// 16 channels at a time, first what the map has under one output line, or two neighbouring ones, is written to a strip:
// lines of the kernel interleaved by four, padding included. Then tiles of some pixels meet the weights of all taps.
//   strip   [group of four lines][four channels][column][16 bytes]
#ifndef DGMS_KERNELS_DEPTHWISE_S8_STRIP_NEON_H_
#define DGMS_KERNELS_DEPTHWISE_S8_STRIP_NEON_H_

#include <string.h>

#include "kernels/depthwise_s8_lines_neon.h"

namespace dgms {
namespace {

constexpr int kStripColumns = 96;
constexpr int kStripChannels = 16, kStripVectors = 4;
constexpr int kMaxTogether = 2;                                           // lines of the output
constexpr int kMaxGroups = (kDepthwisePreparedLinesS8 + 1 + 3) / kLines;  // two lines have one more below
constexpr int64_t kVectorBytes = kStripColumns * 16, kGroupBytes = kStripVectors * kVectorBytes;
constexpr int64_t kMaxWeights = kMaxGroups * kDepthwisePreparedTapsS8;
static_assert(kStripColumns > kDepthwisePreparedReachS8, "a pixel");

struct StripMemory {
  alignas(64) int8_t strip[kMaxGroups * kGroupBytes];
  alignas(64) int8_t weights[kStripVectors][kMaxTogether][kMaxWeights][16];  // [group][tap]
  alignas(64) int32_t start[kStripVectors][16];                              // the same four numbers four times
  alignas(64) int32_t sums[kMaxTogether][kStripColumns][kStripChannels];     // of pixels
};

// What a tile needs.
struct StripTile {
  const int8_t* strip;  // of its first column
  const int8_t* weights;
  int64_t groups, taps, stride, dilation;
  const int32_t* start;
  int32_t* sums;
};

template <int lines, int pixels>
DGMS_INLINE void BeginSums(const int32_t* start, int32x4_t (&sums)[lines][pixels]) {
#pragma GCC unroll 8
  for (int i = 0; i < pixels; ++i) {
#pragma GCC unroll 2
    for (int line = 0; line < lines; ++line) {
      KeepLoadsHere();
      sums[line][i] = vld1q_s32(start + (i * lines + line) % 4 * kLanes);
    }
  }
}

template <int lines, int pixels>
DGMS_INLINE void StoreSums(int32_t* to, const int32x4_t (&sums)[lines][pixels]) {
#pragma GCC unroll 2
  for (int line = 0; line < lines; ++line) {
#pragma GCC unroll 8
    for (int i = 0; i < pixels; ++i) {
      vst1q_s32(to + (line * kStripColumns + i) * kStripChannels, sums[line][i]);
    }
  }
}

// Any number of taps, strides and dilations.
struct AnyTaps {
  template <int lines, int pixels>
  static void Tile(const StripTile& tile) {
    int32x4_t sums[lines][pixels];
    BeginSums(tile.start, sums);
    for (int64_t group = 0; group < tile.groups; ++group) {
      for (int64_t kx = 0; kx < tile.taps; ++kx) {
        const int8_t* column = tile.strip + group * kGroupBytes + kx * tile.dilation * 16;
        const int8_t* weights = tile.weights + (group * tile.taps + kx) * 16;
        int8x16_t w[lines];
#pragma GCC unroll 2
        for (int line = 0; line < lines; ++line) w[line] = vld1q_s8(weights + line * kMaxWeights * 16);
#pragma GCC unroll 8
        for (int i = 0; i < pixels; ++i) {
          const int8x16_t x = vld1q_s8(column + i * tile.stride * 16);
#pragma GCC unroll 2
          for (int line = 0; line < lines; ++line) sums[line][i] = vdotq_s32(sums[line][i], x, w[line]);
        }
      }
    }
    StoreSums(tile.sums, sums);
  }
};

// Windows that overlap: each column is loaded once for all pixels that meet it.
template <int taps, int stride>
struct Taps {
  template <int lines, int pixels>
  static void Tile(const StripTile& tile) {
    int32x4_t sums[lines][pixels];
    BeginSums(tile.start, sums);
    const int8_t *strip = tile.strip, *weights = tile.weights;
    for (int64_t group = tile.groups; group > 0; --group, strip += kGroupBytes, weights += taps * 16) {
      int8x16_t w[lines][taps];
#pragma GCC unroll 8
      for (int kx = 0; kx < taps; ++kx) {
#pragma GCC unroll 2
        for (int line = 0; line < lines; ++line) w[line][kx] = vld1q_s8(weights + (line * kMaxWeights + kx) * 16);
      }
#pragma GCC unroll 32
      for (int x = 0; x < (pixels - 1) * stride + taps; ++x) {
        if (x % 2 == 0) KeepLoadsHere();
        const int8x16_t column = vld1q_s8(strip + x * 16);
#pragma GCC unroll 8
        for (int i = 0; i < pixels; ++i) {
          const int kx = x - i * stride;
          if (kx < 0 || kx >= taps) continue;
#pragma GCC unroll 2
          for (int line = 0; line < lines; ++line) sums[line][i] = vdotq_s32(sums[line][i], column, w[line][kx]);
        }
      }
    }
    StoreSums(tile.sums, sums);
  }
};

// As many tiles of `count` pixels as there are in `pixels`; returns what is left.
template <typename Window, int lines, int count>
DGMS_INLINE int64_t TilesOf(StripTile* tile, int64_t pixels) {
  for (; pixels >= count; pixels -= count) {
    Window::template Tile<lines, count>(*tile);
    tile->strip += count * tile->stride * 16;
    tile->sums += count * kStripChannels;
  }
  return pixels;
}

// Sums of `pixels` pixels, four channels. Maps of networks have sides that 7 divides.
template <typename Window, int lines>
void Tiles(StripTile tile, int64_t pixels) {
  pixels = TilesOf<Window, lines, 7>(&tile, pixels);
  pixels = TilesOf<Window, lines, 3>(&tile, pixels);
  TilesOf<Window, lines, 1>(&tile, pixels);
}

using TilesFn = void (*)(StripTile tile, int64_t pixels);

inline TilesFn ChooseTiles(const DepthwiseLinesS8Args& args, int together) {
  const auto choose = [&](auto window) -> TilesFn {
    return together == 2 ? Tiles<decltype(window), 2> : Tiles<decltype(window), 1>;
  };
  if (args.dilation_w == 1 && args.stride_w == 1 && args.kernel_w == 5) return choose(Taps<5, 1>());
  if (args.dilation_w == 1 && args.stride_w == 1 && args.kernel_w == 7) return choose(Taps<7, 1>());
  if (args.dilation_w == 1 && args.stride_w == 2 && together == 1) {
    if (args.kernel_w == 5) return Tiles<Taps<5, 2>, 1>;
    if (args.kernel_w == 7) return Tiles<Taps<7, 2>, 1>;
  }
  return choose(AnyTaps());
}

class Strip {
 public:
  // For `count` (up to 16) channels from c on.
  Strip(const DepthwiseLinesS8Args& args, const MapLines& map, int64_t c, int64_t count, StripMemory* memory)
      : args_(args), map_(map), c_(c), count_(count), memory_(memory) {}

  // Weights of one line and, where `together` is 2, of the next one; sums begin at the bias.
  void Prepare(const int32_t* bias, int together) {
    const int8x16_t zero = vdupq_n_s8(static_cast<int8_t>(args_.zero));
    const int64_t groups = Groups(1), taps = args_.kernel_w;
    for (int v = 0; v < kStripVectors; ++v) {
      int32x4_t zero_sums = vdupq_n_s32(0);
      for (int64_t kx = 0; kx < taps; ++kx) {
        int8x16_t above = vdupq_n_s8(0);
        for (int64_t group = 0; group < Groups(together); ++group) {
          const int8x16_t w = group < groups ? TapWeights(args_, group, kx, c_ + v * kLanes) : vdupq_n_s8(0);
          zero_sums = vdotq_s32(zero_sums, w, zero);
          vst1q_s8(memory_->weights[v][0][group * taps + kx], w);
          vst1q_s8(memory_->weights[v][1][group * taps + kx], OneLineDown(w, above));
          above = w;
        }
      }
      const int32x4_t first = bias == nullptr ? vdupq_n_s32(0) : vld1q_s32(bias + v * kLanes);
      for (int i = 0; i < 4; ++i) vst1q_s32(memory_->start[v] + i * kLanes, vsubq_s32(first, zero_sums));
    }
  }

  // Pixels of a strip, at most.
  int64_t MostPixels() const { return (kStripColumns - Reach()) / args_.stride_w + 1; }

  // Sums of `together` output lines from `line` on, pixels first_pixel..first_pixel + pixels - 1, to memory's.
  void Sums(int64_t line, int together, TilesFn tiles, int64_t first_pixel, int64_t pixels) {
    Fill(line, together, first_pixel * args_.stride_w - args_.pad_left, (pixels - 1) * args_.stride_w + Reach());
    for (int v = 0; v < kStripVectors; ++v) {
      tiles({memory_->strip + v * kVectorBytes, memory_->weights[v][0][0], Groups(together), args_.kernel_w,
             args_.stride_w, args_.dilation_w, memory_->start[v], memory_->sums[0][0] + v * kLanes},
            pixels);
    }
  }

 private:
  int64_t Reach() const { return (args_.kernel_w - 1) * args_.dilation_w + 1; }
  // Groups of four lines under so many lines of the output.
  int64_t Groups(int together) const { return (args_.kernel_h + together - 1 + kLines - 1) / kLines; }

  // Columns first..first + count - 1 of the map's lines under those of the output.
  void Fill(int64_t line, int together, int64_t first, int64_t count) {
    const int64_t lines = args_.kernel_h + together - 1, top = line * args_.stride_h - args_.pad_top;
    const int64_t before = Between(-first, count), end = Between(args_.in_w - first, count);
    const int64_t inside = end > before ? end - before : 0;
    for (int64_t group = 0; group < Groups(together); ++group) {
      Row row[kLines];
      const int64_t there = lines - group * kLines;
      for (int i = 0; i < kLines; ++i) {
        const int64_t ky = group * kLines + (i < there ? i : there - 1);
        row[i] = inside > 0 ? map_.At(top + ky * args_.dilation_h, first + before, c_) : map_.Padding();
      }
      int8_t* to = memory_->strip + group * kGroupBytes;
      FillPadding(to, before);
      FillGroup(row, there, to + before * 16, inside);
      FillPadding(to + (before + inside) * 16, count - before - inside);
    }
  }
  static int64_t Between(int64_t x, int64_t most) { return x < 0 ? 0 : x < most ? x : most; }

  void FillPadding(int8_t* to, int64_t count) const {
    const int8x16_t zero = vdupq_n_s8(static_cast<int8_t>(args_.zero));
    for (; count > 0; --count, to += 16) {
      for (int v = 0; v < kStripVectors; ++v) vst1q_s8(to + v * kVectorBytes, zero);
    }
  }

  void FillGroup(const Row (&row)[kLines], int64_t there, int8_t* to, int64_t count) const {
    if (count_ < kStripChannels) {
      const int64_t channels = count_;
      return FillColumns<4>(row, to, count, [channels](Row& r) {
        alignas(16) int8_t all[kStripChannels] = {};
        memcpy(all, r.at, static_cast<size_t>(channels));
        r.at += r.step;
        return vld1q_s8(all);
      });
    }
    const auto next = [](Row& r) { return NextBytes(r); };
    if (there <= 2) return FillColumns<2>(row, to, count, next);
    if (there == 3) return FillColumns<3>(row, to, count, next);
    FillColumns<4>(row, to, count, next);
  }

  template <int rows, typename Next>
  static DGMS_INLINE void FillColumns(const Row (&row)[kLines], int8_t* to, int64_t count, const Next& next) {
    Row a = row[0], b = row[1], c = row[2], d = row[3];
    for (; count > 0; --count, to += 16) {
      const int8x16_t va = next(a), vb = next(b);
      const int8x16_t vc = rows > 2 ? next(c) : va, vd = rows > 3 ? next(d) : vb;
      int8x16_t column[kStripVectors];
      Interleave(va, vb, vc, vd, column);
#pragma GCC unroll 4
      for (int v = 0; v < kStripVectors; ++v) vst1q_s8(to + v * kVectorBytes, column[v]);
    }
  }

  const DepthwiseLinesS8Args& args_;
  const MapLines& map_;
  const int64_t c_, count_;
  StripMemory* const memory_;
};

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_DEPTHWISE_S8_STRIP_NEON_H_
