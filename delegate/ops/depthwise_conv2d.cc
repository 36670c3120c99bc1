#include "ops/depthwise_conv2d.h"

#include <algorithm>
#include <utility>

#include "ops/memory.h"
#include "ops/packed_filter.h"
#include "ops/padded_input.h"
#include "ops/shapes.h"

namespace dgms {
namespace {

// Below this many multiply-adds a job is not worth waking workers for.
constexpr int64_t kMinParallelMacs = 50000;

constexpr int64_t kItemsPerThread = 5;

constexpr int64_t kBlockFloats = 6144;   // 24 KiB of the first-level cache
constexpr int64_t kBlockUnit = 16;       // channels: a cache line
constexpr int64_t kNearFloats = 262144;  // an input of 1 MiB, which the second-level cache still holds

// Taps first..end-1 of a kernel's line (or lines of a kernel).
struct TapRange {
  int64_t first, end;
};

// The taps that fall inside an input of `size` when tap 0 is at `origin`.
TapRange TapsInside(int64_t origin, int64_t kernel, int64_t dilation, int64_t size) {
  const int64_t first = origin >= 0 ? 0 : CeilDiv(-origin, dilation);
  const int64_t end = origin >= size ? 0 : std::min(kernel, CeilDiv(size - origin, dilation));
  return {std::min(first, kernel), std::max(first, end)};
}

}  // namespace

struct DepthwiseConv2D::State {
  DepthwiseConv2DParams params;
  const DepthwiseF32Kernel* kernel = nullptr;
  int64_t channels = 0;   // output channels
  Buffer<float> weights;  // [kernel_h][kernel_w][channels]
  Buffer<float> bias;     // [channels]
  ActivationRange range = {};

  bool ready = false;
  int64_t batch = 0, in_h = 0, in_w = 0;
  ConvDim h, w;
  int64_t interior_first = 0, interior_end = 0;  // output columns whose taps are all inside the input
  PaddedInput repeated;                          // the input with each channel depth_multiplier times
  int64_t repeated_floats = 0;
  Workspace own;
  Workspace* workspace = &own;

  bool ValidParams() const;
  Status Decode(const CodebookFilter& filter, const float* layer_bias);
  void PlanInterior();
  int64_t BlockChannels() const;
  void BiasAlone(float* pixel, int64_t c, int64_t count) const;
  void RunLine(const float* input, float* output, int64_t line, int64_t c, int64_t count) const;
};

bool DepthwiseConv2D::State::ValidParams() const {
  const DepthwiseConv2DParams& p = params;
  return p.kernel_h >= 1 && p.kernel_w >= 1 && p.stride_h >= 1 && p.stride_w >= 1 && p.dilation_h >= 1 &&
         p.dilation_w >= 1 && p.in_channels >= 1 && p.depth_multiplier >= 1 &&
         (CheckedSize(p.kernel_h) * p.kernel_w * p.in_channels * p.depth_multiplier).FitsFloats();
}

Status DepthwiseConv2D::State::Decode(const CodebookFilter& filter, const float* layer_bias) {
  const int64_t taps = int64_t{params.kernel_h} * params.kernel_w;
  if (filter.count != taps * channels || !IsValid(filter, channels)) return Status::kInvalidArgument;
  if (!weights.Reserve(taps * channels) || !bias.Reserve(channels)) return Status::kOutOfMemory;
  for (int64_t c = 0; c < channels; ++c) {
    const int64_t codebook = filter.group_size == 0 ? 0 : c / filter.group_size;
    const float* values = filter.codebooks + (codebook << filter.bits);
    const float scale = filter.scale == nullptr ? 1.0f : filter.scale[c];
    for (int64_t t = 0; t < taps; ++t) weights[t * channels + c] = values[filter.codes[t * channels + c]] * scale;
    bias[c] = layer_bias == nullptr ? 0.0f : layer_bias[c];
  }
  return Status::kOk;
}

std::unique_ptr<DepthwiseConv2D> DepthwiseConv2D::Create(const DepthwiseConv2DParams& params,
                                                         const CodebookFilter& filter, const float* bias,
                                                         const KernelSet& kernels, Status* status) {
  Status ignored;
  if (status == nullptr) status = &ignored;
  *status = Status::kOutOfMemory;
  std::unique_ptr<State> state = MakeUnique<State>();
  if (state == nullptr) return nullptr;
  state->params = params;
  if (!state->ValidParams()) {
    *status = Status::kInvalidArgument;
    return nullptr;
  }
  state->kernel = kernels.depthwise;
  state->channels = params.in_channels * params.depth_multiplier;
  state->range = RangeOf(params.activation);
  *status = state->Decode(filter, bias);
  if (*status != Status::kOk) return nullptr;
  *status = Status::kOutOfMemory;
  if (!AllocationAllowed(sizeof(DepthwiseConv2D))) return nullptr;
  std::unique_ptr<DepthwiseConv2D> op(new (std::nothrow) DepthwiseConv2D(std::move(state)));
  if (op != nullptr) *status = Status::kOk;
  return op;
}

DepthwiseConv2D::DepthwiseConv2D(std::unique_ptr<State> state) : state_(std::move(state)) {}
DepthwiseConv2D::~DepthwiseConv2D() = default;

Status DepthwiseConv2D::Reshape(int64_t batch, int64_t in_h, int64_t in_w, Workspace* workspace) {
  State& s = *state_;
  s.ready = false;
  s.workspace = workspace != nullptr ? workspace : &s.own;
  const DepthwiseConv2DParams& p = s.params;
  if (batch < 0 || !PlanConvDim(in_h, p.kernel_h, p.stride_h, p.dilation_h, p.padding, &s.h) ||
      !PlanConvDim(in_w, p.kernel_w, p.stride_w, p.dilation_w, p.padding, &s.w) ||
      !(CheckedSize(batch) * in_h * in_w * s.channels).FitsFloats() ||
      !(CheckedSize(batch) * s.h.output * s.w.output * s.channels * p.kernel_h * p.kernel_w).FitsFloats()) {
    return Status::kInvalidArgument;
  }
  s.batch = batch;
  s.in_h = in_h;
  s.in_w = in_w;
  s.PlanInterior();
  s.repeated_floats = 0;
  if (p.depth_multiplier > 1) {
    s.repeated = {batch, in_h, in_w, p.in_channels, 0, 0, in_h, in_w, p.depth_multiplier};
    const Status status = s.repeated.Floats(&s.repeated_floats);
    if (status != Status::kOk) return status;
    if (!s.workspace->Reserve(s.repeated_floats)) return Status::kOutOfMemory;
  }
  s.ready = true;
  return Status::kOk;
}

// Output columns whose taps all lie inside the input are one run for the kernel; the others go one by one.
void DepthwiseConv2D::State::PlanInterior() {
  const int64_t reach = (params.kernel_w - 1) * int64_t{params.dilation_w};
  interior_first = std::min(w.output, CeilDiv(w.pad_before, params.stride_w));
  const int64_t last_origin = in_w - 1 - reach + w.pad_before;  // of an output whose last tap is inside
  const int64_t inside = last_origin < 0 ? 0 : last_origin / params.stride_w + 1;
  interior_end = std::max(interior_first, std::min(w.output, inside));
}

void DepthwiseConv2D::State::BiasAlone(float* pixel, int64_t c, int64_t count) const {
  for (int64_t i = 0; i < count; ++i) {  // NaN passes, as in the kernels
    const float value = bias[c + i] < range.min ? range.min : bias[c + i];
    pixel[i] = value > range.max ? range.max : value;
  }
}

// Channels that are done together, line by line: few enough that the input lines under the kernel, and the line that is
// written, stay in the first-level cache from one line to the next. A large input comes from further away, and faster
// if it is read from beginning to end: then all channels.
int64_t DepthwiseConv2D::State::BlockChannels() const {
  if (in_h * in_w * channels > kNearFloats) return channels;
  const int64_t lines = std::min<int64_t>(params.kernel_h, in_h) * in_w + w.output;
  const int64_t fitting = kBlockFloats / lines / kBlockUnit * kBlockUnit;
  return std::clamp(fitting, kBlockUnit, channels + kBlockUnit);
}

// One line of the output, channels c..c+count-1.
void DepthwiseConv2D::State::RunLine(const float* input, float* output, int64_t line, int64_t c, int64_t count) const {
  const int64_t y = line % h.output * params.stride_h - h.pad_before;
  const TapRange lines = TapsInside(y, params.kernel_h, params.dilation_h, in_h);
  const int64_t in_line = in_w * channels;
  output += line * w.output * channels + c;
  DepthwiseF32Args args = {};
  args.line_stride = params.dilation_h * in_line;
  args.tap_stride = params.dilation_w * channels;
  args.pixel_stride = params.stride_w * channels;
  args.kernel_h = lines.end - lines.first;
  args.channels = count;
  args.weight_line_stride = params.kernel_w * channels;
  args.weight_tap_stride = channels;
  args.bias = bias.data() + c;
  args.output_stride = channels;
  args.min = range.min;
  args.max = range.max;
  for (int64_t x = 0; x < w.output; x += args.pixels) {
    const int64_t origin = x * params.stride_w - w.pad_before;
    const bool interior = x >= interior_first && x < interior_end;
    args.pixels = interior ? interior_end - x : 1;
    const TapRange taps =
        interior ? TapRange{0, params.kernel_w} : TapsInside(origin, params.kernel_w, params.dilation_w, in_w);
    args.kernel_w = taps.end - taps.first;
    args.output = output + x * channels;
    if (args.kernel_h == 0 || args.kernel_w == 0) {  // nothing but padding under a dilated kernel
      for (int64_t i = 0; i < args.pixels; ++i) BiasAlone(args.output + i * channels, c, count);
      continue;
    }
    const int64_t first_line = line / h.output * in_h + y + lines.first * params.dilation_h;
    args.input = input + first_line * in_line + (origin + taps.first * params.dilation_w) * channels + c;
    args.weights = weights.data() + lines.first * args.weight_line_stride + taps.first * channels + c;
    kernel->run(args);
  }
}

Status DepthwiseConv2D::Run(const float* input, float* output, ThreadPool& pool) {
  const State& s = *state_;
  if (!s.ready) return Status::kNotReady;
  if (s.batch == 0) return Status::kOk;
  if (s.repeated_floats > 0) {
    s.repeated.Copy(input, s.workspace->data(), pool);
    input = s.workspace->data();
  }
  const int64_t lines = s.batch * s.h.output;
  const int64_t items = std::min<int64_t>(lines, kItemsPerThread * pool.num_threads());
  const int64_t block = s.BlockChannels();
  const auto job = [&](int64_t item) {
    for (int64_t c = 0; c < s.channels; c += block) {
      const int64_t count = std::min(block, s.channels - c);
      for (int64_t i = lines * item / items; i < lines * (item + 1) / items; ++i) s.RunLine(input, output, i, c, count);
    }
  };
  const int64_t macs = lines * s.w.output * s.channels * s.params.kernel_h * s.params.kernel_w;
  pool.Run(items, job, macs >= kMinParallelMacs);
  return Status::kOk;
}

int64_t DepthwiseConv2D::output_h() const { return state_->h.output; }
int64_t DepthwiseConv2D::output_w() const { return state_->w.output; }
size_t DepthwiseConv2D::packed_bytes() const { return state_->weights.bytes() + state_->bias.bytes(); }
size_t DepthwiseConv2D::workspace_bytes() const { return static_cast<size_t>(state_->repeated_floats) * sizeof(float); }
const char* DepthwiseConv2D::kernel_name() const { return state_->kernel->name; }

}  // namespace dgms
