// MEAN and SOFTMAX on every instruction set.
#include <gtest/gtest.h>

#include <limits>

#include "ops/mean.h"
#include "ops/softmax.h"
#include "ops/weightless_testing.h"

namespace dgms::testing {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNotANumber = std::numeric_limits<float>::quiet_NaN();

// The elements of every mean, in the input's order.
template <typename T>
std::vector<std::vector<T>> Reduced(const MeanParams& p, const Operand<T>& x, TensorShape* output) {
  bool reduced[TensorShape::kMaxRank] = {};
  for (int i = 0; i < p.axis_count; ++i) reduced[(p.axes[i] + x.shape.rank) % x.shape.rank] = true;
  *output = TensorShape();
  int64_t count = 1;
  for (int i = 0; i < x.shape.rank; ++i) {
    if (!reduced[i]) count *= x.shape.dims[i];
    if (!reduced[i] || p.keep_dims) output->dims[output->rank++] = reduced[i] ? 1 : x.shape.dims[i];
  }
  std::vector<std::vector<T>> groups(static_cast<size_t>(count));
  for (int64_t index = 0; index < x.shape.Count(); ++index) {
    int64_t rest = index, to = 0, stride = 1;
    for (int i = x.shape.rank - 1; i >= 0; --i) {
      if (!reduced[i]) {
        to += rest % x.shape.dims[i] * stride;
        stride *= x.shape.dims[i];
      }
      rest /= x.shape.dims[i];
    }
    groups[static_cast<size_t>(to)].push_back(x.values[static_cast<size_t>(index)]);
  }
  return groups;
}

// The reference kernel: the multiplier of the scales' quotient is shifted to the left by as many bits as the number of
// values has behind its first, divided by that number (cut off), and shifted back in the end.
double ReferenceInt8Mean(const MeanParams& p, const std::vector<int8_t>& values) {
  int64_t sum = 0;
  for (const int8_t value : values) sum += value - p.input.zero;
  int exponent = 0;
  const double fraction =
      std::frexp(static_cast<double>(p.input.scale) / static_cast<double>(p.output.scale), &exponent);
  const int64_t multiplier = static_cast<int64_t>(std::round(std::ldexp(fraction, 31)));
  const int64_t count = static_cast<int64_t>(values.size());
  int shift = 0;
  while ((int64_t{2} << shift) <= count) ++shift;
  shift = std::min(shift, 31 + exponent);
  const double quotient = std::floor(std::ldexp(static_cast<double>(multiplier), shift) / static_cast<double>(count));
  exponent -= shift;
  if (exponent > 0) sum *= int64_t{1} << exponent;
  const long double high = std::floor(std::ldexp(static_cast<long double>(sum) * quotient, -31) + 0.5L);
  const double y = static_cast<double>(exponent < 0 ? std::round(std::ldexp(high, exponent)) : high);
  return std::min(127.0, std::max(-128.0, y + p.output.zero));
}

template <typename T>
void CheckMean(const MeanParams& params, const Operand<T>& x, int threads = 1) {
  TensorShape shape;
  const std::vector<std::vector<T>> groups = Reduced(params, x, &shape);
  std::vector<T> first;
  for (const KernelSet* kernels : AllKernelSets()) {
    SCOPED_TRACE(Text(x.shape) + " to " + Text(shape) + " on " + IsaName(kernels->isa));
    Status status = Status::kOk;
    const auto op = CreateMean(params, *kernels, &status);
    ASSERT_NE(op, nullptr) << StatusText(status);
    const std::vector<T> y = RunWeightless<T, T>(*op, {x}, shape, threads);
    ASSERT_EQ(y.size(), groups.size());
    for (size_t i = 0; i < y.size(); ++i) {
      if constexpr (sizeof(T) == 1) {
        ASSERT_EQ(int{y[i]}, ReferenceInt8Mean(params, groups[i])) << "output " << i;
      } else {
        double sum = 0, magnitude = 0;
        for (const float value : groups[i]) {
          sum += value;
          magnitude += std::abs(value);
        }
        const double count = static_cast<double>(groups[i].size());
        ASSERT_LE(std::abs(y[i] - sum / count), SumTolerance(magnitude) / count) << "output " << i;
      }
    }
    if (first.empty()) first = y;
    EXPECT_EQ(y, first) << "other results than the first instruction set's";
    EXPECT_FALSE(op->RunsInPlace(0));
  }
}

MeanParams Axes(std::initializer_list<int> axes, bool keep_dims = false) {
  MeanParams params;
  for (const int axis : axes) params.axes[params.axis_count++] = axis;
  params.keep_dims = keep_dims;
  return params;
}

TEST(Mean, AllAxes) {
  Random random(1);
  const TensorShape shape = {2, 3, 4, 5};
  for (int mask = 0; mask < 16; ++mask) {
    for (const bool keep_dims : {false, true}) {
      MeanParams params = Axes({}, keep_dims);
      for (int axis = 3; axis >= 0; --axis) {
        if (mask >> axis & 1) params.axes[params.axis_count++] = axis % 2 == 0 ? axis : axis - 4;
      }
      CheckMean(params, RandomFloats(random, shape));
      params.type = ElementType::kInt8;
      params.input = {random.Floats(1, 0.01f, 0.2f)[0], static_cast<int32_t>(random.Int(-128, 127))};
      params.output = {random.Floats(1, 0.01f, 0.2f)[0], static_cast<int32_t>(random.Int(-128, 127))};
      CheckMean(params, RandomInt8(random, shape));
    }
  }
}

TEST(Mean, ShapesAndThreads) {
  Random random(2);
  for (const int threads : {1, 2, 5}) {
    CheckMean(Axes({1, 2}), RandomFloats(random, {1, 7, 7, 2048}), threads);
    CheckMean(Axes({1, 2}, true), RandomFloats(random, {3, 14, 13, 259}), threads);
    CheckMean(Axes({-1}), RandomFloats(random, {3, 50, 301}), threads);
    CheckMean(Axes({0, 0}), RandomFloats(random, {70, 1, 1, 65}), threads);
    CheckMean(Axes({0}), RandomFloats(random, {1}), threads);
    CheckMean(Axes({1, 3}), RandomFloats(random, {3, 5, 7, 67}), threads);
    CheckMean(Axes({1, 3, 5}), RandomFloats(random, {2, 3, 2, 3, 2, 3}), threads);
    MeanParams int8 = Axes({2, 1}, true);
    int8.type = ElementType::kInt8;
    int8.input = {0.05f, 3};
    int8.output = {0.04f, -7};
    CheckMean(int8, RandomInt8(random, {2, 7, 7, 1280}), threads);
  }
}

// Few lines of many rows, which are summed in parts: as many for any number of threads.
TEST(Mean, PartsOfRows) {
  Random random(4);
  MeanParams int8 = Axes({1, 2});
  int8.type = ElementType::kInt8;
  int8.input = {0.05f, 3};
  int8.output = {0.01f, -7};
  for (const TensorShape& shape : {TensorShape{1, 28, 28, 120}, TensorShape{7, 40, 40, 17}, TensorShape{1, 3, 1, 65536},
                                   TensorShape{1, 1, 65536, 1}, TensorShape{1, 31, 31, 1001}}) {
    const Operand<float> x = RandomFloats(random, shape);
    const Operand<int8_t> q = RandomInt8(random, shape);
    const TensorShape output = {shape.dims[0], shape.dims[3]};
    std::vector<float> first;
    for (const int threads : {1, 2, 5}) {
      CheckMean(Axes({1, 2}), x, threads);
      CheckMean(int8, q, threads);
      const auto op = CreateMean(Axes({1, 2}), *BestKernels(), nullptr);
      const std::vector<float> y = RunWeightless<float, float>(*op, {x}, output, threads);
      if (first.empty()) first = y;
      EXPECT_EQ(y, first) << Text(shape) << " with " << threads << " threads";
    }
  }
  for (const MeanParams& params : {Axes({1, 2}), int8}) {
    const auto op = CreateMean(params, *BestKernels(), nullptr);
    const TensorShape shape = {1, 28, 28, 120};
    TensorShape output;
    const FailAllocation fail(0);
    EXPECT_EQ(op->Reshape(&shape, 1, &output), Status::kOutOfMemory);
  }
}

TEST(Mean, Int8OddScales) {
  Random random(3);
  const Operand<int8_t> x = RandomInt8(random, {1, 6, 5, 20});
  const float scales[][2] = {{1, 1}, {1, 1e-3f}, {1e-3f, 1}, {1e-9f, 1}, {1e-12f, 1}, {1, 64}, {3, 1}};
  for (const auto& [input, output] : scales) {
    MeanParams params = Axes({1, 2});
    params.type = ElementType::kInt8;
    params.input = {input, -20};
    params.output = {output, 10};
    if (input >= 1e-9f) CheckMean(params, x);
    Status status = Status::kOk;
    EXPECT_NE(CreateMean(params, *BestKernels(), &status), nullptr);
  }
}

TEST(Mean, NoNumbersPass) {
  const Operand<float> x{{2, 4}, {1, kNotANumber, 3, kInf, 1, -kInf, kInf, 3}};
  for (const KernelSet* kernels : AllKernelSets()) {
    const auto op = CreateMean(Axes({0}), *kernels, nullptr);
    const std::vector<float> y = RunWeightless<float, float>(*op, {x}, {4});
    EXPECT_EQ(y[0], 1.0f);
    EXPECT_TRUE(std::isnan(y[1]));
    EXPECT_EQ(y[2], kInf);
    EXPECT_EQ(y[3], kInf);
    const auto all = CreateMean(Axes({0, 1}), *kernels, nullptr);
    EXPECT_TRUE(std::isnan((RunWeightless<float, float>(*all, {x}, {})[0])));
  }
}

TEST(Mean, Errors) {
  const auto op = CreateMean(Axes({2}), *BestKernels(), nullptr);
  const auto pool = ThreadPool::Create(1);
  TensorShape output;
  EXPECT_EQ(op->Run(nullptr, nullptr, *pool), Status::kNotReady);
  for (const TensorShape& bad : {TensorShape{3, 4}, TensorShape{}, TensorShape{2, 0, 3}, TensorShape{2, 3, -1}}) {
    EXPECT_EQ(op->Reshape(&bad, 1, &output), Status::kInvalidArgument) << Text(bad);
    EXPECT_EQ(op->Run(nullptr, nullptr, *pool), Status::kNotReady);
  }
  MeanParams many = Axes({});
  many.axis_count = TensorShape::kMaxRank + 1;
  EXPECT_EQ(CreateMean(many, *BestKernels(), nullptr), nullptr);
  MeanParams int8 = Axes({0});
  int8.type = ElementType::kInt8;
  const auto sum = CreateMean(int8, *BestKernels(), nullptr);
  const TensorShape large = {1 << 23};
  EXPECT_EQ(sum->Reshape(&large, 1, &output), Status::kInvalidArgument) << "its sum may not fit";
  EXPECT_EQ(AllocationsOf([](const KernelSet& kernels, Status* status) { return CreateMean({}, kernels, status); }), 1);
}

// ---------------------------------------------------------------------------------------------------------------------

// The bound that softmax.h states.
void CheckSoftmax(const Operand<float>& x, float beta, int threads = 1) {
  SoftmaxParams params;
  params.beta = beta;
  const int64_t depth = x.shape.dims[x.shape.rank - 1];
  std::vector<float> first;
  for (const KernelSet* kernels : AllKernelSets()) {
    SCOPED_TRACE(Text(x.shape) + " on " + IsaName(kernels->isa));
    const auto op = CreateSoftmax(params, *kernels, nullptr);
    ASSERT_NE(op, nullptr);
    const std::vector<float> y = RunWeightless<float, float>(*op, {x}, x.shape, threads);
    if (first.empty()) first = y;
    EXPECT_EQ(y, first) << "other results than the first instruction set's";
    for (int64_t row = 0; row < x.shape.Count() / depth; ++row) {
      const float* values = x.values.data() + row * depth;
      const double largest = *std::max_element(values, values + depth);
      double sum = 0, spread = 0;
      for (int64_t i = 0; i < depth; ++i) {
        const double e = std::exp((values[i] - largest) * beta);
        sum += e;
        spread += e * std::abs(values[i] - largest) * beta;
      }
      for (int64_t i = 0; i < depth; ++i) {
        const double exponent = (values[i] - largest) * beta, expected = std::exp(exponent) / sum;
        const double relative = (6 + std::log2(depth)) * kEpsilon + (std::abs(exponent) + spread / sum) * kEpsilon;
        ASSERT_LE(std::abs(y[row * depth + i] - expected), relative * expected + std::numeric_limits<float>::min())
            << "output " << i << " of row " << row << " is " << y[row * depth + i] << ", not " << expected;
      }
    }
  }
}

TEST(Softmax, Float) {
  Random random(4);
  for (int64_t depth = 1; depth < 140; depth += depth < 70 ? 1 : 7) {
    CheckSoftmax(RandomFloats(random, {3, depth}, -9, 9), 1.0f);
  }
  CheckSoftmax(RandomFloats(random, {2, 3, 1000}, -30, 30), 0.5f);
  CheckSoftmax(RandomFloats(random, {5, 1001}, -200, 200), 1.0f);
  CheckSoftmax(RandomFloats(random, {2, 65}, 1e6f, 1.00001e6f), 1.0f);
  for (const int threads : {2, 7}) CheckSoftmax(RandomFloats(random, {1917, 91}, -9, 9), 1.0f, threads);
}

TEST(Softmax, FloatNoNumbers) {
  for (const KernelSet* kernels : AllKernelSets()) {
    const auto op = CreateSoftmax({}, *kernels, nullptr);
    const Operand<float> x{{4, 2}, {kNotANumber, 1, kInf, 1, -kInf, 1, -kInf, -kInf}};
    const std::vector<float> y = RunWeightless<float, float>(*op, {x}, x.shape);
    EXPECT_TRUE(std::isnan(y[0]) && std::isnan(y[1]));
    EXPECT_TRUE(std::isnan(y[2]));
    EXPECT_EQ(y[4], 0.0f);
    EXPECT_EQ(y[5], 1.0f);
    EXPECT_TRUE(std::isnan(y[6]) && std::isnan(y[7]));
  }
}

SoftmaxParams Int8Softmax(float scale, float beta = 1.0f) {
  return {ElementType::kInt8, beta, {scale, 3}, {1.0f / 256, -128}};
}

// What the reference kernel of LiteRT 2.3.0 computes.
TEST(Softmax, Int8OfTheReferenceKernel) {
  struct Golden {
    float scale, beta;
    std::vector<int8_t> x, y;
  };
  const Golden golden[] = {
      {0.05f,
       1.0f,
       {113, 32, 47, 101, 20, 70, 85, -71, -114, -52},
       {2, -126, -123, -57, -127, -113, -96, -128, -128, -128}},
      {0.2f,
       1.0f,
       {-56, 95, 105, -127, -1, 82, -95, 76, -98, -9, 81, -51},
       {-128, -98, 93, -128, -128, -126, -128, -127, -128, -128, -126, -128}},
      {0.011f, 2.0f, {-41, -57, 56, -63, 125, -15, -6, 1}, {-123, -125, -89, -125, 49, -120, -118, -116}},
  };
  for (const Golden& g : golden) {
    const auto op = CreateSoftmax(Int8Softmax(g.scale, g.beta), *BestKernels(), nullptr);
    ASSERT_NE(op, nullptr);
    const TensorShape shape = {1, static_cast<int64_t>(g.x.size())};
    EXPECT_EQ((RunWeightless<int8_t, int8_t>(*op, {{shape, g.x}}, shape)), g.y);
  }
}

// Within one step of the real function, whatever the number of values; the fixed-point numbers have 19 bits or more.
TEST(Softmax, Int8IsNearTheFunction) {
  Random random(5);
  for (const int64_t depth : {1, 2, 10, 91, 500, 1001, 4095}) {
    for (const float scale : {0.001f, 0.05f, 0.7f}) {
      for (const int threads : {1, 3}) {
        Operand<int8_t> x = RandomInt8(random, {7, depth});
        std::fill(x.values.begin(), x.values.begin() + depth, static_cast<int8_t>(random.Int(-128, 127)));  // all alike
        const auto op = CreateSoftmax(Int8Softmax(scale), *BestKernels(), nullptr);
        const std::vector<int8_t> y = RunWeightless<int8_t, int8_t>(*op, {x}, x.shape, threads);
        for (int64_t row = 0; row < 7; ++row) {
          const int8_t* values = x.values.data() + row * depth;
          double sum = 0;
          for (int64_t i = 0; i < depth; ++i) sum += std::exp(static_cast<double>(scale) * values[i]);
          for (int64_t i = 0; i < depth; ++i) {
            const double expected = 256 * std::exp(static_cast<double>(scale) * values[i]) / sum - 128;
            ASSERT_NEAR(y[row * depth + i], std::min(127.0, expected), 1.0) << "depth " << depth << " scale " << scale;
          }
        }
      }
    }
  }
}

TEST(Softmax, Errors) {
  const auto created = [](const SoftmaxParams& params) {
    Status status = Status::kOk;
    const bool ok = CreateSoftmax(params, *BestKernels(), &status) != nullptr;
    EXPECT_EQ(status, ok ? Status::kOk : Status::kInvalidArgument);
    return ok;
  };
  EXPECT_TRUE(created(Int8Softmax(0.1f)));
  SoftmaxParams other = Int8Softmax(0.1f);
  other.output.zero = 0;
  EXPECT_FALSE(created(other));
  other = Int8Softmax(0.1f);
  other.output.scale = 1.0f / 255;
  EXPECT_FALSE(created(other));
  EXPECT_FALSE(created(Int8Softmax(0.1f, 0.0f)));
  EXPECT_FALSE(created(Int8Softmax(0.1f, -1.0f)));
  EXPECT_FALSE(created(Int8Softmax(1e-9f)));
  EXPECT_TRUE(created(Int8Softmax(1e6f)));
  SoftmaxParams infinite;
  infinite.beta = kInf;
  EXPECT_FALSE(created(infinite));

  TensorShape output;
  const auto pool = ThreadPool::Create(1);
  const auto op = CreateSoftmax(Int8Softmax(0.1f), *BestKernels(), nullptr);
  EXPECT_EQ(op->Run(nullptr, nullptr, *pool), Status::kNotReady);
  for (const TensorShape& bad : {TensorShape{}, TensorShape{2, 4096}, TensorShape{2, -1}}) {
    EXPECT_EQ(op->Reshape(&bad, 1, &output), Status::kInvalidArgument) << Text(bad);
  }
  const TensorShape empty = {3, 0};
  EXPECT_EQ(op->Reshape(&empty, 1, &output), Status::kOk);
  const void* none[] = {nullptr};
  EXPECT_EQ(op->Run(none, nullptr, *pool), Status::kOk);
  EXPECT_EQ(AllocationsOf([](const KernelSet& kernels, Status* status) { return CreateSoftmax({}, kernels, status); }),
            1);
}

}  // namespace
}  // namespace dgms::testing
