// The Winograd kernels (kernel_winograd.h), written once over the vectors of the including file, which defines first:
//   Floats, kLanes              a vector of floats, and how many
//   Mask, First(count)          what stands for the first `count` lanes (all of them if count is larger)
//   Zero, Load, Store           the latter two also with a Mask: nothing beyond its lanes is read or written
//   Splat, Add, ...             what winograd_lines.h needs
//   Clamp                       lets NaN pass
#ifndef DGMS_KERNELS_WINOGRAD_H_
#define DGMS_KERNELS_WINOGRAD_H_

#include "kernels/kernel_winograd.h"
#include "kernels/winograd_lines.h"

namespace dgms {
namespace {

template <bool full>
DGMS_INLINE Floats LoadLanes(const float* p, Mask mask) {
  if constexpr (full) return Load(p);
  return Load(p, mask);
}

template <bool full>
DGMS_INLINE void StoreLanes(float* p, Floats v, Mask mask) {
  if constexpr (full) {
    Store(p, v);
  } else {
    Store(p, v, mask);
  }
}

// One vector of channels. `inside`: the whole patch is in the map.
template <bool inside, bool full>
DGMS_INLINE void InputVector(const WinogradInputArgs& args, int64_t c, Mask mask) {
  Floats t[6][6];
#pragma GCC unroll 6
  for (int x = 0; x < 6; ++x) {
    Floats d[6], column[6];
#pragma GCC unroll 6
    for (int y = 0; y < 6; ++y) {
      const bool in_map = inside || (x >= args.first_x && x < args.end_x && y >= args.first_y && y < args.end_y);
      const int64_t line = inside ? y : y - args.first_y, pixel = inside ? x : x - args.first_x;
      d[y] = Zero();
      if (in_map) d[y] = LoadLanes<full>(args.input + line * args.line_stride + pixel * args.pixel_stride + c, mask);
    }
    InputLine(d, column);
#pragma GCC unroll 6
    for (int y = 0; y < 6; ++y) t[y][x] = column[y];
  }
  float* output = args.output + c;
#pragma GCC unroll 6
  for (int y = 0; y < 6; ++y) {
    Floats v[6];
    InputLine(t[y], v);
#pragma GCC unroll 6
    for (int x = 0; x < 6; ++x, output += args.position_stride) StoreLanes<full>(output, v[x], mask);
  }
}

template <bool inside>
DGMS_INLINE void TransformPatch(const WinogradInputArgs& args) {
  int64_t c = 0;
  for (; c + kLanes <= args.channels; c += kLanes) InputVector<inside, true>(args, c, First(kLanes));
  if (c < args.channels) InputVector<inside, false>(args, c, First(args.channels - c));
}

void TransformInput(const WinogradInputArgs& args) {
  const bool inside = args.first_x == 0 && args.end_x == 6 && args.first_y == 0 && args.end_y == 6;
  inside ? TransformPatch<true>(args) : TransformPatch<false>(args);
}

void TransformFilter(const WinogradFilterArgs& args) {
  for (int64_t i = 0; i < args.count; i += kLanes) {
    Floats t[6][3];
#pragma GCC unroll 3
    for (int x = 0; x < 3; ++x) {
      Floats column[6];
      const float* taps = args.taps + x * args.count + i;
      FilterLine(Load(taps), Load(taps + 3 * args.count), Load(taps + 6 * args.count), column);
#pragma GCC unroll 6
      for (int y = 0; y < 6; ++y) t[y][x] = column[y];
    }
    float* output = args.output + i;
#pragma GCC unroll 6
    for (int y = 0; y < 6; ++y) {
      Floats u[6];
      FilterLine(t[y][0], t[y][1], t[y][2], u);
#pragma GCC unroll 6
      for (int x = 0; x < 6; ++x, output += args.position_stride) Store(output, u[x]);
    }
  }
}

// One vector of columns, from column j on.
template <bool full>
DGMS_INLINE void OutputVector(const WinogradOutputArgs& args, int64_t j, Mask mask) {
  Floats t[4][6];
#pragma GCC unroll 6
  for (int x = 0; x < 6; ++x) {
    Floats m[6], column[4];
    const float* sums = args.sums + x * args.position_stride + j;
#pragma GCC unroll 6
    for (int y = 0; y < 6; ++y) m[y] = Load(sums + y * 6 * args.position_stride);
    OutputLine(m, column);
#pragma GCC unroll 4
    for (int y = 0; y < 4; ++y) t[y][x] = column[y];
  }
  const Epilogue& e = args.epilogue;
  const Floats scale = Load(e.scale + j), bias = Load(e.bias + j), min = Splat(e.min), max = Splat(e.max);
#pragma GCC unroll 4
  for (int y = 0; y < 4; ++y) {
    if (y >= args.height) break;
    Floats v[4];
    OutputLine(t[y], v);
#pragma GCC unroll 4
    for (int x = 0; x < 4; ++x) {
      if (x >= args.width) break;
      const int64_t at = y * args.line_stride + x * args.pixel_stride + j;
      Floats value = MultiplyAdd(v[x], scale, bias);
      if (e.residual != nullptr) value = Add(value, LoadLanes<full>(e.residual + at, mask));
      StoreLanes<full>(args.output + at, Clamp(value, min, max), mask);
    }
  }
}

void TransformOutput(const WinogradOutputArgs& args) {
  int64_t j = 0;
  for (; j + kLanes <= args.n; j += kLanes) OutputVector<true>(args, j, First(kLanes));
  if (j < args.n) OutputVector<false>(args, j, First(args.n - j));
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_WINOGRAD_H_
