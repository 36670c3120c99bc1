// Maps that stay int8 between float layers (tflite/keep_int8.h): which ones do, and that results are those of float.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "ops/int8_depthwise_conv2d.h"
#include "ops/line_chain.h"
#include "tflite/delegate_testing.h"

namespace dgms::testing {
namespace {

OwnedDelegate NewDynamic(int threads = 1, ClaimScope claim = ClaimScope::kGraph, const char* isa = "auto") {
  Options options;
  options.isa = isa;
  options.dynamic_int8 = true;
  options.num_threads = threads;
  options.claim = claim;
  options.profile = true;
  options.print_profile = false;
  std::string error;
  OwnedDelegate delegate(CreateDelegate(options, &error));
  EXPECT_NE(delegate, nullptr) << error;
  return delegate;
}

// What an inverted residual is made of.
struct BlockParts {
  static LayerSpec Spec(int builtin, const std::vector<int>& filter, tfl::Activation activation) {
    LayerSpec spec;
    spec.input = {1, 9, 10, 4};
    spec.builtin = builtin;
    spec.filter = filter;
    spec.activation = activation;
    return spec;
  }

  LayerSpec expand = Spec(tfl::kBuiltinConv2d, {20, 1, 1, 4}, tfl::Activation::kRelu6);
  LayerSpec depthwise = Spec(tfl::kBuiltinDepthwiseConv2d, {1, 3, 3, 20}, tfl::Activation::kRelu6);
  LayerSpec project = Spec(tfl::kBuiltinConv2d, {4, 1, 1, 20}, tfl::Activation::kNone);
  uint32_t seed = 5;
  bool plain_expand = false, plain_depthwise = false;
  bool pads = false;  // a PAD in front of the depthwise layer, which then is VALID
};

// The parts can be changed before it is made.
struct Block : BlockParts {
  MockRuntime runtime;
  LayerIds first, second, third;
  int sum = -1;

  void Make() {
    ChainBuilder builder(&runtime, seed);
    runtime.stock_has_bias = false;
    first = plain_expand ? builder.PlainLayer(expand) : builder.Layer(expand);
    int wide = first.output;
    if (pads) {
      const int margins = runtime.Constant<int32_t>({4, 2}, {0, 0, 0, 1, 0, 1, 0, 0});
      wide = runtime.AddTensor(tfl::Type::kFloat32, {1, 10, 11, 20});
      runtime.AddNode(tfl::kBuiltinPad, {first.output, margins}, {wide});
      depthwise.padding = tfl::Padding::kValid;
      depthwise.stride_h = depthwise.stride_w = 2;
    }
    second = plain_depthwise ? builder.PlainLayer(depthwise, wide) : builder.Layer(depthwise, wide);
    runtime.tensor(second.output).name = "depthwise";  // or it would share a line of the profile
    third = builder.Layer(project, second.output);
    if (pads) {
      sum = third.output;
    } else {
      sum = runtime.AddTensor(tfl::Type::kFloat32, {1, 9, 10, 4});
      runtime.AddNode(tfl::kBuiltinAdd, {first.input, third.output}, {sum},
                      tfl::ElementwiseParams{tfl::Activation::kNone});
    }
    runtime.graph_outputs = {sum};
  }
};

// How many depthwise layers ran in int8: they do where the maps on both sides are.
int Int8Depthwise(tfl::Delegate* delegate) {
  int count = 0;
  for (const OpProfile& op : ReadProfile(delegate)) count += op.kernel.find("s8_depthwise") == 0 ? 1 : 0;
  return count;
}

// Whether these kernels compute the block's depthwise layer faster in int8: only then it is.
bool IsFast(const KernelSet& kernels, int kernel_h = 3, int kernel_w = 3) {
  DepthwiseConv2DParams params;
  params.kernel_h = kernel_h;
  params.kernel_w = kernel_w;
  return Int8DepthwiseConv2D::IsFast(params, kernels);
}

int MostDepthwise() { return IsFast(*BestKernels()) ? 1 : 0; }

// Rounding may cost some per cent of the largest output; a wrong weight or place is far above.
void ExpectFairlyNear(const std::vector<float>& result, const std::vector<float>& expected) {
  ASSERT_FALSE(expected.empty());
  ASSERT_EQ(result.size(), expected.size());
  float largest = 1;
  for (const float value : expected) largest = std::max(largest, std::abs(value));
  for (size_t i = 0; i < result.size(); ++i) ASSERT_NEAR(result[i], expected[i], 0.08F * largest) << "output " << i;
}

// Runs the block in float and in int8; returns how many depthwise layers ran in int8.
int Check(Block* block, ClaimScope claim = ClaimScope::kGraph) {
  const OwnedDelegate floats = NewDelegate(), delegate = NewDynamic(2, claim);
  MockRuntime& runtime = block->runtime;
  Block twin;
  static_cast<BlockParts&>(twin) = *block;
  twin.Make();
  EXPECT_EQ(twin.runtime.Apply(floats.get()), tfl::kOk);  // the stock kernels have no PAD
  const std::vector<float> expected = RunGraph(&twin.runtime, twin.first, twin.sum);
  EXPECT_FALSE(expected.empty()) << FirstError(twin.runtime);
  EXPECT_EQ(runtime.Apply(delegate.get()), tfl::kOk);
  ExpectFairlyNear(RunGraph(&runtime, block->first, block->sum), expected);
  EXPECT_EQ(FirstError(runtime), "");
  return Int8Depthwise(delegate.get());
}

int Check(const std::function<void(Block*)>& change, ClaimScope claim = ClaimScope::kGraph) {
  Block block;
  change(&block);
  block.Make();
  return Check(&block, claim);
}

TEST(KeepInt8, InvertedResiduals) {
  uint32_t seed = 1;
  for (const int bits : {2, 3, 4}) {
    for (const int group_size : {0, 7}) {
      for (const auto activation : {tfl::Activation::kRelu6, tfl::Activation::kReluN1To1}) {
        for (const bool pads : {false, true}) {
          SCOPED_TRACE(::testing::Message() << bits << " bits, group size " << group_size << ", activation "
                                            << static_cast<int>(activation) << (pads ? ", with a PAD" : ""));
          const auto change = [&](Block* block) {
            block->seed = seed++;
            block->pads = pads;
            for (LayerSpec* spec : {&block->expand, &block->depthwise, &block->project}) {
              spec->bits = bits;
              spec->group_size = group_size;
            }
            block->expand.activation = block->depthwise.activation = activation;
          };
          EXPECT_EQ(Check(change), MostDepthwise());
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

// What a float layer reads, or anybody outside of the partition, stays float; so does what is not bounded.
TEST(KeepInt8, OnlyWhereAllReadersAreInt8) {
  EXPECT_EQ(Check([](Block*) {}), MostDepthwise());
  EXPECT_EQ(Check([](Block* block) { block->expand.activation = tfl::Activation::kRelu; }), 0);
  EXPECT_EQ(Check([](Block* block) { block->depthwise.activation = tfl::Activation::kRelu; }), 0);
  EXPECT_EQ(Check([](Block* block) { block->plain_expand = true; }), 0);
  for (const bool narrow : {false, true}) {  // an output of the graph
    Block block;
    block.Make();
    const int seen = narrow ? block.second.output : block.first.output;
    block.runtime.graph_outputs.push_back(seen);
    EXPECT_EQ(Check(&block), 0);
    EXPECT_EQ(block.runtime.Get(seen).size(), 9U * 10 * 20);
  }
  for (const auto claim : {ClaimScope::kGraph, ClaimScope::kCodebook}) {  // read by an ADD
    Block block;
    block.Make();
    const int twice = block.runtime.AddTensor(tfl::Type::kFloat32, {1, 9, 10, 20});
    block.runtime.AddNode(tfl::kBuiltinAdd, {block.first.output, block.second.output}, {twice},
                          tfl::ElementwiseParams{tfl::Activation::kNone});
    block.runtime.graph_outputs.push_back(twice);
    EXPECT_EQ(Check(&block, claim), 0);
  }
  Block block;  // every node a partition of its own
  block.runtime.fuse_nodes = false;
  block.Make();
  EXPECT_EQ(Check(&block), 0);
}

// Without a preview of the partitions nothing is known to be inside of one.
TEST(KeepInt8, NotWithoutAPreview) {
  Block block;
  block.runtime.preview_fails = true;
  block.Make();
  EXPECT_EQ(Check(&block, ClaimScope::kCodebook), 0);
}

// Scales below zero are no factors of int8 outputs: the depthwise layer stays float, and its neighbours' maps with it.
TEST(KeepInt8, NotWithNegativeScales) {
  EXPECT_EQ(Check([](Block* block) { block->expand.scale = block->project.scale = true; }), MostDepthwise());
  EXPECT_EQ(Check([](Block* block) { block->depthwise.scale = true; }), 0);
}

// A depthwise layer's few weights may have no codebook: they are rounded, each channel by itself.
TEST(KeepInt8, PlainDepthwise) {
  for (const bool pads : {false, true}) {
    for (const uint32_t seed : {1, 2, 3}) {
      EXPECT_EQ(Check([&](Block* block) {
                  block->plain_depthwise = true;
                  block->pads = pads;
                  block->seed = seed;
                }),
                MostDepthwise());
    }
  }
  Block block;  // weights that cannot be
  block.plain_depthwise = true;
  block.Make();
  static_cast<float*>(block.runtime.tensor(block.second.filter).data)[7] = std::numeric_limits<float>::infinity();
  const OwnedDelegate delegate = NewDynamic();
  ASSERT_EQ(block.runtime.Apply(delegate.get()), tfl::kOk);
  EXPECT_FALSE(RunGraph(&block.runtime, block.first, block.sum).empty());
  EXPECT_EQ(Int8Depthwise(delegate.get()), 0);
}

// What the kernels of an instruction set do no faster stays float with them, and only that.
TEST(KeepInt8, AsksTheKernels) {
  for (const Isa isa : kIsas) {
    const KernelSet* kernels = KernelsFor(IsaName(isa));
    if (kernels == nullptr) continue;
    for (const auto& [height, width] : {std::pair{3, 3}, {5, 5}, {7, 7}, {9, 9}, {3, 2}}) {
      SCOPED_TRACE(::testing::Message() << IsaName(isa) << " " << height << "x" << width);
      Block block;
      block.depthwise.filter = {1, height, width, 20};
      block.Make();
      const OwnedDelegate delegate = NewDynamic(1, ClaimScope::kGraph, IsaName(isa));
      ASSERT_EQ(block.runtime.Apply(delegate.get()), tfl::kOk);
      EXPECT_FALSE(RunGraph(&block.runtime, block.first, block.sum).empty());
      EXPECT_EQ(Int8Depthwise(delegate.get()), IsFast(*kernels, height, width) ? 1 : 0);
    }
    EXPECT_FALSE(IsFast(*kernels, 9, 9)) << IsaName(isa);  // no kernel prepares weights of so many lines
    const bool has_dot_products =
        isa == Isa::kNeonDotprod || isa == Isa::kNeonI8mm || isa == Isa::kAvx512Vnni || isa == Isa::kAvx512Amx;
    EXPECT_EQ(IsFast(*kernels), has_dot_products) << IsaName(isa);
    EXPECT_EQ(IsFast(*kernels, 5, 5), has_dot_products) << IsaName(isa);
    EXPECT_EQ(IsFast(*kernels, 7, 7), has_dot_products) << IsaName(isa);
  }
}

// Convolutions of both kinds, one of which reads and writes such maps.
TEST(KeepInt8, ConvolutionsInARow) {
  MockRuntime runtime;
  ChainBuilder builder(&runtime, 3);
  LayerSpec spec = Block::Spec(tfl::kBuiltinConv2d, {6, 3, 3, 4}, tfl::Activation::kRelu6);
  const LayerIds first = builder.Layer(spec);
  spec.filter = {5, 3, 3, 6};
  spec.scale = true;
  const LayerIds second = builder.Layer(spec, first.output);
  spec.filter = {7, 1, 1, 5};
  spec.activation = tfl::Activation::kRelu;
  const LayerIds third = builder.Layer(spec, second.output);
  runtime.graph_outputs = {third.output};
  const std::vector<float> expected = RunGraph(&runtime, first, third.output);
  const OwnedDelegate delegate = NewDynamic();
  ASSERT_EQ(runtime.Apply(delegate.get()), tfl::kOk);
  ExpectFairlyNear(RunGraph(&runtime, first, third.output), expected);
}

// Maps of one position are made anew, in their own range: values of a hundredth of the bound keep 8 bits.
TEST(KeepInt8, NotMapsOfOnePosition) {
  const auto run = [](tfl::Delegate* delegate) {
    MockRuntime runtime;
    ChainBuilder builder(&runtime, 3);
    LayerSpec spec = Block::Spec(tfl::kBuiltinConv2d, {16, 1, 1, 24}, tfl::Activation::kRelu6);
    spec.input = {2, 1, 1, 24};
    spec.bias = false;
    const LayerIds first = builder.Layer(spec);
    spec.filter = {24, 1, 1, 16};
    spec.activation = tfl::Activation::kNone;
    const LayerIds second = builder.Layer(spec, first.output);
    runtime.graph_outputs = {second.output};
    EXPECT_EQ(runtime.Apply(delegate), tfl::kOk);
    EXPECT_EQ(runtime.Allocate(), tfl::kOk);
    std::vector<float> input = ChainBuilder(&runtime, 9).Floats(2 * 24);
    for (float& value : input) value *= 0.01F;
    runtime.Set(first.input, input);
    EXPECT_EQ(runtime.Invoke(), tfl::kOk);
    return runtime.Get(second.output);
  };
  const OwnedDelegate floats = NewDelegate(), dynamic = NewDynamic();
  const std::vector<float> expected = run(floats.get()), result = run(dynamic.get());
  float largest = 0;
  for (const float value : expected) largest = std::max(largest, std::abs(value));
  ASSERT_GT(largest, 0);
  // Two roundings of half a 127th of the largest, and weights'; steps of 6/255 would be of the values' own size.
  for (size_t i = 0; i < result.size(); ++i) ASSERT_NEAR(result[i], expected[i], 0.05F * largest) << "output " << i;
}

// The same bits with any number of threads, chained or not, after resizes.
TEST(KeepInt8, SameBitsHoweverItRuns) {
  for (const std::vector<int>& dims : {std::vector<int>{1, 9, 10, 4}, {3, 14, 7, 4}, {1, 1, 1, 4}, {2, 40, 33, 4}}) {
    std::vector<float> expected;
    for (const bool chained : {false, true}) {
      LineChain::SetAlwaysPays(chained);
      for (const int threads : {1, 2, 3}) {
        Block block;
        block.Make();
        const OwnedDelegate delegate = NewDynamic(threads);
        ASSERT_EQ(block.runtime.Apply(delegate.get()), tfl::kOk);
        ASSERT_FALSE(RunGraph(&block.runtime, block.first, block.sum).empty());
        block.runtime.Resize(block.first.input, dims);
        const std::vector<float> result = RunGraph(&block.runtime, block.first, block.sum);
        EXPECT_EQ(FirstError(block.runtime), "");
        if (expected.empty()) expected = result;
        EXPECT_EQ(result, expected) << threads << " threads" << (chained ? ", chained" : "");
      }
      LineChain::SetAlwaysPays(false);
    }
    EXPECT_FALSE(expected.empty());
  }
}

// What an input becomes does not depend on those before it, whatever their size.
TEST(KeepInt8, InputsInTurn) {
  const auto inputs = [](const std::vector<float>& image) {
    std::vector<std::vector<float>> all;
    for (const float factor : {1.0F, 0.01F, 100.0F, 0.0F, std::numeric_limits<float>::quiet_NaN(), 1.0F, 0.3F}) {
      all.push_back(image);
      for (float& value : all.back()) value *= factor;
    }
    all.push_back(image);
    all.back()[17] = std::numeric_limits<float>::infinity();
    return all;
  };
  // Bit by bit: a NaN is no other number than itself.
  const auto run = [](Block* block, const std::vector<float>& input) {
    block->runtime.Set(block->first.input, input);
    EXPECT_EQ(block->runtime.Invoke(), tfl::kOk);
    const std::vector<float> values = block->runtime.Get(block->sum);
    std::vector<uint32_t> bits(values.size());
    std::memcpy(bits.data(), values.data(), values.size() * sizeof(float));
    return bits;
  };
  const auto make = [](Block* block, tfl::Delegate* delegate) {
    block->Make();
    ASSERT_EQ(block->runtime.Apply(delegate), tfl::kOk);
    ASSERT_EQ(block->runtime.Allocate(), tfl::kOk);
  };
  std::vector<std::vector<uint32_t>> first;
  for (const bool chained : {false, true}) {
    LineChain::SetAlwaysPays(chained);
    for (const int threads : {1, 3}) {
      const OwnedDelegate delegate = NewDynamic(threads);
      Block block;
      make(&block, delegate.get());
      ChainBuilder builder(&block.runtime, 8);
      size_t turn = 0;
      for (const std::vector<float>& input : inputs(builder.Floats(9 * 10 * 4))) {
        SCOPED_TRACE(::testing::Message()
                     << "input " << turn << (chained ? ", chained, " : ", ") << threads << " threads");
        const OwnedDelegate fresh_delegate = NewDynamic(threads);
        Block fresh;
        make(&fresh, fresh_delegate.get());
        const std::vector<uint32_t> result = run(&block, input);
        EXPECT_EQ(result, run(&fresh, input));
        if (first.size() == turn) first.push_back(result);
        EXPECT_EQ(result, first[turn++]);
      }
    }
    LineChain::SetAlwaysPays(false);
  }
}

}  // namespace
}  // namespace dgms::testing
