// What the vector decoders of int8 panels share, whatever their vectors. For kernel files only.
#ifndef DGMS_KERNELS_DECODE_S8_H_
#define DGMS_KERNELS_DECODE_S8_H_

#include "kernels/kernel_s8.h"

namespace dgms {
namespace {

// Columns with different tables are decoded in one pass for each table. An index with its top bit set looks up a zero,
// so a pass whose codes are ORed with `foreign` (0x80 for the bytes of other tables' columns, for one group of places,
// width * unit bytes) gives the bytes of its own columns alone, to be ORed to what the passes before have left.
// Calls pass(table, is_first) for every table.
template <int unit, typename Pass>
inline void ForEachTable(const TablesS8& tables, int width, uint8_t* foreign, const Pass& pass) {
  for (int first = 0; first < width; ++first) {
    const int32_t id = tables.column_table[first];
    bool seen = false;
    for (int j = 0; j < first; ++j) seen = seen || tables.column_table[j] == id;
    if (seen) continue;
    for (int i = 0; i < width * unit; ++i) foreign[i] = tables.column_table[i / unit] == id ? 0 : 0x80;
    pass(tables.tables + int64_t{kTableSize} * id, first == 0);
  }
}

}  // namespace
}  // namespace dgms

#endif  // DGMS_KERNELS_DECODE_S8_H_
