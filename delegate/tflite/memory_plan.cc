#include "tflite/memory_plan.h"

#include <algorithm>
#include <cstddef>
#include <list>

namespace dgms {
namespace {

// A piece of memory in use. Several values share it where one took it over from another.
struct Block {
  int64_t begin, end;
  size_t last_use;
};

class Planner {
 public:
  Planner(const std::vector<PlannedStep>& steps, MemoryPlan* plan)
      : steps_(steps), plan_(*plan), last_use_(steps.size()), block_of_(steps.size(), nullptr) {
    for (size_t i = 0; i < steps.size(); ++i) {
      last_use_[i] = i;
      for (int input : steps[i].inputs) {
        if (input != PlannedStep::kOutside) last_use_[input] = i;
      }
    }
  }

  bool Plan() {
    plan_ = {std::vector<int64_t>(steps_.size()), 0};
    for (size_t i = 0; i < steps_.size(); ++i) {
      blocks_.remove_if([i](const Block& block) { return block.last_use < i; });
      if (!steps_[i].planned) continue;
      Block* block = Shared(i);
      if (block == nullptr) block = Place(i);
      if (block == nullptr) return false;
      block->last_use = std::max(block->last_use, last_use_[i]);
      block_of_[i] = block;
      plan_.offsets[i] = block->begin;
      plan_.bytes = std::max(plan_.bytes, block->end);
    }
    return true;
  }

 private:
  // A block of an input that the output of step `i` can live in; null if there is none.
  Block* Shared(size_t i) {
    const PlannedStep& step = steps_[i];
    if (step.copies && !step.inputs.empty() && step.inputs[0] != PlannedStep::kOutside) {
      return block_of_[step.inputs[0]];
    }
    for (size_t k = 0; k < step.in_place.size(); ++k) {
      if (step.inputs[k] == PlannedStep::kOutside) continue;
      Block* block = block_of_[step.inputs[k]];
      // Nobody reads it after this step, and inputs that are the same memory all may be overwritten.
      bool usable = block->last_use == i && block->end - block->begin >= step.bytes;
      for (size_t other = 0; other < step.inputs.size(); ++other) {
        const int value = step.inputs[other];
        if (value != PlannedStep::kOutside && block_of_[value] == block) usable = usable && step.in_place[other];
      }
      if (usable) return block;
    }
    return nullptr;
  }

  // A new block at the lowest address that has room; null if it overflows.
  Block* Place(size_t i) {
    Block block = {0, 0, i};
    int64_t size = 0;
    if (steps_[i].bytes < 0 || __builtin_add_overflow(steps_[i].bytes, kMemoryUnit - 1, &size)) return nullptr;
    size = size / kMemoryUnit * kMemoryUnit;
    auto position = blocks_.begin();
    for (; position != blocks_.end() && position->begin - block.begin < size; ++position) block.begin = position->end;
    if (__builtin_add_overflow(block.begin, size, &block.end)) return nullptr;
    return &*blocks_.insert(position, block);
  }

  const std::vector<PlannedStep>& steps_;
  MemoryPlan& plan_;
  std::vector<size_t> last_use_;  // by value: the step that reads it last
  std::list<Block> blocks_;       // in use, by address; a list, so that they stay where they are
  std::vector<Block*> block_of_;  // by value; dangling once its block is free, and then not read any more
};

}  // namespace

bool PlanMemory(const std::vector<PlannedStep>& steps, MemoryPlan* plan) { return Planner(steps, plan).Plan(); }

}  // namespace dgms
