
#include <climits>
#include <type_traits>
#include <utility>

#include "ops/conv2d.h"
#include "ops/depthwise_conv2d.h"
#include "ops/fully_connected.h"
#include "ops/int8_conv2d.h"
#include "ops/int8_depthwise_conv2d.h"
#include "ops/int8_fully_connected.h"
#include "ops/memory.h"
#include "tflite/log.h"
#include "tflite/operator.h"
#include "tflite/rounded_layer.h"
#include "tflite/widened_filter.h"

namespace dgms {
namespace {

// The number of elements of a shape whose dims may be 0 but not negative; false on overflow.
bool Count(const std::vector<int>& dims, size_t from, size_t to, int64_t* count) {
  int64_t product = 1;
  for (size_t i = from; i < to; ++i) {
    if (!MultiplyChecked(product, dims[i], &product)) return false;
  }
  *count = product;
  return true;
}

// TFLite's size of an output with padding VALID; below 0 where the window is much larger than the input.
int64_t ValidSize(int64_t input, int64_t kernel, int64_t stride, int64_t dilation) {
  return (input + stride - ((kernel - 1) * dilation + 1)) / stride;
}

// What CONV_2D and DEPTHWISE_CONV_2D share: a window over NHWC maps.
template <typename Op>
class WindowOp : public Operator {
 public:
  WindowOp(std::unique_ptr<Op> op, const LayerMatch& match, int in_channels, int threads)
      : op_(std::move(op)), in_channels_(in_channels), out_channels_(match.out_channels()), threads_(threads) {
    const std::vector<int>& filter = match.filter.shape;
    kernel_h_ = filter[1];
    kernel_w_ = filter[2];
    stride_h_ = match.stride_h;
    stride_w_ = match.stride_w;
    dilation_h_ = match.dilation_h;
    dilation_w_ = match.dilation_w;
    valid_ = match.padding == Padding::kValid;
    pads_h_ = match.pads.top + match.pads.bottom;
    pads_w_ = match.pads.left + match.pads.right;
    has_activation_ = match.activation != Activation::kNone;
    macs_per_output_ = static_cast<int64_t>(filter[1]) * filter[2];
    if (match.kind == LayerKind::kConv2D)
      macs_per_output_ *= filter[3];  // below 2^63: their product is the filter's size
  }

  bool Fits(const std::vector<Shape>& input_dims) const override {
    return input_dims[0].size() == 4 && input_dims[0][3] == in_channels_;
  }

  std::string Reshape(const std::vector<Shape>& all_dims, Workspace* workspace, Shape* output_dims) override {
    const Shape& input_dims = all_dims[0];
    if (input_dims.size() != 4 || input_dims[0] < 0 || input_dims[1] <= 0 || input_dims[2] <= 0 ||
        input_dims[3] != in_channels_) {
      return Format("the input must be [batch, height, width, %d], height and width > 0. Received: %s", in_channels_,
                    ShapeText(input_dims).c_str());
    }
    macs_ = 0;
    has_outputs_ = false;
    const int64_t valid_h = ValidSize(input_dims[1] + pads_h_, kernel_h_, stride_h_, dilation_h_);
    const int64_t valid_w = ValidSize(input_dims[2] + pads_w_, kernel_w_, stride_w_, dilation_w_);
    if (valid_ && valid_h >= 0 && valid_w >= 0 && (valid_h == 0 || valid_w == 0)) {
      // Stock kernels then have an output without elements, and Run will not be called.
      *output_dims = {input_dims[0], static_cast<int>(valid_h), static_cast<int>(valid_w), out_channels_};
      return "";
    }
    const Status status = ReshapeOp(input_dims, workspace);
    if (status != Status::kOk) return Format("input %s: %s", ShapeText(input_dims).c_str(), StatusText(status));
    if (op_->output_h() < 0 || op_->output_h() > INT_MAX || op_->output_w() < 0 || op_->output_w() > INT_MAX) {
      return Format("input %s: the output is too large", ShapeText(input_dims).c_str());
    }
    *output_dims = {input_dims[0], static_cast<int>(op_->output_h()), static_cast<int>(op_->output_w()), out_channels_};
    int64_t outputs = 0;
    if (Count(*output_dims, 0, 4, &outputs)) MultiplyChecked(outputs, macs_per_output_, &macs_);
    has_outputs_ = true;
    return "";
  }

  Status Run(const void* const* inputs, void* output, ThreadPool& pool) override {
    using Element = typename Op::Element;
    return op_->Run(static_cast<const Element*>(inputs[0]), static_cast<Element*>(output), pool);
  }

  bool AddsResidual() const override {
    if constexpr (std::is_same_v<Op, Int8Conv2D>) return op_->float_output() && !has_activation_;
    return std::is_same_v<Op, Conv2D> && !has_activation_;
  }
  Status RunAdding(const void* const* inputs, const void* residual, Activation activation, void* output,
                   ThreadPool& pool) override {
    if constexpr (std::is_same_v<Op, Conv2D> || std::is_same_v<Op, Int8Conv2D>) {
      using Element = typename Op::Element;
      op_->SetActivation(activation);
      const Status status = op_->Run(static_cast<const Element*>(inputs[0]), static_cast<const float*>(residual),
                                     static_cast<Element*>(output), pool);
      op_->SetActivation(Activation::kNone);
      return status;
    } else {
      return Operator::RunAdding(inputs, residual, activation, output, pool);
    }
  }

  const LineOp* line_op() const override { return has_outputs_ ? op_->line_op() : nullptr; }

  size_t packed_bytes() const override { return op_->packed_bytes(); }
  const char* kernel_name() const override { return op_->kernel_name(); }
  int64_t macs() const override { return macs_; }

 private:
  Status ReshapeOp(const Shape& dims, Workspace* workspace) {
    if constexpr (std::is_same_v<Op, Conv2D>) return op_->Reshape(dims[0], dims[1], dims[2], workspace, threads_);
    return op_->Reshape(dims[0], dims[1], dims[2], workspace);
  }

  std::unique_ptr<Op> op_;
  int in_channels_;
  int out_channels_;
  int threads_;
  int kernel_h_, kernel_w_, stride_h_, stride_w_, dilation_h_, dilation_w_;
  bool valid_;               // padding VALID
  int64_t pads_h_, pads_w_;  // of a PAD that it does itself, both sides
  bool has_activation_;
  bool has_outputs_ = false;  // of the last Reshape
  int64_t macs_per_output_ = 0;
  int64_t macs_ = 0;
};

template <typename Op>
class FullyConnectedOp : public Operator {
 public:
  FullyConnectedOp(std::unique_ptr<Op> op, const LayerMatch& match)
      : op_(std::move(op)),
        in_channels_(match.filter.shape[1]),
        out_channels_(match.filter.shape[0]),
        keep_num_dims_(match.keep_num_dims) {}

  // All dimensions in front are the batch; without keep_num_dims the input may be cut into rows anywhere.
  std::string Reshape(const std::vector<Shape>& all_dims, Workspace*, Shape* output_dims) override {
    const Shape& input_dims = all_dims[0];
    int64_t total = 0;
    for (int dim : input_dims) {
      if (dim < 0) return "the input has a negative dimension. Received: " + ShapeText(input_dims);
    }
    if (!Count(input_dims, 0, input_dims.size(), &total))
      return "the input is too large. Received: " + ShapeText(input_dims);
    if (keep_num_dims_ ? input_dims.empty() || input_dims.back() != in_channels_ : total % in_channels_ != 0) {
      return Format("the input must have rows of %d values. Received: %s", in_channels_, ShapeText(input_dims).c_str());
    }
    const int64_t batch = total / in_channels_;
    if (batch > INT_MAX) return "the input is too large. Received: " + ShapeText(input_dims);
    const Status status = op_->Reshape(batch);
    if (status != Status::kOk) return Format("input %s: %s", ShapeText(input_dims).c_str(), StatusText(status));
    if (keep_num_dims_) {
      *output_dims = input_dims;
      output_dims->back() = out_channels_;
    } else {
      *output_dims = {static_cast<int>(batch), out_channels_};
    }
    macs_ = 0;
    MultiplyChecked(total, out_channels_, &macs_);
    return "";
  }

  Status Run(const void* const* inputs, void* output, ThreadPool& pool) override {
    using Element = typename Op::Element;
    return op_->Run(static_cast<const Element*>(inputs[0]), static_cast<Element*>(output), pool);
  }
  size_t packed_bytes() const override { return op_->packed_bytes(); }
  const char* kernel_name() const override { return op_->kernel_name(); }
  int64_t macs() const override { return macs_; }

 private:
  std::unique_ptr<Op> op_;
  int in_channels_;
  int out_channels_;
  bool keep_num_dims_;
  int64_t macs_ = 0;
};

void SetWindow(const LayerMatch& match, int in_channels, WindowParams* params) {
  params->kernel_h = match.filter.shape[1];
  params->kernel_w = match.filter.shape[2];
  params->stride_h = match.stride_h;
  params->stride_w = match.stride_w;
  params->dilation_h = match.dilation_h;
  params->dilation_w = match.dilation_w;
  params->padding = match.padding;
  params->pads = match.pads;
  params->in_channels = in_channels;
  params->activation = match.activation;
}

// The parameters of each kind of operator; false if the input's channels do not fit the filter.
bool SetParams(const LayerMatch& match, const Shape& input_dims, Conv2DParams* params) {
  const std::vector<int>& shape = match.filter.shape;  // OHWI
  const int channels = input_dims.size() == 4 ? input_dims[3] : 0;
  if (channels <= 0 || channels % shape[3] != 0 || shape[0] % (channels / shape[3]) != 0) return false;
  SetWindow(match, channels, params);
  params->groups = channels / shape[3];
  params->out_channels = shape[0];
  return true;
}

bool SetParams(const LayerMatch& match, const Shape& input_dims, DepthwiseConv2DParams* params) {
  const std::vector<int>& shape = match.filter.shape;  // 1HWC
  const int channels = input_dims.size() == 4 ? input_dims[3] : 0;
  if (channels <= 0 || shape[3] % channels != 0) return false;
  SetWindow(match, channels, params);
  params->depth_multiplier = shape[3] / channels;
  return true;
}

FullyConnectedParams ParamsOf(const LayerMatch& match) {
  return {match.filter.shape[1], match.filter.shape[0], match.activation};
}

template <typename Op, typename Params, typename... Arguments>
std::unique_ptr<Operator> CreateWindow(const LayerMatch& match, const Shape& input_dims, Params params,
                                       const BuildSettings& settings, Status* status, const Arguments&... arguments) {
  if (!SetParams(match, input_dims, &params)) return nullptr;
  if constexpr (std::is_same_v<Op, Conv2D>) params.cache_filters = settings.cache_filters;
  std::unique_ptr<Op> op = Op::Create(params, arguments..., *settings.kernels, status);
  if (op == nullptr) return nullptr;
  if constexpr (std::is_same_v<Op, Conv2D>) {
    // Now, so that it counts in what is reported of the claim. The shape may be another in the end, and be refused
    // then.
    if (settings.cache_filters && op->CacheFilters(input_dims[1], input_dims[2]) == Status::kOutOfMemory) {
      *status = Status::kOutOfMemory;
      return nullptr;
    }
  }
  return std::make_unique<WindowOp<Op>>(std::move(op), match, input_dims[3], settings.threads);
}

template <typename Op, typename... Arguments>
std::unique_ptr<Operator> CreateFullyConnected(const LayerMatch& match, const BuildSettings& settings, Status* status,
                                               const Arguments&... arguments) {
  std::unique_ptr<Op> op = Op::Create(ParamsOf(match), arguments..., *settings.kernels, status);
  return op == nullptr ? nullptr : std::make_unique<FullyConnectedOp<Op>>(std::move(op), match);
}

std::unique_ptr<Operator> CreateFloat(const LayerMatch& match, const Shape& input_dims, const FloatFilter& filter,
                                      const BuildSettings& settings, Status* status) {
  const float* bias = match.bias;
  switch (match.kind) {
    case LayerKind::kConv2D:
      return CreateWindow<Conv2D>(match, input_dims, Conv2DParams(), settings, status, filter, bias);
    case LayerKind::kDepthwiseConv2D:
      return CreateWindow<DepthwiseConv2D>(match, input_dims, DepthwiseConv2DParams(), settings, status, filter, bias);
    case LayerKind::kFullyConnected:
      return CreateFullyConnected<FullyConnected>(match, settings, status, filter, bias);
  }
  return nullptr;
}

std::unique_ptr<Operator> CreateInt8(const LayerMatch& match, const Shape& input_dims, const Int8Filter& filter,
                                     const Int8LayerOutput& output, const BuildSettings& settings, Status* status) {
  switch (match.kind) {
    case LayerKind::kConv2D:
      return CreateWindow<Int8Conv2D>(match, input_dims, Conv2DParams(), settings, status, filter, output);
    case LayerKind::kDepthwiseConv2D:
      if (output.int8 == nullptr) return nullptr;
      return CreateWindow<Int8DepthwiseConv2D>(match, input_dims, DepthwiseConv2DParams(), settings, status, filter,
                                               *output.int8);
    case LayerKind::kFullyConnected:
      return CreateFullyConnected<Int8FullyConnected>(match, settings, status, filter, output);
  }
  return nullptr;
}

Requantization RequantizationOf(const LayerMatch& match) {
  const QuantizationMatch& q = match.quantization;
  Requantization result;
  result.input_zero = q.input_zero;
  result.bias = q.bias.empty() ? nullptr : q.bias.data();
  result.factor = q.factor.data();
  result.fixed_point = match.kind != LayerKind::kFullyConnected;
  result.output_zero = q.output_zero;
  result.min = q.min;
  result.max = q.max;
  return result;
}

// Depthwise layers stay float where they would have to quantise their input: they hardly compute, so that to read a map
// for its range and then to quantise it takes more time than float arithmetic does.
bool RunsInInt8(const LayerMatch& match, const BuildSettings& settings) {
  if (!settings.dynamic_int8 || match.stays_float) return false;
  return match.kind != LayerKind::kDepthwiseConv2D || (match.int8_input && match.int8_output);
}

// A layer whose weights are rounded to int8: its activations are quantised as it runs, or int8 maps.
std::unique_ptr<Operator> CreateRounded(const LayerMatch& match, const Shape& input_dims, const Int8Filter& filter,
                                        const RoundedLayer& rounded, const BuildSettings& settings, Status* status) {
  Requantization integers;
  Dequantization dynamic;
  const Int8LayerOutput output = rounded.Output(&integers, &dynamic);
  return CreateInt8(match, input_dims, filter, output, settings, status);
}

// A plain filter is read where it is, and stays float, but for a depthwise layer's between int8 maps.
std::unique_ptr<Operator> CreatePlain(const OpMatch& match, const Shape& input_dims, const BuildSettings& settings,
                                      Status* status) {
  const LayerMatch& layer = *match.layer();
  if (!layer.quantization.factor.empty()) {
    const Int8DenseFilter filter = {static_cast<const int8_t*>(layer.filter.values), layer.filter.count};
    const Requantization requantization = RequantizationOf(layer);
    return CreateInt8(layer, input_dims, filter, {&requantization, nullptr}, settings, status);
  }
  const DenseFilter filter = {static_cast<const float*>(layer.filter.values), layer.filter.count};
  if (layer.int8_input || layer.int8_output) {
    RoundedLayer rounded(layer);
    if (!RunsInInt8(layer, settings) || !rounded.Init(filter)) return nullptr;
    return CreateRounded(layer, input_dims, Int8DenseFilter{rounded.values(), filter.count}, rounded, settings, status);
  }
  return CreateFloat(layer, input_dims, filter, settings, status);
}

}  // namespace

bool PaysInInt8(const LayerMatch& depthwise, const KernelSet& kernels) {
  DepthwiseConv2DParams params;
  SetWindow(depthwise, depthwise.out_channels(), &params);
  return Int8DepthwiseConv2D::IsFast(params, kernels);
}

std::unique_ptr<Operator> CreateLayerOperator(const OpMatch& match, const Shape& input_dims,
                                              const BuildSettings& settings, Status* status) {
  *status = Status::kInvalidArgument;
  const LayerMatch& layer = *match.layer();
  if (layer.filter.values != nullptr) return CreatePlain(match, input_dims, settings, status);
  WidenedFilter widened;
  const Status widening = widened.Init(layer.filter);
  if (widening != Status::kOk) {
    *status = widening;
    return nullptr;
  }
  if (!layer.quantization.factor.empty()) {
    const Requantization requantization = RequantizationOf(layer);
    return CreateInt8(layer, input_dims, widened.AsInt8(layer.filter.int8_codebooks.data()), {&requantization, nullptr},
                      settings, status);
  }
  const CodebookFilter filter = widened.AsFloat();
  RoundedLayer rounded(layer);
  if (RunsInInt8(layer, settings) && rounded.Init(filter)) {
    return CreateRounded(layer, input_dims, widened.AsInt8(rounded.values()), rounded, settings, status);
  }
  if (layer.int8_input || layer.int8_output) return nullptr;  // it was promised to be int8
  return CreateFloat(layer, input_dims, filter, settings, status);
}

}  // namespace dgms
