// CONV_2D with a codebook or dense filter, NHWC float activations.
#ifndef DGMS_OPS_CONV2D_H_
#define DGMS_OPS_CONV2D_H_

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

struct Conv2DParams : WindowParams {
  int groups = 1;  // divides both channel counts; the filter has in_channels / groups input channels
  int64_t out_channels = 0;
  // Keeps transformed filters in memory, 16 bytes for each weight, where they would be written there in every Run:
  // Winograd's method, many tiles (ops/winograd.h). Results are the same bit for bit.
  bool cache_filters = false;
};

class Conv2D {
 public:
  using Element = float;  // of activations

  // Packs the weights. Null on failure, with the reason in *status (which may be null). Nothing is kept of the views
  // but a dense filter's values.
  //   bias   [out_channels] or null
  static std::unique_ptr<Conv2D> Create(const Conv2DParams& params, const FloatFilter& filter, const float* bias,
                                        const KernelSet& kernels, Status* status = nullptr);
  ~Conv2D();

  // Plans for an input of [batch, in_h, in_w, in_channels] and allocates the workspace; keeps the packed weights.
  // batch 0 is allowed and makes Run a no-op. After an error the op is not ready.
  //   workspace   scratch that other ops use too, never while this one runs; it outlives the op's last Run. Null: own
  //   threads     how many threads get scratch of their own, where each needs some: no more work then, however many
  //               the pool has. 0 stands for ThreadPool::DefaultThreads()
  Status Reshape(int64_t batch, int64_t in_h, int64_t in_w, Workspace* workspace = nullptr, int threads = 0);

  // output = activation(convolution(input) + bias + residual). One Run at a time per op: the workspace is the op's own.
  //   residual   [batch, output_h, output_w, out_channels], or null: none
  // The output overlaps neither the input nor the residual: it holds partial sums on the way.
  Status Run(const float* input, const float* residual, float* output, ThreadPool& pool);
  Status Run(const float* input, float* output, ThreadPool& pool) { return Run(input, nullptr, output, pool); }

  // Fills the cache of `cache_filters` as Reshape would for maps of this size, so that packed_bytes() counts it before.
  Status CacheFilters(int64_t in_h, int64_t in_w);

  // Itself line by line, after Reshape; null where it runs in another way (Winograd's, or as one row).
  const LineOp* line_op() const;

  // Replaces the activation of `params` for later runs: that of an addition which became the residual, say.
  void SetActivation(Activation activation);

  int64_t output_h() const;
  int64_t output_w() const;
  size_t packed_bytes() const;     // weights, tables, scales, biases and cached filters: what stays in memory
  size_t workspace_bytes() const;  // of the last Reshape
  const char* kernel_name() const;

 private:
  struct State;
  explicit Conv2D(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace dgms

#endif  // DGMS_OPS_CONV2D_H_
