// The memory plan of a partition, against a replay that notices every value that is overwritten while it is needed.
#include "tflite/memory_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

namespace dgms::testing {
namespace {

constexpr int kOut = PlannedStep::kOutside;

PlannedStep Step(std::vector<int> inputs, int64_t bytes, std::vector<bool> in_place = {}, bool copies = false) {
  PlannedStep step;
  step.inputs = std::move(inputs);
  step.planned = true;
  step.bytes = bytes;
  step.in_place = std::move(in_place);
  step.copies = copies;
  return step;
}

MemoryPlan Plan(const std::vector<PlannedStep>& steps) {
  MemoryPlan plan;
  EXPECT_TRUE(PlanMemory(steps, &plan));
  return plan;
}

TEST(MemoryPlan, ReusesWhatIsFree) {
  const MemoryPlan plan = Plan({Step({kOut}, 100), Step({0}, 64), Step({1}, 128), Step({2}, 1)});
  EXPECT_EQ(plan.offsets, (std::vector<int64_t>{0, 128, 0, 128}));
  EXPECT_EQ(plan.bytes, 192);
}

TEST(MemoryPlan, KeepsWhatIsReadLater) {
  // A residual block: the first value is read by the last step.
  const MemoryPlan plan = Plan({Step({kOut}, 64), Step({0}, 64), Step({1}, 64), Step({2, 0}, 64)});
  EXPECT_EQ(plan.offsets, (std::vector<int64_t>{0, 64, 128, 64}));
}

TEST(MemoryPlan, TakesOverTheLastReadersMemory) {
  const MemoryPlan plan = Plan({Step({kOut}, 64), Step({0}, 64), Step({1, 0}, 64, {true, true})});
  EXPECT_EQ(plan.offsets[2], plan.offsets[1]);
  EXPECT_EQ(plan.bytes, 128);
  // Not where somebody reads it later, not where it is too small, not where it is also an input that must stay.
  EXPECT_EQ(Plan({Step({kOut}, 64), Step({0}, 64, {true}), Step({0, 1}, 64)}).offsets[1], 64);
  EXPECT_EQ(Plan({Step({kOut}, 64), Step({0}, 65, {true})}).offsets[1], 64);
  EXPECT_EQ(Plan({Step({kOut}, 64), Step({0, 0}, 64, {true, false})}).offsets[1], 64);
  EXPECT_EQ(Plan({Step({kOut}, 64), Step({0, 0}, 64, {true, true})}).offsets[1], 0);
}

TEST(MemoryPlan, CopiesAreOneMemoryWhileNobodyWritesIt) {
  const std::vector<PlannedStep> steps = {
      Step({kOut}, 64),
      Step({0}, 64, {true}, true),  // a RESHAPE of something that is read again
      Step({1}, 64, {true}),        // may not overwrite it
      Step({0, 2}, 64),
  };
  const MemoryPlan plan = Plan(steps);
  EXPECT_EQ(plan.offsets[1], plan.offsets[0]);
  EXPECT_NE(plan.offsets[2], plan.offsets[0]);
  // A reader of the copy alone may.
  EXPECT_EQ(Plan({Step({kOut}, 64), Step({0}, 64, {true}, true), Step({1}, 64, {true})}).bytes, 64);
}

TEST(MemoryPlan, RefusesOverflow) {
  MemoryPlan plan;
  EXPECT_FALSE(PlanMemory({Step({kOut}, INT64_MAX)}, &plan));
  EXPECT_FALSE(PlanMemory({Step({kOut}, INT64_MAX / 2), Step({0}, INT64_MAX / 2), Step({0, 1}, INT64_MAX / 2)}, &plan));
  EXPECT_FALSE(PlanMemory({Step({kOut}, -1)}, &plan));
  EXPECT_TRUE(PlanMemory({}, &plan));
  EXPECT_EQ(plan.bytes, 0);
}

// What each value must be: its own number, unless it is a copy of another.
int Identity(const std::vector<PlannedStep>& steps, int value) {
  while (steps[value].copies && steps[value].inputs[0] != kOut) value = steps[value].inputs[0];
  return value;
}

TEST(MemoryPlan, RandomSequencesKeepTheirValues) {
  int shared = 0;
  for (uint32_t seed = 0; seed < 3000; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&random](int bound) { return static_cast<int>(random() % static_cast<uint32_t>(bound)); };
    std::vector<PlannedStep> steps;
    const int count = 1 + below(12);
    std::vector<int> own;  // values that later steps may read
    for (int i = 0; i < count; ++i) {
      PlannedStep step;
      for (int k = below(3); k >= 0; --k) {
        const bool outside = own.empty() || below(5) == 0;
        step.inputs.push_back(outside ? kOut : own[below(static_cast<int>(own.size()))]);
        step.in_place.push_back(below(2) == 0);
      }
      step.planned = below(6) != 0;
      step.bytes = below(5) * 40;
      if (step.planned && step.inputs.size() == 1 && step.inputs[0] != kOut && below(2) == 0) {
        step.copies = true;
        step.bytes = steps[step.inputs[0]].bytes;
      }
      if (step.planned) own.push_back(i);
      steps.push_back(step);
    }
    const MemoryPlan plan = Plan(steps);
    std::vector<int> memory(static_cast<size_t>(plan.bytes), -1);  // by byte: whose value is there
    for (int i = 0; i < count; ++i) {
      for (int input : steps[i].inputs) {
        if (input == kOut) continue;
        for (int64_t at = 0; at < steps[input].bytes; ++at) {
          ASSERT_EQ(memory[plan.offsets[input] + at], Identity(steps, input)) << "seed " << seed << ", step " << i;
        }
      }
      if (!steps[i].planned) continue;
      ASSERT_EQ(plan.offsets[i] % kMemoryUnit, 0);
      ASSERT_LE(plan.offsets[i] + steps[i].bytes, plan.bytes);
      for (size_t k = 0; k < steps[i].inputs.size(); ++k) {
        const int input = steps[i].inputs[k];
        if (input == kOut || steps[i].copies || steps[i].bytes == 0 || steps[input].bytes == 0) continue;
        const int64_t from = plan.offsets[input], to = plan.offsets[i];
        const bool apart = from + steps[input].bytes <= to || to + steps[i].bytes <= from;
        ASSERT_TRUE(apart || (steps[i].in_place[k] && from == to)) << "seed " << seed << ", step " << i;
        shared += apart ? 0 : 1;
      }
      std::fill_n(memory.begin() + plan.offsets[i], steps[i].bytes, Identity(steps, i));
    }
  }
  EXPECT_GT(shared, 300);
}

}  // namespace
}  // namespace dgms::testing
