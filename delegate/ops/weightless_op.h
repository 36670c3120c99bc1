// Operators without weights: what they have in common. Each family has a header of its own with its parameters and a
// function Create...: binary.h, unary.h, pool2d.h, mean.h, softmax.h, concatenation.h, pad.h, quantize.h, copy.h.
#ifndef DGMS_OPS_WEIGHTLESS_OP_H_
#define DGMS_OPS_WEIGHTLESS_OP_H_

#include <cstdint>

#include "kernels/select_kernel.h"
#include "ops/quantization.h"
#include "ops/status.h"
#include "ops/tensor_shape.h"
#include "ops/thread_pool.h"

namespace dgms {

// What the elements of a tensor are.
enum class ElementType { kFloat32, kInt8 };

inline int64_t ElementBytes(ElementType type) { return type == ElementType::kFloat32 ? 4 : 1; }

class WeightlessOp {
 public:
  virtual ~WeightlessOp() = default;

  // Plans for inputs of these shapes and computes the output's. Anything but kOk leaves the op without a plan;
  // kInvalidArgument also means: not offered, leave it to others.
  virtual Status Reshape(const TensorShape* inputs, int count, TensorShape* output) = 0;

  // One pointer per input, dense, in the order of Reshape; constants are inputs like any other. Results are the same,
  // bit for bit, for any number of threads.
  virtual Status Run(const void* const* inputs, void* output, ThreadPool& pool) = 0;

  // Whether `output` may be the very same memory as this input (and as no other one, unless they are equal pointers
  // that both may). Of the last successful Reshape.
  virtual bool RunsInPlace(int input) const = 0;

  virtual const char* kernel_name() const = 0;
};

}  // namespace dgms

#endif  // DGMS_OPS_WEIGHTLESS_OP_H_
