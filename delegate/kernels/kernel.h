// The contract between the ops and the kernels. Nothing in here knows TFLite.
//
// Words
//   filter      [N][K] codes (N output channels; K = kernel_h * kernel_w * input channels, in the filter's own order).
//   code        index of a weight's value, 0..15, whatever the file's bit width is (2, 3 and 4 bits share every
//   kernel). table       16 floats: the codebook of one group of output channels, zero-filled above 2^bits.
//   panel       1..max_columns neighbouring output channels ("columns") of one filter.
//   tile        1..max_rows output pixels ("rows") of a panel: what `gemm` computes at a time.
//   block       a range of K. One call of `decode` and `gemm` works on one block of one panel.
//
// A convolution runs as: for each panel, for each block of K: decode the block's weights once into a small buffer that
// stays in the first-level cache, then reuse it for all row tiles. Partial sums wait in the output between blocks.
//
// Rules for every kernel
//   - Sizes are in elements unless the name says bytes. Strides are in floats. Pointers need the alignment of their
//     type only, except where a field says otherwise; loads and stores are unaligned.
//   - NOTHING is read or written outside the ranges stated here: the tests place every buffer against guard pages.
//   - An output's value may depend on the data and on the block boundaries only, never on `rows`, on `n` or on which
//     tile or panel it falls into: this is what makes results bit-identical for any number of threads. In `gemm` each
//     output is therefore a chain over k in increasing order, starting from 0, or, where `unit_scale` is set and the
//     kernel prefers it, from the bias; and then added to `c` where `accumulate` is set.
//   - NaN and infinities propagate: clamping returns NaN for NaN. A zero activation times an infinite weight is NaN.
//   - Kernel files (one per instruction set, compiled with flags that the machine may not have) contain plain code in
//     anonymous namespaces and the functions that kernels.inc names. They include no header with inline functions
//     other than the compiler's intrinsics (not <algorithm>, not <vector>): the linker may keep *their* copy of such a
//     function for the whole program, which then crashes on an older machine.
#ifndef DGMS_KERNELS_KERNEL_H_
#define DGMS_KERNELS_KERNEL_H_

#include <stddef.h>
#include <stdint.h>

#include "kernels/arch.h"

namespace dgms {

// Instruction sets, in rising order of preference within a processor family.
enum class Isa { kPortable, kNeon, kNeonDotprod, kNeonI8mm, kAvx2, kAvx512, kAvx512Vnni, kAvx512Amx };

inline constexpr int kTableSize = 16;   // floats per table, whatever the bit width
inline constexpr int kMaxColumns = 64;  // no kernel's max_columns is larger
inline constexpr int kMaxBlock = 256;   // places of a block: short chains of additions keep sums of one sign exact
// Floats of a decoded block at most: its length rounded up to k_unit, times columns.
inline constexpr int kPanelFloats = 8192;
inline constexpr size_t kAlignment = 64;  // bytes; of tables, packed panels and decoded blocks

// ---------------------------------------------------------------------------------------------------------------------
// Packed weights ("tile order"). Always one nibble per weight. One packed block of a panel of n columns is
//     round_up(k, k_unit) * round_up(n, column_unit) / 2 bytes;
// places without a weight hold code 0. Only `pack` and `decode`/`gemv` of one kernel agree about the order inside.

// Packs one block of one panel.
//   codes, first   the code of column j (0 <= j < n) at place p (0 <= p < k) is number first + j * column_stride + p of
//                  `codes`, which are two per byte (codes.h)
//   width          round_up(n, column_unit)
//   packed         exactly the number of bytes above, 4-byte aligned; all of them are written
using PackFn = void (*)(const uint8_t* codes, int64_t first, int64_t column_stride, int64_t k, int n, int width,
                        uint8_t* packed);

// The tables of a panel. Column j uses the 16 floats at
//     tables                               if column_table is null (the usual case: one codebook)
//     tables + 16 * column_table[j]        otherwise; column_table has round_up(n, column_unit) entries that never
//                                          decrease, so a vector of columns has one table if its ends agree
struct Tables {
  const float* tables;  // 64-byte aligned
  const int32_t* column_table;
};

// Decodes one packed block into floats.
//   panel   [round_up(k, k_unit)][round_up(n, column_unit)] floats, 64-byte aligned; all of them are written (places
//           without a weight get their table's entry 0, which nothing uses)
using DecodeFn = void (*)(const uint8_t* packed, int64_t k, int n, const Tables& tables, float* panel);

// Multiplies a decoded block by what its columns are scaled with, so that sums need not be: panel[p][j] *= scale[j].
//   panel   as `decode` wrote it; all rows of it are scaled
//   width   round_up(n, column_unit)
//   scale   width floats
using ScaleColumnsFn = void (*)(const float* scale, int64_t k, int width, float* panel);
#if DGMS_NEON
void f32_scale_columns_neon(const float* scale, int64_t k, int width, float* panel);
#endif

// ---------------------------------------------------------------------------------------------------------------------
// What happens to a finished sum: clamp(scale[column] * sum + bias[column] + residual, min, max). The product and the
// bias are rounded once or twice, the residual is added to what that gave.
//   scale, bias   round_up(n, column_unit) floats each, never null (1 and 0 where the layer has none)
//   min, max      -inf and +inf without a fused activation
//   residual      what row r, column j adds is residual[r * residual_row_stride + j], n columns of every row; null:
//   none.
//                 It does not overlap the output, which holds partial sums before it is finished.
//   unit_scale    all of `scale` is 1, so that kernels may leave the product out, and add the bias at any time
struct Epilogue {
  const float* scale;
  const float* bias;
  float min;
  float max;
  const float* residual = nullptr;
  int64_t residual_row_stride = 0;
  bool unit_scale = false;
};

// rows x n outputs of one panel, over one block of K. The kernel cuts the rows into tiles.
//   k runs over segment_count segments of segment_length each. Row r, segment s, place p of the input is
//       a[r * a_row_stride + segments[s] + p]
//   and meets panel[(s * segment_length + p) * round_up(n, column_unit) + column].
struct GemmF32Args {
  int64_t rows;  // >= 1
  int n;         // 1..max_columns; only these columns of c are read and written
  const float* a;
  int64_t a_row_stride;
  const int64_t* segments;  // offsets in floats
  int64_t segment_count;    // >= 1
  int64_t segment_length;   // >= 1
  const float* panel;       // as `decode` wrote it
  float* c;                 // row r, column j: c[r * c_row_stride + j]
  int64_t c_row_stride;
  bool accumulate;    // add c's old value to the sum (a later block of K)
  bool finish;        // apply the epilogue (the last block of K); else c keeps the bare sum
  Epilogue epilogue;  // used only where `finish` is set
};
using GemmF32Fn = void (*)(const GemmF32Args& args);

// One row, decoding in registers (batch-1 fully connected, 1x1 maps): the whole K, which is one contiguous run.
// The packed weights are those of `pack` with k = the whole K. The order of summation is the kernel's own, but fixed.
struct GemvF32Args {
  const float* x;  // k floats
  int64_t k;       // >= 1
  int n;           // 1..max_columns
  const uint8_t* packed;
  Tables tables;
  float* y;  // n floats
  Epilogue epilogue;
};
using GemvF32Fn = void (*)(const GemvF32Args& args);

// The kernels that share one tile order.
struct GemmF32Kernel {
  const char* name;
  Isa isa;
  int max_rows;     // of a tile: whole tiles are fastest
  int max_columns;  // a multiple of column_unit
  int column_unit;
  int k_unit;
  PackFn pack;
  DecodeFn decode;
  GemmF32Fn gemm;
  GemvF32Fn gemv;
  ScaleColumnsFn scale_columns;  // null where scaling sums takes no more than adding the bias alone (FMA)
};

// ---------------------------------------------------------------------------------------------------------------------
// Depthwise convolution, channel by channel, with decoded (and scaled) weights: a run of output pixels of one row.
//   output[i * output_stride + c] = clamp(bias[c] + sum over ky, kx of
//       input[ky * line_stride + i * pixel_stride + kx * tap_stride + c] *
//       weights[ky * weight_line_stride + kx * weight_tap_stride + c])
//   summed from bias in the order of ky, then kx. At the map's upper and lower edge the op leaves out lines that fall
//   outside by passing fewer of them. To the left and the right the kernel leaves taps out: a line's positions are
//   counted in taps, so that tap kx of pixel i is at position i * pixel_stride / tap_stride + kx, and of them only
//   pad_left .. pad_left + line_columns - 1 are inside. Nothing is read at the others.
struct DepthwiseF32Args {
  const float* input;    // channel 0 of the first tap of the first output pixel
  int64_t line_stride;   // input floats from one kernel line to the next
  int64_t tap_stride;    // from one tap of a line to the next
  int64_t pixel_stride;  // from one output pixel to the next
  int64_t kernel_h;      // kernel lines, >= 1
  int64_t kernel_w;      // taps per line, >= 1
  int64_t pixels;        // output pixels in this run, >= 1
  int64_t channels;      // >= 1
  const float* weights;
  int64_t weight_line_stride;
  int64_t weight_tap_stride;
  const float* bias;  // channels floats, never null
  float* output;
  int64_t output_stride;
  float min;
  float max;
  int64_t pad_left = 0;
  int64_t line_columns = 0;  // 0: all taps are inside. Else pixel_stride is a multiple of tap_stride, and every pixel
                             // has a tap inside
};
using DepthwiseF32Fn = void (*)(const DepthwiseF32Args& args);

struct DepthwiseF32Kernel {
  const char* name;
  Isa isa;
  DepthwiseF32Fn run;
};

// Their weights: codes that lie in their own order, [kernel_h][kernel_w][channels], become floats before a run.
//   codes     of weight i the low nibble of byte i / 2 if i is even, else the high one; (count + 1) / 2 bytes are read
//   table     16 floats
//   weights   count floats
using CodesF32Fn = void (*)(const uint8_t* codes, int64_t count, const float* table, float* weights);

struct CodesF32Kernel {
  const char* name;
  Isa isa;
  CodesF32Fn decode;
};

// ---------------------------------------------------------------------------------------------------------------------
// Dense filters: rows of plain values, [N][K], as a model's file holds them. Nothing of them is kept in another order;
// a block is transposed into a panel where a codebook filter's would be decoded.

// Transposes a matrix of 32-bit words: floats, or four int8 places of one column at a time.
//   rows    word p of row j is at rows + j * row_bytes + 4 * p, at any address; k words of n rows are read
//   width   a multiple of 4, n <= width <= kMaxColumns
//   panel   [k][width] words, aligned as words are; all are written (columns n.. get values that nothing uses)
using TransposeFn = void (*)(const void* rows, int64_t row_bytes, int64_t k, int n, int width, void* panel);

// Sum j is that over p of rows[j * row_stride + p] * x[p]: one row of activations, reading the weights once and in
// order. The order of summation is the kernel's own, but fixed.
struct DotRowsF32Args {
  const float* x;  // k floats
  int64_t k;       // >= 1
  int n;           // >= 1
  const float* rows;
  int64_t row_stride;
  float* y;           // n floats
  Epilogue epilogue;  // n entries are read
};
using DotRowsF32Fn = void (*)(const DotRowsF32Args& args);

struct DenseKernel {
  const char* name;
  Isa isa;
  TransposeFn transpose;
  DotRowsF32Fn dot_rows;
};

// ---------------------------------------------------------------------------------------------------------------------
// Declarations of all kernels of this processor family, from kernels.inc.
#define DGMS_GEMM_F32(name, isa, max_rows, max_columns, column_unit, k_unit, pack, scale_columns)                      \
  void pack(const uint8_t* codes, int64_t first, int64_t column_stride, int64_t k, int n, int width, uint8_t* packed); \
  void name##_decode(const uint8_t* packed, int64_t k, int n, const Tables& tables, float* panel);                     \
  void name##_gemm(const GemmF32Args& args);                                                                           \
  void name##_gemv(const GemvF32Args& args);                                                                           \
  static_assert((max_columns) <= kMaxColumns && (max_columns) % (column_unit) == 0, "columns of " #name);              \
  static_assert((column_unit) % 4 == 0, "columns of " #name);                                                          \
  static_assert((column_unit) * (k_unit) % 8 == 0, "a packed block is a whole number of 32-bit words: " #name);        \
  static_assert((max_columns) * (k_unit) <= kPanelFloats && kMaxBlock % (k_unit) == 0, "block buffer of " #name);
#define DGMS_DEPTHWISE_F32(name, isa) void name(const DepthwiseF32Args& args);
#define DGMS_CODES_F32(name, isa) void name(const uint8_t* codes, int64_t count, const float* table, float* weights);
#define DGMS_DENSE(name, isa)                                                                           \
  void name##_transpose(const void* rows, int64_t row_bytes, int64_t k, int n, int width, void* panel); \
  void name##_dot_rows(const DotRowsF32Args& args);
#include "kernels/kernels.inc"

}  // namespace dgms

#endif  // DGMS_KERNELS_KERNEL_H_
