"""Which quantiser a config asks for, for one weight tensor."""

from __future__ import annotations

from dgms_keras.config import DGMSConfig
from dgms_keras.weights.interval_quantizer import IntervalWeightQuantizer
from dgms_keras.weights.quantizer import MixtureQuantizer

WeightQuantizer = MixtureQuantizer | IntervalWeightQuantizer

_METHODS: dict[str, type[WeightQuantizer]] = {"mixture": MixtureQuantizer, "qil": IntervalWeightQuantizer}


def weight_quantizer(config: DGMSConfig, shape: tuple[int, ...], channel_axes: tuple[int, ...]) -> WeightQuantizer:
    """The quantiser of a weight of this shape."""
    return _METHODS[config.weight_method].of(config, shape, channel_axes)
