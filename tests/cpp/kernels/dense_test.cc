// Every kernel for dense filters that this machine runs, against plain loops, every buffer exact between guard pages.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "kernels/guarded_buffer.h"
#include "kernels/kernel.h"
#include "kernels/pack_weights.h"
#include "kernels/random_values.h"
#include "kernels/select_kernel.h"

namespace dgms::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<const DenseKernel*> Kernels() {
  int count = 0;
  const DenseKernel* const* kernels = DenseKernels(&count);
  return {kernels, kernels + count};
}

// Words at any address, as int8 rows have them.
void CheckTranspose(const DenseKernel& kernel, int64_t k, int n, int64_t gap, uint64_t seed) {
  SCOPED_TRACE(std::string(kernel.name) + " k " + std::to_string(k) + " n " + std::to_string(n) + " gap " +
               std::to_string(gap));
  Random random(seed);
  const Flush flush = seed % 2 == 0 ? Flush::kEnd : Flush::kStart;
  const int64_t row_bytes = 4 * k + gap;
  std::vector<uint8_t> bytes(static_cast<size_t>((n - 1) * row_bytes + 4 * k));
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.Int(0, 255));
  const GuardedBuffer<uint8_t> rows(bytes, flush);
  const int width = static_cast<int>(RoundUp(n, 4));
  GuardedBuffer<uint32_t> panel(k * width, flush);
  kernel.transpose(rows.data(), row_bytes, k, n, width, panel.data());
  EXPECT_TRUE(panel.SurroundingsIntact());
  for (int64_t p = 0; p < k; ++p) {
    for (int j = 0; j < n; ++j) {
      uint32_t word;
      std::memcpy(&word, rows.data() + j * row_bytes + 4 * p, sizeof(word));
      ASSERT_EQ(panel[p * width + j], word) << "place " << p << " column " << j;
    }
  }
}

TEST(DenseKernels, Transpose) {
  Random random(1);
  for (const DenseKernel* kernel : Kernels()) {
    for (int64_t k = 1; k <= 20 && !::testing::Test::HasFailure(); ++k) {
      for (int n = 1; n <= kMaxColumns; ++n) {
        CheckTranspose(*kernel, k, n, random.Int(0, 1) * random.Int(0, 9), static_cast<uint64_t>(k * 64 + n));
      }
    }
    CheckTranspose(*kernel, 147, 32, 0, 2);
    CheckTranspose(*kernel, 256, 17, 3, 3);
  }
}

std::vector<float> DotRows(const DenseKernel& kernel, const std::vector<float>& x, const std::vector<float>& rows,
                           int64_t row_stride, const std::vector<float>& scale, const std::vector<float>& bias,
                           Flush flush, float min = -kInfinity, float max = kInfinity,
                           const std::vector<float>& residual = {}) {
  const int64_t n = static_cast<int64_t>(scale.size());
  const GuardedBuffer<float> xs(x, flush), guarded_rows(rows, flush), scales(scale, flush), biases(bias, flush);
  const GuardedBuffer<float> residuals(residual, flush);
  GuardedBuffer<float> y(n, flush);
  DotRowsF32Args args = {};
  args.x = xs.data();
  args.k = xs.size();
  args.n = static_cast<int>(n);
  args.rows = guarded_rows.data();
  args.row_stride = row_stride;
  args.y = y.data();
  args.epilogue.scale = scales.data();
  args.epilogue.bias = biases.data();
  args.epilogue.min = min;
  args.epilogue.max = max;
  args.epilogue.residual = residual.empty() ? nullptr : residuals.data();
  kernel.dot_rows(args);
  EXPECT_TRUE(y.SurroundingsIntact());
  return y.values();
}

TEST(DenseKernels, DotRows) {
  Random random(2);
  for (const DenseKernel* kernel : Kernels()) {
    for (int64_t k = 1; k <= 140; k += k < 70 ? 1 : 35) {
      for (const int64_t n : {1, 2, 3, 4, 5, 7, 8, 11}) {
        SCOPED_TRACE(std::string(kernel->name) + " k " + std::to_string(k) + " n " + std::to_string(n));
        const int64_t stride = k + random.Int(0, 1) * random.Int(0, 5);
        const std::vector<float> x = random.Floats(k), rows = random.Floats((n - 1) * stride + k);
        const std::vector<float> scale = random.Floats(n, 0.5f, 2.0f), bias = random.Floats(n);
        const std::vector<float> residual = random.Coin() ? random.Floats(n) : std::vector<float>();
        const float min = -0.5f, max = 1.0f;
        const std::vector<float> y = DotRows(*kernel, x, rows, stride, scale, bias,
                                             n % 2 == 0 ? Flush::kEnd : Flush::kStart, min, max, residual);
        for (int64_t j = 0; j < n; ++j) {
          double sum = 0, magnitude = 0;
          for (int64_t p = 0; p < k; ++p) {
            sum += double{x[p]} * rows[j * stride + p];
            magnitude += std::abs(double{x[p]} * rows[j * stride + p]);
          }
          const double added = residual.empty() ? 0.0 : residual[j];
          const double expected = std::fmin(std::fmax(sum * scale[j] + bias[j] + added, double{min}), double{max});
          ASSERT_NEAR(y[j], expected, SumTolerance(magnitude * scale[j] + std::abs(bias[j]) + std::abs(added)))
              << "output " << j;
        }
      }
    }
  }
}

// An output does not depend on which other rows are computed with it.
TEST(DenseKernels, DotRowsOneByOne) {
  Random random(3);
  const int64_t k = 77, n = 7;
  const std::vector<float> x = random.Floats(k), rows = random.Floats(n * k);
  const std::vector<float> scale = random.Floats(n, 0.5f, 2.0f), bias = random.Floats(n);
  for (const DenseKernel* kernel : Kernels()) {
    const std::vector<float> together = DotRows(*kernel, x, rows, k, scale, bias, Flush::kEnd);
    for (int64_t j = 0; j < n; ++j) {
      const std::vector<float> alone = DotRows(*kernel, x, {rows.begin() + j * k, rows.begin() + (j + 1) * k}, k,
                                               {scale[j]}, {bias[j]}, Flush::kEnd);
      EXPECT_EQ(alone[0], together[j]) << kernel->name << " output " << j;
    }
  }
}

TEST(DenseKernels, NanAndInfinityPass) {
  for (const DenseKernel* kernel : Kernels()) {
    for (const int64_t k : {1, 16, 67}) {
      std::vector<float> x(static_cast<size_t>(k), 0.0f), rows(static_cast<size_t>(k), 1.0f);
      rows.back() = kInfinity;
      EXPECT_TRUE(std::isnan(DotRows(*kernel, x, rows, k, {1}, {0}, Flush::kEnd, 0.0f, 6.0f)[0])) << kernel->name;
      x.back() = 1.0f;
      EXPECT_EQ(DotRows(*kernel, x, rows, k, {1}, {0}, Flush::kEnd)[0], kInfinity) << kernel->name;
      EXPECT_EQ(DotRows(*kernel, x, rows, k, {1}, {0}, Flush::kEnd, 0.0f, 6.0f)[0], 6.0f) << kernel->name;
    }
  }
}

}  // namespace
}  // namespace dgms::testing
