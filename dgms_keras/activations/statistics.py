"""What calibration sees of a tensor, and the range or interval that suits it."""

from __future__ import annotations

import numpy as np

from dgms_keras.activations.uniform import nudged

# Values kept of each batch, and in all: enough to place a threshold, little enough to try many.
_PER_BATCH, _IN_ALL = 8192, 65536
# Thresholds tried between 0 and the largest value.
_CANDIDATES = 128


class TensorStatistics:
    """The extremes and a random sample of the values of a tensor over several batches.

    Args:
        seed: of the sample.
    """

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._kept: list[np.ndarray] = []
        self.low, self.high = np.inf, -np.inf

    def add(self, values: np.ndarray) -> None:
        """Looks at one batch.

        Raises:
            ValueError: values that are not finite.
        """
        flat = np.asarray(values, np.float32).reshape(-1)
        if not flat.size:
            return
        if not np.all(np.isfinite(flat)):
            raise ValueError(f"activations must be finite. Received: {np.sum(~np.isfinite(flat))} that are not")
        self.low, self.high = min(self.low, float(flat.min())), max(self.high, float(flat.max()))
        if flat.size > _PER_BATCH:
            flat = flat[self._rng.integers(0, flat.size, _PER_BATCH)]
        self._kept.append(flat)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was seen."""
        return not self._kept

    def sample(self) -> np.ndarray:
        """Some of the values, float32, at most 65536."""
        values = np.concatenate(self._kept)
        return values if values.size <= _IN_ALL else values[self._rng.permutation(values.size)[:_IN_ALL]]


def best_threshold(values: np.ndarray, levels: int) -> float:
    """The threshold at which |values|, clipped there and rounded to `levels` equal steps, has the least mean squared error."""
    magnitudes = np.abs(values.astype(np.float64))
    largest = float(magnitudes.max(initial=0.0))
    if largest == 0:
        return 1.0
    candidates = largest * np.arange(1, _CANDIDATES + 1) / _CANDIDATES
    errors = [
        np.mean((np.round(np.minimum(magnitudes, t) * (levels / t)) * (t / levels) - magnitudes) ** 2)
        for t in candidates
    ]
    return float(candidates[int(np.argmin(errors))])


def best_range(values: np.ndarray, low: float, high: float, steps: int) -> tuple[float, float]:
    """The part of [low, high], shrunk towards 0, in which rounding and clipping have the least mean squared error together."""
    exact = values.astype(np.float64)
    best, best_error = nudged(low, high, steps), np.inf
    for share in np.arange(1, _CANDIDATES + 1) / _CANDIDATES:
        start, end = nudged(low * share, high * share, steps)
        scale = (end - start) / steps
        error = float(np.mean((np.round(np.clip(exact, start, end) / scale) * scale - exact) ** 2))
        if error < best_error:
            best, best_error = (start, end), error
    return best
