// Memory of the ops: aligned, never throwing, and refusable by a test.
#ifndef DGMS_OPS_MEMORY_H_
#define DGMS_OPS_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

namespace dgms {

// Asked before every allocation of the ops; false makes it fail. Null (the default) allows all. For tests: set it while
// nothing runs.
using AllocationHook = bool (*)(size_t bytes);
void SetAllocationHook(AllocationHook hook);
bool AllocationAllowed(size_t bytes);

// 64-byte aligned memory, or null. `bytes` may be 0.
void* AllocateAligned(size_t bytes);
void FreeAligned(void* memory);

// An object, or null if memory runs out.
template <typename T, typename... Args>
std::unique_ptr<T> MakeUnique(Args&&... args) {
  if (!AllocationAllowed(sizeof(T))) return nullptr;
  return std::unique_ptr<T>(new (std::nothrow) T(std::forward<Args>(args)...));
}

// A growing array of plain data.
template <typename T>
class Buffer {
 public:
  Buffer() = default;
  ~Buffer() { FreeAligned(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  // Makes room for `count` elements; the contents are undefined afterwards if it had to grow. False if memory runs out
  // (then the buffer is empty) or if the size overflows.
  bool Reserve(int64_t count) {
    if (count <= capacity_) return true;
    Free();
    if (static_cast<uint64_t>(count) > PTRDIFF_MAX / sizeof(T)) return false;
    data_ = static_cast<T*>(AllocateAligned(static_cast<size_t>(count) * sizeof(T)));
    if (data_ == nullptr) return false;
    capacity_ = count;
    return true;
  }

  void Free() {
    FreeAligned(data_);
    data_ = nullptr;
    capacity_ = 0;
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  T& operator[](int64_t i) { return data_[i]; }
  const T& operator[](int64_t i) const { return data_[i]; }
  size_t bytes() const { return static_cast<size_t>(capacity_) * sizeof(T); }

 private:
  T* data_ = nullptr;
  int64_t capacity_ = 0;
};

// Scratch memory, counted in floats (int8 ops take its bytes). Ops that never run at the same time can share one: it is
// as large as the largest of them needs, and stays warm in the cache.
class Workspace {
 public:
  // As Buffer's. Between Defer and Allocate it only notes what is wanted.
  bool Reserve(int64_t count) {
    if (!deferred_) return memory_.Reserve(count);
    wanted_ = count > wanted_ ? count : wanted_;
    return true;
  }

  // While many ops are planned, memory that the first of them need would be allotted, and given back when a later one
  // needs more. Allocate allots what all of them need; false if memory runs out.
  void Defer() {
    deferred_ = true;
    wanted_ = 0;
  }
  bool Allocate() {
    deferred_ = false;
    return memory_.Reserve(wanted_);
  }

  float* data() { return memory_.data(); }
  size_t bytes() const { return memory_.bytes(); }

 private:
  Buffer<float> memory_;
  bool deferred_ = false;
  int64_t wanted_ = 0;
};

}  // namespace dgms

#endif  // DGMS_OPS_MEMORY_H_
