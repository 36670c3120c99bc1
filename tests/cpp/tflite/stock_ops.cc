// The stock kernels of the mock runtime: what TFLite's do, as far as decode chains and their consumers need it, in the
// plainest way, with sums in double (which are exact for int8). Everything unusual is refused.
#include <algorithm>
#include <climits>
#include <cmath>
#include <type_traits>

#include "ops/int8_oracle.h"
#include "tflite/mock_runtime.h"

namespace dgms::testing {
namespace {

using Dims = std::vector<int>;

bool Valid(MockRuntime* runtime, int id) { return id >= 0 && id < runtime->tensor_count(); }

int64_t Count(const Dims& dims) {
  int64_t count = 1;
  for (int dim : dims) {
    if (dim < 0 || count > (int64_t{1} << 28)) return -1;  // far above what these tests use
    count *= dim;
  }
  return count > (int64_t{1} << 28) ? -1 : count;
}

template <typename T>
const T* Data(MockRuntime* runtime, int id) {
  const tfl::Tensor& tensor = runtime->tensor(id);
  const int64_t count = Count(runtime->Dims(id));
  const bool fits = tensor.data != nullptr && count >= 0 && static_cast<size_t>(count) * sizeof(T) <= tensor.bytes;
  return fits && tensor.type == TypeOf<T>() ? static_cast<const T*>(tensor.data) : nullptr;
}

int Input(MockRuntime* runtime, int node, int i) {
  const tfl::IntArray* inputs = runtime->node(node).inputs;
  return inputs != nullptr && i < inputs->size ? inputs->data()[i] : tfl::kOptionalTensor;
}

template <typename Params>
const Params* ParamsOf(MockRuntime* runtime, int node) {
  return static_cast<const Params*>(runtime->node(node).builtin_data);
}

float Activate(float value, tfl::Activation activation) {
  switch (activation) {
    case tfl::Activation::kRelu:
      return std::max(value, 0.0F);
    case tfl::Activation::kRelu6:
      return std::min(std::max(value, 0.0F), 6.0F);
    case tfl::Activation::kReluN1To1:
      return std::min(std::max(value, -1.0F), 1.0F);
    default:
      return value;
  }
}

// What becomes of a sum (without its bias) of an operator. `T` is the type of activations and filter.
template <typename T>
class Finisher;

template <>
class Finisher<float> {
 public:
  std::string Read(MockRuntime* runtime, int node, int, int, tfl::Activation activation) {
    const int bias = Input(runtime, node, 2);
    if (bias != tfl::kOptionalTensor) {
      bias_ = Data<float>(runtime, bias);
      if (bias_ == nullptr) return "no bias";
    }
    activation_ = activation;
    return "";
  }
  double input_zero() const { return 0; }
  float operator()(double sum, int channel) const {
    return Activate(static_cast<float>(bias_ == nullptr ? sum : sum + bias_[channel]), activation_);
  }

 private:
  const float* bias_ = nullptr;
  tfl::Activation activation_ = tfl::Activation::kNone;
};

const tfl::AffineQuantization* AffineOf(MockRuntime* runtime, int id) {
  const tfl::Quantization& quantization = runtime->tensor(id).quantization;
  return quantization.type == tfl::kAffineQuantization
             ? static_cast<const tfl::AffineQuantization*>(quantization.params)
             : nullptr;
}

template <>
class Finisher<int8_t> {
 public:
  std::string Read(MockRuntime* runtime, int node, int channels, int axis, tfl::Activation activation) {
    const int input = Input(runtime, node, 0), filter = Input(runtime, node, 1), bias = Input(runtime, node, 2);
    const int output = runtime->node(node).outputs->data()[0];
    if (bias != tfl::kOptionalTensor) {
      bias_ = Data<int32_t>(runtime, bias);
      if (bias_ == nullptr) return "no bias";
    }
    const tfl::AffineQuantization* affine = AffineOf(runtime, filter);
    if (AffineOf(runtime, input) == nullptr || AffineOf(runtime, output) == nullptr || affine == nullptr) {
      return "no quantisation";
    }
    const int count = affine->scale->size;
    if (count != 1 && (count != channels || affine->quantized_dimension != axis)) return "scales";
    const tfl::QuantizationParams& x = runtime->tensor(input).params;
    const tfl::QuantizationParams& y = runtime->tensor(output).params;
    input_zero_ = x.zero_point;
    output_zero_ = y.zero_point;
    for (int c = 0; c < channels; ++c) {
      const double product = static_cast<double>(x.scale) * affine->scale->data()[count == 1 ? 0 : c];
      factors_.push_back(product / static_cast<double>(y.scale));
    }
    fixed_point_ = runtime->registration(node).builtin_code != tfl::kBuiltinFullyConnected;
    const auto end = [&y](float value) {
      return y.zero_point + static_cast<int>(std::clamp(std::round(value / y.scale), -1e9F, 1e9F));
    };
    if (activation == tfl::Activation::kRelu || activation == tfl::Activation::kRelu6) min_ = std::max(min_, end(0));
    if (activation == tfl::Activation::kReluN1To1) min_ = std::max(min_, end(-1)), max_ = std::min(max_, end(1));
    if (activation == tfl::Activation::kRelu6) max_ = std::min(max_, end(6));
    return "";
  }
  double input_zero() const { return input_zero_; }
  int8_t operator()(double sum, int channel) const {
    const int64_t biased = static_cast<int64_t>(sum) + (bias_ == nullptr ? 0 : bias_[channel]);
    const int64_t y =
        fixed_point_ ? FixedPointProduct(biased, factors_[channel]) : DoubleProduct(biased, factors_[channel]);
    return ClampInt8(y + output_zero_, min_, max_);
  }

 private:
  const int32_t* bias_ = nullptr;
  int input_zero_ = 0, output_zero_ = 0, min_ = -128, max_ = 127;
  bool fixed_point_ = true;
  std::vector<double> factors_;
};

struct Window {
  tfl::Padding padding = tfl::Padding::kUnknown;
  int stride[2] = {0, 0}, dilation[2] = {0, 0};
  tfl::Activation activation = tfl::Activation::kNone;
  int64_t output[2] = {0, 0}, before[2] = {0, 0};

  template <typename Params>
  bool Read(const Params* params) {
    if (params == nullptr) return false;
    padding = params->padding;
    stride[0] = params->stride_height, stride[1] = params->stride_width;
    dilation[0] = params->dilation_height, dilation[1] = params->dilation_width;
    activation = params->activation;
    return (padding == tfl::Padding::kSame || padding == tfl::Padding::kValid) && stride[0] > 0 && stride[1] > 0 &&
           dilation[0] > 0 && dilation[1] > 0;
  }

  bool Plan(const Dims& input, const Dims& filter) {
    for (int a = 0; a < 2; ++a) {
      const int64_t size = input[1 + a], effective = (filter[1 + a] - 1) * static_cast<int64_t>(dilation[a]) + 1;
      if (size <= 0 || filter[1 + a] <= 0) return false;
      output[a] = padding == tfl::Padding::kSame ? (size + stride[a] - 1) / stride[a]
                                                 : (size + stride[a] - effective) / stride[a];
      if (output[a] < 0) return false;
      before[a] = std::max<int64_t>((output[a] - 1) * stride[a] + effective - size, 0) / 2;
    }
    return true;
  }
};

bool ReadWindow(MockRuntime* runtime, int node, Window* window) {
  return runtime->registration(node).builtin_code == tfl::kBuiltinConv2d
             ? window->Read(ParamsOf<tfl::ConvParams>(runtime, node))
             : window->Read(ParamsOf<tfl::DepthwiseConvParams>(runtime, node));
}

std::string ConvShape(MockRuntime* runtime, int node, Dims* dims) {
  const Dims input = runtime->Dims(Input(runtime, node, 0)), filter = runtime->Dims(Input(runtime, node, 1));
  const bool depthwise = runtime->registration(node).builtin_code == tfl::kBuiltinDepthwiseConv2d;
  if (input.size() != 4 || filter.size() != 4) return "conv: rank";
  if (input[3] <= 0 || filter[3] <= 0 || filter[0] <= 0) return "conv: channels";
  if (depthwise ? filter[0] != 1 || filter[3] % input[3] != 0
                : input[3] % filter[3] != 0 || filter[0] % (input[3] / filter[3]) != 0) {
    return "conv: channels";
  }
  const int bias = Input(runtime, node, 2);
  if (bias == tfl::kOptionalTensor ? runtime->stock_has_bias : !Valid(runtime, bias)) return "conv: bias";
  const int channels = filter[depthwise ? 3 : 0];
  if (bias != tfl::kOptionalTensor && Count(runtime->Dims(bias)) != channels) return "conv: bias";
  Window window;
  if (!ReadWindow(runtime, node, &window) || !window.Plan(input, filter)) return "conv: window";
  *dims = {input[0], static_cast<int>(window.output[0]), static_cast<int>(window.output[1]), channels};
  return "";
}

template <typename T>
std::string ConvRun(MockRuntime* runtime, int node, T* output) {
  const int input_id = Input(runtime, node, 0), filter_id = Input(runtime, node, 1);
  const Dims in = runtime->Dims(input_id), f = runtime->Dims(filter_id);
  const bool depthwise = runtime->registration(node).builtin_code == tfl::kBuiltinDepthwiseConv2d;
  const auto* x = Data<T>(runtime, input_id);
  const auto* w = Data<T>(runtime, filter_id);
  if (x == nullptr || w == nullptr) return "conv: data";
  Window window;
  if (!ReadWindow(runtime, node, &window) || !window.Plan(in, f)) return "conv: window";
  const int channels = f[depthwise ? 3 : 0];
  Finisher<T> finish;
  const std::string why = finish.Read(runtime, node, channels, depthwise ? 3 : 0, window.activation);
  if (!why.empty()) return "conv: " + why;
  const int group_in = depthwise ? 1 : f[3];
  const int group_out = channels / (in[3] / group_in);
  for (int n = 0; n < in[0]; ++n) {
    for (int64_t oy = 0; oy < window.output[0]; ++oy) {
      for (int64_t ox = 0; ox < window.output[1]; ++ox) {
        for (int o = 0; o < channels; ++o) {
          double sum = 0;
          for (int ky = 0; ky < f[1]; ++ky) {
            for (int kx = 0; kx < f[2]; ++kx) {
              const int64_t y = oy * window.stride[0] - window.before[0] + int64_t{ky} * window.dilation[0];
              const int64_t c = ox * window.stride[1] - window.before[1] + int64_t{kx} * window.dilation[1];
              if (y < 0 || y >= in[1] || c < 0 || c >= in[2]) continue;
              for (int i = 0; i < group_in; ++i) {
                const int64_t at = ((n * int64_t{in[1]} + y) * in[2] + c) * in[3] + o / group_out * group_in + i;
                const int64_t weight = depthwise ? (int64_t{ky} * f[2] + kx) * channels + o
                                                 : ((int64_t{o} * f[1] + ky) * f[2] + kx) * f[3] + i;
                sum += (static_cast<double>(x[at]) - finish.input_zero()) * w[weight];
              }
            }
          }
          *output++ = finish(sum, o);
        }
      }
    }
  }
  return "";
}

std::string FullyConnectedShape(MockRuntime* runtime, int node, Dims* dims) {
  const Dims input = runtime->Dims(Input(runtime, node, 0)), filter = runtime->Dims(Input(runtime, node, 1));
  const auto* params = ParamsOf<tfl::FullyConnectedParams>(runtime, node);
  if (params == nullptr || params->weights_format != 0 || filter.size() != 2 || filter[1] <= 0) return "fc: filter";
  const int64_t total = Count(input);
  if (total < 0 || total % filter[1] != 0) return "fc: input";
  const int bias = Input(runtime, node, 2);
  if (bias != tfl::kOptionalTensor && (!Valid(runtime, bias) || Count(runtime->Dims(bias)) != filter[0])) {
    return "fc: bias";
  }
  if (params->keep_num_dims != 0) {
    if (input.empty() || input.back() != filter[1]) return "fc: input";
    *dims = input;
    dims->back() = filter[0];
  } else {
    *dims = {static_cast<int>(total / filter[1]), filter[0]};
  }
  return "";
}

template <typename T>
std::string FullyConnectedRun(MockRuntime* runtime, int node, T* output) {
  const Dims f = runtime->Dims(Input(runtime, node, 1));
  const auto* x = Data<T>(runtime, Input(runtime, node, 0));
  const auto* w = Data<T>(runtime, Input(runtime, node, 1));
  if (x == nullptr || w == nullptr) return "fc: data";
  const tfl::Activation activation = ParamsOf<tfl::FullyConnectedParams>(runtime, node)->activation;
  Finisher<T> finish;
  const std::string why = finish.Read(runtime, node, f[0], 0, activation);
  if (!why.empty()) return "fc: " + why;
  const int64_t rows = Count(runtime->Dims(Input(runtime, node, 0))) / f[1];
  for (int64_t n = 0; n < rows; ++n) {
    for (int o = 0; o < f[0]; ++o) {
      double sum = 0;
      for (int i = 0; i < f[1]; ++i) {
        sum += (static_cast<double>(x[n * f[1] + i]) - finish.input_zero()) * w[int64_t{o} * f[1] + i];
      }
      *output++ = finish(sum, o);
    }
  }
  return "";
}

// ADD and MUL with broadcasting of equal ranks.
std::string BinaryShape(MockRuntime* runtime, int node, Dims* dims) {
  const auto* params = ParamsOf<tfl::ElementwiseParams>(runtime, node);
  if (params == nullptr) return "binary: params";
  const Dims a = runtime->Dims(Input(runtime, node, 0)), b = runtime->Dims(Input(runtime, node, 1));
  if (a.size() != b.size()) return "binary: rank";
  dims->clear();
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] != b[i] && a[i] != 1 && b[i] != 1) return "binary: shapes";
    dims->push_back(a[i] == 1 ? b[i] : a[i]);
  }
  return "";
}

template <typename T>
std::string BinaryRun(MockRuntime* runtime, int node, const Dims& dims, T* output) {
  const int ids[2] = {Input(runtime, node, 0), Input(runtime, node, 1)};
  const T* data[2] = {Data<T>(runtime, ids[0]), Data<T>(runtime, ids[1])};
  if (data[0] == nullptr || data[1] == nullptr) return "binary: data";
  const bool add = runtime->registration(node).builtin_code == tfl::kBuiltinAdd;
  const tfl::Activation activation = ParamsOf<tfl::ElementwiseParams>(runtime, node)->activation;
  const int64_t count = Count(dims);
  for (int64_t n = 0; n < count; ++n) {
    T values[2];
    for (int k = 0; k < 2; ++k) {
      const Dims own = runtime->Dims(ids[k]);
      int64_t rest = n, at = 0, stride = 1;
      for (size_t d = dims.size(); d-- > 0;) {
        if (own[d] != 1) at += rest % dims[d] * stride;
        rest /= dims[d];
        stride *= own[d];
      }
      values[k] = data[k][at];
    }
    if constexpr (std::is_same_v<T, float>) {
      output[n] = Activate(add ? values[0] + values[1] : values[0] * values[1], activation);
    } else {
      const auto a = static_cast<uint32_t>(values[0]), b = static_cast<uint32_t>(values[1]);
      output[n] = static_cast<T>(add ? a + b : a * b);
    }
  }
  return "";
}

std::string ReshapeShape(MockRuntime* runtime, int node, Dims* dims) {
  const int shape = Input(runtime, node, 1);
  const auto* params = ParamsOf<tfl::ReshapeParams>(runtime, node);
  if (Valid(runtime, shape)) {
    const auto* values = Data<int32_t>(runtime, shape);
    if (values == nullptr || runtime->Dims(shape).size() != 1) return "reshape: shape";
    dims->assign(values, values + runtime->Dims(shape)[0]);
  } else if (params != nullptr && params->num_dimensions >= 0 && params->num_dimensions <= 8) {
    dims->assign(params->shape, params->shape + params->num_dimensions);
  } else {
    return "reshape: shape";
  }
  if (Count(*dims) < 0 || Count(*dims) != Count(runtime->Dims(Input(runtime, node, 0)))) return "reshape: size";
  return "";
}

std::string GatherShape(MockRuntime* runtime, int node, Dims* dims) {
  const auto* params = ParamsOf<tfl::GatherParams>(runtime, node);
  const Dims data = runtime->Dims(Input(runtime, node, 0)), index = runtime->Dims(Input(runtime, node, 1));
  if (params == nullptr || params->axis != 0 || params->batch_dims != 0 || data.empty()) return "gather: axis";
  *dims = index;
  dims->insert(dims->end(), data.begin() + 1, data.end());
  return "";
}

template <typename T>
std::string GatherRun(MockRuntime* runtime, int node, T* output) {
  const Dims dims = runtime->Dims(Input(runtime, node, 0));
  const T* data = Data<T>(runtime, Input(runtime, node, 0));
  const auto* index = Data<int32_t>(runtime, Input(runtime, node, 1));
  if (data == nullptr || index == nullptr || dims.empty()) return "gather: data";
  const int64_t row = dims[0] == 0 ? 0 : Count(dims) / dims[0];
  const int64_t count = Count(runtime->Dims(Input(runtime, node, 1)));
  for (int64_t n = 0; n < count; ++n) {
    if (index[n] < 0 || index[n] >= dims[0]) return "gather: index";
    std::copy_n(data + index[n] * row, row, output + n * row);
  }
  return "";
}

std::string SliceShape(MockRuntime* runtime, int node, Dims* dims) {
  const int begin_id = Input(runtime, node, 1), size_id = Input(runtime, node, 2);
  if (!Valid(runtime, begin_id) || !Valid(runtime, size_id)) return "slice: inputs";
  const auto* begin = Data<int32_t>(runtime, begin_id);
  const auto* size = Data<int32_t>(runtime, size_id);
  const Dims input = runtime->Dims(Input(runtime, node, 0));
  if (begin == nullptr || size == nullptr || input.size() != 1 || Count(runtime->Dims(begin_id)) != 1 ||
      Count(runtime->Dims(size_id)) != 1) {
    return "slice: rank";
  }
  const int64_t length = *size == -1 ? input[0] - int64_t{*begin} : *size;
  if (*begin < 0 || length < 0 || *begin + length > input[0]) return "slice: range";
  *dims = {static_cast<int>(length)};
  return "";
}

// A node whose output is of type T.
template <typename T>
std::string RunAs(MockRuntime* runtime, int node, const Dims& dims, T* output) {
  const int builtin = runtime->registration(node).builtin_code;
  switch (builtin) {
    case tfl::kBuiltinConv2d:
    case tfl::kBuiltinDepthwiseConv2d:
      if constexpr (!std::is_same_v<T, int32_t>) return ConvRun(runtime, node, output);
      return "conv: type";
    case tfl::kBuiltinFullyConnected:
      if constexpr (!std::is_same_v<T, int32_t>) return FullyConnectedRun(runtime, node, output);
      return "fc: type";
    case tfl::kBuiltinAdd:
    case tfl::kBuiltinMul:
      if constexpr (!std::is_same_v<T, int8_t>) return BinaryRun(runtime, node, dims, output);
      return "binary: type";
    case tfl::kBuiltinGather:
      return GatherRun(runtime, node, output);
    case tfl::kBuiltinCast: {
      const auto* bytes = Data<uint8_t>(runtime, Input(runtime, node, 0));
      if (bytes == nullptr || !std::is_same_v<T, int32_t>) return "cast: type";
      std::copy_n(bytes, Count(dims), output);
      return "";
    }
    case tfl::kBuiltinReshape:
    case tfl::kBuiltinSlice: {
      const auto* from = Data<T>(runtime, Input(runtime, node, 0));
      if (from == nullptr) return "copy: data";
      if (builtin == tfl::kBuiltinSlice) from += *Data<int32_t>(runtime, Input(runtime, node, 1));
      std::copy_n(from, Count(dims), output);
      return "";
    }
    default:
      return "an unknown operator";
  }
}

}  // namespace

std::string StockShape(MockRuntime* runtime, int node, std::vector<int>* dims) {
  const int builtin = runtime->registration(node).builtin_code;
  const tfl::IntArray* inputs = runtime->node(node).inputs;
  const tfl::IntArray* outputs = runtime->node(node).outputs;
  if (inputs == nullptr || outputs == nullptr || outputs->size != 1 || !Valid(runtime, outputs->data()[0])) {
    return "a node without inputs or with several outputs";
  }
  const int required = builtin == tfl::kBuiltinCast || builtin == tfl::kBuiltinReshape ? 1 : 2;
  for (int i = 0; i < required; ++i) {
    if (!Valid(runtime, Input(runtime, node, i))) return "a missing input";
    if (runtime->tensor(Input(runtime, node, i)).dims == nullptr) return "an input without a shape";
  }
  switch (builtin) {
    case tfl::kBuiltinConv2d:
    case tfl::kBuiltinDepthwiseConv2d:
      return ConvShape(runtime, node, dims);
    case tfl::kBuiltinFullyConnected:
      return FullyConnectedShape(runtime, node, dims);
    case tfl::kBuiltinAdd:
    case tfl::kBuiltinMul:
      return BinaryShape(runtime, node, dims);
    case tfl::kBuiltinReshape:
      return ReshapeShape(runtime, node, dims);
    case tfl::kBuiltinGather:
      return GatherShape(runtime, node, dims);
    case tfl::kBuiltinSlice:
      return SliceShape(runtime, node, dims);
    case tfl::kBuiltinCast:
      *dims = runtime->Dims(Input(runtime, node, 0));
      return Count(*dims) < 0 ? "cast: size" : "";
    default:
      return "an unknown operator";
  }
}

std::string StockRun(MockRuntime* runtime, int node) {
  const int output_id = runtime->node(node).outputs->data()[0];
  const tfl::Tensor& output = runtime->tensor(output_id);
  const Dims dims = runtime->Dims(output_id);
  Dims shape;  // several writers of one tensor, say, may have changed what was prepared
  if (!StockShape(runtime, node, &shape).empty() || shape != dims) return "a shape that has changed";
  if (Count(dims) == 0) return "";
  if (static_cast<size_t>(Count(dims)) * BytesOf(output.type) > output.bytes) return "an output that is too small";
  if (output.data == nullptr) return "an output without memory";
  switch (output.type) {
    case tfl::Type::kFloat32:
      return RunAs(runtime, node, dims, static_cast<float*>(output.data));
    case tfl::Type::kInt32:
      return RunAs(runtime, node, dims, static_cast<int32_t*>(output.data));
    case tfl::Type::kInt8:
      return RunAs(runtime, node, dims, static_cast<int8_t*>(output.data));
    default:
      return "an output of an unknown type";
  }
}

}  // namespace dgms::testing
