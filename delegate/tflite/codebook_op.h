// One claimed operator, ready to run: a uniform face for all kinds of ops.
#ifndef DGMS_TFLITE_CODEBOOK_OP_H_
#define DGMS_TFLITE_CODEBOOK_OP_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/select_kernel.h"
#include "ops/memory.h"
#include "ops/status.h"
#include "ops/thread_pool.h"
#include "tflite/match_op.h"

namespace dgms {

class CodebookOp {
 public:
  // Unpacks the codes and packs them for the kernels.
  //   input_dims   the input's shape as far as it is known; the number of channels decides the groups of a convolution
  //                and the multiplier of a depthwise convolution
  //   dynamic_int8   float operators quantise their activations at run time, where their weights allow it
  // Null on failure, with the reason in *status.
  static std::unique_ptr<CodebookOp> Create(const OpMatch& match, const std::vector<int>& input_dims,
                                            const KernelSet& kernels, bool dynamic_int8, Status* status);
  virtual ~CodebookOp() = default;

  // Whether the packed weights serve an input of this shape (its number of channels may have changed).
  virtual bool Fits(const std::vector<int>& input_dims) const = 0;

  // Plans for this input and computes the shape of the output. Returns an empty string, or what is wrong.
  //   workspace   scratch memory that Run may use, shared with operators that never run at the same time
  virtual std::string Reshape(const std::vector<int>& input_dims, Workspace* workspace,
                              std::vector<int>* output_dims) = 0;

  // Activations of the match's type.
  virtual Status Run(const void* input, void* output, ThreadPool& pool) = 0;

  virtual size_t packed_bytes() const = 0;
  virtual const char* kernel_name() const = 0;
  virtual int64_t macs() const = 0;  // multiply-adds of one Run, of the last Reshape
};

}  // namespace dgms

#endif  // DGMS_TFLITE_CODEBOOK_OP_H_
