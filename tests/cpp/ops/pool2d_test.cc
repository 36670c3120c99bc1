// MAX_POOL_2D and AVERAGE_POOL_2D against plain loops, on every instruction set.
#include "ops/pool2d.h"

#include <gtest/gtest.h>

#include <limits>
#include <tuple>
#include <type_traits>

#include "ops/weightless_testing.h"

namespace dgms::testing {
namespace {

// TFLite's padding, positions before the first.
int64_t PadBefore(const Pool2DParams& p, int64_t input, int64_t output, int kernel, int stride, int64_t explicit_pad) {
  if (p.padding == Padding::kValid) return explicit_pad;
  return std::max<int64_t>(0, ((output - 1) * stride + kernel - input) / 2);
}

TensorShape OutputShape(const Pool2DParams& p, const TensorShape& input) {
  const auto size = [&](int64_t in, int kernel, int stride) {
    return p.padding == Padding::kSame ? (in + stride - 1) / stride : (in - kernel) / stride + 1;
  };
  return {input.dims[0], size(input.dims[1] + p.pads.top + p.pads.bottom, p.kernel_h, p.stride_h),
          size(input.dims[2] + p.pads.left + p.pads.right, p.kernel_w, p.stride_w), input.dims[3]};
}

// What the window holds, in the order of lines, then columns. Explicit padding is part of it.
template <typename T>
std::vector<T> Window(const Pool2DParams& p, const Operand<T>& x, const TensorShape& output, int64_t n, int64_t oy,
                      int64_t ox, int64_t c) {
  const int64_t height = x.shape.dims[1], width = x.shape.dims[2], channels = x.shape.dims[3];
  const int64_t y0 = oy * p.stride_h - PadBefore(p, height, output.dims[1], p.kernel_h, p.stride_h, p.pads.top);
  const int64_t x0 = ox * p.stride_w - PadBefore(p, width, output.dims[2], p.kernel_w, p.stride_w, p.pads.left);
  std::vector<T> window;
  for (int64_t iy = y0; iy < y0 + p.kernel_h; ++iy) {
    for (int64_t ix = x0; ix < x0 + p.kernel_w; ++ix) {
      if (iy < 0 || iy >= height || ix < 0 || ix >= width) {
        if (p.padding == Padding::kValid) window.push_back(std::is_same_v<T, float> ? p.float_pad : p.int8_pad);
        continue;
      }
      window.push_back(x.values[static_cast<size_t>(((n * height + iy) * width + ix) * channels + c)]);
    }
  }
  return window;
}

float Expected(const Pool2DParams& p, const std::vector<float>& window) {
  float y = p.kind == PoolKind::kMax ? std::numeric_limits<float>::lowest() : 0.0f;
  for (const float x : window) y = p.kind == PoolKind::kMax ? (x > y ? x : y) : y + x;
  if (p.kind == PoolKind::kAverage) y /= static_cast<float>(window.size());
  const ActivationRange range = RangeOf(p.activation);
  return y < range.min ? range.min : y > range.max ? range.max : y;
}

int8_t Expected(const Pool2DParams& p, const std::vector<int8_t>& window) {
  double y = p.kind == PoolKind::kMax ? -128 : 0;
  for (const int8_t x : window) y = p.kind == PoolKind::kMax ? std::max<double>(x, y) : y + x;
  if (p.kind == PoolKind::kAverage) {
    const double count = static_cast<double>(window.size()), half = std::floor(count / 2);
    y = std::trunc((y > 0 ? y + half : y - half) / count);
  }
  const ActivationRange range = RangeOf(p.activation);
  const double zero = p.quantization.zero, scale = p.quantization.scale;
  if (std::isfinite(range.min)) y = std::max(y, zero + std::round(range.min / scale));
  if (std::isfinite(range.max)) y = std::min(y, zero + std::round(range.max / scale));
  return static_cast<int8_t>(std::min(127.0, std::max(-128.0, y)));
}

template <typename T>
void Check(const Pool2DParams& params, const Operand<T>& x, int threads = 1) {
  const TensorShape shape = OutputShape(params, x.shape);
  std::vector<T> expected;
  for (int64_t n = 0; n < shape.dims[0]; ++n) {
    for (int64_t oy = 0; oy < shape.dims[1]; ++oy) {
      for (int64_t ox = 0; ox < shape.dims[2]; ++ox) {
        for (int64_t c = 0; c < shape.dims[3]; ++c) {
          expected.push_back(Expected(params, Window(params, x, shape, n, oy, ox, c)));
        }
      }
    }
  }
  for (const KernelSet* kernels : AllKernelSets()) {
    SCOPED_TRACE(Text(x.shape) + " kernel " + std::to_string(params.kernel_h) + "x" + std::to_string(params.kernel_w) +
                 " stride " + std::to_string(params.stride_h) + "x" + std::to_string(params.stride_w) + " on " +
                 IsaName(kernels->isa));
    Status status = Status::kOk;
    const auto op = CreatePool2D(params, *kernels, &status);
    ASSERT_NE(op, nullptr) << StatusText(status);
    const std::vector<T> y = RunWeightless<T, T>(*op, {x}, shape, threads);
    ASSERT_EQ(y.size(), expected.size());
    for (size_t i = 0; i < y.size(); ++i) {
      ASSERT_TRUE(y[i] == expected[i] ||
                  (std::isnan(static_cast<double>(expected[i])) && std::isnan(static_cast<double>(y[i]))))
          << "output " << i << " is " << static_cast<double>(y[i]) << ", not " << static_cast<double>(expected[i]);
    }
    EXPECT_FALSE(op->RunsInPlace(0));
  }
}

Pool2DParams Params(PoolKind kind, ElementType type, int kernel, int stride, Padding padding) {
  Pool2DParams p;
  p.kind = kind;
  p.type = type;
  p.kernel_h = p.kernel_w = kernel;
  p.stride_h = p.stride_w = stride;
  p.padding = padding;
  return p;
}

TEST(Pool2D, RandomCases) {
  Random random(1);
  for (int i = 0; i < 120 && !::testing::Test::HasFailure(); ++i) {
    Pool2DParams p;
    p.kind = random.Coin() ? PoolKind::kMax : PoolKind::kAverage;
    p.kernel_h = static_cast<int>(random.Int(1, 5));
    p.kernel_w = static_cast<int>(random.Int(1, 5));
    p.stride_h = static_cast<int>(random.Int(1, 4));
    p.stride_w = static_cast<int>(random.Int(1, 4));
    p.padding = random.Coin() ? Padding::kSame : Padding::kValid;
    p.activation = static_cast<Activation>(random.Int(0, 3));
    p.quantization = {random.Floats(1, 0.01f, 0.2f)[0], static_cast<int32_t>(random.Int(-128, 127))};
    const bool valid = p.padding == Padding::kValid;
    const TensorShape shape = {random.Int(1, 2), random.Int(valid ? p.kernel_h : 1, 9),
                               random.Int(valid ? p.kernel_w : 1, 9), random.Int(1, random.Coin() ? 8 : 140)};
    Check(p, RandomFloats(random, shape, -8, 8), 1 + i % 3);
    p.type = ElementType::kInt8;
    Check(p, RandomInt8(random, shape), 1 + i % 3);
  }
}

// A PAD in front that the op does itself: its value takes part, and windows may hold nothing else.
TEST(Pool2D, ExplicitPadding) {
  Random random(21);
  for (int i = 0; i < 120 && !::testing::Test::HasFailure(); ++i) {
    Pool2DParams p = Params(PoolKind::kMax, ElementType::kFloat32, 1, 1, Padding::kValid);
    p.kernel_h = static_cast<int>(random.Int(1, 4));
    p.kernel_w = static_cast<int>(random.Int(1, 4));
    p.stride_h = static_cast<int>(random.Int(1, 3));
    p.stride_w = static_cast<int>(random.Int(1, 3));
    p.activation = static_cast<Activation>(random.Int(0, 3));
    p.quantization = {random.Floats(1, 0.01f, 0.2f)[0], static_cast<int32_t>(random.Int(-128, 127))};
    const TensorShape shape = {random.Int(1, 2), random.Int(1, 9), random.Int(1, 9), random.Int(1, 70)};
    p.pads = RandomPads(random, p.kernel_h, p.kernel_w, shape.dims[1], shape.dims[2]);
    p.float_pad = std::vector<float>{0.0f, 0.5f, -20.0f, 20.0f, -std::numeric_limits<float>::infinity()}[i % 5];
    p.int8_pad = static_cast<int8_t>(random.Int(-128, 127));
    Check(p, RandomFloats(random, shape, -8, 8), 1 + i % 3);
    p.type = ElementType::kInt8;
    Check(p, RandomInt8(random, shape), 1 + i % 3);
  }
}

TEST(Pool2D, NetworkShapes) {
  Random random(2);
  for (const int threads : {1, 3}) {
    Check(Params(PoolKind::kMax, ElementType::kFloat32, 3, 2, Padding::kSame), RandomFloats(random, {1, 56, 56, 64}),
          threads);
    Check(Params(PoolKind::kMax, ElementType::kInt8, 3, 2, Padding::kValid), RandomInt8(random, {1, 57, 57, 64}),
          threads);
    Check(Params(PoolKind::kAverage, ElementType::kFloat32, 7, 1, Padding::kValid),
          RandomFloats(random, {2, 7, 7, 1280}), threads);
    Check(Params(PoolKind::kAverage, ElementType::kInt8, 7, 1, Padding::kValid), RandomInt8(random, {2, 7, 7, 1280}),
          threads);
  }
}

// Sums that are far above 2^24 / 2 and whose division is an integer one.
TEST(Pool2D, LargeInt8Window) {
  for (const int value : {-128, 127, 1}) {
    const Operand<int8_t> x{{1, 200, 201, 1}, std::vector<int8_t>(200 * 201, static_cast<int8_t>(value))};
    Pool2DParams p = Params(PoolKind::kAverage, ElementType::kInt8, 200, 1, Padding::kValid);
    Check(p, x);
    p.kernel_w = 160;  // below the limit
    Check(p, x);
  }
}

// Every sum of a window of three, for each rounding; and of two, which has halves.
TEST(Pool2D, Int8AverageRounding) {
  for (const int kernel : {2, 3}) {
    Pool2DParams p = Params(PoolKind::kAverage, ElementType::kInt8, 1, kernel, Padding::kValid);
    p.kernel_w = kernel;
    p.stride_h = 1;
    Operand<int8_t> x{{1, 1, 256 * kernel, 1}, {}};
    for (int i = -128; i <= 127; ++i) {
      for (int k = 0; k < kernel; ++k) x.values.push_back(static_cast<int8_t>(k == 0 ? i : i / 2));
    }
    Check(p, x);
  }
}

TEST(Pool2D, NoNumbers) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kNotANumber = std::numeric_limits<float>::quiet_NaN();
  const Operand<float> x{{1, 1, 8, 1}, {kNotANumber, 1, 2, kNotANumber, kInf, -kInf, -kInf, -kInf}};
  for (const PoolKind kind : {PoolKind::kMax, PoolKind::kAverage}) {
    Pool2DParams p = Params(kind, ElementType::kFloat32, 1, 2, Padding::kValid);
    p.kernel_w = 2;
    p.stride_h = 1;
    Check(p, x);
  }
}

TEST(Pool2D, Errors) {
  Pool2DParams params = Params(PoolKind::kMax, ElementType::kFloat32, 3, 2, Padding::kValid);
  const auto op = CreatePool2D(params, *BestKernels(), nullptr);
  const auto pool = ThreadPool::Create(1);
  EXPECT_EQ(op->Run(nullptr, nullptr, *pool), Status::kNotReady);
  TensorShape output;
  for (const TensorShape& bad :
       {TensorShape{1, 2, 3, 4}, TensorShape{1, 3, 3}, TensorShape{1, 3, 3, 0}, TensorShape{1, 0, 3, 4},
        TensorShape{-1, 3, 3, 4}, TensorShape{INT32_MAX, INT32_MAX, INT32_MAX, 4}}) {
    EXPECT_EQ(op->Reshape(&bad, 1, &output), Status::kInvalidArgument) << Text(bad);
    EXPECT_EQ(op->Run(nullptr, nullptr, *pool), Status::kNotReady);
  }
  const TensorShape empty = {0, 3, 3, 4};
  EXPECT_EQ(op->Reshape(&empty, 1, &output), Status::kOk);
  const void* none[] = {nullptr};
  EXPECT_EQ(op->Run(none, nullptr, *pool), Status::kOk);
  for (int Pool2DParams::* field :
       {&Pool2DParams::kernel_h, &Pool2DParams::kernel_w, &Pool2DParams::stride_h, &Pool2DParams::stride_w}) {
    Pool2DParams bad = params;
    bad.*field = 0;
    Status status = Status::kOk;
    EXPECT_EQ(CreatePool2D(bad, *BestKernels(), &status), nullptr);
    EXPECT_EQ(status, Status::kInvalidArgument);
  }
  for (const auto& [kind, padding, top] :
       {std::tuple{PoolKind::kAverage, Padding::kValid, 1}, std::tuple{PoolKind::kMax, Padding::kSame, 1},
        std::tuple{PoolKind::kMax, Padding::kValid, -1}}) {
    Pool2DParams bad = Params(kind, ElementType::kFloat32, 3, 2, padding);
    bad.pads.top = top;
    EXPECT_EQ(CreatePool2D(bad, *BestKernels(), nullptr), nullptr) << "padding that the op does not have";
  }
  params.kernel_h = params.kernel_w = 4096;
  EXPECT_EQ(CreatePool2D(params, *BestKernels(), nullptr), nullptr) << "a window that no sum is made for";
  EXPECT_EQ(AllocationsOf([](const KernelSet& kernels, Status* status) { return CreatePool2D({}, kernels, status); }),
            1);
}

}  // namespace
}  // namespace dgms::testing
