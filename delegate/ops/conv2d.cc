#include "ops/conv2d.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "ops/conv2d_plan.h"
#include "ops/float_gemm.h"
#include "ops/winograd.h"

namespace dgms {

namespace {

// Decoding a panel costs about as much as so many rows of arithmetic.
constexpr int64_t kDecodeRows = 2;

// True if no weight comes near what overflows when filters are transformed (see kernel_winograd.h), or is not finite.
bool AreModerate(const FloatFilter& filter, int64_t channels) {
  const float* values = nullptr;
  int64_t count = 0;
  if (const auto* dense = std::get_if<DenseFilter>(&filter)) {
    values = dense->values;
    count = dense->count;
  } else {
    const CodebookFilter& codebook = *std::get_if<CodebookFilter>(&filter);
    values = codebook.codebooks;
    count = CodebookCount(codebook, channels) << codebook.bits;
  }
  bool all = true;
  for (int64_t i = 0; i < count; ++i) all &= std::abs(values[i]) < 1e36f;
  return all;
}

}  // namespace

struct Conv2D::State : LineOp {
  Conv2DPlan plan;
  FloatGemm gemm;  // owns the filter
  Winograd winograd;
  const WinogradF32Kernel* winograd_kernel = nullptr;
  bool winograd_allowed = false;
  bool use_winograd = false;  // of the last Reshape
  int64_t workspace_elements = 0;
  bool ready = false;
  Workspace own;
  Workspace* workspace = &own;

  Status Plan(int64_t batch, int64_t in_h, int64_t in_w, int threads);
  LineShape line_shape() const override;
  int64_t ScratchBytes(int64_t lines) const override;
  void RunLines(const LineRun& run) const override;
};

std::unique_ptr<Conv2D> Conv2D::Create(const Conv2DParams& params, const FloatFilter& filter, const float* bias,
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
  state->winograd_kernel = kernels.winograd;
  state->plan.channel_ranges = Winograd::Fits(params);
  state->gemm.range = RangeOf(params.activation);
  *status = state->gemm.filter.Init(state->plan.FilterShape(), filter, bias, kernels);
  if (*status != Status::kOk) return nullptr;
  state->winograd_allowed = state->plan.channel_ranges && AreModerate(filter, params.out_channels);
  *status = Status::kOutOfMemory;
  if (state->plan.Init() != Status::kOk || !AllocationAllowed(sizeof(Conv2D))) return nullptr;
  std::unique_ptr<Conv2D> op(new (std::nothrow) Conv2D(std::move(state)));
  if (op != nullptr) *status = Status::kOk;
  return op;
}

Conv2D::Conv2D(std::unique_ptr<State> state) : state_(std::move(state)) {}
Conv2D::~Conv2D() = default;

Status Conv2D::State::Plan(int64_t batch, int64_t in_h, int64_t in_w, int threads) {
  ready = false;
  Status status = plan.Plan(batch, in_h, in_w, /*always_copy=*/false);
  if (status != Status::kOk) return status;
  use_winograd = winograd_allowed && Winograd::Pays(plan, *winograd_kernel);
  if (use_winograd) {
    if (threads < 1) threads = ThreadPool::DefaultThreads();
    status = winograd.Plan(plan, gemm.filter, *winograd_kernel, std::min(threads, ThreadPool::kMaxThreads));
    workspace_elements = winograd.workspace_elements();
  } else {
    status = gemm.Plan(plan.rows, plan.segments.data(), plan.group_stride());
    workspace_elements = plan.copy_elements;
  }
  return status;
}

Status Conv2D::CacheFilters(int64_t in_h, int64_t in_w) { return state_->Plan(1, in_h, in_w, 1); }

Status Conv2D::Reshape(int64_t batch, int64_t in_h, int64_t in_w, Workspace* workspace, int threads) {
  State& s = *state_;
  s.workspace = workspace != nullptr ? workspace : &s.own;
  Status status = s.Plan(batch, in_h, in_w, threads);
  if (status == Status::kOk && s.workspace_elements > 0 && !s.workspace->Reserve(s.workspace_elements)) {
    status = Status::kOutOfMemory;
  }
  s.ready = status == Status::kOk;
  return status;
}

Status Conv2D::Run(const float* input, const float* residual, float* output, ThreadPool& pool) {
  State& s = *state_;
  if (!s.ready) return Status::kNotReady;
  if (s.plan.batch == 0) return Status::kOk;
  if (s.use_winograd) {
    s.winograd.Run(s.gemm.filter, s.gemm.range, input, residual, output, s.workspace->data(), pool);
    return Status::kOk;
  }
  if (s.plan.copied) {
    s.plan.copy.Copy(input, s.workspace->data(), pool);
    input = s.workspace->data();
  }
  s.gemm.Run(input, residual, output, pool);
  return Status::kOk;
}

LineShape Conv2D::State::line_shape() const {
  const Conv2DParams& p = plan.params;
  LineShape shape;
  shape.window = WindowOf(plan.h, plan.params);
  shape.batch = plan.batch;
  shape.in_line_bytes = plan.w.input * p.in_channels * static_cast<int64_t>(sizeof(float));
  shape.out_line_bytes = plan.w.output * p.out_channels * static_cast<int64_t>(sizeof(float));
  shape.setup_macs = kDecodeRows * p.out_channels * gemm.filter.k();
  shape.macs = plan.w.output * p.out_channels * gemm.filter.k();
  return shape;
}

int64_t Conv2D::State::ScratchBytes(int64_t lines) const {
  if (!plan.copied) return 0;
  const PaddedInput copy = plan.CopyUnder({0, lines});
  return copy.rows * copy.columns * copy.channels * static_cast<int64_t>(sizeof(float));
}

void Conv2D::State::RunLines(const LineRun& run) const {
  const float* input = static_cast<const float*>(run.input);
  if (plan.copied) {
    float* const copy = static_cast<float*>(run.scratch);
    plan.CopyUnder(run.lines).Copy(input, copy);
    input = copy;
  }
  const float* const residual = static_cast<const float*>(run.residual);
  gemm.RunRows(plan.RowsOf(run.lines), input, residual, residual != nullptr ? run.sum_range : gemm.range,
               static_cast<float*>(run.output));
}

const LineOp* Conv2D::line_op() const {
  const State& s = *state_;
  return s.ready && !s.use_winograd && !s.gemm.runs_as_gemv() ? &s : nullptr;
}

void Conv2D::SetActivation(Activation activation) { state_->gemm.range = RangeOf(activation); }

int64_t Conv2D::output_h() const { return state_->plan.h.output; }
int64_t Conv2D::output_w() const { return state_->plan.w.output; }
size_t Conv2D::packed_bytes() const { return state_->gemm.filter.bytes() + state_->winograd.cached_bytes(); }
size_t Conv2D::workspace_bytes() const { return static_cast<size_t>(state_->workspace_elements) * sizeof(float); }
const char* Conv2D::kernel_name() const {
  return state_->use_winograd ? state_->winograd_kernel->name : state_->gemm.filter.kernel().name;
}

}  // namespace dgms
