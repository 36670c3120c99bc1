"""How the inputs of one layer are quantised: the state as arrays, what is computed with them. Whatever Keras the layer belongs to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from dgms_keras.activations.intervals import quantize_interval
from dgms_keras.activations.statistics import TensorStatistics, best_range, best_threshold
from dgms_keras.activations.uniform import nudged, quantize_range
from dgms_keras.backend_ops import to_numpy
from dgms_keras.config import DGMSConfig

# In the name of every variable that holds the state of a quantiser of activations.
NAME_MARK = "dgms_activation"

# How far training may move an interval: its centre by this multiple of its upper end, its width by exp(+-this).
_CENTER_LIMIT, _DISTANCE_LIMIT = 2.0, 3.0
# Entries of `start`.
_FIRST, _SECOND, _BITS, _SIGNED, _CALIBRATED = range(5)


class ActivationQuantizer:
    """Quantises the inputs of a layer.

    `start` is five numbers: for "qil" center and distance, else the range's low and high end; then the bits, whether values of both signs
    occur, and whether calibration has set the others (until then activations pass through as they are). `learned`, for "qil" only, is
    what training added: the centre's move as a share of the interval's upper end, and the logarithm of the distance's factor.

    Args:
        bits: 2, 3, 4 or 8.
        method: "qil" (learned interval), "minmax" or "mse" (fixed ranges from calibration).
    """

    def __init__(self, bits: int, method: str) -> None:
        self.bits = bits
        self.method = method
        # Called with the values of each input, which then pass through unchanged: calibration.
        self.observer: Callable[[Any], None] | None = None

    @classmethod
    def of(cls, config: DGMSConfig) -> ActivationQuantizer | None:
        """The quantiser that a config asks for; None for float activations."""
        return None if config.activation_bits is None else cls(config.activation_bits, config.activation_method)

    @property
    def start_shape(self) -> tuple[int, ...]:
        """Shape of `start`."""
        return (5,)

    @property
    def learned_shape(self) -> tuple[int, ...] | None:
        """Shape of `learned`; None where nothing is learned."""
        return (2,) if self.method == "qil" else None

    @property
    def limits(self) -> np.ndarray:
        """The entries of `learned` are kept within +-limits after each update."""
        return np.array([_CENTER_LIMIT, _DISTANCE_LIMIT], "float32")

    def placeholder_start(self) -> np.ndarray:
        """`start` before calibration."""
        return np.array([0.5, 0.5, self.bits, 0, 0] if self.method == "qil" else [0, 1, self.bits, 0, 0], "float32")

    def calibrated_start(self, statistics: TensorStatistics) -> np.ndarray:
        """`start` for what was seen of the inputs: the interval [0, u] ("qil") with the least mean squared error, the same for a range
        ("mse"), or the extremes ("minmax")."""
        signed = statistics.low < 0
        steps = 2**self.bits - 1
        if self.method == "qil":
            levels = 2 ** (self.bits - signed) - 1  # one bit is the sign's
            first = second = best_threshold(statistics.sample(), levels) / 2
        elif self.method == "mse":
            first, second = best_range(statistics.sample(), statistics.low, statistics.high, steps)
        else:
            first, second = nudged(statistics.low, statistics.high, steps)
        return np.array([first, second, self.bits, signed, 1], "float32")

    def with_bits(self, start: np.ndarray, bits: int) -> np.ndarray:
        """`start` with another number of bits, at the same interval or range."""
        start = start.copy()
        start[_BITS] = bits
        if self.method != "qil" and start[_CALIBRATED]:
            start[:2] = nudged(float(start[_FIRST]), float(start[_SECOND]), 2**bits - 1)
        return start

    def interval(self, start: Any, learned: Any) -> tuple[float, float]:
        """(low, high): the magnitudes between which an interval resolves values, or the ends of a range."""
        start = to_numpy(start)
        if self.method != "qil":
            return float(start[_FIRST]), float(start[_SECOND])
        center, distance = (
            float(to_numpy(v)) for v in _interval(ops.convert_to_tensor(start), ops.convert_to_tensor(learned))
        )
        return center - distance, center + distance

    def value_range(self, start: Any, learned: Any) -> tuple[float, float]:
        """(low, high) of quantised values."""
        low, high = self.interval(start, learned)
        if self.method != "qil":
            return low, high
        return (-high if to_numpy(start)[_SIGNED] else 0.0), high

    def is_calibrated(self, start: Any) -> bool:
        """Whether calibration has set the interval or range."""
        return bool(to_numpy(start)[_CALIBRATED])

    def quantized(self, x: Any, start: Any, learned: Any) -> Any:
        """The inputs as the layer gets them: the shape and dtype of `x`; `x` itself before calibration."""
        if self.observer is not None:
            self.observer(x)
            return x
        start = ops.convert_to_tensor(start)
        if self.method == "qil":
            center, distance = _interval(start, ops.convert_to_tensor(learned))
            y = quantize_interval(x, center, distance, levels_of(start[_BITS] - start[_SIGNED]))
        else:
            y = quantize_range(x, start[_FIRST], start[_SECOND], levels_of(start[_BITS]))
        return ops.where(start[_CALIBRATED] > 0, y, x)


def levels_of(bits: Any) -> Any:
    """2^bits - 1 of a tensor, exactly."""
    return ops.round(ops.power(2.0, bits)) - 1


def _interval(start: Any, learned: Any) -> tuple[Any, Any]:
    """(center, distance) of a "qil" quantiser."""
    upper = start[_FIRST] + start[_SECOND]
    center = start[_FIRST] + upper * ops.clip(learned[0], -_CENTER_LIMIT, _CENTER_LIMIT)
    distance = start[_SECOND] * ops.exp(ops.clip(learned[1], -_DISTANCE_LIMIT, _DISTANCE_LIMIT))
    return center, distance
