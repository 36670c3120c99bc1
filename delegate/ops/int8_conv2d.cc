#include "ops/int8_conv2d.h"

#include <algorithm>
#include <utility>

#include "kernels/codes.h"
#include "kernels/pack_weights.h"
#include "ops/conv2d_plan.h"
#include "ops/int8_gemm.h"
#include "ops/packed_int8_gemm.h"
#include "ops/quantize_rows.h"
#include "ops/shapes.h"

namespace dgms {

namespace {

// What the parts of the work cost, in float multiply-adds of the same time (AVX-512 and AMX, MobileNetV2's layers):
// products of integers take a sixteenth, each value that is quantised, or made of a sum, or decoded takes several, and
// a panel takes some time to begin with.
constexpr int64_t kMacsPerMac = 16, kQuantizeMacs = 6, kFinishMacs = 10, kDecodeMacs = 3, kPanelMacs = 10000;

// Making outputs of longer sums is a small part of the work: not worth looking for a shorter way.
constexpr int64_t kMaxNarrowK = 192;

Status SumWeights(const Int8Filter& filter, int64_t channels, int64_t k, Buffer<SignedSums>* sums) {
  if (!sums->Reserve(channels)) return Status::kOutOfMemory;
  const auto* dense = std::get_if<Int8DenseFilter>(&filter);
  const auto* codebook = std::get_if<Int8CodebookFilter>(&filter);
  for (int64_t c = 0; c < channels; ++c) {
    SignedSums sum;
    if (dense != nullptr) {
      for (int64_t p = 0; p < k; ++p) sum.Add(dense->values[c * k + p]);
    } else {
      const int64_t book = codebook->group_size == 0 ? 0 : c / codebook->group_size;
      const int8_t* values = codebook->codebooks + (book << codebook->bits);
      ForEachCode(codebook->codes, c * k, k, [&](int64_t, int code) { sum.Add(values[code]); });
    }
    (*sums)[c] = sum;
  }
  return Status::kOk;
}

}  // namespace

struct Int8Conv2D::State : LineOp {
  Conv2DPlan plan;
  Int8Gemm gemm;
  PackedInt8Gemm packed_gemm;
  bool may_pack = false;  // the filter is one that packed rows want
  bool packs = false;     // the planned rows are packed
  int64_t rows = 0;       // of the planned product
  bool float_input = false;
  int32_t input_zero = 0, seen_zero = 0;  // of an int8 input, and as the kernel sees it
  float input_scale = 0;                  // of an int8 input, where the output is float
  int64_t images = 0;                     // run at a time: all, or (by_image) one
  int64_t line = 0;                       // elements of a line of the input
  const QuantizeS8Kernel* quantize_kernel = nullptr;
  bool ready = false;
  Workspace own;
  Workspace* workspace = &own;

  bool flip() const { return gemm.filter.kernel().flip; }
  int64_t OutputBytes() const { return gemm.output.dequantizes() ? sizeof(float) : 1; }  // of a value
  // Where windows have a single line, which is one of the input, each line has a quantisation of its own.
  bool by_line() const { return float_input && plan.params.kernel_h == 1 && plan.params.kernel_w == 1 && !plan.copied; }
  bool by_image() const { return float_input && !by_line(); }

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
  Status PlanProduct(const RowLayout& rows);
  int64_t PackedBytes(int64_t rows) const { return packs ? packed_gemm.ScratchBytes(rows) : 0; }
  CheckedSize ActivationBytes() const;
  CheckedSize WorkspaceBytes() const;
  void Multiply(const int8_t* input, const Int8Output::Target& target, ThreadPool& pool) const;
  void RunByLine(const float* input, const float* residual, void* output, ThreadPool& pool) const;
  void RunByImage(const float* input, const float* residual, void* output, ThreadPool& pool) const;
  void RunInt8(const int8_t* input, const float* residual, void* output, ThreadPool& pool) const;
  Int8Output::Target TargetOfInt8(void* output, const float* residual) const;

  LineShape line_shape() const override;
  int64_t ScratchBytes(int64_t lines) const override;
  void RunLines(const LineRun& run) const override;
  int64_t LineBytes(int64_t lines) const;
  void RunInt8Lines(const LineRun& run) const;
  void RunFloatLines(const LineRun& run) const;
  void MultiplyLines(const LineRun& run, const RowLayout& line_rows, const int8_t* input,
                     Int8Output::Target target) const;
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
  FilterMatrix shape = state->plan.FilterShape();
  if (PackedInt8Gemm::Pays(*kernels.gemm_s8, shape)) {
    shape = PackedInt8Gemm::OneSegment(shape);
    state->may_pack = true;
  }
  *status = gemm.filter.Init(shape, filter, kernels);
  if (*status != Status::kOk) return nullptr;
  state->float_input = output.float_input();
  if (output.int8 != nullptr) {
    state->input_zero = output.int8->input_zero;
  } else if (!state->float_input) {
    state->input_zero = output.dynamic->input->zero;
    state->input_scale = output.dynamic->input->scale;
  }
  state->seen_zero = state->input_zero + (state->flip() ? 128 : 0);
  *status =
      gemm.output.Init(output, params.out_channels, gemm.filter.column_sums(), state->seen_zero, *kernels.output_s8);
  if (*status != Status::kOk) return nullptr;
  if (kernels.gemm_s8->requantize != nullptr && gemm.output.MayNarrow() && gemm.filter.k() <= kMaxNarrowK) {
    Buffer<SignedSums> sums;
    *status = SumWeights(filter, params.out_channels, gemm.filter.k(), &sums);
    if (*status == Status::kOk) *status = gemm.output.SetSums(sums, INT8_MIN, INT8_MAX);
    if (*status != Status::kOk) return nullptr;
  }
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
  Status status = plan.Plan(batch, in_h, in_w, /*always_copy=*/!float_input && flip());
  if (status != Status::kOk) return status;
  images = batch;
  line = in_w * plan.params.in_channels;
  if (by_image() && batch > 1) {
    status = plan.Plan(1, in_h, in_w, /*always_copy=*/false);
    if (status != Status::kOk) return status;
  }
  status = PlanProduct(by_line() ? LineRows(batch * plan.h.output) : plan.rows);
  if (status != Status::kOk) return status;
  const CheckedSize bytes = WorkspaceBytes();
  if (!bytes.FitsFloats()) return Status::kInvalidArgument;
  return workspace->Reserve(CeilDiv(bytes.value(), sizeof(float))) ? Status::kOk : Status::kOutOfMemory;
}

Status Int8Conv2D::State::PlanProduct(const RowLayout& layout) {
  packs = false;
  const FilterMatrix shape = plan.FilterShape();
  const CheckedSize count = CheckedSize(layout.count[0]) * layout.count[1] * layout.count[2];
  if (!count.ok()) return Status::kInvalidArgument;
  rows = count.value();
  const Status status = gemm.output.NarrowFor(rows);
  if (status != Status::kOk) return status;
  if (may_pack && (shape.segment_count > 1 || PackedInt8Gemm::Pays(gemm.filter, rows))) {
    packs = true;
    return packed_gemm.Plan(gemm.filter, layout, {plan.segments.data(), shape.segment_count, shape.segment_length});
  }
  return gemm.Plan(layout, plan.segments.data(), plan.group_stride());
}

// The quantised or padded input.
CheckedSize Int8Conv2D::State::ActivationBytes() const {
  if (by_line()) {
    const int64_t lines = plan.batch * plan.h.output;
    return CheckedSize(HeadBytes(lines)) + lines * line;
  }
  return CheckedSize(by_image() ? plan.h.input * line : 0) + plan.copy_elements;
}

// Behind it, the packed rows.
CheckedSize Int8Conv2D::State::WorkspaceBytes() const {
  const CheckedSize activations = ActivationBytes();
  if (!packs || !activations.FitsFloats()) return activations;
  return CheckedSize(RoundUp(activations.value(), kAlignment)) + PackedBytes(rows);
}

void Int8Conv2D::State::Multiply(const int8_t* input, const Int8Output::Target& target, ThreadPool& pool) const {
  if (!packs) return gemm.Run(input, target, pool);
  int8_t* const scratch = reinterpret_cast<int8_t*>(workspace->data()) + RoundUp(ActivationBytes().value(), kAlignment);
  packed_gemm.Run(gemm, input, target, scratch, pool);
}

Status Int8Conv2D::Reshape(int64_t batch, int64_t in_h, int64_t in_w, Workspace* workspace) {
  State& s = *state_;
  s.workspace = workspace != nullptr ? workspace : &s.own;
  s.ready = false;
  const Status status = s.Plan(batch, in_h, in_w);
  s.ready = status == Status::kOk;
  return status;
}

void Int8Conv2D::State::RunByLine(const float* input, const float* residual, void* output, ThreadPool& pool) const {
  const Lines lines = LinesAt(workspace->data(), images * plan.h.output);
  for (int64_t image = 0; image < images; ++image) {
    const int64_t first = image * plan.h.output;
    const Lines own = {lines.scales + first, lines.zeros + first, lines.values + first * line};
    QuantizeRows(*quantize_kernel, LinesOf(input + image * plan.h.input * line, plan.h.output, own), pool);
  }
  Multiply(lines.values, {output, lines.zeros, lines.scales, plan.w.output, residual}, pool);
}

void Int8Conv2D::State::RunByImage(const float* input, const float* residual, void* output, ThreadPool& pool) const {
  const int64_t elements = plan.h.input * line;
  const int64_t rows = plan.h.output * plan.w.output, outputs = rows * plan.params.out_channels;
  int8_t* const quantized = reinterpret_cast<int8_t*>(workspace->data());
  char* to = static_cast<char*>(output);
  for (int64_t image = 0; image < images; ++image, input += elements, to += outputs * OutputBytes()) {
    float scale = 0;
    int32_t zero = 0;
    QuantizeRows(*quantize_kernel, {input, 1, elements, elements, flip(), quantized, &scale, &zero}, pool);
    const int8_t* seen = quantized;
    if (plan.copied) {
      plan.copy.Copy(seen, quantized + elements, static_cast<int8_t>(zero), /*flip=*/false, pool);
      seen = quantized + elements;
    }
    Multiply(seen, {to, &zero, &scale, rows, residual}, pool);
    if (residual != nullptr) residual += outputs;
  }
}

// All rows share the input's quantisation.
Int8Output::Target Int8Conv2D::State::TargetOfInt8(void* output, const float* residual) const {
  return {output, &seen_zero, &input_scale, std::max<int64_t>(1, rows), residual};
}

void Int8Conv2D::State::RunInt8(const int8_t* input, const float* residual, void* output, ThreadPool& pool) const {
  if (plan.copied) {
    int8_t* const copy = reinterpret_cast<int8_t*>(workspace->data());
    plan.copy.Copy(input, copy, static_cast<int8_t>(input_zero), flip(), pool);
    input = copy;
  }
  Multiply(input, TargetOfInt8(output, residual), pool);
}

Status Int8Conv2D::Run(const void* input, const float* residual, void* output, ThreadPool& pool) {
  const State& s = *state_;
  if (!s.ready) return Status::kNotReady;
  if (s.images == 0) return Status::kOk;
  if (s.by_line()) {
    s.RunByLine(static_cast<const float*>(input), residual, output, pool);
  } else if (s.by_image()) {
    s.RunByImage(static_cast<const float*>(input), residual, output, pool);
  } else {
    s.RunInt8(static_cast<const int8_t*>(input), residual, output, pool);
  }
  return Status::kOk;
}

LineShape Int8Conv2D::State::line_shape() const {
  const int64_t outputs = plan.w.output * plan.params.out_channels;
  LineShape shape;
  shape.window = WindowOf(plan.h, plan.params);
  shape.batch = plan.batch;
  shape.in_line_bytes = line * (float_input ? sizeof(float) : 1);
  shape.out_line_bytes = outputs * OutputBytes();
  shape.macs = outputs * (kFinishMacs + gemm.filter.k() / kMacsPerMac) + (float_input ? line * kQuantizeMacs : 0);
  shape.setup_macs = plan.params.out_channels * gemm.filter.k() * kDecodeMacs + gemm.filter.panels() * kPanelMacs;
  return shape;
}

// What lines take as the product wants them, without packed rows.
int64_t Int8Conv2D::State::LineBytes(int64_t lines) const {
  if (float_input) return RoundUp(HeadBytes(lines) + lines * line, kAlignment);
  if (!plan.copied) return 0;
  const PaddedInput copy = plan.CopyUnder({0, lines});
  return RoundUp(copy.rows * copy.columns * copy.channels, kAlignment);
}

int64_t Int8Conv2D::State::ScratchBytes(int64_t lines) const {
  return LineBytes(lines) + PackedBytes(lines * plan.w.output);
}

void Int8Conv2D::State::RunLines(const LineRun& run) const { float_input ? RunFloatLines(run) : RunInt8Lines(run); }

void Int8Conv2D::State::RunInt8Lines(const LineRun& run) const {
  const int8_t* input = static_cast<const int8_t*>(run.input);
  if (plan.copied) {
    int8_t* const copy = static_cast<int8_t*>(run.scratch);
    plan.CopyUnder(run.lines).Copy(input, copy, static_cast<int8_t>(input_zero), flip());
    input = copy;
  }
  MultiplyLines(run, plan.RowsOf(run.lines), input, TargetOfInt8(run.output, nullptr));
}

void Int8Conv2D::State::RunFloatLines(const LineRun& run) const {
  const int64_t count = run.lines.count();
  const Lines lines = LinesAt(run.scratch, count);
  const QuantizeRowsArgs rows = LinesOf(static_cast<const float*>(run.input), count, lines);
  for (int64_t i = 0; i < count; ++i) QuantizeRow(*quantize_kernel, rows, i);
  MultiplyLines(run, LineRows(count), lines.values, {run.output, lines.zeros, lines.scales, plan.w.output});
}

void Int8Conv2D::State::MultiplyLines(const LineRun& run, const RowLayout& line_rows, const int8_t* input,
                                      Int8Output::Target target) const {
  if (run.residual != nullptr) {
    target.residual = static_cast<const float*>(run.residual);
    target.range = &run.sum_range;
  }
  if (!packs) return gemm.RunRows(line_rows, input, target);
  int8_t* const scratch = static_cast<int8_t*>(run.scratch) + LineBytes(run.lines.count());
  packed_gemm.RunRows(gemm, line_rows, input, target, scratch);
}

const LineOp* Int8Conv2D::line_op() const { return state_->ready && !state_->by_image() ? state_.get() : nullptr; }

bool Int8Conv2D::float_input() const { return state_->float_input; }
bool Int8Conv2D::float_output() const { return state_->gemm.output.dequantizes(); }
void Int8Conv2D::SetActivation(Activation activation) { state_->gemm.output.SetRange(RangeOf(activation)); }
int64_t Int8Conv2D::output_h() const { return state_->plan.h.output; }
int64_t Int8Conv2D::output_w() const { return state_->plan.w.output; }
size_t Int8Conv2D::packed_bytes() const { return state_->gemm.filter.bytes() + state_->gemm.output.bytes(); }
size_t Int8Conv2D::workspace_bytes() const { return static_cast<size_t>(state_->WorkspaceBytes().value()); }
const char* Int8Conv2D::kernel_name() const { return state_->gemm.filter.kernel().name; }

}  // namespace dgms
