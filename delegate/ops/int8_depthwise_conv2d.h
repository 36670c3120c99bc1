// DEPTHWISE_CONV_2D with an int8 codebook or dense filter and int8 activations, NHWC.
#ifndef DGMS_OPS_INT8_DEPTHWISE_CONV2D_H_
#define DGMS_OPS_INT8_DEPTHWISE_CONV2D_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/select_kernel.h"
#include "ops/depthwise_conv2d.h"
#include "ops/filter.h"
#include "ops/int8_output.h"
#include "ops/line_op.h"
#include "ops/memory.h"
#include "ops/status.h"
#include "ops/thread_pool.h"

namespace dgms {

class Int8DepthwiseConv2D {
 public:
  using Element = int8_t;  // of activations

  // As DepthwiseConv2D's; the activation in `params` is not used (it is in `output`).
  static std::unique_ptr<Int8DepthwiseConv2D> Create(const DepthwiseConv2DParams& params, const Int8Filter& filter,
                                                     const Requantization& output, const KernelSet& kernels,
                                                     Status* status = nullptr);
  ~Int8DepthwiseConv2D();

  // Whether these kernels make outputs while the sums are still in registers, for such a layer. Then it takes a small
  // part of a float layer's time; else about as much as that.
  static bool IsFast(const DepthwiseConv2DParams& params, const KernelSet& kernels);

  Status Reshape(int64_t batch, int64_t in_h, int64_t in_w, Workspace* workspace = nullptr);

  Status Run(const int8_t* input, int8_t* output, ThreadPool& pool);

  // Itself line by line, after Reshape; null with a depth multiplier.
  const LineOp* line_op() const;

  int64_t output_h() const;
  int64_t output_w() const;
  size_t packed_bytes() const;
  size_t workspace_bytes() const;
  const char* kernel_name() const;

 private:
  struct State;
  explicit Int8DepthwiseConv2D(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace dgms

#endif  // DGMS_OPS_INT8_DEPTHWISE_CONV2D_H_
