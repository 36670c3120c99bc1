#include "ops/depthwise_conv2d.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "kernels/codes.h"
#include "kernels/pack_weights.h"
#include "ops/depthwise_plan.h"

namespace dgms {
namespace {

// Below this many multiply-adds a job is not worth waking workers for.
constexpr int64_t kMinParallelMacs = 50000;

constexpr int64_t kItemsPerThread = 5;

// What it costs to decode a weight, in multiply-adds.
constexpr int64_t kDecodeMacs = 2;

constexpr int64_t kLineFloats = kAlignment / sizeof(float);

constexpr float kInf = std::numeric_limits<float>::infinity();

}  // namespace

struct DepthwiseConv2D::State : LineOp {
  DepthwisePlan plan;
  const DepthwiseF32Kernel* kernel = nullptr;
  const CodesF32Kernel* codes_kernel = nullptr;
  BinaryF32Fn multiply = nullptr;
  // The filter, [kernel_h][kernel_w][channels]: codes of one codebook, two per byte, and a table of kTableSize floats;
  // or decoded weights, where it is dense or has several codebooks.
  Buffer<uint8_t> codes;
  Buffer<float> table;
  Buffer<float> scale;  // [channels], of the codes; or none
  Buffer<float> weights;
  Buffer<float> bias;  // [channels]
  ActivationRange range = {};

  bool ready = false;
  Workspace own;
  Workspace* workspace = &own;

  Status Init(const FloatFilter& filter, const float* layer_bias, const KernelSet& kernels);
  Status Pack(const CodebookFilter& filter);
  void DecodeOnce(const CodebookFilter& filter);
  int64_t decoded_elements() const { return codes.data() == nullptr ? 0 : plan.taps() * plan.channels; }
  const float* Decode(float* scratch) const;
  // In the workspace, behind the repeated input.
  int64_t decoded_at() const { return RoundUp(plan.repeated_elements, kLineFloats); }
  int64_t workspace_elements() const { return decoded_at() + decoded_elements(); }
  void BiasAlone(float* pixel, int64_t c, int64_t count) const;
  void RunLine(const float* input, int64_t skipped, const float* filter, float* output, int64_t line, int64_t c,
               int64_t count) const;

  LineShape line_shape() const override;
  int64_t ScratchBytes(int64_t) const override { return decoded_elements() * static_cast<int64_t>(sizeof(float)); }
  void RunLines(const LineRun& run) const override;
};

Status DepthwiseConv2D::State::Init(const FloatFilter& filter, const float* layer_bias, const KernelSet& kernels) {
  const int64_t taps = plan.taps(), channels = plan.channels;
  kernel = kernels.depthwise;
  codes_kernel = kernels.codes;
  multiply = kernels.pointwise->binary_f32;
  if (!IsValid(filter, channels, taps * channels)) return Status::kInvalidArgument;
  if (!bias.Reserve(channels)) return Status::kOutOfMemory;
  for (int64_t c = 0; c < channels; ++c) bias[c] = layer_bias == nullptr ? 0.0f : layer_bias[c];
  const auto* codebook = std::get_if<CodebookFilter>(&filter);
  if (codebook != nullptr && CodebookCount(*codebook, channels) == 1) return Pack(*codebook);
  if (!weights.Reserve(taps * channels)) return Status::kOutOfMemory;
  if (codebook != nullptr) {
    DecodeOnce(*codebook);
  } else {
    const float* values = std::get_if<DenseFilter>(&filter)->values;
    std::copy(values, values + taps * channels, weights.data());
  }
  return Status::kOk;
}

// The codes are in the order in which the kernel wants weights.
Status DepthwiseConv2D::State::Pack(const CodebookFilter& filter) {
  const int64_t bytes = CodeBytes(filter.count);
  if (!codes.Reserve(bytes) || !table.Reserve(kTableSize)) return Status::kOutOfMemory;
  std::copy(filter.codes, filter.codes + bytes, codes.data());
  std::fill(table.data(), table.data() + kTableSize, 0.0f);
  std::copy(filter.codebooks, filter.codebooks + (1 << filter.bits), table.data());
  if (filter.scale == nullptr) return Status::kOk;
  if (!scale.Reserve(plan.channels)) return Status::kOutOfMemory;
  std::copy(filter.scale, filter.scale + plan.channels, scale.data());
  return Status::kOk;
}

// The weights of one run: decoded into `scratch` (decoded_elements() floats), or those that are there.
const float* DepthwiseConv2D::State::Decode(float* scratch) const {
  if (codes.data() == nullptr) return weights.data();
  const int64_t taps = plan.taps(), channels = plan.channels;
  codes_kernel->decode(codes.data(), taps * channels, table.data(), scratch);
  if (scale.data() != nullptr) {
    multiply({BinaryKind::kMul, {taps, channels, scratch, channels, 1, scale.data(), 0, 1, scratch}, -kInf, kInf});
  }
  return scratch;
}

void DepthwiseConv2D::State::DecodeOnce(const CodebookFilter& codebook) {
  const int64_t taps = plan.taps(), channels = plan.channels;
  const int64_t group = codebook.group_size;
  for (int64_t t = 0; t < taps; ++t) {
    float* line = weights.data() + t * channels;
    for (int64_t first = 0; first < channels; first += group) {
      const float* values = codebook.codebooks + (first / group << codebook.bits);
      ForEachCode(codebook.codes, t * channels + first, std::min(group, channels - first),
                  [&](int64_t c, int code) { line[first + c] = values[code]; });
    }
    for (int64_t c = 0; codebook.scale != nullptr && c < channels; ++c) line[c] *= codebook.scale[c];
  }
}

std::unique_ptr<DepthwiseConv2D> DepthwiseConv2D::Create(const DepthwiseConv2DParams& params, const FloatFilter& filter,
                                                         const float* bias, const KernelSet& kernels, Status* status) {
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
  state->plan.channels = params.in_channels * params.depth_multiplier;
  state->range = RangeOf(params.activation);
  *status = state->Init(filter, bias, kernels);
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
  const Status status = s.plan.Plan(batch, in_h, in_w);
  if (status != Status::kOk) return status;
  if (!s.workspace->Reserve(s.workspace_elements())) return Status::kOutOfMemory;
  s.ready = true;
  return Status::kOk;
}

void DepthwiseConv2D::State::BiasAlone(float* pixel, int64_t c, int64_t count) const {
  for (int64_t i = 0; i < count; ++i) {  // NaN passes, as in the kernels
    const float value = bias[c + i] < range.min ? range.min : bias[c + i];
    pixel[i] = value > range.max ? range.max : value;
  }
}

// One line of the output (at `output`), channels c..c+count-1.
//   input    the map without its first `skipped` elements
//   filter   what Decode returned
void DepthwiseConv2D::State::RunLine(const float* input, int64_t skipped, const float* filter, float* output,
                                     int64_t line, int64_t c, int64_t count) const {
  const int64_t channels = plan.channels;
  output += c;
  DepthwiseF32Args args = {};
  args.line_stride = plan.line_stride();
  args.tap_stride = plan.tap_stride();
  args.pixel_stride = plan.pixel_stride();
  args.channels = count;
  args.weight_line_stride = plan.weight_line_stride();
  args.weight_tap_stride = channels;
  args.bias = bias.data() + c;
  args.output_stride = channels;
  args.min = range.min;
  args.max = range.max;
  const auto call = [&](const DepthwiseRun& run) {
    args.pixels = run.pixels;
    args.kernel_h = run.lines.count();
    args.kernel_w = run.taps.count();
    args.output = output + run.x * channels;
    if (args.kernel_h == 0 || args.kernel_w == 0) {
      for (int64_t i = 0; i < args.pixels; ++i) BiasAlone(args.output + i * channels, c, count);
      return;
    }
    args.input = input + (run.input - skipped + c);
    args.weights = filter + run.lines.first * args.weight_line_stride + run.taps.first * channels + c;
    kernel->run(args);
  };
  if (!plan.WholeLines()) return plan.ForEachRun(line, call);
  args.pad_left = plan.w.pad_before;
  args.line_columns = plan.in_w;
  call(plan.WholeLine(line));
}

Status DepthwiseConv2D::Run(const float* input, float* output, ThreadPool& pool) {
  const State& s = *state_;
  const DepthwisePlan& plan = s.plan;
  if (!s.ready) return Status::kNotReady;
  if (plan.batch == 0) return Status::kOk;
  if (plan.repeated_elements > 0) {
    plan.repeated.Copy(input, s.workspace->data(), pool);
    input = s.workspace->data();
  }
  const float* const filter = s.Decode(s.workspace->data() + s.decoded_at());
  const int64_t lines = plan.batch * plan.h.output;
  const int64_t items = std::min<int64_t>(lines, kItemsPerThread * pool.num_threads());
  const int64_t block = plan.BlockChannels();
  const auto job = [&](int64_t item) {
    for (int64_t c = 0; c < plan.channels; c += block) {
      const int64_t count = std::min(block, plan.channels - c);
      for (int64_t i = lines * item / items; i < lines * (item + 1) / items; ++i) {
        s.RunLine(input, 0, filter, output + i * plan.w.output * plan.channels, i, c, count);
      }
    }
  };
  pool.Run(items, job, lines * plan.w.output * plan.channels * plan.taps() >= kMinParallelMacs);
  return Status::kOk;
}

LineShape DepthwiseConv2D::State::line_shape() const {
  LineShape shape;
  shape.window = WindowOf(plan.h, plan.params);
  shape.batch = plan.batch;
  shape.in_line_bytes = plan.in_w * plan.channels * static_cast<int64_t>(sizeof(float));
  shape.out_line_bytes = plan.w.output * plan.channels * static_cast<int64_t>(sizeof(float));
  shape.setup_macs = kDecodeMacs * decoded_elements();
  shape.macs = plan.w.output * plan.channels * plan.taps();
  return shape;
}

// All channels of a line at once: the lines under it are near, and going over them again and again by blocks of
// channels costs more than fetching them from the second-level cache.
void DepthwiseConv2D::State::RunLines(const LineRun& run) const {
  const int64_t skipped = WindowOf(plan.h, plan.params).Under(run.lines).first * plan.in_w * plan.channels;
  const int64_t line_elements = plan.w.output * plan.channels;
  const float* const input = static_cast<const float*>(run.input);
  float* output = static_cast<float*>(run.output);
  const float* const filter = Decode(static_cast<float*>(run.scratch));
  for (int64_t line = run.lines.first; line < run.lines.end; ++line, output += line_elements) {
    RunLine(input, skipped, filter, output, line, 0, plan.channels);
  }
}

const LineOp* DepthwiseConv2D::line_op() const {
  return state_->ready && state_->plan.repeated_elements == 0 ? state_.get() : nullptr;
}

int64_t DepthwiseConv2D::output_h() const { return state_->plan.h.output; }
int64_t DepthwiseConv2D::output_w() const { return state_->plan.w.output; }
size_t DepthwiseConv2D::packed_bytes() const {
  const State& s = *state_;
  return s.codes.bytes() + s.table.bytes() + s.scale.bytes() + s.weights.bytes() + s.bias.bytes();
}
size_t DepthwiseConv2D::workspace_bytes() const {
  return static_cast<size_t>(state_->workspace_elements()) * sizeof(float);
}
const char* DepthwiseConv2D::kernel_name() const { return state_->kernel->name; }

}  // namespace dgms
