// Operators without weights over shapes of real networks: microseconds and bytes per second (read and written, each
// once) of one thread, the best of many runs. They are bound by memory, so that is what to compare them with: "copy".
//
// Usage: weightless_bench [--isa NAME] [--only TEXT]      (operators whose description holds TEXT)
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "bench/peak.h"
#include "kernels/select_kernel.h"
#include "ops/binary.h"
#include "ops/copy.h"
#include "ops/mean.h"
#include "ops/pad.h"
#include "ops/pool2d.h"
#include "ops/quantize.h"
#include "ops/softmax.h"
#include "ops/unary.h"

namespace dgms::bench {
namespace {

constexpr int kRuns = 50;
constexpr ElementType kFloat = ElementType::kFloat32, kInt8 = ElementType::kInt8;

struct Bench {
  const KernelSet* kernels;
  const char* only;

  // Times an op made by `create`, of inputs and an output of these types.
  template <typename Params>
  void Run(const char* what, std::unique_ptr<WeightlessOp> (*create)(const Params&, const KernelSet&, Status*),
           const Params& params, const std::vector<TensorShape>& shapes, ElementType input, ElementType output) const;
};

std::vector<char> RandomValues(int64_t count, ElementType type, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<char> bytes(static_cast<size_t>(count * ElementBytes(type)));
  for (int64_t i = 0; i < count; ++i) {
    if (type == ElementType::kInt8) {
      bytes[i] = static_cast<char>(random());
    } else {
      const float value = static_cast<float>(random() % 2001) / 100.0f - 10.0f;
      std::memcpy(&bytes[i * sizeof(value)], &value, sizeof(value));
    }
  }
  return bytes;
}

template <typename Params>
void Bench::Run(const char* what, std::unique_ptr<WeightlessOp> (*create)(const Params&, const KernelSet&, Status*),
                const Params& params, const std::vector<TensorShape>& shapes, ElementType input,
                ElementType output) const {
  const std::string name = std::string(what) + (input == kFloat ? " float" : " int8");
  if (name.find(only) == std::string::npos) return;
  Status status = Status::kOk;
  const std::unique_ptr<WeightlessOp> op = create(params, *kernels, &status);
  TensorShape shape;
  if (op != nullptr) status = op->Reshape(shapes.data(), static_cast<int>(shapes.size()), &shape);
  const std::unique_ptr<ThreadPool> pool = ThreadPool::Create(1);
  if (op == nullptr || status != Status::kOk || pool == nullptr) {
    std::printf("%-44s %s\n", name.c_str(), StatusText(status));
    return;
  }
  std::vector<std::vector<char>> values;
  std::vector<const void*> inputs;
  double bytes = static_cast<double>(shape.Count() * ElementBytes(output));
  for (const TensorShape& each : shapes) {
    values.push_back(RandomValues(each.Count(), input, static_cast<unsigned>(values.size())));
    inputs.push_back(values.back().data());
    bytes += static_cast<double>(values.back().size());
  }
  std::vector<char> result(static_cast<size_t>(shape.Count() * ElementBytes(output)));
  double best = 1e9;
  for (int i = 0; i < kRuns; ++i) {
    const double start = ThreadSeconds();
    op->Run(inputs.data(), result.data(), *pool);
    best = std::min(best, ThreadSeconds() - start);
  }
  std::printf("%-44s %9.1f us %7.2f GB/s\n", name.c_str(), best * 1e6, bytes / best * 1e-9);
}

void RunBinary(const Bench& bench, ElementType type) {
  const TensorShape resnet_2 = {1, 56, 56, 256}, resnet_4 = {1, 14, 14, 1024}, mobilenet = {1, 28, 28, 32};
  BinaryParams params;
  params.type = type;
  params.input[0] = {0.041f, 3};
  params.input[1] = {0.0137f, -7};
  params.output = {0.0531f, -20};
  params.activation = Activation::kRelu;
  bench.Run("ADD 56x56x256", CreateBinary, params, {resnet_2, resnet_2}, type, type);
  bench.Run("ADD 14x14x1024", CreateBinary, params, {resnet_4, resnet_4}, type, type);
  bench.Run("ADD 28x28x32", CreateBinary, params, {mobilenet, mobilenet}, type, type);
  params.input[0].scale = params.input[1].scale = 0.05f;
  params.output.scale = 0.1f;
  // In int8 half of all sums lie on the very middle between two steps: the slow way.
  bench.Run("ADD 56x56x256, equal scales,", CreateBinary, params, {resnet_2, resnet_2}, type, type);
  params.kind = BinaryKind::kMul;
  params.input[1].scale = 0.0039f;
  params.output.scale = 0.0431f;
  bench.Run("MUL 56x56x72 by 1x1x72", CreateBinary, params, {{1, 56, 56, 72}, {1, 1, 1, 72}}, type, type);
}

void RunReductions(const Bench& bench, ElementType type) {
  Pool2DParams pool;
  pool.type = type;
  pool.kernel_h = pool.kernel_w = 3;
  pool.stride_h = pool.stride_w = 2;
  pool.padding = Padding::kSame;
  bench.Run("MAX_POOL 3x3 / 2 of 112x112x64", CreatePool2D, pool, {{1, 112, 112, 64}}, type, type);
  pool.kind = PoolKind::kAverage;
  pool.kernel_h = pool.kernel_w = 7;
  pool.padding = Padding::kValid;
  bench.Run("AVERAGE_POOL 7x7 of 7x7x2048", CreatePool2D, pool, {{1, 7, 7, 2048}}, type, type);
  MeanParams mean;
  mean.type = type;
  mean.axis_count = 2;
  mean.axes[0] = 1;
  mean.axes[1] = 2;
  mean.input = {0.04f, 3};
  mean.output = {0.03f, -5};
  bench.Run("MEAN of 7x7x2048", CreateMean, mean, {{1, 7, 7, 2048}}, type, type);
  SoftmaxParams softmax;
  softmax.type = type;
  softmax.input = {0.1f, 0};
  softmax.output = {1.0f / 256, -128};
  bench.Run("SOFTMAX of 1000", CreateSoftmax, softmax, {{1, 1000}}, type, type);
}

void RunMaps(const Bench& bench, ElementType type) {
  UnaryParams unary;
  unary.type = type;
  unary.input = {0.05f, 0};
  unary.output = {0.04f, -10};
  unary.function = UnaryFunction::kRelu6;
  bench.Run("RELU6 112x112x32", CreateUnary, unary, {{1, 112, 112, 32}}, type, type);
  unary.function = UnaryFunction::kHardSwish;
  bench.Run("HARD_SWISH 112x112x16", CreateUnary, unary, {{1, 112, 112, 16}}, type, type);
  unary.function = UnaryFunction::kLogistic;
  unary.output = {1.0f / 256, -128};
  bench.Run("LOGISTIC 1917x91", CreateUnary, unary, {{1, 1917, 91}}, type, type);
  PadParams pad;
  pad.type = type;
  pad.rank = 4;
  pad.before[1] = pad.before[2] = pad.after[1] = pad.after[2] = 3;
  bench.Run("PAD 224x224x3 by 3", CreatePad, pad, {{1, 224, 224, 3}}, type, type);
  QuantizeParams quantize;
  quantize.input_type = type;
  quantize.output_type = type == kFloat ? kInt8 : kFloat;
  quantize.input = quantize.output = {0.02f, -3};
  bench.Run(type == kFloat ? "QUANTIZE 224x224x3" : "DEQUANTIZE 224x224x3", CreateQuantize, quantize,
            {{1, 224, 224, 3}}, type, quantize.output_type);
}

int Main(int argc, char** argv) {
  Bench bench = {BestKernels(), ""};
  for (int i = 1; i < argc; i += 2) {
    const bool isa = std::strcmp(argv[i], "--isa") == 0;
    if (i + 1 == argc || (!isa && std::strcmp(argv[i], "--only") != 0)) {
      std::fprintf(stderr, "Usage: weightless_bench [--isa NAME] [--only TEXT]\n");
      return 2;
    }
    if (isa) bench.kernels = KernelsFor(argv[i + 1]);
    if (!isa) bench.only = argv[i + 1];
    if (bench.kernels == nullptr) {
      std::fprintf(stderr, "--isa must name an instruction set of this machine. Received: %s\n", argv[i + 1]);
      return 2;
    }
  }
  std::printf("%s, one thread\n", bench.kernels->pointwise->name);
  bench.Run("copy 56x56x256", CreateCopy, CopyParams{kFloat}, {{1, 56, 56, 256}}, kFloat, kFloat);
  for (const ElementType type : {kFloat, kInt8}) {
    RunBinary(bench, type);
    RunReductions(bench, type);
    RunMaps(bench, type);
  }
  return 0;
}

}  // namespace
}  // namespace dgms::bench

int main(int argc, char** argv) { return dgms::bench::Main(argc, argv); }
