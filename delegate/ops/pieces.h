// How work that is bounded by memory is cut into what one thread does at a time.
#ifndef DGMS_OPS_PIECES_H_
#define DGMS_OPS_PIECES_H_

#include <algorithm>
#include <cstdint>

#include "ops/shapes.h"
#include "ops/thread_pool.h"

namespace dgms {

// Elements of one piece: one to three microseconds of work. Work of fewer than two of them is not worth waking workers
// for.
inline constexpr int64_t kPieceElements = 16384;

// Calls job(first, count) for pieces of [0, count). They are the same for any number of threads.
template <typename Job>
void RunPieces(int64_t count, ThreadPool& pool, const Job& job) {
  const auto piece = [&](int64_t item) {
    const int64_t first = item * kPieceElements;
    job(first, std::min(kPieceElements, count - first));
  };
  pool.Run(CeilDiv(count, kPieceElements), piece, count >= 2 * kPieceElements);
}

// Calls job(first, end) for ranges of `lines` lines that cost `line_elements` each.
template <typename Job>
void RunLines(int64_t lines, int64_t line_elements, ThreadPool& pool, const Job& job) {
  const int64_t per_item = std::max<int64_t>(1, kPieceElements / std::max<int64_t>(1, line_elements));
  const auto item_job = [&](int64_t item) { job(item * per_item, std::min(lines, (item + 1) * per_item)); };
  pool.Run(CeilDiv(lines, per_item), item_job, lines * line_elements >= 2 * kPieceElements);
}

}  // namespace dgms

#endif  // DGMS_OPS_PIECES_H_
