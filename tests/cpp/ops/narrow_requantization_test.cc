// Narrow scales against the rule that they stand for, for every sum.
#include "ops/narrow_requantization.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>

#include "kernels/random_values.h"
#include "kernels/requantize_oracle.h"

namespace dgms::testing {
namespace {

// Outputs for all sums from lowest to highest, if a scale is found.
bool CheckAllSums(const ChannelScale& channel) {
  NarrowScale narrow = {};
  if (!FindNarrowScale(channel, &narrow)) return false;
  for (int64_t sum = channel.lowest; sum <= channel.highest; ++sum) {
    const int32_t s = static_cast<int32_t>(sum);
    // The bias is in both: sums with an offset that leave 32 bits would show here.
    EXPECT_LE(sum + narrow.offset, INT32_MAX);
    EXPECT_GE(sum + narrow.offset, INT32_MIN);
    const int32_t expected = ExpectedRequantized(s, 0, channel.multiplier, 0, channel.right, -128, -128, 127);
    const int32_t got = ExpectedNarrow(s, narrow.offset, narrow.multiplier);
    if (got == expected) continue;
    ADD_FAILURE() << "sum " << sum << ": " << got << ", not " << expected << "; multiplier " << channel.multiplier
                  << " right " << channel.right << " offset " << narrow.offset << " narrow " << narrow.multiplier;
    break;
  }
  return true;
}

// Sums whose outputs, less the zero point, are up to `outputs` in magnitude.
ChannelScale Reaching(int32_t multiplier, int right, double outputs) {
  const double step = multiplier / 2147483648.0 / static_cast<double>(int64_t{1} << right);
  const int64_t most = static_cast<int64_t>(outputs / step);
  return {multiplier, right, -most, most};
}

TEST(NarrowRequantization, EverySum) {
  Random random(1);
  for (int right = 1; right <= 12; ++right) {
    int found = 0;
    constexpr int kChannels = 30;
    for (int i = 0; i < kChannels; ++i) {
      const auto multiplier = static_cast<int32_t>(random.Int(1 << 30, INT32_MAX));
      found += CheckAllSums(Reaching(multiplier, right, 300 + 40 * i)) ? 1 : 0;
    }
    // Layers with bounds usually have shifts of 5 to 8.
    if (right >= kNarrowBits && right <= 8) {
      EXPECT_GE(found, kChannels - 1) << "right " << right;
    } else if (right < kNarrowBits) {
      EXPECT_EQ(found, 0) << "right " << right;
    }
  }
}

TEST(NarrowRequantization, MultipliersAtTheirEnds) {
  for (int right = kNarrowBits; right <= 10; ++right) {
    for (const int32_t multiplier : {1 << 30, (1 << 30) + 1, 3 << 29, INT32_MAX - 1, INT32_MAX}) {
      CheckAllSums(Reaching(multiplier, right, 3000));
    }
  }
}

TEST(NarrowRequantization, SumsOnOneSideOrFew) {
  Random random(3);
  for (int i = 0; i < 50; ++i) {
    const auto multiplier = static_cast<int32_t>(random.Int(1 << 30, INT32_MAX));
    ChannelScale channel = Reaching(multiplier, static_cast<int>(random.Int(5, 8)), 2000);
    channel.lowest = random.Int(channel.lowest, channel.highest);
    channel.highest = random.Int(channel.lowest, channel.highest);
    CheckAllSums(channel);
  }
}

TEST(NarrowRequantization, NoneWhere16BitsAreTooFew) {
  NarrowScale narrow = {};
  const double most = 32768.0 / (1 << kNarrowBits);
  EXPECT_TRUE(FindNarrowScale(Reaching(1 << 30, 6, most - 2), &narrow));
  EXPECT_FALSE(FindNarrowScale(Reaching(1 << 30, 6, most), &narrow));
  ChannelScale channel = Reaching(1 << 30, 6, 100);
  channel.highest = static_cast<int64_t>(most) << 7;
  EXPECT_FALSE(FindNarrowScale(channel, &narrow));
  channel.highest = int64_t{1} << 40;
  EXPECT_FALSE(FindNarrowScale(channel, &narrow));
}

TEST(NarrowRequantization, NoneOfScalesThatAreNone) {
  NarrowScale narrow = {};
  EXPECT_FALSE(FindNarrowScale({0, 6, -100, 100}, &narrow));
  EXPECT_FALSE(FindNarrowScale({1 << 30, 31, -100, 100}, &narrow));
  EXPECT_FALSE(FindNarrowScale({1 << 30, 0, -100, 100}, &narrow));
}

}  // namespace
}  // namespace dgms::testing
