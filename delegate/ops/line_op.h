// Operators on NHWC maps that can compute any lines of their output by themselves: what chains (line_chain.h) are made
// of.
#ifndef DGMS_OPS_LINE_OP_H_
#define DGMS_OPS_LINE_OP_H_

#include <algorithm>
#include <cstdint>

#include "ops/shapes.h"

namespace dgms {

// Lines first..end-1 of one image's map.
struct LineRange {
  int64_t first = 0, end = 0;
  int64_t count() const { return end - first; }
};

// Which lines of its input an operator reads for which lines of its output.
struct LineWindow {
  int64_t in_h = 0, out_h = 0;
  int64_t extent = 1;  // lines of the input from a window's first to its last
  int64_t stride = 1;
  int64_t pad_before = 0;  // lines of padding over the first

  // The lines of the input under these, without padding; none if they lie in nothing but padding.
  LineRange Under(const LineRange& lines) const {
    const int64_t first = std::clamp<int64_t>(lines.first * stride - pad_before, 0, in_h);
    const int64_t end = (lines.end - 1) * stride - pad_before + extent;
    return {first, std::clamp(end, first, in_h)};
  }
  // At most so many lines of the input are under `lines` lines of the output.
  int64_t MostUnder(int64_t lines) const { return std::min(in_h, (lines - 1) * stride + extent); }
};

// That of a convolution whose vertical dimension is planned as `h`.
inline LineWindow WindowOf(const ConvDim& h, const WindowParams& params) {
  return {h.input, h.output, (params.kernel_h - 1) * int64_t{params.dilation_h} + 1, params.stride_h, h.pad_before};
}

struct LineShape {
  LineWindow window;
  int64_t batch = 0;
  int64_t in_line_bytes = 0, out_line_bytes = 0;
  int64_t macs = 0;        // multiply-adds of one line of the output
  int64_t setup_macs = 0;  // what a call of RunLines costs besides, counted in them
};

// Some lines of one image.
struct LineRun {
  LineRange lines;            // of the output; at least one
  const void* input;          // the first of the lines under them, which follow one another; read is nothing else
  void* output;               // the first of them; they follow one another, and overlap nothing else
  const void* residual;       // like `output`: added before the activation; or null
  ActivationRange sum_range;  // with a residual: the activation, in place of the operator's own
  void* scratch;              // ScratchBytes(lines.count()) bytes, aligned to kAlignment
};

class LineOp {
 public:
  virtual ~LineOp() = default;

  virtual LineShape line_shape() const = 0;  // of the last Reshape

  // Scratch that RunLines needs for so many lines at a time.
  virtual int64_t ScratchBytes(int64_t lines) const = 0;

  // Computes lines of the output on the calling thread, as Run would to the last bit, whatever the lines are. Several
  // threads may call it at the same time. Every thread of a ThreadPool's job flushes denormals, which this relies on.
  virtual void RunLines(const LineRun& run) const = 0;
};

}  // namespace dgms

#endif  // DGMS_OPS_LINE_OP_H_
