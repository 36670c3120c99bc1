// ADD, SUB and MUL against plain loops over all indices, on every instruction set.
#include "ops/binary.h"

#include <gtest/gtest.h>

#include <limits>

#include "ops/weightless_testing.h"

namespace dgms::testing {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNotANumber = std::numeric_limits<float>::quiet_NaN();

// The element of a tensor that meets element `index` of the output.
template <typename T>
T At(const Operand<T>& operand, const TensorShape& output, int64_t index) {
  int64_t offset = 0, stride = 1;
  for (int i = 0; i < output.rank; ++i) {
    const int64_t dim = output.dims[output.rank - 1 - i];
    const int64_t at = index % dim;
    index /= dim;
    if (i >= operand.shape.rank) continue;
    const int64_t own = operand.shape.dims[operand.shape.rank - 1 - i];
    if (own != 1) offset += at * stride;
    stride *= own;
  }
  return operand.values[static_cast<size_t>(offset)];
}

float ReferenceFloat(const BinaryParams& p, float a, float b) {
  const float y = p.kind == BinaryKind::kAdd ? a + b : p.kind == BinaryKind::kSub ? a - b : a * b;
  const ActivationRange range = RangeOf(p.activation);
  return std::isnan(y) ? y : std::min(range.max, std::max(range.min, y));
}

// TFLite's reference kernels, from their description: ADD brings both inputs to twice the larger scale with 20 more
// bits; scales are float, their quotients double but for MUL's, which is float.
int ReferenceInt8(const BinaryParams& p, int a, int b) {
  const float sa = p.input[0].scale, sb = p.input[1].scale, so = p.output.scale;
  a -= p.input[0].zero;
  b -= p.input[1].zero;
  double y = 0;
  if (p.kind == BinaryKind::kMul) {
    const float factor = sa * sb / so;
    y = ReferenceMultiply(int64_t{a} * b, factor);
  } else {
    const double twice = 2.0 * std::max(sa, sb);
    const double x = ReferenceMultiply(int64_t{a} * 1048576, sa / twice);
    const double z = ReferenceMultiply(int64_t{b} * 1048576, sb / twice);
    y = ReferenceMultiply(static_cast<int64_t>(p.kind == BinaryKind::kAdd ? x + z : x - z), twice / (1048576.0 * so));
  }
  const ActivationRange range = RangeOf(p.activation);
  double low = -128, high = 127;
  if (std::isfinite(range.min)) low = std::max(low, p.output.zero + double{std::round(range.min / so)});
  if (std::isfinite(range.max)) high = std::min(high, p.output.zero + double{std::round(range.max / so)});
  return static_cast<int>(std::min(high, std::max(low, y + p.output.zero)));
}

float Reference(const BinaryParams& p, float a, float b) { return ReferenceFloat(p, a, b); }
int8_t Reference(const BinaryParams& p, int8_t a, int8_t b) { return static_cast<int8_t>(ReferenceInt8(p, a, b)); }

template <typename T>
void Check(const BinaryParams& params, const Operand<T>& a, const Operand<T>& b, const TensorShape& output,
           int threads = 1) {
  std::vector<T> expected;
  for (int64_t i = 0; i < output.Count(); ++i) {
    expected.push_back(Reference(params, At(a, output, i), At(b, output, i)));
  }
  for (const KernelSet* kernels : AllKernelSets()) {
    SCOPED_TRACE(Text(a.shape) + " and " + Text(b.shape) + " kind " + std::to_string(static_cast<int>(params.kind)) +
                 " scales " + std::to_string(params.input[0].scale) + " " + std::to_string(params.input[1].scale) +
                 " " + std::to_string(params.output.scale) + " on " + IsaName(kernels->isa));
    Status status = Status::kOk;
    const auto op = CreateBinary(params, *kernels, &status);
    ASSERT_NE(op, nullptr) << StatusText(status);
    const std::vector<T> result = RunWeightless<T, T>(*op, {a, b}, output, threads);
    ASSERT_EQ(result.size(), expected.size());
    for (size_t i = 0; i < result.size(); ++i) {
      const double y = result[i], wanted = expected[i];
      ASSERT_TRUE(y == wanted || (std::isnan(y) && std::isnan(wanted)))
          << y << ", not " << wanted << ", of " << static_cast<double>(At(a, output, static_cast<int64_t>(i)))
          << " and " << static_cast<double>(At(b, output, static_cast<int64_t>(i))) << " at " << i;
    }
    EXPECT_EQ(op->RunsInPlace(0), a.shape.Count() == output.Count());
    EXPECT_EQ(op->RunsInPlace(1), b.shape.Count() == output.Count());
  }
}

struct Shapes {
  TensorShape a, b, output;
};

const Shapes kShapes[] = {
    {{1}, {1}, {1}},
    {{}, {}, {}},
    {{7}, {7}, {7}},
    {{2, 5, 3, 67}, {2, 5, 3, 67}, {2, 5, 3, 67}},
    {{1, 4, 4, 64}, {}, {1, 4, 4, 64}},
    {{}, {1, 4, 4, 65}, {1, 4, 4, 65}},
    {{2, 3, 3, 20}, {20}, {2, 3, 3, 20}},              // a value per channel
    {{1, 1, 1, 130}, {2, 3, 2, 130}, {2, 3, 2, 130}},  // the same, in front
    {{3, 4, 5, 33}, {3, 1, 1, 33}, {3, 4, 5, 33}},     // squeeze and excite
    {{3, 1, 1, 33}, {3, 4, 5, 33}, {3, 4, 5, 33}},
    {{1, 6, 5, 1}, {1, 6, 5, 9}, {1, 6, 5, 9}},  // one for all channels
    {{4, 1, 5, 1}, {1, 6, 1, 9}, {4, 6, 5, 9}},  // an outer product
    {{2, 1, 3, 1, 2, 1}, {1, 2, 1, 3, 1, 2}, {2, 2, 3, 3, 2, 2}},
    {{5, 1}, {1, 1}, {5, 1}},
    {{0, 4}, {4}, {0, 4}},
    {{3, 0}, {1, 1}, {3, 0}},
};

TEST(Binary, FloatShapes) {
  Random random(1);
  for (const Shapes& s : kShapes) {
    for (const BinaryKind kind : {BinaryKind::kAdd, BinaryKind::kSub, BinaryKind::kMul}) {
      BinaryParams params;
      params.kind = kind;
      params.activation = static_cast<Activation>(random.Int(0, 3));
      Check(params, RandomFloats(random, s.a, -8, 8), RandomFloats(random, s.b, -8, 8), s.output);
    }
  }
}

BinaryParams RandomInt8Params(Random& random, BinaryKind kind) {
  BinaryParams params;
  params.kind = kind;
  params.type = ElementType::kInt8;
  params.activation = static_cast<Activation>(random.Int(0, 3));
  const auto quantization = [&](float scale) {
    return Quantization{scale, static_cast<int32_t>(random.Int(-128, 127))};
  };
  const float a = random.Floats(1, 0.01f, 0.3f)[0], b = random.Floats(1, 0.01f, 0.3f)[0];
  params.input[0] = quantization(a);
  params.input[1] = quantization(b);
  params.output = quantization(random.Floats(1, 0.3f, 2.0f)[0] * (kind == BinaryKind::kMul ? 100 * a * b : a + b));
  return params;
}

TEST(Binary, Int8Shapes) {
  Random random(2);
  for (const Shapes& s : kShapes) {
    for (const BinaryKind kind : {BinaryKind::kAdd, BinaryKind::kSub, BinaryKind::kMul}) {
      Check(RandomInt8Params(random, kind), RandomInt8(random, s.a), RandomInt8(random, s.b), s.output);
    }
  }
}

// Every pair of values.
void CheckAllPairs(const BinaryParams& params) {
  Operand<int8_t> a{{256, 1}, std::vector<int8_t>(256)}, b{{256}, std::vector<int8_t>(256)};
  for (int i = 0; i < 256; ++i) a.values[i] = b.values[i] = static_cast<int8_t>(i - 128);
  Check(params, a, b, {256, 256});
  // The same without broadcasting, which has a way of its own (DigitSumS8).
  Operand<int8_t> every_a{{65536}, {}}, every_b{{65536}, {}};
  for (int i = 0; i < 65536; ++i) {
    every_a.values.push_back(a.values[i / 256]);
    every_b.values.push_back(b.values[i % 256]);
  }
  Check(params, every_a, every_b, {65536});
}

TEST(Binary, Int8AllPairs) {
  Random random(3);
  for (int i = 0; i < 15 && !::testing::Test::HasFailure(); ++i) {
    CheckAllPairs(RandomInt8Params(random, static_cast<BinaryKind>(i % 3)));
  }
}

// Scales that make ties, results far out of range, tiny factors, and results that floats cannot tell.
TEST(Binary, Int8OddScales) {
  const float odd[][3] = {{1, 1, 1},       {1, 1, 2},       {0.5f, 0.5f, 1},  {0.5f, 1, 0.25f}, {1, 1, 1e-5f},
                          {1, 1, 1e5f},    {1, 1e-6f, 1},   {1e-7f, 1, 0.5f}, {3, 1, 4},        {1, 1, 4e-6f},
                          {0.1f, 0.1f, 1}, {1e-12f, 1, 1},  {2, 2, 1e20f},    {1, 1, 0.125f},   {1, 1, 1.0f / 16384},
                          {1, 1, 0.3f},    {1, 0.7f, 0.2f}, {50, 0.5f, 1},    {70, 0.5f, 1},    {0.01f, 1, 1.5f}};
  for (const auto& [a, b, output] : odd) {
    for (const BinaryKind kind : {BinaryKind::kAdd, BinaryKind::kSub, BinaryKind::kMul}) {
      BinaryParams params;
      params.kind = kind;
      params.type = ElementType::kInt8;
      params.input[0] = {a, 0};
      params.input[1] = {b, 7};
      params.output = {output, -3};
      CheckAllPairs(params);
      if (::testing::Test::HasFailure()) return;
    }
  }
}

TEST(Binary, Int8WhatReferenceKernelsRefuse) {
  BinaryParams params;
  params.type = ElementType::kInt8;
  const auto create = [&] {
    Status status = Status::kOk;
    const bool created = CreateBinary(params, *BestKernels(), &status) != nullptr;
    EXPECT_EQ(status, created ? Status::kOk : Status::kInvalidArgument);
    return created;
  };
  EXPECT_TRUE(create());
  params.output.scale = 2.0f / 1048576;  // then the sum's factor is 1
  EXPECT_FALSE(create());
  params.output.scale = 2.001f / 1048576;
  EXPECT_TRUE(create());
  for (const float bad : {0.0f, -1.0f, kInf, kNotANumber}) {
    for (Quantization* q : {&params.input[0], &params.input[1], &params.output}) {
      const Quantization good = *q;
      q->scale = bad;
      EXPECT_FALSE(create()) << bad;
      *q = good;
      for (const int32_t zero : {-129, 128}) {
        q->zero = zero;
        EXPECT_FALSE(create()) << zero;
      }
      *q = good;
    }
  }
  params.kind = BinaryKind::kMul;
  params.output.scale = 1e-12f;
  EXPECT_FALSE(create());
  params.output.scale = 1;
  params.activation = Activation::kRelu6;
  params.output.scale = 1e-9f;  // 6 is 6e9 steps
  EXPECT_FALSE(create());
}

TEST(Binary, NanAndInfinityPass) {
  const Operand<float> a{{6}, {kNotANumber, 1.0f, kInf, -kInf, kInf, 0.0f}};
  const Operand<float> b{{6}, {1.0f, kNotANumber, 1.0f, 1.0f, -kInf, kInf}};
  for (const BinaryKind kind : {BinaryKind::kAdd, BinaryKind::kSub, BinaryKind::kMul}) {
    for (int activation = 0; activation < 4; ++activation) {
      BinaryParams params;
      params.kind = kind;
      params.activation = static_cast<Activation>(activation);
      Check(params, a, b, {6});
    }
  }
}

TEST(Binary, ManyPiecesAndThreads) {
  Random random(4);
  for (const int threads : {2, 7}) {
    for (const BinaryKind kind : {BinaryKind::kAdd, BinaryKind::kMul}) {
      BinaryParams params;
      params.kind = kind;
      Check(params, RandomFloats(random, {100003}), RandomFloats(random, {100003}), {100003}, threads);
      Check(params, RandomFloats(random, {2, 40, 30, 45}), RandomFloats(random, {2, 1, 1, 45}), {2, 40, 30, 45},
            threads);
      const BinaryParams int8 = RandomInt8Params(random, kind);
      Check(int8, RandomInt8(random, {100003}), RandomInt8(random, {100003}), {100003}, threads);
      Check(int8, RandomInt8(random, {3, 33, 31, 45}), RandomInt8(random, {45}), {3, 33, 31, 45}, threads);
    }
  }
}

TEST(Binary, ReshapeAndErrors) {
  const auto op = CreateBinary({}, *BestKernels(), nullptr);
  ASSERT_NE(op, nullptr);
  const auto pool = ThreadPool::Create(1);
  TensorShape output;
  EXPECT_EQ(op->Run(nullptr, nullptr, *pool), Status::kNotReady);
  const TensorShape good[] = {{2, 3}, {3}};
  EXPECT_EQ(op->Reshape(good, 1, &output), Status::kInvalidArgument);
  EXPECT_EQ(op->Reshape(good, 2, &output), Status::kOk);
  const TensorShape bad[][2] = {{{2, 3}, {2}},
                                {{2, 3}, {3, 3}},
                                {{2, -1}, {2, -1}},
                                {{INT64_MAX}, {1}},
                                {{INT32_MAX, INT32_MAX, INT32_MAX}, {1}},
                                {{INT32_MAX, INT32_MAX, 1}, {1, 1, INT32_MAX}}};
  for (const auto& shapes : bad) {
    EXPECT_EQ(op->Reshape(shapes, 2, &output), Status::kInvalidArgument) << Text(shapes[0]);
    EXPECT_EQ(op->Run(nullptr, nullptr, *pool), Status::kNotReady);
    EXPECT_FALSE(op->RunsInPlace(0));
  }
}

TEST(Binary, EveryFailedAllocationIsReported) {
  EXPECT_EQ(AllocationsOf([](const KernelSet& kernels, Status* status) { return CreateBinary({}, kernels, status); }),
            1);
}

}  // namespace
}  // namespace dgms::testing
