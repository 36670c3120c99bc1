"""One-dimensional k-means in NumPy: near-exact, deterministic, a second or so for 25 million values.

In one dimension the clusters are intervals of the sorted values, so the best partition into intervals is found by dynamic
programming, without restarts. On few values (up to `_MAX_CELLS` distinct ones) that is exact. On more values the programme
runs on cells (runs of neighbouring values, cut so that all cells have about the same squared error) and Lloyd's steps on
all values then move each boundary to its exact place.
"""

from __future__ import annotations

import numpy as np

# Cells that the dynamic programme sees. With this many the cells' own squared error is about (k / cells)^2 of the result's.
_MAX_CELLS = 1024
# Sorted values per block whose running sums are stored; sums up to a place inside a block add the block's part up.
_BLOCK = 1024
# Lloyd's steps start next to the optimum; each lowers the squared error, so stopping early costs little.
_MAX_LLOYD_STEPS = 200


class _SortedValues:
    """Sorted values with running sums, so that any interval's mean and squared error cost O(1) (nearly)."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = np.sort(values, axis=None)
        self.shift = float(self.values[self.values.size // 2])  # sums of squares about the median: no cancellation
        blocks = -(-self.values.size // _BLOCK)
        self._sums = np.zeros(blocks + 1)
        self._squares = np.zeros(blocks + 1)
        step = 1024  # blocks converted to float64 at a time: 8 MiB
        for first in range(0, blocks, step):
            part = self.values[first * _BLOCK : (first + step) * _BLOCK] - np.float64(self.shift)
            starts = np.arange(0, part.size, _BLOCK)
            self._sums[first + 1 : first + 1 + starts.size] = np.add.reduceat(part, starts)
            self._squares[first + 1 : first + 1 + starts.size] = np.add.reduceat(part * part, starts)
        np.cumsum(self._sums, out=self._sums)
        np.cumsum(self._squares, out=self._squares)

    def running_sums(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sums of the first `places[i]` shifted values and of their squares."""
        block = places // _BLOCK
        sums, squares = self._sums[block].copy(), self._squares[block].copy()
        for i in np.flatnonzero(places % _BLOCK):
            part = self.values[block[i] * _BLOCK : places[i]] - np.float64(self.shift)
            sums[i] += part.sum()
            squares[i] += part @ part
        return sums, squares


def _interval_error(count: np.ndarray, total: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Squared error of intervals about their means; 0 for an empty one."""
    return np.maximum(squares - total * total / np.maximum(count, 1), 0.0)


def _cells(data: _SortedValues, k: int) -> np.ndarray:
    """Places in the sorted values between which the cells lie: 0, ..., size; cuts only between different values."""
    values = data.values
    wanted = max(_MAX_CELLS, 4 * k)
    if values.size <= 64 * wanted:  # few values: perhaps few distinct ones, each of which can be a cell
        changes = np.flatnonzero(values[1:] != values[:-1]) + 1
        if changes.size < wanted:
            return np.concatenate([[0], changes, [values.size]])
    # Equal counts first; equal values stay together. Then halve (in value) the cells that hold most of the error.
    cuts = np.linspace(0, values.size, wanted // 4 + 1).astype(np.int64)[1:-1]
    cuts = np.unique(np.searchsorted(values, values[cuts]))
    cuts = np.unique(np.concatenate([[0], cuts, [values.size]]))
    while cuts.size - 1 < wanted:
        sums, squares = data.running_sums(cuts)
        error = _interval_error(np.diff(cuts), np.diff(sums), np.diff(squares))
        low, high = values[cuts[:-1]].astype(np.float64), values[cuts[1:] - 1].astype(np.float64)
        heavy = np.flatnonzero((error >= error.sum() / (2 * error.size)) & (low < high))
        heavy = heavy[np.argsort(-error[heavy], kind="stable")][: wanted - (cuts.size - 1)]
        middle = (low[heavy] + high[heavy]) / 2
        new = np.searchsorted(values, middle.astype(values.dtype), side="right")
        new = np.setdiff1d(np.clip(new, cuts[heavy] + 1, cuts[heavy + 1] - 1), cuts)
        if new.size == 0:
            break
        cuts = np.union1d(cuts, new)
    return cuts


def _best_partition(count: np.ndarray, total: np.ndarray, squares: np.ndarray, k: int) -> np.ndarray:
    """Cell boundaries `[k + 1]` of the partition of the cells into k intervals with the least squared error.

    Dynamic programming over (intervals used, cells covered). The best last boundary grows with the number of cells covered
    (the cost is concave-Monge), so each level of a binary subdivision scans little more than all cells once.

    Args:
        count, total, squares: float64 `[cells + 1]`, running sums over the cells, starting at 0.
        k: number of intervals, at most the number of cells.
    """
    cells = count.size - 1

    def error(first: np.ndarray, last: np.ndarray) -> np.ndarray:
        return _interval_error(count[last] - count[first], total[last] - total[first], squares[last] - squares[first])

    best = error(np.zeros(cells + 1, np.int64), np.arange(cells + 1))
    previous = np.zeros((k + 1, cells + 1), np.int64)
    top = 1 << (int(cells).bit_length() - 1)
    for used in range(2, k + 1):
        # boundary[e]: where the last of `used` intervals over the first e cells starts. Places are solved coarse to fine (odd
        # multiples of `stride`), so the solved neighbours on both sides bound the search.
        boundary = np.full(cells + 1, used - 1, np.int64)
        least = np.full(cells + 1, np.inf)  # fewer cells than intervals: no partition
        stride = top
        while stride:
            ends = np.arange(stride, cells + 1, 2 * stride)
            ends = ends[ends >= used]
            stride, step = stride // 2, stride
            if ends.size == 0:
                continue
            right = np.minimum(ends + step, cells)
            low = boundary[ends - step]
            high = np.where(ends + step <= cells, np.minimum(boundary[right], ends - 1), ends - 1)
            sizes = high - low + 1
            starts = np.cumsum(sizes) - sizes
            first = np.arange(sizes.sum()) + np.repeat(low - starts, sizes)
            cost = best[first] + error(first, np.repeat(ends, sizes))
            least[ends] = np.minimum.reduceat(cost, starts)
            boundary[ends] = np.minimum.reduceat(np.where(cost == np.repeat(least[ends], sizes), first, cells), starts)
        previous[used] = boundary
        best = least
    edges = np.empty(k + 1, np.int64)
    edges[k] = cells
    for used in range(k, 0, -1):
        edges[used - 1] = previous[used][edges[used]] if used > 1 else 0
    return edges


def _lloyd(data: _SortedValues, edges: np.ndarray) -> np.ndarray:
    """Moves the boundaries between neighbouring clusters half-way between their means until nothing moves."""
    for _ in range(_MAX_LLOYD_STEPS):
        sums, _ = data.running_sums(edges)
        means = np.diff(sums) / np.diff(edges) + data.shift
        middle = ((means[1:] + means[:-1]) / 2).astype(data.values.dtype)
        moved = np.concatenate([[0], np.searchsorted(data.values, middle, side="right"), [data.values.size]])
        if np.any(np.diff(moved) <= 0) or np.array_equal(moved, edges):
            break
        edges = moved
    return edges


def kmeans_1d(values: np.ndarray, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """k-means of numbers.

    Args:
        values: any shape, float; finite. Half precision is read as float32.
        k: clusters wanted, >= 1. With fewer distinct values there are as many clusters as distinct values.
        seed: accepted so that callers need not know the algorithm; there is no random step, any seed gives the same result.

    Returns:
        centers, counts, deviations: each `[k']` with `k' = min(k, number of distinct values)`, by rising centre: float64 means,
        int64 numbers of values (never 0) and float64 standard deviations of each cluster about its own mean.

    Raises:
        ValueError: `k` < 1, or a value is NaN or infinite.

    Source: Algorithm 1 (initialisation); the dynamic programme is the classical one for one dimension.
    """
    del seed
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise ValueError(f"`k` must be an integer >= 1. Received: k={k!r}")
    values = np.asarray(values)
    values = values if values.dtype in (np.float32, np.float64) else values.astype(np.float32)
    if not np.all(np.isfinite(values)):
        bad = values[~np.isfinite(values)]
        raise ValueError(
            f"`values` must be finite. Received: {np.isnan(bad).sum()} NaN and {np.isinf(bad).sum()} infinite of {values.size}"
        )
    if values.size == 0:
        return np.zeros(0), np.zeros(0, np.int64), np.zeros(0)
    data = _SortedValues(values)
    cuts = _cells(data, k)
    k = min(int(k), cuts.size - 1)
    sums, squares = data.running_sums(cuts)
    edges = cuts[_best_partition(cuts.astype(np.float64), sums, squares, k)]
    edges = _lloyd(data, edges)
    sums, squares = data.running_sums(edges)
    counts = np.diff(edges)
    means = np.diff(sums) / counts
    deviations = np.sqrt(_interval_error(counts, np.diff(sums), np.diff(squares)) / counts)
    low, high = data.values[edges[:-1]].astype(np.float64), data.values[edges[1:] - 1].astype(np.float64)
    deviations[low == high] = 0.0  # not the round-off of the running sums
    return np.clip(means + data.shift, low, high), counts, deviations
