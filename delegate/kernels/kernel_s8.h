// The contract of the int8 kernels: int8 activations, int8 codebooks, int32 sums. The words (filter, code, panel, tile,
// block) and the general rules are those of kernel.h; sums here are exact, so their order is free.
//
// Range. Codebook values are -127..127 and activations -128..127: a product is at most 128 * 127 in magnitude and two
// of them fit 16 bits, which the AVX2 and NEON kernels rely on. Sums wrap around modulo 2^32, as stock kernels' do.
//
// Dot order. Panels hold k_unit neighbouring places of one column side by side, because dot product instructions take
// them from there: the byte of place p and column j is
//     panel[(p / k_unit * width + j) * k_unit + p % k_unit]        width = round_up(n, column_unit)
// Each segment of K begins at a new group of k_unit places; the places of its last group beyond its length hold the
// table's entry of code 0, and kernels multiply them with 0.
//
// Packed weights are the panel's codes in the same order, in runs of 32: byte i of a run's 16 has the code of the run's
// weight i in its low nibble and that of weight 16 + i in its high nibble.
#ifndef DGMS_KERNELS_KERNEL_S8_H_
#define DGMS_KERNELS_KERNEL_S8_H_

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernel.h"
#include "kernels/kernel_quantize_s8.h"

namespace dgms {

struct RequantizeArgs;  // below
struct DequantizeArgs;
struct RescaleRowsArgs;

inline constexpr int kPanelBytes = 32768;  // of a decoded block at most
inline constexpr int kRunS8 = 32;          // weights per 16 packed bytes
inline constexpr int kMaxUnitS8 = 8;       // no kernel's k_unit is larger
inline constexpr int kShortS8 = 352;       // a K of one segment is short up to this many places
// Entries that the output kernels may read (not use) beyond the last column of per-column arrays.
inline constexpr int kColumnSlack = 16;

// Packs one segment of one panel; the same order for every kernel. As PackFn (kernel.h), but k is that of one segment,
// and `packed` receives round_up(k, k_unit) * width / 2 bytes. width * k_unit is a multiple of 32.
void pack_s8(const uint8_t* codes, int64_t first, int64_t column_stride, int64_t k, int n, int width, int k_unit,
             uint8_t* packed);

// The tables of a panel, 16 int8 each. Column j uses the one at tables + 16 * column_table[j] (width entries, in any
// order), or the only one where column_table is null.
struct TablesS8 {
  const int8_t* tables;  // 16-byte aligned
  const int32_t* column_table;
};

// Decodes a block: `places` (a multiple of k_unit: the sum of its segments' padded lengths) times `width` weights.
//   panel   places * width bytes, 64-byte aligned; all are written
using DecodeS8Fn = void (*)(const uint8_t* packed, int64_t places, int width, const TablesS8& tables, int8_t* panel);

// What a kernel leaves in the thread's registers from one call to the next. All zeros before the first call; the thread
// calls `release`, where a kernel has set it, after the last one (before it goes on to other work), and begins anew.
struct GemmState {
  void (*release)();
  int64_t words[10];  // the kernel's own
};

// Sums of one tile over one block. Row r, segment s, place p of the input is a[r * a_row_stride + segments[s] + p], and
// nothing else is read.
//   A kernel with `flip` takes activations as unsigned bytes: each is the signed one plus 128 (its top bit inverted).
struct GemmS8Args {
  int rows;   // 1..max_rows
  int width;  // a multiple of column_unit, at most max_columns; all these columns of c are written
  const int8_t* a;
  int64_t a_row_stride;
  const int64_t* segments;
  int64_t segment_count;   // >= 1
  int64_t segment_length;  // >= 1
  const int8_t* panel;
  int32_t* c;  // row r, column j: c[r * width + j]; 64-byte aligned
  bool accumulate;
  GemmState* state;  // null: the kernel leaves nothing behind
};
using GemmS8Fn = void (*)(const GemmS8Args& args);

// The same over the last block of K, and at once `requantize` of an OutputS8Kernel (below) of the finished sums, which
// stay in registers: output.sums is not read, c only where `accumulate` is set, and not written. Only for output.n ==
// width and columns without a left shift and with a right one.
using GemmRequantizeS8Fn = void (*)(const GemmS8Args& args, const RequantizeArgs& output);

// All sums of one row by a packed panel of one segment: what `decode` and `gemm` make of all of its blocks, which are
// one run. Only for panels of max_columns columns with one table.
struct GemvS8Args {
  const int8_t* a;        // k activations, nothing beyond
  int64_t k;              // >= 1
  const uint8_t* packed;  // round_up(k, k_unit) * max_columns / 2 bytes
  const int8_t* table;    // 16 entries
  bool flip;              // as the kernel's
  int32_t* c;             // [max_columns], 64-byte aligned
};
using GemvS8Fn = void (*)(const GemvS8Args& args);

// ---------------------------------------------------------------------------------------------------------------------
// Products of packed rows: where many panels meet the same rows, these are first brought into the order of one kernel,
// `tile_rows` at a time. A row's segments follow one another without gaps, so one segment of K weights is the filter's
// shape, whatever the rows' segments are.
inline constexpr int kPackedPlaces = 8;    // packed rows are padded with zeros to a multiple of so many places
inline constexpr int kMaxPackedRows = 16;  // no kernel's tile_rows is larger

struct PackRowsS8Args {
  int rows;                  // 1..tile_rows
  const int8_t* const* row;  // [rows]: where each begins; its segment s, place p is row[r][segments[s] + p]
  const int64_t* segments;
  int64_t segment_count;
  int64_t segment_length;
  int8_t* packed;  // tile_rows * round_up(segment_count * segment_length, kPackedPlaces) bytes, 16-byte aligned
};
using PackRowsS8Fn = void (*)(const PackRowsS8Args& args);

// Sums over one block of K, whose first place is a multiple of kPackedPlaces, of many tiles.
struct PackedGemmS8Args {
  int rows;              // >= 1: those of the tiles one after the other; the last tile has what is left
  int width;             // a multiple of column_unit, at most max_columns
  const int8_t* packed;  // the first tile's, at the block's first place
  int64_t tile_stride;   // bytes from a tile to the next
  int64_t places;        // of the block: a multiple of k_unit
  const int8_t* panel;
  int32_t* c;  // row r, column j: c[r * width + j]; 64-byte aligned
  bool accumulate;
};
using PackedGemmS8Fn = void (*)(const PackedGemmS8Args& args);
// The same over the last block of K, and at once `requantize`, as GemmRequantizeS8Fn.
using PackedRequantizeS8Fn = void (*)(const PackedGemmS8Args& args, const RequantizeArgs& output);
// Or `dequantize`; output.rows is args.rows.
using PackedDequantizeS8Fn = void (*)(const PackedGemmS8Args& args, const DequantizeArgs& output);
// Or `rescale_rows`, likewise.
using PackedRescaleRowsS8Fn = void (*)(const PackedGemmS8Args& args, const RescaleRowsArgs& output);

struct PackedGemmS8 {
  int tile_rows;
  PackRowsS8Fn pack;
  PackedGemmS8Fn gemm;
  PackedRequantizeS8Fn requantize;
  PackedDequantizeS8Fn dequantize;
  PackedRescaleRowsS8Fn rescale_rows;
};

struct GemmS8Kernel {
  const char* name;
  Isa isa;
  int max_rows;
  int long_rows;  // at most this many is best where K is not short; at most max_rows
  int max_columns;
  int column_unit;
  int k_unit;
  bool flip;
  DecodeS8Fn decode;
  GemmS8Fn gemm;
  GemmRequantizeS8Fn requantize;  // null: there is none
  GemvS8Fn gemv;                  // null: there is none
  const PackedGemmS8* packed;     // null: there is none
};

// ---------------------------------------------------------------------------------------------------------------------
// Depthwise weights in the order of one kernel: it may read them many times, for all lines of a map.
//   prepared   round_up(kernel_h, 4) * kernel_w * round_up(channels, 64) bytes, 64-byte aligned; all are written
inline constexpr int kDepthwiseLinesS8 = 4, kDepthwiseChannelsS8 = 64;
struct PrepareDepthwiseS8Args {
  const int16_t* weights;  // as in DepthwiseS8Args: int8 values
  int64_t line_stride;
  int64_t tap_stride;
  int64_t kernel_h;
  int64_t kernel_w;
  int64_t channels;
  int8_t* prepared;
};
using PrepareDepthwiseS8Fn = void (*)(const PrepareDepthwiseS8Args& args);

// Depthwise sums of a run of output pixels, with decoded weights:
//   sums[i * channels + c] = sum over ky, kx of
//       (input[ky * line_stride + i * pixel_stride + kx * tap_stride + c] - zero) *
//       weights[ky * weight_line_stride + kx * weight_tap_stride + c]
// Weights are int8 values in 16 bits, zero is -128..127: a product is at most 255 * 127, which fits 16 bits, too.
struct DepthwiseS8Args {
  const int8_t* input;
  int64_t line_stride;
  int64_t tap_stride;
  int64_t pixel_stride;
  int64_t kernel_h;  // >= 1
  int64_t kernel_w;  // >= 1
  int64_t pixels;    // >= 1
  int64_t channels;  // >= 1
  const int16_t* weights;
  int64_t weight_line_stride;
  int64_t weight_tap_stride;
  int32_t zero;
  int32_t* sums;
};
using DepthwiseS8Fn = void (*)(const DepthwiseS8Args& args);

// Neighbouring lines of one image's output, to int8: output lines first_line..first_line + lines - 1, of which
// output.output is the first, `pixels` pixels each, one line after the other.
//   - `run` and at once `requantize` of an OutputS8Kernel (below) of its sums, which stay near. Not read: output.sums,
//     output.rows, output.n. Output's columns have no left shift, but a right one.
//   - Lines and columns outside of the map add nothing; lines that no tap needs are not read.
//   - Kernels have at most kDepthwisePreparedLinesS8 lines and kDepthwisePreparedTapsS8 taps, which reach over at most
//     kDepthwisePreparedReachS8 columns.
inline constexpr int kDepthwisePreparedLinesS8 = 8, kDepthwisePreparedTapsS8 = 8, kDepthwisePreparedReachS8 = 32;
struct DepthwiseLinesS8Args {
  const int8_t* input;  // line 0, column 0, the first of these channels
  int64_t in_h, in_w;
  int64_t line_stride;
  int64_t column_stride;
  int64_t kernel_h, kernel_w;
  int64_t stride_h, stride_w;
  int64_t dilation_h, dilation_w;
  int64_t pad_top, pad_left;
  int64_t first_line, lines;  // >= 1
  int64_t pixels;             // >= 1, of a line of the output
  int64_t channels;           // >= 1
  int32_t zero;
  const int8_t* prepared;  // of the first channel here, a multiple of kDepthwiseChannelsS8, the first line and tap
  int64_t prepared_channels;
};
using DepthwiseLinesS8Fn = void (*)(const DepthwiseLinesS8Args& args, const RequantizeArgs& output);

struct DepthwiseS8Kernel {
  const char* name;
  Isa isa;
  DepthwiseS8Fn run;
  PrepareDepthwiseS8Fn prepare;  // null: nothing to prepare
  DepthwiseLinesS8Fn lines;      // null: there is none, and nothing to prepare
};

// ---------------------------------------------------------------------------------------------------------------------
// What becomes of finished sums. Per-column arrays have n entries and kColumnSlack more that may be read.

// Some columns' outputs in fewer steps, where the zero point is -128 and min and max are those of 8 bits:
//   x = ((sum + bias) * multiplier + 2^30) >> 31              the sum modulo 2^32; a 64-bit product
//   output = clamp(x / 2^kNarrowBits, 0, 255) - 128           of x the low 16 bits alone, signed; halves up
// For all sums that can occur these equal those of RequantizeArgs: kernels take either.
inline constexpr int kNarrowBits = 3;
struct NarrowS8 {
  const int32_t* bias = nullptr;  // null: no column has them
  const int32_t* multiplier = nullptr;
  const uint8_t* applies = nullptr;  // 0: the column does not have them

  NarrowS8 From(int64_t column) const {
    return bias == nullptr ? NarrowS8{} : NarrowS8{bias + column, multiplier + column, applies + column};
  }
};

// To int8 in fixed point:
//   x = (sum + bias) * 2^left                                 modulo 2^32
//   x = (x * multiplier + 2^30) >> 31                         multiplier 0..2^31 - 1; a 64-bit product
//   x = x / 2^right, halves away from zero                    right 0..31
//   output = clamp(x + zero, min, max)                        the sum modulo 2^32
struct RequantizeArgs {
  int rows;
  int n;
  const int32_t* sums;
  int64_t sums_row_stride;
  const int32_t* bias;
  const int32_t* multiplier;
  const int32_t* left;
  const int32_t* right;
  int32_t zero;
  int32_t min;  // -128 <= min <= max <= 127
  int32_t max;
  int8_t* output;
  int64_t output_row_stride;
  NarrowS8 narrow = {};
};
using RequantizeFn = void (*)(const RequantizeArgs& args);

// To int8 with a factor in double:
//   output = clamp(round((sum + bias) * factor) + zero, min, max)
// the sum modulo 2^32, the product rounded to double, then to an integer, halves away from zero. Products of 2^30 and
// more count as 2^30.
struct RescaleArgs {
  int rows;
  int n;
  const int32_t* sums;
  int64_t sums_row_stride;
  const int32_t* bias;
  const double* factor;  // > 0, finite
  int32_t zero;
  int32_t min;  // -128 <= min <= max <= 127
  int32_t max;
  int8_t* output;
  int64_t output_row_stride;
};
using RescaleFn = void (*)(const RescaleArgs& args);

// Sums of activations that were quantised at run time, some rows alike, and what makes real numbers of them:
//   real = float(sum - zero[row] * column_sum) * (scale[row] * column_scale) + bias
// the integers modulo 2^32; each product, sum and conversion rounded once, in this order.
struct ByRowsArgs {
  int rows;
  int n;
  const int32_t* sums;
  int64_t sums_row_stride;
  // The first entry is that of the first `first_rows` rows, each one after it that of the next `rows_each`.
  const int32_t* zero;
  const float* scale;
  int64_t first_rows;  // 1..rows_each
  int64_t rows_each;
  const int32_t* column_sum;
  const float* column_scale;
  const float* bias;
  int64_t output_row_stride;
};

// To float:
//   output = clamp(real + residual, min, max)
// NaN passes.
struct DequantizeArgs : ByRowsArgs {
  float min;
  float max;
  float* output;
  const float* residual;  // row r, column j: residual[r * residual_row_stride + j], nothing beyond; or null: none
  int64_t residual_row_stride;
};
using DequantizeFn = void (*)(const DequantizeArgs& args);

// To int8, in units of the outputs' scale: `column_scale` and `bias` have been divided by it, and `bias` has the
// outputs' zero point, counted from -128.
//   output = clamp(round(real), 0, 255) - 128                 halves to even
// NaN becomes -128.
struct RescaleRowsArgs : ByRowsArgs {
  int8_t* output;
};
using RescaleRowsFn = void (*)(const RescaleRowsArgs& args);

struct OutputS8Kernel {
  const char* name;
  Isa isa;
  bool narrows;  // kernels beside it that make outputs themselves look for NarrowS8
  RequantizeFn requantize;
  RescaleFn rescale;
  DequantizeFn dequantize;
  RescaleRowsFn rescale_rows;
};

// ---------------------------------------------------------------------------------------------------------------------
#define DGMS_GEMM_S8(name, isa, max_rows, long_rows, max_columns, column_unit, k_unit, flip, requantize, gemv, \
                     packed_rows)                                                                              \
  void name##_decode(const uint8_t* packed, int64_t places, int width, const TablesS8& tables, int8_t* panel); \
  void name##_gemm(const GemmS8Args& args);                                                                    \
  static_assert((long_rows) <= (max_rows), "rows of " #name);                                                  \
  static_assert((max_columns) <= kMaxColumns && (max_columns) % (column_unit) == 0, "columns of " #name);      \
  static_assert((column_unit) % 4 == 0, "columns of " #name);                                                  \
  static_assert((column_unit) * (k_unit) % kRunS8 == 0 && (k_unit) <= kMaxUnitS8, "whole runs in " #name);
#define DGMS_DEPTHWISE_S8(name, isa, prepare, lines) void name(const DepthwiseS8Args& args);
#define DGMS_OUTPUT_S8(name, isa, narrows)            \
  void name##_requantize(const RequantizeArgs& args); \
  void name##_rescale(const RescaleArgs& args);       \
  void name##_dequantize(const DequantizeArgs& args); \
  void name##_rescale_rows(const RescaleRowsArgs& args);
#define DGMS_QUANTIZE_S8(name, isa)                       \
  FloatRange name##_range(const float* x, int64_t count); \
  void name##_quantize(const QuantizeArgs& args);
#include "kernels/kernels_s8.inc"
#if DGMS_X86_64
void s8_gemv_avx512_vnni(const GemvS8Args& args);
void s8_depthwise_avx512_vnni_prepare(const PrepareDepthwiseS8Args& args);
void s8_depthwise_avx512_vnni_lines(const DepthwiseLinesS8Args& args, const RequantizeArgs& output);
#endif
#if DGMS_AARCH64
void s8_5x16_neon_dotprod_requantize(const GemmS8Args& args, const RequantizeArgs& output);
extern const PackedGemmS8 s8_6x16_packed_neon_dotprod;
void s8_depthwise_neon_dotprod_prepare(const PrepareDepthwiseS8Args& args);
void s8_depthwise_neon_dotprod_lines(const DepthwiseLinesS8Args& args, const RequantizeArgs& output);
#endif

}  // namespace dgms

#endif  // DGMS_KERNELS_KERNEL_S8_H_
