#include "ops/conv2d.h"

#include <utility>

#include "ops/codebook_gemm.h"
#include "ops/memory.h"
#include "ops/padded_input.h"
#include "ops/shapes.h"

namespace dgms {

struct Conv2D::State {
  Conv2DParams params;
  CodebookGemm gemm;
  ConvDim h, w;
  int64_t batch = 0;
  bool ready = false;
  bool padded = false;
  PaddedInput padding;
  int64_t padded_floats = 0;
  Buffer<int64_t> segments;
  Workspace own;
  Workspace* workspace = &own;

  bool ValidParams() const;
  // A kernel line's pixels are contiguous in the input: one long segment per kernel line, else one per tap.
  bool WholeLines() const { return params.groups == 1 && (params.dilation_w == 1 || params.kernel_w == 1); }
  PackedFilter::Shape FilterShape() const;
  Status PlanRows(int64_t in_h, int64_t in_w);
};

bool Conv2D::State::ValidParams() const {
  const Conv2DParams& p = params;
  return p.kernel_h >= 1 && p.kernel_w >= 1 && p.stride_h >= 1 && p.stride_w >= 1 && p.dilation_h >= 1 &&
         p.dilation_w >= 1 && p.groups >= 1 && p.in_channels >= 1 && p.out_channels >= 1 &&
         p.in_channels % p.groups == 0 && p.out_channels % p.groups == 0 &&
         (CheckedSize(p.kernel_h) * p.kernel_w * p.in_channels).ok();
}

PackedFilter::Shape Conv2D::State::FilterShape() const {
  PackedFilter::Shape shape;
  const int64_t inputs = params.in_channels / params.groups;
  shape.groups = params.groups;
  shape.columns = params.out_channels / params.groups;
  shape.segment_count = WholeLines() ? params.kernel_h : int64_t{params.kernel_h} * params.kernel_w;
  shape.segment_length = WholeLines() ? params.kernel_w * inputs : inputs;
  return shape;
}

std::unique_ptr<Conv2D> Conv2D::Create(const Conv2DParams& params, const CodebookFilter& filter, const float* bias,
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
  state->gemm.range = RangeOf(params.activation);
  *status = state->gemm.filter.Init(state->FilterShape(), filter, bias, *kernels.gemm);
  if (*status != Status::kOk) return nullptr;
  *status = Status::kOutOfMemory;
  if (!state->segments.Reserve(state->FilterShape().segment_count) || !AllocationAllowed(sizeof(Conv2D)))
    return nullptr;
  std::unique_ptr<Conv2D> op(new (std::nothrow) Conv2D(std::move(state)));
  if (op != nullptr) *status = Status::kOk;
  return op;
}

Conv2D::Conv2D(std::unique_ptr<State> state) : state_(std::move(state)) {}
Conv2D::~Conv2D() = default;

Status Conv2D::State::PlanRows(int64_t in_h, int64_t in_w) {
  const int64_t channels = params.in_channels;
  const int64_t columns = padded ? padding.columns : in_w;  // pixels of a line, wherever the kernels read from
  const int64_t lines = padded ? padding.rows : in_h;
  if (!(CheckedSize(batch) * lines * columns * channels).FitsFloats()) return Status::kInvalidArgument;
  const int64_t line = columns * channels;
  RowLayout rows = {{batch, h.output, w.output}, {lines * line, params.stride_h * line, params.stride_w * channels}};
  const int64_t per_line = WholeLines() ? 1 : params.kernel_w;
  for (int64_t s = 0; s < gemm.filter.shape().segment_count; ++s) {
    segments[s] = s / per_line * params.dilation_h * line + s % per_line * params.dilation_w * channels;
  }
  return gemm.Plan(rows, segments.data(), channels / params.groups);
}

Status Conv2D::Reshape(int64_t batch, int64_t in_h, int64_t in_w, Workspace* workspace) {
  State& s = *state_;
  s.ready = false;
  s.workspace = workspace != nullptr ? workspace : &s.own;
  const Conv2DParams& p = s.params;
  if (batch < 0 || !PlanConvDim(in_h, p.kernel_h, p.stride_h, p.dilation_h, p.padding, &s.h) ||
      !PlanConvDim(in_w, p.kernel_w, p.stride_w, p.dilation_w, p.padding, &s.w) ||
      !(CheckedSize(batch) * in_h * in_w * p.in_channels).FitsFloats() ||
      !(CheckedSize(batch) * s.h.output * s.w.output * p.out_channels).FitsFloats()) {
    return Status::kInvalidArgument;
  }
  s.batch = batch;
  s.padded = s.h.extent > in_h || s.w.extent > in_w;
  if (s.padded) {
    s.padding = {batch, in_h, in_w, p.in_channels, s.h.pad_before, s.w.pad_before, s.h.extent, s.w.extent, 1};
    const Status status = s.padding.Floats(&s.padded_floats);
    if (status != Status::kOk) return status;
    if (!s.workspace->Reserve(s.padded_floats)) return Status::kOutOfMemory;
  }
  const Status status = s.PlanRows(in_h, in_w);
  s.ready = status == Status::kOk;
  return status;
}

Status Conv2D::Run(const float* input, float* output, ThreadPool& pool) {
  State& s = *state_;
  if (!s.ready) return Status::kNotReady;
  if (s.batch == 0) return Status::kOk;
  if (s.padded) {
    s.padding.Copy(input, s.workspace->data(), pool);
    input = s.workspace->data();
  }
  s.gemm.Run(input, output, pool);
  return Status::kOk;
}

int64_t Conv2D::output_h() const { return state_->h.output; }
int64_t Conv2D::output_w() const { return state_->w.output; }
size_t Conv2D::packed_bytes() const { return state_->gemm.filter.bytes(); }
size_t Conv2D::workspace_bytes() const {
  return state_->padded ? static_cast<size_t>(state_->padded_floats) * sizeof(float) : 0;
}
const char* Conv2D::kernel_name() const { return state_->gemm.filter.kernel().name; }

}  // namespace dgms
