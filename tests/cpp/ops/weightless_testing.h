// What the tests of operators without weights share.
#ifndef DGMS_TESTS_OPS_WEIGHTLESS_TESTING_H_
#define DGMS_TESTS_OPS_WEIGHTLESS_TESTING_H_

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "kernels/guarded_buffer.h"
#include "kernels/random_values.h"
#include "ops/op_testing.h"
#include "ops/weightless_op.h"

namespace dgms::testing {

inline std::string Text(const TensorShape& shape) {
  std::string text = "[";
  for (int i = 0; i < shape.rank; ++i) text += (i > 0 ? "," : "") + std::to_string(shape.dims[i]);
  return text + "]";
}

template <typename T>
struct Operand {
  TensorShape shape;
  std::vector<T> values;
};

inline Operand<float> RandomFloats(Random& random, const TensorShape& shape, float low = -1.0f, float high = 1.0f) {
  return {shape, random.Floats(shape.Count(), low, high)};
}

inline Operand<int8_t> RandomInt8(Random& random, const TensorShape& shape) {
  std::vector<int8_t> values(static_cast<size_t>(shape.Count()));
  for (int8_t& value : values) value = static_cast<int8_t>(random.Int(-128, 127));
  return {shape, values};
}

// Reshapes and runs an op, inputs and output flush against either guard page, then in place of every input that the op
// says may be. All results are the same bits; returns them.
template <typename Out, typename In>
std::vector<Out> RunWeightless(WeightlessOp& op, const std::vector<Operand<In>>& inputs,
                               const TensorShape& output_shape, int threads = 1) {
  std::vector<TensorShape> shapes;
  for (const Operand<In>& input : inputs) shapes.push_back(input.shape);
  TensorShape shape;
  EXPECT_EQ(op.Reshape(shapes.data(), static_cast<int>(shapes.size()), &shape), Status::kOk);
  EXPECT_EQ(Text(shape), Text(output_shape));
  if (shape != output_shape) return {};
  const auto pool = ThreadPool::Create(threads);
  std::vector<Out> result;
  const auto expect_same = [&](const std::vector<Out>& again, const std::string& how) {
    const size_t bytes = result.size() * sizeof(Out);
    EXPECT_TRUE(bytes == 0 || std::memcmp(result.data(), again.data(), bytes) == 0) << how << " has other results";
  };
  for (const Flush flush : {Flush::kEnd, Flush::kStart}) {
    std::vector<std::unique_ptr<GuardedBuffer<In>>> buffers;
    std::vector<const void*> pointers;
    for (const Operand<In>& input : inputs) {
      buffers.push_back(std::make_unique<GuardedBuffer<In>>(input.values, flush));
      pointers.push_back(buffers.back()->data());
    }
    GuardedBuffer<Out> output(shape.Count(), flush);
    EXPECT_EQ(op.Run(pointers.data(), output.data(), *pool), Status::kOk);
    EXPECT_TRUE(output.SurroundingsIntact());
    if (flush == Flush::kEnd) result = output.values();
    expect_same(output.values(), "a run at the other guard page");
    for (size_t i = 0; i < inputs.size(); ++i) {
      const size_t bytes = inputs[i].values.size() * sizeof(In);
      EXPECT_TRUE(bytes == 0 || std::memcmp(buffers[i]->data(), inputs[i].values.data(), bytes) == 0)
          << "input " << i << " was written to";
    }
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (!op.RunsInPlace(static_cast<int>(i))) continue;
      GuardedBuffer<In> both(inputs[i].values, flush);
      std::vector<const void*> in_place = pointers;
      in_place[i] = both.data();
      EXPECT_EQ(op.Run(in_place.data(), both.data(), *pool), Status::kOk);
      EXPECT_TRUE(both.SurroundingsIntact());
      std::vector<Out> values(result.size());
      if (!values.empty()) std::memcpy(values.data(), both.data(), values.size() * sizeof(Out));
      expect_same(values, "a run in place of input " + std::to_string(i));
    }
  }
  EXPECT_FALSE(op.RunsInPlace(-1));
  EXPECT_FALSE(op.RunsInPlace(static_cast<int>(inputs.size())));
  return result;
}

// The rounding of TFLite's int8 arithmetic, as its specification and reference kernels have it, in floating point that
// is exact here: a product with 31 fractional bits is rounded to an integer, halves up, and that is divided by a power
// of two, halves away from zero.
inline double ReferenceMultiply(int64_t x, double factor) {
  if (factor == 0) return 0;
  int exponent = 0;
  double fraction = std::frexp(factor, &exponent);
  int64_t multiplier = static_cast<int64_t>(std::round(std::ldexp(fraction, 31)));
  if (multiplier == int64_t{1} << 31) {
    multiplier /= 2;
    ++exponent;
  }
  if (exponent < -31) return 0;
  if (exponent > 0) x = static_cast<int32_t>(static_cast<uint32_t>(x) << exponent);  // they overflow quietly
  const long double product = static_cast<long double>(x) * static_cast<long double>(multiplier);
  const long double high = std::floor(std::ldexp(product, -31) + 0.5L);
  return static_cast<double>(exponent < 0 ? std::round(std::ldexp(high, exponent)) : high);
}

// Creates an op by `create(kernels, &status)` for every allocation that fails in turn; returns how many there are.
template <typename Create>
int64_t AllocationsOf(const Create& create) {
  for (int64_t nth = 0; nth < 100; ++nth) {
    Status status = Status::kOk;
    const FailAllocation fail(nth);
    if (create(*BestKernels(), &status) != nullptr) {
      EXPECT_LE(fail.allocations(), nth) << "a failed allocation was overlooked";
      return nth;
    }
    EXPECT_EQ(status, Status::kOutOfMemory) << "allocation " << nth;
  }
  return -1;
}

}  // namespace dgms::testing

#endif  // DGMS_TESTS_OPS_WEIGHTLESS_TESTING_H_
