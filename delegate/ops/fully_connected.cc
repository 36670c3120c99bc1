#include "ops/fully_connected.h"

#include <utility>

#include "ops/float_gemm.h"
#include "ops/memory.h"
#include "ops/shapes.h"

namespace dgms {

struct FullyConnected::State {
  FullyConnectedParams params;
  FloatGemm gemm;
  bool ready = false;
};

std::unique_ptr<FullyConnected> FullyConnected::Create(const FullyConnectedParams& params, const FloatFilter& filter,
                                                       const float* bias, const KernelSet& kernels, Status* status) {
  Status ignored;
  if (status == nullptr) status = &ignored;
  *status = Status::kOutOfMemory;
  std::unique_ptr<State> state = MakeUnique<State>();
  if (state == nullptr) return nullptr;
  state->params = params;
  state->gemm.range = RangeOf(params.activation);
  const FilterMatrix shape = {1, params.out_channels, 1, params.in_channels};
  *status = state->gemm.filter.Init(shape, filter, bias, kernels);
  if (*status != Status::kOk) return nullptr;
  *status = Status::kOutOfMemory;
  if (!AllocationAllowed(sizeof(FullyConnected))) return nullptr;
  std::unique_ptr<FullyConnected> op(new (std::nothrow) FullyConnected(std::move(state)));
  if (op != nullptr) *status = Status::kOk;
  return op;
}

FullyConnected::FullyConnected(std::unique_ptr<State> state) : state_(std::move(state)) {}
FullyConnected::~FullyConnected() = default;

Status FullyConnected::Reshape(int64_t batch) {
  State& s = *state_;
  s.ready = false;
  if (batch < 0 || !(CheckedSize(batch) * s.params.in_channels).FitsFloats()) return Status::kInvalidArgument;
  const RowLayout rows = {{1, 1, batch}, {0, 0, s.params.in_channels}};
  const int64_t segment = 0;
  const Status status = s.gemm.Plan(rows, &segment, 0);
  s.ready = status == Status::kOk;
  return status;
}

Status FullyConnected::Run(const float* input, float* output, ThreadPool& pool) {
  if (!state_->ready) return Status::kNotReady;
  state_->gemm.Run(input, nullptr, output, pool);
  return Status::kOk;
}

size_t FullyConnected::packed_bytes() const { return state_->gemm.filter.bytes(); }
const char* FullyConnected::kernel_name() const { return state_->gemm.filter.kernel().name; }

}  // namespace dgms
