// RELU, RELU6, RELU_N1_TO_1, HARD_SWISH and LOGISTIC on every instruction set.
#include "ops/unary.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "ops/weightless_testing.h"

namespace dgms::testing {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNotANumber = std::numeric_limits<float>::quiet_NaN();

// Runs on every instruction set; all of them must agree bit for bit. Returns the results.
template <typename T>
std::vector<T> RunUnary(const UnaryParams& params, const Operand<T>& x, int threads = 1) {
  std::vector<T> first;
  for (const KernelSet* kernels : AllKernelSets()) {
    SCOPED_TRACE(IsaName(kernels->isa));
    Status status = Status::kOk;
    const auto op = CreateUnary(params, *kernels, &status);
    EXPECT_NE(op, nullptr) << StatusText(status);
    if (op == nullptr) return {};
    const std::vector<T> result = RunWeightless<T, T>(*op, {x}, x.shape, threads);
    EXPECT_TRUE(op->RunsInPlace(0));
    if (first.empty()) first = result;
    EXPECT_EQ(result.size(), first.size());
    if (!result.empty() && std::memcmp(first.data(), result.data(), result.size() * sizeof(T)) != 0) {
      ADD_FAILURE() << "other results than the first instruction set's";
    }
  }
  return first;
}

UnaryParams Float(UnaryFunction function) {
  UnaryParams params;
  params.function = function;
  return params;
}

TEST(Unary, FloatRelus) {
  Random random(1);
  Operand<float> x = RandomFloats(random, {3, 67}, -8, 8);
  x.values[5] = kInf;
  x.values[70] = -kInf;
  x.values[100] = kNotANumber;
  const auto check = [&](UnaryFunction function, float min, float max) {
    const std::vector<float> y = RunUnary(Float(function), x);
    for (size_t i = 0; i < y.size(); ++i) {
      const float expected = std::isnan(x.values[i]) ? x.values[i] : std::min(max, std::max(min, x.values[i]));
      ASSERT_TRUE(y[i] == expected || (std::isnan(y[i]) && std::isnan(expected))) << y[i] << " of " << x.values[i];
    }
  };
  check(UnaryFunction::kRelu, 0, kInf);
  check(UnaryFunction::kRelu6, 0, 6);
  check(UnaryFunction::kReluN1To1, -1, 1);
}

// Each of the four operations rounded to float, as the reference kernel's are.
TEST(Unary, FloatHardSwish) {
  Random random(2);
  Operand<float> x = RandomFloats(random, {500}, -5, 5);
  x.values[3] = kNotANumber;
  x.values[4] = -3.0f;
  x.values[5] = 3.0f;
  x.values[6] = kInf;
  const std::vector<float> y = RunUnary(Float(UnaryFunction::kHardSwish), x);
  for (size_t i = 0; i < y.size(); ++i) {
    const volatile float moved = x.values[i] + 3.0f;
    const volatile float factor = std::min(6.0f, std::max(0.0f, float{moved}));
    const volatile float product = x.values[i] * factor;
    const float expected = product / 6.0f;
    ASSERT_TRUE(y[i] == expected || (std::isnan(y[i]) && std::isnan(x.values[i]))) << y[i] << " of " << x.values[i];
  }
}

// Within 4 units in the last place of the exact value, over the whole range of float.
TEST(Unary, FloatLogistic) {
  Random random(3);
  std::vector<float> values = random.Floats(3000, -20, 20);
  for (float x = -120; x <= 120; x += 0.25f) values.push_back(x);
  for (int e = -149; e <= 127; ++e) values.insert(values.end(), {std::ldexp(1.0f, e), -std::ldexp(1.0f, e)});
  values.insert(values.end(), {0.0f, -0.0f, -87.33654f, -87.33655f, -88.72283f, -88.72284f, 88.72283f, 88.72284f,
                               std::numeric_limits<float>::max(), std::numeric_limits<float>::lowest()});
  const Operand<float> x{{static_cast<int64_t>(values.size())}, values};
  const std::vector<float> y = RunUnary(Float(UnaryFunction::kLogistic), x);
  for (size_t i = 0; i < y.size(); ++i) {
    const double expected = 1.0 / (1.0 + std::exp(-static_cast<double>(values[i])));
    const double tolerance = 4 * kEpsilon * expected + std::numeric_limits<float>::min();
    ASSERT_LE(std::abs(y[i] - expected), tolerance) << y[i] << " of " << values[i];
  }
}

TEST(Unary, FloatLogisticOfNoNumbers) {
  const std::vector<float> y =
      RunUnary(Float(UnaryFunction::kLogistic), Operand<float>{{3}, {kInf, -kInf, kNotANumber}});
  EXPECT_EQ(y[0], 1.0f);
  EXPECT_EQ(y[1], 0.0f);
  EXPECT_TRUE(std::isnan(y[2]));
}

TEST(Unary, PiecesAndThreads) {
  Random random(4);
  const Operand<float> x = RandomFloats(random, {70001}, -9, 9);
  const Operand<int8_t> q = RandomInt8(random, {3, 23001});
  for (int function = 0; function <= 4; ++function) {
    UnaryParams params = Float(static_cast<UnaryFunction>(function));
    const std::vector<float> alone = RunUnary(params, x);
    UnaryParams int8 = params;
    int8.type = ElementType::kInt8;
    int8.output.scale = 1.0f / 256;
    int8.input.scale = 1.0f / 256;
    const std::vector<int8_t> int8_alone = RunUnary(int8, q);
    for (const int threads : {2, 7}) {
      EXPECT_EQ(RunUnary(params, x, threads), alone);
      EXPECT_EQ(RunUnary(int8, q, threads), int8_alone);
    }
  }
}

// All 256 values.
std::vector<int8_t> RunAllValues(const UnaryParams& params) {
  Operand<int8_t> x{{256}, std::vector<int8_t>(256)};
  for (int i = 0; i < 256; ++i) x.values[i] = static_cast<int8_t>(i - 128);
  return RunUnary(params, x);
}

UnaryParams Int8(UnaryFunction function, Quantization input, Quantization output) {
  return {function, ElementType::kInt8, input, output};
}

TEST(Unary, Int8Relus) {
  Random random(5);
  for (int i = 0; i < 12; ++i) {
    const Quantization input = {random.Floats(1, 0.005f, 0.2f)[0], static_cast<int32_t>(random.Int(-128, 127))};
    const Quantization output = {random.Floats(1, 0.005f, 0.2f)[0], static_cast<int32_t>(random.Int(-128, 127))};
    const UnaryFunction function = static_cast<UnaryFunction>(i % 3);
    const float low = function == UnaryFunction::kReluN1To1 ? -1.0f : 0.0f;
    const float high = function == UnaryFunction::kRelu ? kInf : function == UnaryFunction::kRelu6 ? 6.0f : 1.0f;
    const std::vector<int8_t> y = RunAllValues(Int8(function, input, output));
    for (int x = -128; x <= 127; ++x) {
      const float factor = input.scale / output.scale;
      double expected = ReferenceMultiply(x - input.zero, factor) + output.zero;
      expected = std::max(expected, std::max(-128.0, output.zero + double{std::round(low / output.scale)}));
      expected = std::min(expected, std::min(127.0, output.zero + double{std::round(high / output.scale)}));
      ASSERT_EQ(y[x + 128], expected) << "function " << i % 3 << " of " << x;
    }
  }
}

// The nearest value, unless it is so near to a half that the float arithmetic of the runtime's table decides.
TEST(Unary, Int8Logistic) {
  Random random(6);
  for (int i = 0; i < 12; ++i) {
    const Quantization input = {random.Floats(1, 0.005f, 0.2f)[0], static_cast<int32_t>(random.Int(-128, 127))};
    const Quantization output = {1.0f / 256, i < 6 ? -128 : static_cast<int32_t>(random.Int(-128, 127))};
    const std::vector<int8_t> y = RunAllValues(Int8(UnaryFunction::kLogistic, input, output));
    for (int x = -128; x <= 127; ++x) {
      const double exact = 256 / (1 + std::exp(-static_cast<double>(input.scale) * (x - input.zero)));
      const double expected = std::max(-128.0, std::min(127.0, std::round(exact) + output.zero));
      if (std::abs(exact - std::floor(exact) - 0.5) > 1e-4) {
        ASSERT_EQ(y[x + 128], expected) << x;
      }
    }
  }
}

// What the reference kernel of LiteRT 2.3.0 computes of -128, -113, ... 127.
TEST(Unary, Int8HardSwishOfTheReferenceKernel) {
  struct Golden {
    Quantization input, output;
    std::vector<int> y;
  };
  const Golden golden[] = {
      {{0.05f, -10},
       {0.04f, -128},
       {-128, -128, -128, -128, -128, -128, -128, -128, -127, -114, -97, -76, -51, -32, -13, 6, 24, 43}},
      {{0.1f, 0},
       {0.05f, -90},
       {-90, -90, -90, -90, -90, -90, -90, -95, -96, -81, -52, -16, 14, 44, 74, 104, 127, 127}},
      {{0.0008f, 100},
       {0.0005f, 3},
       {-128, -128, -128, -128, -125, -114, -103, -92, -81, -70, -58, -47, -35, -23, -11, 1, 13, 25}},
      {{0.9f, -128},
       {1.3f, -120},
       {-120, -110, -99, -89, -78, -68, -58, -47, -37, -27, -16, -6, 5, 15, 25, 36, 46, 57}},
  };
  for (const Golden& g : golden) {
    const std::vector<int8_t> y = RunAllValues(Int8(UnaryFunction::kHardSwish, g.input, g.output));
    for (size_t i = 0; i < g.y.size(); ++i) EXPECT_EQ(y[15 * i], g.y[i]) << "of " << 15 * static_cast<int>(i) - 128;
  }
}

// Near the real function: within what 15 bits of factors and the output's step allow.
TEST(Unary, Int8HardSwishIsNearTheFunction) {
  Random random(7);
  for (int i = 0; i < 12; ++i) {
    const Quantization input = {random.Floats(1, 0.005f, 0.2f)[0], static_cast<int32_t>(random.Int(-128, 127))};
    const Quantization output = {random.Floats(1, 0.005f, 0.2f)[0], static_cast<int32_t>(random.Int(-128, 127))};
    const std::vector<int8_t> y = RunAllValues(Int8(UnaryFunction::kHardSwish, input, output));
    for (int q = -128; q <= 127; ++q) {
      const double x = static_cast<double>(input.scale) * (q - input.zero);
      const double exact = x * std::min(6.0, std::max(0.0, x + 3)) / 6 / output.scale + output.zero;
      EXPECT_NEAR(y[q + 128], std::min(127.0, std::max(-128.0, exact)), 1.0 + 0.01 * std::abs(exact)) << q;
    }
  }
}

TEST(Unary, Int8WhatReferenceKernelsRefuse) {
  const auto created = [](const UnaryParams& params) {
    Status status = Status::kOk;
    const bool ok = CreateUnary(params, *BestKernels(), &status) != nullptr;
    EXPECT_EQ(status, ok ? Status::kOk : Status::kInvalidArgument);
    return ok;
  };
  EXPECT_TRUE(created(Int8(UnaryFunction::kLogistic, {0.1f, 0}, {1.0f / 256, -128})));
  EXPECT_FALSE(created(Int8(UnaryFunction::kLogistic, {0.1f, 0}, {1.0f / 255, -128})));
  EXPECT_TRUE(created(Int8(UnaryFunction::kHardSwish, {1.0f, 0}, {1.0f / 64, 0})));
  EXPECT_FALSE(created(Int8(UnaryFunction::kHardSwish, {1.0f, 0}, {1.0f / 512, 0})));
  EXPECT_FALSE(created(Int8(UnaryFunction::kHardSwish, {1.0f, 0}, {1e6f, 0})));
  EXPECT_FALSE(created(Int8(UnaryFunction::kHardSwish, {1e-8f, 0}, {1.0f, 0})));
  EXPECT_FALSE(created(Int8(UnaryFunction::kRelu6, {1.0f, 0}, {1e-9f, 0})));
  EXPECT_FALSE(created(Int8(UnaryFunction::kRelu, {1.0f, 0}, {1.0f, 128})));
  EXPECT_FALSE(created(Int8(UnaryFunction::kRelu, {-1.0f, 0}, {1.0f, 0})));
}

TEST(Unary, ErrorsAndAllocations) {
  const auto op = CreateUnary({}, *BestKernels(), nullptr);
  const auto pool = ThreadPool::Create(1);
  TensorShape output;
  EXPECT_EQ(op->Run(nullptr, nullptr, *pool), Status::kNotReady);
  const TensorShape two[] = {{2}, {2}}, bad = {-2};
  EXPECT_EQ(op->Reshape(two, 2, &output), Status::kInvalidArgument);
  EXPECT_EQ(op->Reshape(&bad, 1, &output), Status::kInvalidArgument);
  EXPECT_EQ(AllocationsOf([](const KernelSet& kernels, Status* status) { return CreateUnary({}, kernels, status); }),
            1);
}

}  // namespace
}  // namespace dgms::testing
