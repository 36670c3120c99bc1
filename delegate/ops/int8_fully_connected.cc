#include "ops/int8_fully_connected.h"

#include <utility>

#include "ops/int8_gemm.h"
#include "ops/padded_input.h"
#include "ops/quantize_rows.h"
#include "ops/shapes.h"

namespace dgms {

struct Int8FullyConnected::State {
  FullyConnectedParams params;
  Int8Gemm gemm;
  int64_t batch = 0;
  Buffer<int8_t> rows;  // as the kernel wants them, where the input is not
  Buffer<float> scales;
  Buffer<int32_t> zeros;
  const QuantizeS8Kernel* quantize_kernel = nullptr;
  bool ready = false;

  bool flip() const { return gemm.filter.kernel().flip; }
};

std::unique_ptr<Int8FullyConnected> Int8FullyConnected::Create(const FullyConnectedParams& params,
                                                               const Int8Filter& filter, const Int8LayerOutput& output,
                                                               const KernelSet& kernels, Status* status) {
  Status ignored;
  if (status == nullptr) status = &ignored;
  *status = Status::kOutOfMemory;
  std::unique_ptr<State> state = MakeUnique<State>();
  if (state == nullptr) return nullptr;
  state->quantize_kernel = kernels.quantize_s8;
  state->params = params;
  Int8Gemm& gemm = state->gemm;
  *status = gemm.filter.Init({1, params.out_channels, 1, params.in_channels}, filter, kernels);
  if (*status != Status::kOk) return nullptr;
  const int32_t zero = output.int8 != nullptr ? output.int8->input_zero : 0;
  *status = gemm.output.Init(output, params.out_channels, gemm.filter.column_sums(), zero + (state->flip() ? 128 : 0),
                             *kernels.output_s8);
  if (*status != Status::kOk) return nullptr;
  *status = Status::kOutOfMemory;
  if (!AllocationAllowed(sizeof(Int8FullyConnected))) return nullptr;
  std::unique_ptr<Int8FullyConnected> op(new (std::nothrow) Int8FullyConnected(std::move(state)));
  if (op != nullptr) *status = Status::kOk;
  return op;
}

Int8FullyConnected::Int8FullyConnected(std::unique_ptr<State> state) : state_(std::move(state)) {}
Int8FullyConnected::~Int8FullyConnected() = default;

Status Int8FullyConnected::Reshape(int64_t batch) {
  State& s = *state_;
  s.ready = false;
  const int64_t inputs = s.params.in_channels;
  if (batch < 0 || !(CheckedSize(batch) * inputs).FitsFloats()) return Status::kInvalidArgument;
  s.batch = batch;
  const bool dynamic = s.gemm.output.dynamic();
  if ((dynamic || s.flip()) && !s.rows.Reserve(batch * inputs)) return Status::kOutOfMemory;
  if (dynamic && (!s.scales.Reserve(batch) || !s.zeros.Reserve(batch))) return Status::kOutOfMemory;
  const RowLayout rows = {{1, 1, batch}, {0, 0, inputs}};
  const int64_t segment = 0;
  const Status status = s.gemm.Plan(rows, &segment, 0);
  s.ready = status == Status::kOk;
  return status;
}

Status Int8FullyConnected::Run(const void* input, void* output, ThreadPool& pool) {
  State& s = *state_;
  if (!s.ready) return Status::kNotReady;
  if (s.batch == 0) return Status::kOk;
  const int64_t inputs = s.params.in_channels;
  const int8_t* seen = static_cast<const int8_t*>(input);
  if (s.gemm.output.dynamic()) {
    QuantizeRows(*s.quantize_kernel,
                 {static_cast<const float*>(input), s.batch, inputs, inputs, s.flip(), s.rows.data(), s.scales.data(),
                  s.zeros.data()},
                 pool);
    seen = s.rows.data();
  } else if (s.flip()) {
    const PaddedInput copy = {1, s.batch, 1, inputs, 0, 0, s.batch, 1, 1};
    copy.Copy(seen, s.rows.data(), 0, /*flip=*/true, pool);
    seen = s.rows.data();
  }
  s.gemm.Run(seen, {output, s.zeros.data(), s.scales.data()}, pool);
  return Status::kOk;
}

size_t Int8FullyConnected::packed_bytes() const { return state_->gemm.filter.bytes() + state_->gemm.output.bytes(); }
const char* Int8FullyConnected::kernel_name() const { return state_->gemm.filter.kernel().name; }

}  // namespace dgms
