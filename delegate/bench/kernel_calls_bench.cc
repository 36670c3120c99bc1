// Calls one kernel a given number of times between two marks, for an instruction counter (tests/aarch64/insn_count.c,
// which also says what a mark is). tests/aarch64/count_kernels.sh makes a table of it.
//
// Usage: kernel_calls_bench ISA CALLS decode    COLUMNS K
//        kernel_calls_bench ISA CALLS gemm      COLUMNS K ROWS SEGMENTS     (K in SEGMENTS equal parts)
//        kernel_calls_bench ISA CALLS gemv      COLUMNS K
//        kernel_calls_bench ISA CALLS depthwise CHANNELS PIXELS SIZE STRIDE (SIZE x SIZE taps)
// Prints the kernel's name, the multiply-adds (decode: weights) of one call, and a checksum.
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/kernel.h"
#include "kernels/pack_weights.h"
#include "kernels/select_kernel.h"

namespace dgms {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Panel {
  alignas(kAlignment) float table[kTableSize];
  std::vector<uint8_t> packed;
  std::vector<float> scale, bias;
  int n;
  int64_t k;

  Panel(const GemmF32Kernel& kernel, int n, int64_t k) : n(n), k(k) {
    std::mt19937 random(0);
    for (float& value : table) value = static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 1000.0f;
    std::vector<uint8_t> codes(static_cast<size_t>(n * k));
    for (uint8_t& code : codes) code = static_cast<uint8_t>(random() % kTableSize);
    packed.resize(static_cast<size_t>(PackedBlockBytes(kernel, k, n)));
    const int width = static_cast<int>(RoundUp(n, kernel.column_unit));
    kernel.pack(codes.data(), k, k, n, width, packed.data());
    scale.assign(static_cast<size_t>(width), 1.0f);
    bias.assign(static_cast<size_t>(width), 0.0f);
  }
  Tables tables() const { return {table, nullptr}; }
  Epilogue epilogue() const { return {scale.data(), bias.data(), 0.0f, kInfinity}; }
};

void Mark() { static_cast<void>(getppid()); }

template <typename Call>
void Repeat(int calls, const Call& call) {
  call();  // what is done once: page faults, lazy binding
  Mark();
  for (int i = 0; i < calls; ++i) call();
  Mark();
}

alignas(kAlignment) float decoded[kPanelFloats];

int Report(const char* name, int64_t work, const float* values, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += values[i];
  std::printf("%s %lld %.6g\n", name, static_cast<long long>(work), sum);
  return 0;
}

int Decode(const GemmF32Kernel& kernel, int calls, const Panel& panel) {
  Repeat(calls, [&] { kernel.decode(panel.packed.data(), panel.k, panel.n, panel.tables(), decoded); });
  return Report(kernel.name, panel.n * panel.k, decoded, 16);
}

int Gemm(const GemmF32Kernel& kernel, int calls, const Panel& panel, int rows, int64_t segment_count) {
  std::vector<float> a(static_cast<size_t>(rows * panel.k), 0.5f), c(static_cast<size_t>(rows * panel.n));
  std::vector<int64_t> segments(static_cast<size_t>(segment_count));
  for (int64_t s = 0; s < segment_count; ++s) segments[static_cast<size_t>(s)] = s * (panel.k / segment_count);
  kernel.decode(panel.packed.data(), panel.k, panel.n, panel.tables(), decoded);
  const GemmF32Args args = {
      rows,     panel.n, a.data(), panel.k, segments.data(), segment_count, panel.k / segment_count, decoded,
      c.data(), panel.n, false,    true,    panel.epilogue()};
  Repeat(calls, [&] { kernel.gemm(args); });
  return Report(kernel.name, rows * panel.n * panel.k, c.data(), rows * panel.n);
}

int Gemv(const GemmF32Kernel& kernel, int calls, const Panel& panel) {
  std::vector<float> x(static_cast<size_t>(panel.k), 0.5f), y(static_cast<size_t>(panel.n));
  const GemvF32Args args = {x.data(),       panel.k,  panel.n,         panel.packed.data(),
                            panel.tables(), y.data(), panel.epilogue()};
  Repeat(calls, [&] { kernel.gemv(args); });
  return Report(kernel.name, panel.n * panel.k, y.data(), panel.n);
}

int Depthwise(const DepthwiseF32Kernel& kernel, int calls, int64_t channels, int64_t pixels, int64_t size,
              int64_t stride) {
  const int64_t width = (pixels - 1) * stride + size;
  std::vector<float> input(static_cast<size_t>(size * width * channels), 0.5f);
  std::vector<float> weights(static_cast<size_t>(size * size * channels), 0.25f), bias(static_cast<size_t>(channels));
  std::vector<float> output(static_cast<size_t>(pixels * channels));
  DepthwiseF32Args args = {};
  args.input = input.data();
  args.line_stride = width * channels;
  args.tap_stride = channels;
  args.pixel_stride = stride * channels;
  args.kernel_h = args.kernel_w = size;
  args.pixels = pixels;
  args.channels = channels;
  args.weights = weights.data();
  args.weight_line_stride = size * channels;
  args.weight_tap_stride = channels;
  args.bias = bias.data();
  args.output = output.data();
  args.output_stride = channels;
  args.min = 0.0f;
  args.max = kInfinity;
  Repeat(calls, [&] { kernel.run(args); });
  return Report(kernel.name, pixels * channels * size * size, output.data(), pixels * channels);
}

int Main(int argc, char** argv) {
  const std::string kind = argc > 3 ? argv[3] : "";
  const int64_t numbers = kind == "gemm" || kind == "depthwise" ? 4 : 2;
  const KernelSet* kernels = argc > 1 ? KernelsFor(argv[1]) : nullptr;
  if (argc != 4 + numbers || kernels == nullptr) {
    std::fprintf(stderr, "usage: see the head of kernel_calls_bench.cc (or this machine lacks that instruction set)\n");
    return 2;
  }
  const int calls = std::atoi(argv[2]);
  int64_t n[4] = {};
  for (int i = 0; i < numbers; ++i) n[i] = std::atoll(argv[4 + i]);
  if (kind == "depthwise") return Depthwise(*kernels->depthwise, calls, n[0], n[1], n[2], n[3]);
  const GemmF32Kernel& kernel = *kernels->gemm;
  if (n[0] < 1 || n[0] > kernel.max_columns || n[1] < 1 ||
      (kind != "gemv" && RoundUp(n[0], kernel.column_unit) * RoundUp(n[1], kernel.k_unit) > kPanelFloats)) {
    std::fprintf(stderr, "%s has at most %d columns, and a block at most %d weights\n", kernel.name, kernel.max_columns,
                 kPanelFloats);
    return 2;
  }
  const Panel panel(kernel, static_cast<int>(n[0]), n[1]);
  if (kind == "decode") return Decode(kernel, calls, panel);
  if (kind == "gemv") return Gemv(kernel, calls, panel);
  return Gemm(kernel, calls, panel, static_cast<int>(std::min<int64_t>(n[2], kernel.max_rows)), n[3]);
}

}  // namespace
}  // namespace dgms

int main(int argc, char** argv) { return dgms::Main(argc, argv); }
