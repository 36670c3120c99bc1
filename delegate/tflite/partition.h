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
  // Where an input lives: in the memory of the step that computes it, or in a tensor of the runtime.
  struct Place {
    static constexpr int kTensor = -1;
    int tensor = -1;
    int step = kTensor;
  };
  struct Step {
    OpMatch match;
    std::unique_ptr<Operator> op;
    std::vector<Place> inputs;
    bool own_output = false;        // nobody outside of the partition sees it: it lives in the partition's memory
    int64_t offset = 0;             // of an own output, in bytes
    std::vector<Shape> input_dims;  // of the last Prepare
    Shape output_dims;
    std::vector<const void*> pointers;  // to the inputs, while it runs
    // Of the last Prepare. An ADD may be fused with the convolution before it: then the convolution runs in its place.
    bool fused = false;                // this convolution does not run by itself
    int convolution = Place::kTensor;  // the step that this ADD runs
    int residual = 0;                  // which of its inputs is the other summand
  };

  void FindPlaces(const tfl::DelegateParams& params);
  std::string PrepareAll(tfl::Context* context);
  std::string PrepareStep(tfl::Context* context, Step* step);
  void FuseResiduals();
  bool CanFuse(const Step& add, int input) const;
  std::string PlaceOutputs();
  Status RunOperator(Step* step, const void* residual, void* output);
  std::string InputPointer(tfl::Context* context, const Step& step, size_t i, const void** pointer) const;
  std::string RunStep(tfl::Context* context, Step* step);

  Resources resources_;
  std::vector<Step> steps_;
  std::vector<int> skipped_;  // outputs of the partition that belong to decode chains: nobody will read them
  std::string broken_;        // why the partition cannot work at all
  int64_t losses_ = -1;       // of the scratch memory, when this was last prepared
};

}  // namespace dgms

#endif  // DGMS_TFLITE_PARTITION_H_
