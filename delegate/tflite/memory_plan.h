// Where the activations live that only one partition sees: in one piece of memory, each as long as it is needed.
#ifndef DGMS_TFLITE_MEMORY_PLAN_H_
#define DGMS_TFLITE_MEMORY_PLAN_H_

#include <cstdint>
#include <vector>

namespace dgms {

inline constexpr int64_t kMemoryUnit = 64;  // bytes: every value begins at a cache line

// One step of a sequence: it reads values and computes one. A value is named by the number of the step that computes
// it; kOutside is one that lives elsewhere, which the plan has nothing to do with.
struct PlannedStep {
  static constexpr int kOutside = -1;

  std::vector<int> inputs;
  bool planned = false;        // whether its output is to be placed
  int64_t bytes = 0;           // of the output
  std::vector<bool> in_place;  // by input: whether the output may be the very same memory; empty: none
  bool copies = false;         // the output has the bytes of input 0, so both can be one memory while nobody writes it
};

struct MemoryPlan {
  std::vector<int64_t> offsets;  // by step: where its output begins, if it is planned
  int64_t bytes = 0;             // of all
};

// Gives each value the lowest free place from the step that computes it to the last step that reads it; an output takes
// over the memory of an input where it may. False if sizes overflow.
bool PlanMemory(const std::vector<PlannedStep>& steps, MemoryPlan* plan);

}  // namespace dgms

#endif  // DGMS_TFLITE_MEMORY_PLAN_H_
