#include "ops/narrow_requantization.h"

#include <algorithm>

#include "kernels/kernel_s8.h"

// Both ways are lines that are rounded down: with s the sum and its bias, m the multiplier and r the right shift, an
// output is at least k, 1..255, where
//   s * m + 2^30 >= (2k - 1) * 2^(30 + r)                      two roundings in a row are one of both offsets
// and with the narrow multiplier n, an offset o and the f bits behind the point that it leaves,
//   s * n + d >= (2k - 1) * 2^(30 + f)                         d = o * n + 2^30 - j * 2^47
// where any integer j will do, as 16 bits keep nothing of 2^47 / 2^31. The first has the least s
//   t(k) = ((2k - 1) * 2^(30 + r) - 2^30 + rest(k)) / m        0 <= rest(k) < m
// for k, and the second has to begin there, too: d is at least (2k - 1) * 2^(30 + f) - t(k) * n, and less than n more.
// What all k leave of this is usually 1/128 of the step from one o to the next: some of the thousands of values that d
// takes with j are in there.
namespace dgms {
namespace {

constexpr int kBits = kNarrowBits;
constexpr int kOutputs = 256;
constexpr int kMaxRight = 10;                  // few layers have larger ones, of which few have a scale
constexpr int64_t kMaxSum = int64_t{1} << 24;  // in magnitude
constexpr int64_t kWrap = int64_t{1} << 47;
constexpr int64_t kHalf = int64_t{1} << 30;

// Four numbers at a time: this is done for every channel of a network before it can run.
constexpr int kLanes = 4;
using Vector = uint32_t __attribute__((vector_size(4 * kLanes)));

Vector Min(Vector a, Vector b) { return a < b ? a : b; }
Vector Max(Vector a, Vector b) { return a < b ? b : a; }

// The values of d that will do: first..end - 1, if any.
struct Range {
  int64_t first, end;

  int64_t width() const { return end - first; }
};

int64_t FloorMod(int64_t x, int64_t modulus) {
  const int64_t rest = x % modulus;
  return rest < 0 ? rest + modulus : rest;
}

// Numbers below `modulus`, each of which is the one before less `step`, modulo that.
class Steps {
 public:
  Steps(int64_t first, int64_t step, int64_t modulus)
      : step_(All(step * kLanes % modulus)), modulus_(All(modulus)), at_(All(0)) {
    for (int i = 0; i < kLanes; ++i, first = first < step ? first - step + modulus : first - step) {
      at_[i] = static_cast<uint32_t>(first);
    }
  }

  Vector at() const { return at_; }
  void Next() { at_ = Min(at_ - step_, at_ - step_ + modulus_); }  // one of the two has wrapped around

 private:
  static Vector All(int64_t x) { return Vector{} + static_cast<uint32_t>(x); }

  const Vector step_, modulus_;
  Vector at_;
};

// Some of those values. With n = m * 2^(f - r) exactly they would be those from (2^30 - least rest) * 2^(f - r) up to
// (2^30 + m - largest rest) * 2^(f - r): n is rounded, and they come nearer by what that makes of the largest t(k).
Range QuickRange(const ChannelScale& channel, int64_t n) {
  const int64_t m = channel.multiplier;
  const int r = channel.right, down = r - kBits;
  const int64_t step = int64_t{1} << (31 + r);
  Steps rests(FloorMod(kHalf + step / 2, m), step % m, m);  // k = 0 at first
  Vector least = rests.at(), largest = rests.at();
  for (int k = kLanes; k < kOutputs; k += kLanes) {
    rests.Next();
    least = Min(least, rests.at());
    largest = Max(largest, rests.at());
  }
  int64_t low = least[0], high = largest[0];
  for (int i = 1; i < kLanes; ++i) {
    low = std::min<int64_t>(low, least[i]);
    high = std::max<int64_t>(high, largest[i]);
  }
  const int64_t most = (int64_t{2 * kOutputs} << (30 + r)) / m + 1;  // above all t(k)
  const int64_t error = (n << down) - m;
  return {((kHalf - low + std::max<int64_t>(0, -error * most)) >> down) + 1,
          (kHalf + m - high - std::max<int64_t>(0, error * most)) >> down};
}

// All of those values, for any n.
class FullRange {
 public:
  explicit FullRange(const ChannelScale& channel) {
    const int64_t m = channel.multiplier, step = int64_t{1} << (31 + channel.right);
    const int64_t whole = step / m, part = step % m;
    int64_t t = (step / 2 - kHalf + m - 1) / m, rest = t * m - (step / 2 - kHalf);
    for (int k = 1; k < kOutputs; ++k, t += whole, rest -= part) {
      if (rest < 0) ++t, rest += m;
      t_[k] = t;
    }
  }

  Range operator()(int64_t n) const {
    Range range = {INT64_MIN, INT64_MAX};
    for (int64_t k = 1; k < kOutputs; ++k) {
      const int64_t end = ((2 * k - 1) << (30 + kBits)) - t_[k] * n;
      range.first = std::max(range.first, end);
      range.end = std::min(range.end, end + n);
    }
    return range;
  }

 private:
  int64_t t_[kOutputs];
};

// j has values from -Tries(n) on, less than Tries(n): no sum leaves 32 bits with their offsets.
int64_t Tries(int64_t n) { return (INT32_MAX - kMaxSum) * n / kWrap - 1; }

// An offset whose d is in the range.
bool FindOffset(const Range& range, int64_t n, int64_t* offset) {
  const int64_t tries = Tries(n);
  const int64_t width = std::min(range.width(), n);
  // Multiples of n are so much above the first d.
  Steps excess(FloorMod(kHalf - range.first + tries * kWrap, n), kWrap % n, n);
  constexpr int kTogether = 4;
  for (int64_t j = -tries; j <= tries - kTogether * kLanes; j += kTogether * kLanes) {
    Vector at[kTogether];
    for (Vector& v : at) {
      v = excess.at();
      excess.Next();
    }
    const Vector least = Min(Min(at[0], at[1]), Min(at[2], at[3]));
    if (std::min(std::min(least[0], least[1]), std::min(least[2], least[3])) >= width) continue;
    for (int i = 0; i < kTogether * kLanes; ++i) {
      const int64_t found = at[i / kLanes][i % kLanes];
      if (found >= width) continue;
      *offset = (range.first - kHalf + (j + i) * kWrap + found) / n;
      return true;
    }
  }
  return false;
}

}  // namespace

bool FindNarrowScale(const ChannelScale& channel, NarrowScale* narrow) {
  const int64_t m = channel.multiplier;
  if (channel.right < kBits || channel.right > kMaxRight || m < kHalf || channel.lowest < -kMaxSum ||
      channel.highest > kMaxSum) {
    return false;
  }
  const int down = channel.right - kBits;
  const int64_t n = (m + (int64_t{1} << down >> 1)) >> down;
  // What 16 bits leave out has to be j alone: d moves numbers by at most 2 from these.
  const int64_t lowest = (channel.lowest * n) >> 31, highest = (channel.highest * n) >> 31;
  if (lowest < INT16_MIN + 2 || highest > INT16_MAX - 2) return false;
  int64_t offset = 0;
  const Range quick = QuickRange(channel, n);
  if (quick.width() * 2 * Tries(n) > 2 * n && FindOffset(quick, n, &offset)) {
    *narrow = {static_cast<int32_t>(offset), static_cast<int32_t>(n)};
    return true;
  }
  // Few come here. Lines that are a little less or more steep may have more room.
  const FullRange full(channel);
  Range best = {0, 0};
  int64_t best_n = n;
  for (const int64_t steeper : {0, -2, 2, -5, 5}) {
    const Range range = full(n + steeper);
    if (n + steeper > INT32_MAX || range.width() <= best.width()) continue;
    best = range;
    best_n = n + steeper;
  }
  if (best.width() <= 0 || !FindOffset(best, best_n, &offset)) return false;
  *narrow = {static_cast<int32_t>(offset), static_cast<int32_t>(best_n)};
  return true;
}

}  // namespace dgms
