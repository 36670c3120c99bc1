// Requantising in the words of kernel_s8.h, literally, and random columns for kernels that do it.
#ifndef DGMS_TESTS_KERNELS_REQUANTIZE_ORACLE_H_
#define DGMS_TESTS_KERNELS_REQUANTIZE_ORACLE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/guarded_buffer.h"
#include "kernels/kernel_s8.h"
#include "kernels/random_values.h"

namespace dgms::testing {

// Per-column arrays as the contract has them: n entries, and slack that may be read.
template <typename T>
GuardedBuffer<T> Columns(std::vector<T> values) {
  values.resize(values.size() + kColumnSlack);
  return GuardedBuffer<T>(values);
}

inline int32_t Wrapped(int64_t value) { return static_cast<int32_t>(static_cast<uint64_t>(value)); }

// floor(x / 2^shift) without relying on how shifts treat signs.
inline int64_t FloorShift(int64_t x, int shift) {
  const int64_t divisor = int64_t{1} << shift;
  return x / divisor - (x % divisor < 0 ? 1 : 0);
}

inline int32_t ExpectedRequantized(int32_t sum, int32_t bias, int32_t multiplier, int left, int right, int32_t zero,
                                   int32_t min, int32_t max) {
  const int64_t x = Wrapped(int64_t{Wrapped(int64_t{sum} + bias)} * (int64_t{1} << left));
  const int64_t high = FloorShift(x * multiplier + (int64_t{1} << 30), 31);
  const double exact = static_cast<double>(high) / std::pow(2.0, right);
  const int64_t y = Wrapped(static_cast<int64_t>(std::round(exact)) + zero);  // round: halves away from zero
  return static_cast<int32_t>(std::min<int64_t>(max, std::max<int64_t>(min, y)));
}

// The same of NarrowS8.
inline int32_t ExpectedNarrow(int32_t sum, int32_t bias, int32_t multiplier) {
  const int64_t x = FloorShift(int64_t{Wrapped(int64_t{sum} + bias)} * multiplier + (int64_t{1} << 30), 31);
  const int64_t low = static_cast<int16_t>(static_cast<uint16_t>(x));
  const int64_t y = FloorShift(low + (1 << kNarrowBits) / 2, kNarrowBits);
  return static_cast<int32_t>(std::min<int64_t>(255, std::max<int64_t>(0, y)) - 128);
}

// Columns without a left shift, for kernels that make outputs of sums in their registers. Sums of about `usual` become
// outputs of all sizes. Some columns have NarrowS8, too, which give other outputs here: kernels take either.
class SimpleColumns {
 public:
  SimpleColumns(Random& random, int n, int64_t usual)
      : n_(n),
        shift_(ShiftFor(usual)),
        narrow_(random.Int(0, 2) == 0),
        zero_(narrow_ ? -128 : static_cast<int32_t>(std::min<int64_t>(127, random.Int(0, 2) * 128 - 128))),
        range_(narrow_ ? std::pair<int32_t, int32_t>(-128, 127) : RandomRange(random, zero_)),
        bias_(Columns(Values(n, [&] { return random.Int(-usual / 4, usual / 4); }))),
        multiplier_(
            Columns(Values(n, [&] { return random.Int(0, 3) == 0 ? 1 << 30 : random.Int(1 << 30, INT32_MAX); }))),
        left_(Columns(std::vector<int32_t>(n))),
        right_(Columns(Values(n, [&] { return random.Int(std::max(1, shift_ - 3), shift_ + 1); }))),
        narrow_bias_(Columns(Values(n, [&] { return random.Int(INT32_MIN, INT32_MAX); }))),
        narrow_multiplier_(Columns(Values(n, [&] { return random.Int(INT32_MAX >> random.Int(0, 15), INT32_MAX); }))),
        narrow_applies_(Columns(Flags(n, random.Coin(), random))) {}

  RequantizeArgs Args(int rows, int8_t* output, int64_t output_stride) const {
    RequantizeArgs args = {};
    args.rows = rows;
    args.n = n_;
    args.bias = bias_.data();
    args.multiplier = multiplier_.data();
    args.left = left_.data();
    args.right = right_.data();
    args.zero = zero_;
    args.min = range_.first;
    args.max = range_.second;
    args.output = output;
    args.output_row_stride = output_stride;
    if (narrow_) args.narrow = {narrow_bias_.data(), narrow_multiplier_.data(), narrow_applies_.data()};
    return args;
  }
  // Whether this may be the output. `narrows`: the kernel takes NarrowS8 where all columns have it.
  bool Allows(int column, int64_t sum, int32_t output, bool narrows) const {
    const int32_t narrow = ExpectedNarrow(Wrapped(sum), narrow_bias_[column], narrow_multiplier_[column]);
    if (narrows && AllNarrow()) return output == narrow;
    return output == Expected(column, sum) || (narrow_ && narrow_applies_[column] != 0 && output == narrow);
  }
  int32_t Expected(int column, int64_t sum) const {
    return ExpectedRequantized(Wrapped(sum), bias_[column], multiplier_[column], 0, right_[column], zero_, range_.first,
                               range_.second);
  }

 private:
  bool AllNarrow() const { return narrow_ && std::count(narrow_applies_.data(), narrow_applies_.data() + n_, 0) == 0; }
  static std::vector<uint8_t> Flags(int n, bool all, Random& random) {
    std::vector<uint8_t> flags(static_cast<size_t>(n), 1);
    if (!all) flags[static_cast<size_t>(random.Int(0, n - 1))] = 0;
    return flags;
  }
  template <typename Draw>
  static std::vector<int32_t> Values(int n, const Draw& draw) {
    std::vector<int32_t> values(static_cast<size_t>(n));
    for (int32_t& value : values) value = static_cast<int32_t>(draw());
    return values;
  }
  static int ShiftFor(int64_t usual) {
    int shift = 1;
    while (usual >> shift > 100 && shift < 29) ++shift;
    return shift;
  }
  static std::pair<int32_t, int32_t> RandomRange(Random& random, int32_t zero) {
    const std::pair<int32_t, int32_t> ranges[] = {{-128, 127}, {zero, 127}, {-3, 90}, {-128, zero}};
    return ranges[random.Int(0, 3)];
  }

  const int n_, shift_;
  const bool narrow_;
  const int32_t zero_;
  const std::pair<int32_t, int32_t> range_;
  const GuardedBuffer<int32_t> bias_, multiplier_, left_, right_;
  const GuardedBuffer<int32_t> narrow_bias_, narrow_multiplier_;
  const GuardedBuffer<uint8_t> narrow_applies_;
};

}  // namespace dgms::testing

#endif  // DGMS_TESTS_KERNELS_REQUANTIZE_ORACLE_H_
