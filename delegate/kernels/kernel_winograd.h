// The contract of the Winograd kernels: 3x3 convolutions with stride 1 by F(4x4, 3x3), which takes 36 multiplications
// for a tile of 4x4 outputs where the direct sum takes 144 (S. Winograd, Arithmetic Complexity of Computations, 1980;
// A. Lavin and S. Gray, arXiv 1509.09308). The rules of kernel.h hold here too.
//
// Words
//   tile      4x4 neighbouring outputs. Tiles begin at multiples of 4; those at the map's end may have fewer.
//   patch     the 6x6 inputs that a tile's outputs read; beyond the map they are 0.
//   position  one of the 36 = 6x6 products of a tile, y * 6 + x.
//
// For a patch d and a filter g of one pair of channels
//     outputs = A' [(G g G') * (B' d B)] A        (' transposes, * multiplies position by position)
// where the sum over input channels is taken of the products in brackets: 36 matrix products, each of [tiles][input
// channels] by [input channels][columns], which are GemmF32Kernel's work. The matrices follow from the points 0, a, -a,
// b, -b and infinity at which the polynomials are multiplied, with a = sqrt(1/2) and b = sqrt(2):
//     B' = | 1  0 -5/2  0  1  0 |     G = | 1  0   0  |     A' = | 1  f   f    h    h   0 |     f = -2/3
//          | 0 -b  -2   a  1  0 |         | 1  a  1/2 |          | 0  fa -fa   hb  -hb  0 |     h =  1/6
//          | 0  b  -2  -a  1  0 |         | 1 -a  1/2 |          | 0  f/2 f/2  2h   2h  0 |
//          | 0 -a -1/2  b  1  0 |         | 1  b   2  |          | 0  fa/2 ..  2hb -2hb 1 |
//          | 0  a -1/2 -b  1  0 |         | 1 -b   2  |
//          | 0  1   0 -5/2 0  1 |         | 0  0   1  |
// The factors f and h, which belong to G, are in A', where they cost nothing.
//
// NaN and infinities spread: an input that is one may reach all outputs of the tiles whose patches hold it. Outputs
// that read a NaN are NaN, those that read an infinity NaN or an infinity of either sign. Inputs above about 1e37 may
// overflow on the way.
#ifndef DGMS_KERNELS_KERNEL_WINOGRAD_H_
#define DGMS_KERNELS_KERNEL_WINOGRAD_H_

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernel.h"

namespace dgms {

inline constexpr int kWinogradTile = 4;        // outputs of a tile, each way
inline constexpr int kWinogradPatch = 6;       // inputs of a patch, each way
inline constexpr int kWinogradPositions = 36;  // of a patch
inline constexpr int kWinogradGroup = 4;       // tiles of a group (WinogradProductArgs)
inline constexpr int kWinogradChannels = 16;   // input channels that lie together in a group's transformed inputs

// B' d B of one patch, channel by channel:
//     output[position * position_stride + c]  for all positions and channels
struct WinogradInputArgs {
  const float* input;    // channel 0 of the patch's first pixel inside the map: (first_y, first_x)
  int64_t line_stride;   // floats from one line of the map to the next
  int64_t pixel_stride;  // from one pixel to the next
  int first_y, end_y;    // lines of the patch inside the map, 0 <= first_y < end_y <= 6; only these are read
  int first_x, end_x;    // and pixels
  int64_t channels;      // >= 1
  float* output;
  int64_t position_stride;
};

// G g G' of many filters, one for each i below `count`:
//     output[position * position_stride + i]  from taps[tap * count + i], tap = y * 3 + x
//   count   a multiple of the matrix kernel's column_unit
struct WinogradFilterArgs {
  const float* taps;
  int64_t count;
  float* output;
  int64_t position_stride;
};

// sums (+)= the products of a group of tiles and some input channels, transforming filters on the way: for few tiles,
// where writing transformed filters takes longer than the arithmetic.
//   channels       first_channel .. first_channel + channels - 1, summed from 0 in this order and then added to the
//   sums taps           taps[(tap * channels + c) * width + j] for input channel first_channel + c and column j input
//   the group's transformed inputs: of channel c, position p and tile r at
//                      input[((c / 16 * 36 + p) * 4 + r) * 16 + c % 16]
//   sums           of position p, tile r and column j at sums[p * position_stride + r * width + j]
// The filters' values are bit for bit those of transform_filter.
struct WinogradProductArgs {
  const float* taps;
  int64_t first_channel;
  int64_t channels;  // >= 1
  int64_t width;     // columns: a multiple of the matrix kernel's column_unit
  const float* input;
  float* sums;
  int64_t position_stride;
  bool accumulate;
};

// A' m A of one tile and the epilogue, column by column, from m = sums[position * position_stride + j].
//   output   pixel (y, x), column j: output[y * line_stride + x * pixel_stride + j]; written for y < height, x < width,
//            j < n, nothing else
struct WinogradOutputArgs {
  const float* sums;  // round_up(n, column_unit) floats of every position
  int64_t position_stride;
  int height, width;  // of the tile, 1..4
  int n;              // columns, >= 1
  float* output;
  int64_t line_stride;
  int64_t pixel_stride;
  Epilogue epilogue;  // the residual lies as the output does, with its strides (residual_row_stride is not used)
};

// What decides between the ways of a convolution, in multiply-adds of the matrix kernel that take as long:
//   filter_cost    of decoding and transforming one 3x3 filter
//   product_cost   of one filter in one call of multiply_group, which is null (and the cost 0) where nothing is gained
struct WinogradF32Kernel {
  const char* name;
  Isa isa;
  double filter_cost;
  double product_cost;
  void (*transform_input)(const WinogradInputArgs& args);
  void (*transform_filter)(const WinogradFilterArgs& args);
  void (*transform_output)(const WinogradOutputArgs& args);
  void (*multiply_group)(const WinogradProductArgs& args);
};

// Declarations of all Winograd kernels of this processor family.
#define DGMS_WINOGRAD_PRODUCT(name) void name(const WinogradProductArgs& args);
#define DGMS_WINOGRAD_F32(name, ...)                  \
  void name##_input(const WinogradInputArgs& args);   \
  void name##_filter(const WinogradFilterArgs& args); \
  void name##_output(const WinogradOutputArgs& args);
#include "kernels/kernels_winograd.inc"

}  // namespace dgms

#endif  // DGMS_KERNELS_KERNEL_WINOGRAD_H_
