// Int8Conv2D between int8 maps of a quantisation that is known before and float ones, on every instruction set: exactly
// what the words of RescaleRowsArgs and DequantizeArgs give in plain arithmetic, for any number of threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "ops/dynamic_conv2d_testing.h"
#include "ops/int8_conv2d.h"

namespace dgms::testing {
namespace {

struct MixedCase {
  Conv2DCase conv;
  bool int8_input = false, int8_output = false;  // one of them at least
  bool adds = false;                             // a residual: of a float output
  Quantization input = {6.0f / 255, -128}, output = {2.0f / 255, 0};
};

// Inputs and outputs in float, or as the integers that they are.
std::vector<float> Expect(const MixedCase& c, const DynamicLayer& layer, const std::vector<float>& input,
                          const std::vector<float>& residual, int64_t out_h, int64_t out_w) {
  const Conv2DParams& p = c.conv.params;
  const bool by_line = p.kernel_h == 1 && p.kernel_w == 1;
  const int64_t part = c.conv.in_w * p.in_channels * (by_line ? 1 : c.conv.in_h);
  std::vector<float> integers(input.size()), scales;
  for (size_t at = 0; at < input.size(); at += static_cast<size_t>(part)) {
    if (c.int8_input) {
      for (int64_t i = 0; i < part; ++i) integers[at + i] = input[at + i] - static_cast<float>(c.input.zero);
      scales.push_back(c.input.scale);
    } else {
      scales.push_back(Quantized(input.data() + at, part, integers.data() + at));
    }
  }
  const Expected sums = ReferenceConv2D(c.conv, layer.filter, integers.data());
  std::vector<float> result;
  for (size_t i = 0; i < sums.value.size(); ++i) {
    const int64_t channel = static_cast<int64_t>(i) % p.out_channels;
    const int64_t line = static_cast<int64_t>(i) / p.out_channels / out_w, image = line / out_h;
    const float scale = scales[by_line ? image * c.conv.in_h + line % out_h * p.stride_h : image];
    const float unit = c.int8_output ? c.output.scale : 1.0f;
    const volatile float column_scale = layer.scale[channel] / unit;
    const volatile float divided = layer.bias[channel] / unit;
    const volatile float bias = c.int8_output ? divided + static_cast<float>(c.output.zero + 128) : divided;
    const volatile float factor = scale * column_scale;
    const volatile float product = static_cast<float>(sums.value[i]) * factor;
    const volatile float y = product + bias;
    const volatile float added = c.adds ? y + residual[i] : y;
    if (c.int8_output) {
      result.push_back(std::clamp(std::nearbyint(float{y}), 0.0f, 255.0f) - 128);
    } else {
      result.push_back(std::max(float{added}, 0.0f));
    }
  }
  return result;
}

std::vector<float> MakeMap(Random& random, int64_t count, bool int8) {
  std::vector<float> map = random.Floats(count, -2.0f, 2.0f);
  for (float& value : map) value = int8 ? std::round(value * 64) : value;  // saturates nowhere: -128..128
  for (float& value : map) value = int8 ? std::min(value, 127.0f) : value;
  return map;
}

// Calls run(memory of a map's floats or int8).
template <typename Run>
void WithMap(const std::vector<float>& map, bool int8, Flush flush, const Run& run) {
  if (int8) {
    const GuardedBuffer<int8_t> bytes(std::vector<int8_t>(map.begin(), map.end()), flush);
    run(bytes.data());
  } else {
    const GuardedBuffer<float> floats(map, flush);
    run(floats.data());
  }
}
template <typename Run>
std::vector<float> Written(int64_t count, bool int8, Flush flush, const Run& run) {
  if (int8) {
    GuardedBuffer<int8_t> bytes(count, flush);
    run(bytes.data());
    EXPECT_TRUE(bytes.SurroundingsIntact());
    return {bytes.data(), bytes.data() + count};
  }
  GuardedBuffer<float> floats(count, flush);
  run(floats.data());
  EXPECT_TRUE(floats.SurroundingsIntact());
  return floats.values();
}

std::vector<float> Lines(const std::vector<float>& map, const LineRange& lines, int64_t line) {
  return {map.begin() + lines.first * line, map.begin() + lines.end * line};
}

// Some lines at a time are those of the whole, and nothing else is read or written.
void CheckLines(const MixedCase& c, const Int8Conv2D& op, const std::vector<float>& input,
                const std::vector<float>& residual, const std::vector<float>& whole) {
  if (op.line_op() == nullptr) return;
  const LineOp& lines = *op.line_op();
  const int64_t in_line = c.conv.in_w * c.conv.params.in_channels,
                out_line = op.output_w() * c.conv.params.out_channels;
  EXPECT_EQ(lines.line_shape().in_line_bytes, in_line * (c.int8_input ? 1 : 4));
  EXPECT_EQ(lines.line_shape().out_line_bytes, out_line * (c.int8_output ? 1 : 4));
  for (int64_t first = 0; first < op.output_h(); first += 1 + first / 2) {
    const LineRange range = {first, std::min(op.output_h(), first + 1 + first / 2)};
    Buffer<int8_t> scratch;
    ASSERT_TRUE(scratch.Reserve(lines.ScratchBytes(range.count()) + 1));
    const GuardedBuffer<float> added(Lines(residual, range, out_line));
    std::vector<float> got;
    WithMap(
        Lines(input, lines.line_shape().window.Under(range), in_line), c.int8_input, Flush::kEnd, [&](const void* x) {
          got = Written(range.count() * out_line, c.int8_output, Flush::kEnd, [&](void* y) {
            lines.RunLines({range, x, y, c.adds ? added.data() : nullptr, RangeOf(Activation::kRelu), scratch.data()});
          });
        });
    ASSERT_EQ(got, Lines(whole, range, out_line)) << "lines " << range.first << " to " << range.end;
  }
}

void Check(const MixedCase& c, uint64_t seed) {
  const Conv2DParams& p = c.conv.params;
  Random random(seed);
  const DynamicLayer layer = DynamicLayer::Make(random, p, seed % 3 == 0 ? 2 : 0);
  const std::vector<float> input =
      MakeMap(random, c.conv.batch * c.conv.in_h * c.conv.in_w * p.in_channels, c.int8_input);
  Dequantization dynamic = {layer.scale.data(), layer.bias.data(), RangeOf(Activation::kRelu)};
  if (c.int8_input) dynamic.input = &c.input;
  if (c.int8_output) dynamic.output = &c.output;
  for (const KernelSet* kernels : AllKernelSets()) {
    const auto op = Int8Conv2D::Create(p, layer.View(), {nullptr, &dynamic}, *kernels);
    ASSERT_NE(op, nullptr);
    EXPECT_EQ(op->float_input(), !c.int8_input);
    EXPECT_EQ(op->float_output(), !c.int8_output);
    ASSERT_EQ(op->Reshape(c.conv.batch, c.conv.in_h, c.conv.in_w), Status::kOk);
    const int64_t outputs = c.conv.batch * op->output_h() * op->output_w() * p.out_channels;
    Random more(9);
    const std::vector<float> residual = more.Floats(outputs, -2.0f, 2.0f);
    const std::vector<float> expected = Expect(c, layer, input, residual, op->output_h(), op->output_w());
    for (const int threads : {1, 3}) {
      SCOPED_TRACE(Describe(c.conv, layer.filter) + " on " + IsaName(kernels->isa) + ", " + std::to_string(threads) +
                   " threads" + (c.int8_input ? ", int8 in" : "") + (c.int8_output ? ", int8 out" : ""));
      const auto pool = ThreadPool::Create(threads);
      for (const Flush flush : {Flush::kEnd, Flush::kStart}) {
        WithMap(input, c.int8_input, flush, [&](const void* x) {
          const std::vector<float> got = Written(outputs, c.int8_output, flush, [&](void* y) {
            EXPECT_EQ(op->Run(x, c.adds ? residual.data() : nullptr, y, *pool), Status::kOk);
          });
          ASSERT_EQ(got, expected);
        });
        if (::testing::Test::HasFatalFailure()) return;
      }
      if (c.conv.batch == 1) CheckLines(c, *op, input, residual, expected);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
}

// All three kinds; kernels of one line and several, strides, columns that are packed where a kernel does that, blocks
// of K.
TEST(MixedConv2D, AllKinds) {
  uint64_t seed = 0;
  for (const int kernel : {1, 3}) {
    for (const int stride : {1, 2}) {
      for (const int64_t width : {1, 7, 14}) {
        for (const int64_t outputs : {1, 5, 20, 37, 72}) {
          for (const int kind : {1, 2, 3}) {
            MixedCase c;
            c.conv = Square(kernel, stride, Padding::kSame, width, 1 + seed % 20, outputs);
            c.conv.batch = seed % 3 == 0 ? 2 : 1;
            c.int8_input = (kind & 1) != 0;
            c.int8_output = (kind & 2) != 0;
            c.adds = !c.int8_output && seed % 2 == 0;
            if (seed % 5 == 0) std::swap(c.input, c.output);
            Check(c, seed++);
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

TEST(MixedConv2D, GroupsAndLongK) {
  for (const int kind : {1, 2, 3}) {
    MixedCase c;
    c.int8_input = (kind & 1) != 0;
    c.int8_output = (kind & 2) != 0;
    c.conv = Square(1, 1, Padding::kSame, 6, 12, 36);
    c.conv.params.groups = 3;
    Check(c, 200);
    c.conv = Square(1, 1, Padding::kSame, 5, 2300, 40);  // several blocks of K
    Check(c, 201);
    c.conv = Square(1, 1, Padding::kSame, 40, 70, 33);  // several pieces of work for each thread
    Check(c, 202);
  }
}

}  // namespace
}  // namespace dgms::testing
