// What a partition runs at a time: an operator; a convolution together with the ADD behind it; or a chain of these.
#ifndef DGMS_TFLITE_PASS_H_
#define DGMS_TFLITE_PASS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ops/line_chain.h"
#include "ops/status.h"
#include "tflite/match_op.h"
#include "tflite/operator.h"

namespace dgms {

// One operator of a partition, as the model has it.
struct Step {
  static constexpr int kNone = -1;

  // Where an input lives: in the memory of the step that computes it, or in a tensor of the runtime.
  struct Place {
    int tensor = -1;
    int step = kNone;  // kNone: in the tensor
  };

  OpMatch match;
  std::unique_ptr<Operator> op;
  std::vector<Place> inputs;
  bool own_output = false;        // nobody outside of the partition sees it: it lives in the partition's memory
  int64_t offset = 0;             // of an own output, in bytes
  std::vector<Shape> input_dims;  // of the last Prepare
  Shape output_dims;
};

struct Pass {
  // A step that runs its operator; where `sum` is a step, too, that ADD takes place in the operator, which is a
  // convolution: the other summand is its residual.
  struct Member {
    int runner = Step::kNone;
    int sum = Step::kNone;

    bool adds() const { return sum != Step::kNone; }
    int output() const { return adds() ? sum : runner; }  // the step whose output it writes
  };
  std::vector<Member> members;
  std::unique_ptr<LineChain> chain;  // of all members, if there are several

  int output() const { return members.back().output(); }
};

// The summand of an adding member that its convolution does not compute.
const Step::Place& ResidualOf(const std::vector<Step>& steps, const Pass::Member& member);

Activation SumActivation(const Step& sum);

// What chains work in, one after the other: a lane of it for each thread.
struct ChainMemory {
  int64_t lane_stride = 0;  // bytes, as LineChain::Run wants it
  int64_t lanes = 0;

  int64_t elements() const { return lane_stride * lanes / static_cast<int64_t>(sizeof(float)); }
};

// How steps that are prepared are best run, in the order of the passes' outputs: what a pass reads is computed by then.
//   threads   of the pool that will run them
//   memory    what all of the chains need
Status PlanPasses(const std::vector<Step>& steps, int threads, std::vector<Pass>* passes, ChainMemory* memory);

// What to call a pass's kernel.
std::string KernelName(const std::vector<Step>& steps, const Pass& pass);

}  // namespace dgms

#endif  // DGMS_TFLITE_PASS_H_
