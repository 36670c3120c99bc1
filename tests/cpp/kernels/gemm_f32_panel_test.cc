// Every matrix kernel that this machine runs: packing, decoding, scaling of a decoded block.
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "kernels/gemm_f32_tester.h"
#include "kernels/select_kernel.h"

namespace dgms::testing {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<const GemmF32Kernel*> Kernels() {
  int count = 0;
  const GemmF32Kernel* const* kernels = GemmF32Kernels(&count);
  return {kernels, kernels + count};
}

class PanelF32 : public ::testing::TestWithParam<const GemmF32Kernel*> {
 protected:
  const GemmF32Kernel& kernel() const { return *GetParam(); }
};

INSTANTIATE_TEST_SUITE_P(Kernels, PanelF32, ::testing::ValuesIn(Kernels()),
                         [](const auto& test) { return std::string(test.param->name); });

// The table whose entry i is i: decoding gives the codes themselves.
std::vector<float> Identity() {
  std::vector<float> table(kTableSize);
  for (int i = 0; i < kTableSize; ++i) table[i] = static_cast<float>(i);
  return table;
}

TEST_P(PanelF32, PackThenDecodeReturnsEveryCode) {
  Random random(1);
  for (const int64_t k : {1, 2, 7, 8, 9, 16, 31, 64}) {
    for (int n = 1; n <= kernel().max_columns; ++n) {
      const std::vector<uint8_t> codes = random.Codes(k * n, 4);
      const PackedBlock block(kernel(), codes, k, n, Identity());
      const std::vector<float> panel = block.Decode();
      for (int64_t p = 0; p < k; ++p) {
        for (int j = 0; j < n; ++j) {
          ASSERT_EQ(panel[p * block.width() + j], codes[j * k + p])
              << "k " << k << " n " << n << " at " << p << "," << j;
        }
      }
    }
  }
}

TEST_P(PanelF32, ScaleColumns) {
  if (kernel().scale_columns == nullptr) GTEST_SKIP() << kernel().name << " scales sums";
  Random random(2);
  for (const int64_t k : {1, 7, 8, 9, 64, 131}) {
    for (int width = kernel().column_unit; width <= kernel().max_columns; width += kernel().column_unit) {
      const int64_t rows = RoundUp(k, kernel().k_unit);
      const std::vector<float> weights = random.Floats(rows * width);
      const GuardedBuffer<float> scale(random.Floats(width));
      GuardedBuffer<float> panel(weights, Flush::kEnd, kAlignment);
      kernel().scale_columns(scale.data(), k, width, panel.data());
      EXPECT_TRUE(panel.SurroundingsIntact());
      for (int64_t i = 0; i < rows * width; ++i) {
        ASSERT_EQ(panel[i], weights[static_cast<size_t>(i)] * scale[i % width]) << "k " << k << " width " << width;
      }
    }
  }
}

// One weight alone sets exactly one nibble, and comes back in exactly one place.
TEST_P(PanelF32, OneHotPacking) {
  const int64_t k = 19;
  const int n = kernel().max_columns - 1, width = static_cast<int>(RoundUp(n, kernel().column_unit));
  for (int64_t p = 0; p < k; ++p) {
    for (int j = 0; j < n; ++j) {
      std::vector<uint8_t> codes(k * n, 0);
      codes[j * k + p] = 15;
      const PackedBlock block(kernel(), codes, k, n, Identity());
      int nibbles = 0;
      for (int64_t i = 0; i < PackedBlockBytes(kernel(), k, n); ++i) {
        const uint8_t byte = block.packed()[i];
        ASSERT_TRUE(byte == 0 || byte == 0x0f || byte == 0xf0) << "byte " << i << " is " << int{byte};
        nibbles += byte != 0;
      }
      ASSERT_EQ(nibbles, 1);
      const std::vector<float> panel = block.Decode();
      for (int64_t i = 0; i < k * width; ++i) ASSERT_EQ(panel[i], i == p * width + j ? 15.0f : 0.0f) << "at " << i;
    }
  }
}

// The examples of pack_weights.h, byte for byte.
TEST(PackWeights, RowsExample) {
  const std::vector<uint8_t> codes = {1, 2, 3, 4, 5, 6, 7, 8};
  uint8_t packed[4];
  pack_rows(Nibbles(codes).data(), 0, 1, 1, 8, 8, packed);
  const uint8_t expected[4] = {0x21, 0x43, 0x65, 0x87};
  EXPECT_EQ(std::memcmp(packed, expected, 4), 0);
}

#if DGMS_X86_64
TEST(PackWeights, Lanes32Example) {
  const std::vector<uint8_t> codes = {1, 2, 3, 4};  // two columns of two places
  uint8_t packed[32];
  pack_lanes32(Nibbles(codes).data(), 0, 2, 2, 2, 8, packed);
  const uint8_t expected[32] = {0x21, 0, 0, 0, 0x43};
  EXPECT_EQ(std::memcmp(packed, expected, 32), 0);
}
#endif

// Columns with tables of their own: all ways of cutting the columns, also inside a vector.
TEST_P(PanelF32, DecodeWithSeveralTables) {
  Random random(2);
  const int64_t k = 13;
  for (int n = 1; n <= kernel().max_columns; ++n) {
    for (int group = 1; group <= n; group += 1 + group / 4) {
      std::vector<int32_t> table_of_column;
      for (int j = 0; j < n; ++j) table_of_column.push_back((j + 1) / group);
      const int tables = table_of_column.back() + 1;
      const PackedBlock block(kernel(), random.Codes(k * n, 4), k, n, random.Floats(tables * kTableSize),
                              table_of_column);
      const std::vector<float> panel = block.Decode();
      for (int64_t p = 0; p < k; ++p) {
        for (int j = 0; j < n; ++j) {
          ASSERT_EQ(panel[p * block.width() + j], block.Weight(p, j)) << "n " << n << " group " << group;
        }
      }
    }
  }
}

// Tables hold any value bit for bit: denormals, infinities, NaN, minus zero.
TEST_P(PanelF32, DecodeIsExact) {
  std::vector<float> table = Identity();
  table[1] = 1e-42f;
  table[2] = kInfinity;
  table[3] = kNan;
  table[4] = -0.0f;
  table[15] = std::numeric_limits<float>::max();
  Random random(3);
  const int n = kernel().max_columns;
  const std::vector<uint8_t> codes = random.Codes(32 * n, 4);
  const PackedBlock block(kernel(), codes, 32, n, table);
  const std::vector<float> panel = block.Decode();
  for (int p = 0; p < 32; ++p) {
    for (int j = 0; j < n; ++j) {
      ASSERT_EQ(std::memcmp(&panel[p * n + j], &table[codes[j * 32 + p]], sizeof(float)), 0)
          << "code " << int{codes[j * 32 + p]};
    }
  }
}

}  // namespace
}  // namespace dgms::testing
