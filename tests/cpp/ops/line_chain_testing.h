// Random chains of operators, of floats, of integers and of floats that are quantised as they run.
#ifndef DGMS_TESTS_OPS_LINE_CHAIN_TESTING_H_
#define DGMS_TESTS_OPS_LINE_CHAIN_TESTING_H_

#include <cmath>
#include <cstring>
#include <memory>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "ops/conv2d.h"
#include "ops/conv2d_testing.h"
#include "ops/depthwise_conv2d.h"
#include "ops/int8_conv2d.h"
#include "ops/int8_depthwise_conv2d.h"
#include "ops/line_chain.h"
#include "ops/op_testing.h"

namespace dgms::testing {

// What the maps of a chain are, and how its convolutions compute.
enum class ChainKind { kFloat, kInt8, kDynamicInt8 };

inline int64_t ElementBytes(ChainKind kind) { return kind == ChainKind::kInt8 ? 1 : sizeof(float); }

using Map = std::vector<char>;

inline Activation AnyActivation(Random& random) { return static_cast<Activation>(random.Int(0, 3)); }

// An int8 layer with outputs that are neither all equal nor all clamped.
struct RandomInt8Layer {
  std::vector<int8_t> weights;
  std::vector<double> factors;
  std::vector<int32_t> bias;
  std::vector<float> scales;
  Requantization requantization;
  Dequantization dequantization;

  RandomInt8Layer(const RandomInt8Layer&) = delete;
  RandomInt8Layer& operator=(const RandomInt8Layer&) = delete;

  RandomInt8Layer(Random& random, int64_t channels, int64_t weights_each, Activation activation) {
    for (int64_t i = 0; i < channels * weights_each; ++i) weights.push_back(static_cast<int8_t>(random.Int(-127, 127)));
    for (int64_t c = 0; c < channels; ++c) {
      factors.push_back(0.01 / std::sqrt(static_cast<double>(weights_each)) * static_cast<double>(random.Int(1, 20)) /
                        10);
      bias.push_back(static_cast<int32_t>(random.Int(-5000, 5000)));
      scales.push_back(static_cast<float>(factors.back()));
    }
    requantization.input_zero = static_cast<int32_t>(random.Int(-128, 127));
    requantization.bias = bias.data();
    requantization.factor = factors.data();
    requantization.output_zero = static_cast<int32_t>(random.Int(-40, 40));
    dequantization = {scales.data(), nullptr, RangeOf(activation)};
  }
  Int8Filter Source() const { return Int8DenseFilter{weights.data(), static_cast<int64_t>(weights.size())}; }
};

struct AnyOp {
  std::variant<std::unique_ptr<Conv2D>, std::unique_ptr<DepthwiseConv2D>, std::unique_ptr<Int8Conv2D>,
               std::unique_ptr<Int8DepthwiseConv2D>>
      op;
  std::shared_ptr<RandomInt8Layer> layer;  // whose weights an int8 op reads
  int64_t out_channels = 0;

  template <typename Visitor>
  auto Visit(const Visitor& visitor) const {
    return std::visit([&](const auto& pointer) { return visitor(*pointer); }, op);
  }
  Status Reshape(int64_t batch, int64_t h, int64_t w) const {
    return Visit([&](auto& one) { return one.Reshape(batch, h, w); });
  }
  const LineOp* line_op() const {
    return Visit([](const auto& one) { return one.line_op(); });
  }
  int64_t output_h() const {
    return Visit([](const auto& one) { return one.output_h(); });
  }
  int64_t output_w() const {
    return Visit([](const auto& one) { return one.output_w(); });
  }
  // The whole map, with a residual (or null).
  Status Run(const Map& input, const Map* residual, Activation sum, Map* output, ThreadPool& pool) const {
    return Visit([&](auto& one) {
      using Op = std::remove_reference_t<decltype(one)>;
      const auto* x = reinterpret_cast<const typename Op::Element*>(input.data());
      auto* y = reinterpret_cast<typename Op::Element*>(output->data());
      if constexpr (std::is_same_v<Op, Conv2D> || std::is_same_v<Op, Int8Conv2D>) {
        if (residual == nullptr) return one.Run(x, y, pool);
        one.SetActivation(sum);
        const Status status = one.Run(x, reinterpret_cast<const float*>(residual->data()), y, pool);
        one.SetActivation(Activation::kNone);
        return status;
      } else {
        return one.Run(x, y, pool);
      }
    });
  }
};

struct Shape4 {
  int64_t batch, h, w, channels;
  int64_t count() const { return batch * h * w * channels; }
};

inline Map RandomMap(Random& random, ChainKind kind, int64_t count) {
  Map map(static_cast<size_t>(count * ElementBytes(kind)));
  if (kind == ChainKind::kInt8) {
    for (char& value : map) value = static_cast<char>(random.Int(-128, 127));
  } else {
    const std::vector<float> values = random.Floats(count);
    std::memcpy(map.data(), values.data(), map.size());
  }
  return map;
}

// A window that fits a map of `size`, small dilated ones among them, and large ones that see mostly padding.
inline void SetWindow(Random& random, const Shape4& input, WindowParams* p) {
  p->kernel_h = static_cast<int>(random.Int(1, 5));
  p->kernel_w = static_cast<int>(random.Int(1, 5));
  p->stride_h = static_cast<int>(random.Int(1, 3));
  p->stride_w = static_cast<int>(random.Int(1, 3));
  p->dilation_h = static_cast<int>(random.Int(1, 3));
  p->dilation_w = static_cast<int>(random.Int(1, 3));
  const bool fits = (p->kernel_h - 1) * p->dilation_h < input.h && (p->kernel_w - 1) * p->dilation_w < input.w;
  p->padding = fits && random.Coin() ? Padding::kValid : Padding::kSame;
}

inline AnyOp MakeConv2D(Random& random, ChainKind kind, const Shape4& input, bool sum, bool pointwise,
                        const KernelSet& kernels) {
  Conv2DParams p;
  if (!pointwise) SetWindow(random, input, &p);
  p.in_channels = input.channels;
  p.out_channels = random.Int(1, 40);
  if (random.Int(0, 3) == 0 && input.channels % 2 == 0) {
    p.groups = 2;
    p.out_channels *= 2;
  }
  if (!sum) p.activation = AnyActivation(random);
  AnyOp op;
  op.out_channels = p.out_channels;
  if (kind == ChainKind::kFloat) {
    op.op = Conv2D::Create(p, MakeFilter(random, p, static_cast<int>(random.Int(2, 4))).Source(), nullptr, kernels);
    return op;
  }
  op.layer = std::make_shared<RandomInt8Layer>(random, p.out_channels, WeightCount(p) / p.out_channels, p.activation);
  const Int8LayerOutput integers = {&op.layer->requantization, nullptr}, floats = {nullptr, &op.layer->dequantization};
  op.op = Int8Conv2D::Create(p, op.layer->Source(), kind == ChainKind::kInt8 ? integers : floats, kernels);
  return op;
}

inline AnyOp MakeDepthwise(Random& random, ChainKind kind, const Shape4& input, const KernelSet& kernels) {
  DepthwiseConv2DParams p;
  SetWindow(random, input, &p);
  p.in_channels = input.channels;
  p.activation = AnyActivation(random);
  AnyOp op;
  op.out_channels = p.in_channels;
  const int64_t taps = int64_t{p.kernel_h} * p.kernel_w;
  if (kind == ChainKind::kInt8) {
    op.layer = std::make_shared<RandomInt8Layer>(random, p.in_channels, taps, p.activation);
    op.op = Int8DepthwiseConv2D::Create(p, op.layer->Source(), op.layer->requantization, kernels);
    return op;
  }
  const FilterData filter = FilterData::Make(random, p.in_channels, p.in_channels * taps, 4, 0, true, true);
  op.op = DepthwiseConv2D::Create(p, filter.Source(), filter.Bias(), kernels);
  return op;
}

// A chain whose members run one by one, too.
struct ChainCase {
  ChainKind kind = ChainKind::kFloat;
  std::vector<AnyOp> ops;
  std::vector<LineChain::Member> members;
  std::vector<Activation> sums;
  std::vector<Shape4> outputs;
  std::vector<Map> residuals;  // empty: none
  Map input;
  std::string text;
};

// Null where the random operators cannot be a chain.
inline std::unique_ptr<ChainCase> MakeChainCase(Random& random, const KernelSet& kernels) {
  auto result = std::make_unique<ChainCase>();
  const ChainKind kind = static_cast<ChainKind>(random.Int(0, 2));
  result->kind = kind;
  Shape4 shape = {random.Int(1, 3), random.Int(1, 40), random.Int(2, 20), random.Int(1, 40)};
  result->input = RandomMap(random, kind, shape.count());
  std::ostringstream text;
  text << (kind == ChainKind::kFloat  ? "float"
           : kind == ChainKind::kInt8 ? "int8"
                                      : "dynamic int8")
       << ", input " << shape.batch << "x" << shape.h << "x" << shape.w << "x" << shape.channels;
  for (int64_t count = random.Int(1, 5); count > 0; --count) {
    const bool depthwise = random.Coin(), sum = !depthwise && kind != ChainKind::kInt8 && random.Coin();
    const bool pointwise = kind == ChainKind::kDynamicInt8 || random.Int(0, 2) > 0;
    AnyOp op = depthwise ? MakeDepthwise(random, kind, shape, kernels)
                         : MakeConv2D(random, kind, shape, sum, pointwise, kernels);
    if (op.Reshape(shape.batch, shape.h, shape.w) != Status::kOk) return nullptr;
    if (op.line_op() == nullptr) return nullptr;
    shape = {shape.batch, op.output_h(), op.output_w(), op.out_channels};
    text << (depthwise ? " depthwise " : " conv ") << shape.h << "x" << shape.w << "x" << shape.channels;
    result->sums.push_back(sum ? AnyActivation(random) : Activation::kNone);
    LineChain::Member member;
    member.op = op.line_op();
    member.adds = sum;
    member.sum_range = RangeOf(result->sums.back());
    result->residuals.push_back(sum ? RandomMap(random, kind, shape.count()) : Map());
    result->ops.push_back(std::move(op));
    result->members.push_back(member);
    result->outputs.push_back(shape);
  }
  result->text = text.str();
  return result;
}

inline Map RunOneByOne(const ChainCase& c) {
  const auto pool = ThreadPool::Create(1);
  Map map = c.input;
  for (size_t i = 0; i < c.ops.size(); ++i) {
    Map output(static_cast<size_t>(c.outputs[i].count() * ElementBytes(c.kind)));
    const Map* residual = c.members[i].adds ? &c.residuals[i] : nullptr;
    EXPECT_EQ(c.ops[i].Run(map, residual, c.sums[i], &output, *pool), Status::kOk);
    map = std::move(output);
  }
  return map;
}

}  // namespace dgms::testing

#endif  // DGMS_TESTS_OPS_LINE_CHAIN_TESTING_H_
