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

std::unique_ptr<WeightlessOp> Create(const BinaryParams& params, const KernelSet& kernels, Status* status) {
  return CreateBinary(params, kernels, status);
}
template <typename Params>
std::unique_ptr<WeightlessOp> Create(const Params&, const KernelSet&, Status* status) {
  *status = Status::kInvalidArgument;
  return nullptr;
}

}  // namespace

std::unique_ptr<Operator> CreateWeightlessOperator(const OpMatch& match, const std::vector<Shape>& input_dims,
                                                   const KernelSet& kernels, Status* status) {
  std::unique_ptr<Operator> result;
  if (const auto* reshape = std::get_if<ReshapeMatch>(match.weightless())) {
    const ElementType type = match.input_type == tfl::Type::kInt8 ? ElementType::kInt8 : ElementType::kFloat32;
    std::unique_ptr<WeightlessOp> op = CreateCopy({type}, kernels, status);
    if (op != nullptr) result = std::make_unique<ReshapeOperator>(std::move(op), *reshape);
  } else {
    std::unique_ptr<WeightlessOp> op =
        std::visit([&](const auto& params) { return Create(params, kernels, status); }, *match.weightless());
    if (op != nullptr) result = std::make_unique<WeightlessOperator>(std::move(op));
  }
  // What the shapes as they are declared do not allow is left to the runtime: some forms of broadcasting, say.
  Shape output_dims;
  if (result != nullptr && !result->Reshape(input_dims, nullptr, &output_dims).empty()) {
    *status = Status::kInvalidArgument;
    result = nullptr;
  }
  return result;
}

}  // namespace dgms
