// What becomes of int8 sums, for every output kernel that this machine runs: exact against plain arithmetic.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernels/gemm_s8_tester.h"
#include "kernels/requantize_oracle.h"
#include "kernels/select_kernel.h"

namespace dgms::testing {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNotANumber = std::numeric_limits<float>::quiet_NaN();

std::vector<const OutputS8Kernel*> Kernels() {
  int count = 0;
  const OutputS8Kernel* const* kernels = OutputS8Kernels(&count);
  return {kernels, kernels + count};
}

class OutputS8 : public ::testing::TestWithParam<const OutputS8Kernel*> {};

INSTANTIATE_TEST_SUITE_P(Kernels, OutputS8, ::testing::ValuesIn(Kernels()),
                         [](const auto& test) { return std::string(test.param->name); });

std::vector<int32_t> Sums(Random& random, int64_t count, int64_t largest) {
  std::vector<int32_t> sums(static_cast<size_t>(count));
  for (int32_t& sum : sums) sum = static_cast<int32_t>(random.Int(-largest, largest));
  return sums;
}

void CheckRequantize(const OutputS8Kernel& kernel, int rows, int n, int64_t largest, int left, int right,
                     uint64_t seed) {
  SCOPED_TRACE(std::string(kernel.name) + " rows " + std::to_string(rows) + " n " + std::to_string(n) + " sums to " +
               std::to_string(largest) + " left " + std::to_string(left) + " right " + std::to_string(right));
  Random random(seed);
  const int64_t sums_stride = n + seed % 3, output_stride = n + seed % 2;
  const GuardedBuffer<int32_t> sums(Sums(random, (rows - 1) * sums_stride + n, largest));
  std::vector<int32_t> bias = Sums(random, n, largest / 4), multiplier(n), lefts(n), rights(n);
  for (int j = 0; j < n; ++j) {
    // Powers of two make ties; the largest multiplier is all ones.
    multiplier[j] = random.Int(0, 3) == 0   ? 1 << 30
                    : random.Int(0, 9) == 0 ? INT32_MAX
                                            : static_cast<int32_t>(random.Int(1 << 30, INT32_MAX));
    lefts[j] = static_cast<int32_t>(random.Int(0, left));
    rights[j] = lefts[j] > 0 ? 0 : static_cast<int32_t>(random.Int(right > 4 ? right - 4 : 0, right));
  }
  const auto bias_at = Columns(bias), multiplier_at = Columns(multiplier), left_at = Columns(lefts),
             right_at = Columns(rights);
  for (const int32_t zero : {-128, 0, 127}) {
    const std::pair<int32_t, int32_t> ranges[] = {{-128, 127}, {-128, -128}, {127, 127}, {-3, 90}, {zero, 127}};
    const auto [min, max] = ranges[random.Int(0, 4)];
    GuardedBuffer<int8_t> output((rows - 1) * output_stride + n, seed % 2 == 0 ? Flush::kEnd : Flush::kStart);
    kernel.requantize({rows, n, sums.data(), sums_stride, bias_at.data(), multiplier_at.data(), left_at.data(),
                       right_at.data(), zero, min, max, output.data(), output_stride});
    EXPECT_TRUE(output.SurroundingsIntact());
    for (int r = 0; r < rows; ++r) {
      for (int j = 0; j < n; ++j) {
        ASSERT_EQ(output[r * output_stride + j], ExpectedRequantized(sums[r * sums_stride + j], bias[j], multiplier[j],
                                                                     lefts[j], rights[j], zero, min, max))
            << "row " << r << " column " << j << " sum " << sums[r * sums_stride + j] << " bias " << bias[j]
            << " multiplier " << multiplier[j] << " left " << lefts[j] << " right " << rights[j] << " zero " << zero;
      }
    }
  }
}

TEST_P(OutputS8, RequantizeAllSizes) {
  for (int n = 1; n <= 70; ++n) {
    for (const int rows : {1, 2, 7}) CheckRequantize(*GetParam(), rows, n, 100000, 0, 12, n * 10 + rows);
  }
}

TEST_P(OutputS8, RequantizeAllShifts) {
  for (int right = 0; right <= 31; ++right) {
    for (const int64_t largest : {int64_t{300}, int64_t{100000}, int64_t{INT32_MAX}}) {
      CheckRequantize(*GetParam(), 3, 16, largest, 0, right, right + 1);
    }
  }
  for (int left = 1; left <= 30; ++left) CheckRequantize(*GetParam(), 3, 16, 100000, left, 2, left);
}

// Every small sum, halves among them.
TEST_P(OutputS8, RequantizeTies) {
  std::vector<int32_t> values;
  for (int32_t sum = -600; sum <= 600; ++sum) values.push_back(sum);
  const int rows = static_cast<int>(values.size());
  const GuardedBuffer<int32_t> sums(values);
  for (int right = 0; right <= 5; ++right) {
    const auto bias = Columns<int32_t>({0}), multiplier = Columns<int32_t>({1 << 30}), left = Columns<int32_t>({0}),
               shift = Columns<int32_t>({right});
    GuardedBuffer<int8_t> output(rows);
    GetParam()->requantize({rows, 1, sums.data(), 1, bias.data(), multiplier.data(), left.data(), shift.data(), 0, -128,
                            127, output.data(), 1});
    for (int r = 0; r < rows; ++r) {
      ASSERT_EQ(output[r], ExpectedRequantized(values[r], 0, 1 << 30, 0, right, 0, -128, 127))
          << values[r] << " right " << right;
    }
  }
}

// Sums chosen so that the result is on the edge between two integers: the last one that gives a value and the first one
// that gives the next, for every value that 8 bits can show, with their neighbours. A kernel that rounds once, or in
// float alone, fails here.
TEST_P(OutputS8, RequantizeEdges) {
  constexpr int kColumns = 51;  // two vectors of columns together, one alone, and a part of one
  for (int right = 0; right <= 17; ++right) {
    Random random(right + 100);
    std::vector<int32_t> multiplier(kColumns);
    for (int32_t& m : multiplier) m = static_cast<int32_t>(random.Int(1 << 30, INT32_MAX));
    multiplier[3] = 1 << 30;  // exact halves
    multiplier[5] = INT32_MAX;
    std::vector<int32_t> sums;
    for (int value = -256; value <= 256; value += 1 + right % 3) {
      int64_t edge[kColumns];
      for (int j = 0; j < kColumns; ++j) {
        // The smallest sum that gives `value` or more: results never decrease with the sum.
        int64_t low = INT32_MIN, high = INT32_MAX;
        while (low < high) {
          const int64_t middle = FloorShift(low + high, 1);
          const double h = static_cast<double>(FloorShift(middle * multiplier[j] + (int64_t{1} << 30), 31));
          if (std::round(h / std::pow(2.0, right)) >= value) {
            high = middle;
          } else {
            low = middle + 1;
          }
        }
        edge[j] = low;
      }
      for (const int near : {-2, -1, 0, 1}) {
        for (const int64_t sum : edge) sums.push_back(Wrapped(sum + near));
      }
    }
    const int rows = static_cast<int>(sums.size()) / kColumns;
    const auto bias = Columns(std::vector<int32_t>(kColumns, 0)), left = Columns(std::vector<int32_t>(kColumns, 0)),
               shift = Columns(std::vector<int32_t>(kColumns, right)), multipliers = Columns(multiplier);
    const GuardedBuffer<int32_t> x(sums);
    // Clamped at the zero point (ReLU) or not: there kernels may round negative numbers as they like.
    const std::pair<int32_t, int32_t> zero_min[] = {{-128, -128}, {0, -128}, {0, 0}, {20, 25}, {127, -128}};
    for (const auto& [zero, min] : zero_min) {
      GuardedBuffer<int8_t> output(static_cast<int64_t>(sums.size()));
      GetParam()->requantize({rows, kColumns, x.data(), kColumns, bias.data(), multipliers.data(), left.data(),
                              shift.data(), zero, min, 127, output.data(), kColumns});
      for (int i = 0; i < rows * kColumns; ++i) {
        ASSERT_EQ(output[i], ExpectedRequantized(sums[i], 0, multiplier[i % kColumns], 0, right, zero, min, 127))
            << "sum " << sums[i] << " multiplier " << multiplier[i % kColumns] << " right " << right << " zero " << zero
            << " min " << min;
      }
    }
  }
}

TEST_P(OutputS8, Rescale) {
  for (int n = 1; n <= 33; ++n) {
    for (const int64_t largest : {int64_t{600}, int64_t{1000000}, int64_t{INT32_MAX}}) {
      Random random(n);
      const int rows = 1 + n % 4;
      const int64_t sums_stride = n + n % 3, output_stride = n + n % 2;
      const GuardedBuffer<int32_t> sums(Sums(random, (rows - 1) * sums_stride + n, largest));
      std::vector<int32_t> bias = Sums(random, n, largest / 4);
      std::vector<double> factor(n);
      for (double& f : factor) {
        // Halves make ties; 0.49999999999999994 is the number below one half that a naive x + 0.5 rounds up.
        const int64_t kind = random.Int(0, 3);
        f = kind == 0   ? 0.5
            : kind == 1 ? 0.49999999999999994
            : kind == 2 ? 200.0 / static_cast<double>(largest) * static_cast<double>(random.Int(1, 1000)) / 700
                        : std::pow(2.0, static_cast<double>(random.Int(-40, 29)));
      }
      const auto bias_at = Columns(bias);
      const auto factor_at = Columns(factor);
      for (const int32_t zero : {-128, 3, 127}) {
        GuardedBuffer<int8_t> output((rows - 1) * output_stride + n, n % 2 == 0 ? Flush::kEnd : Flush::kStart);
        GetParam()->rescale({rows, n, sums.data(), sums_stride, bias_at.data(), factor_at.data(), zero, -120, 127,
                             output.data(), output_stride});
        EXPECT_TRUE(output.SurroundingsIntact());
        for (int r = 0; r < rows; ++r) {
          for (int j = 0; j < n; ++j) {
            const double x = Wrapped(int64_t{sums[r * sums_stride + j]} + bias[j]) * factor[j];
            const double y = std::round(std::min(1073741824.0, std::max(-1073741824.0, x))) + zero;
            ASSERT_EQ(output[r * output_stride + j], std::min(127.0, std::max(-120.0, y)))
                << "sum " << sums[r * sums_stride + j] << " bias " << bias[j] << " factor " << factor[j];
          }
        }
      }
    }
  }
}

// Rows that share a quantisation, from the middle of one that the rows before had; with a residual or without.
void CheckDequantize(const OutputS8Kernel& kernel, int n, int rows, int64_t rows_each, uint64_t seed) {
  SCOPED_TRACE(std::string(kernel.name) + " rows " + std::to_string(rows) + " n " + std::to_string(n) + " alike " +
               std::to_string(rows_each) + " seed " + std::to_string(seed));
  Random random(seed);
  const int64_t first_rows = random.Int(1, rows_each);
  const int64_t entries = 1 + (rows - std::min<int64_t>(rows, first_rows) + rows_each - 1) / rows_each;
  const int64_t sums_stride = n + n % 3, output_stride = n + n % 2, residual_stride = n + n % 4;
  const GuardedBuffer<int32_t> sums(Sums(random, (rows - 1) * sums_stride + n, INT32_MAX));
  const std::vector<int32_t> column_sum = Sums(random, n, 1000000);
  const std::vector<float> scale = random.Floats(n), bias = random.Floats(n);
  std::vector<float> row_scale = random.Floats(entries, 0.0f, 1.0f);
  if (n % 4 == 0) row_scale[0] = kNotANumber;
  const GuardedBuffer<float> row_scales(row_scale);
  const GuardedBuffer<int32_t> row_zeros(Sums(random, entries, 255));
  const GuardedBuffer<float> residual(random.Floats((rows - 1) * residual_stride + n, -1e7f, 1e7f));
  const auto column_sums = Columns(column_sum);
  const auto scales = Columns(scale), biases = Columns(bias);
  const bool adds = seed % 2 == 1;
  const float min = n % 2 == 0 ? 0.0f : -kInf, max = n % 3 == 0 ? 6.0f : kInf;
  GuardedBuffer<float> output((rows - 1) * output_stride + n, n % 2 == 0 ? Flush::kEnd : Flush::kStart);
  kernel.dequantize({{rows, n, sums.data(), sums_stride, row_zeros.data(), row_scales.data(), first_rows, rows_each,
                      column_sums.data(), scales.data(), biases.data(), output_stride},
                     min,
                     max,
                     output.data(),
                     adds ? residual.data() : nullptr,
                     residual_stride});
  EXPECT_TRUE(output.SurroundingsIntact());
  int64_t entry = 0, left = first_rows;
  for (int r = 0; r < rows; ++r, --left) {
    if (left == 0) {
      ++entry;
      left = rows_each;
    }
    for (int j = 0; j < n; ++j) {
      const int32_t sum = Wrapped(sums[r * sums_stride + j] - int64_t{row_zeros[entry]} * column_sum[j]);
      // Every step rounded on its own, so that all instruction sets agree bit for bit.
      const volatile float factor = row_scale[entry] * scale[j];
      const volatile float product = static_cast<float>(sum) * factor;
      const volatile float moved = product + bias[j];
      const volatile float added = adds ? moved + residual[r * residual_stride + j] : moved;
      const float y = added;
      const float got = output[r * output_stride + j];
      if (std::isnan(y)) {
        ASSERT_TRUE(std::isnan(got)) << "clamped to " << got;
      } else {
        ASSERT_EQ(got, std::min(max, std::max(min, y))) << "row " << r << " column " << j;
      }
    }
  }
}

TEST_P(OutputS8, Dequantize) {
  for (int n = 1; n <= 49; ++n) {
    for (const int64_t rows_each : {int64_t{1}, int64_t{2}, int64_t{5}, int64_t{1} << 40}) {
      for (const uint64_t seed : {2 * n, 2 * n + 1}) {
        CheckDequantize(*GetParam(), n, 1 + n % 13, rows_each, seed);
        if (HasFatalFailure()) return;
      }
    }
  }
}

void CheckRescaleRows(const OutputS8Kernel& kernel, int n, int rows, int64_t rows_each, uint64_t seed) {
  SCOPED_TRACE(std::string(kernel.name) + " rows " + std::to_string(rows) + " n " + std::to_string(n) + " alike " +
               std::to_string(rows_each) + " seed " + std::to_string(seed));
  Random random(seed);
  const int64_t first_rows = random.Int(1, rows_each);
  const int64_t entries = 1 + (rows - std::min<int64_t>(rows, first_rows) + rows_each - 1) / rows_each;
  const int64_t sums_stride = n + n % 3, output_stride = n + n % 2;
  // Sums and factors of outputs that mostly fit; with other seeds whole numbers and halves, or any sums at all.
  const int64_t largest = seed % 3 == 0 ? 600 : seed % 3 == 1 ? 100000 : INT32_MAX;
  const GuardedBuffer<int32_t> sums(Sums(random, (rows - 1) * sums_stride + n, largest));
  const std::vector<int32_t> column_sum = Sums(random, n, largest / 300);
  std::vector<float> scale =
      random.Floats(n, -400.0f / static_cast<float>(largest), 400.0f / static_cast<float>(largest));
  std::vector<float> bias = random.Floats(n, -20.0f, 200.0f), row_scale = random.Floats(entries, 0.0f, 1.0f);
  if (largest == 600) {
    std::fill(scale.begin(), scale.end(), 0.5f);
    std::fill(row_scale.begin(), row_scale.end(), 1.0f);
    for (float& value : bias) value = std::round(value);
  }
  if (n % 4 == 0) row_scale[0] = kNotANumber;
  if (n % 4 == 1) row_scale[0] = 1e30f;
  const GuardedBuffer<float> row_scales(row_scale);
  const GuardedBuffer<int32_t> row_zeros(Sums(random, entries, 255));
  const auto column_sums = Columns(column_sum);
  const auto scales = Columns(scale), biases = Columns(bias);
  GuardedBuffer<int8_t> output((rows - 1) * output_stride + n, n % 2 == 0 ? Flush::kEnd : Flush::kStart);
  kernel.rescale_rows({{rows, n, sums.data(), sums_stride, row_zeros.data(), row_scales.data(), first_rows, rows_each,
                        column_sums.data(), scales.data(), biases.data(), output_stride},
                       output.data()});
  EXPECT_TRUE(output.SurroundingsIntact());
  int64_t entry = 0, left = first_rows;
  for (int r = 0; r < rows; ++r, --left) {
    if (left == 0) {
      ++entry;
      left = rows_each;
    }
    for (int j = 0; j < n; ++j) {
      const int32_t sum = Wrapped(sums[r * sums_stride + j] - int64_t{row_zeros[entry]} * column_sum[j]);
      // Every step rounded on its own, so that all instruction sets agree bit for bit.
      const volatile float factor = row_scale[entry] * scale[j];
      const volatile float product = static_cast<float>(sum) * factor;
      const volatile float y = product + bias[j];
      const double near = std::isnan(y) ? 0 : std::nearbyint(static_cast<double>(y));
      ASSERT_EQ(output[r * output_stride + j], std::min(255.0, std::max(0.0, near)) - 128)
          << "row " << r << " column " << j << ": " << y;
    }
  }
}

TEST_P(OutputS8, RescaleRows) {
  for (int n = 1; n <= 70; ++n) {
    for (const int64_t rows_each : {int64_t{1}, int64_t{2}, int64_t{5}, int64_t{1} << 40}) {
      for (const uint64_t seed : {3 * n, 3 * n + 1, 3 * n + 2}) {
        CheckRescaleRows(*GetParam(), n, 1 + n % 13, rows_each, seed);
        if (HasFatalFailure()) return;
      }
    }
  }
}

}  // namespace
}  // namespace dgms::testing
