// What the tests of Int8Conv2D on float activations share.
#ifndef DGMS_TESTS_OPS_DYNAMIC_CONV2D_TESTING_H_
#define DGMS_TESTS_OPS_DYNAMIC_CONV2D_TESTING_H_

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "ops/conv2d_testing.h"

namespace dgms::testing {

// A layer's integer weights, as the oracle takes them (its sums in double are exact) and as ours does.
struct DynamicLayer {
  FilterData filter;  // codebooks of whole numbers, no scale, no bias
  std::vector<int8_t> codebooks;
  std::vector<float> scale, bias;

  static DynamicLayer Make(Random& random, const Conv2DParams& p, int64_t group_size) {
    DynamicLayer layer;
    layer.filter = FilterData::Make(random, p.out_channels, WeightCount(p), 4, group_size, false, false);
    for (float& value : layer.filter.codebooks) {
      layer.codebooks.push_back(static_cast<int8_t>(random.Int(-127, 127)));
      value = layer.codebooks.back();
    }
    layer.scale = random.Floats(p.out_channels, -0.01f, 0.01f);
    layer.bias = random.Floats(p.out_channels);
    return layer;
  }
  Int8CodebookFilter View() const {
    Int8CodebookFilter view;
    static_cast<FilterCodes&>(view) = filter.View();
    view.codebooks = codebooks.data();
    return view;
  }
};

// x[0..count-1] as the integers that it is quantised to, less their zero point; returns the scale.
inline float Quantized(const float* x, int64_t count, float* integers) {
  double low = 0, high = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(x[i])) {
      std::fill(integers, integers + count, 0.0f);
      return std::numeric_limits<float>::quiet_NaN();
    }
    low = std::min<double>(low, x[i]);
    high = std::max<double>(high, x[i]);
  }
  const float scale = static_cast<float>((high - low) / 255.0);
  const double zero = scale > 0 ? std::nearbyint(-128.0 - low / static_cast<double>(scale)) : 0;
  const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
  for (int64_t i = 0; i < count; ++i) {
    const volatile float product = x[i] * inverse;
    const double q = std::clamp(std::nearbyint(static_cast<double>(product)) + zero, -128.0, 127.0);
    integers[i] = static_cast<float>(q - zero);
  }
  return scale;
}

}  // namespace dgms::testing

#endif  // DGMS_TESTS_OPS_DYNAMIC_CONV2D_TESTING_H_
