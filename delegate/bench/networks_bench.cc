// Every convolution of a network, one by one: milliseconds, GMAC/s, and percent of the cores' multiply-add peak, which
// is measured in the same process just before and after each layer.
//
//   networks_bench [--network resnet18|resnet50|mobilenetv2] [--threads N] [--isa NAME] [--bits 2|3|4] [--repeats N]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>

#include "bench/networks.h"
#include "bench/peak.h"
#include "ops/conv2d.h"
#include "ops/depthwise_conv2d.h"
#include "ops/fully_connected.h"

namespace dgms::bench {
namespace {

struct Options {
  std::string network = "resnet18";
  std::string isa = "auto";
  int threads = 1;
  int bits = 4;
  int repeats = 20;
};

// Any of the three ops.
struct Op {
  std::unique_ptr<Conv2D> conv;
  std::unique_ptr<DepthwiseConv2D> depthwise;
  std::unique_ptr<FullyConnected> fully_connected;

  void Run(const float* x, float* y, ThreadPool& pool) {
    if (conv) conv->Run(x, y, pool);
    if (depthwise) depthwise->Run(x, y, pool);
    if (fully_connected) fully_connected->Run(x, y, pool);
  }
};

Op MakeOp(const Layer& layer, const CodebookFilter& filter, const float* bias, const KernelSet& kernels,
          Workspace* workspace) {
  Op op;
  if (layer.kind == LayerKind::kConv) {
    Conv2DParams p;
    p.kernel_h = p.kernel_w = layer.kernel;
    p.stride_h = p.stride_w = layer.stride;
    p.padding = Padding::kSame;
    p.in_channels = layer.in_channels;
    p.out_channels = layer.out_channels;
    p.activation = Activation::kRelu;
    op.conv = Conv2D::Create(p, filter, bias, kernels);
    op.conv->Reshape(1, layer.in_size, layer.in_size, workspace);
  } else if (layer.kind == LayerKind::kDepthwise) {
    DepthwiseConv2DParams p;
    p.kernel_h = p.kernel_w = layer.kernel;
    p.stride_h = p.stride_w = layer.stride;
    p.padding = Padding::kSame;
    p.in_channels = layer.in_channels;
    p.activation = Activation::kRelu6;
    op.depthwise = DepthwiseConv2D::Create(p, filter, bias, kernels);
    op.depthwise->Reshape(1, layer.in_size, layer.in_size, workspace);
  } else {
    op.fully_connected =
        FullyConnected::Create({layer.in_channels, layer.out_channels, Activation::kNone}, filter, bias, kernels);
    op.fully_connected->Reshape(1);
  }
  return op;
}

struct Timing {
  double best, median;
};

Timing Time(Op& op, const float* x, float* y, ThreadPool& pool, int repeats) {
  std::vector<double> times;
  op.Run(x, y, pool);
  for (int i = 0; i < repeats; ++i) {
    const double start = Seconds();
    op.Run(x, y, pool);
    times.push_back(Seconds() - start);
  }
  std::sort(times.begin(), times.end());
  return {times.front(), times[times.size() / 2]};
}

int Main(const Options& options) {
  const KernelSet* kernels = KernelsFor(options.isa);
  const std::vector<Layer> layers = options.network == "resnet18"      ? ResNet18()
                                    : options.network == "resnet50"    ? ResNet50()
                                    : options.network == "mobilenetv2" ? MobileNetV2()
                                                                       : std::vector<Layer>();
  if (kernels == nullptr || layers.empty()) {
    std::fprintf(stderr, "unknown --network or --isa (or not on this machine): %s, %s\n", options.network.c_str(),
                 options.isa.c_str());
    return 1;
  }
  const auto pool = ThreadPool::Create(options.threads);
  std::printf("%s, %d thread(s), %s: %s, %s\n", options.network.c_str(), pool->num_threads(), IsaName(kernels->isa),
              kernels->gemm->name, kernels->depthwise->name);
  std::printf("%-34s %5s %8s %9s %9s %8s %7s\n", "layer", "count", "MMAC", "best ms", "median", "GMAC/s", "% peak");
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  Workspace workspace;
  double total_best = 0, total_median = 0, total_macs = 0, peak_sum = 0;
  for (const Layer& layer : layers) {
    const int64_t weights = layer.Macs() / (int64_t{layer.OutSize()} * layer.OutSize());
    std::vector<uint8_t> codes(weights);
    for (uint8_t& code : codes) code = static_cast<uint8_t>(random() % (1u << options.bits));
    std::vector<float> codebook(16), bias(layer.out_channels), scale(layer.out_channels);
    for (auto* values : {&codebook, &bias, &scale})
      std::generate(values->begin(), values->end(), [&] { return uniform(random); });
    std::vector<float> x(int64_t{layer.in_size} * layer.in_size * layer.in_channels);
    std::generate(x.begin(), x.end(), [&] { return uniform(random); });
    std::vector<float> y(int64_t{layer.OutSize()} * layer.OutSize() * layer.out_channels);
    CodebookFilter filter;
    filter.codes = codes.data();
    filter.count = weights;
    filter.bits = options.bits;
    filter.codebooks = codebook.data();
    filter.scale = scale.data();
    Op op = MakeOp(layer, filter, bias.data(), *kernels, &workspace);
    const double peak_before = PeakMacsPerSecond(kernels->isa);
    const Timing timing = Time(op, x.data(), y.data(), *pool, options.repeats);
    const double peak = std::max(peak_before, PeakMacsPerSecond(kernels->isa)) * pool->num_threads();
    const double macs = static_cast<double>(layer.Macs());
    const char* kind = layer.kind == LayerKind::kConv        ? "conv"
                       : layer.kind == LayerKind::kDepthwise ? "depthwise"
                                                             : "fc";
    char name[64];
    std::snprintf(name, sizeof(name), "%s %dx%d/%d %dx%dx%d -> %d", kind, layer.kernel, layer.kernel, layer.stride,
                  layer.in_size, layer.in_size, layer.in_channels, layer.out_channels);
    std::printf("%-34s %5d %8.1f %9.3f %9.3f %8.1f %7.1f\n", name, layer.count, macs / 1e6, timing.best * 1e3,
                timing.median * 1e3, macs / timing.best / 1e9, peak > 0 ? 100 * macs / timing.best / peak : 0.0);
    total_best += timing.best * layer.count;
    total_median += timing.median * layer.count;
    total_macs += macs * layer.count;
    peak_sum += peak * timing.best * layer.count;
  }
  std::printf("%-34s %5s %8.1f %9.3f %9.3f %8.1f %7.1f\n", "all", "", total_macs / 1e6, total_best * 1e3,
              total_median * 1e3, total_macs / total_best / 1e9, peak_sum > 0 ? 100 * total_macs / peak_sum : 0.0);
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
    else {
      std::fprintf(stderr,
                   "networks_bench [--network resnet18|resnet50|mobilenetv2] [--threads N] [--isa NAME] "
                   "[--bits 2|3|4] [--repeats N]\n");
      return std::strcmp(argv[i], "--help") == 0 ? 0 : 1;
    }
  }
  return dgms::bench::Main(options);
}
