#include "ops/int8_depthwise_conv2d.h"

#include <algorithm>
#include <utility>

#include "kernels/codes.h"
#include "kernels/pack_weights.h"
#include "ops/depthwise_plan.h"
#include "ops/shapes.h"

namespace dgms {
namespace {

// Below this many multiply-adds a job is not worth waking workers for.
constexpr int64_t kMinParallelMacs = 100000;

constexpr int64_t kItemsPerThread = 5;

// On the stack: sums of a piece of a line, and prepared weights (kernels of up to 15x15).
constexpr int64_t kSums = 8192;
constexpr int64_t kPreparedBytes = 16384;

// Kernel lines of layers whose weights are prepared for whole lines: no kernel takes more.
constexpr int kMostPreparedLines = 8;

// What one thread uses for one block of channels.
struct Scratch {
  alignas(kAlignment) int32_t sums[kSums];
  alignas(kAlignment) int8_t prepared[kPreparedBytes];
  TapRange prepared_lines = {0, 0};  // the kernel lines whose weights are in `prepared`
};

}  // namespace

struct Int8DepthwiseConv2D::State {
  DepthwisePlan plan;
  const DepthwiseS8Kernel* kernel = nullptr;
  Buffer<int16_t> weights;  // [kernel_h][kernel_w][channels]
  Buffer<int8_t> prepared;  // the same in the kernel's order, where it does whole lines
  Int8Output output;
  int32_t input_zero = 0;
  bool ready = false;
  Workspace own;
  Workspace* workspace = &own;

  Status Decode(const Int8Filter& filter);
  Status PrepareAll();
  int64_t BlockChannels() const;
  bool RunWholeLine(const int8_t* input, int8_t* to, int64_t line, int64_t c, int64_t count) const;
  void Prepare(const TapRange& lines, DepthwiseS8Args* args, Scratch* scratch) const;
  void RunLine(const int8_t* input, int8_t* to, int64_t line, int64_t c, int64_t count, Scratch* scratch) const;
};

Status Int8DepthwiseConv2D::State::Decode(const Int8Filter& filter) {
  const int64_t taps = plan.taps(), channels = plan.channels;
  if (!IsValid(filter, channels, taps * channels)) return Status::kInvalidArgument;
  if (!weights.Reserve(taps * channels)) return Status::kOutOfMemory;
  if (const auto* dense = std::get_if<Int8DenseFilter>(&filter)) {
    std::copy(dense->values, dense->values + taps * channels, weights.data());
    return Status::kOk;
  }
  const Int8CodebookFilter& codebook = *std::get_if<Int8CodebookFilter>(&filter);
  for (int64_t c = 0; c < channels; ++c) {
    const int64_t book = codebook.group_size == 0 ? 0 : c / codebook.group_size;
    const int8_t* values = codebook.codebooks + (book << codebook.bits);
    for (int64_t t = 0; t < taps; ++t) weights[t * channels + c] = values[CodeAt(codebook.codes, t * channels + c)];
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
  *status = state->Decode(filter);
  if (*status != Status::kOk) return nullptr;
  state->input_zero = output.input_zero;
  // The kernel subtracts the zero point itself.
  *status = state->output.Init({&output, nullptr}, state->plan.channels, nullptr, 0, *kernels.output_s8);
  if (*status != Status::kOk) return nullptr;
  *status = state->PrepareAll();
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
  const Status status = s.plan.Plan(batch, in_h, in_w);
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

// Has the kernel's order of these lines' weights (args->weights), if it wants one and there is room.
void Int8DepthwiseConv2D::State::Prepare(const TapRange& lines, DepthwiseS8Args* args, Scratch* scratch) const {
  const int64_t taps = plan.params.kernel_w;
  const int64_t bytes =
      RoundUp(lines.count(), kDepthwiseLinesS8) * taps * RoundUp(args->channels, kDepthwiseChannelsS8);
  args->prepared = nullptr;
  if (kernel->prepare == nullptr || bytes > kPreparedBytes) return;
  args->prepared = scratch->prepared;
  args->prepared_taps = taps;
  if (scratch->prepared_lines.first == lines.first && scratch->prepared_lines.end == lines.end) return;
  kernel->prepare({args->weights, args->weight_line_stride, args->weight_tap_stride, lines.count(), taps,
                   args->channels, scratch->prepared});
  scratch->prepared_lines = lines;
}

// For whole lines: the weights of all lines and channels, once.
Status Int8DepthwiseConv2D::State::PrepareAll() {
  const DepthwiseConv2DParams& p = plan.params;
  if (kernel->requantize == nullptr || !output.simple() || p.dilation_w != 1 || p.kernel_h > kMostPreparedLines) {
    return Status::kOk;
  }
  const int64_t channels = RoundUp(plan.channels, kDepthwiseChannelsS8);
  if (!prepared.Reserve(RoundUp(p.kernel_h, kDepthwiseLinesS8) * p.kernel_w * channels)) return Status::kOutOfMemory;
  kernel->prepare({weights.data(), plan.weight_line_stride(), plan.channels, p.kernel_h, p.kernel_w, plan.channels,
                   prepared.data()});
  return Status::kOk;
}

// One line of the output, channels c..c+count-1, by a kernel that makes the outputs of a whole line itself. False:
// none does.
bool Int8DepthwiseConv2D::State::RunWholeLine(const int8_t* input, int8_t* to, int64_t line, int64_t c,
                                              int64_t count) const {
  if (prepared.data() == nullptr || !plan.WholeLines()) return false;
  const DepthwiseRun run = plan.WholeLine(line);
  if (run.lines.count() == 0) return false;
  DepthwiseS8Args args = {};
  args.input = input + run.input + plan.w.pad_before * plan.channels + c;
  args.line_stride = plan.line_stride();
  args.tap_stride = plan.tap_stride();
  args.pixel_stride = plan.pixel_stride();
  args.kernel_h = run.lines.count();
  args.kernel_w = plan.params.kernel_w;
  args.pixels = plan.w.output;
  args.channels = count;
  args.weight_line_stride = plan.weight_line_stride();
  args.weight_tap_stride = plan.channels;
  args.weights = weights.data() + run.lines.first * args.weight_line_stride + c;
  args.zero = input_zero;
  args.prepared = prepared.data() + c * args.kernel_w * kDepthwiseLinesS8;
  args.prepared_taps = args.kernel_w;
  args.prepared_lines = plan.params.kernel_h;
  args.first_line = run.lines.first;
  args.prepared_channels = plan.channels;
  args.pad_left = plan.w.pad_before;
  args.line_columns = plan.in_w;
  return kernel->requantize(args, output.Requantizing({to}, line * plan.w.output, 0, c, 0));
}

// One line of the output, channels c..c+count-1. Sums of neighbouring runs wait for one another: they are finished
// together, in pieces that fit.
void Int8DepthwiseConv2D::State::RunLine(const int8_t* input, int8_t* to, int64_t line, int64_t c, int64_t count,
                                         Scratch* scratch) const {
  if (RunWholeLine(input, to, line, c, count)) return;
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
    Prepare(run.lines, &args, scratch);
    args.weights += run.taps.first * args.weight_tap_stride;
    args.first_tap = run.taps.first;
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
  const int64_t lines = plan.batch * plan.h.output;
  const int64_t items = std::min<int64_t>(lines, kItemsPerThread * pool.num_threads());
  const int64_t block = s.BlockChannels();
  const auto job = [&](int64_t item) {
    Scratch scratch;
    for (int64_t c = 0; c < plan.channels; c += block) {
      const int64_t count = std::min(block, plan.channels - c);
      scratch.prepared_lines = {0, 0};
      for (int64_t i = lines * item / items; i < lines * (item + 1) / items; ++i) {
        s.RunLine(input, output, i, c, count, &scratch);
      }
    }
  };
  pool.Run(items, job, lines * plan.w.output * plan.channels * plan.taps() >= kMinParallelMacs);
  return Status::kOk;
}

int64_t Int8DepthwiseConv2D::output_h() const { return state_->plan.h.output; }
int64_t Int8DepthwiseConv2D::output_w() const { return state_->plan.w.output; }
size_t Int8DepthwiseConv2D::packed_bytes() const {
  return state_->weights.bytes() + state_->prepared.bytes() + state_->output.bytes();
}
size_t Int8DepthwiseConv2D::workspace_bytes() const { return static_cast<size_t>(state_->plan.repeated_elements); }
const char* Int8DepthwiseConv2D::kernel_name() const { return state_->kernel->name; }

}  // namespace dgms
