// PAD, CONCATENATION, copies, QUANTIZE and DEQUANTIZE on every instruction set.
#include <gtest/gtest.h>

#include <limits>

#include "ops/concatenation.h"
#include "ops/copy.h"
#include "ops/pad.h"
#include "ops/quantize.h"
#include "ops/weightless_testing.h"

namespace dgms::testing {
namespace {

template <typename T>
void CheckPad(const PadParams& params, const Operand<T>& x, T value, int threads = 1) {
  TensorShape shape = x.shape;
  for (int i = 0; i < shape.rank; ++i) shape.dims[i] += params.before[i] + params.after[i];
  std::vector<T> expected;
  for (int64_t index = 0; index < shape.Count(); ++index) {
    int64_t rest = index, from = 0, stride = 1;
    bool inside = true;
    for (int i = shape.rank - 1; i >= 0; --i) {
      const int64_t at = rest % shape.dims[i] - params.before[i];
      inside = inside && at >= 0 && at < x.shape.dims[i];
      from += at * stride;
      stride *= x.shape.dims[i];
      rest /= shape.dims[i];
    }
    expected.push_back(inside ? x.values[static_cast<size_t>(from)] : value);
  }
  const auto op = CreatePad(params, *BestKernels(), nullptr);
  ASSERT_NE(op, nullptr);
  EXPECT_EQ((RunWeightless<T, T>(*op, {x}, shape, threads)), expected) << Text(x.shape) << " to " << Text(shape);
}

TEST(Pad, RandomCases) {
  Random random(1);
  for (int i = 0; i < 200 && !::testing::Test::HasFailure(); ++i) {
    PadParams params;
    TensorShape shape;
    shape.rank = params.rank = static_cast<int>(random.Int(0, 5));
    for (int d = 0; d < params.rank; ++d) {
      shape.dims[d] = random.Int(random.Int(0, 9) == 0 ? 0 : 1, 5);
      params.before[d] = random.Coin() ? random.Int(0, 3) : 0;
      params.after[d] = random.Coin() ? random.Int(0, 3) : 0;
    }
    params.float_value = random.Coin() ? 0.0f : 2.5f;
    params.int8_value = static_cast<int8_t>(random.Int(-128, 127));
    CheckPad(params, RandomFloats(random, shape), params.float_value);
    params.type = ElementType::kInt8;
    CheckPad(params, RandomInt8(random, shape), params.int8_value);
  }
}

TEST(Pad, NetworkShape) {
  Random random(2);
  PadParams params;
  params.rank = 4;
  params.before[1] = params.before[2] = 3;
  params.after[1] = params.after[2] = 2;
  for (const int threads : {1, 4}) CheckPad(params, RandomFloats(random, {2, 112, 112, 3}), 0.0f, threads);
}

TEST(Pad, Errors) {
  PadParams params;
  params.rank = 2;
  const auto op = CreatePad(params, *BestKernels(), nullptr);
  const auto pool = ThreadPool::Create(1);
  TensorShape output;
  EXPECT_EQ(op->Run(nullptr, nullptr, *pool), Status::kNotReady);
  for (const TensorShape& bad : {TensorShape{2}, TensorShape{2, 3, 4}, TensorShape{-1, 2}}) {
    EXPECT_EQ(op->Reshape(&bad, 1, &output), Status::kInvalidArgument);
  }
  params.before[0] = INT64_MAX;
  const TensorShape shape = {2, 3};
  const auto huge = CreatePad(params, *BestKernels(), nullptr);
  EXPECT_EQ(huge->Reshape(&shape, 1, &output), Status::kInvalidArgument);
  params.before[0] = -1;
  EXPECT_EQ(CreatePad(params, *BestKernels(), nullptr), nullptr);
  params.before[0] = 0;
  params.rank = TensorShape::kMaxRank + 1;
  EXPECT_EQ(CreatePad(params, *BestKernels(), nullptr), nullptr);
  EXPECT_EQ(AllocationsOf([](const KernelSet& kernels, Status* status) { return CreatePad({}, kernels, status); }), 1);
}

// ---------------------------------------------------------------------------------------------------------------------

template <typename T>
void CheckConcatenation(int axis, const std::vector<Operand<T>>& inputs, int threads = 1) {
  const int along = axis < 0 ? axis + inputs[0].shape.rank : axis;
  TensorShape shape = inputs[0].shape;
  for (size_t i = 1; i < inputs.size(); ++i) shape.dims[along] += inputs[i].shape.dims[along];
  std::vector<T> expected;
  for (int64_t row = 0; row < shape.Count(0, along); ++row) {
    for (const Operand<T>& input : inputs) {
      const int64_t n = input.shape.Count(along, shape.rank);
      expected.insert(expected.end(), input.values.begin() + row * n, input.values.begin() + (row + 1) * n);
    }
  }
  ConcatenationParams params;
  params.type = sizeof(T) == 1 ? ElementType::kInt8 : ElementType::kFloat32;
  params.axis = axis;
  const auto op = CreateConcatenation(params, *BestKernels(), nullptr);
  ASSERT_NE(op, nullptr);
  EXPECT_EQ((RunWeightless<T, T>(*op, inputs, shape, threads)), expected) << Text(shape);
}

TEST(Concatenation, AllAxes) {
  Random random(3);
  for (int axis = -4; axis < 4; ++axis) {
    for (int count = 1; count <= 4; ++count) {
      std::vector<Operand<float>> floats;
      std::vector<Operand<int8_t>> int8s;
      for (int i = 0; i < count; ++i) {
        TensorShape shape = {2, 3, 4, 5};
        shape.dims[(axis + 4) % 4] = random.Int(i == 1 ? 0 : 1, 6);
        floats.push_back(RandomFloats(random, shape));
        int8s.push_back(RandomInt8(random, shape));
      }
      CheckConcatenation(axis, floats);
      CheckConcatenation(axis, int8s);
    }
  }
}

TEST(Concatenation, Threads) {
  Random random(4);
  for (const int threads : {2, 5}) {
    CheckConcatenation<float>(
        1, {RandomFloats(random, {1, 1083, 91}), RandomFloats(random, {1, 600, 91}), RandomFloats(random, {1, 1, 91})},
        threads);
    CheckConcatenation<float>(3, {RandomFloats(random, {1, 28, 28, 70}), RandomFloats(random, {1, 28, 28, 33})},
                              threads);
  }
}

TEST(Concatenation, Errors) {
  const auto op = CreateConcatenation({ElementType::kFloat32, 1}, *BestKernels(), nullptr);
  const auto pool = ThreadPool::Create(1);
  TensorShape output;
  EXPECT_EQ(op->Run(nullptr, nullptr, *pool), Status::kNotReady);
  const TensorShape bad[][2] = {{{2, 3}, {3, 3}}, {{2, 3}, {2, 3, 1}}, {{2}, {2}}, {{2, 3}, {2, -1}}};
  for (const auto& shapes : bad) EXPECT_EQ(op->Reshape(shapes, 2, &output), Status::kInvalidArgument);
  EXPECT_EQ(op->Reshape(bad[0], 0, &output), Status::kInvalidArgument);
  const TensorShape good[] = {{2, 3}, {2, 4}};
  EXPECT_EQ(op->Reshape(good, 2, &output), Status::kOk);
  const auto create = [&](const KernelSet& kernels, Status* status) -> std::unique_ptr<WeightlessOp> {
    auto made = CreateConcatenation({ElementType::kFloat32, 1}, kernels, status);
    if (made == nullptr || (*status = made->Reshape(good, 2, &output)) != Status::kOk) return nullptr;
    return made;
  };
  EXPECT_EQ(AllocationsOf(create), 2);
}

// ---------------------------------------------------------------------------------------------------------------------

TEST(Copy, Copies) {
  Random random(5);
  for (const TensorShape& shape : {TensorShape{}, TensorShape{0, 3}, TensorShape{5}, TensorShape{3, 40000}}) {
    for (const int threads : {1, 3}) {
      const auto op = CreateCopy({ElementType::kFloat32}, *BestKernels(), nullptr);
      const Operand<float> x = RandomFloats(random, shape);
      EXPECT_EQ((RunWeightless<float, float>(*op, {x}, shape, threads)), x.values);
      const auto int8 = CreateCopy({ElementType::kInt8}, *BestKernels(), nullptr);
      const Operand<int8_t> q = RandomInt8(random, shape);
      EXPECT_EQ((RunWeightless<int8_t, int8_t>(*int8, {q}, shape, threads)), q.values);
    }
  }
  const auto op = CreateCopy({}, *BestKernels(), nullptr);
  EXPECT_EQ(op->Run(nullptr, nullptr, *ThreadPool::Create(1)), Status::kNotReady);
  EXPECT_EQ(AllocationsOf([](const KernelSet& kernels, Status* status) { return CreateCopy({}, kernels, status); }), 1);
}

// ---------------------------------------------------------------------------------------------------------------------

QuantizeParams FloatToInt8(Quantization output) { return {ElementType::kFloat32, ElementType::kInt8, {}, output}; }

TEST(Quantize, FloatToInt8) {
  Random random(6);
  for (const Quantization& q :
       {Quantization{0.05f, -10}, Quantization{1.0f, 0}, Quantization{0.25f, 127}, Quantization{7.3f, -128},
        Quantization{1e-4f, 5}, Quantization{1.0f / 127.5f, -1}, Quantization{1e-37f, 7}, Quantization{1.5e36f, 4}}) {
    std::vector<float> values = random.Floats(1000, -200 * q.scale, 200 * q.scale);
    for (int i = -300; i <= 300; ++i) {  // ties, where the scale is a power of two, and their neighbours
      const float tie = (static_cast<float>(i) + 0.5f) * q.scale;
      values.insert(values.end(), {tie, std::nextafterf(tie, 1e9f), std::nextafterf(tie, -1e9f)});
    }
    // Where all values of a piece are as far from a tie: kernels compute pieces again in which one is near.
    for (const float tie : {-127.5f, -64.5f, -0.5f, 0.5f, 1.5f, 33.5f, 126.5f, 254.5f}) {
      for (int ulps = 1; ulps <= 1 << 12; ulps *= 2) {
        for (const int sign : {-1, 1}) {
          const float near = std::ldexp(static_cast<float>(sign * ulps), std::ilogb(tie * q.scale) - 23);
          values.insert(values.end(), 128, tie * q.scale + near);
        }
      }
    }
    values.insert(values.end(), {0.0f, -0.0f, 1e30f, -1e30f, 1e38f, std::numeric_limits<float>::infinity(),
                                 -std::numeric_limits<float>::infinity()});
    const Operand<float> x{{static_cast<int64_t>(values.size())}, values};
    for (const KernelSet* kernels : AllKernelSets()) {
      const auto op = CreateQuantize(FloatToInt8(q), *kernels, nullptr);
      const std::vector<int8_t> y = RunWeightless<int8_t, float>(*op, {x}, x.shape);
      EXPECT_FALSE(op->RunsInPlace(0));
      for (size_t i = 0; i < y.size(); ++i) {
        const float ratio = values[i] / q.scale;
        const double expected = std::min(127.0, std::max(-128.0, double{std::round(ratio)} + q.zero));
        ASSERT_EQ(y[i], expected) << values[i] << " by " << q.scale << " on " << IsaName(kernels->isa);
      }
    }
  }
}

TEST(Quantize, NotANumberIsTheLeast) {
  for (const KernelSet* kernels : AllKernelSets()) {
    const auto op = CreateQuantize(FloatToInt8({1.0f, 50}), *kernels, nullptr);
    const Operand<float> x{{100}, std::vector<float>(100, std::numeric_limits<float>::quiet_NaN())};
    EXPECT_EQ((RunWeightless<int8_t, float>(*op, {x}, {100})), std::vector<int8_t>(100, -128));
  }
}

TEST(Quantize, Int8ToFloat) {
  Random random(7);
  for (const int64_t count : {1, 15, 64, 100003}) {
    const Operand<int8_t> x = RandomInt8(random, {count});
    const Quantization q = {random.Floats(1, 0.001f, 9.0f)[0], static_cast<int32_t>(random.Int(-128, 127))};
    for (const KernelSet* kernels : AllKernelSets()) {
      for (const int threads : {1, 3}) {
        const auto op = CreateQuantize({ElementType::kInt8, ElementType::kFloat32, q, {}}, *kernels, nullptr);
        const std::vector<float> y = RunWeightless<float, int8_t>(*op, {x}, x.shape, threads);
        EXPECT_FALSE(op->RunsInPlace(0));
        for (size_t i = 0; i < y.size(); ++i) {
          const double exact = static_cast<double>(q.scale) * (x.values[i] - q.zero);
          ASSERT_EQ(y[i], static_cast<float>(exact)) << int{x.values[i]};
        }
      }
    }
  }
}

TEST(Quantize, Int8ToInt8) {
  Random random(8);
  for (int i = 0; i < 20; ++i) {
    const Quantization input = {random.Floats(1, 0.005f, 0.2f)[0], static_cast<int32_t>(random.Int(-128, 127))};
    const Quantization output = {random.Floats(1, 0.005f, 0.2f)[0], static_cast<int32_t>(random.Int(-128, 127))};
    const Operand<int8_t> x = RandomInt8(random, {3, 200});
    for (const KernelSet* kernels : AllKernelSets()) {
      const auto op = CreateQuantize({ElementType::kInt8, ElementType::kInt8, input, output}, *kernels, nullptr);
      const std::vector<int8_t> y = RunWeightless<int8_t, int8_t>(*op, {x}, x.shape);
      EXPECT_TRUE(op->RunsInPlace(0));
      for (size_t k = 0; k < y.size(); ++k) {
        const double factor = static_cast<double>(input.scale) / static_cast<double>(output.scale);
        const double expected = ReferenceMultiply(x.values[k] - input.zero, factor) + output.zero;
        ASSERT_EQ(y[k], std::min(127.0, std::max(-128.0, expected))) << int{x.values[k]};
      }
    }
  }
}

TEST(Quantize, Errors) {
  const auto created = [](const QuantizeParams& params) {
    Status status = Status::kOk;
    const bool ok = CreateQuantize(params, *BestKernels(), &status) != nullptr;
    EXPECT_EQ(status, ok ? Status::kOk : Status::kInvalidArgument);
    return ok;
  };
  EXPECT_FALSE(created({ElementType::kFloat32, ElementType::kFloat32, {}, {}}));
  EXPECT_TRUE(created(FloatToInt8({1.0f, 0})));
  EXPECT_FALSE(created(FloatToInt8({0.0f, 0})));
  EXPECT_FALSE(created(FloatToInt8({1.0f, 200})));
  EXPECT_FALSE(created({ElementType::kInt8, ElementType::kInt8, {1.0f, 0}, {1e-20f, 0}}));
  const auto op = CreateQuantize({}, *BestKernels(), nullptr);
  const auto pool = ThreadPool::Create(1);
  EXPECT_EQ(op->Run(nullptr, nullptr, *pool), Status::kNotReady);
  const TensorShape bad = {-1};
  TensorShape output;
  EXPECT_EQ(op->Reshape(&bad, 1, &output), Status::kInvalidArgument);
  EXPECT_EQ(AllocationsOf([](const KernelSet& kernels, Status* status) { return CreateQuantize({}, kernels, status); }),
            1);
}

}  // namespace
}  // namespace dgms::testing
