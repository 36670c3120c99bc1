// Replaces the program's operator new: as usual, except while a FailNew lives.
#include "tflite/failing_new.h"

#include <cstdlib>
#include <new>

namespace {

thread_local bool armed = false;
thread_local int64_t countdown = 0;

void* Allocate(std::size_t size) {
  if (armed && countdown-- == 0) return nullptr;
  return std::malloc(size == 0 ? 1 : size);
}

}  // namespace

void* operator new(std::size_t size) {
  void* memory = Allocate(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new[](std::size_t size) { return operator new(size); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return Allocate(size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return Allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { std::free(memory); }

namespace dgms::testing {

FailNew::FailNew(int64_t nth) {
  countdown = nth;
  armed = true;
}
FailNew::~FailNew() { armed = false; }
bool FailNew::happened() const { return countdown < 0; }

}  // namespace dgms::testing
