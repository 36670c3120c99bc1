// Chains of operators against the same operators one by one, bit for bit, and lines of an operator against all of them;
// everything that is read or written between guard pages, on every instruction set.
#include "ops/line_chain.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "ops/conv2d.h"
#include "ops/conv2d_testing.h"
#include "ops/depthwise_conv2d.h"
#include "ops/op_testing.h"

namespace dgms::testing {
namespace {

// One of the two kinds of operators; the other pointer is null.
struct AnyOp {
  std::unique_ptr<Conv2D> conv;
  std::unique_ptr<DepthwiseConv2D> depthwise;
  int64_t out_channels = 0;

  Status Reshape(int64_t batch, int64_t h, int64_t w) {
    return conv != nullptr ? conv->Reshape(batch, h, w, nullptr, 4) : depthwise->Reshape(batch, h, w);
  }
  const LineOp* line_op() const { return conv != nullptr ? conv->line_op() : depthwise->line_op(); }
  int64_t output_h() const { return conv != nullptr ? conv->output_h() : depthwise->output_h(); }
  int64_t output_w() const { return conv != nullptr ? conv->output_w() : depthwise->output_w(); }
};

struct Shape4 {
  int64_t batch, h, w, channels;
  int64_t count() const { return batch * h * w * channels; }
};

std::vector<float> Values(Random& random, int64_t count) { return random.Floats(count); }

Activation AnyActivation(Random& random) { return static_cast<Activation>(random.Int(0, 3)); }

// A window that fits a map of `size`, small dilated ones among them, and large ones that see mostly padding.
template <typename Params>
void SetWindow(Random& random, const Shape4& input, Params* p) {
  p->kernel_h = static_cast<int>(random.Int(1, 5));
  p->kernel_w = static_cast<int>(random.Int(1, 5));
  p->stride_h = static_cast<int>(random.Int(1, 3));
  p->stride_w = static_cast<int>(random.Int(1, 3));
  p->dilation_h = static_cast<int>(random.Int(1, 3));
  p->dilation_w = static_cast<int>(random.Int(1, 3));
  const bool fits = (p->kernel_h - 1) * p->dilation_h < input.h && (p->kernel_w - 1) * p->dilation_w < input.w;
  p->padding = fits && random.Coin() ? Padding::kValid : Padding::kSame;
}

AnyOp MakeConv2D(Random& random, const Shape4& input, bool sum, bool pointwise, const KernelSet& kernels) {
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
  op.conv = Conv2D::Create(p, MakeFilter(random, p, static_cast<int>(random.Int(2, 4))).Source(), nullptr, kernels);
  return op;
}

AnyOp MakeDepthwise(Random& random, const Shape4& input, const KernelSet& kernels) {
  DepthwiseConv2DParams p;
  SetWindow(random, input, &p);
  p.in_channels = input.channels;
  p.activation = AnyActivation(random);
  AnyOp op;
  op.out_channels = p.in_channels;
  const FilterData filter =
      FilterData::Make(random, p.in_channels, p.in_channels * p.kernel_h * p.kernel_w, 4, 0, true, true);
  op.depthwise = DepthwiseConv2D::Create(p, filter.Source(), filter.Bias(), kernels);
  return op;
}

// A chain whose members run one by one, too.
struct ChainCase {
  std::vector<AnyOp> ops;
  std::vector<LineChain::Member> members;
  std::vector<Shape4> outputs;
  std::vector<std::vector<float>> residuals;  // empty: none
  std::vector<float> input;
  std::string text;
};

// Null where the random operators cannot be a chain.
std::unique_ptr<ChainCase> MakeCase(Random& random, const KernelSet& kernels) {
  auto result = std::make_unique<ChainCase>();
  Shape4 shape = {random.Int(1, 3), random.Int(1, 40), random.Int(2, 20), random.Int(1, 40)};
  result->input = Values(random, shape.count());
  std::ostringstream text;
  text << "input " << shape.batch << "x" << shape.h << "x" << shape.w << "x" << shape.channels;
  for (int64_t count = random.Int(1, 5); count > 0; --count) {
    const bool depthwise = random.Coin(), sum = !depthwise && random.Coin();
    AnyOp op = depthwise ? MakeDepthwise(random, shape, kernels)
                         : MakeConv2D(random, shape, sum, random.Int(0, 2) > 0, kernels);
    if (op.Reshape(shape.batch, shape.h, shape.w) != Status::kOk) return nullptr;
    if (op.line_op() == nullptr) return nullptr;
    shape = {shape.batch, op.output_h(), op.output_w(), op.out_channels};
    text << (depthwise ? " depthwise " : " conv ") << shape.h << "x" << shape.w << "x" << shape.channels;
    LineChain::Member member;
    member.op = op.line_op();
    member.adds = sum;
    member.sum_range = RangeOf(sum ? AnyActivation(random) : Activation::kNone);
    result->residuals.push_back(sum ? Values(random, shape.count()) : std::vector<float>());
    result->ops.push_back(std::move(op));
    result->members.push_back(member);
    result->outputs.push_back(shape);
  }
  result->text = text.str();
  return result;
}

Activation ActivationOf(const ActivationRange& range) {
  for (const Activation activation : {Activation::kRelu, Activation::kRelu6, Activation::kReluN1To1}) {
    if (RangeOf(activation).min == range.min && RangeOf(activation).max == range.max) return activation;
  }
  return Activation::kNone;
}

std::vector<float> RunOneByOne(ChainCase& c) {
  const auto pool = ThreadPool::Create(1);
  std::vector<float> map = c.input;
  for (size_t i = 0; i < c.ops.size(); ++i) {
    std::vector<float> output(static_cast<size_t>(c.outputs[i].count()));
    AnyOp& op = c.ops[i];
    if (op.depthwise != nullptr) {
      EXPECT_EQ(op.depthwise->Run(map.data(), output.data(), *pool), Status::kOk);
    } else if (c.members[i].adds) {
      op.conv->SetActivation(ActivationOf(c.members[i].sum_range));
      EXPECT_EQ(op.conv->Run(map.data(), c.residuals[i].data(), output.data(), *pool), Status::kOk);
      op.conv->SetActivation(Activation::kNone);
    } else {
      EXPECT_EQ(op.conv->Run(map.data(), output.data(), *pool), Status::kOk);
    }
    map = std::move(output);
  }
  return map;
}

std::vector<float> RunChain(const ChainCase& c, int planned_threads, int threads, int64_t strip_bytes, Flush flush) {
  LineChain chain;
  EXPECT_EQ(chain.Plan(c.members.data(), static_cast<int>(c.members.size()), planned_threads, strip_bytes),
            Status::kOk);
  const GuardedBuffer<float> input(c.input, flush);
  std::vector<std::unique_ptr<GuardedBuffer<float>>> residuals;
  std::vector<const void*> pointers;
  for (const std::vector<float>& values : c.residuals) {
    residuals.push_back(std::make_unique<GuardedBuffer<float>>(values, flush));
    pointers.push_back(values.empty() ? nullptr : residuals.back()->data());
  }
  GuardedBuffer<float> workspace(chain.workspace_elements(), flush, kAlignment);
  GuardedBuffer<float> output(c.outputs.back().count(), flush);
  const auto pool = ThreadPool::Create(threads);
  for (int run = 0; run < 2; ++run) {
    chain.Run(input.data(), pointers.data(), output.data(), workspace.data(), *pool);
  }
  EXPECT_TRUE(output.SurroundingsIntact());
  EXPECT_TRUE(workspace.SurroundingsIntact());
  return output.values();
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

TEST(LineChain, EqualsItsMembersOneByOne) {
  int chains = 0;
  for (const KernelSet* kernels : AllKernelSets()) {
    Random random(7);
    for (int i = 0; i < 150 && !::testing::Test::HasFailure(); ++i) {
      const std::unique_ptr<ChainCase> c = MakeCase(random, *kernels);
      if (c == nullptr) continue;
      ++chains;
      const std::vector<float> expected = RunOneByOne(*c);
      const int planned = static_cast<int>(random.Int(1, 4)), threads = static_cast<int>(random.Int(1, 4));
      // From strips of one line to one strip.
      const int64_t strip_bytes = random.Coin() ? random.Int(1, 40000) : LineChain::StripBytes();
      SCOPED_TRACE(c->text + " on " + IsaName(kernels->isa) + ", planned for " + std::to_string(planned) +
                   " threads, run by " + std::to_string(threads) + ", " + std::to_string(strip_bytes) +
                   " bytes per strip");
      EXPECT_TRUE(SameBits(RunChain(*c, planned, threads, strip_bytes, Flush::kEnd), expected));
      EXPECT_TRUE(SameBits(RunChain(*c, planned, threads, strip_bytes, Flush::kStart), expected));
    }
  }
  EXPECT_GT(chains, 100);  // the random cases are chains, most of them
}

// Lines of one image between guard pages: those under the output's, and no others, are read.
TEST(LineOp, ReadsTheLinesUnderItsOwn) {
  for (const KernelSet* kernels : AllKernelSets()) {
    Random random(11);
    for (int i = 0; i < 150 && !::testing::Test::HasFailure(); ++i) {
      const std::unique_ptr<ChainCase> c = MakeCase(random, *kernels);
      if (c == nullptr || c->ops.size() != 1) continue;
      SCOPED_TRACE(c->text + " on " + IsaName(kernels->isa));
      const LineOp& op = *c->ops[0].line_op();
      const LineShape shape = op.line_shape();
      const std::vector<float> expected = RunOneByOne(*c);
      const int64_t image = random.Int(0, shape.batch - 1), out_h = shape.window.out_h;
      const int64_t first = random.Int(0, out_h - 1);
      const LineRange lines = {first, random.Int(first + 1, out_h)}, under = shape.window.Under(lines);
      const int64_t in_line = shape.in_line_bytes / 4, out_line = shape.out_line_bytes / 4;
      const float* from = c->input.data() + (image * shape.window.in_h + under.first) * in_line;
      for (const Flush flush : {Flush::kEnd, Flush::kStart}) {
        const GuardedBuffer<float> input(std::vector<float>(from, from + under.count() * in_line), flush);
        GuardedBuffer<float> output(lines.count() * out_line, flush);
        GuardedBuffer<char> scratch(op.ScratchBytes(lines.count()), flush, kAlignment);
        LineRun run = {};
        run.lines = lines;
        run.input = input.data();
        run.output = output.data();
        run.scratch = scratch.data();
        if (c->members[0].adds) {
          run.residual = c->residuals[0].data() + (image * out_h + first) * out_line;
          run.sum_range = c->members[0].sum_range;
        }
        op.RunLines(run);
        EXPECT_TRUE(output.SurroundingsIntact() && scratch.SurroundingsIntact());
        EXPECT_EQ(0, std::memcmp(output.data(), expected.data() + (image * out_h + first) * out_line,
                                 static_cast<size_t>(output.size()) * sizeof(float)));
      }
    }
  }
}

// An operator of which only the shape matters.
class ShapeOnly : public LineOp {
 public:
  explicit ShapeOnly(const LineShape& shape) : shape_(shape) {}
  LineShape line_shape() const override { return shape_; }
  int64_t ScratchBytes(int64_t) const override { return 0; }
  void RunLines(const LineRun&) const override { ADD_FAILURE() << "nobody runs it"; }

 private:
  LineShape shape_;
};

// expand -> depthwise 3x3 -> project over square maps of `size`.
std::vector<ShapeOnly> InvertedResidual(int64_t size, int64_t narrow, int64_t wide) {
  const int64_t pixel_macs = narrow * wide;
  LineShape expand, depthwise, project;
  expand.window = project.window = {size, size, 1, 1, 0};
  depthwise.window = {size, size, 3, 1, 1};
  expand.batch = depthwise.batch = project.batch = 1;
  expand.in_line_bytes = project.out_line_bytes = size * narrow * 4;
  expand.out_line_bytes = depthwise.in_line_bytes = depthwise.out_line_bytes = project.in_line_bytes = size * wide * 4;
  expand.macs = project.macs = size * pixel_macs;
  depthwise.macs = size * wide * 9;
  expand.setup_macs = project.setup_macs = 2 * pixel_macs;
  return {ShapeOnly(expand), ShapeOnly(depthwise), ShapeOnly(project)};
}

int BestLength(const std::vector<ShapeOnly>& ops, int threads) {
  std::vector<const LineOp*> pointers;
  for (const ShapeOnly& op : ops) pointers.push_back(&op);
  return LineChain::BestLength(pointers.data(), static_cast<int>(pointers.size()), threads);
}

TEST(LineChain, PaysWhereMapsAreLarge) {
  for (const int threads : {1, 2, 4}) {
    EXPECT_EQ(BestLength(InvertedResidual(112, 16, 96), threads), 3) << threads;
    EXPECT_EQ(BestLength(InvertedResidual(56, 24, 144), threads), 3) << threads;
    EXPECT_EQ(BestLength(InvertedResidual(7, 160, 960), threads), 1) << threads;
  }
  // Threads would compute the lines where their strips meet twice: more work than the maps' way to memory.
  EXPECT_EQ(BestLength(InvertedResidual(112, 16, 96), 16), 3);
  EXPECT_EQ(BestLength(InvertedResidual(112, 16, 96), 64), 2);
  EXPECT_EQ(BestLength(InvertedResidual(28, 512, 512), 1), 3);
  EXPECT_EQ(BestLength(InvertedResidual(28, 512, 512), 8), 2);
  // With a line for each, they would decode weights for most of the time.
  EXPECT_EQ(BestLength(InvertedResidual(28, 512, 512), 64), 1);
  // A line of the maps is more than a strip may be.
  EXPECT_EQ(BestLength(InvertedResidual(8, 64, 65536), 1), 1);
}

TEST(LineChain, RefusedMemoryIsAnError) {
  Random random(3);
  std::unique_ptr<ChainCase> c;
  while (c == nullptr || c->ops.size() < 2) c = MakeCase(random, *AllKernelSets().front());
  const int count = static_cast<int>(c->members.size());
  int64_t allocations = 0;
  {
    const FailAllocation never(-1);
    LineChain chain;
    EXPECT_EQ(chain.Plan(c->members.data(), count, 2), Status::kOk);
    allocations = never.allocations();
  }
  EXPECT_GT(allocations, 0);
  for (int64_t nth = 0; nth < allocations; ++nth) {
    LineChain chain;
    const FailAllocation fail(nth);
    EXPECT_EQ(chain.Plan(c->members.data(), count, 2), Status::kOutOfMemory) << nth;
  }
}

TEST(LineWindow, LinesUnderOthers) {
  const LineWindow same = {10, 10, 3, 1, 1};
  EXPECT_EQ(same.Under({0, 1}).first, 0);
  EXPECT_EQ(same.Under({0, 1}).end, 2);
  EXPECT_EQ(same.Under({9, 10}).first, 8);
  EXPECT_EQ(same.Under({9, 10}).end, 10);
  EXPECT_EQ(same.Under({3, 5}).count(), 4);
  const LineWindow padding_only = {1, 9, 9, 1, 4};  // dilated: lines -4, 0 and 4 of the input, say
  EXPECT_EQ(padding_only.Under({0, 1}).count(), 1);
  const LineWindow beyond = {2, 4, 1, 1, 1};
  EXPECT_EQ(beyond.Under({0, 1}).count(), 0);
  EXPECT_EQ(beyond.Under({3, 4}).count(), 0);
  EXPECT_EQ(beyond.MostUnder(7), 2);
}

}  // namespace
}  // namespace dgms::testing
