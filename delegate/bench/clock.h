// What the benches measure time with.
#ifndef DGMS_BENCH_CLOCK_H_
#define DGMS_BENCH_CLOCK_H_

#include <time.h>

#include <chrono>

namespace dgms::bench {

inline double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The time that this thread has computed, for work on one thread: other programs' time slices do not count.
inline double ThreadSeconds() {
  timespec now = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

}  // namespace dgms::bench

#endif  // DGMS_BENCH_CLOCK_H_
