#include "ops/int8_codebook.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/codes.h"

namespace dgms {
namespace {

constexpr int kLargest = 127;
constexpr int kSmallestLargest = 64;        // below half of the range, doubling the scale's integers only gains
constexpr int kSteps = 16;                  // candidates per integer of the largest value
constexpr float kLeastScale = 1.0f / 1024;  // of a channel, in the layer's largest one
constexpr double kDeviations = 4;           // that some of thousands of outputs are away from their mean

int Rounded(double value, double scale) {
  return static_cast<int>(std::clamp(std::nearbyint(value / scale), -double{kLargest}, double{kLargest}));
}

double SquaredError(const std::vector<double>& values, const std::vector<int64_t>& counts, double scale) {
  double error = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double difference = values[i] - Rounded(values[i], scale) * scale;
    error += static_cast<double>(counts[i]) * difference * difference;
  }
  return error;
}

// How often every value of every codebook is used: counts[codebook][code], added to.
void CountCodes(const FilterCodes& filter, int64_t channels, bool channels_last, int64_t* counts) {
  if (filter.group_size > 0 && channels_last) {
    for (int64_t first = 0; first < filter.count; first += channels) {
      for (int64_t c = 0; c < channels; ++c) {
        ++counts[(c / filter.group_size << filter.bits) + CodeAt(filter.codes, first + c)];
      }
    }
    return;
  }
  if (filter.group_size > 0) {
    const int64_t each = filter.count / channels;
    for (int64_t c = 0; c < channels; ++c) {
      int64_t* book = counts + (c / filter.group_size << filter.bits);
      for (int64_t i = c * each; i < (c + 1) * each; ++i) ++book[CodeAt(filter.codes, i)];
    }
    return;
  }
  int64_t bytes[256] = {};  // one book: pairs of codes are counted together
  for (int64_t i = 0; i < filter.count / 2; ++i) ++bytes[filter.codes[i]];
  if (filter.count % 2 != 0) ++counts[CodeAt(filter.codes, filter.count - 1)];
  for (int value = 0; value < 256; ++value) {
    if (bytes[value] == 0) continue;
    counts[value % 16] += bytes[value];
    counts[value / 16] += bytes[value];
  }
}

}  // namespace

float RoundCodebooks(const CodebookFilter& filter, int64_t channels, bool channels_last, int8_t* rounded) {
  const int64_t books = CodebookCount(filter, channels);
  const std::vector<double> values(filter.codebooks, filter.codebooks + (books << filter.bits));
  std::vector<int64_t> counts(values.size(), 0);
  CountCodes(filter, channels, channels_last, counts.data());
  std::fill(rounded, rounded + values.size(), int8_t{0});
  double largest = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    if (counts[i] == 0) continue;
    if (!std::isfinite(values[i])) return 0;
    largest = std::max(largest, std::fabs(values[i]));
  }
  if (largest / kLargest < std::numeric_limits<float>::min()) return 0;
  float best = 0;
  double least = std::numeric_limits<double>::infinity();
  for (int step = kLargest * kSteps; step >= kSmallestLargest * kSteps; --step) {
    const float scale = static_cast<float>(largest * kSteps / step);  // as it will be used
    const double error = SquaredError(values, counts, scale);
    if (error < least) {
      least = error;
      best = scale;
    }
  }
  for (size_t i = 0; i < values.size(); ++i) {
    if (counts[i] > 0) rounded[i] = static_cast<int8_t>(Rounded(values[i], best));
  }
  return best;
}

bool RoundChannels(const DenseFilter& filter, int64_t channels, int8_t* rounded, float* scales) {
  std::fill(scales, scales + channels, 0.0f);
  for (int64_t i = 0; i < filter.count; ++i) {
    if (!std::isfinite(filter.values[i])) return false;
    scales[i % channels] = std::max(scales[i % channels], std::fabs(filter.values[i]) / kLargest);
  }
  const float least = *std::max_element(scales, scales + channels) * kLeastScale;
  if (least < std::numeric_limits<float>::min()) return false;
  for (int64_t c = 0; c < channels; ++c) scales[c] = std::max(scales[c], least);
  for (int64_t i = 0; i < filter.count; ++i) {
    rounded[i] = static_cast<int8_t>(Rounded(double{filter.values[i]}, double{scales[i % channels]}));
  }
  return true;
}

float LargestOutput(const CodebookFilter& filter, int64_t channels, bool channels_last, const float* bias) {
  std::vector<int64_t> counts(static_cast<size_t>(CodebookCount(filter, channels) << filter.bits), 0);
  CountCodes(filter, channels, channels_last, counts.data());
  double squares = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double value = static_cast<double>(filter.codebooks[i]);
    if (counts[i] > 0) squares += static_cast<double>(counts[i]) * value * value;
  }
  const double deviation = std::sqrt(squares / static_cast<double>(channels));
  double largest = 0;
  for (int64_t c = 0; c < channels; ++c) {
    const double scale = filter.scale == nullptr ? 1 : std::fabs(static_cast<double>(filter.scale[c]));
    const double mean = bias == nullptr ? 0 : static_cast<double>(bias[c]);
    largest = std::max(largest, mean + kDeviations * scale * deviation);
  }
  return static_cast<float>(largest);
}

float LargestOutput(const DenseFilter& filter, int64_t channels, const float* bias) {
  double largest = 0;
  for (int64_t c = 0; c < channels; ++c) {
    double squares = 0;
    for (int64_t i = c; i < filter.count; i += channels) squares += double{filter.values[i]} * double{filter.values[i]};
    const double mean = bias == nullptr ? 0 : static_cast<double>(bias[c]);
    largest = std::max(largest, mean + kDeviations * std::sqrt(squares));
  }
  return static_cast<float>(largest);
}

}  // namespace dgms
