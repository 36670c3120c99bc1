#include "ops/memory.h"

#include <atomic>
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

void* AllocateAligned(size_t bytes) {
  if (!AllocationAllowed(bytes)) return nullptr;
  if (bytes == 0) bytes = 1;  // a distinct pointer that says "allocated"
  void* memory = nullptr;
  return posix_memalign(&memory, kAlignment, bytes) == 0 ? memory : nullptr;
}

void FreeAligned(void* memory) { std::free(memory); }

}  // namespace dgms
