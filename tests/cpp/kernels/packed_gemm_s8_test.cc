// The int8 matrix kernels that pack rows first: packing, sums and outputs against plain loops, all buffers exact
// between guard pages.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "kernels/gemm_s8_tester.h"
#include "kernels/select_kernel.h"

namespace dgms::testing {
namespace {

std::vector<const GemmS8Kernel*> Kernels() {
  int count = 0;
  const GemmS8Kernel* const* all = GemmS8Kernels(&count);
  std::vector<const GemmS8Kernel*> kernels;
  std::copy_if(all, all + count, std::back_inserter(kernels),
               [](const GemmS8Kernel* kernel) { return kernel->packed != nullptr; });
  return kernels;
}

class PackedGemmS8Test : public ::testing::TestWithParam<const GemmS8Kernel*> {
 protected:
  const GemmS8Kernel& kernel() const { return *GetParam(); }
  const PackedGemmS8& packed() const { return *kernel().packed; }
};

INSTANTIATE_TEST_SUITE_P(Kernels, PackedGemmS8Test, ::testing::ValuesIn(Kernels()),
                         [](const auto& test) { return std::string(test.param->name); });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(PackedGemmS8Test);  // most instruction sets have none

struct Case {
  int rows = 1, n = 1;
  int64_t segments = 1, length = 1, gap = 0;
  int64_t row_stride = 1;
  int64_t first_block = 0;  // places that are multiplied by themselves first; 0: all at once
  int8_t activation = 0, weight = 0;
  bool extremes = false;  // all activations and weights are these
};

class Product {
 public:
  Product(const GemmS8Kernel& kernel, const Case& c, uint64_t seed)
      : kernel_(kernel),
        c_(c),
        random_(seed),
        flush_(seed % 2 == 0 ? Flush::kEnd : Flush::kStart),
        k_(c.segments * c.length),
        pitch_((c.rows - 1) * c.row_stride + c.length + c.gap),
        input_(Activations(), flush_),
        block_(kernel, random_.Codes(k_ * c.n, 4), 1, k_, c.n,
               c.extremes ? std::vector<int8_t>(kTableSize, c.weight) : RandomInt8(random_, kTableSize, -127)),
        tile_bytes_(kernel.packed->tile_rows * RoundUp(k_, kPackedPlaces)),
        packed_(CeilDivision(c.rows, kernel.packed->tile_rows) * tile_bytes_, Flush::kEnd, 16) {}

  void Test() {
    Pack();
    const std::vector<int8_t> decoded = block_.Decode();
    const GuardedBuffer<int8_t> panel(decoded, Flush::kEnd, kAlignment);
    GuardedBuffer<int32_t> c(c_.rows * block_.width(), Flush::kEnd, kAlignment);
    PackedGemmS8Args args = {};
    args.rows = c_.rows;
    args.width = block_.width();
    args.packed = packed_.data();
    args.tile_stride = tile_bytes_;
    args.panel = panel.data();
    args.c = c.data();
    const int64_t places = RoundUp(k_, kernel_.k_unit);
    args.places = places;
    if (c_.first_block > 0) {
      args.places = c_.first_block;
      kernel_.packed->gemm(args);
      EXPECT_TRUE(c.SurroundingsIntact());
      args.packed += c_.first_block * kernel_.packed->tile_rows;
      args.panel += c_.first_block * block_.width();
      args.places = places - c_.first_block;
      args.accumulate = true;
    }
    if (c_.n == block_.width()) {
      TestRequantize(args);
      for (const int64_t rows_each : {int64_t{1}, int64_t{4}, int64_t{9}, int64_t{1} << 40}) {
        TestByRows(args, rows_each);
      }
    }
    kernel_.packed->gemm(args);
    EXPECT_TRUE(c.SurroundingsIntact());
    for (int r = 0; r < c_.rows; ++r) {
      for (int j = 0; j < c_.n; ++j) ASSERT_EQ(c[r * block_.width() + j], Sum(r, j)) << "row " << r << " column " << j;
    }
  }

 private:
  static int64_t CeilDivision(int64_t a, int64_t b) { return (a + b - 1) / b; }

  std::vector<int8_t> Activations() {
    const int64_t size = (c_.segments - 1) * pitch_ + (c_.rows - 1) * c_.row_stride + c_.length;
    return c_.extremes ? std::vector<int8_t>(size, c_.activation) : RandomInt8(random_, size);
  }

  void Pack() {
    std::vector<int64_t> offsets;
    for (int64_t s = 0; s < c_.segments; ++s) offsets.push_back(s * pitch_);
    const GuardedBuffer<int64_t> segments(offsets);
    const int tile_rows = kernel_.packed->tile_rows;
    for (int first = 0; first < c_.rows; first += tile_rows) {
      std::vector<const int8_t*> starts;
      for (int r = first; r < std::min(c_.rows, first + tile_rows); ++r) {
        starts.push_back(input_.data() + r * c_.row_stride);
      }
      const GuardedBuffer<const int8_t*> row(starts);
      // Each tile by itself between guards, then to where it belongs.
      GuardedBuffer<int8_t> tile(tile_bytes_, Flush::kEnd, 16);
      kernel_.packed->pack(
          {static_cast<int>(starts.size()), row.data(), segments.data(), c_.segments, c_.length, tile.data()});
      EXPECT_TRUE(tile.SurroundingsIntact());
      const std::vector<int8_t> values = tile.values();
      std::copy(values.begin(), values.end(), packed_.data() + first / tile_rows * tile_bytes_);
    }
  }

  int64_t Sum(int row, int column) const {
    int64_t sum = 0;
    for (int64_t s = 0; s < c_.segments; ++s) {
      for (int64_t p = 0; p < c_.length; ++p) {
        sum += int64_t{input_[s * pitch_ + row * c_.row_stride + p]} * block_.Weight(s * c_.length + p, column);
      }
    }
    return sum;
  }

  void TestRequantize(const PackedGemmS8Args& args) {
    int64_t usual = 0;
    for (int r = 0; r < c_.rows; ++r) {
      for (int j = 0; j < c_.n; ++j) usual = std::max(usual, std::abs(Sum(r, j)));
    }
    const SimpleColumns columns(random_, c_.n, usual);
    const int64_t stride = c_.n + random_.Int(0, 3);
    GuardedBuffer<int8_t> output((c_.rows - 1) * stride + c_.n, flush_);
    const std::vector<int8_t> before = output.values();
    kernel_.packed->requantize(args, columns.Args(c_.rows, output.data(), stride));
    EXPECT_TRUE(output.SurroundingsIntact());
    for (int64_t i = 0; i < output.size(); ++i) {
      const int r = static_cast<int>(i / stride), j = static_cast<int>(i % stride);
      if (j >= c_.n) {
        ASSERT_EQ(output[i], before[i]) << "behind row " << r;
        continue;
      }
      const bool narrows = DGMS_AARCH64 && !args.accumulate && c_.n == kernel_.max_columns;
      ASSERT_TRUE(columns.Allows(j, Sum(r, j), output[i], narrows))
          << "output: row " << r << " column " << j << ": " << +output[i] << ", not " << columns.Expected(j, Sum(r, j));
    }
  }

  // Against the portable kernel of sums in memory (tested by itself), bit for bit.
  // Both ways of sums whose rows have zero points and scales of their own.
  void TestByRows(const PackedGemmS8Args& args, int64_t rows_each) {
    const int n = c_.n, rows = c_.rows;
    const int64_t first_rows = random_.Int(1, std::min<int64_t>(rows_each, 20));
    const int64_t entries = 1 + (rows - std::min<int64_t>(rows, first_rows) + rows_each - 1) / rows_each;
    std::vector<int32_t> zero(entries), column_sum(n), sums;
    for (int32_t& value : zero) value = static_cast<int32_t>(random_.Int(-128, 255));
    for (int32_t& value : column_sum) value = static_cast<int32_t>(random_.Int(-1000000, 1000000));
    for (int r = 0; r < rows; ++r) {
      for (int j = 0; j < n; ++j) sums.push_back(static_cast<int32_t>(Sum(r, j)));
    }
    const GuardedBuffer<int32_t> zeros(zero);
    const GuardedBuffer<float> row_scale(random_.Floats(entries, 0.0f, 1.0f));
    const auto column_sums = Columns(column_sum);
    const auto column_scale = Columns(random_.Floats(n)), bias = Columns(random_.Floats(n));
    // Outputs of int8 go from 0 to 255, so most sums come to some of these; the first column has none but NaN.
    std::vector<float> small = random_.Floats(n, 0.0f, 3e-6f), middle = random_.Floats(n, 0.0f, 255.0f);
    small[0] = std::numeric_limits<float>::quiet_NaN();
    const auto small_scale = Columns(small), middle_bias = Columns(middle);
    ByRowsArgs by_rows = {};
    by_rows.rows = rows;
    by_rows.n = n;
    by_rows.sums = sums.data();
    by_rows.sums_row_stride = n;
    by_rows.zero = zeros.data();
    by_rows.scale = row_scale.data();
    by_rows.first_rows = first_rows;
    by_rows.rows_each = rows_each;
    by_rows.column_sum = column_sums.data();
    by_rows.column_scale = column_scale.data();
    by_rows.bias = bias.data();
    by_rows.output_row_stride = n + random_.Int(0, 3);
    TestDequantize(args, by_rows);
    by_rows.column_scale = small_scale.data();
    by_rows.bias = middle_bias.data();
    TestRescaleRows(args, by_rows);
  }

  // Calls run(got, expected), which fill both, and compares them.
  template <typename T, typename Run>
  void Compare(const ByRowsArgs& by_rows, const Run& run) {
    const int64_t size = (by_rows.rows - 1) * by_rows.output_row_stride + by_rows.n;
    GuardedBuffer<T> got(size, flush_), expected(size);
    run(got.data(), expected.data());
    EXPECT_TRUE(got.SurroundingsIntact());
    for (int64_t i = 0; i < size; ++i) {
      ASSERT_EQ(std::memcmp(&got[i], &expected[i], sizeof(T)), 0)
          << "output " << i << " of rows of " << by_rows.output_row_stride << ": " << +got[i] << " instead of "
          << +expected[i] << ", rows alike " << by_rows.first_rows << ", then " << by_rows.rows_each;
    }
  }

  void TestDequantize(const PackedGemmS8Args& args, const ByRowsArgs& by_rows) {
    const int64_t residual_stride = c_.n + random_.Int(0, 3);
    const GuardedBuffer<float> residual(random_.Floats((c_.rows - 1) * residual_stride + c_.n, -1e6f, 1e6f));
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    DequantizeArgs output = {};
    static_cast<ByRowsArgs&>(output) = by_rows;
    output.min = random_.Coin() ? 0.0f : -kInfinity;
    output.max = random_.Coin() ? 6.0f : kInfinity;
    output.residual = random_.Coin() ? residual.data() : nullptr;
    output.residual_row_stride = residual_stride;
    Compare<float>(by_rows, [&](float* got, float* expected) {
      output.output = expected;
      KernelsFor("portable")->output_s8->dequantize(output);
      output.sums = nullptr;
      output.output = got;
      kernel_.packed->dequantize(args, output);
    });
  }

  void TestRescaleRows(const PackedGemmS8Args& args, const ByRowsArgs& by_rows) {
    Compare<int8_t>(by_rows, [&](int8_t* got, int8_t* expected) {
      KernelsFor("portable")->output_s8->rescale_rows({by_rows, expected});
      RescaleRowsArgs output = {by_rows, got};
      output.sums = nullptr;
      kernel_.packed->rescale_rows(args, output);
    });
  }

  const GemmS8Kernel& kernel_;
  const Case c_;
  Random random_;
  const Flush flush_;
  const int64_t k_, pitch_;
  const GuardedBuffer<int8_t> input_;
  const PackedBlockS8 block_;
  const int64_t tile_bytes_;
  GuardedBuffer<int8_t> packed_;
};

void Check(const GemmS8Kernel& kernel, const Case& c, uint64_t seed = 1) {
  SCOPED_TRACE(std::string(kernel.name) + " rows " + std::to_string(c.rows) + " n " + std::to_string(c.n) +
               " segments " + std::to_string(c.segments) + "x" + std::to_string(c.length) + " row stride " +
               std::to_string(c.row_stride) + " first block " + std::to_string(c.first_block) + " seed " +
               std::to_string(seed));
  Product(kernel, c, seed).Test();
}

TEST_P(PackedGemmS8Test, FitsTheFrame) {
  EXPECT_GE(packed().tile_rows, 1);
  EXPECT_LE(packed().tile_rows, kMaxPackedRows);
  EXPECT_EQ(kPackedPlaces % kernel().k_unit, 0);
  EXPECT_FALSE(kernel().flip) << "rows are packed as they are";
}

TEST_P(PackedGemmS8Test, AllRowsAndColumns) {
  for (int rows = 1; rows <= 3 * packed().tile_rows; ++rows) {
    for (int n = 1; n <= kernel().max_columns; ++n) {
      Case c;
      c.rows = rows;
      c.n = n;
      c.length = 8 * (1 + n % 7);
      c.row_stride = c.length + rows % 3;
      Check(kernel(), c, rows * 100 + n);
    }
  }
}

TEST_P(PackedGemmS8Test, AllLengthsOfSegments) {
  for (int64_t length = 1; length <= 72; ++length) {
    for (const int64_t segments : {1, 3, 7}) {
      Case c;
      c.rows = packed().tile_rows + 1;
      c.n = kernel().max_columns;
      c.segments = segments;
      c.length = length;
      c.gap = length % 4;
      c.row_stride = 1 + length % 5;  // rows overlap
      Check(kernel(), c, length * 10 + segments);
    }
  }
}

TEST_P(PackedGemmS8Test, LongSegments) {
  for (const int64_t length : {127, 128, 255, 256, 257, 300, 512, 900}) {
    Case c;
    c.rows = 2 * packed().tile_rows - 1;
    c.n = kernel().max_columns;
    c.segments = 2;
    c.length = length;
    c.row_stride = 3;
    Check(kernel(), c, length);
  }
}

TEST_P(PackedGemmS8Test, BlocksOfK) {
  for (const int64_t first : {8, 16, 24, 40, 64}) {
    for (const int64_t rest : {1, 4, 5, 8, 13, 32, 47}) {
      for (const int n : {kernel().column_unit, kernel().max_columns}) {
        Case c;
        c.rows = 2 * packed().tile_rows + 2;
        c.n = n;
        c.length = first + rest;
        c.row_stride = c.length;
        c.first_block = first;
        Check(kernel(), c, first * 100 + rest);
      }
    }
  }
}

TEST_P(PackedGemmS8Test, Extremes) {
  for (const int activation : {-128, 127}) {
    for (const int weight : {-127, 127}) {
      for (const int64_t length : {8, 67, 2048}) {
        Case c;
        c.rows = packed().tile_rows;
        c.n = kernel().max_columns;
        c.length = c.row_stride = length;
        c.extremes = true;
        c.activation = static_cast<int8_t>(activation);
        c.weight = static_cast<int8_t>(weight);
        Check(kernel(), c);
      }
    }
  }
}

}  // namespace
}  // namespace dgms::testing
