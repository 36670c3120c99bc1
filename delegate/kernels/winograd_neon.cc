// Winograd F(4x4, 3x3) with NEON. The lines' transforms are everybody's (winograd_lines.h); how values get to them and
// back is for 32 registers and for addresses that cost an instruction each: lines are read and written by loads and
// stores that move their pointer on, and what waits between the two passes over a patch lies in memory, where the
// compiler would put it anyway, with more moves.
#include "kernels/kernel_winograd.h"
#include "kernels/simd_neon.h"

namespace dgms {
namespace {

using Floats = float32x4_t;

DGMS_INLINE Floats Splat(float x) { return vdupq_n_f32(x); }
DGMS_INLINE Floats Add(Floats a, Floats b) { return vaddq_f32(a, b); }
DGMS_INLINE Floats Subtract(Floats a, Floats b) { return vsubq_f32(a, b); }
DGMS_INLINE Floats Multiply(Floats a, Floats b) { return vmulq_f32(a, b); }
DGMS_INLINE Floats MultiplyAdd(Floats a, Floats b, Floats c) { return vfmaq_f32(c, a, b); }
DGMS_INLINE Floats MinusProduct(Floats a, Floats b, Floats c) { return vfmsq_f32(c, a, b); }

}  // namespace
}  // namespace dgms

// The order matters: it is written over the names above.
#include "kernels/winograd_lines.h"

namespace dgms {
namespace {

constexpr int kPatch = kWinogradPatch, kTile = kWinogradTile;

DGMS_INLINE ptrdiff_t Bytes(int64_t floats) { return static_cast<ptrdiff_t>(floats * 4); }

// ---- inputs ----

// The first pass: column x of a patch at `input` (its line first_y; lines outside are 0). `count` channels.
template <bool all_lines, bool full>
DGMS_INLINE void InputColumn(const WinogradInputArgs& args, const float* input, int count, Floats (&column)[kPatch]) {
  const ptrdiff_t line = Bytes(args.line_stride);
  Floats d[kPatch];
#pragma GCC unroll 6
  for (int y = 0; y < kPatch; ++y) {
    if constexpr (all_lines && full) {
      d[y] = LoadNext(&input, line);
    } else {
      d[y] = vdupq_n_f32(0.0f);
      if (all_lines || (y >= args.first_y && y < args.end_y)) {
        d[y] = full ? vld1q_f32(input) : LoadFirst(input, count);
        input += args.line_stride;
      }
    }
  }
  InputLine(d, column);
}

// One vector of channels. Columns of the patch first, then lines.
template <bool all_lines, bool full>
DGMS_INLINE void InputVector(const WinogradInputArgs& args, const float* input, float* output, int count) {
  Floats t[kPatch][kPatch];  // [x][y]
  const ptrdiff_t position = Bytes(args.position_stride), pixel = Bytes(args.pixel_stride);
#pragma GCC unroll 1
  for (int x = 0; x < kPatch; ++x) {
    if (x >= args.first_x && x < args.end_x) {
      InputColumn<all_lines, full>(args, input, count, t[x]);
      input = reinterpret_cast<const float*>(reinterpret_cast<const char*>(input) + pixel);
    } else {
      for (int y = 0; y < kPatch; ++y) t[x][y] = vdupq_n_f32(0.0f);
    }
  }
#pragma GCC unroll 1
  for (int y = 0; y < kPatch; ++y) {
    Floats d[kPatch], v[kPatch];
#pragma GCC unroll 6
    for (int x = 0; x < kPatch; ++x) d[x] = t[x][y];
    InputLine(d, v);
#pragma GCC unroll 6
    for (int x = 0; x < kPatch; ++x) {
      if constexpr (full) {
        StoreNext(&output, position, v[x]);
      } else {
        StoreFirst(output, v[x], count);
        output += args.position_stride;
      }
    }
  }
}

template <bool all_lines>
void TransformPatch(const WinogradInputArgs& args) {
  int64_t c = 0;
  for (; c + kLanes <= args.channels; c += kLanes) {
    InputVector<all_lines, true>(args, args.input + c, args.output + c, kLanes);
  }
  if (c < args.channels) {
    InputVector<all_lines, false>(args, args.input + c, args.output + c, static_cast<int>(args.channels - c));
  }
}

// ---- filters ----

// The second pass over one line of three vectors: six positions.
DGMS_INLINE void StoreFilterLine(const Floats (&line)[3], ptrdiff_t position, float** output) {
  Floats u[kPatch];
  FilterLine(line[0], line[1], line[2], u);
#pragma GCC unroll 6
  for (int x = 0; x < kPatch; ++x) StoreNext(output, position, u[x]);
}

// Lines go in pairs from the first pass to the second: all six at once would not fit the registers.
void TransformFilter(const WinogradFilterArgs& args) {
  constexpr float kSquare[2] = {0.5f, 2.0f}, kPoint[2] = {kPointA, kPointB};
  const ptrdiff_t next_tap = Bytes(args.count), position = Bytes(args.position_stride);
  for (int64_t i = 0; i < args.count; i += kLanes) {
    const float* taps = args.taps + i;
    float* output = args.output + i;
    Floats g[3][3];
#pragma GCC unroll 9
    for (int tap = 0; tap < 9; ++tap) g[tap / 3][tap % 3] = LoadNext(&taps, next_tap);
    StoreFilterLine(g[0], position, &output);
#pragma GCC unroll 2
    for (int pair = 0; pair < 2; ++pair) {
      Floats plus[3], minus[3];
#pragma GCC unroll 3
      for (int x = 0; x < 3; ++x) {
        FilterPair(kSquare[pair], kPoint[pair], g[0][x], g[1][x], g[2][x], &plus[x], &minus[x]);
      }
      StoreFilterLine(plus, position, &output);
      StoreFilterLine(minus, position, &output);
    }
    StoreFilterLine(g[2], position, &output);
  }
}

// ---- outputs ----

// The epilogue of one pixel's vector of `count` columns.
template <bool full>
DGMS_INLINE void OutputPixel(const Epilogue& e, Floats sum, int64_t j, int64_t at, Floats min, Floats max, int count,
                             float* output) {
  const Floats bias = vld1q_f32(e.bias + j);
  Floats value = e.unit_scale ? vaddq_f32(sum, bias) : vfmaq_f32(bias, sum, vld1q_f32(e.scale + j));
  if (e.residual != nullptr) {
    const float* residual = e.residual + at + j;
    value = vaddq_f32(value, full ? vld1q_f32(residual) : LoadFirst(residual, count));
  }
  value = Clamp(value, min, max);
  if constexpr (full) {
    vst1q_f32(output + at + j, value);
  } else {
    StoreFirst(output + at + j, value, count);
  }
}

// One vector of columns from column j on. `whole`: all 16 pixels.
template <bool whole, bool full>
DGMS_INLINE void OutputVector(const WinogradOutputArgs& args, int64_t j, int count) {
  Floats t[kPatch][kTile];  // [x][y]
  const ptrdiff_t position = Bytes(args.position_stride), line = kPatch * position;
  const int height = whole ? kTile : args.height, width = whole ? kTile : args.width;
#pragma GCC unroll 1
  for (int x = 0; x < kPatch; ++x) {
    Floats m[kPatch];
    const float* sums = args.sums + x * args.position_stride + j;
#pragma GCC unroll 6
    for (int y = 0; y < kPatch; ++y) m[y] = LoadNext(&sums, line);
    OutputLine(m, t[x]);
  }
  const Epilogue e = args.epilogue;
  const Floats min = vdupq_n_f32(e.min), max = vdupq_n_f32(e.max);
#pragma GCC unroll 1
  for (int y = 0; y < height; ++y) {
    Floats m[kPatch], v[kTile];
#pragma GCC unroll 6
    for (int x = 0; x < kPatch; ++x) m[x] = t[x][y];
    OutputLine(m, v);
    int64_t at = y * args.line_stride;
#pragma GCC unroll 4
    for (int x = 0; x < kTile; ++x, at += args.pixel_stride) {
      if (x < width) OutputPixel<full>(e, v[x], j, at, min, max, count, args.output);
    }
  }
}

template <bool whole>
void TransformTile(const WinogradOutputArgs& args) {
  int64_t j = 0;
  for (; j + kLanes <= args.n; j += kLanes) OutputVector<whole, true>(args, j, kLanes);
  if (j < args.n) OutputVector<whole, false>(args, j, static_cast<int>(args.n - j));
}

}  // namespace

void f32_winograd_neon_input(const WinogradInputArgs& args) {
  args.first_y == 0 && args.end_y == kPatch ? TransformPatch<true>(args) : TransformPatch<false>(args);
}

void f32_winograd_neon_filter(const WinogradFilterArgs& args) { TransformFilter(args); }

void f32_winograd_neon_output(const WinogradOutputArgs& args) {
  args.height == kTile&& args.width == kTile ? TransformTile<true>(args) : TransformTile<false>(args);
}

}  // namespace dgms
