#include "ops/copy.h"

#include <cstring>

#include "ops/create_weightless.h"
#include "ops/pieces.h"

namespace dgms {
namespace {

class CopyOp : public WeightlessOp {
 public:
  CopyOp(const CopyParams& params, const PointwiseKernel&) : element_bytes_(ElementBytes(params.type)) {}

  Status Init() { return Status::kOk; }

  Status Reshape(const TensorShape* inputs, int count, TensorShape* output) override {
    ready_ = false;
    if (count != 1 || !inputs[0].IsValid()) return Status::kInvalidArgument;
    *output = inputs[0];
    bytes_ = inputs[0].Count() * element_bytes_;
    ready_ = true;
    return Status::kOk;
  }

  Status Run(const void* const* inputs, void* output, ThreadPool& pool) override {
    if (!ready_) return Status::kNotReady;
    if (inputs[0] == output) return Status::kOk;
    const char* from = static_cast<const char*>(inputs[0]);
    char* to = static_cast<char*>(output);
    RunPieces(bytes_, pool,
              [=](int64_t first, int64_t count) { std::memcpy(to + first, from + first, static_cast<size_t>(count)); });
    return Status::kOk;
  }

  bool RunsInPlace(int input) const override { return ready_ && input == 0; }
  const char* kernel_name() const override { return "copy"; }

 private:
  const int64_t element_bytes_;
  int64_t bytes_ = 0;
  bool ready_ = false;
};

}  // namespace

std::unique_ptr<WeightlessOp> CreateCopy(const CopyParams& params, const KernelSet& kernels, Status* status) {
  return CreateWeightless<CopyOp>(params, kernels, status);
}

}  // namespace dgms
