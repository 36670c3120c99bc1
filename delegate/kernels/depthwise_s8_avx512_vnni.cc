// int8 depthwise sums with AVX-512 and VNNI, which multiplies four bytes of a lane by four others and adds the
// products: the four are one channel's inputs from four kernel lines. 64 channels at a time.
//
// At each position of the input, the bytes of up to four lines are interleaved, so that each 32-bit lane has one
// channel's column; it serves all output pixels whose windows contain the position, one instruction each. Weights come
// interleaved from `prepare`. The instruction takes the inputs as unsigned numbers, 128 too large (their top bit is
// inverted); that, and the zero point, is taken back beforehand: sums begin at -(128 + zero) * (sum of the weights).
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own intrinsics trip this warning (its bug 105593); our code is checked by the other compilers.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#include <stdint.h>

#include "kernels/kernel_s8.h"

#define DGMS_INLINE inline __attribute__((always_inline))

namespace dgms {
namespace {

constexpr int kLines = kDepthwiseLinesS8;        // per lane
constexpr int kChannels = kDepthwiseChannelsS8;  // at a time
constexpr int kLanes = 16;                       // channels per vector of columns
constexpr int kTapBytes = kChannels * kLines;    // of one tap's prepared weights

// The channels of one vector of bytes: all 64, or the first few.
struct AllChannels {
  DGMS_INLINE __m512i Load(const int8_t* p) const { return _mm512_loadu_si512(p); }
  DGMS_INLINE __m512i LoadSums(const int32_t* p, int) const { return _mm512_loadu_si512(p); }
  DGMS_INLINE void Store(int32_t* p, int, __m512i sums) const { _mm512_storeu_si512(p, sums); }
};
struct SomeChannels {
  __mmask64 mask;
  DGMS_INLINE explicit SomeChannels(int64_t count) : mask(~__mmask64{0} >> (kChannels - count)) {}
  DGMS_INLINE __mmask16 Lanes(int vector) const { return static_cast<__mmask16>(mask >> (vector * kLanes)); }
  DGMS_INLINE __m512i Load(const int8_t* p) const { return _mm512_maskz_loadu_epi8(mask, p); }
  DGMS_INLINE __m512i LoadSums(const int32_t* p, int vector) const {
    return _mm512_maskz_loadu_epi32(Lanes(vector), p);
  }
  DGMS_INLINE void Store(int32_t* p, int vector, __m512i sums) const {
    _mm512_mask_storeu_epi32(p, Lanes(vector), sums);
  }
};

// One channel's bytes of four lines, side by side, in natural order of the channels.
template <int vectors>
struct Columns {
  __m512i v[vectors];
};

// Interleaving works in each quarter of a vector and takes its groups of four bytes in turn. So that channels come out
// in order, the groups are first moved to where they are taken from: a transposed matrix of 4 by 4 groups.
template <int vectors>
DGMS_INLINE Columns<vectors> Interleave(const __m512i (&line)[kLines]) {
  const __m512i transposed = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  __m512i moved[kLines];
#pragma GCC unroll 4
  for (int i = 0; i < kLines; ++i) moved[i] = _mm512_permutexvar_epi32(transposed, line[i]);
  Columns<vectors> columns;
  const __m512i low01 = _mm512_unpacklo_epi8(moved[0], moved[1]), low23 = _mm512_unpacklo_epi8(moved[2], moved[3]);
  columns.v[0] = _mm512_unpacklo_epi16(low01, low23);
  if (vectors > 1) columns.v[vectors > 1 ? 1 : 0] = _mm512_unpackhi_epi16(low01, low23);
  if (vectors > 2) {
    const __m512i high01 = _mm512_unpackhi_epi8(moved[0], moved[1]), high23 = _mm512_unpackhi_epi8(moved[2], moved[3]);
    columns.v[vectors > 2 ? 2 : 0] = _mm512_unpacklo_epi16(high01, high23);
    columns.v[vectors > 2 ? 3 : 0] = _mm512_unpackhi_epi16(high01, high23);
  }
  return columns;
}

// Up to `lines` kernel lines (3 or 4) of one vector of channels.
template <int vectors, int lines, typename Lanes>
struct Part {
  const Lanes lanes;
  const int8_t* const input;
  const int8_t* const weights;  // of the first tap
  int32_t* const sums;
  const int64_t pixels, channels, kernel_w, tap_stride, pixel_stride;
  const bool add;  // to what is in `sums`
  int64_t line[lines];
  Columns<vectors> start;

  DGMS_INLINE Part(const DepthwiseS8Args& args, int64_t c, int64_t first_line, const Lanes& lanes_)
      : lanes(lanes_),
        input(args.input + first_line * args.line_stride + c),
        weights(args.prepared + Tap(args, c, first_line) * kTapBytes),
        sums(args.sums + c),
        pixels(args.pixels),
        channels(args.channels),
        kernel_w(args.kernel_w),
        tap_stride(args.tap_stride),
        pixel_stride(args.pixel_stride),
        add(first_line > 0) {
    for (int i = 0; i < lines; ++i) {  // lines that there are not meet weights of 0: any will do
      line[i] = first_line + i < args.kernel_h ? i * args.line_stride : 0;
    }
    const __m512i zero = _mm512_set1_epi8(static_cast<char>(args.zero ^ -128));
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      __m512i sum = _mm512_setzero_si512();
      for (int64_t kx = 0; kx < kernel_w; ++kx) sum = _mm512_dpbusd_epi32(sum, zero, Weights(kx, v));
      start.v[v] = _mm512_sub_epi32(_mm512_setzero_si512(), sum);
    }
  }

  // Where the taps are in what `prepare` wrote: lines outermost, then channels, then taps.
  static DGMS_INLINE int64_t Tap(const DepthwiseS8Args& args, int64_t c, int64_t first_line) {
    const int64_t blocks = (args.channels + kChannels - 1) / kChannels;
    return (first_line / kLines * blocks + c / kChannels) * args.prepared_taps + args.first_tap;
  }

  DGMS_INLINE __m512i Weights(int64_t tap, int vector) const {
    return _mm512_load_si512(weights + tap * kTapBytes + vector * kLanes * kLines);
  }

  DGMS_INLINE Columns<vectors> Start(int64_t pixel) const {
    if (!add) return start;
    Columns<vectors> sum;
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      sum.v[v] = _mm512_add_epi32(lanes.LoadSums(sums + pixel * channels + v * kLanes, v), start.v[v]);
    }
    return sum;
  }

  DGMS_INLINE Columns<vectors> At(const int8_t* position) const {
    const __m512i flip = _mm512_set1_epi8(-128);
    __m512i bytes[kLines];
#pragma GCC unroll 4
    for (int i = 0; i < kLines; ++i) {
      bytes[i] = i < lines ? _mm512_xor_si512(lanes.Load(position + line[i < lines ? i : 0]), flip) : bytes[0];
    }
    return Interleave<vectors>(bytes);
  }

  DGMS_INLINE void Add(Columns<vectors>& sum, const Columns<vectors>& x, int64_t tap) const {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sum.v[v] = _mm512_dpbusd_epi32(sum.v[v], x.v[v], Weights(tap, v));
  }

  DGMS_INLINE void Store(int64_t pixel, const Columns<vectors>& sum) const {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) lanes.Store(sums + pixel * channels + v * kLanes, v, sum.v[v]);
  }

  // Any taps: pixel by pixel.
  DGMS_INLINE void AnyTaps() const {
    for (int64_t i = 0; i < pixels; ++i) {
      Columns<vectors> sum = Start(i);
      for (int64_t kx = 0; kx < kernel_w; ++kx) Add(sum, At(input + i * pixel_stride + kx * tap_stride), kx);
      Store(i, sum);
    }
  }

  // `taps` taps, one pixel every `stride` taps. Windows overlap: the sums of up to `live` pixels are under way, and
  // every position of the input is loaded once for all of them. Step i begins pixel i and ends pixel i - (live - 1).
  template <int taps, int stride>
  DGMS_INLINE void Sliding() const {
    constexpr int live = (taps - 1) / stride + 1, last_tap = (taps - 1) % stride;
    Columns<vectors> sum[live] = {};
    const int64_t steps = pixels + live - 1;
    const int8_t* const end = input + ((pixels - 1) * stride + taps) * tap_stride;
    const int8_t* position = input;
    for (int64_t first = 0;; first += live) {
#pragma GCC unroll 5
      for (int phase = 0; phase < live; ++phase) {
        const int64_t step = first + phase;
        if (step == steps) return;
        if (step < pixels) sum[phase] = Start(step);
#pragma GCC unroll 2
        for (int s = 0; s < stride; ++s, position += tap_stride) {
          if (s > last_tap && position >= end) break;
          const Columns<vectors> x = At(position);
#pragma GCC unroll 5
          for (int j = 0; j < live; ++j) {
            if (s + j * stride < taps) Add(sum[(phase + live - j) % live], x, s + j * stride);
          }
          if (s == last_tap && step >= live - 1) Store(step - (live - 1), sum[(phase + 1) % live]);
        }
      }
    }
  }
};

template <int vectors, int lines, typename Lanes>
void RunPart(const DepthwiseS8Args& args, int64_t c, int64_t first_line, const Lanes& lanes) {
  const Part<vectors, lines, Lanes> part(args, c, first_line, lanes);
  const bool stride1 = args.pixel_stride == args.tap_stride, stride2 = args.pixel_stride == 2 * args.tap_stride;
  if (args.kernel_w == 3 && stride1) return part.template Sliding<3, 1>();
  if (args.kernel_w == 3 && stride2) return part.template Sliding<3, 2>();
  if (args.kernel_w == 5 && stride1) return part.template Sliding<5, 1>();
  if (args.kernel_w == 5 && stride2) return part.template Sliding<5, 2>();
  part.AnyTaps();
}

template <int vectors, typename Lanes>
void RunLines(const DepthwiseS8Args& args, int64_t c, const Lanes& lanes) {
  for (int64_t line = 0; line < args.kernel_h; line += kLines) {
    (args.kernel_h - line < kLines ? RunPart<vectors, 3, Lanes> : RunPart<vectors, 4, Lanes>)(args, c, line, lanes);
  }
}

// 64 weights of 16 bits each as bytes, the first `count` of them; zeros behind.
DGMS_INLINE __m512i LoadWeights(const int16_t* p, int64_t count) {
  const __mmask64 mask = ~__mmask64{0} >> (kChannels - count);
  const __m256i low = _mm512_cvtepi16_epi8(_mm512_maskz_loadu_epi16(static_cast<__mmask32>(mask), p));
  const __mmask32 high_mask = static_cast<__mmask32>(mask >> (kChannels / 2));
  const __m256i high = _mm512_cvtepi16_epi8(_mm512_maskz_loadu_epi16(high_mask, p + kChannels / 2));
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

}  // namespace

void s8_depthwise_avx512_vnni_prepare(const PrepareDepthwiseS8Args& args) {
  int8_t* prepared = args.prepared;
  for (int64_t line = 0; line < args.kernel_h; line += kLines) {
    for (int64_t c = 0; c < args.channels; c += kChannels) {
      for (int64_t kx = 0; kx < args.kernel_w; ++kx, prepared += kTapBytes) {
        const int16_t* at = args.weights + line * args.line_stride + kx * args.tap_stride + c;
        const int64_t count = args.channels - c < kChannels ? args.channels - c : kChannels;
        __m512i lines[kLines];
        for (int i = 0; i < kLines; ++i) {
          lines[i] = line + i < args.kernel_h ? LoadWeights(at + i * args.line_stride, count) : _mm512_setzero_si512();
        }
        const Columns<4> columns = Interleave<4>(lines);
        for (int v = 0; v < 4; ++v) _mm512_store_si512(prepared + v * kLanes * kLines, columns.v[v]);
      }
    }
  }
}

void s8_depthwise_avx512_vnni(const DepthwiseS8Args& args) {
  if (args.prepared == nullptr) return s8_depthwise_avx2(args);
  int64_t c = 0;
  for (; c + kChannels <= args.channels; c += kChannels) RunLines<4>(args, c, AllChannels{});
  const int64_t left = args.channels - c;
  if (left == 0) return;
  const SomeChannels lanes(left);
  left <= kLanes       ? RunLines<1>(args, c, lanes)
  : left <= 2 * kLanes ? RunLines<2>(args, c, lanes)
                       : RunLines<4>(args, c, lanes);
}

}  // namespace dgms
