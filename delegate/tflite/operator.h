// One claimed operator, ready to run: a uniform face for all kinds of ops.
#ifndef DGMS_TFLITE_OPERATOR_H_
#define DGMS_TFLITE_OPERATOR_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/select_kernel.h"
#include "ops/line_op.h"
#include "ops/memory.h"
#include "ops/status.h"
#include "ops/thread_pool.h"
#include "tflite/match_op.h"

namespace dgms {

using Shape = std::vector<int>;

// How operators are built: the delegate's kernels and those of its options that concern them.
struct BuildSettings {
  const KernelSet* kernels = nullptr;
  int threads = 1;             // of the pool that operators will run on
  bool dynamic_int8 = false;   // float layers quantise their activations at run time, where their weights allow it
  bool cache_filters = false;  // of Conv2DParams
};

class Operator {
 public:
  // Packs the weights, where there are any.
  //   input_dims   the shapes of the match's inputs as far as they are known; the number of channels decides the groups
  //                of a convolution and the multiplier of a depthwise convolution
  // Null on failure, with the reason in *status.
  static std::unique_ptr<Operator> Create(const OpMatch& match, const std::vector<Shape>& input_dims,
                                          const BuildSettings& settings, Status* status);
  virtual ~Operator() = default;

  // Whether what was packed serves inputs of these shapes (their number of channels may have changed).
  virtual bool Fits(const std::vector<Shape>&) const { return true; }

  // Plans for these inputs and computes the shape of the output. Returns an empty string, or what is wrong.
  //   workspace   scratch memory that Run may use, shared with operators that never run at the same time
  virtual std::string Reshape(const std::vector<Shape>& input_dims, Workspace* workspace, Shape* output_dims) = 0;

  // One pointer for each of the match's inputs; activations of the match's types.
  virtual Status Run(const void* const* inputs, void* output, ThreadPool& pool) = 0;

  // Whether RunAdding can be called in place of Run.
  virtual bool AddsResidual() const { return false; }
  // As Run; adds a map of the output's shape before `activation`. The output overlaps none of the inputs.
  virtual Status RunAdding(const void* const*, const void* /*residual*/, Activation /*activation*/, void* /*output*/,
                           ThreadPool&) {
    return Status::kInvalidArgument;
  }

  // Itself line by line, after Reshape: it can be a member of a chain (ops/line_chain.h) that runs in place of Run and
  // RunAdding. Null if it cannot.
  virtual const LineOp* line_op() const { return nullptr; }

  // Whether `output` may be the very same memory as this input, after the last Reshape.
  virtual bool RunsInPlace(int) const { return false; }
  // Whether all that Run does is to copy the bytes of its only input, if output is other memory.
  virtual bool copies() const { return false; }

  virtual size_t packed_bytes() const { return 0; }
  virtual const char* kernel_name() const = 0;
  virtual int64_t macs() const { return 0; }  // multiply-adds of one Run, of the last Reshape
};

// CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED; as Operator::Create.
std::unique_ptr<Operator> CreateLayerOperator(const OpMatch& match, const Shape& input_dims,
                                              const BuildSettings& settings, Status* status);

// Whether a float DEPTHWISE_CONV_2D takes less time on int8 maps than on float ones.
bool PaysInInt8(const LayerMatch& depthwise, const KernelSet& kernels);

// Everything else; as Operator::Create.
std::unique_ptr<Operator> CreateWeightlessOperator(const OpMatch& match, const std::vector<Shape>& input_dims,
                                                   const KernelSet& kernels, Status* status);

// "[1,2,3]"
std::string ShapeText(const Shape& dims);

}  // namespace dgms

#endif  // DGMS_TFLITE_OPERATOR_H_
