// Quantises float activations to int8 at run time, one scale and zero point per row.
#ifndef DGMS_OPS_QUANTIZE_ROWS_H_
#define DGMS_OPS_QUANTIZE_ROWS_H_

#include <cstdint>

#include "kernels/kernel_s8.h"
#include "ops/thread_pool.h"

namespace dgms {

// What the integers of a row stand for: (q - zero) * scale.
//   A row whose values are all zero (or so small that 1/255 of their range is denormal) has scale 0 and zeros only.
//   A row with a NaN or an infinity has scale NaN: everything computed from it becomes NaN.
struct RowQuantization {
  float scale;
  int32_t zero;  // -128..127
};

// Quantises `rows` rows of `length` floats. The range of a row is that of its values and 0, so 0 is always exact:
//   scale = (max - min) / 255, zero = round(-128 - min / scale), q = clamp(round(x / scale) + zero, -128, 127)
// in float (the range in double), x times 1 / scale instead of a division, rounding halves to even. Results do not
// depend on the number of threads.
struct QuantizeRowsArgs {
  const float* input;  // row r begins at input + r * row_stride
  int64_t rows, length, row_stride;
  bool flip;       // invert the top bit of every output (see kernel_s8.h); zeros then are of unsigned numbers, 0..255
  int8_t* output;  // [rows][length]
  float* scales;   // [rows]
  int32_t* zeros;  // [rows]
};
void QuantizeRows(const QuantizeS8Kernel& kernel, const QuantizeRowsArgs& args, ThreadPool& pool);

// Row `row` of them, on the calling thread.
void QuantizeRow(const QuantizeS8Kernel& kernel, const QuantizeRowsArgs& args, int64_t row);

}  // namespace dgms

#endif  // DGMS_OPS_QUANTIZE_ROWS_H_
