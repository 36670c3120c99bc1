// DEPTHWISE_CONV_2D with a codebook or dense filter, NHWC float activations.
#ifndef DGMS_OPS_DEPTHWISE_CONV2D_H_
#define DGMS_OPS_DEPTHWISE_CONV2D_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/select_kernel.h"
#include "ops/filter.h"
#include "ops/line_op.h"
#include "ops/memory.h"
#include "ops/status.h"
#include "ops/thread_pool.h"

namespace dgms {

struct DepthwiseConv2DParams : WindowParams {
  int depth_multiplier = 1;  // output channel = input channel * depth_multiplier + m
};

class DepthwiseConv2D {
 public:
  using Element = float;  // of activations

  // Copies codes, which every run decodes anew; dense weights, and those of several codebooks, are kept as floats. Null
  // on failure, with the reason in *status (which may be null). Nothing is kept of the views.
  //   bias   [in_channels * depth_multiplier] or null
  static std::unique_ptr<DepthwiseConv2D> Create(const DepthwiseConv2DParams& params, const FloatFilter& filter,
                                                 const float* bias, const KernelSet& kernels, Status* status = nullptr);
  ~DepthwiseConv2D();

  // As Conv2D's.
  Status Reshape(int64_t batch, int64_t in_h, int64_t in_w, Workspace* workspace = nullptr);
  Status Run(const float* input, float* output, ThreadPool& pool);

  // Itself line by line, after Reshape; null where it needs a copy of its input (depth_multiplier > 1).
  const LineOp* line_op() const;

  int64_t output_h() const;
  int64_t output_w() const;
  size_t packed_bytes() const;
  size_t workspace_bytes() const;
  const char* kernel_name() const;

 private:
  struct State;
  explicit DepthwiseConv2D(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace dgms

#endif  // DGMS_OPS_DEPTHWISE_CONV2D_H_
