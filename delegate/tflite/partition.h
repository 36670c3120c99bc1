// One kernel node of the delegate: the operators of one partition, run in order.
#ifndef DGMS_TFLITE_PARTITION_H_
#define DGMS_TFLITE_PARTITION_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ops/memory.h"
#include "ops/thread_pool.h"
#include "tflite/match_op.h"
#include "tflite/operator.h"
#include "tflite/pass.h"
#include "tflite/profile.h"
#include "tflite/tflite_abi.h"

namespace dgms {

// An operator that the delegate has matched and built, on its way from Delegate::Prepare to its partition.
struct PreparedOp {
  OpMatch match;
  std::unique_ptr<Operator> op;
};

// Memory that all partitions of one subgraph share, since only one of them runs at a time. It only grows, except when
// memory runs out: then it is lost, `losses` counts it, and partitions that were ready have to plan again.
struct Scratch {
  Workspace workspace;
  Buffer<char> maps;  // activations that only one partition sees
  int64_t losses = 0;
};

// What a partition needs from its delegate; it must outlive the partition.
struct Resources {
  BuildSettings build;
  ThreadPool* pool;
  Profile* profile;  // null: do not measure
  std::shared_ptr<Scratch> scratch;
};

class Partition {
 public:
  // Takes the operators of `params` out of `prepared` (by the runtime's node number). Nodes that are not there are
  // parts of decode chains; nothing is left to do for them.
  Partition(const tfl::DelegateParams& params, std::map<int, PreparedOp>* prepared, const Resources& resources);

  // Plans for the shapes that the inputs have now, and gives the outputs theirs. An empty string, or what is wrong.
  std::string Prepare(tfl::Context* context);

  // Runs. An empty string, or what is wrong.
  std::string Invoke(tfl::Context* context);

 private:
  void FindPlaces(const tfl::DelegateParams& params);
  std::string PrepareAll(tfl::Context* context);
  std::string PrepareStep(tfl::Context* context, Step* step);
  std::string PlaceOutputs();
  std::string InputPointer(tfl::Context* context, const Step::Place& place, const Shape& dims,
                           const void** pointer) const;
  std::string OutputPointer(tfl::Context* context, const Step& step, int64_t bytes, void** pointer) const;
  std::string FindPointers(tfl::Context* context, const Pass& pass);
  Status RunOperators(const Pass& pass, void* output);
  std::string RunPass(tfl::Context* context, const Pass& pass);
  void Measure(const Pass& pass, int64_t nanoseconds) const;

  Resources resources_;
  std::vector<Step> steps_;
  std::vector<Pass> passes_;  // of the last Prepare
  ChainMemory chain_memory_;
  std::vector<const void*> inputs_;     // of the pass that runs: of its first member
  std::vector<const void*> residuals_;  // of its members, or null
  std::vector<int> skipped_;            // outputs of the partition that belong to decode chains: nobody will read them
  std::string broken_;                  // why the partition cannot work at all
  int64_t losses_ = -1;                 // of the scratch memory, when this was last prepared
};

}  // namespace dgms

#endif  // DGMS_TFLITE_PARTITION_H_
