// Windows of 3 taps on 64-bit ARM, in assembly: 6 output pixels by 12 channels, with the order of summation of
// depthwise_neon.cc, whose windows compute the same to the last bit where DGMS_NEON_ASSEMBLY is 0.
//
// One instruction loads three vectors of a position, of a tap or of the bias, and one stores three of a pixel: 10
// pixels of two vectors need fewer loads, but of more instructions. Compilers have no registers left for it: 18 hold
// sums (pixel i's are v(3i)..v(3i + 2)), 9 a line's weights (tap k's are v(18 + 3k)..v(20 + 3k)), 3 an input position
// (v27..v29) and 2 the bounds (v30, v31).
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
#define DGMS_SUMS_0 0, 1, 2
#define DGMS_SUMS_1 3, 4, 5
#define DGMS_SUMS_2 6, 7, 8
#define DGMS_SUMS_3 9, 10, 11
#define DGMS_SUMS_4 12, 13, 14
#define DGMS_SUMS_5 15, 16, 17
#define DGMS_TAP_0 18, 19, 20
#define DGMS_TAP_1 21, 22, 23
#define DGMS_TAP_2 24, 25, 26
#define DGMS_EXPAND(macro, ...) macro(__VA_ARGS__)
#define DGMS_6_PIXELS(macro, ...)                                                                                \
  DGMS_EXPAND(macro, DGMS_SUMS_0, __VA_ARGS__) DGMS_EXPAND(macro, DGMS_SUMS_1, __VA_ARGS__)                      \
  DGMS_EXPAND(macro, DGMS_SUMS_2, __VA_ARGS__) DGMS_EXPAND(macro, DGMS_SUMS_3, __VA_ARGS__)                      \
  DGMS_EXPAND(macro, DGMS_SUMS_4, __VA_ARGS__) DGMS_EXPAND(macro, DGMS_SUMS_5, __VA_ARGS__)

// Pixel and tap that a position serves.
#define DGMS_FMA_3(s0, s1, s2, w0, w1, w2)                                                                       \
  "fmla v" #s0 ".4s, v27.4s, v" #w0 ".4s\n fmla v" #s1 ".4s, v28.4s, v" #w1 ".4s\n"                              \
  "fmla v" #s2 ".4s, v29.4s, v" #w2 ".4s\n"
#define DGMS_MEET(pixel, tap) DGMS_EXPAND(DGMS_FMA_3, DGMS_SUMS_##pixel, DGMS_TAP_##tap)
// The last tap of one pixel, the first one of another.
#define DGMS_MEET_2(last, first) DGMS_MEET(last, 2) DGMS_MEET(first, 0)
#define DGMS_MEET_3(last, middle, first) DGMS_MEET(last, 2) DGMS_MEET(middle, 1) DGMS_MEET(first, 0)

// Loads a position, and moves on by `step`.
#define DGMS_AT(step) "ld1 {v27.4s-v29.4s}, [%[input]], %[" #step "]\n"
#define DGMS_NEXT DGMS_AT(next_position)

// A line of the window, by the distance of pixels: its first position (none where that is outside), the inner ones,
// the last but one with the step behind it, the last one (or none).
#define DGMS_FIRST DGMS_NEXT DGMS_MEET(0, 0)
#define DGMS_INNER_1                                                                                             \
  DGMS_NEXT DGMS_MEET(0, 1) DGMS_MEET(1, 0) DGMS_NEXT DGMS_MEET_3(0, 1, 2) DGMS_NEXT DGMS_MEET_3(1, 2, 3)        \
  DGMS_NEXT DGMS_MEET_3(2, 3, 4) DGMS_NEXT DGMS_MEET_3(3, 4, 5)
#define DGMS_LAST_BUT_ONE_1(step) DGMS_AT(step) DGMS_MEET(4, 2) DGMS_MEET(5, 1)
#define DGMS_INNER_2                                                                                             \
  DGMS_NEXT DGMS_MEET(0, 1) DGMS_NEXT DGMS_MEET_2(0, 1) DGMS_NEXT DGMS_MEET(1, 1) DGMS_NEXT DGMS_MEET_2(1, 2)    \
  DGMS_NEXT DGMS_MEET(2, 1) DGMS_NEXT DGMS_MEET_2(2, 3) DGMS_NEXT DGMS_MEET(3, 1) DGMS_NEXT DGMS_MEET_2(3, 4)    \
  DGMS_NEXT DGMS_MEET(4, 1) DGMS_NEXT DGMS_MEET_2(4, 5)
#define DGMS_LAST_BUT_ONE_2(step) DGMS_AT(step) DGMS_MEET(5, 1)
#define DGMS_LAST DGMS_AT(next_line) DGMS_MEET(5, 2)

#define DGMS_LOAD_TAP(w0, w1, w2, step) "ld1 {v" #w0 ".4s-v" #w2 ".4s}, [%[weights]], %[" #step "]\n"
#define DGMS_LOAD_TAPS                                                                                           \
  DGMS_EXPAND(DGMS_LOAD_TAP, DGMS_TAP_0, next_tap) DGMS_EXPAND(DGMS_LOAD_TAP, DGMS_TAP_1, next_tap)              \
  DGMS_EXPAND(DGMS_LOAD_TAP, DGMS_TAP_2, next_weights)
#define DGMS_START(s0, s1, s2, ...) "ld1 {v" #s0 ".4s-v" #s2 ".4s}, [%[bias]]\n"
#define DGMS_BOUND(s0, s1, s2, operation, bound)                                                                 \
  operation " v" #s0 ".4s, v" #s0 ".4s, v" #bound ".4s\n" operation " v" #s1 ".4s, v" #s1 ".4s, v" #bound ".4s\n" \
  operation " v" #s2 ".4s, v" #s2 ".4s, v" #bound ".4s\n"
#define DGMS_STORE(s0, s1, s2, ...) "st1 {v" #s0 ".4s-v" #s2 ".4s}, [%[output]], %[next_pixel]\n"

// All channels. Labels: 1 the next 12 channels, 2 the next line, 3 and 4 behind the bounds.
#define DGMS_WINDOWS(line)                                                                                       \
  "ld2r {v30.4s, v31.4s}, [%[bounds]]\n"                                                                         \
  "1:\n" DGMS_6_PIXELS(DGMS_START, ) "add %[bias], %[bias], #48\n mov %[lines], %[kernel_h]\n"                  \
  "2:\n" DGMS_LOAD_TAPS line "subs %[lines], %[lines], #1\n b.ne 2b\n"                                          \
  "add %[input], %[input], %[back_input]\n add %[weights], %[weights], %[back_weights]\n"                       \
  "tbz %[flags], #0, 3f\n" DGMS_6_PIXELS(DGMS_BOUND, "fmax", 30)                                                 \
  "3:\n tbz %[flags], #1, 4f\n" DGMS_6_PIXELS(DGMS_BOUND, "fmin", 31)                                            \
  "4:\n" DGMS_6_PIXELS(DGMS_STORE, ) "add %[output], %[output], %[back_output]\n"                               \
  "subs %[count], %[count], #1\n b.ne 1b\n"
// clang-format on

constexpr int kTriplePixels = 6;

// As Windows<3, stride, 6, 3, left, right> of depthwise_neon.cc: all whole triples of the channels, of so many windows
// from pixel `first` on, one behind the other.
template <int stride, bool left, bool right>
void TripleWindows(const DepthwiseF32Args& args, int64_t first, int64_t windows) {
  constexpr int kPixels = kTriplePixels, kPositions = (kPixels - 1) * stride + 3 - (left ? 1 : 0) - (right ? 1 : 0);
  constexpr ptrdiff_t kFloat = sizeof(float), kChannelBytes = 3 * kLanes * kFloat;
  const float* input = args.input + first * args.pixel_stride + (left ? args.tap_stride : 0);
  float* output = args.output + first * args.output_stride;
  const int64_t all_channels = args.channels / (3 * kLanes);
  if (all_channels == 0) return;
  const ptrdiff_t next_position = args.tap_stride * kFloat, line_bytes = args.line_stride * kFloat;
  const ptrdiff_t next_tap = args.weight_tap_stride * kFloat, weight_line_bytes = args.weight_line_stride * kFloat;
  const ptrdiff_t next_pixel = args.output_stride * kFloat;
  const ptrdiff_t next_line = line_bytes - (kPositions - 1) * next_position;
  const ptrdiff_t next_weights = weight_line_bytes - 2 * next_tap;
  const ptrdiff_t back_input = kChannelBytes - args.kernel_h * line_bytes;
  const ptrdiff_t back_weights = kChannelBytes - args.kernel_h * weight_line_bytes;
  const ptrdiff_t back_output = kChannelBytes - kPixels * next_pixel;
  const int64_t kernel_h = args.kernel_h;
  const int64_t input_step = kPixels * args.pixel_stride - all_channels * 3 * kLanes;
  const int64_t output_step = kPixels * args.output_stride - all_channels * 3 * kLanes;
  const float *const all_weights = args.weights, *const all_bias = args.bias;
  const uint64_t flags = (args.min > -__builtin_inff() ? 1 : 0) | (args.max < __builtin_inff() ? 2 : 0);
#define DGMS_RUN_WINDOWS(line)                                                                                         \
  __asm__ volatile(DGMS_WINDOWS(line)                                                                                  \
                   : [input] "+&r"(input), [weights] "+&r"(weights), [bias] "+&r"(bias), [output] "+&r"(output),       \
                     [count] "+&r"(count), [lines] "=&r"(lines)                                                        \
                   : [next_position] "r"(next_position), [next_line] "r"(next_line), [next_tap] "r"(next_tap),         \
                     [next_weights] "r"(next_weights), [next_pixel] "r"(next_pixel), [kernel_h] "r"(kernel_h),         \
                     [back_input] "r"(back_input), [back_weights] "r"(back_weights), [back_output] "r"(back_output),   \
                     [bounds] "r"(&args.min), [flags] "r"(flags)                                                       \
                   : "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12",  \
                     "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", \
                     "v27", "v28", "v29", "v30", "v31")
#define DGMS_RUN_STRIDE(stride)                                                                           \
  if constexpr (left && right) {                                                                          \
    DGMS_RUN_WINDOWS(DGMS_INNER_##stride DGMS_LAST_BUT_ONE_##stride(next_line));                          \
  } else if constexpr (left) {                                                                            \
    DGMS_RUN_WINDOWS(DGMS_INNER_##stride DGMS_LAST_BUT_ONE_##stride(next_position) DGMS_LAST);            \
  } else if constexpr (right) {                                                                           \
    DGMS_RUN_WINDOWS(DGMS_FIRST DGMS_INNER_##stride DGMS_LAST_BUT_ONE_##stride(next_line));               \
  } else {                                                                                                \
    DGMS_RUN_WINDOWS(DGMS_FIRST DGMS_INNER_##stride DGMS_LAST_BUT_ONE_##stride(next_position) DGMS_LAST); \
  }
  for (; windows > 0; --windows) {
    const float *weights = all_weights, *bias = all_bias;
    int64_t count = all_channels, lines;
    if constexpr (stride == 1) {
      DGMS_RUN_STRIDE(1)
    } else {
      static_assert(stride <= 2, "the strides in assembly");
      DGMS_RUN_STRIDE(2)
    }
    input += input_step;
    output += output_step;
  }
#undef DGMS_RUN_STRIDE
#undef DGMS_RUN_WINDOWS
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_AARCH64 && DGMS_NEON_ASSEMBLY

#endif  // DGMS_KERNELS_DEPTHWISE_WINDOW_NEON_H_
