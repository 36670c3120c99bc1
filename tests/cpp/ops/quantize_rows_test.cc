// Quantisation of activations at run time, and of codebooks, against plain forms of their words.
#include "ops/quantize_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <vector>

#include "kernels/guarded_buffer.h"
#include "kernels/random_values.h"
#include "kernels/select_kernel.h"
#include "ops/int8_codebook.h"

namespace dgms::testing {
namespace {

void CheckKernel(const QuantizeS8Kernel& kernel, const std::vector<float>& input, int64_t rows, bool flip,
                 int threads) {
  SCOPED_TRACE(kernel.name);
  const int64_t length = static_cast<int64_t>(input.size()) / rows;
  const GuardedBuffer<float> x(input, flip ? Flush::kStart : Flush::kEnd);
  GuardedBuffer<int8_t> y(rows * length);
  GuardedBuffer<float> scales(rows);
  GuardedBuffer<int32_t> zeros(rows);
  const auto pool = ThreadPool::Create(threads);
  QuantizeRows(kernel, {x.data(), rows, length, length, flip, y.data(), scales.data(), zeros.data()}, *pool);
  EXPECT_TRUE(y.SurroundingsIntact());
  for (int64_t r = 0; r < rows; ++r) {
    double low = 0, high = 0;
    bool finite = true;
    for (int64_t i = 0; i < length; ++i) {
      const float value = input[r * length + i];
      finite = finite && std::isfinite(value);
      low = std::min<double>(low, value);
      high = std::max<double>(high, value);
    }
    if (!finite) {
      EXPECT_TRUE(std::isnan(scales[r]));
      continue;
    }
    float scale = static_cast<float>((high - low) / 255);
    if (scale < std::numeric_limits<float>::min()) scale = 0;  // denormal: the row counts as zeros
    ASSERT_EQ(scales[r], scale);
    const double zero = scale == 0 ? 0 : std::nearbyint(-128 - low / static_cast<double>(scale));
    ASSERT_EQ(zeros[r], std::min(127.0, std::max(-128.0, zero)) + (flip ? 128 : 0));
    for (int64_t i = 0; i < length; ++i) {
      const int32_t q = static_cast<uint8_t>(y[r * length + i] ^ (flip ? 0 : -128)) - (flip ? 0 : 128);
      const double value = (q - zeros[r]) * static_cast<double>(scale);
      if (scale == 0) {
        ASSERT_EQ(value, 0);
        continue;
      }
      // Half a step, and the rounding of x times the inverse of the scale (and of the zero point at the ends).
      ASSERT_NEAR(value, input[r * length + i], 0.5001 * scale) << "row " << r << " element " << i;
      if (input[r * length + i] == 0) {
        ASSERT_EQ(value, 0) << "0 is not exact";
      }
    }
  }
}

void Check(const std::vector<float>& input, int64_t rows, bool flip, int threads) {
  int count = 0;
  const QuantizeS8Kernel* const* kernels = QuantizeS8Kernels(&count);
  for (int i = 0; i < count; ++i) CheckKernel(*kernels[i], input, rows, flip, threads);
}

TEST(QuantizeRows, AllLengths) {
  for (int64_t length = 1; length <= 140; ++length) {
    Random random(length);
    std::vector<float> x = random.Floats(3 * length, -2.0f, 5.0f);
    x[length - 1] = 0;
    Check(x, 3, length % 2 == 0, 1);
  }
}

// In pieces, by several threads: one of each length around their ends.
TEST(QuantizeRows, LongRows) {
  for (const int64_t length : {16383, 16384, 16385, 16390, 32768, 32769, 70001}) {
    Random random(length);
    std::vector<float> x = random.Floats(2 * length, -1.0f, 1.0f);
    x[length - 1] = 7.0f;  // the largest value is the last one of the first row,
    x[length] = -9.0f;     // the smallest the first one of the second
    for (const int threads : {1, 4}) Check(x, 2, threads == 4, threads);
    x[length - 1] = std::numeric_limits<float>::infinity();
    x[2 * length - 1] = std::numeric_limits<float>::quiet_NaN();
    Check(x, 2, false, 4);
  }
}

// So many that each is one thread's, however long.
TEST(QuantizeRows, ManyLongRows) {
  Random random(1);
  std::vector<float> x = random.Floats(9 * 16390, -3.0f, 1.0f);
  x[16390 * 4 - 1] = std::numeric_limits<float>::quiet_NaN();
  for (const int threads : {1, 4}) Check(x, 9, threads == 4, threads);
}

// Rows with something between them: what lies there is not read.
TEST(QuantizeRows, RowsApart) {
  constexpr int64_t kLength = 37, kStride = 90, kRows = 3;
  Random random(2);
  const std::vector<float> all = random.Floats((kRows - 1) * kStride + kLength, -2.0f, 5.0f);
  std::vector<float> together, apart(all.size(), std::numeric_limits<float>::quiet_NaN());
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t i = 0; i < kLength; ++i) {
      apart[r * kStride + i] = all[r * kStride + i];
      together.push_back(all[r * kStride + i]);
    }
  }
  const GuardedBuffer<float> x(apart), row_after_row(together);
  const auto pool = ThreadPool::Create(1);
  int count = 0;
  const QuantizeS8Kernel* const* kernels = QuantizeS8Kernels(&count);
  for (int k = 0; k < count; ++k) {
    int8_t y[2][kRows * kLength];
    float scales[2][kRows];
    int32_t zeros[2][kRows];
    QuantizeRows(*kernels[k], {x.data(), kRows, kLength, kStride, false, y[0], scales[0], zeros[0]}, *pool);
    QuantizeRows(*kernels[k], {row_after_row.data(), kRows, kLength, kLength, false, y[1], scales[1], zeros[1]}, *pool);
    for (int64_t i = 0; i < kRows * kLength; ++i) ASSERT_EQ(y[0][i], y[1][i]) << kernels[k]->name << " " << i;
    for (int64_t r = 0; r < kRows; ++r) {
      ASSERT_EQ(scales[0][r], scales[1][r]);
      ASSERT_EQ(zeros[0][r], zeros[1][r]);
    }
  }
}

TEST(QuantizeRows, SignsAndExtremes) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  Check({1.0f, 2.0f, 3.0f}, 1, false, 1);     // above zero alone: the range begins at 0
  Check({-1.0f, -2.0f, -3.0f}, 1, false, 1);  // below zero alone
  Check({0.0f, 0.0f, -0.0f}, 1, true, 1);
  Check({kLargest, -kLargest, 0.0f}, 1, false, 1);  // a range that no float holds
  Check({std::numeric_limits<float>::min(), 0.0f}, 1, false, 1);
}

// ---- codebooks ----

TEST(RoundCodebooks, FindsAnExactScale) {
  // Multiples of 0.125, the largest 100 of them: 127 steps of the largest value would miss them all.
  const std::vector<float> book = {0.0f, 12.5f, -3.375f, 1.0f};
  const std::vector<uint8_t> codes = Nibbles({0, 1, 2, 3, 1, 2});
  CodebookFilter filter;
  filter.codes = codes.data();
  filter.count = 6;
  filter.bits = 2;
  filter.codebooks = book.data();
  int8_t rounded[4];
  const float scale = RoundCodebooks(filter, 2, /*channels_last=*/false, rounded);
  EXPECT_EQ(scale, 0.125f);
  EXPECT_EQ(rounded[0], 0);
  EXPECT_EQ(rounded[1], 100);
  EXPECT_EQ(rounded[2], -27);
  EXPECT_EQ(rounded[3], 8);
}

TEST(RoundCodebooks, UnusedEntriesDoNotCount) {
  // The huge entry is used by no weight of its own book.
  const std::vector<float> books = {0.0f, 1e30f, 1.0f, -1.0f, 0.0f, 0.5f, 1.0f, -1.0f};
  const std::vector<uint8_t> codes = Nibbles({2, 3, 1, 2});  // two channels of two, a book each
  CodebookFilter filter;
  filter.codes = codes.data();
  filter.count = 4;
  filter.bits = 2;
  filter.codebooks = books.data();
  filter.group_size = 1;
  int8_t rounded[8];
  const float scale = RoundCodebooks(filter, 2, /*channels_last=*/false, rounded);
  EXPECT_NEAR(scale * rounded[2], 1.0f, 1e-6f);
  EXPECT_NEAR(scale * rounded[5], 0.5f, 0.005f);
  EXPECT_EQ(rounded[1], 0);
}

// Of a depthwise filter, whose codes go channel by channel of each tap.
TEST(RoundCodebooks, ChannelsLast) {
  const std::vector<float> books = {0.0f, 1e30f, 1.0f, -1.0f, 0.0f, 0.5f, 1.0f, 1e30f};
  const std::vector<uint8_t> codes = Nibbles({2, 1, 3, 2});  // two taps of two channels
  CodebookFilter filter;
  filter.codes = codes.data();
  filter.count = 4;
  filter.bits = 2;
  filter.codebooks = books.data();
  filter.group_size = 1;
  int8_t rounded[8];
  const float scale = RoundCodebooks(filter, 2, /*channels_last=*/true, rounded);
  EXPECT_NEAR(scale * rounded[2], 1.0f, 1e-6f);
  EXPECT_NEAR(scale * rounded[3], -1.0f, 1e-6f);
  EXPECT_NEAR(scale * rounded[5], 0.5f, 0.005f);
  EXPECT_EQ(rounded[1], 0);
  EXPECT_EQ(rounded[7], 0);
}

TEST(LargestOutput, FourDeviationsFromTheBias) {
  const std::vector<float> book = {0.0f, 3.0f, -4.0f, 100.0f};
  const std::vector<uint8_t> codes = Nibbles({1, 2, 0, 0, 1, 2});  // two channels of three: squares of 25 each
  const std::vector<float> bias = {1.0f, -30.0f}, scale = {-0.5f, 2.0f};
  CodebookFilter filter;
  filter.codes = codes.data();
  filter.count = 6;
  filter.bits = 2;
  filter.codebooks = book.data();
  for (const bool channels_last : {false, true}) {
    EXPECT_FLOAT_EQ(LargestOutput(filter, 2, channels_last, nullptr), 20.0f);
    EXPECT_FLOAT_EQ(LargestOutput(filter, 2, channels_last, bias.data()), 21.0f);
  }
  filter.scale = scale.data();
  EXPECT_FLOAT_EQ(LargestOutput(filter, 2, false, nullptr), 40.0f);
  EXPECT_FLOAT_EQ(LargestOutput(filter, 2, false, bias.data()), 11.0f);
}

// The same four deviations of each channel's own weights: 5 and 13.
TEST(LargestOutput, OfPlainWeights) {
  const std::vector<float> values = {3.0f, -5.0f, -4.0f, 12.0f};  // two taps of two channels
  const std::vector<float> bias = {1.0f, -40.0f};
  EXPECT_FLOAT_EQ(LargestOutput(DenseFilter{values.data(), 4}, 2, nullptr), 52.0f);
  EXPECT_FLOAT_EQ(LargestOutput(DenseFilter{values.data(), 4}, 2, bias.data()), 21.0f);
}

// Every weight within half a step of its channel, whose largest one is 127 steps.
TEST(RoundChannels, HalfAStep) {
  constexpr int64_t kChannels = 3, kTaps = 5;
  const std::vector<float> sizes = {0.01f, 3.0f, 1.0f};
  std::vector<float> values;
  for (int64_t i = 0; i < kTaps * kChannels; ++i) {
    values.push_back(sizes[i % kChannels] * static_cast<float>(i * 7 % 11 - 5) / 5.0f);
  }
  int8_t rounded[kTaps * kChannels];
  float scales[kChannels];
  ASSERT_TRUE(RoundChannels({values.data(), kTaps * kChannels}, kChannels, rounded, scales));
  for (int64_t c = 0; c < kChannels; ++c) {
    int largest = 0;
    for (int64_t i = c; i < kTaps * kChannels; i += kChannels) {
      EXPECT_NEAR(static_cast<float>(rounded[i]) * scales[c], values[i], 0.501f * scales[c]);
      largest = std::max(largest, std::abs(int{rounded[i]}));
    }
    EXPECT_EQ(largest, 127) << "channel " << c;
  }
}

// Channels without weights have a scale all the same: their biases are counted in it.
TEST(RoundChannels, EmptyChannels) {
  const std::vector<float> values = {0.0f, 127.0f, 1e-30f, 0.0f, -12.7f, -1e-30f};  // two taps of three channels
  int8_t rounded[6];
  float scales[3];
  ASSERT_TRUE(RoundChannels({values.data(), 6}, 3, rounded, scales));
  EXPECT_EQ(std::vector<int8_t>(rounded, rounded + 6), (std::vector<int8_t>{0, 127, 0, 0, -13, 0}));
  EXPECT_EQ(scales[1], 1.0f);
  for (const int c : {0, 2}) EXPECT_EQ(scales[c], 1.0f / 1024);
}

TEST(RoundChannels, NoScale) {
  int8_t rounded[4];
  float scales[2];
  for (const float value :
       {0.0f, 1e-42f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    const std::vector<float> values = {0.0f, 0.0f, value, 0.0f};
    EXPECT_FALSE(RoundChannels({values.data(), 4}, 2, rounded, scales)) << value;
  }
}

TEST(RoundCodebooks, NoScale) {
  const std::vector<uint8_t> codes = Nibbles({1, 1, 0, 1});
  CodebookFilter filter;
  filter.codes = codes.data();
  filter.count = 4;
  filter.bits = 2;
  int8_t rounded[4];
  for (const float value :
       {0.0f, 1e-42f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    const std::vector<float> book = {0.0f, value, 1.0f, 1.0f};
    filter.codebooks = book.data();
    EXPECT_EQ(RoundCodebooks(filter, 2, /*channels_last=*/false, rounded), 0.0f) << value;
  }
}

}  // namespace
}  // namespace dgms::testing
