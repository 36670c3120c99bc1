// Windows of 3 taps on 64-bit ARM, in assembly: 4 output pixels, or what a line's end leaves, by 16 channels, with the
// order of summation of depthwise_neon.cc, whose windows compute the same to the last bit where DGMS_NEON_ASSEMBLY is
// 0.
//
// One instruction loads the four vectors of a position, of a tap or of the bias, and one stores those of a pixel: 6
// pixels of three vectors take 3 % more of them, 10 pixels of two 10 % more. Compilers have no registers left for it:
// 16 hold sums (pixel i's are v(4i)..v(4i + 3)), 12 a line's weights (tap k's are v(16 + 4k)..v(19 + 4k)) and 4 an
// input position (v28..v31); the bounds come where weights were. Lines do not loop: fewer than three enter later.
#ifndef DGMS_KERNELS_DEPTHWISE_WINDOW_NEON_H_
#define DGMS_KERNELS_DEPTHWISE_WINDOW_NEON_H_

#include <stddef.h>

#include "kernels/kernel.h"
#include "kernels/simd_neon.h"

#if DGMS_AARCH64 && DGMS_NEON_ASSEMBLY

namespace dgms {
namespace {

static_assert(offsetof(DepthwiseF32Args, max) - offsetof(DepthwiseF32Args, min) == sizeof(float),
              "one instruction loads both");

// clang-format off
#define DGMS_SUMS_0 0, 1, 2, 3
#define DGMS_SUMS_1 4, 5, 6, 7
#define DGMS_SUMS_2 8, 9, 10, 11
#define DGMS_SUMS_3 12, 13, 14, 15
#define DGMS_TAP_0 16, 17, 18, 19
#define DGMS_TAP_1 20, 21, 22, 23
#define DGMS_TAP_2 24, 25, 26, 27
#define DGMS_EXPAND(macro, ...) macro(__VA_ARGS__)
// All pixels of a window but the last one, and the last one.
#define DGMS_OTHERS_1(macro, ...)
#define DGMS_OTHERS_2(macro, ...) DGMS_EXPAND(macro, DGMS_SUMS_0, __VA_ARGS__)
#define DGMS_OTHERS_3(macro, ...) DGMS_OTHERS_2(macro, __VA_ARGS__) DGMS_EXPAND(macro, DGMS_SUMS_1, __VA_ARGS__)
#define DGMS_OTHERS_4(macro, ...) DGMS_OTHERS_3(macro, __VA_ARGS__) DGMS_EXPAND(macro, DGMS_SUMS_2, __VA_ARGS__)
#define DGMS_LAST_1(macro, ...) DGMS_EXPAND(macro, DGMS_SUMS_0, __VA_ARGS__)
#define DGMS_LAST_2(macro, ...) DGMS_EXPAND(macro, DGMS_SUMS_1, __VA_ARGS__)
#define DGMS_LAST_3(macro, ...) DGMS_EXPAND(macro, DGMS_SUMS_2, __VA_ARGS__)
#define DGMS_LAST_4(macro, ...) DGMS_EXPAND(macro, DGMS_SUMS_3, __VA_ARGS__)

// Pixel and tap that a position serves.
#define DGMS_FMA_4(s0, s1, s2, s3, w0, w1, w2, w3)                                                               \
  "fmla v" #s0 ".4s, v28.4s, v" #w0 ".4s\n fmla v" #s1 ".4s, v29.4s, v" #w1 ".4s\n"                              \
  "fmla v" #s2 ".4s, v30.4s, v" #w2 ".4s\n fmla v" #s3 ".4s, v31.4s, v" #w3 ".4s\n"
#define DGMS_MEET(pixel, tap) DGMS_EXPAND(DGMS_FMA_4, DGMS_SUMS_##pixel, DGMS_TAP_##tap)
// The last tap of one pixel, the first one of another.
#define DGMS_MEET_2(last, first) DGMS_MEET(last, 2) DGMS_MEET(first, 0)
#define DGMS_MEET_3(last, middle, first) DGMS_MEET(last, 2) DGMS_MEET(middle, 1) DGMS_MEET(first, 0)

// Loads a position, and moves on by `step`.
#define DGMS_AT(step) "ld1 {v28.4s-v31.4s}, [%[input]], %[" #step "]\n"
#define DGMS_NEXT DGMS_AT(next_position)

// A line of the window, by the distance of pixels and their number: its first position (none where that is outside),
// the inner ones, the last but one with the step behind it, the last one (or none).
#define DGMS_FIRST DGMS_NEXT DGMS_MEET(0, 0)
#define DGMS_INNER_1_1
#define DGMS_INNER_1_2 DGMS_NEXT DGMS_MEET(0, 1) DGMS_MEET(1, 0)
#define DGMS_INNER_1_3 DGMS_INNER_1_2 DGMS_NEXT DGMS_MEET_3(0, 1, 2)
#define DGMS_INNER_1_4 DGMS_INNER_1_3 DGMS_NEXT DGMS_MEET_3(1, 2, 3)
#define DGMS_LAST_BUT_ONE_1_1(step) DGMS_AT(step) DGMS_MEET(0, 1)
#define DGMS_LAST_BUT_ONE_1_2(step) DGMS_AT(step) DGMS_MEET(0, 2) DGMS_MEET(1, 1)
#define DGMS_LAST_BUT_ONE_1_3(step) DGMS_AT(step) DGMS_MEET(1, 2) DGMS_MEET(2, 1)
#define DGMS_LAST_BUT_ONE_1_4(step) DGMS_AT(step) DGMS_MEET(2, 2) DGMS_MEET(3, 1)
#define DGMS_INNER_2_1
#define DGMS_INNER_2_2 DGMS_NEXT DGMS_MEET(0, 1) DGMS_NEXT DGMS_MEET_2(0, 1)
#define DGMS_INNER_2_3 DGMS_INNER_2_2 DGMS_NEXT DGMS_MEET(1, 1) DGMS_NEXT DGMS_MEET_2(1, 2)
#define DGMS_INNER_2_4 DGMS_INNER_2_3 DGMS_NEXT DGMS_MEET(2, 1) DGMS_NEXT DGMS_MEET_2(2, 3)
#define DGMS_LAST_BUT_ONE_2_1(step) DGMS_AT(step) DGMS_MEET(0, 1)
#define DGMS_LAST_BUT_ONE_2_2(step) DGMS_AT(step) DGMS_MEET(1, 1)
#define DGMS_LAST_BUT_ONE_2_3(step) DGMS_AT(step) DGMS_MEET(2, 1)
#define DGMS_LAST_BUT_ONE_2_4(step) DGMS_AT(step) DGMS_MEET(3, 1)
#define DGMS_LAST_TAP_1 DGMS_MEET(0, 2)
#define DGMS_LAST_TAP_2 DGMS_MEET(1, 2)
#define DGMS_LAST_TAP_3 DGMS_MEET(2, 2)
#define DGMS_LAST_TAP_4 DGMS_MEET(3, 2)

// `behind`: the step to the next line's first position.
#define DGMS_LINE_WHOLE(stride, pixels, behind)                                                                  \
  DGMS_FIRST DGMS_INNER_##stride##_##pixels DGMS_LAST_BUT_ONE_##stride##_##pixels(next_position)                 \
  DGMS_AT(behind) DGMS_LAST_TAP_##pixels
#define DGMS_LINE_LEFT(stride, pixels, behind)                                                                   \
  DGMS_INNER_##stride##_##pixels DGMS_LAST_BUT_ONE_##stride##_##pixels(next_position)                            \
  DGMS_AT(behind) DGMS_LAST_TAP_##pixels
#define DGMS_LINE_RIGHT(stride, pixels, behind)                                                                  \
  DGMS_FIRST DGMS_INNER_##stride##_##pixels DGMS_LAST_BUT_ONE_##stride##_##pixels(behind)
#define DGMS_LINE_BOTH(stride, pixels, behind)                                                                   \
  DGMS_INNER_##stride##_##pixels DGMS_LAST_BUT_ONE_##stride##_##pixels(behind)

#define DGMS_LOAD_TAP(w0, w1, w2, w3, step) "ld1 {v" #w0 ".4s-v" #w3 ".4s}, [%[weights]], %[" #step "]\n"
#define DGMS_LOAD_TAPS(behind)                                                                                   \
  DGMS_EXPAND(DGMS_LOAD_TAP, DGMS_TAP_0, next_tap) DGMS_EXPAND(DGMS_LOAD_TAP, DGMS_TAP_1, next_tap)              \
  DGMS_EXPAND(DGMS_LOAD_TAP, DGMS_TAP_2, behind)
#define DGMS_START(s0, s1, s2, s3, step) "ld1 {v" #s0 ".4s-v" #s3 ".4s}, [%[bias]]" step "\n"
#define DGMS_BOUND(s0, s1, s2, s3, operation, bound)                                                             \
  operation " v" #s0 ".4s, v" #s0 ".4s, v" #bound ".4s\n" operation " v" #s1 ".4s, v" #s1 ".4s, v" #bound ".4s\n" \
  operation " v" #s2 ".4s, v" #s2 ".4s, v" #bound ".4s\n" operation " v" #s3 ".4s, v" #s3 ".4s, v" #bound ".4s\n"
#define DGMS_STORE(s0, s1, s2, s3, step) "st1 {v" #s0 ".4s-v" #s3 ".4s}, [%[output]], %[" #step "]\n"
#define DGMS_ALL(pixels, macro, ...) DGMS_OTHERS_##pixels(macro, __VA_ARGS__) DGMS_LAST_##pixels(macro, __VA_ARGS__)

// All channels. Labels: 1 the next 16 channels, 2 the first of three lines, 3 the second, 4 the last, 5 and 6 behind
// the bounds, 7 where lines are left out, 8 the end.
#define DGMS_WINDOWS(line, stride, pixels)                                                                       \
  "1:\n" DGMS_OTHERS_##pixels(DGMS_START, "") DGMS_LAST_##pixels(DGMS_START, ", #64")                            \
  "cbnz %[left_out], 7f\n"                                                                                       \
  "2:\n" DGMS_LOAD_TAPS(next_weights) line(stride, pixels, next_line)                                            \
  "3:\n" DGMS_LOAD_TAPS(next_weights) line(stride, pixels, next_line)                                            \
  "4:\n" DGMS_LOAD_TAPS(next_channel_weights) line(stride, pixels, next_channel)                                 \
  "ld2r {v16.4s, v17.4s}, [%[bounds]]\n"                                                                         \
  "tbz %[flags], #0, 5f\n" DGMS_ALL(pixels, DGMS_BOUND, "fmax", 16)                                              \
  "5:\n tbz %[flags], #1, 6f\n" DGMS_ALL(pixels, DGMS_BOUND, "fmin", 17)                                         \
  "6:\n" DGMS_OTHERS_##pixels(DGMS_STORE, next_pixel) DGMS_LAST_##pixels(DGMS_STORE, next_channel_output)        \
  "subs %[count], %[count], #1\n b.ne 1b\n b 8f\n"                                                              \
  "7:\n tbnz %[left_out], #0, 3b\n b 4b\n"                                                                      \
  "8:\n"
// clang-format on

constexpr int kWindowPixels = 4, kWindowVectors = 4, kMostWindowLines = 3;

// As Windows<3, stride, pixels, 4, left, right> of depthwise_neon.cc: all whole fours of vectors of the channels, of so
// many windows from pixel `first` on, one behind the other. At most kMostWindowLines lines.
template <int stride, int pixels, bool left, bool right>
void WideWindows(const DepthwiseF32Args& args, int64_t first, int64_t windows) {
  static_assert(stride <= 2 && pixels <= kWindowPixels, "the windows in assembly");
  constexpr int kChannels = kWindowVectors * kLanes;
  constexpr int kPositions = (pixels - 1) * stride + 3 - (left ? 1 : 0) - (right ? 1 : 0);
  constexpr ptrdiff_t kFloat = sizeof(float), kChannelBytes = kChannels * kFloat;
  const float* input = args.input + first * args.pixel_stride + (left ? args.tap_stride : 0);
  float* output = args.output + first * args.output_stride;
  const int64_t all_channels = args.channels / kChannels;
  if (all_channels == 0) return;
  const ptrdiff_t next_position = args.tap_stride * kFloat, line_bytes = args.line_stride * kFloat;
  const ptrdiff_t next_tap = args.weight_tap_stride * kFloat, weight_line_bytes = args.weight_line_stride * kFloat;
  const ptrdiff_t next_pixel = args.output_stride * kFloat;
  const ptrdiff_t next_line = line_bytes - (kPositions - 1) * next_position;
  const ptrdiff_t next_weights = weight_line_bytes - 2 * next_tap;
  const ptrdiff_t next_channel = kChannelBytes - (args.kernel_h * line_bytes - next_line);
  const ptrdiff_t next_channel_weights = kChannelBytes - (args.kernel_h * weight_line_bytes - next_weights);
  const ptrdiff_t next_channel_output = kChannelBytes - (pixels - 1) * next_pixel;
  const int64_t left_out = kMostWindowLines - args.kernel_h;
  const int64_t input_step = pixels * args.pixel_stride - all_channels * kChannels;
  const int64_t output_step = pixels * args.output_stride - all_channels * kChannels;
  const float *const all_weights = args.weights, *const all_bias = args.bias;
  const uint64_t flags = (args.min > -__builtin_inff() ? 1 : 0) | (args.max < __builtin_inff() ? 2 : 0);
#define DGMS_RUN_WINDOWS(line, stride, pixels)                                                                         \
  __asm__ volatile(DGMS_WINDOWS(line, stride, pixels)                                                                  \
                   : [input] "+&r"(input), [weights] "+&r"(weights), [bias] "+&r"(bias), [output] "+&r"(output),       \
                     [count] "+&r"(count)                                                                              \
                   : [next_position] "r"(next_position), [next_line] "r"(next_line), [next_tap] "r"(next_tap),         \
                     [next_weights] "r"(next_weights), [next_pixel] "r"(next_pixel), [left_out] "r"(left_out),         \
                     [next_channel] "r"(next_channel), [next_channel_weights] "r"(next_channel_weights),               \
                     [next_channel_output] "r"(next_channel_output), [bounds] "r"(&args.min), [flags] "r"(flags)       \
                   : "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12",  \
                     "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", \
                     "v27", "v28", "v29", "v30", "v31")
#define DGMS_RUN_EDGES(stride, pixels)                 \
  if constexpr (left && right) {                       \
    DGMS_RUN_WINDOWS(DGMS_LINE_BOTH, stride, pixels);  \
  } else if constexpr (left) {                         \
    DGMS_RUN_WINDOWS(DGMS_LINE_LEFT, stride, pixels);  \
  } else if constexpr (right) {                        \
    DGMS_RUN_WINDOWS(DGMS_LINE_RIGHT, stride, pixels); \
  } else {                                             \
    DGMS_RUN_WINDOWS(DGMS_LINE_WHOLE, stride, pixels); \
  }
#define DGMS_RUN_PIXELS(stride)       \
  if constexpr (pixels == 1) {        \
    DGMS_RUN_EDGES(stride, 1)         \
  } else if constexpr (pixels == 2) { \
    DGMS_RUN_EDGES(stride, 2)         \
  } else if constexpr (pixels == 3) { \
    DGMS_RUN_EDGES(stride, 3)         \
  } else {                            \
    DGMS_RUN_EDGES(stride, 4)         \
  }
  for (; windows > 0; --windows) {
    const float *weights = all_weights, *bias = all_bias;
    int64_t count = all_channels;
    if constexpr (stride == 1) {
      DGMS_RUN_PIXELS(1)
    } else {
      DGMS_RUN_PIXELS(2)
    }
    input += input_step;
    output += output_step;
  }
#undef DGMS_RUN_PIXELS
#undef DGMS_RUN_EDGES
#undef DGMS_RUN_WINDOWS
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_AARCH64 && DGMS_NEON_ASSEMBLY

#endif  // DGMS_KERNELS_DEPTHWISE_WINDOW_NEON_H_
