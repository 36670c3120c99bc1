// The tile orders: how the codes of one packed block lie in memory. Each kernel's row in kernels.inc names the order
// that its `decode` and `gemv` read; the functions themselves are declared by kernel.h (they are PackFns).
//
// All orders hold one nibble per weight; `width` columns (round_up(n, column_unit)), k rounded up to k_unit; unused
// places are 0. "Low nibble" is bits 0..3 of a byte.
//
// pack_rows      Row by row. Weight (p, j) of place p and column j is in byte p * width / 2 + j / 2: the low nibble if
//                j is even, the high nibble if it is odd. So one byte is the codes of two neighbouring columns, and a
//                row of 8 columns is 4 bytes. Any k_unit; width is even.
//                Example, width 8, k = 1, codes 1 2 3 4 5 6 7 8 for columns 0..7: bytes 21 43 65 87 (hexadecimal).
//
// pack_lanes32   For vectors of 32-bit lanes. k_unit is 8: each column has one little-endian 32-bit word per 8 places,
//                and place p of the eight is nibble p of the word (bits 4p..4p+3). The words of the columns 0..width-1
//                lie side by side, so a vector load gives each lane its column's word, and shifting right by 4p
//                brings the code of place p into the low 4 bits of every lane, where a permute looks it up.
//                Example, width 8, k = 2, column 0 has codes 1 (place 0) and 2 (place 1): its word is 0x00000021.
//
// pack_runs32    For byte vectors. The weights in reading order (place by place, and in a place column by column) are
// cut
//                into runs of 32. A run is 16 bytes: byte i has the run's weight i in its low nibble and weight 16 + i
//                in its high nibble, so one AND and one shift give two vectors of 16 codes in reading order. k_unit is
//                8 and width a multiple of 4, so a block is whole runs. Example, width 8, k = 8 with code p at place p
//                for all columns: the first run holds places 0..3, its bytes 0..7 are 20 and its bytes 8..15 are 31;
//                then 64 and 75 (hexadecimal).
#ifndef DGMS_KERNELS_PACK_WEIGHTS_H_
#define DGMS_KERNELS_PACK_WEIGHTS_H_

#include "kernels/kernel.h"

namespace dgms {

// Bytes of one packed block.
inline constexpr int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }
inline constexpr int64_t PackedBlockBytes(const GemmF32Kernel& kernel, int64_t k, int n) {
  return RoundUp(k, kernel.k_unit) * RoundUp(n, kernel.column_unit) / 2;
}

}  // namespace dgms

#endif  // DGMS_KERNELS_PACK_WEIGHTS_H_
