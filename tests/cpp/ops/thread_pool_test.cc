// The thread pool: every item exactly once, many callers, fork, denormals, end of life.
#include "ops/thread_pool.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "kernels/arch.h"
#include "kernels/denormals.h"
#include "ops/op_testing.h"

namespace dgms::testing {
namespace {

void ExpectEachItemOnce(ThreadPool& pool, int64_t items) {
  std::vector<std::atomic<int>> done(items);
  pool.Run(items, [&](int64_t item) { done[item].fetch_add(1); });
  for (int64_t i = 0; i < items; ++i) ASSERT_EQ(done[i].load(), 1) << "item " << i << " of " << items;
}

TEST(ThreadPool, EachItemOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    const auto pool = ThreadPool::Create(threads);
    ASSERT_EQ(pool->num_threads(), threads);
    for (const int64_t items : {0, 1, 2, 3, 7, 100, 1000}) ExpectEachItemOnce(*pool, items);
  }
}

// Short jobs one after the other: workers that come late must not disturb the next job.
TEST(ThreadPool, ManyShortJobs) {
  const auto pool = ThreadPool::Create(4);
  std::atomic<int64_t> sum{0};
  for (int job = 0; job < 20000; ++job) {
    const int64_t items = 1 + job % 5;
    pool->Run(items, [&](int64_t item) { sum.fetch_add(item + 1); });
  }
  EXPECT_EQ(sum.load(), 20000 / 5 * (1 + 3 + 6 + 10 + 15));
}

// Long enough between jobs that the workers sleep, and wake again.
TEST(ThreadPool, WorkersSleepAndWake) {
  const auto pool = ThreadPool::Create(3);
  for (int i = 0; i < 20; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    ExpectEachItemOnce(*pool, 50);
  }
}

// Items that wait for each other prove that several threads work at once.
TEST(ThreadPool, ThreadsWorkAtTheSameTime) {
  const auto pool = ThreadPool::Create(3);
  std::atomic<int> arrived{0};
  pool->Run(3, [&](int64_t) {
    arrived.fetch_add(1);
    while (arrived.load() < 3) std::this_thread::yield();
  });
  EXPECT_EQ(arrived.load(), 3);
}

TEST(ThreadPool, SmallJobsStayWithTheCaller) {
  const auto pool = ThreadPool::Create(4);
  const auto caller = std::this_thread::get_id();
  pool->Run(100, [&](int64_t) { EXPECT_EQ(std::this_thread::get_id(), caller); }, /*parallel=*/false);
}

TEST(ThreadPool, OddThreadCounts) {
  EXPECT_EQ(ThreadPool::Create(0)->num_threads(), ThreadPool::DefaultThreads());
  EXPECT_EQ(ThreadPool::Create(-1)->num_threads(), ThreadPool::DefaultThreads());
  EXPECT_GE(ThreadPool::DefaultThreads(), 1);
  EXPECT_LE(ThreadPool::DefaultThreads(), 4);
  const auto many = ThreadPool::Create(1000000);
  EXPECT_LE(many->num_threads(), ThreadPool::kMaxThreads);
  ExpectEachItemOnce(*many, 500);
}

TEST(ThreadPool, SeveralCallersAtOnce) {
  const auto pool = ThreadPool::Create(3);
  std::vector<std::thread> callers;
  std::atomic<int64_t> sum{0};
  for (int c = 0; c < 6; ++c) {
    callers.emplace_back([&] {
      for (int job = 0; job < 500; ++job) {
        int64_t own = 0;
        std::mutex mutex;
        pool->Run(7, [&](int64_t item) {
          std::lock_guard<std::mutex> lock(mutex);
          own += item;
        });
        sum.fetch_add(own);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum.load(), 6 * 500 * 21);
}

TEST(ThreadPool, JobsInsideJobs) {
  const auto pool = ThreadPool::Create(3);
  std::atomic<int> inner{0};
  pool->Run(5, [&](int64_t) { pool->Run(4, [&](int64_t) { inner.fetch_add(1); }); });
  EXPECT_EQ(inner.load(), 20);
}

TEST(ThreadPool, CreateAndDestroyManyTimes) {
  for (int i = 0; i < 300; ++i) {
    const auto pool = ThreadPool::Create(1 + i % 5);
    if (i % 3 == 0) continue;  // never used
    ExpectEachItemOnce(*pool, 10);
  }
}

// In a forked child the workers do not exist; the pool works and ends there all the same.
TEST(ThreadPool, WorksAfterFork) {
  auto pool = ThreadPool::Create(4);
  ExpectEachItemOnce(*pool, 100);
  for (int i = 0; i < 5; ++i) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      alarm(20);  // a hang ends the child with a signal
      const pthread_t caller = pthread_self();
      bool right = true;
      int64_t sum = 0;
      pool->Run(100, [&](int64_t item) {
        right = right && pthread_equal(pthread_self(), caller);
        sum += item;
      });
      pool.reset();
      std::atomic<int> count{50};
#if !defined(__SANITIZE_THREAD__)              // which cannot start threads in a forked child
      const auto own = ThreadPool::Create(3);  // a new pool has workers of its own
      count = 0;
      own->Run(50, [&](int64_t) { count.fetch_add(1); });
#endif
      _exit(right && sum == 4950 && count.load() == 50 ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "child's status " << status;
    ExpectEachItemOnce(*pool, 100);  // the parent's is unharmed
  }
}

// Signals are for the application's own threads.
TEST(ThreadPool, WorkersBlockSignals) {
  const auto pool = ThreadPool::Create(2);
  const pthread_t caller = pthread_self();
  std::atomic<int> arrived{0};
  std::atomic<bool> blocked{false};
  pool->Run(2, [&](int64_t) {
    arrived.fetch_add(1);
    while (arrived.load() < 2) std::this_thread::yield();  // one item each
    if (pthread_equal(pthread_self(), caller)) return;
    sigset_t set;
    pthread_sigmask(SIG_SETMASK, nullptr, &set);
    blocked = sigismember(&set, SIGINT) == 1 && sigismember(&set, SIGTERM) == 1;
  });
  EXPECT_TRUE(blocked.load());
  sigset_t set;
  pthread_sigmask(SIG_SETMASK, nullptr, &set);
  EXPECT_EQ(sigismember(&set, SIGINT), 0) << "the caller's own mask was changed";
}

// Half of the smallest normal number is a denormal: it survives in the caller's usual mode, and nowhere inside a job.
TEST(ThreadPool, FlushesDenormalsAndRestoresTheCallersMode) {
  const auto halved = [] {
    volatile float x = std::numeric_limits<float>::min();
    volatile float half = 0.5f;
    return x * half;
  };
  const bool kept_outside = halved() != 0.0f;
  for (const int threads : {1, 4}) {
    const auto pool = ThreadPool::Create(threads);
    std::atomic<int> flushed{0};
    std::atomic<int> arrived{0};
    pool->Run(threads, [&](int64_t) {
      arrived.fetch_add(1);
      while (arrived.load() < threads) std::this_thread::yield();
      flushed.fetch_add(halved() == 0.0f);
    });
#if DGMS_X86_64 || DGMS_NEON
    EXPECT_EQ(flushed.load(), threads);
#endif
    EXPECT_EQ(halved() != 0.0f, kept_outside) << "the caller's mode was not restored";
  }
  // A caller who flushes already goes on flushing.
  const ScopedFlushDenormals outer;
  ThreadPool::Create(1)->Run(1, [](int64_t) {});
#if DGMS_X86_64 || DGMS_NEON
  EXPECT_EQ(halved(), 0.0f);
#endif
}

TEST(ThreadPool, EveryFailedAllocationIsReported) {
  for (int64_t nth = 0; nth < 2; ++nth) {
    const FailAllocation fail(nth);
    EXPECT_EQ(ThreadPool::Create(2), nullptr);
  }
  const FailAllocation fail(2);
  EXPECT_NE(ThreadPool::Create(2), nullptr);
  EXPECT_EQ(fail.allocations(), 2);
}

}  // namespace
}  // namespace dgms::testing
