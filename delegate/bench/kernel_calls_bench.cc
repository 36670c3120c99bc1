// Calls one kernel a given number of times between two marks, for an instruction counter (tests/aarch64/insn_count.c,
// which also says what a mark is). tests/aarch64/count_kernels.sh makes a table of it.
//
// Usage: kernel_calls_bench ISA CALLS decode    COLUMNS K
//        kernel_calls_bench ISA CALLS gemm      COLUMNS K ROWS SEGMENTS     (K in SEGMENTS equal parts)
//        kernel_calls_bench ISA CALLS gemv      COLUMNS K
//        kernel_calls_bench ISA CALLS depthwise CHANNELS PIXELS SIZE STRIDE (SIZE x SIZE taps)
//        kernel_calls_bench ISA CALLS decode_s8, gemm_s8 or depthwise_s8, with the same numbers: the int8 kernels
//        kernel_calls_bench ISA CALLS packed_s8 COLUMNS K ROWS SEGMENTS     (packed rows, multiplied by COLUMNS)
//        kernel_calls_bench ISA CALLS pack_s8   COLUMNS K ROWS SEGMENTS     (work: as if multiplied by COLUMNS)
//        kernel_calls_bench ISA CALLS requantize COLUMNS ROWS               (work: outputs)
// Prints the kernel's name, the multiply-adds (decode: weights) of one call, and a checksum.
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/codes.h"
#include "kernels/kernel.h"
#include "kernels/pack_weights.h"
#include "kernels/select_kernel.h"
#include "ops/memory.h"
#include "ops/shapes.h"

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
    std::vector<uint8_t> codes(static_cast<size_t>(CodeBytes(n * k)));
    for (uint8_t& two : codes) two = static_cast<uint8_t>(random());
    packed.resize(static_cast<size_t>(PackedBlockBytes(kernel, k, n)));
    const int width = static_cast<int>(RoundUp(n, kernel.column_unit));
    kernel.pack(codes.data(), 0, k, k, n, width, packed.data());
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

template <typename T>
int Report(const char* name, int64_t work, const T* values, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(values[i]);
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

// ---- int8 ----

int GemmS8(const GemmS8Kernel& kernel, int calls, bool decode_alone, int n, int64_t k, int rows,
           int64_t segment_count) {
  std::mt19937 random(0);
  alignas(16) int8_t table[kTableSize];
  for (int8_t& value : table) value = static_cast<int8_t>(static_cast<int>(random() % 255) - 127);
  const int width = static_cast<int>(RoundUp(n, kernel.column_unit));
  const int64_t length = k / segment_count, places = segment_count * RoundUp(length, kernel.k_unit);
  if (places * width > kPanelBytes) {
    std::fprintf(stderr, "%s: a block has at most %d weights\n", kernel.name, kPanelBytes);
    return 2;
  }
  std::vector<uint8_t> codes(static_cast<size_t>(CodeBytes(n * length)));
  for (uint8_t& two : codes) two = static_cast<uint8_t>(random());
  std::vector<uint8_t> packed(static_cast<size_t>(places * width / 2));
  std::vector<int64_t> segments;
  for (int64_t s = 0; s < segment_count; ++s) {
    const int64_t bytes = RoundUp(length, kernel.k_unit) * width / 2;
    pack_s8(codes.data(), 0, length, length, n, width, kernel.k_unit, packed.data() + s * bytes);
    segments.push_back(s * length);
  }
  alignas(kAlignment) static int8_t panel[kPanelBytes];
  alignas(kAlignment) static int32_t sums[kMaxColumns * 64];
  const TablesS8 tables = {table, nullptr};
  if (decode_alone) {
    Repeat(calls, [&] { kernel.decode(packed.data(), places, width, tables, panel); });
    return Report(kernel.name, n * k, panel, 16);
  }
  kernel.decode(packed.data(), places, width, tables, panel);
  const std::vector<int8_t> a(static_cast<size_t>(rows * k), 3);
  GemmState state = {};
  const GemmS8Args args = {rows,   width, a.data(), k,     segments.data(), segment_count,
                           length, panel, sums,     false, &state};
  Repeat(calls, [&] { kernel.gemm(args); });
  return Report(kernel.name, rows * n * k, sums, rows * width);
}

// Packs rows, or multiplies packed ones with a panel.
int PackedS8(const GemmS8Kernel& kernel, int calls, bool pack_alone, int n, int64_t k, int rows,
             int64_t segment_count) {
  if (kernel.packed == nullptr || RoundUp(k, kernel.k_unit) * kernel.max_columns > kPanelBytes) {
    std::fprintf(stderr, "%s packs no rows, or %lld places are more than a block has\n", kernel.name,
                 static_cast<long long>(k));
    return 2;
  }
  const PackedGemmS8& packed = *kernel.packed;
  const int64_t tile_bytes = packed.tile_rows * RoundUp(k, kPackedPlaces);
  const int64_t tiles = CeilDiv(rows, packed.tile_rows), length = k / segment_count;
  const std::vector<int8_t> a(static_cast<size_t>(rows * k), 3);
  std::vector<int64_t> segments;
  for (int64_t s = 0; s < segment_count; ++s) segments.push_back(s * length);
  Buffer<int8_t> packed_rows;
  if (!packed_rows.Reserve(tiles * tile_bytes)) return 1;
  const auto pack = [&] {
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int8_t* row[kMaxPackedRows];
      const int64_t first = tile * packed.tile_rows, count = std::min<int64_t>(packed.tile_rows, rows - first);
      for (int64_t r = 0; r < count; ++r) row[r] = a.data() + (first + r) * k;
      packed.pack({static_cast<int>(count), row, segments.data(), segment_count, length,
                   packed_rows.data() + tile * tile_bytes});
    }
  };
  if (pack_alone) {
    Repeat(calls, pack);
    return Report(kernel.name, rows * n * k, packed_rows.data(), 16);
  }
  pack();
  alignas(kAlignment) static int8_t panel[kPanelBytes];
  std::fill(std::begin(panel), std::end(panel), static_cast<int8_t>(1));
  const int width = static_cast<int>(RoundUp(n, kernel.column_unit));
  Buffer<int32_t> sums;
  if (!sums.Reserve(int64_t{rows} * width)) return 1;
  const PackedGemmS8Args args = {rows,        width, packed_rows.data(), tile_bytes, RoundUp(k, kernel.k_unit), panel,
                                 sums.data(), false};
  Repeat(calls, [&] { packed.gemm(args); });
  return Report(kernel.name, rows * n * k, sums.data(), rows * width);
}

// Two lines to int8 where the kernel does that, else the sums of one.
int DepthwiseS8(const DepthwiseS8Kernel& kernel, int calls, int64_t channels, int64_t pixels, int64_t size,
                int64_t stride) {
  constexpr int64_t kLines = 2;
  const int64_t width = (pixels - 1) * stride + size, height = (kLines - 1) * stride + size;
  const std::vector<int8_t> input(static_cast<size_t>(height * width * channels), 5);
  const std::vector<int16_t> weights(static_cast<size_t>(size * size * channels), 7);
  if (kernel.lines != nullptr) {
    const size_t columns = static_cast<size_t>(channels + kColumnSlack);
    const std::vector<int32_t> bias(columns, 7), multiplier(columns, 1 << 30), left(columns, 0), right(columns, 6);
    std::vector<int8_t> output(static_cast<size_t>(kLines * pixels * channels));
    Buffer<int8_t> prepared;
    if (!prepared.Reserve(RoundUp(size, kDepthwiseLinesS8) * size * RoundUp(channels, kDepthwiseChannelsS8))) return 1;
    kernel.prepare({weights.data(), size * channels, channels, size, size, channels, prepared.data()});
    DepthwiseLinesS8Args args = {};
    args.input = input.data();
    args.in_h = height;
    args.in_w = width;
    args.line_stride = width * channels;
    args.column_stride = channels;
    args.kernel_h = args.kernel_w = size;
    args.stride_h = args.stride_w = stride;
    args.dilation_h = args.dilation_w = 1;
    args.lines = kLines;
    args.pixels = pixels;
    args.channels = args.prepared_channels = channels;
    args.zero = -3;
    args.prepared = prepared.data();
    const RequantizeArgs to = {
        0,    0,   nullptr,       0,       bias.data(), multiplier.data(), left.data(), right.data(), -128,
        -128, 127, output.data(), channels};
    Repeat(calls, [&] { kernel.lines(args, to); });
    return Report(kernel.name, kLines * pixels * channels * size * size, output.data(), kLines * pixels * channels);
  }
  std::vector<int32_t> sums(static_cast<size_t>(pixels * channels));
  DepthwiseS8Args args = {};
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
  args.zero = -3;
  args.sums = sums.data();
  Repeat(calls, [&] { kernel.run(args); });
  return Report(kernel.name, pixels * channels * size * size, sums.data(), pixels * channels);
}

int Requantize(const OutputS8Kernel& kernel, int calls, int n, int rows) {
  const size_t columns = static_cast<size_t>(n + kColumnSlack);
  const std::vector<int32_t> sums(static_cast<size_t>(rows * n), 12345), bias(columns, 7), multiplier(columns, 1 << 30);
  const std::vector<int32_t> left(columns, 0), right(columns, 6);
  std::vector<int8_t> output(static_cast<size_t>(rows * n));
  const RequantizeArgs args = {
      rows, n,   sums.data(),   n, bias.data(), multiplier.data(), left.data(), right.data(), -5,
      -128, 127, output.data(), n};
  Repeat(calls, [&] { kernel.requantize(args); });
  return Report(kernel.name, rows * n, output.data(), rows * n);
}

int Main(int argc, char** argv) {
  const std::string kind = argc > 3 ? argv[3] : "";
  const bool four = kind == "gemm" || kind == "depthwise" || kind == "gemm_s8" || kind == "depthwise_s8" ||
                    kind == "packed_s8" || kind == "pack_s8";
  const int64_t numbers = four ? 4 : 2;
  const KernelSet* kernels = argc > 1 ? KernelsFor(argv[1]) : nullptr;
  if (argc != 4 + numbers || kernels == nullptr) {
    std::fprintf(stderr, "usage: see the head of kernel_calls_bench.cc (or this machine lacks that instruction set)\n");
    return 2;
  }
  const int calls = std::atoi(argv[2]);
  int64_t n[4] = {};
  for (int i = 0; i < numbers; ++i) n[i] = std::atoll(argv[4 + i]);
  if (kind == "depthwise") return Depthwise(*kernels->depthwise, calls, n[0], n[1], n[2], n[3]);
  if (kind == "depthwise_s8") return DepthwiseS8(*kernels->depthwise_s8, calls, n[0], n[1], n[2], n[3]);
  if (kind == "requantize")
    return Requantize(*kernels->output_s8, calls, static_cast<int>(n[0]), static_cast<int>(n[1]));
  if (kind == "gemm_s8" || kind == "decode_s8") {
    const GemmS8Kernel& kernel = *kernels->gemm_s8;
    const int rows = static_cast<int>(std::clamp<int64_t>(n[2], 1, kernel.max_rows));
    const int columns = static_cast<int>(std::clamp<int64_t>(n[0], 1, kernel.max_columns));
    return GemmS8(kernel, calls, kind == "decode_s8", columns, n[1], rows, std::max<int64_t>(1, n[3]));
  }
  if (kind == "packed_s8" || kind == "pack_s8") {
    const GemmS8Kernel& kernel = *kernels->gemm_s8;
    const int columns = static_cast<int>(std::clamp<int64_t>(n[0], 1, kernel.max_columns));
    return PackedS8(kernel, calls, kind == "pack_s8", columns, n[1], static_cast<int>(n[2]),
                    std::max<int64_t>(1, n[3]));
  }
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
