"""`SharedActivation`: the quantised inputs of one layer of a model, as calibration, callbacks and reports see them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from dgms_keras.activations.quantizer import ActivationQuantizer
from dgms_keras.activations.statistics import TensorStatistics
from dgms_keras.backend_ops import to_numpy


@dataclasses.dataclass(frozen=True, eq=False)
class SharedActivation:
    """A quantiser of activations and its variables, of Keras 3 or tf_keras.

    Args:
        path: path of the layer in its model.
        quantizer: how its inputs are quantised.
        start, learned: the variables with the state; see `ActivationQuantizer`. `learned` is None where nothing is learned.
    """

    path: str
    quantizer: ActivationQuantizer
    start: Any
    learned: Any

    def calibrate(self, statistics: TensorStatistics) -> None:
        """Starts over from what was seen of the inputs."""
        self.start.assign(self.quantizer.calibrated_start(statistics))
        if self.learned is not None:
            self.learned.assign(np.zeros(self.quantizer.learned_shape, "float32"))

    @property
    def bits(self) -> int:
        """The bits of its config."""
        return self.quantizer.bits

    def set_bits(self, bits: int) -> None:
        """Goes on with another number of bits; interval and what was learned stay."""
        self.start.assign(self.quantizer.with_bits(to_numpy(self.start), bits))

    @property
    def is_calibrated(self) -> bool:
        """Whether the interval is set; until then inputs pass through as they are."""
        return self.quantizer.is_calibrated(self.start)

    def interval(self) -> tuple[float, float]:
        """(low, high) as they are now; see `ActivationQuantizer.interval`."""
        return self.quantizer.interval(self.start, self.learned)

    def value_range(self) -> tuple[float, float]:
        """(low, high) of the values that the layer receives."""
        return self.quantizer.value_range(self.start, self.learned)
