// int8 depthwise lines to int8 with AVX-512 and VNNI, which multiplies four bytes of a lane by four others and adds the
// products: the four are one channel's inputs from four lines of the map, which make a group.
//
// A piece of a line goes in two passes, all of it in the nearest cache. The first one interleaves the bytes of each
// group of lines, column by column, padding included. The second one makes outputs of them, pixel by pixel: one
// instruction for a tap of a group, for 16 channels; nothing depends on where a window lies, or on the stride. Kernels
// of 3x3 go in one pass: the columns of their window stay in registers. Lines that lie outside of the map, or beyond
// the kernel's height, are read from a line of zero points or meet weights of 0. The same columns serve two lines of
// the output: for the second one the weights move by as many bytes as its window by lines, as [w0 w1 w2 0] and [0 w0 w1
// w2].
//
// 64 channels fill a vector. Fewer than that leave room for other pieces of the line: 32 channels of two, 16 of four.
//
// Interleaving works in each quarter of a vector, and leaves 4 neighbouring channels of every 16 in each of four
// vectors; this order of lanes is that of the weights and of everything else that belongs to channels, until outputs
// are bytes. The instruction takes the inputs as unsigned numbers, 128 too large (their top bit is inverted); that, and
// the zero point, is taken back beforehand: sums begin at the bias - (128 + zero) * (sum of the weights).
#include "kernels/depthwise_s8_pixels_avx512_vnni.h"

namespace dgms {
namespace {

// What is the same for all lines of a block.
struct Lines {
  const Args& args;
  const RequantizeArgs& output;
  const Block& block;
  int64_t groups, pieces, reach;
  const int8_t* padding;  // zero points
  bool slides;            // by SlideWindow

  GroupLines Group(int64_t y, int64_t group) const {
    GroupLines lines = {};
    lines.padding = padding;
    lines.in_w = args.in_w;
    for (int i = 0; i < kGroup; ++i) {
      const int64_t line = y * args.stride_h - args.pad_top + (group * kGroup + i) * args.dilation_h;
      const bool inside = line >= 0 && line < args.in_h;
      lines.line[i] = inside ? args.input + line * args.line_stride + block.c : padding;
      lines.step[i] = inside ? args.column_stride : 0;
    }
    return lines;
  }

  // `count` pixels from `first` on of `lines` lines of the output from y on.
  void Run(int64_t y, int lines, int64_t first, int64_t count, int8_t* columns) const {
    const int64_t each = (count + pieces - 1) / pieces, column_count = (each - 1) * args.stride_w + reach;
    int64_t piece[kMostPieces] = {};  // pieces that would go beyond the end begin earlier
    for (int64_t p = 0; p < pieces; ++p) piece[p] = p * each < count - each ? p * each : count - each;
    Pixels pixels = {};
    pixels.block = &block;
    pixels.output = &output;
    pixels.columns = columns;
    pixels.pixel_bytes = args.stride_w * kColumnBytes;
    pixels.tap_bytes = args.dilation_w * kColumnBytes;
    pixels.group_bytes = column_count * kColumnBytes;
    pixels.groups = groups;
    pixels.taps = args.kernel_w;
    pixels.count = each;
    pixels.row_bytes = output.output_row_stride;
    pixels.line_bytes = args.pixels * output.output_row_stride;
    pixels.to = output.output + (y - args.first_line) * pixels.line_bytes + first * output.output_row_stride + block.c;
    for (int64_t p = 0; p < pieces; ++p) pixels.piece[p] = piece[p] * output.output_row_stride;
    const bool positive = output.min >= output.zero;
    const auto group = [&](int64_t g) {
      GroupLines in = Group(y, g);
      for (int64_t p = 0; p < pieces; ++p) in.piece[p] = (first + piece[p]) * args.stride_w - args.pad_left;
      return in;
    };
    if (slides) return SelectSlide(lines, positive)(group(0), pixels);
    for (int64_t g = 0; g < groups; ++g) {
      const InterleaveFn interleave = SelectInterleave(block, args.kernel_h + (lines - 1) * args.stride_h - g * kGroup);
      interleave(group(g), ~__mmask64{0} >> (kChannels - block.count), column_count,
                 columns + g * column_count * kColumnBytes);
    }
    SelectPixels(args.kernel_w, groups, lines, positive)(pixels);
  }

  SlideFn SelectSlide(int lines, bool positive) const {
    const int stride = static_cast<int>(args.stride_w);
    if (block.width == 64) return SlideOf<64>(stride, lines, positive);
    if (block.width == 32) return SlideOf<32>(stride, lines, positive);
    return SlideOf<16>(stride, lines, positive);
  }
};

int64_t GroupsOf(int64_t lines) { return (lines + kGroup - 1) / kGroup; }

void RunBlock(const Args& args, const RequantizeArgs& output, const int8_t* padding, Block* block) {
  // Two lines of the output go together if the second one needs no group of its own.
  const int64_t groups = GroupsOf(args.kernel_h);
  const bool pairs = args.lines > 1 && args.dilation_h == 1 && GroupsOf(args.kernel_h + args.stride_h) == groups;
  const int most_lines = pairs ? kMostLines : 1;
  LoadWeights(args, groups, most_lines, block);
  LoadColumns(args, output, groups, block);
  const int64_t pieces = kChannels / block->width, reach = (args.kernel_w - 1) * args.dilation_w + 1;
  const bool slides = args.kernel_h == 3 && args.kernel_w == 3 && args.dilation_w == 1 && args.stride_w <= 2 &&
                      (args.stride_w == 1 || most_lines == 1) && block->count == block->width;
  const Lines lines = {args, output, *block, groups, pieces, reach, padding, slides};
  const int64_t most_columns = (kMostColumns / groups - reach) / args.stride_w + 1;
  const int64_t most_pixels = (slides ? kMostPixels : most_columns) * pieces;
  const int64_t parts = (args.pixels + most_pixels - 1) / most_pixels, each = (args.pixels + parts - 1) / parts;
  alignas(kVectorBytes) int8_t columns[kMostColumns * kColumnBytes];
  const int64_t end = args.first_line + args.lines;
  for (int64_t y = args.first_line; y < end; y += most_lines) {
    const int count = end - y < most_lines ? 1 : most_lines;
    for (int64_t x = 0; x < args.pixels; x += each) {
      lines.Run(y, count, x, args.pixels - x < each ? args.pixels - x : each, columns);
    }
  }
}

// 64 weights of 16 bits each as bytes, the first `count` of them; zeros behind.
DGMS_INLINE __m512i NarrowWeights(const int16_t* p, int64_t count) {
  const __mmask64 mask = ~__mmask64{0} >> (kChannels - count);
  const __m256i low = _mm512_cvtepi16_epi8(_mm512_maskz_loadu_epi16(static_cast<__mmask32>(mask), p));
  const __mmask32 high_mask = static_cast<__mmask32>(mask >> (kChannels / 2));
  const __m256i high = _mm512_cvtepi16_epi8(_mm512_maskz_loadu_epi16(high_mask, p + kChannels / 2));
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

}  // namespace

// Groups of lines outermost, then 64 channels, then taps.
void s8_depthwise_avx512_vnni_prepare(const PrepareDepthwiseS8Args& args) {
  int8_t* prepared = args.prepared;
  for (int64_t line = 0; line < args.kernel_h; line += kGroup) {
    for (int64_t c = 0; c < args.channels; c += kChannels) {
      for (int64_t kx = 0; kx < args.kernel_w; ++kx, prepared += kTapBytes) {
        const int16_t* at = args.weights + line * args.line_stride + kx * args.tap_stride + c;
        const int64_t count = args.channels - c < kChannels ? args.channels - c : kChannels;
        __m512i lines[kGroup], columns[kVectors];
        for (int i = 0; i < kGroup; ++i) {
          lines[i] =
              line + i < args.kernel_h ? NarrowWeights(at + i * args.line_stride, count) : _mm512_setzero_si512();
        }
        Interleave(lines, columns);
        for (int v = 0; v < kVectors; ++v) _mm512_store_si512(prepared + v * kVectorBytes, columns[v]);
      }
    }
  }
}

void s8_depthwise_avx512_vnni_lines(const DepthwiseLinesS8Args& args, const RequantizeArgs& output) {
  alignas(kVectorBytes) int8_t padding[kVectorBytes];
  _mm512_store_si512(padding, _mm512_set1_epi8(static_cast<char>(args.zero)));
  Block block;
  for (block.c = 0; block.c < args.channels; block.c += block.width) {
    const int64_t left = args.channels - block.c;
    block.width = left > 48 ? 64 : left > 16 ? 32 : 16;
    block.count = left < block.width ? left : block.width;
    RunBlock(args, output, padding, &block);
  }
}

// Sums are for what `lines` does not do.
void s8_depthwise_avx512_vnni(const DepthwiseS8Args& args) { s8_depthwise_avx2(args); }

}  // namespace dgms
