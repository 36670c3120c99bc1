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

  // No chain gets longer: of a network that is one long row, all ends and lengths would be looked at.
  static constexpr int kMostMembers = 16;

  // How operators in a row, each of which alone reads the one before, are best run: lengths[i] is how many the chain
  // that ends with ops[i] has (1: none), if ops[0..i] run as well as they can. So the last chain has lengths[count - 1]
  // members, and so on for the operators before those.
  static Status BestLengths(const LineOp* const* ops, int count, int threads, int* lengths);

  // For tests, in which maps are small: the best lengths are the greatest there may be. Set it while nothing is
  // planned.
  static void SetAlwaysPays(bool always);

  // Plans for the shapes that the members have now. They must outlive the last Run.
  //   threads       how many threads work at the same time, at most
  //   strip_bytes   in place of StripBytes(); a strip of one line may take more
  Status Plan(const Member* members, int count, int threads, int64_t strip_bytes = StripBytes());

  // Memory that each of lanes() threads works in.
  int64_t lane_bytes() const { return lane_bytes_; }
  int64_t lanes() const { return lanes_; }

  // One Run at a time.
  //   residuals   [count]: null where a member adds none. Whole maps, like `input`, which no output overlaps
  //   workspace     aligned to kAlignment: lane_bytes() of each thread
  //   lane_stride   from one thread's to the next's, a multiple of kAlignment. Let it be the same for chains that run
  //                 one after the other in the same memory: each thread then finds there what is in its core's cache
  void Run(const void* input, const void* const* residuals, void* output, void* workspace, int64_t lane_stride,
           ThreadPool& pool);

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
    int64_t lane_stride;
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
