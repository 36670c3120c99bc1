#include "ops/padded_input.h"

#include <algorithm>

#include "kernels/move_bytes.h"
#include "ops/shapes.h"

namespace dgms {
namespace {

// Below this many elements a copy is not worth waking workers for.
constexpr int64_t kMinParallelElements = 32768;

template <typename T>
void Move(const T* from, T* to, int64_t count) {
  MoveBytesDown(to, from, static_cast<size_t>(count) * sizeof(T));
}

void MoveFlipped(const int8_t* from, int8_t* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = static_cast<int8_t>(from[i] ^ -128);
}

// One line of the copy: `move(from, to, count)` copies neighbouring elements, `fill` is the padding.
template <typename T, typename MoveFn>
void CopyLine(const PaddedInput& p, const T* input, T* copy, int64_t line, T fill, const MoveFn& move) {
  const int64_t pixel = p.channels * p.repeat;
  copy += line * p.columns * pixel;
  const int64_t image = line / p.rows, y = line % p.rows - p.pad_top;
  if (y < 0 || y >= p.in_h) {
    std::fill(copy, copy + p.columns * pixel, fill);
    return;
  }
  const int64_t left = std::min(p.pad_left, p.columns);
  const int64_t width = std::min(p.in_w, p.columns - left);  // pixels of the input that are needed
  std::fill(copy, copy + left * pixel, fill);
  const T* from = input + (image * p.in_h + y) * p.in_w * p.channels;
  T* to = copy + left * pixel;
  if (p.repeat == 1) {
    move(from, to, width * p.channels);
  } else {
    for (int64_t i = 0; i < width * p.channels; ++i, to += p.repeat) {
      move(from + i, to, 1);
      std::fill(to + 1, to + p.repeat, *to);
    }
  }
  std::fill(copy + (left + width) * pixel, copy + p.columns * pixel, fill);
}

template <typename T, typename MoveFn>
void CopyLines(const PaddedInput& p, const T* input, T* copy, T fill, const MoveFn& move, ThreadPool& pool) {
  const int64_t lines = p.batch * p.rows;
  const int64_t elements = lines * p.columns * p.channels * p.repeat;
  const int64_t items = std::min<int64_t>(lines, 4 * pool.num_threads());
  const auto job = [&](int64_t item) {
    for (int64_t line = lines * item / items; line < lines * (item + 1) / items; ++line) {
      CopyLine(p, input, copy, line, fill, move);
    }
  };
  pool.Run(items, job, elements >= kMinParallelElements);
}

// The same on the calling thread.
template <typename T, typename MoveFn>
void CopyLines(const PaddedInput& p, const T* input, T* copy, T fill, const MoveFn& move) {
  for (int64_t line = 0; line < p.batch * p.rows; ++line) CopyLine(p, input, copy, line, fill, move);
}

}  // namespace

Status PaddedInput::Elements(int64_t* elements) const {
  const CheckedSize size = CheckedSize(batch) * rows * columns * channels * repeat;
  if (!size.FitsFloats()) return Status::kInvalidArgument;
  *elements = size.value();
  return Status::kOk;
}

void PaddedInput::Copy(const float* input, float* copy, ThreadPool& pool) const {
  CopyLines(*this, input, copy, 0.0f, Move<float>, pool);
}

void PaddedInput::Copy(const float* input, float* copy) const { CopyLines(*this, input, copy, 0.0f, Move<float>); }

void PaddedInput::Copy(const int8_t* input, int8_t* copy, int8_t zero, bool flip, ThreadPool& pool) const {
  if (flip) {
    CopyLines(*this, input, copy, static_cast<int8_t>(zero ^ -128), MoveFlipped, pool);
  } else {
    CopyLines(*this, input, copy, zero, Move<int8_t>, pool);
  }
}

void PaddedInput::Copy(const int8_t* input, int8_t* copy, int8_t zero, bool flip) const {
  if (flip) {
    CopyLines(*this, input, copy, static_cast<int8_t>(zero ^ -128), MoveFlipped);
  } else {
    CopyLines(*this, input, copy, zero, Move<int8_t>);
  }
}

}  // namespace dgms
