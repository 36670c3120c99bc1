// A layer of a network as the delegate's op, with random weights.
#ifndef DGMS_BENCH_LAYER_OP_H_
#define DGMS_BENCH_LAYER_OP_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "bench/networks.h"
#include "bench/peak.h"
#include "kernels/codes.h"
#include "ops/conv2d.h"
#include "ops/depthwise_conv2d.h"
#include "ops/fully_connected.h"
#include "ops/int8_conv2d.h"
#include "ops/int8_depthwise_conv2d.h"
#include "ops/int8_fully_connected.h"

namespace dgms::bench {

enum class Activations { kFloat32, kInt8, kDynamicInt8 };

inline const char* ActivationsName(Activations activations) {
  return activations == Activations::kFloat32 ? "float32" : activations == Activations::kInt8 ? "int8" : "dynamic_int8";
}

struct LayerOp {
  // The buffers are large enough for either type of activations.
  std::function<void(const float* input, float* output, ThreadPool& pool)> run;
  std::string kernel;
  size_t packed_bytes = 0;
  const Probe* probe = nullptr;  // for the instructions that the layer's arithmetic is made of; null: none
};

template <typename Op>
LayerOp Wrap(std::unique_ptr<Op> op, const Probe* probe) {
  const std::shared_ptr<Op> shared = std::move(op);
  using Element = typename Op::Element;
  const auto run = [shared](const float* x, float* y, ThreadPool& pool) {
    shared->Run(static_cast<const Element*>(static_cast<const void*>(x)), static_cast<Element*>(static_cast<void*>(y)),
                pool);
  };
  return {run, shared->kernel_name(), shared->packed_bytes(), probe};
}

// The float op, or the int8 one: `arguments` is what its Create takes beside parameters.
template <typename Op, typename Params, typename... Arguments>
LayerOp MakeWindow(const Layer& layer, Params p, Workspace* workspace, const Probe* probe,
                   const Arguments&... arguments) {
  p.kernel_h = p.kernel_w = layer.kernel;
  p.stride_h = p.stride_w = layer.stride;
  p.padding = Padding::kSame;
  p.in_channels = layer.in_channels;
  p.activation = Activation::kRelu6;
  auto op = Op::Create(p, arguments...);
  op->Reshape(1, layer.in_size, layer.in_size, workspace);
  return Wrap(std::move(op), probe);
}

template <typename Op, typename... Arguments>
LayerOp MakeConv(const Layer& layer, const Arguments&... arguments) {
  Conv2DParams p;
  p.out_channels = layer.out_channels;
  return MakeWindow<Op>(layer, p, arguments...);
}

template <typename Op, typename... Arguments>
LayerOp MakeDepthwise(const Layer& layer, const Arguments&... arguments) {
  return MakeWindow<Op>(layer, DepthwiseConv2DParams(), arguments...);
}

template <typename Op, typename... Arguments>
LayerOp MakeDense(const Layer& layer, const Probe* probe, const Arguments&... arguments) {
  auto op = Op::Create({layer.in_channels, layer.out_channels, Activation::kNone}, arguments...);
  op->Reshape(1);
  return Wrap(std::move(op), probe);
}

// With activations that are quantised at run time, depthwise layers are float (tflite/layer_operator.cc).
inline bool ComputesInFloat(const Layer& layer, Activations activations) {
  return activations == Activations::kFloat32 ||
         (activations == Activations::kDynamicInt8 && layer.kind == LayerKind::kDepthwise);
}

inline const Probe* ProbeOf(const Layer& layer, Activations activations, const KernelSet& kernels) {
  const bool depthwise = layer.kind == LayerKind::kDepthwise;
  if (ComputesInFloat(layer, activations)) {
    return ProbeFor(depthwise ? kernels.depthwise->isa : kernels.gemm->isa, Arithmetic::kFloat);
  }
  return depthwise ? ProbeFor(kernels.depthwise_s8->isa, Arithmetic::kDepthwiseInt8)
                   : ProbeFor(kernels.gemm_s8->isa, Arithmetic::kMatrixInt8);
}

inline LayerOp MakeLayerOp(const Layer& layer, Activations activations, int bits, const KernelSet& kernels,
                           Workspace* workspace) {
  static std::mt19937 random(1);
  std::vector<uint8_t> codes(static_cast<size_t>(CodeBytes(layer.Weights())));
  for (uint8_t& two : codes) two = static_cast<uint8_t>(random() % (1u << bits) | random() % (1u << bits) << 4);
  std::uniform_real_distribution<float> uniform(-1, 1);
  const size_t channels = static_cast<size_t>(layer.out_channels);
  std::vector<float> codebook(16), bias(channels), scale(channels);
  for (auto* values : {&codebook, &bias, &scale}) {
    std::generate(values->begin(), values->end(), [&] { return uniform(random); });
  }
  // Maps keep their size from layer to layer: one that overflowed would be quantised to nothing in no time.
  const float unit = 1.7f / std::sqrt(static_cast<float>(layer.Weights() / layer.out_channels));
  for (float& s : scale) s *= unit;
  CodebookFilter filter;
  filter.codes = codes.data();
  filter.count = layer.Weights();
  filter.bits = bits;
  filter.codebooks = codebook.data();
  filter.scale = scale.data();
  const Probe* probe = ProbeOf(layer, activations, kernels);
  const bool depthwise = layer.kind == LayerKind::kDepthwise, dense = layer.kind == LayerKind::kFullyConnected;
  if (ComputesInFloat(layer, activations)) {
    return depthwise ? MakeDepthwise<DepthwiseConv2D>(layer, workspace, probe, filter, bias.data(), kernels)
           : dense   ? MakeDense<dgms::FullyConnected>(layer, probe, filter, bias.data(), kernels)
                     : MakeConv<dgms::Conv2D>(layer, workspace, probe, filter, bias.data(), kernels);
  }
  std::vector<int8_t> int8_codebook(16);
  for (int8_t& value : int8_codebook) value = static_cast<int8_t>(static_cast<int>(random() % 255) - 127);
  Int8CodebookFilter int8_filter;
  static_cast<FilterCodes&>(int8_filter) = filter;
  int8_filter.codebooks = int8_codebook.data();
  const std::vector<double> factor(channels, 0.0003);
  Requantization fixed;
  fixed.factor = factor.data();
  fixed.fixed_point = !dense;
  if (!dense) fixed.output_zero = INT8_MIN;  // of a layer with RELU6: its outputs are the zero point or above
  for (float& s : scale) s /= 127;
  const Dequantization dynamic = {scale.data(), bias.data(), RangeOf(Activation::kRelu)};
  const Int8LayerOutput output =
      activations == Activations::kInt8 ? Int8LayerOutput{&fixed, nullptr} : Int8LayerOutput{nullptr, &dynamic};
  if (depthwise) return MakeDepthwise<Int8DepthwiseConv2D>(layer, workspace, probe, int8_filter, fixed, kernels);
  if (dense) return MakeDense<Int8FullyConnected>(layer, probe, int8_filter, output, kernels);
  return MakeConv<Int8Conv2D>(layer, workspace, probe, int8_filter, output, kernels);
}

}  // namespace dgms::bench

#endif  // DGMS_BENCH_LAYER_OP_H_
