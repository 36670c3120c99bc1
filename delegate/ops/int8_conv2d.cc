#include "ops/int8_conv2d.h"

#include <utility>

#include "kernels/pack_weights.h"
#include "ops/conv2d_plan.h"
#include "ops/int8_gemm.h"
#include "ops/quantize_rows.h"
#include "ops/shapes.h"

namespace dgms {

namespace {

// What the parts of the work cost, in float multiply-adds of the same time (AVX-512 and AMX, MobileNetV2's layers):
// products of integers take an eighth, and each value that is quantised, or made of a sum, or decoded takes several.
constexpr int64_t kMacsPerMac = 8, kQuantizeMacs = 6, kFinishMacs = 10, kDecodeMacs = 2;

}  // namespace

struct Int8Conv2D::State : LineOp {
  Conv2DPlan plan;
  Int8Gemm gemm;
  int32_t input_zero = 0;  // int8 activations only
  int64_t images = 0;      // run at a time: all, or (by_image) one
  int64_t line = 0;        // elements of a line of the input
  const QuantizeS8Kernel* quantize_kernel = nullptr;
  bool ready = false;
  Workspace own;
  Workspace* workspace = &own;

  bool flip() const { return gemm.filter.kernel().flip; }
  bool dynamic() const { return gemm.output.dynamic(); }
  // Where windows have a single line, which is one of the input, each line has a quantisation of its own.
  bool by_line() const { return dynamic() && plan.params.kernel_h == 1 && plan.params.kernel_w == 1 && !plan.copied; }
  bool by_image() const { return dynamic() && !by_line(); }

  // Activations that are quantised line by line, in scratch memory.
  struct Lines {
    float* scales;
    int32_t* zeros;
    int8_t* values;  // [lines][line]
  };
  static int64_t HeadBytes(int64_t lines);
  Lines LinesAt(void* memory, int64_t lines) const;
  QuantizeRowsArgs LinesOf(const float* first_line, int64_t count, const Lines& lines) const;
  // Where the rows of the product are in them.
  RowLayout LineRows(int64_t count) const;

  Status Plan(int64_t batch, int64_t in_h, int64_t in_w);
  CheckedSize WorkspaceBytes() const;
  void RunByLine(const float* input, const float* residual, float* output, ThreadPool& pool) const;
  void RunByImage(const float* input, const float* residual, float* output, ThreadPool& pool) const;

  LineShape line_shape() const override;
  int64_t ScratchBytes(int64_t lines) const override;
  void RunLines(const LineRun& run) const override;
};

std::unique_ptr<Int8Conv2D> Int8Conv2D::Create(const Conv2DParams& params, const Int8Filter& filter,
                                               const Int8LayerOutput& output, const KernelSet& kernels,
                                               Status* status) {
  Status ignored;
  if (status == nullptr) status = &ignored;
  *status = Status::kOutOfMemory;
  std::unique_ptr<State> state = MakeUnique<State>();
  if (state == nullptr) return nullptr;
  state->quantize_kernel = kernels.quantize_s8;
  state->plan.params = params;
  if (!state->plan.ValidParams()) {
    *status = Status::kInvalidArgument;
    return nullptr;
  }
  Int8Gemm& gemm = state->gemm;
  *status = gemm.filter.Init(state->plan.FilterShape(), filter, kernels);
  if (*status != Status::kOk) return nullptr;
  if (output.int8 != nullptr) state->input_zero = output.int8->input_zero;
  *status = gemm.output.Init(output, params.out_channels, gemm.filter.column_sums(),
                             state->input_zero + (state->flip() ? 128 : 0), *kernels.output_s8);
  if (*status != Status::kOk) return nullptr;
  *status = Status::kOutOfMemory;
  if (state->plan.Init() != Status::kOk || !AllocationAllowed(sizeof(Int8Conv2D))) return nullptr;
  std::unique_ptr<Int8Conv2D> op(new (std::nothrow) Int8Conv2D(std::move(state)));
  if (op != nullptr) *status = Status::kOk;
  return op;
}

Int8Conv2D::Int8Conv2D(std::unique_ptr<State> state) : state_(std::move(state)) {}
Int8Conv2D::~Int8Conv2D() = default;

int64_t Int8Conv2D::State::HeadBytes(int64_t lines) {
  return RoundUp(lines * static_cast<int64_t>(sizeof(float) + sizeof(int32_t)), kAlignment);
}

Int8Conv2D::State::Lines Int8Conv2D::State::LinesAt(void* memory, int64_t lines) const {
  float* const scales = static_cast<float*>(memory);
  return {scales, reinterpret_cast<int32_t*>(scales + lines), static_cast<int8_t*>(memory) + HeadBytes(lines)};
}

// The lines that the output's lines read: with strides, the others are never looked at.
QuantizeRowsArgs Int8Conv2D::State::LinesOf(const float* first_line, int64_t count, const Lines& lines) const {
  return {first_line, count, line, plan.params.stride_h * line, flip(), lines.values, lines.scales, lines.zeros};
}

RowLayout Int8Conv2D::State::LineRows(int64_t count) const {
  return {{1, count, plan.w.output}, {0, line, plan.params.stride_w * plan.params.in_channels}};
}

Status Int8Conv2D::State::Plan(int64_t batch, int64_t in_h, int64_t in_w) {
  images = 0;
  // Quantising inverts the top bits, where the kernel wants that, at no cost; int8 activations are copied for it.
  Status status = plan.Plan(batch, in_h, in_w, /*always_copy=*/!dynamic() && flip());
  if (status != Status::kOk) return status;
  images = batch;
  line = in_w * plan.params.in_channels;
  if (by_image() && batch > 1) {
    status = plan.Plan(1, in_h, in_w, /*always_copy=*/false);
    if (status != Status::kOk) return status;
  }
  const CheckedSize bytes = WorkspaceBytes();
  if (!bytes.FitsFloats()) return Status::kInvalidArgument;
  if (!workspace->Reserve(CeilDiv(bytes.value(), sizeof(float)))) return Status::kOutOfMemory;
  return gemm.Plan(by_line() ? LineRows(batch * plan.h.output) : plan.rows, plan.segments.data(), plan.group_stride());
}

CheckedSize Int8Conv2D::State::WorkspaceBytes() const {
  if (by_line()) {
    const int64_t lines = plan.batch * plan.h.output;
    return CheckedSize(HeadBytes(lines)) + lines * line;
  }
  return CheckedSize(by_image() ? plan.h.input * line : 0) + plan.copy_elements;
}

Status Int8Conv2D::Reshape(int64_t batch, int64_t in_h, int64_t in_w, Workspace* workspace) {
  State& s = *state_;
  s.workspace = workspace != nullptr ? workspace : &s.own;
  s.ready = false;
  const Status status = s.Plan(batch, in_h, in_w);
  s.ready = status == Status::kOk;
  return status;
}

void Int8Conv2D::State::RunByLine(const float* input, const float* residual, float* output, ThreadPool& pool) const {
  const Lines lines = LinesAt(workspace->data(), images * plan.h.output);
  for (int64_t image = 0; image < images; ++image) {
    const int64_t first = image * plan.h.output;
    const Lines own = {lines.scales + first, lines.zeros + first, lines.values + first * line};
    QuantizeRows(*quantize_kernel, LinesOf(input + image * plan.h.input * line, plan.h.output, own), pool);
  }
  gemm.Run(lines.values, {output, lines.zeros, lines.scales, plan.w.output, residual}, pool);
}

void Int8Conv2D::State::RunByImage(const float* input, const float* residual, float* output, ThreadPool& pool) const {
  const int64_t elements = plan.h.input * line;
  const int64_t rows = plan.h.output * plan.w.output, outputs = rows * plan.params.out_channels;
  int8_t* const quantized = reinterpret_cast<int8_t*>(workspace->data());
  for (int64_t image = 0; image < images; ++image, input += elements, output += outputs) {
    float scale = 0;
    int32_t zero = 0;
    QuantizeRows(*quantize_kernel, {input, 1, elements, elements, flip(), quantized, &scale, &zero}, pool);
    const int8_t* seen = quantized;
    if (plan.copied) {
      plan.copy.Copy(seen, quantized + elements, static_cast<int8_t>(zero), /*flip=*/false, pool);
      seen = quantized + elements;
    }
    gemm.Run(seen, {output, &zero, &scale, rows, residual}, pool);
    if (residual != nullptr) residual += outputs;
  }
}

Status Int8Conv2D::Run(const void* input, const float* residual, void* output, ThreadPool& pool) {
  const State& s = *state_;
  if (!s.ready) return Status::kNotReady;
  if (s.images == 0) return Status::kOk;
  if (s.by_line()) {
    s.RunByLine(static_cast<const float*>(input), residual, static_cast<float*>(output), pool);
    return Status::kOk;
  }
  if (s.by_image()) {
    s.RunByImage(static_cast<const float*>(input), residual, static_cast<float*>(output), pool);
    return Status::kOk;
  }
  const int8_t* seen = static_cast<const int8_t*>(input);
  if (s.plan.copied) {
    int8_t* const copy = reinterpret_cast<int8_t*>(s.workspace->data());
    s.plan.copy.Copy(seen, copy, static_cast<int8_t>(s.input_zero), s.flip(), pool);
    seen = copy;
  }
  s.gemm.Run(seen, {output}, pool);
  return Status::kOk;
}

LineShape Int8Conv2D::State::line_shape() const {
  const int64_t outputs = plan.params.out_channels;
  LineShape shape;
  shape.window = WindowOf(plan.h, plan.params);
  shape.batch = plan.batch;
  shape.in_line_bytes = line * static_cast<int64_t>(sizeof(float));
  shape.out_line_bytes = plan.w.output * outputs * static_cast<int64_t>(sizeof(float));
  shape.macs = line * kQuantizeMacs + plan.w.output * outputs * (kFinishMacs + gemm.filter.k() / kMacsPerMac);
  shape.setup_macs = outputs * gemm.filter.k() * kDecodeMacs;
  return shape;
}

int64_t Int8Conv2D::State::ScratchBytes(int64_t lines) const { return HeadBytes(lines) + lines * line; }

void Int8Conv2D::State::RunLines(const LineRun& run) const {
  const int64_t count = run.lines.count();
  const Lines lines = LinesAt(run.scratch, count);
  const QuantizeRowsArgs rows = LinesOf(static_cast<const float*>(run.input), count, lines);
  for (int64_t i = 0; i < count; ++i) QuantizeRow(*quantize_kernel, rows, i);
  Int8Output::Target target = {run.output, lines.zeros, lines.scales, plan.w.output};
  if (run.residual != nullptr) {
    target.residual = static_cast<const float*>(run.residual);
    target.range = &run.sum_range;
  }
  gemm.RunRows(LineRows(count), lines.values, target);
}

const LineOp* Int8Conv2D::line_op() const { return state_->ready && state_->by_line() ? state_.get() : nullptr; }

bool Int8Conv2D::dynamic() const { return state_->dynamic(); }
void Int8Conv2D::SetActivation(Activation activation) { state_->gemm.output.SetRange(RangeOf(activation)); }
int64_t Int8Conv2D::output_h() const { return state_->plan.h.output; }
int64_t Int8Conv2D::output_w() const { return state_->plan.w.output; }
size_t Int8Conv2D::packed_bytes() const { return state_->gemm.filter.bytes() + state_->gemm.output.bytes(); }
size_t Int8Conv2D::workspace_bytes() const { return static_cast<size_t>(state_->WorkspaceBytes().value()); }
const char* Int8Conv2D::kernel_name() const { return state_->gemm.filter.kernel().name; }

}  // namespace dgms
