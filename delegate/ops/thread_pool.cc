#include "ops/thread_pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>

#include "kernels/arch.h"
#include "kernels/denormals.h"
#include "ops/memory.h"

#if DGMS_X86_64
#include <xmmintrin.h>
#endif

namespace dgms {
namespace {

// How long a worker waits for the next job before it sleeps: longer than the gap between two of our ops, shorter than
// what another runtime's op would suffer from losing a core.
constexpr std::chrono::microseconds kSpin(50);

inline void Pause() {
#if DGMS_X86_64
  _mm_pause();
#elif DGMS_NEON
  __asm__ volatile("yield");
#endif
}

// Waits without sleeping until ready() or until kSpin is over; returns ready().
template <typename Ready>
bool Spin(const Ready& ready) {
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (ready()) return true;
      Pause();
    }
    // What we wait for may be waiting for this core.
    sched_yield();
  } while (std::chrono::steady_clock::now() < deadline);
  return ready();
}

}  // namespace

// Shared by the caller and the workers. The protocol:
//   - `turn` holds the callers apart. The caller writes the job, opens it, raises `generation` and wakes sleepers;
//   takes
//     items like everybody; closes the job; waits until nobody is inside.
//   - A worker that sees a new generation enters (`inside`), and only then looks whether a job is open. A worker that
//     comes too late finds the job closed and leaves, or finds the next one open and helps there: both are right,
//     because the caller changes the job only while it is closed and nobody is inside who has seen it open.
struct ThreadPool::Shared {
  std::mutex turn;
  void (*call)(const void*, int64_t) = nullptr;
  const void* context = nullptr;
  // Thread i begins with the i-th of equal ranges of items, and helps with the others' when it is through: neighbouring
  // items mostly go to one thread, and the same part of every job to the same thread, so that an op finds in its core's
  // cache what the op before has written there.
  struct alignas(64) Range {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };
  Range ranges[kMaxThreads];
  std::atomic<bool> open{false};
  std::atomic<int> inside{0};

  std::mutex sleep;
  std::condition_variable wake;  // workers: a new generation, or stop
  std::condition_variable done;  // caller: nobody inside
  std::atomic<uint64_t> generation{0};
  std::atomic<int> sleepers{0};
  std::atomic<bool> caller_sleeps{false};
  std::atomic<bool> stop{false};

  const pid_t pid = getpid();
  int workers = 0;
  pthread_t threads[kMaxThreads];
  Shared* next_abandoned = nullptr;  // see ~ThreadPool

  int participants() const { return workers + 1; }

  void ShareItems(int64_t items) {
    const int64_t count = participants(), part = items / count, longer = items % count;
    int64_t begin = 0;
    for (int64_t i = 0; i < count; ++i) {
      ranges[i].next.store(begin, std::memory_order_relaxed);
      begin += part + (i < longer ? 1 : 0);
      ranges[i].end = begin;
    }
  }

  void TakeItems(int self) {
    const int count = participants();
    for (int i = 0; i < count; ++i) {
      Range& range = ranges[self + i < count ? self + i : self + i - count];
      for (int64_t item = range.next.fetch_add(1); item < range.end; item = range.next.fetch_add(1)) {
        call(context, item);
      }
    }
  }

  void Help(int self) {
    inside.fetch_add(1);
    if (open.load()) TakeItems(self);
    if (inside.fetch_sub(1) == 1 && caller_sleeps.load()) {
      std::lock_guard<std::mutex> lock(sleep);
      done.notify_all();
    }
  }

  void WorkerLoop(int self) {
    const ScopedFlushDenormals flush;
    uint64_t seen = 0;
    const auto news = [&] { return stop.load() || generation.load() != seen; };
    while (true) {
      if (!Spin(news)) {
        std::unique_lock<std::mutex> lock(sleep);
        sleepers.fetch_add(1);
        wake.wait(lock, news);
        sleepers.fetch_sub(1);
      }
      if (stop.load()) return;
      seen = generation.load();
      Help(self);
    }
  }

  // What a worker is started with; the caller is participant 0.
  struct Worker {
    Shared* shared;
    int self;
  };
  Worker starts[kMaxThreads];

  static void* WorkerMain(void* argument) {
    const auto* worker = static_cast<const Worker*>(argument);
    worker->shared->WorkerLoop(worker->self);
    return nullptr;
  }

  // Workers take no signals: those belong to the application's threads.
  void Start(int count) {
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (int i = 0; i < count; ++i) starts[i] = {this, i + 1};
    while (workers < count && pthread_create(&threads[workers], nullptr, WorkerMain, &starts[workers]) == 0) {
#if defined(__linux__)
      pthread_setname_np(threads[workers], "dgms-worker");
#endif
      ++workers;
    }
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
  }

  void WakeWorkers() {
    generation.fetch_add(1);
    if (sleepers.load() > 0) {
      std::lock_guard<std::mutex> lock(sleep);
      wake.notify_all();
    }
  }

  void Stop() {
    stop.store(true);
    {
      std::lock_guard<std::mutex> lock(sleep);
      wake.notify_all();
    }
    for (int i = 0; i < workers; ++i) pthread_join(threads[i], nullptr);
  }

  void WaitUntilEmpty() {
    const auto empty = [&] { return inside.load() == 0; };
    if (Spin(empty)) return;
    std::unique_lock<std::mutex> lock(sleep);
    caller_sleeps.store(true);
    done.wait(lock, empty);
    caller_sleeps.store(false);
  }
};

int ThreadPool::DefaultThreads() {
  int cores = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
#if defined(__linux__)
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) cores = CPU_COUNT(&allowed);
#endif
  return std::clamp(cores, 1, 4);
}

std::unique_ptr<ThreadPool> ThreadPool::Create(int num_threads) {
  num_threads = num_threads <= 0 ? DefaultThreads() : std::min(num_threads, kMaxThreads);
  std::unique_ptr<Shared> shared = MakeUnique<Shared>();
  if (shared == nullptr || !AllocationAllowed(sizeof(ThreadPool))) return nullptr;
  ThreadPool* pool = new (std::nothrow) ThreadPool(std::move(shared));
  if (pool == nullptr) return nullptr;
  pool->shared_->Start(num_threads - 1);
  pool->num_threads_ = pool->shared_->workers + 1;
  return std::unique_ptr<ThreadPool>(pool);
}

ThreadPool::ThreadPool(std::unique_ptr<Shared> shared) : shared_(std::move(shared)) {}

ThreadPool::~ThreadPool() {
  if (shared_->pid == getpid()) {
    shared_->Stop();
    return;
  }
  // A forked child: the workers do not exist here, and destroying a mutex or condition that they held or waited for is
  // undefined. Keep the memory, reachable so that leak checkers see why.
  static std::atomic<Shared*> abandoned{nullptr};
  Shared* shared = shared_.release();
  shared->next_abandoned = abandoned.exchange(shared);
}

void ThreadPool::RunErased(int64_t items, void (*call)(const void*, int64_t), const void* context, bool parallel) {
  const ScopedFlushDenormals flush;
  Shared& shared = *shared_;
  // Alone: nothing to share, no workers, a forked child (whose locks are unusable), or another caller has the workers.
  std::unique_lock<std::mutex> turn;
  if (parallel && items > 1 && shared.workers > 0 && shared.pid == getpid()) {
    turn = std::unique_lock(shared.turn, std::try_to_lock);
  }
  if (!turn.owns_lock()) {
    for (int64_t item = 0; item < items; ++item) call(context, item);
    return;
  }
  shared.call = call;
  shared.context = context;
  shared.ShareItems(items);
  shared.open.store(true);
  shared.WakeWorkers();
  shared.TakeItems(0);
  shared.open.store(false);
  shared.WaitUntilEmpty();
}

}  // namespace dgms
