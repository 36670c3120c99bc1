#include "ops/int8_conv2d.h"

#include <utility>

#include "ops/conv2d_plan.h"
#include "ops/int8_gemm.h"
#include "ops/quantize_rows.h"
#include "ops/shapes.h"

namespace dgms {

struct Int8Conv2D::State {
  Conv2DPlan plan;
  Int8Gemm gemm;
  int32_t input_zero = 0;   // int8 activations only
  int64_t images = 0;       // dynamic: planned and run one by one
  int64_t quantized = 0;    // elements of one quantised image; 0 for int8 activations
  int64_t image_input = 0;  // elements of one image
  int64_t image_output = 0;
  const QuantizeS8Kernel* quantize_kernel = nullptr;
  bool ready = false;
  Workspace own;
  Workspace* workspace = &own;

  bool flip() const { return gemm.filter.kernel().flip; }
  int8_t* scratch() const { return reinterpret_cast<int8_t*>(workspace->data()); }
  void RunDynamic(const float* input, float* output, ThreadPool& pool) const;
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

Status Int8Conv2D::Reshape(int64_t batch, int64_t in_h, int64_t in_w, Workspace* workspace) {
  State& s = *state_;
  s.ready = false;
  s.workspace = workspace != nullptr ? workspace : &s.own;
  const bool dynamic = s.gemm.output.dynamic();
  // Quantising inverts the top bits, where the kernel wants that, at no cost; int8 activations are copied for it.
  Status status = s.plan.Plan(batch, in_h, in_w, /*always_copy=*/false);
  if (status != Status::kOk) return status;
  const Conv2DParams& p = s.plan.params;
  s.images = dynamic ? batch : 1;
  if (dynamic || s.flip()) {
    status = s.plan.Plan(dynamic && batch > 0 ? 1 : batch, in_h, in_w, /*always_copy=*/!dynamic);
    if (status != Status::kOk) return status;
  }
  s.image_input = in_h * in_w * p.in_channels;
  s.image_output = s.plan.h.output * s.plan.w.output * p.out_channels;
  s.quantized = dynamic ? s.image_input : 0;
  const CheckedSize bytes = CheckedSize(s.quantized) + s.plan.copy_elements;
  if (!bytes.FitsFloats()) return Status::kInvalidArgument;
  if (!s.workspace->Reserve(CeilDiv(bytes.value(), sizeof(float)))) return Status::kOutOfMemory;
  status = s.gemm.Plan(s.plan.rows, s.plan.segments.data(), s.plan.group_stride());
  s.ready = status == Status::kOk;
  return status;
}

void Int8Conv2D::State::RunDynamic(const float* input, float* output, ThreadPool& pool) const {
  for (int64_t image = 0; image < images; ++image, input += image_input, output += image_output) {
    float scale = 0;
    int32_t zero = 0;
    QuantizeRows(*quantize_kernel, input, 1, image_input, flip(), scratch(), &scale, &zero, pool);
    const int8_t* seen = scratch();
    if (plan.copied) {
      plan.copy.Copy(seen, scratch() + quantized, static_cast<int8_t>(zero), /*flip=*/false, pool);
      seen = scratch() + quantized;
    }
    gemm.Run(seen, {output, &zero, &scale, 0}, pool);
  }
}

Status Int8Conv2D::Run(const void* input, void* output, ThreadPool& pool) {
  State& s = *state_;
  if (!s.ready) return Status::kNotReady;
  if (s.plan.batch == 0) return Status::kOk;
  if (s.gemm.output.dynamic()) {
    s.RunDynamic(static_cast<const float*>(input), static_cast<float*>(output), pool);
    return Status::kOk;
  }
  const int8_t* seen = static_cast<const int8_t*>(input);
  if (s.plan.copied) {
    s.plan.copy.Copy(seen, s.scratch(), static_cast<int8_t>(s.input_zero), s.flip(), pool);
    seen = s.scratch();
  }
  s.gemm.Run(seen, {output, nullptr, nullptr, 0}, pool);
  return Status::kOk;
}

int64_t Int8Conv2D::output_h() const { return state_->plan.h.output; }
int64_t Int8Conv2D::output_w() const { return state_->plan.w.output; }
size_t Int8Conv2D::packed_bytes() const { return state_->gemm.filter.bytes() + state_->gemm.output.bytes(); }
size_t Int8Conv2D::workspace_bytes() const {
  return static_cast<size_t>(state_->quantized + state_->plan.copy_elements);
}
const char* Int8Conv2D::kernel_name() const { return state_->gemm.filter.kernel().name; }

}  // namespace dgms
