#include "tflite/operator.h"

namespace dgms {

std::unique_ptr<Operator> Operator::Create(const OpMatch& match, const std::vector<Shape>& input_dims,
                                           const BuildSettings& settings, Status* status) {
  return match.layer() != nullptr ? CreateLayerOperator(match, input_dims[0], settings, status)
                                  : CreateWeightlessOperator(match, input_dims, *settings.kernels, status);
}

std::string ShapeText(const Shape& dims) {
  std::string text = "[";
  for (int dim : dims) text += (text.size() > 1 ? "," : "") + std::to_string(dim);
  return text + "]";
}

}  // namespace dgms
