"""QIL for weights: an alternative to the mixture with the same interface (`MixtureQuantizer`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from dgms_keras.activations.intervals import quantize_interval
from dgms_keras.activations.quantizer import levels_of
from dgms_keras.activations.statistics import best_threshold
from dgms_keras.backend_ops import to_numpy
from dgms_keras.config import DGMSConfig
from dgms_keras.weights.groups import Groups

NAME_MARK = "dgms_interval"

# How far training may move center (in units of the interval's upper end), distance and exponent (as logarithms).
_LIMITS = (2.0, 3.0, 2.0)


class IntervalWeightQuantizer:
    """Quantises a weight tensor to the 2^bits - 1 levels of a learned interval, 0 among them.

    `start` is center, distance and bits at the start; `learned` the centre's move as a share of the interval's upper end, and the
    logarithms of distance's factor and of the exponent (1 at the start).

    Args:
        config: bits and weight_method.
        groups: the tensor's channel groups: one for the whole tensor.
    """

    has_mixture = False
    name_mark = NAME_MARK

    def __init__(self, config: DGMSConfig, groups: Groups) -> None:
        self.config = config
        self.groups = groups

    @classmethod
    def of(cls, config: DGMSConfig, shape: tuple[int, ...], channel_axes: tuple[int, ...]) -> IntervalWeightQuantizer:
        """The quantizer of a weight of this shape."""
        return cls(config, Groups(shape, channel_axes, None))

    @property
    def start_shape(self) -> tuple[int, ...]:
        """Shape of `start`."""
        return (3,)

    @property
    def learned_shape(self) -> tuple[int, ...]:
        """Shape of `learned`."""
        return (3,)

    @property
    def limits(self) -> np.ndarray:
        """The entries of `learned` are kept within +-limits after each update."""
        return np.array(_LIMITS, "float32")

    def placeholder_start(self) -> np.ndarray:
        """`start` for where only shapes matter."""
        return np.array([0.5, 0.5, self.config.bits], "float32")

    def initial_start(self, latent: np.ndarray, name: str, quick: bool = False) -> np.ndarray:
        """`start` with the interval [0, u] that has the least squared error on the weights.

        Args:
            latent: the weights, float32.
            name: the layer's path, for messages.
            quick: whatever the weights are.

        Raises:
            ValueError: weights that are not finite.
        """
        if not quick and not np.all(np.isfinite(latent)):
            raise ValueError(
                f"weights must be finite. Received: {np.sum(~np.isfinite(latent))} that are not (layer {name!r})"
            )
        half = best_threshold(np.nan_to_num(latent.reshape(-1)), 2 ** (self.config.bits - 1) - 1) / 2
        return np.array([half, half, self.config.bits], "float32")

    def with_bits(self, start: np.ndarray, bits: int) -> np.ndarray:
        """`start` with another number of bits, at the same interval: for training with more bits first."""
        return np.array([start[0], start[1], bits], "float32")

    def values(self, start: Any, learned: Any) -> tuple[Any, Any, Any, Any]:
        """(center, distance, exponent, levels): float32 scalars."""
        start, learned = ops.convert_to_tensor(start), ops.convert_to_tensor(learned)
        center = start[0] + (start[0] + start[1]) * ops.clip(learned[0], -_LIMITS[0], _LIMITS[0])
        distance = start[1] * ops.exp(ops.clip(learned[1], -_LIMITS[1], _LIMITS[1]))
        exponent = ops.exp(ops.clip(learned[2], -_LIMITS[2], _LIMITS[2]))
        return center, distance, exponent, levels_of(start[2] - 1)

    def quantized(self, weight: Any, start: Any, learned: Any, training: bool) -> Any:
        """The weight as its layer uses it, in training and in inference: float32, in the tensor's shape."""
        center, distance, exponent, levels = self.values(start, learned)
        return quantize_interval(weight, center, distance, levels, exponent)

    def codebook(self, start: Any, learned: Any) -> np.ndarray:
        """The values of the codes, float32 `[2^bits]`: 0, the positive levels, the negative ones; the last code is not used.

        Raises:
            ValueError: the interval is not finite, or the weight is still trained with more bits.
        """
        center, distance, _, levels = (to_numpy(v) for v in self.values(start, learned))
        wanted = 2 ** (self.config.bits - 1) - 1
        if int(levels) != wanted:
            raise ValueError(
                f"the weight must be at its {self.config.bits} bits ({wanted} levels) to be frozen. Received: {int(levels)} levels"
            )
        # In float32, operation by operation as `quantized` computes it.
        steps = np.arange(1, wanted + 1, dtype="float32") / np.float32(wanted)
        positive = (center + distance).astype("float32") * steps
        if not np.all(np.isfinite(positive)):
            raise ValueError(f"the interval must be finite. Received: center {center}, distance {distance}")
        return np.concatenate([np.zeros(1, "float32"), positive, -positive, np.zeros(1, "float32")])

    def indices(self, latent: np.ndarray, start: Any, learned: Any) -> np.ndarray:
        """The codes of the weights, int32 in the tensor's shape."""
        center, distance, _, levels = (to_numpy(v) for v in self.values(start, learned))
        values = to_numpy(self.quantized(ops.convert_to_tensor(latent), start, learned, training=False))
        step = np.round(np.abs(values) / (center + distance) * levels).astype("int32")
        return np.where(values < 0, step + int(levels), step)
