// Reproducible random inputs, and the error that a float computation may have.
#ifndef DGMS_TESTS_KERNELS_RANDOM_VALUES_H_
#define DGMS_TESTS_KERNELS_RANDOM_VALUES_H_

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

namespace dgms::testing {

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}

  int64_t Int(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(engine_); }
  bool Coin() { return Int(0, 1) == 1; }
  std::vector<float> Floats(int64_t count, float low = -1.0f, float high = 1.0f) {
    std::uniform_real_distribution<float> distribution(low, high);
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = distribution(engine_);
    return values;
  }
  std::vector<uint8_t> Codes(int64_t count, int bits) {
    std::vector<uint8_t> codes(static_cast<size_t>(count));
    for (uint8_t& code : codes) code = static_cast<uint8_t>(Int(0, (1 << bits) - 1));
    return codes;
  }

 private:
  std::mt19937_64 engine_;
};

// Codes as the library has them, two per byte (kernels/codes.h).
inline std::vector<uint8_t> Nibbles(const std::vector<uint8_t>& codes) {
  std::vector<uint8_t> bytes((codes.size() + 1) / 2, 0);
  for (size_t i = 0; i < codes.size(); ++i) bytes[i / 2] = static_cast<uint8_t>(bytes[i / 2] | codes[i] << (i % 2 * 4));
  return bytes;
}

inline constexpr double kEpsilon = std::numeric_limits<float>::epsilon();

// How far a float sum may be from the exact one: 4 eps sum|w x|. Each of the n additions of a chain rounds by at most
// eps/2 of the partial sum, and with signs that differ the partial sums stay near sqrt(n) terms and the roundings
// cancel each other: the error is then about 0.3 eps sum|w x| whatever n is, and 4 eps is beyond chance. (Only sums of
// hundreds of terms of one sign could come near it; blocks of K are summed from zero, which keeps those small as well.)
// The last term covers sums so small that a denormal is flushed.
inline double SumTolerance(double sum_of_magnitudes) {
  return 4 * kEpsilon * sum_of_magnitudes + 4 * std::numeric_limits<float>::min();
}

}  // namespace dgms::testing

#endif  // DGMS_TESTS_KERNELS_RANDOM_VALUES_H_
