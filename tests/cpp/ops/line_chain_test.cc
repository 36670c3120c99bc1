// Chains of operators against the same operators one by one, bit for bit, and lines of an operator against all of them;
// everything that is read or written between guard pages, on every instruction set.
#include "ops/line_chain.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "ops/line_chain_testing.h"

namespace dgms::testing {
namespace {

Map RunChain(const ChainCase& c, int planned_threads, int threads, int64_t strip_bytes, Flush flush) {
  LineChain chain;
  EXPECT_EQ(chain.Plan(c.members.data(), static_cast<int>(c.members.size()), planned_threads, strip_bytes),
            Status::kOk);
  const GuardedBuffer<char> input(c.input, flush);
  std::vector<std::unique_ptr<GuardedBuffer<char>>> residuals;
  std::vector<const void*> pointers;
  for (const Map& values : c.residuals) {
    residuals.push_back(std::make_unique<GuardedBuffer<char>>(values, flush));
    pointers.push_back(values.empty() ? nullptr : residuals.back()->data());
  }
  // Lanes with nothing between them, or far from one another.
  const int64_t lane_stride = chain.lane_bytes() + (flush == Flush::kEnd ? 0 : kAlignment);
  GuardedBuffer<char> workspace(lane_stride * (chain.lanes() - 1) + chain.lane_bytes(), flush, kAlignment);
  GuardedBuffer<char> output(c.outputs.back().count() * ElementBytes(c.kind), flush);
  const auto pool = ThreadPool::Create(threads);
  for (int run = 0; run < 2; ++run) {
    chain.Run(input.data(), pointers.data(), output.data(), workspace.data(), lane_stride, *pool);
  }
  EXPECT_TRUE(output.SurroundingsIntact());
  EXPECT_TRUE(workspace.SurroundingsIntact());
  return output.values();
}

TEST(LineChain, EqualsItsMembersOneByOne) {
  int chains[3] = {};
  for (const KernelSet* kernels : AllKernelSets()) {
    Random random(7);
    for (int i = 0; i < 300 && !::testing::Test::HasFailure(); ++i) {
      const std::unique_ptr<ChainCase> c = MakeChainCase(random, *kernels);
      if (c == nullptr) continue;
      ++chains[static_cast<int>(c->kind)];
      const Map expected = RunOneByOne(*c);
      const int planned = static_cast<int>(random.Int(1, 4)), threads = static_cast<int>(random.Int(1, 4));
      // From strips of one line to one strip.
      const int64_t strip_bytes = random.Coin() ? random.Int(1, 40000) : LineChain::StripBytes();
      SCOPED_TRACE(c->text + " on " + IsaName(kernels->isa) + ", planned for " + std::to_string(planned) +
                   " threads, run by " + std::to_string(threads) + ", " + std::to_string(strip_bytes) +
                   " bytes per strip");
      EXPECT_TRUE(RunChain(*c, planned, threads, strip_bytes, Flush::kEnd) == expected);
      EXPECT_TRUE(RunChain(*c, planned, threads, strip_bytes, Flush::kStart) == expected);
    }
  }
  for (const int count : chains) EXPECT_GT(count, 100);  // the random cases are chains, most of them
}

// Lines of one image between guard pages: those under the output's, and no others, are read.
TEST(LineOp, ReadsTheLinesUnderItsOwn) {
  for (const KernelSet* kernels : AllKernelSets()) {
    Random random(11);
    for (int i = 0; i < 300 && !::testing::Test::HasFailure(); ++i) {
      const std::unique_ptr<ChainCase> c = MakeChainCase(random, *kernels);
      if (c == nullptr || c->ops.size() != 1) continue;
      SCOPED_TRACE(c->text + " on " + IsaName(kernels->isa));
      const LineOp& op = *c->ops[0].line_op();
      const LineShape shape = op.line_shape();
      const Map expected = RunOneByOne(*c);
      const int64_t image = random.Int(0, shape.batch - 1), out_h = shape.window.out_h;
      const int64_t first = random.Int(0, out_h - 1);
      const LineRange lines = {first, random.Int(first + 1, out_h)}, under = shape.window.Under(lines);
      const char* from = c->input.data() + (image * shape.window.in_h + under.first) * shape.in_line_bytes;
      const int64_t in_map = (image * out_h + first) * shape.out_line_bytes;
      for (const Flush flush : {Flush::kEnd, Flush::kStart}) {
        const GuardedBuffer<char> input(Map(from, from + under.count() * shape.in_line_bytes), flush);
        GuardedBuffer<char> output(lines.count() * shape.out_line_bytes, flush);
        GuardedBuffer<char> scratch(op.ScratchBytes(lines.count()), flush, kAlignment);
        LineRun run = {};
        run.lines = lines;
        run.input = input.data();
        run.output = output.data();
        run.scratch = scratch.data();
        if (c->members[0].adds) {
          run.residual = c->residuals[0].data() + in_map;
          run.sum_range = c->members[0].sum_range;
        }
        op.RunLines(run);
        EXPECT_TRUE(output.SurroundingsIntact() && scratch.SurroundingsIntact());
        EXPECT_EQ(0, std::memcmp(output.data(), expected.data() + in_map, static_cast<size_t>(output.size())));
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

// Of the chains that these run as best, from the first to the last.
std::vector<int> BestLengths(const std::vector<ShapeOnly>& ops, int threads) {
  std::vector<const LineOp*> pointers;
  for (const ShapeOnly& op : ops) pointers.push_back(&op);
  std::vector<int> best(ops.size()), lengths;
  EXPECT_EQ(LineChain::BestLengths(pointers.data(), static_cast<int>(ops.size()), threads, best.data()), Status::kOk);
  for (int end = static_cast<int>(ops.size()); end > 0; end -= lengths.front()) {
    lengths.insert(lengths.begin(), best[end - 1]);
  }
  return lengths;
}

using Lengths = std::vector<int>;

TEST(LineChain, PaysWhereMapsAreLarge) {
  EXPECT_EQ(BestLengths(InvertedResidual(112, 16, 96), 1), Lengths({3}));
  EXPECT_EQ(BestLengths(InvertedResidual(56, 24, 144), 1), Lengths({3}));
  EXPECT_EQ(BestLengths(InvertedResidual(28, 64, 512), 1), Lengths({3}));
  // The maps stay in the cache.
  EXPECT_EQ(BestLengths(InvertedResidual(14, 64, 384), 1), Lengths({1, 1, 1}));
  EXPECT_EQ(BestLengths(InvertedResidual(7, 160, 960), 1), Lengths({1, 1, 1}));
  // A line of the maps is more than a strip may be.
  EXPECT_EQ(BestLengths(InvertedResidual(8, 64, 65536), 1), Lengths({1, 1, 1}));
}

TEST(LineChain, PaysWhereThreadsShareMaps) {
  for (const int threads : {2, 4}) {
    EXPECT_EQ(BestLengths(InvertedResidual(112, 16, 96), threads), Lengths({3})) << threads;
    EXPECT_EQ(BestLengths(InvertedResidual(56, 24, 144), threads), Lengths({3})) << threads;
  }
  EXPECT_EQ(BestLengths(InvertedResidual(14, 64, 384), 2), Lengths({3}));
  // Threads compute the lines where their strips meet twice: more work than the maps' way to another core.
  EXPECT_EQ(BestLengths(InvertedResidual(28, 512, 512), 8).back(), 1);
  EXPECT_EQ(BestLengths(InvertedResidual(7, 160, 960), 2).front(), 1);
  // With a line for each, they would decode weights for most of the time.
  EXPECT_EQ(BestLengths(InvertedResidual(28, 512, 512), 64), Lengths({1, 1, 1}));
  // What a thread does alone shares no maps.
  EXPECT_EQ(BestLengths(InvertedResidual(4, 8, 48), 2), Lengths({1, 1, 1}));
}

// Chains end where a map is small, and nowhere else.
TEST(LineChain, SeveralInARow) {
  const auto twice = [](const std::vector<ShapeOnly>& ops) {
    std::vector<ShapeOnly> result = ops;
    result.insert(result.end(), ops.begin(), ops.end());
    return result;
  };
  EXPECT_EQ(BestLengths(twice(InvertedResidual(112, 12, 24)), 1), Lengths({6}));
  EXPECT_EQ(BestLengths(twice(InvertedResidual(28, 32, 192)), 1), Lengths({3, 3}));
}

TEST(LineChain, NoneIsLongerThanAllowed) {
  std::vector<ShapeOnly> ops;
  for (int i = 0; i < 20; ++i) {
    const std::vector<ShapeOnly> block = InvertedResidual(112, 16, 96);
    ops.insert(ops.end(), block.begin(), block.end());
  }
  LineChain::SetAlwaysPays(true);
  EXPECT_EQ(BestLengths(ops, 1), Lengths({12, 16, 16, 16}));
  LineChain::SetAlwaysPays(false);
}

TEST(LineChain, RefusedMemoryIsAnError) {
  Random random(3);
  std::unique_ptr<ChainCase> c;
  while (c == nullptr || c->ops.size() < 2) c = MakeChainCase(random, *AllKernelSets().front());
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
