// The operators without weights behind the face of Operator.
#include <utility>

#include "ops/copy.h"
#include "tflite/log.h"
#include "tflite/operator.h"

namespace dgms {
namespace {

bool ToTensorShape(const Shape& dims, TensorShape* shape) {
  if (dims.size() > TensorShape::kMaxRank) return false;
  *shape = TensorShape();
  shape->rank = static_cast<int>(dims.size());
  for (size_t i = 0; i < dims.size(); ++i) shape->dims[i] = dims[i];
  return shape->IsValid();
}

std::string ShapeTexts(const std::vector<Shape>& all) {
  std::string text;
  for (const Shape& dims : all) text += (text.empty() ? "" : ", ") + ShapeText(dims);
  return text;
}

class WeightlessOperator : public Operator {
 public:
  explicit WeightlessOperator(std::unique_ptr<WeightlessOp> op) : op_(std::move(op)) {}

  std::string Reshape(const std::vector<Shape>& input_dims, Workspace*, Shape* output_dims) override {
    std::vector<TensorShape> inputs(input_dims.size());
    bool valid = true;
    for (size_t i = 0; i < inputs.size(); ++i) valid = valid && ToTensorShape(input_dims[i], &inputs[i]);
    TensorShape output;
    const Status status =
        valid ? op_->Reshape(inputs.data(), static_cast<int>(inputs.size()), &output) : Status::kInvalidArgument;
    if (status != Status::kOk) return Format("input %s: %s", ShapeTexts(input_dims).c_str(), StatusText(status));
    output_dims->clear();
    for (int i = 0; i < output.rank; ++i) output_dims->push_back(static_cast<int>(output.dims[i]));
    return "";
  }

  Status Run(const void* const* inputs, void* output, ThreadPool& pool) override {
    return op_->Run(inputs, output, pool);
  }
  bool RunsInPlace(int input) const override { return op_->RunsInPlace(input); }
  const char* kernel_name() const override { return op_->kernel_name(); }

 protected:
  std::unique_ptr<WeightlessOp> op_;
};

// RESHAPE and the like: the op copies bytes, if it must, and the shape is our own business.
class ReshapeOperator : public WeightlessOperator {
 public:
  ReshapeOperator(std::unique_ptr<WeightlessOp> op, ReshapeMatch match)
      : WeightlessOperator(std::move(op)), match_(std::move(match)) {}

  std::string Reshape(const std::vector<Shape>& input_dims, Workspace* workspace, Shape* output_dims) override {
    Shape same;
    const std::string why = WeightlessOperator::Reshape(input_dims, workspace, &same);
    if (!why.empty()) return why;
    return ReshapedDims(match_, input_dims[0], output_dims)
               ? ""
               : Format("input %s: it cannot have the new shape", ShapeTexts(input_dims).c_str());
  }
  bool copies() const override { return true; }

 private:
  ReshapeMatch match_;
};

// One name for all, so that the parameters choose.
std::unique_ptr<WeightlessOp> Create(const BinaryParams& params, const KernelSet& kernels, Status* status) {
  return CreateBinary(params, kernels, status);
}
std::unique_ptr<WeightlessOp> Create(const UnaryParams& params, const KernelSet& kernels, Status* status) {
  return CreateUnary(params, kernels, status);
}
std::unique_ptr<WeightlessOp> Create(const Pool2DParams& params, const KernelSet& kernels, Status* status) {
  return CreatePool2D(params, kernels, status);
}
std::unique_ptr<WeightlessOp> Create(const MeanParams& params, const KernelSet& kernels, Status* status) {
  return CreateMean(params, kernels, status);
}
std::unique_ptr<WeightlessOp> Create(const PadParams& params, const KernelSet& kernels, Status* status) {
  return CreatePad(params, kernels, status);
}
std::unique_ptr<WeightlessOp> Create(const ConcatenationParams& params, const KernelSet& kernels, Status* status) {
  return CreateConcatenation(params, kernels, status);
}
std::unique_ptr<WeightlessOp> Create(const SoftmaxParams& params, const KernelSet& kernels, Status* status) {
  return CreateSoftmax(params, kernels, status);
}
std::unique_ptr<WeightlessOp> Create(const QuantizeParams& params, const KernelSet& kernels, Status* status) {
  return CreateQuantize(params, kernels, status);
}
std::unique_ptr<WeightlessOp> Create(const ReshapeMatch& match, const KernelSet& kernels, Status* status) {
  return CreateCopy({match.type}, kernels, status);
}

}  // namespace

std::unique_ptr<Operator> CreateWeightlessOperator(const OpMatch& match, const std::vector<Shape>& input_dims,
                                                   const KernelSet& kernels, Status* status) {
  const WeightlessMatch& parameters = *match.weightless();
  std::unique_ptr<WeightlessOp> op =
      std::visit([&](const auto& params) { return Create(params, kernels, status); }, parameters);
  if (op == nullptr) return nullptr;
  std::unique_ptr<Operator> result;
  if (const auto* reshape = std::get_if<ReshapeMatch>(&parameters)) {
    result = std::make_unique<ReshapeOperator>(std::move(op), *reshape);
  } else {
    result = std::make_unique<WeightlessOperator>(std::move(op));
  }
  // What the shapes as they are declared do not allow is left to the runtime: some forms of broadcasting, say.
  Shape output_dims;
  if (result->Reshape(input_dims, nullptr, &output_dims).empty()) return result;
  *status = Status::kInvalidArgument;
  return nullptr;
}

}  // namespace dgms
