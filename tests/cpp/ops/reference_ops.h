// The ops, written as plainly as possible in double: what ours are compared with.
#ifndef DGMS_TESTS_OPS_REFERENCE_OPS_H_
#define DGMS_TESTS_OPS_REFERENCE_OPS_H_

#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/guarded_buffer.h"
#include "kernels/random_values.h"
#include "ops/conv2d.h"
#include "ops/depthwise_conv2d.h"
#include "ops/filter.h"

namespace dgms::testing {

// The owner of what a filter views.
struct FilterData {
  std::shared_ptr<GuardedBuffer<float>> values;  // dense; else null, and codes
  std::vector<uint8_t> codes;
  mutable std::shared_ptr<GuardedBuffer<uint8_t>> nibbles;  // the codes as the last View has them
  std::vector<float> codebooks;
  std::vector<float> scale;  // empty: none
  std::vector<float> bias;   // empty: none
  int bits = 4;
  int64_t group_size = 0;

  CodebookFilter View() const {
    CodebookFilter view;
    nibbles = std::make_shared<GuardedBuffer<uint8_t>>(Nibbles(codes));
    view.codes = nibbles->data();
    view.count = static_cast<int64_t>(codes.size());
    view.bits = bits;
    view.codebooks = codebooks.data();
    view.group_size = group_size;
    view.scale = scale.empty() ? nullptr : scale.data();
    return view;
  }
  FloatFilter Source() const {
    if (values == nullptr) return View();
    return DenseFilter{values->data(), values->size()};
  }
  const float* Bias() const { return bias.empty() ? nullptr : bias.data(); }
  double Weight(int64_t index, int64_t channel) const {
    if (values != nullptr) return (*values)[index];
    const int64_t codebook = group_size == 0 ? 0 : channel / group_size;
    const double value = codebooks[(codebook << bits) + codes[index]];
    return scale.empty() ? value : value * scale[channel];
  }

  static FilterData Make(Random& random, int64_t channels, int64_t weights, int bits, int64_t group_size, bool scaled,
                         bool biased) {
    FilterData filter;
    filter.bits = bits;
    filter.group_size = group_size;
    filter.codes = random.Codes(weights, bits);
    const int64_t codebooks = group_size == 0 ? 1 : (channels + group_size - 1) / group_size;
    filter.codebooks = random.Floats(codebooks << bits);
    if (scaled) filter.scale = random.Floats(channels, 0.25f, 4.0f);
    if (biased) filter.bias = random.Floats(channels);
    return filter;
  }
  static FilterData MakeDense(Random& random, int64_t channels, int64_t weights, bool biased) {
    FilterData filter;
    filter.values = std::make_shared<GuardedBuffer<float>>(random.Floats(weights));
    if (biased) filter.bias = random.Floats(channels);
    return filter;
  }
};

struct Expected {
  std::vector<double> value;
  std::vector<double> tolerance;
};

inline double Activate(double value, Activation activation) {
  switch (activation) {
    case Activation::kNone:
      return value;
    case Activation::kRelu:
      return value < 0 ? 0 : value;
    case Activation::kRelu6:
      return value < 0 ? 0 : value > 6 ? 6 : value;
    case Activation::kReluN1To1:
      return value < -1 ? -1 : value > 1 ? 1 : value;
  }
  return value;
}

// TFLite's output size and padding before the first input position, of an input between explicit padding.
inline int64_t ReferenceOutput(int64_t in, int64_t explicit_before, int64_t explicit_after, int64_t kernel,
                               int64_t stride, int64_t dilation, Padding padding, int64_t* before) {
  in += explicit_before + explicit_after;
  const int64_t reach = (kernel - 1) * dilation + 1;
  const int64_t out = padding == Padding::kSame ? (in + stride - 1) / stride : (in + stride - reach) / stride;
  const int64_t missing = (out - 1) * stride + reach - in;
  *before = explicit_before + (missing > 0 ? missing / 2 : 0);
  return out;
}

struct Conv2DCase {
  Conv2DParams params;
  int64_t batch = 1, in_h = 1, in_w = 1;
};

//   residual   as the output, or null
inline Expected ReferenceConv2D(const Conv2DCase& c, const FilterData& filter, const float* input,
                                const float* residual = nullptr) {
  const Conv2DParams& p = c.params;
  int64_t top = 0, left = 0;
  const int64_t out_h =
      ReferenceOutput(c.in_h, p.pads.top, p.pads.bottom, p.kernel_h, p.stride_h, p.dilation_h, p.padding, &top);
  const int64_t out_w =
      ReferenceOutput(c.in_w, p.pads.left, p.pads.right, p.kernel_w, p.stride_w, p.dilation_w, p.padding, &left);
  const int64_t cin = p.in_channels / p.groups, cout = p.out_channels / p.groups;
  Expected expected;
  for (int64_t n = 0; n < c.batch; ++n) {
    for (int64_t oy = 0; oy < out_h; ++oy) {
      for (int64_t ox = 0; ox < out_w; ++ox) {
        for (int64_t o = 0; o < p.out_channels; ++o) {
          double sum = 0, magnitude = 0;
          for (int64_t ky = 0; ky < p.kernel_h; ++ky) {
            for (int64_t kx = 0; kx < p.kernel_w; ++kx) {
              const int64_t y = oy * p.stride_h + ky * p.dilation_h - top;
              const int64_t x = ox * p.stride_w + kx * p.dilation_w - left;
              if (y < 0 || y >= c.in_h || x < 0 || x >= c.in_w) continue;
              for (int64_t i = 0; i < cin; ++i) {
                const double v = input[((n * c.in_h + y) * c.in_w + x) * p.in_channels + o / cout * cin + i];
                const double w = filter.Weight(((o * p.kernel_h + ky) * p.kernel_w + kx) * cin + i, o);
                sum += v * w;
                magnitude += std::abs(v * w);
              }
            }
          }
          const double bias = filter.bias.empty() ? 0.0 : filter.bias[o];
          const double added = residual == nullptr ? 0.0 : residual[expected.value.size()];
          expected.value.push_back(Activate(sum + bias + added, p.activation));
          expected.tolerance.push_back(SumTolerance(magnitude + std::abs(bias) + std::abs(added)));
        }
      }
    }
  }
  return expected;
}

struct DepthwiseCase {
  DepthwiseConv2DParams params;
  int64_t batch = 1, in_h = 1, in_w = 1;
};

inline Expected ReferenceDepthwise(const DepthwiseCase& c, const FilterData& filter, const float* input) {
  const DepthwiseConv2DParams& p = c.params;
  int64_t top = 0, left = 0;
  const int64_t out_h =
      ReferenceOutput(c.in_h, p.pads.top, p.pads.bottom, p.kernel_h, p.stride_h, p.dilation_h, p.padding, &top);
  const int64_t out_w =
      ReferenceOutput(c.in_w, p.pads.left, p.pads.right, p.kernel_w, p.stride_w, p.dilation_w, p.padding, &left);
  const int64_t channels = p.in_channels * p.depth_multiplier;
  Expected expected;
  for (int64_t n = 0; n < c.batch; ++n) {
    for (int64_t oy = 0; oy < out_h; ++oy) {
      for (int64_t ox = 0; ox < out_w; ++ox) {
        for (int64_t o = 0; o < channels; ++o) {
          double sum = 0, magnitude = 0;
          for (int64_t ky = 0; ky < p.kernel_h; ++ky) {
            for (int64_t kx = 0; kx < p.kernel_w; ++kx) {
              const int64_t y = oy * p.stride_h + ky * p.dilation_h - top;
              const int64_t x = ox * p.stride_w + kx * p.dilation_w - left;
              if (y < 0 || y >= c.in_h || x < 0 || x >= c.in_w) continue;
              const double v = input[((n * c.in_h + y) * c.in_w + x) * p.in_channels + o / p.depth_multiplier];
              const double w = filter.Weight((ky * p.kernel_w + kx) * channels + o, o);
              sum += v * w;
              magnitude += std::abs(v * w);
            }
          }
          const double bias = filter.bias.empty() ? 0.0 : filter.bias[o];
          expected.value.push_back(Activate(sum + bias, p.activation));
          expected.tolerance.push_back(SumTolerance(magnitude + std::abs(bias)));
        }
      }
    }
  }
  return expected;
}

}  // namespace dgms::testing

#endif  // DGMS_TESTS_OPS_REFERENCE_OPS_H_
