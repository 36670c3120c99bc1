// Several operators in a row, depth first: each reads what the one before writes, and nobody else reads that. They run
// strip by strip: a few lines of the last output at a time, with the lines of the maps between that those need. So the
// maps between never exist as a whole; the lines of them that are in use stay in a core's second-level cache, and
// threads meet once per chain, not once per operator.
//
// Lines that the windows of two neighbouring strips share are kept, not computed again, if one thread does both strips.
// Where a thread begins elsewhere it computes them itself: results are those of the operators one by one to the last
// bit, whoever does which strip.
#ifndef DGMS_OPS_LINE_CHAIN_H_
#define DGMS_OPS_LINE_CHAIN_H_

#include <atomic>
#include <cstdint>

#include "ops/line_op.h"
#include "ops/memory.h"
#include "ops/status.h"
#include "ops/thread_pool.h"

namespace dgms {

class LineChain {
 public:
  // What the lines between members may take of a core's memory: half of its second-level cache, as far as that is
  // known, but 512 KiB to 1 MiB. Results do not depend on it.
  static int64_t StripBytes();

  struct Member {
    const LineOp* op = nullptr;
    bool adds = false;  // a residual
    ActivationRange sum_range = {};
  };

  // How many of the operators at the end of ops[0..count-1], each of which reads the one before, had better run as one
  // chain: 1..count; 1 means none. Ask again for the operators before those.
  static int BestLength(const LineOp* const* ops, int count, int threads);

  // For tests, in which maps are small: the best length is the greatest. Set it while nothing is planned.
  static void SetAlwaysPays(bool always);

  // Plans for the shapes that the members have now. They must outlive the last Run.
  //   threads       how many threads work at the same time, at most
  //   strip_bytes   in place of StripBytes(); a strip of one line may take more
  Status Plan(const Member* members, int count, int threads, int64_t strip_bytes = StripBytes());

  int64_t workspace_elements() const { return lane_bytes_ / static_cast<int64_t>(sizeof(float)) * lanes_; }

  // One Run at a time.
  //   residuals   [count]: null where a member adds none. Whole maps, like `input`, which no output overlaps
  //   workspace   workspace_elements() floats, aligned to kAlignment
  void Run(const void* input, const void* const* residuals, void* output, float* workspace, ThreadPool& pool);

 private:
  // Lines of one map between two members, in one thread's memory.
  struct Held {
    LineRange lines;
    int64_t at = 0;  // where the first is, in lines from the buffer's beginning
  };
  // A member, and the buffer that its output goes to (the last one's: none).
  struct Stage {
    Member member;
    LineShape shape;
    int64_t capacity = 0;   // lines
    int64_t buffer_at = 0;  // bytes, in a lane's memory
  };
  // What one thread works with; it begins with strips of its own, and then helps with the others'.
  struct alignas(64) Lane {
    std::atomic<int64_t> next_own{0};
    int64_t end_own = 0;
    int64_t next = -1;  // the strip that can go on with the lines that are held
  };
  struct Maps {
    const void* input;
    const void* const* residuals;
    void* output;
    char* workspace;
  };
  void PlaceBuffers();
  void RunLane(const Maps& maps, int64_t lane);
  void RunStrip(const Maps& maps, int64_t lane, int64_t strip);
  static void KeepLines(const Stage& stage, const LineRange& wanted, char* buffer, Held* held);

  int count_ = 0;
  Buffer<Stage> stages_;
  int64_t out_h_ = 0;
  int64_t strip_lines_ = 0, image_strips_ = 0, strips_ = 0;
  int64_t lanes_ = 0, lane_bytes_ = 0;
  int64_t scratch_at_ = 0;     // bytes, in a lane's memory, behind the buffers
  bool parallel_ = false;      // whether the work is worth waking anybody
  Buffer<Lane> lane_;          // [lanes_]
  Buffer<Held> held_;          // [lanes_][count_]
  Buffer<LineRange> missing_;  // [lanes_][count_]: lines that a strip still has to compute
};

}  // namespace dgms

#endif  // DGMS_OPS_LINE_CHAIN_H_
