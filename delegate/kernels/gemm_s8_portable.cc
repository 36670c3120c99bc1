// The portable int8 kernel: plain C++, right everywhere.
#include "kernels/kernel_s8.h"

namespace dgms {
namespace {

constexpr int kUnit = 4;

inline uint32_t Product(int8_t x, int8_t w) { return static_cast<uint32_t>(int32_t{x} * int32_t{w}); }

}  // namespace

void s8_4x8_portable_decode(const uint8_t* packed, int64_t places, int width, const TablesS8& tables, int8_t* panel) {
  for (int64_t i = 0; i < places * width; ++i) {
    const int in_run = static_cast<int>(i % kRunS8);
    const uint8_t byte = packed[i / kRunS8 * 16 + in_run % 16];
    const int code = in_run < 16 ? byte & 15 : byte >> 4;
    const int column = static_cast<int>(i / kUnit % width);
    const int64_t table = tables.column_table == nullptr ? 0 : tables.column_table[column];
    panel[i] = tables.tables[table * kTableSize + code];
  }
}

void s8_4x8_portable_gemm(const GemmS8Args& args) {
  const int width = args.width;
  const int64_t padded = (args.segment_length + kUnit - 1) / kUnit * kUnit;
  for (int r = 0; r < args.rows; ++r) {
    for (int j = 0; j < width; ++j) {
      uint32_t sum = args.accumulate ? static_cast<uint32_t>(args.c[r * width + j]) : 0;
      for (int64_t s = 0; s < args.segment_count; ++s) {
        const int8_t* a = args.a + r * args.a_row_stride + args.segments[s];
        const int8_t* w = args.panel + s * padded * width + j * kUnit;
        for (int64_t p = 0; p < args.segment_length; ++p)
          sum += Product(a[p], w[p / kUnit * kUnit * width + p % kUnit]);
      }
      args.c[r * width + j] = static_cast<int32_t>(sum);
    }
  }
}

}  // namespace dgms
