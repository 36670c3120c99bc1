// The Winograd transforms against their matrices in double, every buffer exact between guard pages.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "kernels/guarded_buffer.h"
#include "kernels/random_values.h"
#include "kernels/select_kernel.h"

namespace dgms::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// The matrices of kernel_winograd.h.
const double a = std::sqrt(0.5), b = std::sqrt(2.0), f = -2.0 / 3, h = 1.0 / 6;
const double kB[6][6] = {{1, 0, -2.5, 0, 1, 0}, {0, -b, -2, a, 1, 0},  {0, b, -2, -a, 1, 0},
                         {0, -a, -.5, b, 1, 0}, {0, a, -.5, -b, 1, 0}, {0, 1, 0, -2.5, 0, 1}};
const double kG[6][3] = {{1, 0, 0}, {1, a, .5}, {1, -a, .5}, {1, b, 2}, {1, -b, 2}, {0, 0, 1}};
const double kA[4][6] = {{1, f, f, h, h, 0},
                         {0, f * a, -f * a, h * b, -h * b, 0},
                         {0, f * .5, f * .5, h * 2, h * 2, 0},
                         {0, f * a / 2, -f * a / 2, h * 2 * b, -h * 2 * b, 1}};

// M X M', and the same of absolute values: what roundings are relative to.
template <int to, int from>
std::array<double, to * to> Sandwich(const double (&m)[to][from], const std::array<double, from * from>& x,
                                     bool absolute = false) {
  const auto value = [&](double v) { return absolute ? std::abs(v) : v; };
  std::array<double, to * to> result = {};
  for (int i = 0; i < to; ++i) {
    for (int j = 0; j < to; ++j) {
      for (int k = 0; k < from; ++k) {
        for (int l = 0; l < from; ++l) result[i * to + j] += value(m[i][k]) * value(x[k * from + l]) * value(m[j][l]);
      }
    }
  }
  return result;
}

// Each pass rounds a value about four times by eps / 2, and its constants once.
double Tolerance(double magnitude) { return 4 * kEpsilon * magnitude + std::numeric_limits<float>::min(); }

std::vector<const WinogradF32Kernel*> Kernels() {
  int count = 0;
  const WinogradF32Kernel* const* kernels = WinogradF32Kernels(&count);
  return {kernels, kernels + count};
}

class WinogradF32 : public ::testing::TestWithParam<const WinogradF32Kernel*> {
 protected:
  const WinogradF32Kernel& kernel() const { return *GetParam(); }
};

INSTANTIATE_TEST_SUITE_P(Kernels, WinogradF32, ::testing::ValuesIn(Kernels()),
                         [](const auto& test) { return std::string(test.param->name); });

// The matrices multiply: every weight alone meets every input alone, and the outputs are the convolution's.
TEST(WinogradMatrices, AreAConvolution) {
  for (int tap = 0; tap < 9; ++tap) {
    std::array<double, 9> filter = {};
    filter[tap] = 1;
    const auto u = Sandwich(kG, filter);
    for (int pixel = 0; pixel < 36; ++pixel) {
      std::array<double, 36> patch = {};
      patch[pixel] = 1;
      auto m = Sandwich(kB, patch);
      for (int i = 0; i < 36; ++i) m[i] *= u[i];
      const auto outputs = Sandwich(kA, m);
      for (int y = 0; y < 4; ++y) {
        for (int x = 0; x < 4; ++x) {
          const bool meets = pixel == (y + tap / 3) * 6 + x + tap % 3;
          ASSERT_NEAR(outputs[y * 4 + x], meets ? 1 : 0, 1e-12) << "tap " << tap << " pixel " << pixel;
        }
      }
    }
  }
}

// All ways in which a patch can lie at the map's borders, and all numbers of channels beside a vector's multiples.
TEST_P(WinogradF32, Input) {
  for (int64_t channels = 1; channels <= 35; channels += channels < 18 ? 1 : 8) {
    for (int first_y = 0; first_y < 6; ++first_y) {
      for (int end_y = first_y + 1; end_y <= 6; ++end_y) {
        Random random(channels * 100 + first_y * 10 + end_y);
        const int first_x = static_cast<int>(random.Int(0, 5)), end_x = static_cast<int>(random.Int(first_x + 1, 6));
        const int64_t pixel = channels + random.Int(0, 2), line = (end_x - first_x) * pixel + random.Int(0, 3);
        const int64_t size = (end_y - first_y - 1) * line + (end_x - first_x - 1) * pixel + channels;
        const GuardedBuffer<float> input(random.Floats(size), random.Coin() ? Flush::kEnd : Flush::kStart);
        const int64_t stride = channels + random.Int(0, 3);
        GuardedBuffer<float> output(std::vector<float>(35 * stride + channels, -7.0f));
        kernel().transform_input(
            {input.data(), line, pixel, first_y, end_y, first_x, end_x, channels, output.data(), stride});
        EXPECT_TRUE(output.SurroundingsIntact());
        for (int64_t c = 0; c < channels; ++c) {
          std::array<double, 36> patch = {};
          for (int y = first_y; y < end_y; ++y) {
            for (int x = first_x; x < end_x; ++x)
              patch[y * 6 + x] = input[(y - first_y) * line + (x - first_x) * pixel + c];
          }
          const auto expected = Sandwich(kB, patch), magnitude = Sandwich(kB, patch, true);
          for (int i = 0; i < 36; ++i) {
            ASSERT_NEAR(output[i * stride + c], expected[i], Tolerance(magnitude[i]))
                << "channel " << c << " of " << channels << " position " << i << " lines " << first_y << ".." << end_y
                << " pixels " << first_x << ".." << end_x;
          }
        }
        for (int64_t i = 0; i < output.size(); ++i) {
          if (i % stride >= channels) {
            ASSERT_EQ(output[i], -7.0f) << "written between the positions";
          }
        }
      }
    }
  }
}

TEST_P(WinogradF32, Filter) {
  const int unit = KernelsFor(IsaName(kernel().isa))->gemm->column_unit;
  for (int64_t count = unit; count <= 12 * unit; count += unit) {
    Random random(count);
    const GuardedBuffer<float> taps(random.Floats(9 * count));
    const int64_t stride = count + random.Int(0, 20);
    GuardedBuffer<float> output(std::vector<float>(35 * stride + count, -7.0f));
    kernel().transform_filter({taps.data(), count, output.data(), stride});
    EXPECT_TRUE(output.SurroundingsIntact());
    for (int64_t c = 0; c < count; ++c) {
      std::array<double, 9> filter;
      for (int i = 0; i < 9; ++i) filter[i] = taps[i * count + c];
      const auto expected = Sandwich(kG, filter), magnitude = Sandwich(kG, filter, true);
      for (int i = 0; i < 36; ++i) {
        ASSERT_NEAR(output[i * stride + c], expected[i], Tolerance(magnitude[i]))
            << "filter " << c << " position " << i;
      }
    }
    for (int64_t i = 0; i < output.size(); ++i) {
      if (i % stride >= count) {
        ASSERT_EQ(output[i], -7.0f) << "written between the positions";
      }
    }
  }
}

// All sizes of tiles, all numbers of columns; with and without a residual, bounds and gaps between pixels and lines.
TEST_P(WinogradF32, Output) {
  const int unit = KernelsFor(IsaName(kernel().isa))->gemm->column_unit;
  for (int n = 1; n <= 2 * unit + 1; ++n) {
    for (int size = 0; size < 16; ++size) {
      const int height = size / 4 + 1, width = size % 4 + 1;
      Random random(n * 16 + size);
      const int64_t columns = (n + unit - 1) / unit * unit, stride = columns + random.Int(0, 3);
      const GuardedBuffer<float> sums(random.Floats(35 * stride + columns));
      const GuardedBuffer<float> scale(random.Floats(columns)), bias(random.Floats(columns));
      const int64_t pixel = n + random.Int(0, 2), line = width * pixel + random.Int(0, 3);
      const int64_t outputs = (height - 1) * line + (width - 1) * pixel + n;
      const Flush flush = random.Coin() ? Flush::kEnd : Flush::kStart;
      const GuardedBuffer<float> residual(random.Floats(outputs), flush);
      GuardedBuffer<float> output(std::vector<float>(outputs, -7.0f), flush);
      const bool added = random.Coin();
      const float bound = random.Coin() ? 0.5f : kInfinity;
      kernel().transform_output({sums.data(),
                                 stride,
                                 height,
                                 width,
                                 n,
                                 output.data(),
                                 line,
                                 pixel,
                                 {scale.data(), bias.data(), -bound, bound, added ? residual.data() : nullptr, 0}});
      EXPECT_TRUE(output.SurroundingsIntact());
      std::vector<bool> ours(outputs, false);
      for (int j = 0; j < n; ++j) {
        std::array<double, 36> m;
        for (int i = 0; i < 36; ++i) m[i] = sums[i * stride + j];
        const auto y = Sandwich(kA, m), magnitude = Sandwich(kA, m, true);
        for (int i = 0; i < height * width; ++i) {
          const int at_y = i / width, at_x = i % width;
          const int64_t at = at_y * line + at_x * pixel + j;
          const double sum = y[at_y * 4 + at_x] * scale[j] + bias[j] + (added ? residual[at] : 0.0f);
          ASSERT_NEAR(output[at], std::min<double>(bound, std::max<double>(-bound, sum)),
                      Tolerance(magnitude[at_y * 4 + at_x] * std::abs(scale[j]) + std::abs(bias[j]) + 1))
              << "column " << j << " of " << n << " pixel " << at_y << "," << at_x << " of " << height << "x" << width;
          ours[at] = true;
        }
      }
      for (int64_t i = 0; i < outputs; ++i) {
        if (!ours[i]) {
          ASSERT_EQ(output[i], -7.0f) << "written between the pixels";
        }
      }
    }
  }
}

// Bit for bit what transform_filter's values give, summed channel by channel: any first channel, any number of them,
// panels of one and of two vectors.
TEST_P(WinogradF32, Product) {
  if (kernel().multiply_group == nullptr) {
    EXPECT_EQ(kernel().product_cost, 0);
    GTEST_SKIP() << kernel().name << " has no product for few tiles: maps of any size go by many";
  }
  EXPECT_GT(kernel().product_cost, 0);
  const GemmF32Kernel& gemm = *KernelsFor(IsaName(kernel().isa))->gemm;
  for (int64_t width = gemm.column_unit; width <= gemm.max_columns; width += gemm.column_unit) {
    for (int64_t channels = 1; channels <= 40; channels += channels < 18 ? 1 : 11) {
      Random random(width * 100 + channels);
      const int64_t first = random.Int(0, 40), blocks = (first + channels + kWinogradChannels - 1) / kWinogradChannels;
      const GuardedBuffer<float> taps(random.Floats(9 * channels * width));
      const int64_t group = int64_t{kWinogradPositions} * kWinogradGroup * kWinogradChannels;
      // What lies beyond the last channel is not read.
      const int64_t unread = blocks * kWinogradChannels - first - channels;
      const GuardedBuffer<float> input(random.Floats(blocks * group - unread));
      const int64_t stride = kWinogradGroup * width + random.Int(0, 20);
      std::vector<float> before = random.Floats(35 * stride + kWinogradGroup * width);
      GuardedBuffer<float> sums(before);
      const bool accumulate = random.Coin();
      kernel().multiply_group({taps.data(), first, channels, width, input.data(), sums.data(), stride, accumulate});
      EXPECT_TRUE(sums.SurroundingsIntact());
      std::vector<float> filters(36 * channels * width);
      kernel().transform_filter({taps.data(), channels * width, filters.data(), channels * width});
      for (int64_t p = 0; p < kWinogradPositions; ++p) {
        for (int64_t r = 0; r < kWinogradGroup; ++r) {
          for (int64_t j = 0; j < width; ++j) {
            float sum = 0;
            for (int64_t c = 0; c < channels; ++c) {
              const int64_t k = first + c;
              const float x =
                  input[((k / kWinogradChannels * kWinogradPositions + p) * kWinogradGroup + r) * kWinogradChannels +
                        k % kWinogradChannels];
              sum = std::fma(x, filters[(p * channels + c) * width + j], sum);
            }
            const int64_t at = p * stride + r * width + j;
            if (accumulate) sum += before[at];
            ASSERT_EQ(sums[at], sum) << "position " << p << " tile " << r << " column " << j << " of " << width << ", "
                                     << channels << " channels from " << first;
            before[at] = sum;
          }
        }
      }
      for (int64_t i = 0; i < sums.size(); ++i) ASSERT_EQ(sums[i], before[i]) << "written between the positions";
    }
  }
}

// Kernels may leave the product with scales of 1 out: the same bits.
TEST_P(WinogradF32, ScalesOfOne) {
  const int unit = KernelsFor(IsaName(kernel().isa))->gemm->column_unit, n = 2 * unit;
  Random random(5);
  const std::vector<float> sums = random.Floats(36 * n), bias = random.Floats(n), ones(n, 1.0f);
  std::vector<float> outputs[2] = {std::vector<float>(16 * n), std::vector<float>(16 * n)};
  for (const bool told : {false, true}) {
    Epilogue epilogue = {ones.data(), bias.data(), -1.0f, 1.0f};
    epilogue.unit_scale = told;
    kernel().transform_output({sums.data(), n, 4, 4, n, outputs[told].data(), 4 * n, n, epilogue});
  }
  EXPECT_EQ(outputs[0], outputs[1]);
}

// Clamping lets NaN pass.
TEST_P(WinogradF32, NanPassesTheBounds) {
  const int unit = KernelsFor(IsaName(kernel().isa))->gemm->column_unit;
  const std::vector<float> sums(36 * unit, kNan), ones(unit, 1.0f);
  std::vector<float> output(16 * unit, 0.0f);
  kernel().transform_output(
      {sums.data(), unit, 4, 4, unit, output.data(), 4 * unit, unit, {ones.data(), ones.data(), 0.0f, 6.0f}});
  for (const float y : output) ASSERT_TRUE(std::isnan(y));
}

// A channel's values do not depend on which vector, whole or not, it falls into, nor on whether the zeros around the
// map were read or not: bit for bit.
TEST_P(WinogradF32, PlaceDoesNotChangeResults) {
  constexpr int64_t kChannels = 40;
  Random random(3);
  std::vector<float> patch = random.Floats(36 * kChannels);
  for (int i = 0; i < 36; ++i) {  // the first line and the last pixels are zeros
    if (i < 6 || i % 6 == 5) std::fill(&patch[i * kChannels], &patch[i * kChannels] + kChannels, 0.0f);
  }
  std::vector<float> whole(36 * kChannels);
  kernel().transform_input({patch.data(), 6 * kChannels, kChannels, 0, 6, 0, 6, kChannels, whole.data(), kChannels});
  for (int64_t channels = 1; channels <= kChannels; ++channels) {
    std::vector<float> output(36 * kChannels);
    kernel().transform_input(
        {patch.data() + 6 * kChannels, 6 * kChannels, kChannels, 1, 6, 0, 5, channels, output.data(), kChannels});
    for (int i = 0; i < 36; ++i) {
      for (int64_t c = 0; c < channels; ++c) ASSERT_EQ(output[i * kChannels + c], whole[i * kChannels + c]);
    }
  }
}

}  // namespace
}  // namespace dgms::testing
