// What a block of channels of an int8 depthwise layer needs to make outputs, in the order of lanes that
// depthwise_s8_avx512_vnni.cc, which this is for, describes.
#ifndef DGMS_KERNELS_DEPTHWISE_S8_BLOCK_AVX512_VNNI_H_
#define DGMS_KERNELS_DEPTHWISE_S8_BLOCK_AVX512_VNNI_H_

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own intrinsics trip this warning (its bug 105593); our code is checked by the other compilers.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#include <stdint.h>

#include "kernels/kernel_s8.h"
#include "kernels/requantize_s8_avx512.h"

#define DGMS_INLINED __attribute__((always_inline))

namespace dgms {
namespace {

static_assert(kGroup == kDepthwiseLinesS8, "lines of a group");
constexpr int kChannels = kDepthwiseChannelsS8;  // bytes of a vector
constexpr int kVectors = kGroup;                 // of lanes, for a vector of bytes
constexpr int kVectorBytes = 64;
constexpr int kColumnBytes = kVectors * kVectorBytes;  // of one group
constexpr int kTapBytes = kColumnBytes;                // of one group's weights
constexpr int kMostGroups = kDepthwisePreparedLinesS8 / kGroup;
constexpr int kMostTaps = kDepthwisePreparedTapsS8;
constexpr int kMostLines = 2;     // of the output at a time
constexpr int kMostColumns = 96;  // interleaved, of all groups together: half of a first-level cache
constexpr int kMostPixels = 256;  // of a piece of a line at a time
constexpr int kMostPieces = 4;    // of a line, side by side in a vector
static_assert(kMostColumns <= kMostPixels, "numbers of pixels");
static_assert(kMostColumns / kMostGroups >= kDepthwisePreparedReachS8, "a window fits");

using Args = DepthwiseLinesS8Args;

// What a block of 64, 32 or 16 channels (the last ones of them may be missing) needs to make outputs.
struct Block {
  int width;      // channels of a piece of the line: 64, 32 or 16
  int64_t c;      // the first one
  int64_t count;  // channels that there are
  bool clamp;
  __m512i min, max;
  __m512i start[kVectors];
  __m512 scale[kVectors], offset[kVectors], offset_below[kVectors];  // requantize_s8.h
  // [line of the output][group][tap][kTapBytes]
  alignas(kVectorBytes) int8_t weights[kMostLines * kMostGroups * kMostTaps * kTapBytes];
};

// Four entries for quarter q of vector v, from a block's entries in natural order.
DGMS_INLINE __m128i Quarter(const int32_t* entries, int width, int v, int q) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(entries + q * kLanes % width + v * 4));
}

DGMS_INLINE __m512i LaneOrder(const int32_t* entries, int width, int v) {
  __m512i lanes = _mm512_castsi128_si512(Quarter(entries, width, v, 0));
  lanes = _mm512_inserti32x4(lanes, Quarter(entries, width, v, 1), 1);
  lanes = _mm512_inserti32x4(lanes, Quarter(entries, width, v, 2), 2);
  return _mm512_inserti32x4(lanes, Quarter(entries, width, v, 3), 3);
}

// The weights of one tap and vector of channels, group by group, and the same `lines` lines further down.
DGMS_INLINE void MoveDown(const __m512i (&weights)[kMostGroups], int64_t lines, __m512i (&moved)[kMostGroups]) {
  const int64_t groups = lines / kGroup;
  const __m512i bits = _mm512_set1_epi32(static_cast<int>(lines % kGroup * 8));
  const __m512i bits_back = _mm512_sub_epi32(_mm512_set1_epi32(32), bits);  // a shift by 32 gives 0
  for (int64_t g = 0; g < kMostGroups; ++g) {
    const __m512i from = g < groups ? _mm512_setzero_si512() : weights[g - groups];
    const __m512i above = g < groups + 1 ? _mm512_setzero_si512() : weights[g - groups - 1];
    moved[g] = _mm512_or_si512(_mm512_sllv_epi32(from, bits), _mm512_srlv_epi32(above, bits_back));
  }
}

// The weights of the block, for `groups` groups of lines: those of the first line of the output, then of the second.
void LoadWeights(const Args& args, int64_t groups, int lines, Block* block) {
  // A vector has a quarter of the prepared 64 channels; the lanes of other pieces of the line repeat the first's.
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const int first = static_cast<int>(block->c % kChannels) / kVectors;
  const __m512i from = _mm512_add_epi32(_mm512_and_si512(lane, _mm512_set1_epi32(block->width / kVectors - 1)),
                                        _mm512_set1_epi32(first));
  const int64_t taps = args.kernel_w, blocks = (args.prepared_channels + kChannels - 1) / kChannels;
  const int8_t* prepared = args.prepared + block->c / kChannels * taps * kTapBytes;
  for (int64_t i = 0; i < taps * kVectors; ++i) {
    __m512i weights[kMostGroups], moved[kMostGroups];
    for (int64_t g = 0; g < kMostGroups; ++g) {
      const int8_t* stored = prepared + g * blocks * taps * kTapBytes + i * kVectorBytes;
      weights[g] = g * kGroup >= args.kernel_h ? _mm512_setzero_si512()
                                               : _mm512_permutexvar_epi32(from, _mm512_load_si512(stored));
    }
    MoveDown(weights, args.stride_h, moved);
    for (int64_t g = 0; g < groups; ++g) {
      int8_t* to = block->weights + g * taps * kTapBytes + i * kVectorBytes;
      _mm512_store_si512(to, weights[g]);
      if (lines > 1) _mm512_store_si512(to + groups * taps * kTapBytes, moved[g]);
    }
  }
}

void LoadColumns(const Args& args, const RequantizeArgs& output, int64_t groups, Block* block) {
  block->clamp = output.min > INT8_MIN || output.max < INT8_MAX;
  block->min = _mm512_set1_epi8(static_cast<char>(output.min));
  block->max = _mm512_set1_epi8(static_cast<char>(output.max));
  const __m512i zero = _mm512_set1_epi8(static_cast<char>(args.zero ^ -128));
  const __m512 fixed_start = _mm512_set1_ps(FixedStart(output.zero));
  for (int v = 0; v < kVectors; ++v) {
    __m512i sum = _mm512_setzero_si512();
    for (int64_t tap = 0; tap < groups * args.kernel_w; ++tap) {
      sum = _mm512_dpbusd_epi32(sum, zero, _mm512_load_si512(block->weights + tap * kTapBytes + v * kVectorBytes));
    }
    block->start[v] = _mm512_sub_epi32(LaneOrder(output.bias + block->c, block->width, v), sum);
    const __m512i multiplier = LaneOrder(output.multiplier + block->c, block->width, v);
    // Channels that are not there may have any shift; no right one would make them unsure.
    const __m512i right = _mm512_max_epi32(LaneOrder(output.right + block->c, block->width, v), _mm512_set1_epi32(1));
    const FixedFactors factors(multiplier, right);
    block->scale[v] = factors.scale;
    block->offset[v] = _mm512_add_ps(fixed_start, factors.offset);
    block->offset_below[v] = _mm512_sub_ps(fixed_start, factors.offset);
  }
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_DEPTHWISE_S8_BLOCK_AVX512_VNNI_H_
