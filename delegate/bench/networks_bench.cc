// Every convolution of a network, in the network's order: milliseconds, GMAC/s, and percent of the cores' multiply-add
// peak, which is measured in the same process between the layers.
//
//   networks_bench [--network resnet18|resnet50|mobilenetv2] [--threads N] [--isa NAME] [--bits 2|3|4] [--repeats N]
//                  [--activations float32|int8|dynamic_int8] [--alone]
// The peak is that of float multiply-adds, also for int8. --alone runs every layer once more just before it is timed:
// its weights and input are then in the cache.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "bench/networks.h"
#include "bench/peak.h"
#include "ops/conv2d.h"
#include "ops/depthwise_conv2d.h"
#include "ops/fully_connected.h"
#include "ops/int8_conv2d.h"
#include "ops/int8_depthwise_conv2d.h"
#include "ops/int8_fully_connected.h"

namespace dgms::bench {
namespace {

struct Options {
  std::string network = "resnet18";
  std::string isa = "auto";
  int threads = 1;
  int bits = 4;
  int repeats = 20;
  std::string activations = "float32";
  bool alone = false;
};

// Any op.
struct Op {
  std::function<void(const float*, float*, ThreadPool&)> Run;
};

template <typename Kind>
Op Wrap(std::unique_ptr<Kind> op) {
  // The buffers are large enough for either type of activations.
  const std::shared_ptr<Kind> shared = std::move(op);
  return {[shared](const float* x, float* y, ThreadPool& pool) { shared->Run(x, y, pool); }};
}

// The float ops, or the int8 ones: `Conv` and so on are types, `arguments` what their Create takes beside parameters.
template <typename Conv, typename Depthwise, typename Dense, typename... Arguments>
Op MakeOp(const Layer& layer, Workspace* workspace, const Arguments&... arguments) {
  if (layer.kind == LayerKind::kConv) {
    Conv2DParams p;
    p.kernel_h = p.kernel_w = layer.kernel;
    p.stride_h = p.stride_w = layer.stride;
    p.padding = Padding::kSame;
    p.in_channels = layer.in_channels;
    p.out_channels = layer.out_channels;
    p.activation = Activation::kRelu;
    auto op = Conv::Create(p, arguments...);
    op->Reshape(1, layer.in_size, layer.in_size, workspace);
    return Wrap(std::move(op));
  }
  if (layer.kind == LayerKind::kDepthwise) {
    DepthwiseConv2DParams p;
    p.kernel_h = p.kernel_w = layer.kernel;
    p.stride_h = p.stride_w = layer.stride;
    p.padding = Padding::kSame;
    p.in_channels = layer.in_channels;
    p.activation = Activation::kRelu6;
    auto op = Depthwise::Create(p, arguments...);
    op->Reshape(1, layer.in_size, layer.in_size, workspace);
    return Wrap(std::move(op));
  }
  auto op = Dense::Create({layer.in_channels, layer.out_channels, Activation::kNone}, arguments...);
  op->Reshape(1);
  return Wrap(std::move(op));
}

// One instance of a layer, and its times.
struct Instance {
  Layer layer;
  Op op;
  std::vector<double> seconds, peaks;

  double Best() const { return *std::min_element(seconds.begin(), seconds.end()); }
  double Median() const {
    std::vector<double> sorted = seconds;
    std::sort(sorted.begin(), sorted.end());
    return sorted[sorted.size() / 2];
  }
};

std::string Name(const Layer& layer) {
  const char* kind = layer.kind == LayerKind::kConv ? "conv" : layer.kind == LayerKind::kDepthwise ? "depthwise" : "fc";
  char name[64];
  std::snprintf(name, sizeof(name), "%s %dx%d/%d %dx%dx%d -> %d", kind, layer.kernel, layer.kernel, layer.stride,
                layer.in_size, layer.in_size, layer.in_channels, layer.out_channels);
  return name;
}

Instance MakeInstance(const Layer& layer, const Options& options, const KernelSet& kernels, Workspace* workspace) {
  static std::mt19937 random(1);
  const int64_t weights = layer.Macs() / (int64_t{layer.OutSize()} * layer.OutSize());
  std::vector<uint8_t> codes(weights);
  for (uint8_t& code : codes) code = static_cast<uint8_t>(random() % (1u << options.bits));
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> codebook(16), bias(layer.out_channels), scale(layer.out_channels);
  for (auto* values : {&codebook, &bias, &scale}) {
    std::generate(values->begin(), values->end(), [&] { return uniform(random); });
  }
  CodebookFilter filter;
  filter.codes = codes.data();
  filter.count = weights;
  filter.bits = options.bits;
  filter.codebooks = codebook.data();
  filter.scale = scale.data();
  if (options.activations == "float32") {
    return {
        layer, MakeOp<Conv2D, DepthwiseConv2D, FullyConnected>(layer, workspace, filter, bias.data(), kernels), {}, {}};
  }
  std::vector<int8_t> int8_codebook(16);
  for (int8_t& value : int8_codebook) value = static_cast<int8_t>(static_cast<int>(random() % 255) - 127);
  Int8CodebookFilter int8_filter;
  static_cast<FilterCodes&>(int8_filter) = filter;
  int8_filter.codebooks = int8_codebook.data();
  const std::vector<double> factor(layer.out_channels, 0.0003);
  Requantization fixed;
  fixed.factor = factor.data();
  const Dequantization dynamic = {scale.data(), bias.data(), RangeOf(Activation::kRelu)};
  const Int8LayerOutput output =
      options.activations == "int8" ? Int8LayerOutput{&fixed, nullptr} : Int8LayerOutput{nullptr, &dynamic};
  return {layer,
          MakeOp<Int8Conv2D, Int8DepthwiseConv2D, Int8FullyConnected>(layer, workspace, int8_filter, output, kernels),
          {},
          {}};
}

void Print(const Instance& instance, int threads) {
  const double macs = static_cast<double>(instance.layer.Macs());
  const double peak = *std::max_element(instance.peaks.begin(), instance.peaks.end()) * threads;
  std::printf("%-34s %5d %8.1f %9.3f %9.3f %8.1f %7.1f\n", Name(instance.layer).c_str(), instance.layer.count,
              macs / 1e6, instance.Best() * 1e3, instance.Median() * 1e3, macs / instance.Best() / 1e9,
              peak > 0 ? 100 * macs / instance.Best() / peak : 0.0);
}

int Main(const Options& options) {
  const KernelSet* kernels = KernelsFor(options.isa);
  const std::vector<Layer> layers = options.network == "resnet18"      ? ResNet18()
                                    : options.network == "resnet50"    ? ResNet50()
                                    : options.network == "mobilenetv2" ? MobileNetV2()
                                                                       : std::vector<Layer>();
  const bool known_activations =
      options.activations == "float32" || options.activations == "int8" || options.activations == "dynamic_int8";
  if (kernels == nullptr || layers.empty() || !known_activations) {
    std::fprintf(stderr, "unknown --network, --isa or --activations (or not on this machine): %s, %s, %s\n",
                 options.network.c_str(), options.isa.c_str(), options.activations.c_str());
    return 1;
  }
  const auto pool = ThreadPool::Create(options.threads);
  Workspace workspace;
  std::vector<Instance> instances;
  int64_t largest = 0;
  for (const Layer& layer : layers) {
    largest = std::max({largest, int64_t{layer.in_size} * layer.in_size * layer.in_channels,
                        int64_t{layer.OutSize()} * layer.OutSize() * layer.out_channels});
    for (int i = 0; i < layer.count; ++i) instances.push_back(MakeInstance(layer, options, *kernels, &workspace));
  }
  Buffer<float> buffers[2];  // every layer reads one and writes the other, as layers in a runtime's arena
  for (Buffer<float>& buffer : buffers) {
    if (!buffer.Reserve(largest)) return 1;
    for (int64_t i = 0; i < largest; ++i) buffer[i] = static_cast<float>(i % 251) / 251.0f;
  }
  // On one thread, its own time; else the clock on the wall.
  const auto clock = pool->num_threads() == 1 ? ThreadSeconds : Seconds;
  std::vector<double> rounds;
  for (int round = -1; round < options.repeats; ++round) {  // round -1 warms up
    double total = 0;
    for (size_t i = 0; i < instances.size(); ++i) {
      if (options.alone) instances[i].op.Run(buffers[i % 2].data(), buffers[1 - i % 2].data(), *pool);
      const double start = clock();
      instances[i].op.Run(buffers[i % 2].data(), buffers[1 - i % 2].data(), *pool);
      const double seconds = clock() - start;
      total += seconds;
      if (round >= 0) instances[i].seconds.push_back(seconds);
      if (round >= 0 && i % 4 == 0) instances[i].peaks.push_back(PeakMacsPerSecond(kernels->isa));
    }
    if (round >= 0) rounds.push_back(total);
  }
  std::vector<double> peaks;
  for (const Instance& instance : instances) peaks.insert(peaks.end(), instance.peaks.begin(), instance.peaks.end());
  const bool is_float = options.activations == "float32";
  std::printf("%s, %s, %d thread(s), %s: %s, %s\n", options.network.c_str(), options.activations.c_str(),
              pool->num_threads(), IsaName(kernels->isa), is_float ? kernels->gemm->name : kernels->gemm_s8->name,
              is_float ? kernels->depthwise->name : kernels->depthwise_s8->name);
  std::printf("%-34s %5s %8s %9s %9s %8s %7s\n", "layer", "count", "MMAC", "best ms", "median", "GMAC/s", "% peak");
  Instance all = {{LayerKind::kConv, 0, 0, 0, 1, 1, 1}, {}, rounds, peaks};
  double macs = 0;
  for (size_t i = 0, layer = 0; layer < layers.size(); i += layers[layer++].count) {
    Instance merged = {layers[layer], {}, {}, peaks};
    for (int c = 0; c < layers[layer].count; ++c) {
      merged.seconds.insert(merged.seconds.end(), instances[i + c].seconds.begin(), instances[i + c].seconds.end());
    }
    Print(merged, pool->num_threads());
    macs += static_cast<double>(layers[layer].Macs()) * layers[layer].count;
  }
  const double peak = *std::max_element(peaks.begin(), peaks.end()) * pool->num_threads();
  std::printf("%-34s %5s %8.1f %9.3f %9.3f %8.1f %7.1f\n", "all, best and median round", "", macs / 1e6,
              all.Best() * 1e3, all.Median() * 1e3, macs / all.Best() / 1e9,
              peak > 0 ? 100 * macs / all.Best() / peak : 0.0);
  return 0;
}

}  // namespace
}  // namespace dgms::bench

int main(int argc, char** argv) {
  dgms::bench::Options options;
  for (int i = 1; i < argc; i += 2) {
    const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (value != nullptr && std::strcmp(argv[i], "--network") == 0)
      options.network = value;
    else if (value != nullptr && std::strcmp(argv[i], "--isa") == 0)
      options.isa = value;
    else if (value != nullptr && std::strcmp(argv[i], "--threads") == 0)
      options.threads = std::atoi(value);
    else if (value != nullptr && std::strcmp(argv[i], "--bits") == 0)
      options.bits = std::atoi(value);
    else if (value != nullptr && std::strcmp(argv[i], "--repeats") == 0)
      options.repeats = std::atoi(value);
    else if (value != nullptr && std::strcmp(argv[i], "--activations") == 0)
      options.activations = value;
    else if (std::strcmp(argv[i], "--alone") == 0) {
      options.alone = true;
      --i;
    } else {
      std::fprintf(stderr,
                   "networks_bench [--network resnet18|resnet50|mobilenetv2] [--threads N] [--isa NAME] "
                   "[--bits 2|3|4] [--repeats N] [--activations float32|int8|dynamic_int8] [--alone]\n");
      return std::strcmp(argv[i], "--help") == 0 ? 0 : 1;
    }
  }
  return dgms::bench::Main(options);
}
