// Every int8 matrix kernel that this machine runs: packing, decoding, tiles. All comparisons are exact.
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "kernels/gemm_s8_tester.h"
#include "kernels/select_kernel.h"

namespace dgms::testing {
namespace {

std::vector<const GemmS8Kernel*> Kernels() {
  int count = 0;
  const GemmS8Kernel* const* kernels = GemmS8Kernels(&count);
  return {kernels, kernels + count};
}

class GemmS8 : public ::testing::TestWithParam<const GemmS8Kernel*> {
 protected:
  const GemmS8Kernel& kernel() const { return *GetParam(); }
};

INSTANTIATE_TEST_SUITE_P(Kernels, GemmS8, ::testing::ValuesIn(Kernels()),
                         [](const auto& test) { return std::string(test.param->name); });

// The table whose entry i is i: decoding gives the codes themselves.
std::vector<int8_t> Identity() {
  std::vector<int8_t> table(kTableSize);
  for (int i = 0; i < kTableSize; ++i) table[i] = static_cast<int8_t>(i);
  return table;
}

// The contract's dot order.
int64_t PanelIndex(const GemmS8Kernel& kernel, int width, int64_t place, int column) {
  return (place / kernel.k_unit * width + column) * kernel.k_unit + place % kernel.k_unit;
}

TEST_P(GemmS8, PackThenDecodeReturnsEveryCode) {
  Random random(1);
  for (const int64_t k : {1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 64}) {
    for (int n = 1; n <= kernel().max_columns; ++n) {
      const std::vector<uint8_t> codes = random.Codes(k * n, 4);
      const PackedBlockS8 block(kernel(), codes, 1, k, n, Identity());
      const std::vector<int8_t> panel = block.Decode();
      for (int64_t p = 0; p < k; ++p) {
        for (int j = 0; j < n; ++j) {
          ASSERT_EQ(panel[PanelIndex(kernel(), block.width(), p, j)], codes[j * k + p])
              << "k " << k << " n " << n << " at " << p << "," << j;
        }
      }
    }
  }
}

// One weight alone sets exactly one nibble, and comes back in exactly one place.
TEST_P(GemmS8, OneHotPacking) {
  const int64_t k = 19;
  const int n = kernel().max_columns - 1;
  for (int64_t p = 0; p < k; ++p) {
    for (int j = 0; j < n; ++j) {
      std::vector<uint8_t> codes(k * n, 0);
      codes[j * k + p] = 15;
      const PackedBlockS8 block(kernel(), codes, 1, k, n, Identity());
      int nibbles = 0;
      for (const uint8_t byte : block.packed().values()) {
        ASSERT_TRUE(byte == 0 || byte == 0x0f || byte == 0xf0) << int{byte};
        nibbles += byte != 0;
      }
      ASSERT_EQ(nibbles, 1);
      const std::vector<int8_t> panel = block.Decode();
      const int64_t there = PanelIndex(kernel(), block.width(), p, j);
      for (int64_t i = 0; i < static_cast<int64_t>(panel.size()); ++i) ASSERT_EQ(panel[i], i == there ? 15 : 0) << i;
    }
  }
}

// The example of pack_s8.cc, byte for byte.
TEST(PackS8, Example) {
  std::vector<uint8_t> codes;
  for (int column = 0; column < 8; ++column) {
    for (uint8_t place = 0; place < 4; ++place) codes.push_back(place);
  }
  uint8_t packed[16];
  pack_s8(Nibbles(codes).data(), 0, 4, 4, 8, 8, 4, packed);
  const uint8_t expected[4] = {0x00, 0x11, 0x22, 0x33};
  for (int i = 0; i < 16; ++i) EXPECT_EQ(packed[i], expected[i % 4]) << i;
}

// Columns with tables of their own, in any order; all values of a byte but -128.
TEST_P(GemmS8, DecodeWithSeveralTables) {
  Random random(2);
  const int64_t k = 13;
  for (int n = 1; n <= kernel().max_columns; ++n) {
    for (const int tables : {2, 3, n}) {
      std::vector<int32_t> table_of_column;
      for (int j = 0; j < n; ++j) table_of_column.push_back(static_cast<int32_t>(random.Int(0, tables - 1)));
      const PackedBlockS8 block(kernel(), random.Codes(k * n, 4), 1, k, n,
                                RandomInt8(random, tables * kTableSize, -127), table_of_column);
      const std::vector<int8_t> panel = block.Decode();
      for (int64_t p = 0; p < k; ++p) {
        for (int j = 0; j < n; ++j) {
          ASSERT_EQ(panel[PanelIndex(kernel(), block.width(), p, j)], block.Weight(p, j))
              << "n " << n << " column " << j;
        }
      }
    }
  }
}

TEST_P(GemmS8, AllRowsAndColumns) {
  for (int rows = 1; rows <= kernel().max_rows; ++rows) {
    for (int n = 1; n <= kernel().max_columns; ++n) {
      GemmS8Tester().rows(rows).n(n).segments(1, 5 + n % 4).seed(rows * 100 + n).Test(kernel());
      GemmS8Tester().rows(rows).n(n).segments(2, 18 + n % 5).tables(2).accumulate(true).seed(rows + n).Test(kernel());
    }
  }
}

TEST_P(GemmS8, AllLengths) {
  for (int64_t k = 1; k <= 70; ++k) {
    for (int rows = 1; rows <= kernel().max_rows; ++rows) {
      GemmS8Tester().rows(rows).n(kernel().max_columns).segments(1, k).seed(k).Test(kernel());
      GemmS8Tester().rows(rows).n(1).segments(1, k).row_gap(k % 5).seed(k + 1).Test(kernel());
    }
  }
}

// Calls of all kinds in turn, each with what the ones before have left in the registers.
TEST_P(GemmS8, StateOverCalls) {
  GemmState state = {};
  Random random(9);
  for (int i = 0; i < 300; ++i) {
    const int64_t length = random.Int(1, 200);
    GemmS8Tester()
        .rows(static_cast<int>(random.Int(1, kernel().max_rows)))
        .n(static_cast<int>(random.Int(1, kernel().max_columns)))
        .segments(length < 60 ? random.Int(1, 9) : 1, i % 3 == 0 ? length / 4 * 4 + 4 : length, i % 2)
        .row_gap(random.Int(0, 3))
        .accumulate(i % 4 == 0)
        .state(&state)
        .seed(i)
        .Test(kernel());
    if (i % 50 == 49) {
      if (state.release != nullptr) state.release();
      state = {};
    }
  }
}

// Many rows of long and short segments, whole and with a rest, at all numbers of rows.
TEST_P(GemmS8, RestsOfSegments) {
  for (const int64_t length : {9, 20, 21, 33, 60, 63, 64, 65, 68, 96, 100, 130, 148, 187}) {
    for (int rows = 1; rows <= kernel().max_rows; rows += 5) {
      GemmS8Tester().rows(rows).n(kernel().max_columns).segments(1, length).row_gap(3).seed(length).Test(kernel());
      GemmS8Tester().rows(rows).n(kernel().column_unit).segments(7, length, 5).accumulate(true).Test(kernel());
    }
  }
}

TEST_P(GemmS8, Segments) {
  for (const int64_t count : {2, 3, 9}) {
    for (const int64_t length : {1, 3, 4, 8, 13, 16, 21}) {
      for (const int rows : {1, 2, kernel().max_rows}) {
        // Overlapping rows (a 3x3 kernel's pixels), touching rows, and rows with a gap (strides).
        for (const int64_t row_gap : {-length + 1, int64_t{0}, int64_t{7}}) {
          GemmS8Tester()
              .rows(rows)
              .n(kernel().max_columns)
              .segments(count, length, 2)
              .row_gap(row_gap)
              .accumulate(count == 3)
              .seed(count + length)
              .Test(kernel());
        }
      }
    }
  }
}

// The products and sums of pairs that 16 bits just hold.
TEST_P(GemmS8, Extremes) {
  for (const int activation : {-128, 127, 0, -1}) {
    for (const int weight : {-127, 127, 1, 0}) {
      for (const int64_t k : {1, 8, 67, 1024}) {
        GemmS8Tester()
            .rows(kernel().max_rows)
            .n(kernel().max_columns)
            .segments(1, k)
            .extremes(static_cast<int8_t>(activation), static_cast<int8_t>(weight))
            .Test(kernel());
      }
    }
  }
}

// One row, which may have a way of its own; longer than a block, too, where nothing is decoded.
TEST_P(GemmS8, OneRow) {
  for (int64_t k = 1; k <= 150; ++k) {
    for (const int n : {kernel().max_columns, kernel().max_columns - 5}) {
      GemmS8Tester().n(n).segments(1, k).seed(k).Test(kernel());
    }
  }
  GemmS8Tester().n(kernel().max_columns).segments(1, 6001).Test(kernel());
  for (const int activation : {-128, 127}) {
    for (const int weight : {-127, 127}) {
      GemmS8Tester()
          .n(kernel().max_columns)
          .segments(1, 2500)
          .extremes(static_cast<int8_t>(activation), static_cast<int8_t>(weight))
          .Test(kernel());
    }
  }
}

TEST_P(GemmS8, LongestBlock) {
  const int64_t k = kPanelBytes / kernel().max_columns / kernel().k_unit * kernel().k_unit;
  GemmS8Tester().rows(kernel().max_rows).n(kernel().max_columns).segments(1, k).Test(kernel());
}

}  // namespace
}  // namespace dgms::testing
