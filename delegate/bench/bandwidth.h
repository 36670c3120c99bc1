// How fast one core reads: from memory, and from its second-level cache.
#ifndef DGMS_BENCH_BANDWIDTH_H_
#define DGMS_BENCH_BANDWIDTH_H_

#include <cstdint>
#include <cstring>
#include <vector>

#include "bench/clock.h"

namespace dgms::bench {

struct Bandwidth {
  const char* name;
  int64_t bytes;  // of the buffer that is read again and again
  double bytes_per_second;
};

// Reads a buffer of so many bytes, in order; the best of some passes of one thread. Plain code: the compiler's vectors
// are narrower than a kernel's, which does not matter for memory, and makes what is said of a cache a lower bound.
inline double ReadBytesPerSecond(int64_t bytes) {
  constexpr int64_t kWords = 64;  // of a step
  constexpr double kSeconds = 0.2;
  std::vector<uint64_t> buffer(static_cast<size_t>(bytes) / sizeof(uint64_t) / kWords * kWords, 1);
  const int64_t count = static_cast<int64_t>(buffer.size());
  double best = 0;
  uint64_t total = 0;
  const double begin = Seconds();
  while (Seconds() - begin < kSeconds) {
    // A small buffer is read several times between two looks at the clock.
    const int64_t passes = 1 + (int64_t{1} << 22) / bytes;
    const double start = ThreadSeconds();
    for (int64_t pass = 0; pass < passes; ++pass) {
      uint64_t sums[kWords] = {};
      for (int64_t i = 0; i < count; i += kWords) {
        for (int64_t j = 0; j < kWords; ++j) sums[j] += buffer[static_cast<size_t>(i + j)];
      }
      for (const uint64_t sum : sums) total += sum;
    }
    const double rate = static_cast<double>(passes * count * 8) / (ThreadSeconds() - start);
    best = rate > best ? rate : best;
  }
  __asm__ volatile("" : : "r"(total));  // the sums count as used
  return best;
}

inline std::vector<Bandwidth> MeasureBandwidths() {
  std::vector<Bandwidth> found = {{"memory", int64_t{256} << 20, 0}, {"cache of 512 KiB", int64_t{512} << 10, 0}};
  for (Bandwidth& each : found) each.bytes_per_second = ReadBytesPerSecond(each.bytes);
  return found;
}

}  // namespace dgms::bench

#endif  // DGMS_BENCH_BANDWIDTH_H_
