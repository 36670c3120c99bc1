// Every matrix kernel that this machine runs: tiles, one-row products. (Packing and decoding: gemm_f32_panel_test.cc.)
#include <gtest/gtest.h>

#include <cmath>
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

class GemmF32 : public ::testing::TestWithParam<const GemmF32Kernel*> {
 protected:
  const GemmF32Kernel& kernel() const { return *GetParam(); }
};

INSTANTIATE_TEST_SUITE_P(Kernels, GemmF32, ::testing::ValuesIn(Kernels()),
                         [](const auto& test) { return std::string(test.param->name); });

// ---- tiles ----

TEST_P(GemmF32, AllRowsAndColumns) {
  for (int rows = 1; rows <= kernel().max_rows; ++rows) {
    for (int n = 1; n <= kernel().max_columns; ++n) {
      GemmF32Tester().rows(rows).n(n).segments(1, 5 + n % 4).output_gap(n % 3).seed(rows * 100 + n).Test(kernel());
    }
  }
}

// More rows than a tile has, in every way of cutting them, with all that a tile may end with.
TEST_P(GemmF32, SeveralTiles) {
  const int max_rows = kernel().max_rows, columns = kernel().max_columns;
  for (int rows = max_rows + 1; rows <= 3 * max_rows + 2; ++rows) {
    for (const int n : {1, columns / 2, columns - 1, columns}) {
      for (const bool unit_scale : {false, true}) {
        for (const bool residual : {false, true}) {
          GemmF32Tester tester;
          tester.rows(rows).n(n).segments(1 + rows % 2, 21).row_gap(rows % 3).output_gap(n % 3).residual(residual);
          if (unit_scale) tester.scales_of_one(true);
          tester.accumulate(residual).seed(rows * 100 + n).Test(kernel());
          if (residual) tester.clamp(-0.5f, 0.5f).Test(kernel());
        }
      }
    }
  }
}

TEST_P(GemmF32, AllLengths) {
  for (int64_t k = 1; k <= 70; ++k) {
    for (const int rows : {1, kernel().max_rows - 1, kernel().max_rows}) {
      GemmF32Tester().rows(rows).n(kernel().max_columns).segments(1, k).seed(k).Test(kernel());
      GemmF32Tester().rows(rows).n(1).segments(1, k).row_gap(k % 5).seed(k + 1).Test(kernel());
    }
  }
}

TEST_P(GemmF32, Segments) {
  for (const int64_t count : {2, 3, 9}) {
    for (const int64_t length : {1, 3, 4, 16, 21}) {
      for (const int rows : {1, 2, kernel().max_rows}) {
        // Overlapping rows (a 3x3 kernel's pixels), touching rows, and rows with a gap (strides).
        for (const int64_t row_gap : {-length + 1, int64_t{0}, int64_t{7}}) {
          GemmF32Tester()
              .rows(rows)
              .n(kernel().max_columns)
              .segments(count, length, 2)
              .row_gap(row_gap)
              .seed(count + length)
              .Test(kernel());
        }
      }
    }
  }
}

TEST_P(GemmF32, BlocksOfK) {
  for (const int n : {1, 2, 3, kernel().max_columns / 2 + 1, kernel().max_columns - 1, kernel().max_columns}) {
    for (int rows = 1; rows <= kernel().max_rows; ++rows) {
      for (const bool accumulate : {false, true}) {
        for (const bool finish : {false, true}) {
          for (const int seed : {0, 1}) {  // the guard touches the output's end, its start
            GemmF32Tester()
                .rows(rows)
                .n(n)
                .segments(2, 9)
                .output_gap(1)
                .accumulate(accumulate)
                .finish(finish)
                .seed(2 * n + seed)
                .Test(kernel());
          }
        }
      }
    }
  }
}

TEST_P(GemmF32, Activations) {
  for (const auto& [min, max] : {std::pair{0.0f, kInfinity}, {0.0f, 6.0f}, {-1.0f, 1.0f}, {-0.1f, 0.1f}}) {
    GemmF32Tester().rows(kernel().max_rows).n(kernel().max_columns).segments(1, 40).clamp(min, max).Test(kernel());
    GemmF32Tester().rows(1).n(3).segments(1, 40).clamp(min, max).Test(kernel());
  }
}

TEST_P(GemmF32, Residual) {
  for (int n = 1; n <= kernel().max_columns; ++n) {
    for (const int rows : {1, 2, kernel().max_rows}) {
      for (const bool accumulate : {false, true}) {
        GemmF32Tester tester;
        tester.rows(rows).n(n).segments(1, 9).output_gap(n % 3).accumulate(accumulate).residual(true).seed(n);
        tester.Test(kernel());
        tester.clamp(0.0f, 0.5f).Test(kernel());
      }
    }
  }
}

// Kernels may leave the product with scales of 1 out, and begin with the bias.
TEST_P(GemmF32, ScalesOfOne) {
  for (int n = 1; n <= kernel().max_columns; n += 5) {
    for (int rows = 1; rows <= kernel().max_rows; ++rows) {
      GemmF32Tester tester;
      tester.rows(rows).n(n).segments(1, 12).residual(n % 2 == 0).accumulate(rows % 2 == 0).seed(n);
      for (const bool told : {true, false}) tester.scales_of_one(told).Test(kernel());
    }
  }
}

TEST_P(GemmF32, LongestBlock) {
  const int64_t k = kPanelFloats / kernel().max_columns;
  GemmF32Tester().rows(kernel().max_rows).n(kernel().max_columns).segments(1, k).Test(kernel());
}

// An output does not depend on the tile that it is computed in, nor on the tiles beside it: bit for bit.
TEST_P(GemmF32, TileDoesNotChangeResults) {
  const int columns = kernel().max_columns, all_rows = 2 * kernel().max_rows + 3;
  const int64_t k = 37;
  Random random(5);
  const std::vector<uint8_t> codes = random.Codes(k * columns, 4);
  const std::vector<float> table = random.Floats(kTableSize), a = random.Floats(k * all_rows);
  const std::vector<float> ones(columns, 1.0f), scale = random.Floats(columns), bias = random.Floats(columns);
  const int64_t segment = 0;
  for (const bool unit_scale : {false, true}) {
    std::vector<float> whole;
    for (int n = columns; n >= 1; --n) {
      const PackedBlock block(kernel(), std::vector<uint8_t>(codes.begin(), codes.begin() + k * n), k, n, table);
      const GuardedBuffer<float> panel(block.Decode(), Flush::kEnd, kAlignment);
      for (int rows = all_rows; rows >= 1; --rows) {
        std::vector<float> c(rows * columns, 0.0f);
        GemmF32Args args = {};
        args.rows = rows;
        args.n = n;
        args.a = a.data();
        args.a_row_stride = k;
        args.segments = &segment;
        args.segment_count = 1;
        args.segment_length = k;
        args.panel = panel.data();
        args.c = c.data();
        args.c_row_stride = columns;
        args.finish = true;
        args.epilogue = {unit_scale ? ones.data() : scale.data(), bias.data(), -kInfinity, kInfinity};
        args.epilogue.unit_scale = unit_scale;
        kernel().gemm(args);
        if (whole.empty()) whole = c;
        for (int r = 0; r < rows; ++r) {
          ASSERT_EQ(std::memcmp(&c[r * columns], &whole[r * columns], n * sizeof(float)), 0)
              << "rows " << rows << " n " << n << " row " << r << (unit_scale ? " without scales" : "");
        }
      }
    }
  }
}

// ---- NaN, infinities ----

// Puts `value` at one place of the input or the table and expects every activation range to let it through.
TEST_P(GemmF32, NanAndInfinityPropagate) {
  const int n = kernel().max_columns, rows = kernel().max_rows;
  const int64_t k = 11, segment = 0;
  const std::vector<float> ones(n, 1.0f), zeros(n, 0.0f);
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    for (const auto& [min, max] : {std::pair{-kInfinity, kInfinity}, {0.0f, kInfinity}, {0.0f, 6.0f}, {-1.0f, 1.0f}}) {
      std::vector<float> a(rows * k, 1.0f), c(rows * n, -7.0f);
      a[(rows - 1) * k + 5] = bad;
      const PackedBlock block(kernel(), std::vector<uint8_t>(k * n, 3), k, n, std::vector<float>(kTableSize, 0.25f));
      const GuardedBuffer<float> panel(block.Decode(), Flush::kEnd, kAlignment);
      kernel().gemm({rows,
                     n,
                     a.data(),
                     k,
                     &segment,
                     1,
                     k,
                     panel.data(),
                     c.data(),
                     n,
                     false,
                     true,
                     {ones.data(), zeros.data(), min, max}});
      std::vector<float> y(n, -7.0f);
      const GemvF32Args gemv = {
          &a[(rows - 1) * k], k, n, block.packed(), block.tables(), y.data(), {ones.data(), zeros.data(), min, max}};
      kernel().gemv(gemv);
      for (int j = 0; j < n; ++j) {
        for (const float got : {c[(rows - 1) * n + j], y[j]}) {
          if (std::isnan(bad)) {
            ASSERT_TRUE(std::isnan(got)) << "clamped to " << got;
          } else {
            ASSERT_EQ(got, std::min(max, std::max(min, bad)));
          }
        }
        for (int r = 0; r + 1 < rows; ++r)
          ASSERT_EQ(c[r * n + j], std::min(max, std::max(min, 0.25f * k))) << "other rows";
      }
    }
  }
  // A zero activation meets an infinite weight: NaN, as the arithmetic says (see kernel.h).
  const PackedBlock block(kernel(), std::vector<uint8_t>(k * n, 1), k, n, std::vector<float>(kTableSize, kInfinity));
  const GuardedBuffer<float> panel(block.Decode(), Flush::kEnd, kAlignment);
  const std::vector<float> a(k, 0.0f);
  std::vector<float> c(n, 0.0f);
  kernel().gemm({1,
                 n,
                 a.data(),
                 k,
                 &segment,
                 1,
                 k,
                 panel.data(),
                 c.data(),
                 n,
                 false,
                 true,
                 {ones.data(), zeros.data(), 0.0f, 6.0f}});
  for (int j = 0; j < n; ++j) ASSERT_TRUE(std::isnan(c[j]));
}

// ---- one row ----

TEST_P(GemmF32, Gemv) {
  for (int64_t k = 1; k <= 300; k += k < 40 ? 1 : 37) {
    for (int n = 1; n <= kernel().max_columns; n += 1 + k % 3) {
      for (const int tables : {1, n}) {
        Random random(k * 1000 + n);
        std::vector<int32_t> table_of_column;
        for (int j = 0; tables > 1 && j < n; ++j) table_of_column.push_back(j);
        const PackedBlock block(kernel(), random.Codes(k * n, 4), k, n, random.Floats(tables * kTableSize),
                                table_of_column);
        const GuardedBuffer<float> x(random.Floats(k)), scale(random.Floats(block.width())),
            bias(random.Floats(block.width())), residual(random.Floats(n));
        const bool residuals = (k + n) % 2 == 0;
        GuardedBuffer<float> y(n, k % 2 == 0 ? Flush::kEnd : Flush::kStart);
        const GemvF32Args args = {x.data(),
                                  k,
                                  n,
                                  block.packed(),
                                  block.tables(),
                                  y.data(),
                                  {scale.data(), bias.data(), -2.0f, 2.0f, residuals ? residual.data() : nullptr, 0}};
        kernel().gemv(args);
        EXPECT_TRUE(y.SurroundingsIntact());
        for (int j = 0; j < n; ++j) {
          double sum = 0, magnitude = 0;
          for (int64_t p = 0; p < k; ++p) {
            sum += static_cast<double>(x[p]) * block.Weight(p, j);
            magnitude += std::abs(static_cast<double>(x[p]) * block.Weight(p, j));
          }
          const double added = residuals ? residual[j] : 0.0;
          const double expected = std::min(2.0, std::max(-2.0, sum * scale[j] + bias[j] + added));
          magnitude = magnitude * std::abs(scale[j]) + std::abs(bias[j]) + std::abs(added);
          ASSERT_NEAR(y[j], expected, SumTolerance(magnitude)) << "k " << k << " n " << n << " column " << j;
        }
      }
    }
  }
}

// ---- across kernels ----

// All kernels decode the same codes to the same floats, and their tiles agree within twice the error of one.
TEST(GemmF32Family, KernelsAgree) {
  const GemmF32Kernel& portable = *KernelsFor("portable")->gemm;
  for (const GemmF32Kernel* other : Kernels()) {
    for (const int64_t length : {3, 48, 200}) {
      const GemmF32Tester tester = GemmF32Tester().rows(4).n(8).segments(3, length).row_gap(2).seed(length);
      const std::vector<float> a = tester.Test(portable), b = tester.Test(*other);
      ASSERT_EQ(a.size(), b.size());
      // Inputs and weights are below 1, scales below 2: sum|w x| is at most 2 k.
      for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 2 * SumTolerance(2.0 * 3 * length));
    }
  }
}

}  // namespace
}  // namespace dgms::testing
