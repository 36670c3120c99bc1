#include "ops/padded_input.h"

#include <algorithm>
#include <cstring>

#include "ops/shapes.h"

namespace dgms {
namespace {

// Below this many floats a copy is not worth waking workers for.
constexpr int64_t kMinParallelFloats = 32768;

void Zero(float* to, int64_t count) { std::memset(to, 0, static_cast<size_t>(count) * sizeof(float)); }

}  // namespace

Status PaddedInput::Floats(int64_t* floats) const {
  const CheckedSize size = CheckedSize(batch) * rows * columns * channels * repeat;
  if (!size.FitsFloats()) return Status::kInvalidArgument;
  *floats = size.value();
  return Status::kOk;
}

void PaddedInput::CopyLine(const float* input, float* copy, int64_t line) const {
  const int64_t pixel = channels * repeat;
  copy += line * columns * pixel;
  const int64_t image = line / rows, y = line % rows - pad_top;
  if (y < 0 || y >= in_h) return Zero(copy, columns * pixel);
  const int64_t width = std::min(in_w, columns - pad_left);  // pixels of the input that are needed
  Zero(copy, pad_left * pixel);
  const float* from = input + (image * in_h + y) * in_w * channels;
  float* to = copy + pad_left * pixel;
  if (repeat == 1) {
    std::memcpy(to, from, static_cast<size_t>(width * channels) * sizeof(float));
  } else {
    for (int64_t i = 0; i < width * channels; ++i, to += repeat) std::fill(to, to + repeat, from[i]);
  }
  Zero(copy + (pad_left + width) * pixel, (columns - pad_left - width) * pixel);
}

void PaddedInput::Copy(const float* input, float* copy, ThreadPool& pool) const {
  const int64_t lines = batch * rows;
  const int64_t floats = lines * columns * channels * repeat;
  const int64_t items = std::min<int64_t>(lines, 4 * pool.num_threads());
  const auto job = [&](int64_t item) {
    for (int64_t line = lines * item / items; line < lines * (item + 1) / items; ++line) CopyLine(input, copy, line);
  };
  pool.Run(items, job, floats >= kMinParallelFloats);
}

}  // namespace dgms
