// Outputs of interleaved columns: the second pass of depthwise_s8_avx512_vnni.cc, which this is for, and both at once
// where a window's columns fit the registers.
#ifndef DGMS_KERNELS_DEPTHWISE_S8_PIXELS_AVX512_VNNI_H_
#define DGMS_KERNELS_DEPTHWISE_S8_PIXELS_AVX512_VNNI_H_

#include <immintrin.h>
#include <stdint.h>

#include "kernels/depthwise_s8_columns_avx512_vnni.h"

namespace dgms {
namespace {

// Pixels of one or two lines of the output.
struct Pixels {
  const Block* block;
  const RequantizeArgs* output;
  const int8_t* columns;
  int64_t pixel_bytes, tap_bytes, group_bytes;  // from one to the next
  int64_t groups, taps;
  int64_t count;               // in each piece of the line
  int8_t* to;                  // the first pixel of the first line, the block's first channel
  int64_t row_bytes;           // from one pixel of the output to the next
  int64_t line_bytes;          // from one line of the output to the next
  int64_t piece[kMostPieces];  // bytes from the line's first pixel to that of each piece
};

// The output in fixed point, plus kMargin. With `positive`, outputs below the zero point are clamped to it or above
// anyway, and every sum counts as positive.
template <bool positive>
DGMS_INLINE __m512i Fixed(const Block& block, int v, __m512i sums) {
  const __m512 offset = positive
                            ? block.offset[v]
                            : _mm512_mask_blend_ps(_mm512_movepi32_mask(sums), block.offset[v], block.offset_below[v]);
  return _mm512_cvtps_epi32(_mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), block.scale[v], offset));
}

// To the pieces of a line, `width` channels each, or the first `count` of them.
template <int width>
DGMS_INLINE void StoreBytes(const int64_t (&piece)[kMostPieces], int64_t count, int8_t* to, __m512i bytes) {
  if constexpr (width == 64) {
    if (count == width) return _mm512_storeu_si512(to, bytes);
    _mm512_mask_storeu_epi8(to, ~__mmask64{0} >> (width - count), bytes);
  } else if constexpr (width == 32) {
    const __m256i halves[] = {_mm512_castsi512_si256(bytes), _mm512_extracti64x4_epi64(bytes, 1)};
#pragma GCC unroll 2
    for (int p = 0; p < 2; ++p) {
      if (count == width) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + piece[p]), halves[p]);
      } else {
        _mm256_mask_storeu_epi8(to + piece[p], ~__mmask32{0} >> (width - count), halves[p]);
      }
    }
  } else {
    const __m128i quarters[] = {_mm512_castsi512_si128(bytes), _mm512_extracti32x4_epi32(bytes, 1),
                                _mm512_extracti32x4_epi32(bytes, 2), _mm512_extracti32x4_epi32(bytes, 3)};
#pragma GCC unroll 4
    for (int p = 0; p < 4; ++p) {
      if (count == width) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + piece[p]), quarters[p]);
      } else {
        _mm_mask_storeu_epi8(to + piece[p], static_cast<__mmask16>(0xffff >> (width - count)), quarters[p]);
      }
    }
  }
}

// The same for any width.
struct StoreAny {
  DGMS_INLINE void operator()(const Pixels& pixels, int8_t* to, __m512i bytes) const {
    const Block& block = *pixels.block;
    if (block.width == 64) return StoreBytes<64>(pixels.piece, block.count, to, bytes);
    if (block.width == 32) return StoreBytes<32>(pixels.piece, block.count, to, bytes);
    StoreBytes<16>(pixels.piece, block.count, to, bytes);
  }
};
template <int width>
struct StoreWhole {
  DGMS_INLINE void operator()(const Pixels& pixels, int8_t* to, __m512i bytes) const {
    StoreBytes<width>(pixels.piece, width, to, bytes);
  }
};

// The sums of one vector of channels in `lines` lines; 0 taps or groups: as many as there are.
template <int taps, int groups, int lines>
DGMS_INLINE void SumWindow(const Pixels& pixels, const int8_t* columns, int v, __m512i (&sums)[lines]) {
  const int64_t group_count = groups == 0 ? pixels.groups : groups, tap_count = taps == 0 ? pixels.taps : taps;
  const int64_t group_weights = tap_count * kTapBytes, line_weights = group_count * group_weights;
#pragma GCC unroll 2
  for (int l = 0; l < lines; ++l) sums[l] = pixels.block->start[v];
#pragma GCC unroll 2
  for (int64_t g = 0; g < group_count; ++g) {
#pragma GCC unroll 7
    for (int64_t tap = 0; tap < tap_count; ++tap) {
      const __m512i column =
          _mm512_load_si512(columns + g * pixels.group_bytes + tap * pixels.tap_bytes + v * kVectorBytes);
      const int8_t* weights = pixels.block->weights + g * group_weights + tap * kTapBytes + v * kVectorBytes;
#pragma GCC unroll 2
      for (int l = 0; l < lines; ++l) {
        sums[l] = _mm512_dpbusd_epi32(sums[l], column, _mm512_load_si512(weights + l * line_weights));
      }
    }
  }
}

// The contract's output of a sum, its bias included.
int8_t Requantized(const RequantizeArgs& output, int64_t channel, int32_t sum) {
  const int32_t right = output.right[channel];
  const int64_t high = (int64_t{sum} * output.multiplier[channel] + (int64_t{1} << 30)) >> 31;
  const int64_t half = int64_t{1} << (right - 1);
  const int64_t y = (high < 0 ? -((half - high) >> right) : (high + half) >> right) + output.zero;
  return static_cast<int8_t>(y < output.min ? output.min : y > output.max ? output.max : y);
}

// Writes the contract's outputs where float may have rounded to the wrong side, at one place of every piece. Rare.
template <int lines, bool positive>
__attribute__((noinline)) void Correct(const Pixels& pixels, const int8_t* columns, int64_t x) {
  const Block& block = *pixels.block;
  const __m512i low_half = _mm512_set1_epi32(0xffff), unsure = _mm512_set1_epi32(kUnsure);
  for (int v = 0; v < kVectors; ++v) {
    __m512i sums[lines];
    SumWindow<0, 0>(pixels, columns, v, sums);
    for (int l = 0; l < lines; ++l) {
      const __m512i fraction = _mm512_and_si512(Fixed<positive>(block, v, sums[l]), low_half);
      alignas(kVectorBytes) int32_t stored[kLanes];
      _mm512_store_si512(stored, sums[l]);
      for (unsigned lanes = _mm512_cmplt_epu32_mask(fraction, unsure); lanes != 0; lanes &= lanes - 1) {
        const int lane = __builtin_ctz(lanes), byte = lane / 4 * kLanes + v * 4 + lane % 4;
        const int channel = byte % block.width;
        if (channel >= block.count) continue;
        int8_t* const to = pixels.to + x * pixels.row_bytes + l * pixels.line_bytes;
        to[pixels.piece[byte / block.width] + channel] = Requantized(*pixels.output, block.c + channel, stored[lane]);
      }
    }
  }
}

// Numbers of pixels that have an unsure output. It is put right afterwards: a loop without exceptions runs ahead.
struct UnsurePixels {
  uint16_t x[kMostPixels];
  int64_t count = 0;
  DGMS_INLINE void Add(int64_t pixel, bool unsure) {
    x[count] = static_cast<uint16_t>(pixel);
    count += unsure ? 1 : 0;
  }
};

// The outputs of pixel x, whose sums are sums_of(v, &sums).
template <int lines, bool positive, typename SumsFn, typename StoreFn>
DGMS_INLINE void MakePixel(const Pixels& pixels, int64_t x, const SumsFn& sums_of, const StoreFn& store,
                           UnsurePixels* unsure) {
  const Block& block = *pixels.block;
  __m512i fixed[lines][kVectors];
  __m512i least = _mm512_set1_epi16(-1);
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    __m512i sums[lines];
    sums_of(v, sums);
#pragma GCC unroll 2
    for (int l = 0; l < lines; ++l) {
      fixed[l][v] = Fixed<positive>(block, v, sums[l]);
      least = _mm512_min_epu16(least, fixed[l][v]);  // the low halves count
    }
  }
#pragma GCC unroll 2
  for (int l = 0; l < lines; ++l) {
    __m512i bytes = IntegerBytes(fixed[l]);
    if (block.clamp) bytes = _mm512_min_epi8(_mm512_max_epi8(bytes, block.min), block.max);
    store(pixels, pixels.to + x * pixels.row_bytes + l * pixels.line_bytes, bytes);
  }
  constexpr __mmask32 kLowHalves = 0x55555555;
  unsure->Add(x, _mm512_mask_cmplt_epu16_mask(kLowHalves, least, _mm512_set1_epi16(kUnsure)) != 0);
}

template <int taps, int groups, int lines, bool positive>
void MakePixels(const Pixels& all) {
  const Pixels pixels = all;  // a copy, which no store of bytes could change
  UnsurePixels unsure;
  for (int64_t x = 0; x < pixels.count; ++x) {
    const int8_t* columns = pixels.columns + x * pixels.pixel_bytes;
    MakePixel<lines, positive>(
        pixels, x,
        [&](int v, __m512i(&sums)[lines]) DGMS_INLINED { SumWindow<taps, groups>(pixels, columns, v, sums); },
        StoreAny(), &unsure);
  }
  for (int64_t i = 0; i < unsure.count; ++i) {
    Correct<lines, positive>(all, all.columns + unsure.x[i] * all.pixel_bytes, unsure.x[i]);
  }
}

// Both passes at once, for kernels of 3x3: a window of three columns slides over the line in registers.
template <int width, int stride, int lines, bool positive>
void SlideWindow(const GroupLines& group, const Pixels& all) {
  constexpr int kTaps = 3, kRows = kTaps + lines - 1;
  const GroupLines in = group;  // copies, as above
  const Pixels pixels = all;
  const Block& block = *pixels.block;
  UnsurePixels unsure;
  __m512i column[kTaps][kVectors];
#pragma GCC unroll 2
  for (int i = stride; i < kTaps; ++i) LoadColumn<width, true, kRows>(in, 0, i - stride, column[i]);
  for (int64_t x = 0; x < pixels.count; ++x) {
#pragma GCC unroll 2
    for (int i = stride; i < kTaps; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) column[i - stride][v] = column[i][v];
    }
#pragma GCC unroll 2
    for (int i = kTaps - stride; i < kTaps; ++i) {
      LoadColumn<width, true, kRows>(in, 0, x * stride + i, column[i]);
    }
    const auto sums_of = [&](int v, __m512i(&sums)[lines]) DGMS_INLINED {
#pragma GCC unroll 2
      for (int l = 0; l < lines; ++l) {
        sums[l] = block.start[v];
#pragma GCC unroll 3
        for (int tap = 0; tap < kTaps; ++tap) {
          const int8_t* weights = block.weights + (l * kTaps + tap) * kTapBytes + v * kVectorBytes;
          sums[l] = _mm512_dpbusd_epi32(sums[l], column[tap][v], _mm512_load_si512(weights));
        }
      }
    };
    MakePixel<lines, positive>(pixels, x, sums_of, StoreWhole<width>(), &unsure);
  }
  for (int64_t i = 0; i < unsure.count; ++i) {
    GroupLines at = in;
    for (int64_t& piece : at.piece) piece += unsure.x[i] * stride;
    alignas(kVectorBytes) int8_t columns[kTaps * kColumnBytes];
    InterleaveColumns<width, true, kRows>(at, 0, kTaps, columns);
    Correct<lines, positive>(all, columns, unsure.x[i]);
  }
}

using PixelsFn = void (*)(const Pixels& pixels);

template <int taps, int groups>
PixelsFn PixelsOf(int lines, bool positive) {
  constexpr PixelsFn kFns[kMostLines][2] = {{MakePixels<taps, groups, 1, false>, MakePixels<taps, groups, 1, true>},
                                            {MakePixels<taps, groups, 2, false>, MakePixels<taps, groups, 2, true>}};
  return kFns[lines - 1][positive ? 1 : 0];
}

PixelsFn SelectPixels(int64_t taps, int64_t groups, int lines, bool positive) {
  if (taps == 3 && groups == 1) return PixelsOf<3, 1>(lines, positive);
  if (taps == 5 && groups == 2) return PixelsOf<5, 2>(lines, positive);
  if (taps == 7 && groups == 2) return PixelsOf<7, 2>(lines, positive);
  return PixelsOf<0, 0>(lines, positive);
}

using SlideFn = void (*)(const GroupLines& in, const Pixels& pixels);

template <int width>
SlideFn SlideOf(int stride, int lines, bool positive) {
  constexpr SlideFn kFns[][2] = {{SlideWindow<width, 1, 1, false>, SlideWindow<width, 1, 1, true>},
                                 {SlideWindow<width, 1, 2, false>, SlideWindow<width, 1, 2, true>},
                                 {SlideWindow<width, 2, 1, false>, SlideWindow<width, 2, 1, true>}};
  return kFns[stride == 2 ? 2 : lines - 1][positive ? 1 : 0];
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_DEPTHWISE_S8_PIXELS_AVX512_VNNI_H_
