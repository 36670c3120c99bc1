#include "ops/conv2d.h"

#include <utility>

#include "ops/conv2d_plan.h"
#include "ops/float_gemm.h"

namespace dgms {

struct Conv2D::State {
  Conv2DPlan plan;
  FloatGemm gemm;
  bool ready = false;
  Workspace own;
  Workspace* workspace = &own;
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
  state->gemm.range = RangeOf(params.activation);
  *status = state->gemm.filter.Init(state->plan.FilterShape(), filter, bias, kernels);
  if (*status != Status::kOk) return nullptr;
  *status = Status::kOutOfMemory;
  if (state->plan.Init() != Status::kOk || !AllocationAllowed(sizeof(Conv2D))) return nullptr;
  std::unique_ptr<Conv2D> op(new (std::nothrow) Conv2D(std::move(state)));
  if (op != nullptr) *status = Status::kOk;
  return op;
}

Conv2D::Conv2D(std::unique_ptr<State> state) : state_(std::move(state)) {}
Conv2D::~Conv2D() = default;

Status Conv2D::Reshape(int64_t batch, int64_t in_h, int64_t in_w, Workspace* workspace) {
  State& s = *state_;
  s.ready = false;
  s.workspace = workspace != nullptr ? workspace : &s.own;
  Status status = s.plan.Plan(batch, in_h, in_w, /*always_copy=*/false);
  if (status != Status::kOk) return status;
  if (s.plan.copied && !s.workspace->Reserve(s.plan.copy_elements)) return Status::kOutOfMemory;
  status = s.gemm.Plan(s.plan.rows, s.plan.segments.data(), s.plan.group_stride());
  s.ready = status == Status::kOk;
  return status;
}

Status Conv2D::Run(const float* input, const float* residual, float* output, ThreadPool& pool) {
  State& s = *state_;
  if (!s.ready) return Status::kNotReady;
  if (s.plan.batch == 0) return Status::kOk;
  if (s.plan.copied) {
    s.plan.copy.Copy(input, s.workspace->data(), pool);
    input = s.workspace->data();
  }
  s.gemm.Run(input, residual, output, pool);
  return Status::kOk;
}

int64_t Conv2D::output_h() const { return state_->plan.h.output; }
int64_t Conv2D::output_w() const { return state_->plan.w.output; }
size_t Conv2D::packed_bytes() const { return state_->gemm.filter.bytes(); }
size_t Conv2D::workspace_bytes() const { return static_cast<size_t>(state_->plan.copy_elements) * sizeof(float); }
const char* Conv2D::kernel_name() const { return state_->gemm.filter.kernel().name; }

}  // namespace dgms
