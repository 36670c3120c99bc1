#include "ops/int8_depthwise_conv2d.h"

#include <algorithm>
#include <utility>

#include "kernels/codes.h"
#include "kernels/pack_weights.h"
#include "ops/depthwise_plan.h"
#include "ops/line_op.h"
#include "ops/shapes.h"

namespace dgms {
namespace {

// Below this many multiply-adds a job is not worth waking workers for.
constexpr int64_t kMinParallelMacs = 100000;

constexpr int64_t kItemsPerThread = 5;

// What it costs to make an output of a sum, in multiply-adds (VNNI, 3x3: 11 with its taps).
constexpr int64_t kFinishMacs = 2;

// On the stack: sums of a piece of a line.
constexpr int64_t kSums = 8192;

// A map of so many bytes stays in the second-level cache while its channels are done some at a time. Of a larger one
// all channels of a few lines are done before the next lines.
constexpr int64_t kNearBytes = 524288;
constexpr int64_t kStripLines = 16;

// Lines of the output that kernels make together, if they can.
constexpr int64_t kPairLines = 2;

// What one thread uses for one block of channels.
struct Scratch {
  alignas(kAlignment) int32_t sums[kSums];
};

// Whether the kernel makes outputs of the sums of neighbouring lines itself.
bool HasLines(const DepthwiseConv2DParams& p, const DepthwiseS8Kernel& kernel) {
  return kernel.lines != nullptr && p.kernel_h <= kDepthwisePreparedLinesS8 && p.kernel_w <= kDepthwisePreparedTapsS8 &&
         (p.kernel_w - 1) * int64_t{p.dilation_w} < kDepthwisePreparedReachS8;
}

}  // namespace

bool Int8DepthwiseConv2D::IsFast(const DepthwiseConv2DParams& params, const KernelSet& kernels) {
  return HasLines(params, *kernels.depthwise_s8);
}

struct Int8DepthwiseConv2D::State : LineOp {
  DepthwisePlan plan;
  const DepthwiseS8Kernel* kernel = nullptr;
  Buffer<int16_t> weights;  // [kernel_h][kernel_w][channels]; none if the kernel does neighbouring lines
  Buffer<int8_t> prepared;  // the same in the kernel's order, if it does
  Int8Output output;
  int32_t input_zero = 0;
  bool ready = false;
  Workspace own;
  Workspace* workspace = &own;

  Status Decode(const Int8Filter& filter, Buffer<int16_t>* to) const;
  bool DoesLines() const;
  Status PrepareWeights(const Int8Filter& filter);
  Status SumWeights(const int16_t* decoded);
  int64_t BlockChannels() const;
  void RunLine(const int8_t* input, int8_t* to, int64_t line, int64_t c, int64_t count, Scratch* scratch) const;
  void ComputeLines(const int8_t* input, int8_t* to, const LineRange& lines, int64_t c, int64_t count) const;
  void RunByLines(const int8_t* input, int8_t* to, ThreadPool& pool, bool parallel) const;
  void RunLineByLine(const int8_t* input, int8_t* to, ThreadPool& pool, bool parallel) const;

  LineShape line_shape() const override;
  int64_t ScratchBytes(int64_t) const override { return 0; }
  void RunLines(const LineRun& run) const override;
};

Status Int8DepthwiseConv2D::State::Decode(const Int8Filter& filter, Buffer<int16_t>* to) const {
  const int64_t taps = plan.taps(), channels = plan.channels;
  if (!IsValid(filter, channels, taps * channels)) return Status::kInvalidArgument;
  if (!to->Reserve(taps * channels)) return Status::kOutOfMemory;
  int16_t* all = to->data();
  if (const auto* dense = std::get_if<Int8DenseFilter>(&filter)) {
    std::copy(dense->values, dense->values + taps * channels, all);
    return Status::kOk;
  }
  const Int8CodebookFilter& codebook = *std::get_if<Int8CodebookFilter>(&filter);
  const int64_t group = codebook.group_size == 0 ? channels : codebook.group_size;
  for (int64_t t = 0; t < taps; ++t) {
    int16_t* line = all + t * channels;
    for (int64_t first = 0; first < channels; first += group) {
      const int8_t* values = codebook.codebooks + (first / group << codebook.bits);
      ForEachCode(codebook.codes, t * channels + first, std::min(group, channels - first),
                  [&](int64_t c, int code) { line[first + c] = values[code]; });
    }
  }
  return Status::kOk;
}

std::unique_ptr<Int8DepthwiseConv2D> Int8DepthwiseConv2D::Create(const DepthwiseConv2DParams& params,
                                                                 const Int8Filter& filter, const Requantization& output,
                                                                 const KernelSet& kernels, Status* status) {
  Status ignored;
  if (status == nullptr) status = &ignored;
  *status = Status::kOutOfMemory;
  std::unique_ptr<State> state = MakeUnique<State>();
  if (state == nullptr) return nullptr;
  state->plan.params = params;
  if (!state->plan.ValidParams()) {
    *status = Status::kInvalidArgument;
    return nullptr;
  }
  state->kernel = kernels.depthwise_s8;
  state->plan.channels = params.in_channels * params.depth_multiplier;
  state->input_zero = output.input_zero;
  // The kernel subtracts the zero point itself.
  *status = state->output.Init({&output, nullptr}, state->plan.channels, nullptr, 0, *kernels.output_s8);
  if (*status != Status::kOk) return nullptr;
  *status = state->PrepareWeights(filter);
  if (*status != Status::kOk) return nullptr;
  *status = Status::kOutOfMemory;
  if (!AllocationAllowed(sizeof(Int8DepthwiseConv2D))) return nullptr;
  std::unique_ptr<Int8DepthwiseConv2D> op(new (std::nothrow) Int8DepthwiseConv2D(std::move(state)));
  if (op != nullptr) *status = Status::kOk;
  return op;
}

Int8DepthwiseConv2D::Int8DepthwiseConv2D(std::unique_ptr<State> state) : state_(std::move(state)) {}
Int8DepthwiseConv2D::~Int8DepthwiseConv2D() = default;

Status Int8DepthwiseConv2D::Reshape(int64_t batch, int64_t in_h, int64_t in_w, Workspace* workspace) {
  State& s = *state_;
  s.ready = false;
  s.workspace = workspace != nullptr ? workspace : &s.own;
  Status status = s.plan.Plan(batch, in_h, in_w);
  if (status == Status::kOk) status = s.output.NarrowFor(batch * s.plan.h.output * s.plan.w.output);
  if (status != Status::kOk) return status;
  const int64_t floats = CeilDiv(s.plan.repeated_elements, static_cast<int64_t>(sizeof(float)));
  if (!s.workspace->Reserve(floats)) return Status::kOutOfMemory;
  s.ready = true;
  return Status::kOk;
}

// Channels that are done together: whole vectors, if the sums of a line of them fit.
int64_t Int8DepthwiseConv2D::State::BlockChannels() const {
  const int64_t fitting = std::max(kSums / std::max<int64_t>(1, plan.w.output), kSums / kDepthwiseChannelsS8);
  const int64_t whole = fitting / kDepthwiseChannelsS8 * kDepthwiseChannelsS8;
  return std::min(std::max(whole, int64_t{kDepthwiseChannelsS8}), plan.BlockChannels());
}

// Whether the kernel makes the outputs of neighbouring lines itself, whatever the map.
bool Int8DepthwiseConv2D::State::DoesLines() const { return output.simple() && HasLines(plan.params, *kernel); }

// The weights, or in the kernel's order those of all lines and channels.
Status Int8DepthwiseConv2D::State::PrepareWeights(const Int8Filter& filter) {
  const DepthwiseConv2DParams& p = plan.params;
  const bool does_lines = DoesLines();
  Buffer<int16_t> decoded;
  Buffer<int16_t>& all = does_lines ? decoded : weights;
  const Status status = Decode(filter, &all);
  if (status != Status::kOk || !does_lines) return status;
  const int64_t channels = RoundUp(plan.channels, kDepthwiseChannelsS8);
  if (!prepared.Reserve(RoundUp(p.kernel_h, kDepthwiseLinesS8) * p.kernel_w * channels)) return Status::kOutOfMemory;
  kernel->prepare(
      {all.data(), plan.weight_line_stride(), plan.channels, p.kernel_h, p.kernel_w, plan.channels, prepared.data()});
  return output.MayNarrow() ? SumWeights(all.data()) : Status::kOk;
}

// Weights meet inputs less the zero point.
Status Int8DepthwiseConv2D::State::SumWeights(const int16_t* decoded) {
  Buffer<SignedSums> sums;
  if (!sums.Reserve(plan.channels)) return Status::kOutOfMemory;
  std::fill(sums.data(), sums.data() + plan.channels, SignedSums());
  for (int64_t t = 0; t < plan.taps(); ++t) {
    for (int64_t c = 0; c < plan.channels; ++c) sums[c].Add(decoded[t * plan.channels + c]);
  }
  return output.SetSums(sums, INT8_MIN - input_zero, INT8_MAX - input_zero);
}

// One line of the output, channels c..c+count-1. Sums of neighbouring runs wait for one another: they are finished
// together, in pieces that fit.
void Int8DepthwiseConv2D::State::RunLine(const int8_t* input, int8_t* to, int64_t line, int64_t c, int64_t count,
                                         Scratch* scratch) const {
  DepthwiseS8Args args = {};
  args.line_stride = plan.line_stride();
  args.tap_stride = plan.tap_stride();
  args.pixel_stride = plan.pixel_stride();
  args.channels = count;
  args.weight_line_stride = plan.weight_line_stride();
  args.weight_tap_stride = plan.channels;
  args.zero = input_zero;
  const int64_t most = kSums / count;
  int64_t finished = 0, waiting = 0;  // pixels of the line
  const auto finish = [&] {
    output.Finish({to}, line * plan.w.output + finished, static_cast<int>(waiting), c, static_cast<int>(count),
                  scratch->sums, count);
    finished += waiting;
    waiting = 0;
  };
  plan.ForEachRun(line, [&](const DepthwiseRun& run) {
    args.kernel_h = run.lines.count();
    args.kernel_w = run.taps.count();
    args.weights = weights.data() + run.lines.first * args.weight_line_stride + c;
    args.weights += run.taps.first * args.weight_tap_stride;
    for (int64_t first = 0; first < run.pixels; first += args.pixels) {
      args.pixels = std::min(most - waiting, run.pixels - first);
      args.input = input + run.input + first * args.pixel_stride + c;
      args.sums = scratch->sums + waiting * count;
      if (args.kernel_h == 0 || args.kernel_w == 0) {
        std::fill(args.sums, args.sums + args.pixels * count, 0);
      } else {
        kernel->run(args);
      }
      waiting += args.pixels;
      if (waiting == most) finish();
    }
  });
  if (waiting > 0) finish();
}

// Lines of one image's output on the calling thread, channels c..c+count-1 (c a multiple of kDepthwiseChannelsS8), if
// DoesLines(). `input` is line 0 of the image, of which only the lines under those are read; `to` is the first of them.
void Int8DepthwiseConv2D::State::ComputeLines(const int8_t* input, int8_t* to, const LineRange& lines, int64_t c,
                                              int64_t count) const {
  const DepthwiseConv2DParams& p = plan.params;
  DepthwiseLinesS8Args args = {};
  args.input = input + c;
  args.in_h = plan.in_h;
  args.in_w = plan.in_w;
  args.line_stride = plan.in_w * plan.channels;
  args.column_stride = plan.channels;
  args.kernel_h = p.kernel_h;
  args.kernel_w = p.kernel_w;
  args.stride_h = p.stride_h;
  args.stride_w = p.stride_w;
  args.dilation_h = p.dilation_h;
  args.dilation_w = p.dilation_w;
  args.pad_top = plan.h.pad_before;
  args.pad_left = plan.w.pad_before;
  args.first_line = lines.first;
  args.lines = lines.count();
  args.pixels = plan.w.output;
  args.channels = count;
  args.zero = input_zero;
  args.prepared = prepared.data() + c * p.kernel_w * kDepthwiseLinesS8;
  args.prepared_channels = plan.channels;
  kernel->lines(args, output.Requantizing({to}, 0, 0, c, 0));
}

// Items are some channels of some lines of an image.
void Int8DepthwiseConv2D::State::RunByLines(const int8_t* input, int8_t* to, ThreadPool& pool, bool parallel) const {
  const bool near = plan.in_h * plan.in_w * plan.channels <= kNearBytes;
  const int64_t wanted = pool.num_threads() == 1 ? 1 : kItemsPerThread * pool.num_threads();
  const int64_t block = near ? RoundUp(CeilDiv(plan.channels, wanted), kDepthwiseChannelsS8) : plan.channels;
  const int64_t blocks = CeilDiv(plan.channels, block);
  const int64_t pairs = CeilDiv(plan.h.output, kPairLines);
  const int64_t parts = std::min(pairs, CeilDiv(wanted, blocks * plan.batch));
  const int64_t line_elements = plan.w.output * plan.channels;
  const auto job = [&](int64_t item) {
    const int64_t c = item % blocks * block, part = item / blocks % parts, image = item / blocks / parts;
    const int8_t* from = input + image * plan.in_h * plan.in_w * plan.channels;
    const int64_t end = std::min(plan.h.output, pairs * (part + 1) / parts * kPairLines);
    LineRange lines = {pairs * part / parts * kPairLines, 0};
    for (; lines.first < end; lines.first = lines.end) {
      lines.end = near ? end : std::min(end, lines.first + kStripLines);
      ComputeLines(from, to + (image * plan.h.output + lines.first) * line_elements, lines, c,
                   std::min(block, plan.channels - c));
    }
  };
  pool.Run(plan.batch * parts * blocks, job, parallel);
}

// Items are lines.
void Int8DepthwiseConv2D::State::RunLineByLine(const int8_t* input, int8_t* to, ThreadPool& pool, bool parallel) const {
  const int64_t lines = plan.batch * plan.h.output;
  const int64_t items = std::min<int64_t>(lines, kItemsPerThread * pool.num_threads());
  const int64_t block = BlockChannels();
  const auto job = [&](int64_t item) {
    Scratch scratch;
    for (int64_t c = 0; c < plan.channels; c += block) {
      const int64_t count = std::min(block, plan.channels - c);
      for (int64_t i = lines * item / items; i < lines * (item + 1) / items; ++i) {
        RunLine(input, to, i, c, count, &scratch);
      }
    }
  };
  pool.Run(items, job, parallel);
}

Status Int8DepthwiseConv2D::Run(const int8_t* input, int8_t* output, ThreadPool& pool) {
  const State& s = *state_;
  const DepthwisePlan& plan = s.plan;
  if (!s.ready) return Status::kNotReady;
  if (plan.batch == 0) return Status::kOk;
  if (plan.repeated_elements > 0) {
    int8_t* repeated = reinterpret_cast<int8_t*>(s.workspace->data());
    plan.repeated.Copy(input, repeated, 0, /*flip=*/false, pool);
    input = repeated;
  }
  const bool parallel = plan.batch * plan.h.output * plan.w.output * plan.channels * plan.taps() >= kMinParallelMacs;
  s.DoesLines() ? s.RunByLines(input, output, pool, parallel) : s.RunLineByLine(input, output, pool, parallel);
  return Status::kOk;
}

LineShape Int8DepthwiseConv2D::State::line_shape() const {
  LineShape shape;
  shape.window = WindowOf(plan.h, plan.params);
  shape.batch = plan.batch;
  shape.in_line_bytes = plan.in_w * plan.channels;
  shape.out_line_bytes = plan.w.output * plan.channels;
  shape.macs = plan.w.output * plan.channels * (plan.taps() + kFinishMacs);
  return shape;
}

void Int8DepthwiseConv2D::State::RunLines(const LineRun& run) const {
  const int64_t in_line = plan.in_w * plan.channels, out_line = plan.w.output * plan.channels;
  const LineRange under = WindowOf(plan.h, plan.params).Under(run.lines);
  // Line 0 of the image on either side; of lines other than these nothing is touched.
  const int8_t* const input = static_cast<const int8_t*>(run.input) - under.first * in_line;
  int8_t* const to = static_cast<int8_t*>(run.output) - run.lines.first * out_line;
  if (DoesLines()) {
    const int64_t together = under.count() * in_line <= kNearBytes ? run.lines.count() : kStripLines;
    for (LineRange lines = {run.lines.first, 0}; lines.first < run.lines.end; lines.first = lines.end) {
      lines.end = std::min(run.lines.end, lines.first + together);
      ComputeLines(input, to + lines.first * out_line, lines, 0, plan.channels);
    }
    return;
  }
  const int64_t block = BlockChannels();
  Scratch scratch;
  for (int64_t c = 0; c < plan.channels; c += block) {
    for (int64_t line = run.lines.first; line < run.lines.end; ++line) {
      RunLine(input, to, line, c, std::min(block, plan.channels - c), &scratch);
    }
  }
}

const LineOp* Int8DepthwiseConv2D::line_op() const {
  return state_->ready && state_->plan.repeated_elements == 0 ? state_.get() : nullptr;
}

int64_t Int8DepthwiseConv2D::output_h() const { return state_->plan.h.output; }
int64_t Int8DepthwiseConv2D::output_w() const { return state_->plan.w.output; }
size_t Int8DepthwiseConv2D::packed_bytes() const {
  return state_->weights.bytes() + state_->prepared.bytes() + state_->output.bytes();
}
size_t Int8DepthwiseConv2D::workspace_bytes() const { return static_cast<size_t>(state_->plan.repeated_elements); }
const char* Int8DepthwiseConv2D::kernel_name() const { return state_->kernel->name; }

}  // namespace dgms
