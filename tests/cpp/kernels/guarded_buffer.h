// Arrays between pages that may not be touched: one element too far, read or written, ends the test with a fault.
#ifndef DGMS_TESTS_KERNELS_GUARDED_BUFFER_H_
#define DGMS_TESTS_KERNELS_GUARDED_BUFFER_H_

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

namespace dgms::testing {

// Which of the two guards the array touches exactly. With an alignment above the element's, the other end may leave a
// few bytes to its guard; those are filled with a pattern and checked.
enum class Flush { kEnd, kStart };

template <typename T>
class GuardedBuffer {
 public:
  explicit GuardedBuffer(int64_t count, Flush flush = Flush::kEnd, size_t alignment = alignof(T)) : count_(count) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t bytes = static_cast<size_t>(count) * sizeof(T);
    const size_t room = (bytes + alignment + page - 1) / page * page;
    mapped_ = room + 2 * page;
    base_ = static_cast<uint8_t*>(mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base_ == MAP_FAILED || mprotect(base_ + page, room, PROT_READ | PROT_WRITE) != 0) {
      std::perror("GuardedBuffer");
      std::abort();
    }
    first_ = base_ + page;
    end_ = first_ + room;
    const size_t offset = flush == Flush::kStart ? 0 : (room - bytes) / alignment * alignment;
    data_ = reinterpret_cast<T*>(first_ + offset);
    std::memset(first_, kPattern, room);
  }
  GuardedBuffer(const std::vector<T>& values, Flush flush = Flush::kEnd, size_t alignment = alignof(T))
      : GuardedBuffer(static_cast<int64_t>(values.size()), flush, alignment) {
    if (!values.empty()) std::memcpy(data_, values.data(), values.size() * sizeof(T));
  }
  ~GuardedBuffer() { munmap(base_, mapped_); }
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;

  // False if something was written beside the array, between it and its guards.
  bool SurroundingsIntact() const {
    const uint8_t* begin = reinterpret_cast<const uint8_t*>(data_);
    const uint8_t* end = reinterpret_cast<const uint8_t*>(data_ + count_);
    for (const uint8_t* p = first_; p < begin; ++p) {
      if (*p != kPattern) return false;
    }
    for (const uint8_t* p = end; p < end_; ++p) {
      if (*p != kPattern) return false;
    }
    return true;
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  int64_t size() const { return count_; }
  T& operator[](int64_t i) { return data_[i]; }
  const T& operator[](int64_t i) const { return data_[i]; }
  std::vector<T> values() const { return std::vector<T>(data_, data_ + count_); }

 private:
  static constexpr uint8_t kPattern = 0xa5;
  int64_t count_;
  size_t mapped_;
  uint8_t* base_;
  uint8_t* first_;
  uint8_t* end_;
  T* data_;
};

}  // namespace dgms::testing

#endif  // DGMS_TESTS_KERNELS_GUARDED_BUFFER_H_
