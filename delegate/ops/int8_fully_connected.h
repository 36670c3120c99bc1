// FULLY_CONNECTED with an int8 codebook or dense filter: int8 activations, or float ones that are quantised row by row.
#ifndef DGMS_OPS_INT8_FULLY_CONNECTED_H_
#define DGMS_OPS_INT8_FULLY_CONNECTED_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/select_kernel.h"
#include "ops/filter.h"
#include "ops/fully_connected.h"
#include "ops/int8_output.h"
#include "ops/memory.h"
#include "ops/status.h"
#include "ops/thread_pool.h"

namespace dgms {

class Int8FullyConnected {
 public:
  using Element = void;  // of activations: see Run

  // As FullyConnected's; the activation in `params` is not used (it is in `output`).
  static std::unique_ptr<Int8FullyConnected> Create(const FullyConnectedParams& params, const Int8Filter& filter,
                                                    const Int8LayerOutput& output, const KernelSet& kernels,
                                                    Status* status = nullptr);
  ~Int8FullyConnected();

  Status Reshape(int64_t batch);

  // input and output: int8, or float with Int8LayerOutput::dynamic.
  Status Run(const void* input, void* output, ThreadPool& pool);

  size_t packed_bytes() const;
  const char* kernel_name() const;

 private:
  struct State;
  explicit Int8FullyConnected(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace dgms

#endif  // DGMS_OPS_INT8_FULLY_CONNECTED_H_
