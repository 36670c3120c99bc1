// The layers with weights of real networks (batch 1): what the benches run. The same networks are Keras models in
// dgms_keras/recipes/models, which a test holds against these lists (tests/python/test_bench_networks.py); sources and
// published figures stand there.
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
  int count = 1;  // how often the network has it, one after another in these lists

  int OutSize() const { return (in_size + stride - 1) / stride; }  // SAME padding
  int64_t Weights() const {
    const int64_t taps = int64_t{kernel} * kernel * (kind == LayerKind::kDepthwise ? 1 : in_channels);
    return out_channels * taps;
  }
  // Multiply-adds of direct convolution: an algorithm that needs fewer is credited with these.
  int64_t Macs() const { return int64_t{OutSize()} * OutSize() * Weights(); }
};

inline const char* KindName(LayerKind kind) {
  return kind == LayerKind::kConv ? "conv" : kind == LayerKind::kDepthwise ? "depthwise" : "fully_connected";
}

inline Layer Conv(int size, int in, int out, int kernel, int stride = 1, int count = 1) {
  return {LayerKind::kConv, size, in, out, kernel, stride, count};
}
inline Layer Depthwise(int size, int channels, int kernel, int stride = 1) {
  return {LayerKind::kDepthwise, size, channels, channels, kernel, stride};
}
inline Layer FullyConnected(int in, int out) { return {LayerKind::kFullyConnected, 1, in, out, 1, 1}; }

inline std::vector<Layer> ResNet18() {
  return {
      Conv(224, 3, 64, 7, 2),      Conv(56, 64, 64, 3, 1, 4), Conv(56, 64, 128, 3, 2),    Conv(56, 64, 128, 1, 2),
      Conv(28, 128, 128, 3, 1, 3), Conv(28, 128, 256, 3, 2),  Conv(28, 128, 256, 1, 2),   Conv(14, 256, 256, 3, 1, 3),
      Conv(14, 256, 512, 3, 2),    Conv(14, 256, 512, 1, 2),  Conv(7, 512, 512, 3, 1, 3), FullyConnected(512, 1000),
  };
}

inline std::vector<Layer> ResNet50() {
  return {
      Conv(224, 3, 64, 7, 2),       Conv(56, 64, 64, 1),          Conv(56, 64, 64, 3, 1, 3),
      Conv(56, 64, 256, 1, 1, 4),   Conv(56, 256, 64, 1, 1, 2),   Conv(56, 256, 128, 1),
      Conv(56, 128, 128, 3, 2),     Conv(28, 128, 512, 1, 1, 4),  Conv(56, 256, 512, 1, 2),
      Conv(28, 512, 128, 1, 1, 3),  Conv(28, 128, 128, 3, 1, 3),  Conv(28, 512, 256, 1),
      Conv(28, 256, 256, 3, 2),     Conv(14, 256, 1024, 1, 1, 6), Conv(28, 512, 1024, 1, 2),
      Conv(14, 1024, 256, 1, 1, 5), Conv(14, 256, 256, 3, 1, 5),  Conv(14, 1024, 512, 1),
      Conv(14, 512, 512, 3, 2),     Conv(7, 512, 2048, 1, 1, 3),  Conv(14, 1024, 2048, 1, 2),
      Conv(7, 2048, 512, 1, 1, 2),  Conv(7, 512, 512, 3, 1, 2),   FullyConnected(2048, 1000),
  };
}

// `count` inverted residuals, of which the first has the stride. `squeeze`: the squeeze-and-excitation bottleneck has a
// quarter of a block's input channels.
struct Stage {
  int count, expansion, kernel, channels, stride;
  bool squeeze = false;
};

// A mobile network's stem, blocks and last 1x1 convolution. The last size is left in *size.
inline std::vector<Layer> MobileFeatures(const std::vector<Stage>& stages, int* size) {
  std::vector<Layer> layers = {Conv(*size, 3, 32, 3, 2)};
  int in = 32;
  *size = (*size + 1) / 2;
  for (const Stage& stage : stages) {
    for (int i = 0; i < stage.count; ++i) {
      const int stride = i == 0 ? stage.stride : 1, hidden = in * stage.expansion;
      if (stage.expansion > 1) layers.push_back(Conv(*size, in, hidden, 1));
      layers.push_back(Depthwise(*size, hidden, stage.kernel, stride));
      *size = (*size + stride - 1) / stride;
      if (stage.squeeze) {
        layers.push_back(Conv(1, hidden, in / 4, 1));
        layers.push_back(Conv(1, in / 4, hidden, 1));
      }
      layers.push_back(Conv(*size, hidden, stage.channels, 1));
      in = stage.channels;
    }
  }
  layers.push_back(Conv(*size, in, 1280, 1));
  return layers;
}

inline std::vector<Layer> MobileClassifier(const std::vector<Stage>& stages) {
  int size = 224;
  std::vector<Layer> layers = MobileFeatures(stages, &size);
  layers.push_back(FullyConnected(1280, 1000));
  return layers;
}

inline std::vector<Stage> MobileNetV2Stages() {
  return {{1, 1, 3, 16, 1}, {2, 6, 3, 24, 2},  {3, 6, 3, 32, 2}, {4, 6, 3, 64, 2},
          {3, 6, 3, 96, 1}, {3, 6, 3, 160, 2}, {1, 6, 3, 320, 1}};
}

inline std::vector<Layer> MobileNetV2() { return MobileClassifier(MobileNetV2Stages()); }

inline std::vector<Layer> MnasNetA1() {
  return MobileClassifier({{1, 1, 3, 16, 1},
                           {2, 6, 3, 24, 2},
                           {3, 3, 5, 40, 2, true},
                           {4, 6, 3, 80, 2},
                           {2, 6, 3, 112, 1, true},
                           {3, 6, 5, 160, 2, true},
                           {1, 6, 3, 320, 1}});
}

inline std::vector<Layer> ProxylessNasMobile() {
  return MobileClassifier({{1, 1, 3, 16, 1},
                           {1, 3, 5, 32, 2},
                           {1, 3, 3, 32, 1},
                           {1, 3, 7, 40, 2},
                           {1, 3, 3, 40, 1},
                           {2, 3, 5, 40, 1},
                           {1, 6, 7, 80, 2},
                           {3, 3, 5, 80, 1},
                           {1, 6, 5, 96, 1},
                           {3, 3, 5, 96, 1},
                           {1, 6, 7, 192, 2},
                           {1, 6, 7, 192, 1},
                           {2, 3, 7, 192, 1},
                           {1, 6, 7, 320, 1}});
}

inline std::vector<Layer> SsdLiteMobileNetV2() {
  struct Map {
    int size, channels, anchors;
  };
  constexpr int kClasses = 81;
  int size = 320;
  std::vector<Layer> layers = MobileFeatures(MobileNetV2Stages(), &size);
  std::vector<Map> maps = {{2 * size, 576, 3}, {size, 1280, 6}};
  int in = 1280;
  for (const int channels : {512, 256, 256, 128}) {
    layers.push_back(Conv(size, in, channels / 2, 1));
    layers.push_back(Depthwise(size, channels / 2, 3, 2));
    size = (size + 1) / 2;
    layers.push_back(Conv(size, channels / 2, channels, 1));
    maps.push_back({size, channels, 6});
    in = channels;
  }
  for (const Map& map : maps) {
    for (const int width : {4, kClasses}) {
      layers.push_back(Depthwise(map.size, map.channels, 3));
      layers.push_back(Conv(map.size, map.channels, map.anchors * width, 1));
    }
  }
  return layers;
}

struct Network {
  std::string name;  // as in dgms_keras.recipes.models.NETWORKS
  std::vector<Layer> layers;
};

inline std::vector<Network> Networks() {
  return {{"resnet18", ResNet18()},
          {"resnet50", ResNet50()},
          {"mobilenet_v2", MobileNetV2()},
          {"mnasnet_a1", MnasNetA1()},
          {"proxylessnas_mobile", ProxylessNasMobile()},
          {"ssdlite_mobilenet_v2", SsdLiteMobileNetV2()}};
}

}  // namespace dgms::bench

#endif  // DGMS_BENCH_NETWORKS_H_
