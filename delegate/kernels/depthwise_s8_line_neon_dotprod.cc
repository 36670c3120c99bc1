// Whole lines of int8 depthwise layers with the ARMv8.2 dot product, padding included, to int8: kernels of three taps
// and up to three lines, 16 channels at a time, and of five taps and lines, 8 at a time. Of five lines the first four
// leave their sums in memory for the fifth.
#include "kernels/depthwise_s8_window_neon.h"
#include "kernels/requantize_s8_neon.h"

namespace dgms {
namespace {

// To int8 in fixed point (requantize_s8_neon.h). Sums begin at the bias; with `add` those in memory,
// [pixels][channels], are added.
template <int vectors, bool ties, bool clamp, bool add>
class ToBytes {
 public:
  static constexpr bool kWholeLines = true;
  DGMS_INLINE ToBytes(const RequantizeArgs& args, int64_t c, const int32_t* sums, Memory* memory)
      : bias_(args.bias + c),
        multiplier_(args.multiplier + c),
        shift_(memory->shift),
        sums_(sums),
        output_(args.output + c),
        step_(args.output_row_stride),
        zero_(vdupq_n_s16(static_cast<int16_t>(args.zero))),
        min_(vdupq_n_s8(static_cast<int8_t>(args.min))),
        max_(vdupq_n_s8(static_cast<int8_t>(args.max))) {
    StoreShifts<vectors>(args.right + c, memory->shift);
  }

  DGMS_INLINE void Begin(int32x4_t (&sums)[vectors]) const {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sums[v] = vld1q_s32(bias_ + v * kLanes);
  }

  DGMS_INLINE void Pixel(int32x4_t (&sums)[vectors]) {
    KeepLoadsHere();
    int32x4_t factor[vectors];
    if (add) {
      LoadColumns(sums_, factor);
      sums_ += vectors * kLanes;
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sums[v] = vaddq_s32(sums[v], factor[v]);
      KeepLoadsHere();
    }
    LoadColumns(multiplier_, factor);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sums[v] = Multiplied<ties>(sums[v], factor[v]);
    KeepLoadsHere();
    LoadColumns(shift_, factor);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sums[v] = vrshlq_s32(sums[v], factor[v]);
    const int8x16_t bytes = Bytes<false>(sums, zero_);
    StoreBytes<vectors>(output_, clamp ? vminq_s8(vmaxq_s8(bytes, min_), max_) : bytes);
    output_ += step_;
    KeepLoadsHere();
  }

 private:
  const int32_t *bias_, *multiplier_, *shift_, *sums_;
  int8_t* output_;
  const int64_t step_;
  const int16x8_t zero_;
  const int8x16_t min_, max_;
};

using LineFn = void (*)(const DepthwiseS8Args& args, const RequantizeArgs& output);

// Channels are done some at a time; the last ones begin where they fill vectors, and those done twice come out the
// same.
DGMS_INLINE int64_t FullFrom(int64_t c, int64_t step, int64_t channels) {
  return c + step <= channels ? c : channels - step;
}

template <int stride, bool ties, bool clamp>
void ThreeTaps(const DepthwiseS8Args& args, const RequantizeArgs& output) {
  using Output = ToBytes<4, ties, clamp, false>;
  for (int64_t next = 0; next < args.channels; next += 16) {
    const int64_t c = FullFrom(next, 16, args.channels);
    Memory memory;
    Window<3, stride, 4, 3, Output>(args, 0, c, Output(output, c, nullptr, &memory), &memory).Run();
  }
}

// The lines that are among the four prepared together from `group` on; none: kernel_h is 0.
DepthwiseS8Args LinesOf(const DepthwiseS8Args& args, int64_t group) {
  const int64_t end = args.first_line + args.kernel_h, group_end = group + kLines;
  const int64_t first = args.first_line > group ? args.first_line : group;
  const int64_t count = (end < group_end ? end : group_end) - first, skipped = first - args.first_line;
  DepthwiseS8Args part = args;
  part.kernel_h = count < 0 ? 0 : count;
  part.first_line = first;
  part.input += skipped * args.line_stride;
  part.weights += skipped * args.weight_line_stride;
  return part;
}

constexpr int64_t kMostPixels = 256;  // whose sums wait, in a kernel of five lines

template <int stride, bool ties, bool clamp>
void FiveTaps(const DepthwiseS8Args& args, const RequantizeArgs& output) {
  using Sums = ToSums<2, false, true>;
  using Output = ToBytes<2, ties, clamp, false>;
  using LastOutput = ToBytes<2, ties, clamp, true>;
  const DepthwiseS8Args first = LinesOf(args, 0), last = LinesOf(args, kLines);
  for (int64_t next = 0; next < args.channels; next += 8) {
    const int64_t c = FullFrom(next, 8, args.channels);
    Memory memory;
    if (first.kernel_h == 0 || last.kernel_h == 0) {
      const DepthwiseS8Args& only = last.kernel_h == 0 ? first : last;
      Window<5, stride, 2, 4, Output>(only, 0, c, Output(output, c, nullptr, &memory), &memory).Run();
      continue;
    }
    alignas(16) int32_t sums[kMostPixels * 2 * kLanes];
    Window<5, stride, 2, 4, Sums>(first, 0, c, Sums(sums, 2 * kLanes), &memory).Run();
    Window<5, stride, 2, 3, LastOutput>(last, 0, c, LastOutput(output, c, sums, &memory), &memory).Run();
  }
}

// [stride - 1][ties][clamp]. Clamping costs five taps little.
constexpr LineFn kThreeTaps[2][2][2] = {
    {{ThreeTaps<1, false, false>, ThreeTaps<1, false, true>}, {ThreeTaps<1, true, false>, ThreeTaps<1, true, true>}},
    {{ThreeTaps<2, false, false>, ThreeTaps<2, false, true>}, {ThreeTaps<2, true, false>, ThreeTaps<2, true, true>}}};
constexpr LineFn kFiveTaps[2][2] = {{FiveTaps<1, false, true>, FiveTaps<1, true, true>},
                                    {FiveTaps<2, false, true>, FiveTaps<2, true, true>}};

// Whether padding is only where windows expect it: before the columns that come before the first pixel's last ones, and
// under few pixels at the end.
bool PaddingFits(const DepthwiseS8Args& args, int64_t stride) {
  const int64_t rest = args.line_columns + args.pad_left - args.kernel_w;
  return args.pad_left <= args.kernel_w - stride && rest >= 0 && args.pixels - (rest / stride + 1) <= kMaxTail;
}

}  // namespace

bool s8_depthwise_neon_dotprod_requantize(const DepthwiseS8Args& args, const RequantizeArgs& output) {
  const int64_t stride = args.pixel_stride == args.tap_stride ? 1 : args.pixel_stride == 2 * args.tap_stride ? 2 : 0;
  if (stride == 0 || !PaddingFits(args, stride)) return false;
  const bool ties = HasTies(output), clamp = HasClamp(output);
  if (args.kernel_w == 3 && args.prepared_lines <= 3 && args.channels >= 16) {
    kThreeTaps[stride - 1][ties][clamp](args, output);
    return true;
  }
  if (args.kernel_w == 5 && args.prepared_lines <= kLines + 3 && args.channels >= 8 && args.pixels <= kMostPixels) {
    kFiveTaps[stride - 1][ties](args, output);
    return true;
  }
  return false;
}

}  // namespace dgms
