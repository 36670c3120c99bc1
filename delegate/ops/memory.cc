#include "ops/memory.h"

#include <atomic>
#include <cstdint>
#include <cstdlib>

#include "kernels/kernel.h"

namespace dgms {
namespace {
std::atomic<AllocationHook> allocation_hook{nullptr};
}  // namespace

void SetAllocationHook(AllocationHook hook) { allocation_hook.store(hook); }

bool AllocationAllowed(size_t bytes) {
  const AllocationHook hook = allocation_hook.load(std::memory_order_relaxed);
  return hook == nullptr || hook(bytes);
}

// Sanitizers see what is written behind the last byte only of a block that the C library itself has aligned.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define DGMS_LIBRARY_ALIGNS 1
#elif defined(__has_feature)
#define DGMS_LIBRARY_ALIGNS (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define DGMS_LIBRARY_ALIGNS 0
#endif

void* AllocateAligned(size_t bytes) {
  if (!AllocationAllowed(bytes)) return nullptr;
  if (bytes == 0) bytes = 1;  // a distinct pointer that says "allocated"
#if DGMS_LIBRARY_ALIGNS
  void* memory = nullptr;
  return posix_memalign(&memory, kAlignment, bytes) == 0 ? memory : nullptr;
#else
  // Operators have many small arrays, and a plain block is found in a fraction of the time of an aligned one. The
  // block's own address is kept in front of what is aligned.
  constexpr size_t kExtra = sizeof(void*) + kAlignment - 1;
  if (bytes > SIZE_MAX - kExtra) return nullptr;
  void* const block = std::malloc(bytes + kExtra);
  if (block == nullptr) return nullptr;
  const uintptr_t first = reinterpret_cast<uintptr_t>(block) + sizeof(void*);
  void** const memory = reinterpret_cast<void**>((first + kAlignment - 1) / kAlignment * kAlignment);
  memory[-1] = block;
  return memory;
#endif
}

void FreeAligned(void* memory) {
#if DGMS_LIBRARY_ALIGNS
  std::free(memory);
#else
  if (memory != nullptr) std::free(static_cast<void**>(memory)[-1]);
#endif
}

}  // namespace dgms
