#include "ops/line_chain.h"

#include <unistd.h>

#include <algorithm>
#include <new>

#include "kernels/kernel.h"
#include "kernels/move_bytes.h"

namespace dgms {
namespace {

// A map at least so large has left a core's second-level cache, at least in part, when the next operator reads it.
constexpr int64_t kFarBytes = 512 * 1024;

// What it costs at least to read a byte of such a map, and to write one, in multiply-adds: an operator takes the longer
// of that and its arithmetic (AVX-512, 80 multiply-adds per ns, MobileNetV2's first block: 4.8 MB in float are written
// in 400 us by the expansion, read in 245 us by the depthwise layer; in int8 arithmetic takes longer than a quarter of
// it).
constexpr int64_t kReadMacs = 4, kWriteMacs = 7;

// What it costs threads to meet after an operator, and to begin the next one with nothing fetched ahead; and for each
// byte of a line of the map between, as those where their parts of it meet come from the other core's cache, and are
// taken away from it the next time. Together 3 us in int8 at any size of map, in float 5 us at 14x14x384 and 10 us at
// 14x14x576 (two threads; what they take longer than half of one's time).
constexpr int64_t kMeetingMacs = 160000, kSharedMacs = 16;

// Strips must do so many times more than they cost to set up (which is decoding weights); and need not do more than so
// many times more.
constexpr int64_t kLeastPerSetup = 16;
constexpr int64_t kEnoughPerSetup = 64;

// Threads share the lines of a map, and each decodes all weights, if that takes so many times less than the arithmetic.
constexpr int64_t kLeastToShareLines = 4;

// So many strips per thread are enough for threads to help each other at the end.
constexpr int64_t kStripsPerThread = 4;

// Below this many multiply-adds a chain is not worth waking workers for.
constexpr int64_t kMinParallelMacs = 100000;

std::atomic<bool> always_pays{false};

int64_t RoundUpToCacheLine(int64_t bytes) { return CeilDiv(bytes, kAlignment) * kAlignment; }

// An operator, and what it says of its shape: that is asked for many times over.
struct Planned {
  const LineOp* op;
  LineShape shape;
};

// What a strip of a chain needs and does.
struct StripCost {
  int64_t buffer_bytes = 0;   // the lines between the members
  int64_t scratch_bytes = 0;  // of the member that needs most
  int64_t macs = 0;
  int64_t setup_macs = 0;

  int64_t bytes() const { return buffer_bytes + scratch_bytes; }
};

StripCost CostOf(const Planned* ops, int count, int64_t lines) {
  StripCost cost;
  const int64_t out_h = ops[count - 1].shape.window.out_h, strip = lines;
  for (int i = count - 1; i >= 0; --i) {
    const LineShape& shape = ops[i].shape;
    cost.scratch_bytes = std::max(cost.scratch_bytes, RoundUpToCacheLine(ops[i].op->ScratchBytes(lines)));
    if (i + 1 < count) cost.buffer_bytes += RoundUpToCacheLine(lines * shape.out_line_bytes);
    cost.macs += shape.macs * shape.window.out_h / out_h * strip;
    cost.setup_macs += shape.setup_macs;
    lines = shape.window.MostUnder(lines);
  }
  return cost;
}

// How many strips an image is best cut into. `strip_bytes` have room for each, unless it is one line.
int64_t StripsOfImage(const Planned* ops, int count, int threads, int64_t strip_bytes) {
  const LineShape& last = ops[count - 1].shape;
  const int64_t out_h = last.window.out_h;
  int64_t fitting = 1, most = out_h;  // lines
  while (fitting < most) {
    const int64_t middle = (fitting + most + 1) / 2;
    if (CostOf(ops, count, middle).bytes() <= strip_bytes) {
      fitting = middle;
    } else {
      most = middle - 1;
    }
  }
  int64_t strips = CeilDiv(out_h, fitting);
  if (threads == 1) return strips;
  // Threads share strips, as many for each; but those may not become small.
  const StripCost line = CostOf(ops, count, 1);
  const int64_t enough = CeilDiv(kEnoughPerSetup * line.setup_macs, std::max<int64_t>(1, line.macs));
  const int64_t shared = std::min(CeilDiv(threads * kStripsPerThread, std::max<int64_t>(1, last.batch)),
                                  out_h / std::max<int64_t>(1, enough));
  strips = std::max(strips, shared / threads * threads);
  return last.batch % threads == 0 ? strips : std::min(out_h, CeilDiv(strips, threads) * threads);
}

// Which strips lane `lane` begins with.
int64_t FirstStrip(int64_t strips, int64_t lane, int64_t lanes) { return strips * lane / lanes; }

// The lines of strips first..end-1 of an image.
LineRange LinesOf(int64_t out_h, int64_t image_strips, int64_t first, int64_t end) {
  return {out_h * first / image_strips, out_h * end / image_strips};
}

// What one thread computes for these lines of the last output, without setting up.
int64_t MacsOf(const Planned* ops, int count, LineRange lines) {
  int64_t macs = 0;
  for (int i = count - 1; i >= 0; --i) {
    const LineShape& shape = ops[i].shape;
    macs += shape.macs * lines.count();
    lines = shape.window.Under(lines);
  }
  return macs;
}

// What the thread computes that has most to do: also weights that it decodes for every strip, lines that others
// compute, too, and lines that it has more than others.
int64_t LongestLane(const Planned* ops, int count, int64_t image_strips, int threads) {
  const LineShape& last = ops[count - 1].shape;
  const int64_t strips = image_strips * last.batch, lanes = std::min<int64_t>(threads, strips);
  int64_t setup_macs = 0, most = 0;
  for (int i = 0; i < count; ++i) setup_macs += ops[i].shape.setup_macs;
  for (int64_t lane = 0; lane < lanes; ++lane) {
    const int64_t end = FirstStrip(strips, lane + 1, lanes);
    int64_t macs = 0;
    for (int64_t first = FirstStrip(strips, lane, lanes); first < end;) {
      const int64_t in_image = first % image_strips, together = std::min(end - first, image_strips - in_image);
      macs += MacsOf(ops, count, LinesOf(last.window.out_h, image_strips, in_image, in_image + together));
      macs += setup_macs * together;
      first += together;
    }
    most = std::max(most, macs);
  }
  return most;
}

// What the members take one by one, of the thread that has most to do. The first one's input and the last one's output
// are where they are in any case.
int64_t OneByOne(const Planned* ops, int count, int threads) {
  int64_t shared = 0, each = 0;  // by threads, and by each of them
  int64_t far_bytes = 0;         // of the map before
  for (int i = 0; i < count; ++i) {
    const LineShape& shape = ops[i].shape;
    const int64_t macs = shape.batch * shape.window.out_h * shape.macs,
                  bytes = shape.window.out_h * shape.out_line_bytes;
    int64_t memory = far_bytes * kReadMacs;
    far_bytes = i + 1 < count && bytes >= kFarBytes ? shape.batch * bytes : 0;
    memory += far_bytes * kWriteMacs;
    shared += std::max(macs, memory);
    // Threads share the weights of small maps, but the lines of others.
    (macs < kLeastToShareLines * shape.setup_macs ? shared : each) += shape.setup_macs;
    if (threads > 1 && i + 1 < count) each += kMeetingMacs + shape.out_line_bytes * kSharedMacs;
  }
  return shared / threads + each;
}

bool HasFarMap(const Planned* ops, int count) {
  return std::any_of(ops, ops + count - 1, [](const Planned& planned) {
    return planned.shape.window.out_h * planned.shape.out_line_bytes >= kFarBytes;
  });
}

// How much less time a chain takes than its members one by one, in multiply-adds of one thread; below 0: more.
int64_t Gain(const Planned* ops, int count, int threads) {
  if (threads == 1 && !HasFarMap(ops, count)) return -1;  // arithmetic alone does not become less
  const int64_t strips = StripsOfImage(ops, count, threads, LineChain::StripBytes());
  const StripCost cost = CostOf(ops, count, CeilDiv(ops[count - 1].shape.window.out_h, strips));
  if (cost.bytes() > LineChain::StripBytes()) return -1;
  if (threads == 1 && cost.macs < kLeastPerSetup * cost.setup_macs) return -1;
  if (cost.macs * strips < kMinParallelMacs) threads = 1;
  return OneByOne(ops, count, threads) - LongestLane(ops, count, strips, threads);
}

}  // namespace

int64_t LineChain::StripBytes() {
  constexpr int64_t kLeast = 512 * 1024, kMost = 1024 * 1024;
#ifdef _SC_LEVEL2_CACHE_SIZE
  static const int64_t half = sysconf(_SC_LEVEL2_CACHE_SIZE) / 2;  // of 0 or -1 where nobody knows
#else
  constexpr int64_t half = 0;
#endif
  return std::clamp(half, kLeast, kMost);
}

void LineChain::SetAlwaysPays(bool always) { always_pays.store(always); }

Status LineChain::BestLengths(const LineOp* const* ops, int count, int threads, int* lengths) {
  Buffer<int64_t> gains;  // of the best way to run the operators up to there
  Buffer<Planned> planned;
  if (!gains.Reserve(count + 1) || !planned.Reserve(count)) return Status::kOutOfMemory;
  for (int i = 0; i < count; ++i) planned[i] = {ops[i], ops[i]->line_shape()};
  gains[0] = 0;
  for (int end = 1; end <= count; ++end) {
    gains[end] = gains[end - 1];
    lengths[end - 1] = 1;
    for (int length = 2; length <= std::min(end, kMostMembers); ++length) {
      const int64_t gain = gains[end - length] + Gain(planned.data() + (end - length), length, threads);
      if (gain <= gains[end] && !always_pays.load(std::memory_order_relaxed)) continue;
      gains[end] = gain;
      lengths[end - 1] = length;
    }
  }
  return Status::kOk;
}

Status LineChain::Plan(const Member* members, int count, int threads, int64_t strip_bytes) {
  count_ = count;
  Buffer<Planned> ops;
  if (!stages_.Reserve(count) || !ops.Reserve(count)) return Status::kOutOfMemory;
  for (int i = 0; i < count; ++i) {
    ops[i] = {members[i].op, members[i].op->line_shape()};
    stages_[i] = {members[i], ops[i].shape};
  }
  const LineShape& last = stages_[count - 1].shape;
  out_h_ = last.window.out_h;
  image_strips_ = StripsOfImage(ops.data(), count, threads, strip_bytes);
  strip_lines_ = CeilDiv(out_h_, image_strips_);
  strips_ = last.batch * image_strips_;
  const StripCost cost = CostOf(ops.data(), count, strip_lines_);
  parallel_ = cost.macs * strips_ >= kMinParallelMacs;
  lanes_ = std::min<int64_t>(threads, strips_);
  scratch_at_ = cost.buffer_bytes;
  lane_bytes_ = cost.bytes();
  PlaceBuffers();
  if (!lane_.Reserve(lanes_) || !held_.Reserve(lanes_ * count) || !missing_.Reserve(lanes_ * count)) {
    return Status::kOutOfMemory;
  }
  for (int64_t i = 0; i < lanes_; ++i) new (&lane_[i]) Lane();
  return Status::kOk;
}

void LineChain::PlaceBuffers() {
  int64_t at = 0, lines = strip_lines_;
  for (int i = count_ - 2; i >= 0; --i) {
    lines = stages_[i + 1].shape.window.MostUnder(lines);
    stages_[i].capacity = lines;
    stages_[i].buffer_at = at;
    at += RoundUpToCacheLine(lines * stages_[i].shape.out_line_bytes);
  }
}

// Makes room behind the lines that are held for the others of `wanted`, and lets those before them go.
void LineChain::KeepLines(const Stage& stage, const LineRange& wanted, char* buffer, Held* held) {
  if (held->lines.end <= wanted.first) {
    *held = {{wanted.first, wanted.first}, 0};
    return;
  }
  held->at += wanted.first - held->lines.first;
  held->lines.first = wanted.first;
  if (held->at + wanted.count() <= stage.capacity) return;
  const int64_t line = stage.shape.out_line_bytes;
  MoveBytesDown(buffer, buffer + held->at * line, static_cast<size_t>(held->lines.count() * line));
  held->at = 0;
}

void LineChain::RunStrip(const Maps& maps, int64_t lane, int64_t strip) {
  const int64_t image = strip / image_strips_, in_image = strip % image_strips_;
  Held* const held = held_.data() + lane * count_;
  LineRange* const missing = missing_.data() + lane * count_;
  char* const memory = maps.workspace + lane * maps.lane_stride;
  const bool goes_on = lane_[lane].next == strip && in_image > 0;
  lane_[lane].next = strip + 1;

  // What is missing of each map, from the last to the first: the lines under what is missing of the next.
  // Strips are as equal as possible.
  missing[count_ - 1] = LinesOf(out_h_, image_strips_, in_image, in_image + 1);
  for (int i = count_ - 2; i >= 0; --i) {
    const LineRange wanted = stages_[i + 1].shape.window.Under(missing[i + 1]);
    if (!goes_on) held[i] = {};
    KeepLines(stages_[i], wanted, memory + stages_[i].buffer_at, &held[i]);
    missing[i] = {held[i].lines.end, wanted.end};
  }
  for (int i = 0; i < count_; ++i) {
    const Stage& stage = stages_[i];
    if (missing[i].count() <= 0) continue;
    LineRun run = {};
    run.lines = missing[i];
    run.sum_range = stage.member.sum_range;
    run.scratch = memory + scratch_at_;
    const int64_t line = stage.shape.out_line_bytes;
    const int64_t in_map = (image * stage.shape.window.out_h + missing[i].first) * line;
    if (stage.member.adds) run.residual = static_cast<const char*>(maps.residuals[i]) + in_map;
    const LineRange under = stage.shape.window.Under(missing[i]);
    if (i == 0) {
      run.input = static_cast<const char*>(maps.input) +
                  (image * stage.shape.window.in_h + under.first) * stage.shape.in_line_bytes;
    } else {
      const Held& from = held[i - 1];
      run.input =
          memory + stages_[i - 1].buffer_at + (from.at + under.first - from.lines.first) * stage.shape.in_line_bytes;
    }
    if (i == count_ - 1) {
      run.output = static_cast<char*>(maps.output) + in_map;
    } else {
      run.output = memory + stage.buffer_at + (held[i].at + held[i].lines.count()) * line;
      held[i].lines.end = missing[i].end;
    }
    stage.member.op->RunLines(run);
  }
}

void LineChain::RunLane(const Maps& maps, int64_t lane) {
  for (int64_t i = 0; i < lanes_; ++i) {
    Lane& owner = lane_[lane + i < lanes_ ? lane + i : lane + i - lanes_];
    for (int64_t strip = owner.next_own.fetch_add(1); strip < owner.end_own; strip = owner.next_own.fetch_add(1)) {
      RunStrip(maps, lane, strip);
    }
  }
}

void LineChain::Run(const void* input, const void* const* residuals, void* output, void* workspace, int64_t lane_stride,
                    ThreadPool& pool) {
  const Maps maps = {input, residuals, output, static_cast<char*>(workspace), lane_stride};
  for (int64_t i = 0; i < lanes_; ++i) {
    lane_[i].next_own.store(FirstStrip(strips_, i, lanes_), std::memory_order_relaxed);
    lane_[i].end_own = FirstStrip(strips_, i + 1, lanes_);
    lane_[i].next = -1;
  }
  pool.Run(lanes_, [&](int64_t lane) { RunLane(maps, lane); }, parallel_);
}

}  // namespace dgms
