// Every layer with weights of a network, in the network's order: milliseconds, GMAC/s, and percent of the peak of the
// instructions that the layer's kernel is made of, which is measured in the same process between the layers.
//
//   networks_bench [--network NAME|all] [--threads N] [--isa NAME] [--bits 2|3|4] [--repeats N]
//                  [--activations float32|int8|dynamic_int8] [--alone] [--json FILE]
// Names are those of bench/networks.h. Multiply-adds are those of direct convolution, so a Winograd kernel may pass 100
// percent. --alone runs every layer once more just before it is timed: its weights and input are then in the cache.
// --json also writes the figures, with the bandwidth of this core's memory and cache, for
// `python -m dgms_keras.report.roofline`.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bench/bandwidth.h"
#include "bench/clock.h"
#include "bench/layer_op.h"
#include "bench/networks.h"
#include "bench/peak.h"

namespace dgms::bench {
namespace {

struct Options {
  std::string network = "resnet18";
  std::string isa = "auto";
  int threads = 1;
  int bits = 4;
  int repeats = 20;
  Activations activations = Activations::kFloat32;
  bool alone = false;
  std::string json;
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double Best(const std::vector<double>& values) { return *std::min_element(values.begin(), values.end()); }

// A layer as often as the network has it one after another: ops of their own, and the times of all of them.
struct Result {
  Layer layer;
  std::vector<LayerOp> ops;
  std::vector<double> seconds;

  double GmacsPerSecond() const { return static_cast<double>(layer.Macs()) / Best(seconds) * 1e-9; }
  // What the layer must move at least: its input, its output, and its weights as they are kept.
  int64_t Bytes(Activations activations) const {
    const int64_t size = activations == Activations::kInt8 ? 1 : 4;
    const int64_t in = int64_t{layer.in_size} * layer.in_size * layer.in_channels;
    const int64_t out = int64_t{layer.OutSize()} * layer.OutSize() * layer.out_channels;
    return (in + out) * size + static_cast<int64_t>(ops[0].packed_bytes);
  }
};

struct NetworkResult {
  std::string name;
  std::vector<Result> layers;
  std::vector<double> rounds;  // seconds of all layers together
};

// The highest rate that each probe reached, in multiply-adds per second of one core.
class Peaks {
 public:
  void Measure(const Probe* probe) {
    if (probe == nullptr) return;
    double& best = best_[probe->instruction];
    best = std::max(best, PeakMacsPerSecond(*probe, 1));
  }
  double Of(const Probe* probe) const {
    const auto found = probe == nullptr ? best_.end() : best_.find(probe->instruction);
    return found == best_.end() ? 0 : found->second;
  }
  const std::map<std::string, double>& all() const { return best_; }

 private:
  std::map<std::string, double> best_;  // by instruction: probes may share one
};

std::string Name(const Layer& layer) {
  char name[64];
  std::snprintf(name, sizeof(name), "%s %dx%d/%d %dx%dx%d -> %d", KindName(layer.kind), layer.kernel, layer.kernel,
                layer.stride, layer.in_size, layer.in_size, layer.in_channels, layer.out_channels);
  return name;
}

NetworkResult Run(const Network& network, const Options& options, const KernelSet& kernels, ThreadPool& pool,
                  Peaks* peaks) {
  Workspace workspace;
  NetworkResult result = {network.name, {}, {}};
  int64_t largest = 0;
  for (const Layer& layer : network.layers) {
    largest = std::max({largest, int64_t{layer.in_size} * layer.in_size * layer.in_channels,
                        int64_t{layer.OutSize()} * layer.OutSize() * layer.out_channels});
    Result each = {layer, {}, {}};
    for (int i = 0; i < layer.count; ++i) {
      each.ops.push_back(MakeLayerOp(layer, options.activations, options.bits, kernels, &workspace));
    }
    result.layers.push_back(std::move(each));
  }
  Buffer<float> buffers[2];  // every layer reads one and writes the other, as layers in a runtime's arena
  for (Buffer<float>& buffer : buffers) {
    if (!buffer.Reserve(largest)) std::abort();
    for (int64_t i = 0; i < largest; ++i) buffer[i] = static_cast<float>(i % 251) / 251.0f;
  }
  // On one thread, its own time; else the clock on the wall.
  const auto clock = pool.num_threads() == 1 ? ThreadSeconds : Seconds;
  for (int round = -1; round < options.repeats; ++round) {  // round -1 warms up
    double total = 0;
    int from = 0;
    for (Result& layer : result.layers) {
      for (const LayerOp& op : layer.ops) {
        if (options.alone) op.run(buffers[from].data(), buffers[1 - from].data(), pool);
        const double start = clock();
        op.run(buffers[from].data(), buffers[1 - from].data(), pool);
        const double seconds = clock() - start;
        from = 1 - from;
        total += seconds;
        if (round >= 0) layer.seconds.push_back(seconds);
      }
      if (round >= 0) peaks->Measure(layer.ops[0].probe);
    }
    if (round >= 0) result.rounds.push_back(total);
  }
  return result;
}

void Print(const NetworkResult& result, const Options& options, const KernelSet& kernels, int threads,
           const Peaks& peaks) {
  std::printf("%s, %s, W%d, %d thread(s), %s\n", result.name.c_str(), ActivationsName(options.activations),
              options.bits, threads, IsaName(kernels.isa));
  std::printf("%-42s %5s %8s %9s %9s %8s %7s  %s\n", "layer", "count", "MMAC", "best ms", "median", "GMAC/s", "% peak",
              "kernel");
  double macs = 0, at_peak = 0;
  bool all_known = true;
  for (const Result& each : result.layers) {
    const double peak = peaks.Of(each.ops[0].probe) * threads;
    const double rate = each.GmacsPerSecond();
    std::printf("%-42s %5d %8.1f %9.3f %9.3f %8.1f %7.1f  %s\n", Name(each.layer).c_str(), each.layer.count,
                static_cast<double>(each.layer.Macs()) * 1e-6, Best(each.seconds) * 1e3, Median(each.seconds) * 1e3,
                rate, peak > 0 ? 100e9 * rate / peak : 0.0, each.ops[0].kernel.c_str());
    const double work = static_cast<double>(each.layer.Macs()) * each.layer.count;
    macs += work;
    all_known = all_known && peak > 0;
    if (peak > 0) at_peak += work / peak;
  }
  const double best = Best(result.rounds);
  std::printf("%-42s %5s %8.1f %9.3f %9.3f %8.1f %7.1f\n\n", "all, best and median round", "", macs * 1e-6, best * 1e3,
              Median(result.rounds) * 1e3, macs / best * 1e-9, all_known ? 100 * at_peak / best : 0.0);
}

// Opened before anything is measured, under another name until it is complete.
class ResultFile {
 public:
  explicit ResultFile(const std::string& path)
      : path_(path), temporary_(path + ".new"), file_(std::fopen(temporary_.c_str(), "w")) {}
  ~ResultFile() {
    if (file_ == nullptr) return;
    std::fclose(file_);
    std::remove(temporary_.c_str());
  }
  ResultFile(const ResultFile&) = delete;
  ResultFile& operator=(const ResultFile&) = delete;

  FILE* get() const { return file_; }
  bool Commit() {
    const bool written = std::fclose(file_) == 0;
    file_ = nullptr;
    if (written && std::rename(temporary_.c_str(), path_.c_str()) == 0) return true;
    std::remove(temporary_.c_str());
    return false;
  }

 private:
  std::string path_, temporary_;
  FILE* file_;
};

void WriteJson(const std::vector<NetworkResult>& results, const Options& options, const KernelSet& kernels, int threads,
               const Peaks& peaks, FILE* file) {
  std::fprintf(file,
               "{\"schema\": \"dgms-layers\", \"schema_version\": \"1.0\", \"isa\": \"%s\", \"threads\": %d, "
               "\"activations\": \"%s\", \"bits\": %d,\n \"peaks\": [",
               IsaName(kernels.isa), threads, ActivationsName(options.activations), options.bits);
  const char* comma = "";
  for (const auto& [instruction, rate] : peaks.all()) {
    std::fprintf(file, "%s{\"instruction\": \"%s\", \"gmacs\": %.6g}", comma, instruction.c_str(), rate * 1e-9);
    comma = ", ";
  }
  std::fputs("],\n \"bandwidths\": [", file);
  comma = "";
  for (const Bandwidth& each : MeasureBandwidths()) {
    std::fprintf(file, "%s{\"name\": \"%s\", \"bytes\": %lld, \"gbytes\": %.6g}", comma, each.name,
                 static_cast<long long>(each.bytes), each.bytes_per_second * 1e-9);
    comma = ", ";
  }
  std::fputs("],\n \"networks\": [", file);
  comma = "\n  ";
  for (const NetworkResult& network : results) {
    std::fprintf(file, "%s{\"name\": \"%s\", \"best_ms\": %.6g, \"median_ms\": %.6g, \"layers\": [", comma,
                 network.name.c_str(), Best(network.rounds) * 1e3, Median(network.rounds) * 1e3);
    comma = "\n   ";
    for (const Result& each : network.layers) {
      const LayerOp& op = each.ops[0];
      std::fprintf(
          file,
          "%s{\"kind\": \"%s\", \"in_size\": %d, \"in_channels\": %d, \"out_channels\": %d, \"kernel_size\": %d, "
          "\"stride\": %d, \"count\": %d, \"macs\": %lld, \"bytes\": %lld, \"best_ms\": %.6g, \"median_ms\": "
          "%.6g, \"gmacs\": %.6g, \"kernel\": \"%s\", \"instruction\": \"%s\"}",
          comma, KindName(each.layer.kind), each.layer.in_size, each.layer.in_channels, each.layer.out_channels,
          each.layer.kernel, each.layer.stride, each.layer.count, static_cast<long long>(each.layer.Macs()),
          static_cast<long long>(each.Bytes(options.activations)), Best(each.seconds) * 1e3, Median(each.seconds) * 1e3,
          each.GmacsPerSecond(), op.kernel.c_str(), op.probe == nullptr ? "" : op.probe->instruction);
      comma = ",\n   ";
    }
    std::fputs("]}", file);
    comma = ",\n  ";
  }
  std::fputs("]}\n", file);
}

int Main(const Options& options) {
  const KernelSet* kernels = KernelsFor(options.isa);
  std::vector<Network> networks = Networks();
  if (options.network != "all") {
    networks.erase(std::remove_if(networks.begin(), networks.end(),
                                  [&](const Network& network) { return network.name != options.network; }),
                   networks.end());
  }
  if (networks.empty()) {
    std::fputs("--network must be all", stderr);
    for (const Network& network : Networks()) std::fprintf(stderr, ", %s", network.name.c_str());
    std::fprintf(stderr, ". Received: %s\n", options.network.c_str());
    return 1;
  }
  if (kernels == nullptr) {
    std::fprintf(stderr, "--isa must be auto or a set of kernels that this machine runs. Received: %s\n",
                 options.isa.c_str());
    return 1;
  }
  std::optional<ResultFile> file;
  if (!options.json.empty() && file.emplace(options.json).get() == nullptr) {
    std::fprintf(stderr, "--json must name a file that can be written. Received: %s (%s)\n", options.json.c_str(),
                 std::strerror(errno));
    return 1;
  }
  const auto pool = ThreadPool::Create(options.threads);
  Peaks peaks;
  std::vector<NetworkResult> results;
  for (const Network& network : networks) {
    results.push_back(Run(network, options, *kernels, *pool, &peaks));
    Print(results.back(), options, *kernels, pool->num_threads(), peaks);
    for (Result& each : results.back().layers) each.ops.resize(1);  // the others' memory is not needed any more
  }
  if (file) {
    WriteJson(results, options, *kernels, pool->num_threads(), peaks, file->get());
    if (!file->Commit()) {
      std::fprintf(stderr, "cannot write %s: %s\n", options.json.c_str(), std::strerror(errno));
      return 1;
    }
  }
  return 0;
}

// True if the text names activations.
bool Parse(const std::string& text, Activations* activations) {
  for (const Activations each : {Activations::kFloat32, Activations::kInt8, Activations::kDynamicInt8}) {
    if (text != ActivationsName(each)) continue;
    *activations = each;
    return true;
  }
  return false;
}

bool Parse(int argc, char** argv, Options* options) {
  const std::map<std::string, std::string*> texts = {
      {"--network", &options->network}, {"--isa", &options->isa}, {"--json", &options->json}};
  const std::map<std::string, int*> numbers = {
      {"--threads", &options->threads}, {"--bits", &options->bits}, {"--repeats", &options->repeats}};
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--alone") {
      options->alone = true;
      continue;
    }
    if (++i == argc) {
      std::fprintf(stderr, "an option must have a value. Received: %s at the end\n", argv[i - 1]);
      return false;
    }
    if (const auto text = texts.find(name); text != texts.end()) {
      *text->second = argv[i];
    } else if (const auto number = numbers.find(name); number != numbers.end()) {
      *number->second = std::atoi(argv[i]);
    } else if (name != "--activations") {
      std::fprintf(stderr, "options must be those below. Received: %s\n", name.c_str());
      return false;
    } else if (!Parse(argv[i], &options->activations)) {
      std::fprintf(stderr, "--activations must be float32, int8 or dynamic_int8. Received: %s\n", argv[i]);
      return false;
    }
  }
  const auto check = [](const char* name, int value, int least, int most) {
    if (value >= least && value <= most) return true;
    std::fprintf(stderr, "%s must be a number from %d to %d. Received: %d\n", name, least, most, value);
    return false;
  };
  return check("--threads", options->threads, 1, 1024) && check("--bits", options->bits, 2, 4) &&
         check("--repeats", options->repeats, 1, 1000000);
}

}  // namespace
}  // namespace dgms::bench

int main(int argc, char** argv) {
  dgms::bench::Options options;
  if (!dgms::bench::Parse(argc, argv, &options)) {
    std::fprintf(stderr,
                 "networks_bench [--network NAME|all] [--threads N] [--isa NAME] [--bits 2|3|4] [--repeats N] "
                 "[--activations float32|int8|dynamic_int8] [--alone] [--json FILE]\n");
    return argc == 2 && std::strcmp(argv[1], "--help") == 0 ? 0 : 1;
  }
  return dgms::bench::Main(options);
}
