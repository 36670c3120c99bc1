// Conv2D where it works by Winograd's method: when it does, its error, and all else that a convolution promises.
#include "ops/winograd.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "ops/conv2d_testing.h"

namespace dgms::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

bool IsWinograd(const std::string& name) { return name.find("winograd") != std::string::npos; }

// The reference, with the tolerance of ops/winograd.h: 6 eps W, W being the sum over input channels of (sum of |w|) *
// (largest |x| of the patch).
Expected Reference(const Conv2DCase& c, const FilterData& filter, const std::vector<float>& input,
                   const float* residual = nullptr) {
  const Conv2DParams& p = c.params;
  Expected expected = ReferenceConv2D(c, filter, input.data(), residual);
  const int64_t same = p.padding == Padding::kSame ? 1 : 0;
  const int64_t top = same + p.pads.top, left = same + p.pads.left;
  const int64_t out_h = c.in_h + top + same + p.pads.bottom - 2, out_w = c.in_w + left + same + p.pads.right - 2;
  std::vector<double> weights(p.out_channels * p.in_channels, 0.0);
  for (int64_t o = 0; o < p.out_channels; ++o) {
    for (int64_t i = 0; i < 9 * p.in_channels; ++i) {
      weights[o * p.in_channels + i % p.in_channels] += std::abs(filter.Weight(o * 9 * p.in_channels + i, o));
    }
  }
  for (int64_t n = 0; n < c.batch; ++n) {
    for (int64_t tile_y = 0; tile_y < out_h; tile_y += 4) {
      for (int64_t tile_x = 0; tile_x < out_w; tile_x += 4) {
        std::vector<double> largest(p.in_channels, 0.0);
        for (int64_t y = std::max<int64_t>(0, tile_y - top); y < std::min(c.in_h, tile_y - top + 6); ++y) {
          for (int64_t x = std::max<int64_t>(0, tile_x - left); x < std::min(c.in_w, tile_x - left + 6); ++x) {
            for (int64_t i = 0; i < p.in_channels; ++i) {
              const double value = std::abs(input[((n * c.in_h + y) * c.in_w + x) * p.in_channels + i]);
              largest[i] = std::max(largest[i], value);
            }
          }
        }
        for (int64_t o = 0; o < p.out_channels; ++o) {
          double w = 0;
          for (int64_t i = 0; i < p.in_channels; ++i) w += largest[i] * weights[o * p.in_channels + i];
          for (int64_t y = tile_y; y < std::min(out_h, tile_y + 4); ++y) {
            for (int64_t x = tile_x; x < std::min(out_w, tile_x + 4); ++x) {
              const int64_t at = ((n * out_h + y) * out_w + x) * p.out_channels + o;
              const double added = (filter.bias.empty() ? 0.0 : std::abs(filter.bias[o])) +
                                   (residual == nullptr ? 0.0 : std::abs(residual[at]));
              expected.tolerance[at] = 6 * kEpsilon * w + SumTolerance(added);
            }
          }
        }
      }
    }
  }
  return expected;
}

// Compares one case with the reference on every instruction set that uses Winograd's method for it, and returns on how
// many that was.
int CheckWinograd(const Conv2DCase& c, const FilterData& filter, const std::vector<float>& input, int threads = 1,
                  const std::vector<float>& residual = {}) {
  const float* added = residual.empty() ? nullptr : residual.data();
  const Expected expected = Reference(c, filter, input, added);
  int used = 0;
  for (const KernelSet* kernels : AllKernelSets()) {
    SCOPED_TRACE(Describe(c, filter) + " on " + IsaName(kernels->isa) + ", " + std::to_string(threads) + " threads");
    const auto op = Conv2D::Create(c.params, filter.View(), filter.Bias(), *kernels);
    EXPECT_NE(op, nullptr);
    if (op == nullptr) return used;
    EXPECT_EQ(op->Reshape(c.batch, c.in_h, c.in_w, nullptr, threads), Status::kOk);
    used += IsWinograd(op->kernel_name());
    const auto pool = ThreadPool::Create(threads);
    const GuardedBuffer<float> x(input);
    GuardedBuffer<float> y(static_cast<int64_t>(expected.value.size()));
    EXPECT_EQ(op->Run(x.data(), added, y.data(), *pool), Status::kOk);
    EXPECT_TRUE(y.SurroundingsIntact());
    if (!ExpectClose(y.values(), expected)) return used;
  }
  return used;
}

TEST(Winograd, RandomCases) {
  Random random(11);
  int used = 0;
  for (int i = 0; i < 30 && !::testing::Test::HasFailure(); ++i) {
    Conv2DCase c = Square(3, 1, random.Coin() ? Padding::kSame : Padding::kValid, 0, 8 * random.Int(4, 14),
                          random.Int(1, random.Coin() ? 12 : 90));
    c.params.activation = static_cast<Activation>(random.Int(0, 3));
    c.batch = random.Int(1, 3);
    c.in_h = random.Int(7, 24);
    c.in_w = random.Int(7, 24);
    const int64_t group_size = random.Int(0, 2) == 0 ? random.Int(1, c.params.out_channels + 3) : 0;
    const FilterData filter =
        FilterData::Make(random, c.params.out_channels, WeightCount(c.params), static_cast<int>(random.Int(2, 4)),
                         group_size, random.Coin(), random.Coin());
    const std::vector<float> input = MakeInput(random, c);
    const int64_t lost = c.params.padding == Padding::kSame ? 0 : 2;
    std::vector<float> residual;
    if (random.Coin()) {
      residual = random.Floats(c.batch * (c.in_h - lost) * (c.in_w - lost) * c.params.out_channels, -5.0f, 5.0f);
    }
    used += CheckWinograd(c, filter, input, 1 + i % 3, residual);
  }
  EXPECT_GT(used, 30) << "hardly any of these cases is computed by Winograd's method";
}

// A PAD in front that the op does itself: up to two lines and columns, beyond which patches would be all padding.
TEST(Winograd, ExplicitPadding) {
  Random random(21);
  int used = 0;
  for (int i = 0; i < 24 && !::testing::Test::HasFailure(); ++i) {
    Conv2DCase c = Square(3, 1, i % 4 == 0 ? Padding::kSame : Padding::kValid, 0, 32, random.Int(1, 40));
    c.params.pads = {random.Int(0, 2), random.Int(0, 2), random.Int(0, 2), random.Int(0, 2)};
    c.in_h = random.Int(9, 17);
    c.in_w = random.Int(9, 17);
    const FilterData filter = MakeFilter(random, c.params);
    used += CheckWinograd(c, filter, MakeInput(random, c), 1 + i % 3);
  }
  EXPECT_GT(used, 24) << "hardly any of these cases is computed by Winograd's method";
  for (int64_t ExplicitPadding::* side :
       {&ExplicitPadding::top, &ExplicitPadding::bottom, &ExplicitPadding::left, &ExplicitPadding::right}) {
    Conv2DCase c = Square(3, 1, Padding::kValid, 28, 64, 32);
    c.params.pads.*side = 3;
    const FilterData filter = MakeFilter(random, c.params);
    EXPECT_EQ(CheckWinograd(c, filter, MakeInput(random, c)), 0);
    c.params.pads.*side = -1;
    EXPECT_EQ(Conv2D::Create(c.params, filter.Source(), nullptr, *BestKernels()), nullptr);
  }
}

// Several blocks of tiles, and several ranges of input channels.
TEST(Winograd, LargeCases) {
  Random random(12);
  for (Conv2DCase c : {Square(3, 1, Padding::kSame, 50, 32, 40), Square(3, 1, Padding::kValid, 14, 296, 36)}) {
    const FilterData filter = MakeFilter(random, c.params);
    EXPECT_GT(CheckWinograd(c, filter, MakeInput(random, c), 2), 0);
  }
}

// Maps of few tiles, in groups of which the last is not full, and batches of them in blocks; more channels than lie
// together, and no multiple of that.
TEST(Winograd, FewTiles) {
  Random random(22);
  int used = 0;
  for (const auto& [height, width] : {std::array<int64_t, 2>{7, 7}, {8, 13}, {10, 10}, {14, 14}}) {
    for (const int64_t channels : {32, 40, 72}) {
      Conv2DCase c = Square(3, 1, Padding::kSame, 0, channels, random.Int(1, 70));
      c.in_h = height;
      c.in_w = width;
      c.batch = random.Coin() ? 1 : 5;
      const FilterData filter = MakeFilter(random, c.params);
      used += CheckWinograd(c, filter, MakeInput(random, c), static_cast<int>(random.Int(1, 3)));
    }
  }
  EXPECT_GT(used, 12);
}

// Filters that are kept give the same bits, cost what they take, and are kept for maps of many tiles alone.
TEST(Winograd, CachedFilters) {
  Random random(23);
  Conv2DCase c = Square(3, 1, Padding::kSame, 30, 80, 70);
  const FilterData filter = MakeFilter(random, c.params);
  for (const KernelSet* kernels : AllKernelSets()) {
    SCOPED_TRACE(IsaName(kernels->isa));
    c.params.cache_filters = false;
    const auto plain = Conv2D::Create(c.params, filter.Source(), filter.Bias(), *kernels);
    c.params.cache_filters = true;
    const auto cached = Conv2D::Create(c.params, filter.Source(), filter.Bias(), *kernels);
    ASSERT_NE(cached, nullptr);
    const size_t packed = plain->packed_bytes();
    EXPECT_EQ(cached->packed_bytes(), packed) << "the size of the map is not known yet";
    EXPECT_EQ(cached->CacheFilters(4, 4), Status::kOk);
    EXPECT_EQ(cached->packed_bytes(), packed) << "the direct convolution keeps nothing";
    for (const int64_t size : {30, 8, 33}) {
      ASSERT_EQ(plain->Reshape(2, size, size, nullptr, 2), Status::kOk);
      if (size == 30) {
        EXPECT_EQ(cached->CacheFilters(size, size), Status::kOk);
      }
      const size_t all = cached->packed_bytes();
      EXPECT_GE(all - packed, 36u * 80 * 70 * sizeof(float));
      ASSERT_EQ(cached->Reshape(2, size, size, nullptr, 2), Status::kOk);
      EXPECT_EQ(cached->packed_bytes(), all);
      EXPECT_EQ(plain->packed_bytes(), packed);
      const std::vector<float> input = random.Floats(2 * size * size * 80);
      const auto pool = ThreadPool::Create(2);
      const std::vector<float> expected = RunGuarded(*plain, input, 2 * size * size * 70, *pool);
      EXPECT_EQ(RunGuarded(*cached, input, 2 * size * size * 70, *pool), expected);
    }
  }
}

TEST(Winograd, CacheWithoutMemory) {
  Random random(24);
  Conv2DCase c = Square(3, 1, Padding::kSame, 30, 64, 64);
  c.params.cache_filters = true;
  const FilterData filter = MakeFilter(random, c.params);
  const auto op = Conv2D::Create(c.params, filter.Source(), filter.Bias(), *BestKernels());
  SetAllocationHook([](size_t bytes) { return bytes < 36 * 64 * 64 * sizeof(float); });
  EXPECT_EQ(op->CacheFilters(30, 30), Status::kOutOfMemory);
  EXPECT_EQ(op->Reshape(1, 30, 30), Status::kOutOfMemory);
  SetAllocationHook(nullptr);
  const auto pool = ThreadPool::Create(1);
  EXPECT_EQ(op->Run(nullptr, nullptr, *pool), Status::kNotReady);
  EXPECT_EQ(op->Reshape(1, 30, 30), Status::kOk);
}

// Data that the method is worst at: everything positive (transforms cancel what the sum does not), signs that alternate
// from pixel to pixel, and magnitudes that differ by 12 orders within a patch.
TEST(Winograd, AdversarialData) {
  Random random(13);
  for (const int64_t channels : {32, 256}) {
    const Conv2DCase c = Square(3, 1, Padding::kSame, 14, channels, 24);
    FilterData filter = FilterData::Make(random, 24, WeightCount(c.params), 4, 0, false, false);
    std::vector<float> wild = MakeInput(random, c), alternating = MakeInput(random, c);
    for (size_t i = 0; i < wild.size(); ++i) {
      wild[i] *= std::pow(10.0f, static_cast<float>(random.Int(-6, 6)));
      const size_t pixel = i / channels;
      alternating[i] = std::abs(alternating[i]) * ((pixel / 14 + pixel % 14) % 2 == 0 ? 1.0f : -1.0f);
    }
    EXPECT_GT(CheckWinograd(c, filter, wild), 0);
    EXPECT_GT(CheckWinograd(c, filter, alternating), 0);
    filter.codebooks = random.Floats(16, 0.0f, 1.0f);
    EXPECT_GT(CheckWinograd(c, filter, random.Floats(14 * 14 * channels, 0.0f, 1.0f)), 0);
  }
}

// Networks' layers, data of both signs: twice what a direct sum is allowed is enough, against each output's own sum of
// |w x|.
TEST(Winograd, NetworkLayers) {
  Random random(16);
  for (const auto& [size, channels] : {std::pair{28, 64}, {14, 128}, {7, 256}}) {
    const Conv2DCase c = Square(3, 1, Padding::kSame, size, channels, 32);
    const FilterData filter = MakeFilter(random, c.params);
    const std::vector<float> input = MakeInput(random, c);
    Expected expected = ReferenceConv2D(c, filter, input.data());
    for (double& tolerance : expected.tolerance) tolerance *= 2;
    for (const KernelSet* kernels : AllKernelSets()) {
      SCOPED_TRACE(Describe(c, filter) + " on " + IsaName(kernels->isa));
      ExpectClose(RunCase(c, filter, input, *kernels, 1), expected);
    }
  }
}

TEST(Winograd, WhenItIsUsed) {
  Random random(14);
  const auto name = [&](const Conv2DCase& c, float weight = 1.0f) {
    FilterData filter = MakeFilter(random, c.params);
    filter.codebooks[3] = weight;
    const auto op = Conv2D::Create(c.params, filter.View(), filter.Bias(), *BestKernels());
    EXPECT_EQ(op->Reshape(c.batch, c.in_h, c.in_w), Status::kOk);
    return std::string(op->kernel_name());
  };
  const std::string winograd = BestKernels()->winograd->name, direct = BestKernels()->gemm->name;
  const Conv2DCase good = Square(3, 1, Padding::kSame, 28, 64, 32);
  EXPECT_EQ(name(good), winograd);
  EXPECT_EQ(name(Square(3, 1, Padding::kSame, 56, 64, 64)), winograd);
  EXPECT_EQ(name(Square(3, 1, Padding::kSame, 14, 256, 256)), winograd);
  EXPECT_EQ(name(Square(3, 1, Padding::kValid, 28, 64, 32)), winograd);
  EXPECT_EQ(name(Square(3, 1, Padding::kSame, 4, 64, 32)), direct) << "too small a map";
  EXPECT_EQ(name(Square(3, 2, Padding::kSame, 28, 64, 32)), direct);
  EXPECT_EQ(name(Square(5, 1, Padding::kSame, 28, 64, 32)), direct);
  EXPECT_EQ(name(Square(3, 1, Padding::kSame, 28, 24, 32)), direct) << "few channels";
  EXPECT_EQ(name(Square(3, 1, Padding::kSame, 28, 68, 32)), direct) << "no multiple of 8 channels";
  Conv2DCase other = good;
  other.params.dilation_h = 2;
  EXPECT_EQ(name(other), direct);
  other = good;
  other.params.groups = 2;
  EXPECT_EQ(name(other), direct);
  for (const float weight : {1e37f, -1e37f, kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
    EXPECT_EQ(name(good, weight), direct) << weight;
  }
}

TEST(Winograd, BitIdenticalForAnyNumberOfThreadsAndImages) {
  for (Conv2DCase c : {Square(3, 1, Padding::kSame, 27, 40, 70), Square(3, 1, Padding::kSame, 52, 32, 33)}) {
    c.batch = 3;
    Random random(15);
    const FilterData filter = MakeFilter(random, c.params);
    const std::vector<float> input = MakeInput(random, c);
    Conv2DCase single = c;
    single.batch = 1;
    const size_t image = input.size() / 3;
    for (const KernelSet* kernels : AllKernelSets()) {
      SCOPED_TRACE(IsaName(kernels->isa));
      std::vector<float> alone;
      for (int i = 0; i < 3; ++i) {
        const std::vector<float> one(input.begin() + i * image, input.begin() + (i + 1) * image);
        const std::vector<float> y = RunCase(single, filter, one, *kernels, 1);
        alone.insert(alone.end(), y.begin(), y.end());
      }
      const auto op = Conv2D::Create(c.params, filter.View(), filter.Bias(), *kernels);
      for (const int planned : {1, 2, 8}) {
        ASSERT_EQ(op->Reshape(3, c.in_h, c.in_w, nullptr, planned), Status::kOk);
        ASSERT_TRUE(IsWinograd(op->kernel_name()));
        for (const int threads : {1, 3, 8}) {
          const auto pool = ThreadPool::Create(threads);
          const std::vector<float> result = RunGuarded(*op, input, static_cast<int64_t>(alone.size()), *pool);
          ASSERT_EQ(std::memcmp(alone.data(), result.data(), alone.size() * sizeof(float)), 0)
              << Describe(c, filter) << " with " << threads << " threads, " << planned << " planned";
        }
      }
    }
  }
}

// NaN reaches the outputs that read it as NaN, an infinity as NaN or an infinity; neither reaches a tile whose patch
// does not hold it.
TEST(Winograd, NanAndInfinitySpreadOverTheirTiles) {
  const Conv2DCase c = Square(3, 1, Padding::kSame, 14, 32, 40);
  Random random(2);
  const FilterData filter = MakeFilter(random, c.params);
  for (const KernelSet* kernels : AllKernelSets()) {
    std::vector<float> input = MakeInput(random, c);
    const std::vector<float> clean = RunCase(c, filter, input, *kernels, 1);
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity}) {
      input[(5 * 14 + 8) * 32 + 2] = bad;  // line 5 is in the patches of the second row of tiles alone, pixel 8 in two
      const std::vector<float> result = RunCase(c, filter, input, *kernels, 1);
      for (int64_t i = 0; i < 14 * 14 * 40; ++i) {
        const int64_t y = i / 40 / 14, x = i / 40 % 14;
        if (std::abs(y - 5) <= 1 && std::abs(x - 8) <= 1) {
          ASSERT_TRUE(std::isnan(bad) ? std::isnan(result[i]) : !std::isfinite(result[i]))
              << y << "," << x << " on " << IsaName(kernels->isa);
        } else if (y < 4 || y >= 8 || x < 4 || x >= 12) {
          ASSERT_EQ(result[i], clean[i]) << y << "," << x << " on " << IsaName(kernels->isa);
        }
      }
    }
  }
}

// The same op serves sizes with and without Winograd's method from the same packed weights, half a byte each.
TEST(Winograd, ReshapeChangesTheMethodAndKeepsWeights) {
  Random random(6);
  Conv2DCase c = Square(3, 1, Padding::kSame, 8, 64, 128);
  const FilterData filter = MakeFilter(random, c.params);
  const auto pool = ThreadPool::Create(2);
  for (const KernelSet* kernels : AllKernelSets()) {
    const auto op = Conv2D::Create(c.params, filter.View(), filter.Bias(), *kernels);
    const size_t packed = op->packed_bytes(), weights = static_cast<size_t>(WeightCount(c.params));
    EXPECT_LE(packed, weights / 2 + 8 * 128 + 1024) << IsaName(kernels->isa);
    int methods[2] = {};
    for (const auto& [batch, height, width] : {std::array<int64_t, 3>{1, 16, 16}, {2, 3, 2}, {1, 9, 21}, {0, 16, 16}}) {
      ASSERT_EQ(op->Reshape(batch, height, width), Status::kOk);
      ++methods[IsWinograd(op->kernel_name())];
      c.batch = batch;
      c.in_h = height;
      c.in_w = width;
      const std::vector<float> input = MakeInput(random, c);
      ExpectClose(RunGuarded(*op, input, batch * height * width * 128, *pool), Reference(c, filter, input));
      EXPECT_EQ(op->packed_bytes(), packed);
    }
    EXPECT_GE(methods[0], 1);
    EXPECT_GE(methods[1], 2);
  }
}

TEST(Winograd, AllocatesInReshapeAlone) {
  Random random(6);
  const Conv2DCase c = Square(3, 1, Padding::kSame, 16, 32, 40);
  const FilterData filter = MakeFilter(random, c.params);
  const auto op = Conv2D::Create(c.params, filter.View(), filter.Bias(), *BestKernels());
  const auto pool = ThreadPool::Create(2);
  {
    const FailAllocation fail(0);
    EXPECT_EQ(op->Reshape(1, 16, 16), Status::kOutOfMemory);
  }
  std::vector<float> x(16 * 16 * 32), y(16 * 16 * 40);
  EXPECT_EQ(op->Run(x.data(), y.data(), *pool), Status::kNotReady);
  ASSERT_EQ(op->Reshape(1, 16, 16), Status::kOk);
  EXPECT_GT(op->workspace_bytes(), 0u);
  const FailAllocation fail(0);
  EXPECT_EQ(op->Run(x.data(), y.data(), *pool), Status::kOk);
  EXPECT_EQ(fail.allocations(), 0);
}

// Sizes whose products overflow are refused.
TEST(Winograd, RefusesHugeMaps) {
  Random random(6);
  const Conv2DCase c = Square(3, 1, Padding::kSame, 16, 32, 40);
  const FilterData filter = MakeFilter(random, c.params);
  const auto op = Conv2D::Create(c.params, filter.View(), filter.Bias(), *BestKernels());
  for (const int64_t size : {int64_t{1} << 27, int64_t{1} << 29, int64_t{1} << 31, INT64_MAX}) {
    EXPECT_EQ(op->Reshape(1, size, size), Status::kInvalidArgument) << size;
  }
}

}  // namespace
}  // namespace dgms::testing
