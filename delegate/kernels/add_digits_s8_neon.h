// int8 sums by digits (DigitSumS8) for 64-bit ARM: products of bytes are added up in 16 bits, so 16 sums take 12
// multiplications, 4 shifts that add and 2 that narrow. For pointwise_neon.cc only.
#ifndef DGMS_KERNELS_ADD_DIGITS_S8_NEON_H_
#define DGMS_KERNELS_ADD_DIGITS_S8_NEON_H_

#include <arm_neon.h>

#include "kernels/pointwise_s8_neon.h"

namespace dgms {
namespace {

struct DigitVectors {
  int8x16_t a[3], b[3];
};

// Sums of x and y. `starts` are start[0] 16 times, then start[1]: one load, where sums that begin at a register are
// copies of it. Six sums go on by turns, so that none waits for itself. In assembly, as compilers copy the beginnings
// about; without it the same in other words.
template <int shift, bool half>
DGMS_INLINE int8x16_t AddDigits(int8x16_t x, int8x16_t y, const DigitVectors& d, const int16_t (&starts)[32]) {
#if DGMS_NEON_ASSEMBLY
  int8x16_t sums;
#define DGMS_ADD_DIGITS(carry)                                                                          \
  __asm__(                                                                                              \
      "ld1 {v16.8h, v17.8h, v18.8h, v19.8h}, %[starts]\n"                                               \
      "smull v20.8h, %[x].8b, %[a0].8b\n"                                                               \
      "smull2 v21.8h, %[x].16b, %[a0].16b\n"                                                            \
      "smlal v16.8h, %[x].8b, %[a1].8b\n"                                                               \
      "smlal2 v17.8h, %[x].16b, %[a1].16b\n"                                                            \
      "smlal v18.8h, %[x].8b, %[a2].8b\n"                                                               \
      "smlal2 v19.8h, %[x].16b, %[a2].16b\n"                                                            \
      "smlal v20.8h, %[y].8b, %[b0].8b\n"                                                               \
      "smlal2 v21.8h, %[y].16b, %[b0].16b\n"                                                            \
      "smlal v16.8h, %[y].8b, %[b1].8b\n"                                                               \
      "smlal2 v17.8h, %[y].16b, %[b1].16b\n"                                                            \
      "smlal v18.8h, %[y].8b, %[b2].8b\n"                                                               \
      "smlal2 v19.8h, %[y].16b, %[b2].16b\n" /**/                                                       \
      carry " v16.8h, v20.8h, #8\n"          /**/                                                       \
      carry                                                                                             \
      " v17.8h, v21.8h, #8\n"                                                                           \
      "ssra v18.8h, v16.8h, #8\n"                                                                       \
      "ssra v19.8h, v17.8h, #8\n"                                                                       \
      "sqrshrn %[sums].8b, v18.8h, %[shift]\n"                                                          \
      "sqrshrn2 %[sums].16b, v19.8h, %[shift]\n"                                                        \
      : [sums] "=w"(sums)                                                                               \
      : [x] "w"(x), [y] "w"(y), [a0] "w"(d.a[0]), [a1] "w"(d.a[1]), [a2] "w"(d.a[2]), [b0] "w"(d.b[0]), \
        [b1] "w"(d.b[1]), [b2] "w"(d.b[2]), [starts] "Q"(starts), [shift] "i"(shift)                    \
      : "v16", "v17", "v18", "v19", "v20", "v21")
  if constexpr (half) {
    DGMS_ADD_DIGITS("srsra");
  } else {
    DGMS_ADD_DIGITS("ssra");
  }
#undef DGMS_ADD_DIGITS
  return sums;
#else
  const int16x8x4_t s = vld1q_s16_x4(starts);
  const auto low = [&](int16x8_t sum, int digit) DGMS_INLINED {
    return vmlal_s8(vmlal_s8(sum, vget_low_s8(x), vget_low_s8(d.a[digit])), vget_low_s8(y), vget_low_s8(d.b[digit]));
  };
  const auto high = [&](int16x8_t sum, int digit)
                        DGMS_INLINED { return vmlal_high_s8(vmlal_high_s8(sum, x, d.a[digit]), y, d.b[digit]); };
  const int16x8_t first = vdupq_n_s16(half ? 128 : 0);
  const int16x8_t low1 = vsraq_n_s16(low(s.val[0], 1), low(first, 0), 8);
  const int16x8_t high1 = vsraq_n_s16(high(s.val[1], 1), high(first, 0), 8);
  const int16x8_t low2 = vsraq_n_s16(low(s.val[2], 2), low1, 8), high2 = vsraq_n_s16(high(s.val[3], 2), high1, 8);
  return vqrshrn_high_n_s16(vqrshrn_n_s16(low2, shift), high2, shift);
#endif
}

// What a row of sums needs in registers, and its starts.
struct DigitsNeon {
  DigitVectors digits;
  int8x16_t min, max;
  bool clamp;
  int16_t starts[32];

  explicit DigitsNeon(const AddS8Args& args)
      : min(vdupq_n_s8(static_cast<int8_t>(args.min))),
        max(vdupq_n_s8(static_cast<int8_t>(args.max))),
        clamp(args.min != INT8_MIN || args.max != INT8_MAX) {
    for (int i = 0; i < 3; ++i) {
      digits.a[i] = vdupq_n_s8(args.digits.a[i]);
      digits.b[i] = vdupq_n_s8(args.digits.b[i]);
    }
    for (int i = 0; i < 32; ++i) starts[i] = args.digits.start[i / 16];
  }
};

template <int shift, bool half>
DGMS_INLINE int8x16_t SumOf16(const int8_t* a, const int8_t* b, const DigitsNeon& d) {
  return vminq_s8(vmaxq_s8(AddDigits<shift, half>(vld1q_s8(a), vld1q_s8(b), d.digits, d.starts), d.min), d.max);
}

// `pieces` times 64 sums. Not inlined: in a function of its own all is in registers.
template <int shift, bool half, bool clamp>
__attribute__((noinline)) void AddPieces(const int8_t* a, const int8_t* b, int8_t* output, int64_t pieces,
                                         const DigitsNeon& all) {
  constexpr int kFour = 4;
  static_assert(kPiece == kFour * kShortPiece, "four vectors");
  const DigitVectors d = all.digits;
  const int8x16_t min = all.min, max = all.max;
  for (; pieces > 0; --pieces, a += kPiece, b += kPiece, output += kPiece) {
    const int8x16x4_t x = vld1q_s8_x4(a), y = vld1q_s8_x4(b);
    int8x16_t sums[kFour];
#pragma GCC unroll 4
    for (int v = 0; v < kFour; ++v) {
      sums[v] = AddDigits<shift, half>(x.val[v], y.val[v], d, all.starts);
      if (clamp) sums[v] = vminq_s8(vmaxq_s8(sums[v], min), max);
    }
#pragma GCC unroll 4
    for (int v = 0; v < kFour; ++v) vst1q_s8(output + v * kShortPiece, sums[v]);
  }
}

// The row's end, which may overlap what is before it, is computed first and stored last: the output may be an input.
template <int shift, bool half>
void AddDigitsRows(const AddS8Args& args) {
  const DigitsNeon d(args);
  const int64_t n = args.operands.n, pieces = n / kPiece;
  // Without a comma outside of brackets: clang's stores are macros.
  const auto sum_of_16 = [&d](const int8_t* a, const int8_t* b) DGMS_INLINED { return SumOf16<shift, half>(a, b, d); };
  ForEachRow(args.operands, [&](const int8_t* a, const int8_t* b, int8_t* output) DGMS_INLINED {
    if (n < kShortPiece) {
      int8_t x[kShortPiece] = {}, y[kShortPiece] = {}, sums[kShortPiece];
      memcpy(x, a, static_cast<size_t>(n));
      memcpy(y, b, static_cast<size_t>(n));
      vst1q_s8(sums, sum_of_16(x, y));
      memcpy(output, sums, static_cast<size_t>(n));
      return;
    }
    const int64_t last = n - kShortPiece;
    const int8x16_t end = sum_of_16(a + last, b + last);
    d.clamp ? AddPieces<shift, half, true>(a, b, output, pieces, d)
            : AddPieces<shift, half, false>(a, b, output, pieces, d);
    for (int64_t i = pieces * kPiece; i < last; i += kShortPiece) {
      vst1q_s8(output + i, sum_of_16(a + i, b + i));
    }
    vst1q_s8(output + last, end);
  });
}

void AddDigitsS8Neon(const AddS8Args& args) {
  static constexpr AddS8Fn kRows[][2] = {{AddDigitsRows<5, false>, AddDigitsRows<5, true>},
                                         {AddDigitsRows<6, false>, AddDigitsRows<6, true>},
                                         {AddDigitsRows<7, false>, AddDigitsRows<7, true>}};
  if (args.operands.a_step == 0 || args.operands.b_step == 0) return AddS8Neon(args);
  kRows[args.digits.shift - 5][args.digits.half](args);
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_ADD_DIGITS_S8_NEON_H_
