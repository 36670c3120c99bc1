// The products of a group of tiles (WinogradProductArgs), written once over the vectors of winograd_lines.h and of the
// including file, which defines also:
//   kLanes, Zero, Load, Store
//   kHeldPositions   of how many positions the sums are held in registers at a time: 3 or 6
//
// Where tiles are few, most of the time would go into writing and reading a transformed filter: 36 vectors for each 9.
// Here it does not leave the registers. For each line of positions, or half a line, the taps are read again,
// transformed as far as the line needs it, and multiplied at once: 12 more operations for 24 multiply-adds.
#ifndef DGMS_KERNELS_WINOGRAD_PRODUCT_H_
#define DGMS_KERNELS_WINOGRAD_PRODUCT_H_

#include "kernels/kernel_winograd.h"
#include "kernels/winograd_lines.h"

namespace dgms {
namespace {

// Value i of FilterLine, which rounds alike.
template <int i>
DGMS_INLINE Floats FilterValue(Floats g0, Floats g1, Floats g2) {
  if constexpr (i == 0) return g0;
  if constexpr (i == 5) return g2;
  const Floats even = MultiplyAdd(Splat(i < 3 ? 0.5f : 2.0f), g2, g0), point = Splat(i < 3 ? kPointA : kPointB);
  return i % 2 == 1 ? MultiplyAdd(point, g1, even) : MinusProduct(point, g1, even);
}

// Value i of FilterLine of three taps that lie below each other; only those that it needs are read.
template <int i>
DGMS_INLINE Floats ColumnValue(const float* taps, int64_t below) {
  if constexpr (i == 0) return Load(taps);
  if constexpr (i == 5) return Load(taps + 2 * below);
  return FilterValue<i>(Load(taps), Load(taps + below), Load(taps + 2 * below));
}

struct ProductSums {
  Floats v[kHeldPositions][kWinogradGroup];
};

// One channel's products at position first_x + i of a line and at those behind it.
template <int first_x, int i = 0>
DGMS_INLINE void MultiplyLine(Floats g0, Floats g1, Floats g2, const float* input, ProductSums& sums) {
  if constexpr (i < kHeldPositions) {
    const Floats u = FilterValue<first_x + i>(g0, g1, g2);
#pragma GCC unroll 4
    for (int r = 0; r < kWinogradGroup; ++r) {
      sums.v[i][r] = MultiplyAdd(Splat(input[(i * kWinogradGroup + r) * kWinogradChannels]), u, sums.v[i][r]);
    }
    MultiplyLine<first_x, i + 1>(g0, g1, g2, input, sums);
  }
}

// One vector of columns at positions first_x.. of line y.
template <int y, int first_x>
DGMS_INLINE void MultiplyPositions(const WinogradProductArgs& args, const float* taps, float* output) {
  constexpr int kPosition = y * 6 + first_x;
  constexpr int64_t kTiles = int64_t{kWinogradGroup} * kWinogradChannels, kBlock = kWinogradPositions * kTiles;
  ProductSums sums;
#pragma GCC unroll 6
  for (int i = 0; i < kHeldPositions; ++i) {
#pragma GCC unroll 4
    for (int r = 0; r < kWinogradGroup; ++r) sums.v[i][r] = Zero();
  }
  const int64_t width = args.width, tap = args.channels * width, below = 3 * tap,
                end = args.first_channel + args.channels;
  for (int64_t c = args.first_channel; c < end;) {
    const int64_t in_block = c % kWinogradChannels, block_end = c - in_block + kWinogradChannels;
    const int64_t run_end = end < block_end ? end : block_end;
    const float* input = args.input + c / kWinogradChannels * kBlock + kPosition * kTiles + in_block;
    for (; c < run_end; ++c, ++input, taps += width) {
      MultiplyLine<first_x>(ColumnValue<y>(taps, below), ColumnValue<y>(taps + tap, below),
                            ColumnValue<y>(taps + 2 * tap, below), input, sums);
    }
  }
  const bool accumulate = args.accumulate;
  const int64_t position_stride = args.position_stride;
  output += kPosition * position_stride;
#pragma GCC unroll 6
  for (int i = 0; i < kHeldPositions; ++i, output += position_stride) {
#pragma GCC unroll 4
    for (int r = 0; r < kWinogradGroup; ++r) {
      Store(output + r * width, accumulate ? Add(sums.v[i][r], Load(output + r * width)) : sums.v[i][r]);
    }
  }
}

// All positions from (y, first_x) on.
template <int y = 0, int first_x = 0>
DGMS_INLINE void MultiplyVector(const WinogradProductArgs& args, const float* taps, float* output) {
  if constexpr (y < 6) {
    MultiplyPositions<y, first_x>(args, taps, output);
    constexpr bool kLineEnds = first_x + kHeldPositions == 6;
    MultiplyVector<kLineEnds ? y + 1 : y, kLineEnds ? 0 : first_x + kHeldPositions>(args, taps, output);
  }
}

void MultiplyGroup(const WinogradProductArgs& args) {
  for (int64_t j = 0; j < args.width; j += kLanes) MultiplyVector(args, args.taps + j, args.sums + j);
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_WINOGRAD_PRODUCT_H_
