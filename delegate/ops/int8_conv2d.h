// CONV_2D with an int8 codebook or dense filter, NHWC. The input is int8, or float and quantised line by line (1x1
// filters without padding) or image by image (the others, whose windows have several lines); so is the output int8 or
// float: see Int8LayerOutput.
#ifndef DGMS_OPS_INT8_CONV2D_H_
#define DGMS_OPS_INT8_CONV2D_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/select_kernel.h"
#include "ops/conv2d.h"
#include "ops/filter.h"
#include "ops/int8_output.h"
#include "ops/line_op.h"
#include "ops/memory.h"
#include "ops/status.h"
#include "ops/thread_pool.h"

namespace dgms {

class Int8Conv2D {
 public:
  using Element = void;  // of activations: see Run

  // As Conv2D's; the activation in `params` is not used (it is in `output`).
  static std::unique_ptr<Int8Conv2D> Create(const Conv2DParams& params, const Int8Filter& filter,
                                            const Int8LayerOutput& output, const KernelSet& kernels,
                                            Status* status = nullptr);
  ~Int8Conv2D();

  Status Reshape(int64_t batch, int64_t in_h, int64_t in_w, Workspace* workspace = nullptr);

  bool float_input() const;
  bool float_output() const;

  // input and output: int8 or float.
  //   residual   [batch, output_h, output_w, out_channels], added before the activation, if float_output(); or null:
  //              none. The output does not overlap it
  Status Run(const void* input, const float* residual, void* output, ThreadPool& pool);
  Status Run(const void* input, void* output, ThreadPool& pool) { return Run(input, nullptr, output, pool); }

  // Itself line by line, after Reshape; null where float lines are not quantised by themselves.
  const LineOp* line_op() const;

  // Replaces the activation for later runs, if float_output(): that of an addition which became the residual, say.
  void SetActivation(Activation activation);

  int64_t output_h() const;
  int64_t output_w() const;
  size_t packed_bytes() const;
  size_t workspace_bytes() const;
  const char* kernel_name() const;

 private:
  struct State;
  explicit Int8Conv2D(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace dgms

#endif  // DGMS_OPS_INT8_CONV2D_H_
