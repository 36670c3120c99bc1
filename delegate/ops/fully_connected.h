// FULLY_CONNECTED with a codebook or dense filter, float activations.
#ifndef DGMS_OPS_FULLY_CONNECTED_H_
#define DGMS_OPS_FULLY_CONNECTED_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/select_kernel.h"
#include "ops/filter.h"
#include "ops/memory.h"
#include "ops/status.h"
#include "ops/thread_pool.h"

namespace dgms {

struct FullyConnectedParams {
  int64_t in_channels = 0, out_channels = 0;
  Activation activation = Activation::kNone;
};

class FullyConnected {
 public:
  using Element = float;  // of activations

  // Packs the weights. Null on failure, with the reason in *status (which may be null). Nothing is kept of the views
  // but a dense filter's values.
  //   bias   [out_channels] or null
  static std::unique_ptr<FullyConnected> Create(const FullyConnectedParams& params, const FloatFilter& filter,
                                                const float* bias, const KernelSet& kernels, Status* status = nullptr);
  ~FullyConnected();

  // Plans for an input of [batch, in_channels]; batch 0 is allowed and makes Run a no-op.
  Status Reshape(int64_t batch);

  // input and output do not overlap. One Run at a time per op.
  Status Run(const float* input, float* output, ThreadPool& pool);

  size_t packed_bytes() const;
  const char* kernel_name() const;

 private:
  struct State;
  explicit FullyConnected(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace dgms

#endif  // DGMS_OPS_FULLY_CONNECTED_H_
