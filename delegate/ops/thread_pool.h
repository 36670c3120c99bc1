// A small thread pool for the ops of one delegate.
//
// The caller takes part, so a pool of n threads starts n - 1 workers. Workers spin for a moment after a job and then
// sleep: another runtime's pool can have the cores. Several threads may call Run at once: whoever finds the workers
// busy does its job alone. After fork() the child's copy has no workers and does every job inline. Jobs never depend
// on who runs which item, so results are the same in all these cases.
#ifndef DGMS_OPS_THREAD_POOL_H_
#define DGMS_OPS_THREAD_POOL_H_

#include <cstdint>
#include <memory>

namespace dgms {

class ThreadPool {
 public:
  static constexpr int kMaxThreads = 64;

  // min(4, cores that this process may use).
  static int DefaultThreads();

  // A pool of num_threads threads, the caller among them: clamped to 1..kMaxThreads; 0 or less means DefaultThreads().
  // If the system refuses a worker the pool is smaller. Null only if memory runs out.
  static std::unique_ptr<ThreadPool> Create(int num_threads);

  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return num_threads_; }

  // Calls job(item) once for every item in [0, items), from several threads if `parallel` (jobs of a few microseconds
  // are not worth waking anybody), and returns when all are done. Every thread flushes denormals while it works (see
  // kernels/denormals.h); the caller's own mode is restored. `job` must not throw; if it uses the same pool, that inner
  // Run is done by its caller alone.
  template <typename Job>
  void Run(int64_t items, const Job& job, bool parallel = true) {
    RunErased(
        items, [](const void* context, int64_t item) { (*static_cast<const Job*>(context))(item); }, &job, parallel);
  }

 private:
  struct Shared;
  explicit ThreadPool(std::unique_ptr<Shared> shared);
  void RunErased(int64_t items, void (*call)(const void*, int64_t), const void* context, bool parallel);

  std::unique_ptr<Shared> shared_;
  int num_threads_ = 1;
};

}  // namespace dgms

#endif  // DGMS_OPS_THREAD_POOL_H_
