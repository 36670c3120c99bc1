// The convolutions of real networks (224x224 input, batch 1): what the benches run.
//
// Counted from the published architectures. Multiply-adds: ResNet-18 1814 M and ResNet-50 (stride in the 3x3, as in
// torchvision's "v1.5") 4089 M with the final layer; MobileNetV2 1.0 300 M (Sandler et al., arXiv 1801.04381, Table 4).
#ifndef DGMS_BENCH_NETWORKS_H_
#define DGMS_BENCH_NETWORKS_H_

#include <cstdint>
#include <string>
#include <vector>

namespace dgms::bench {

enum class LayerKind { kConv, kDepthwise, kFullyConnected };

struct Layer {
  LayerKind kind;
  int in_size;  // height and width
  int in_channels, out_channels;
  int kernel, stride;
  int count;  // how often the network has it

  int OutSize() const { return (in_size + stride - 1) / stride; }  // SAME padding
  int64_t Macs() const {
    const int64_t taps = int64_t{kernel} * kernel * (kind == LayerKind::kDepthwise ? 1 : in_channels);
    return int64_t{OutSize()} * OutSize() * out_channels * taps;
  }
};

inline std::vector<Layer> ResNet18() {
  constexpr LayerKind kConv = LayerKind::kConv;
  return {
      {kConv, 224, 3, 64, 7, 2, 1},   {kConv, 56, 64, 64, 3, 1, 4},
      {kConv, 56, 64, 128, 3, 2, 1},  {kConv, 56, 64, 128, 1, 2, 1},
      {kConv, 28, 128, 128, 3, 1, 3}, {kConv, 28, 128, 256, 3, 2, 1},
      {kConv, 28, 128, 256, 1, 2, 1}, {kConv, 14, 256, 256, 3, 1, 3},
      {kConv, 14, 256, 512, 3, 2, 1}, {kConv, 14, 256, 512, 1, 2, 1},
      {kConv, 7, 512, 512, 3, 1, 3},  {LayerKind::kFullyConnected, 1, 512, 1000, 1, 1, 1},
  };
}

inline std::vector<Layer> ResNet50() {
  constexpr LayerKind kConv = LayerKind::kConv;
  return {
      {kConv, 224, 3, 64, 7, 2, 1},     {kConv, 56, 64, 64, 1, 1, 1},
      {kConv, 56, 64, 64, 3, 1, 3},     {kConv, 56, 64, 256, 1, 1, 4},
      {kConv, 56, 256, 64, 1, 1, 2},    {kConv, 56, 256, 128, 1, 1, 1},
      {kConv, 56, 128, 128, 3, 2, 1},   {kConv, 28, 128, 512, 1, 1, 4},
      {kConv, 56, 256, 512, 1, 2, 1},   {kConv, 28, 512, 128, 1, 1, 3},
      {kConv, 28, 128, 128, 3, 1, 3},   {kConv, 28, 512, 256, 1, 1, 1},
      {kConv, 28, 256, 256, 3, 2, 1},   {kConv, 14, 256, 1024, 1, 1, 6},
      {kConv, 28, 512, 1024, 1, 2, 1},  {kConv, 14, 1024, 256, 1, 1, 5},
      {kConv, 14, 256, 256, 3, 1, 5},   {kConv, 14, 1024, 512, 1, 1, 1},
      {kConv, 14, 512, 512, 3, 2, 1},   {kConv, 7, 512, 2048, 1, 1, 3},
      {kConv, 14, 1024, 2048, 1, 2, 1}, {kConv, 7, 2048, 512, 1, 1, 2},
      {kConv, 7, 512, 512, 3, 1, 2},    {LayerKind::kFullyConnected, 1, 2048, 1000, 1, 1, 1},
  };
}

inline std::vector<Layer> MobileNetV2() {
  constexpr LayerKind kConv = LayerKind::kConv, kDepthwise = LayerKind::kDepthwise;
  std::vector<Layer> layers = {{kConv, 224, 3, 32, 3, 2, 1}};
  struct Stage {
    int expand, channels, repeat, stride;
  };
  int size = 112, in = 32;
  for (const Stage& stage : {Stage{1, 16, 1, 1},
                             {6, 24, 2, 2},
                             {6, 32, 3, 2},
                             {6, 64, 4, 2},
                             {6, 96, 3, 1},
                             {6, 160, 3, 2},
                             {6, 320, 1, 1}}) {
    for (int i = 0; i < stage.repeat; ++i) {
      const int stride = i == 0 ? stage.stride : 1, hidden = in * stage.expand;
      if (stage.expand > 1) layers.push_back({kConv, size, in, hidden, 1, 1, 1});
      layers.push_back({kDepthwise, size, hidden, hidden, 3, stride, 1});
      size /= stride;
      layers.push_back({kConv, size, hidden, stage.channels, 1, 1, 1});
      in = stage.channels;
    }
  }
  layers.push_back({kConv, 7, 320, 1280, 1, 1, 1});
  layers.push_back({LayerKind::kFullyConnected, 1, 1280, 1000, 1, 1, 1});
  return layers;
}

}  // namespace dgms::bench

#endif  // DGMS_BENCH_NETWORKS_H_
