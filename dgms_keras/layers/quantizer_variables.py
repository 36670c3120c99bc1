"""The variables of one quantiser, in a Keras 3 layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from dgms_keras.weights.weight_decay import exclude_from_weight_decay


class _Within(keras.constraints.Constraint):
    """Keeps every entry within +-limits."""

    def __init__(self, limits: np.ndarray) -> None:
        self._limits = limits

    def __call__(self, value: Any) -> Any:
        return ops.clip(value, -self._limits, self._limits)


class QuantizerVariables(keras.layers.Layer):
    """The variables `start` and `learned` of a quantiser, which says what is in them.

    Args:
        quantizer: a `WeightQuantizer` or an `ActivationQuantizer`.
        initial: returns `start`; called when the variables get their values, which may be later than `build`.
        name: name of the layer, in the paths of the variables.
        mark: part of the names of the variables.
    """

    def __init__(self, quantizer: Any, initial: Callable[[], np.ndarray], name: str, mark: str) -> None:
        super().__init__(name=name, dtype="float32", autocast=False)
        self.quantizer = quantizer
        self._initial = initial
        self._mark = mark
        self.learned = None

    def build(self, input_shape: Any = None) -> None:
        """Creates the variables, float32 under every policy."""
        exclude_from_weight_decay(keras.optimizers.Optimizer)
        quantizer = self.quantizer
        common = {"dtype": "float32", "autocast": False, "aggregation": "only_first_replica"}
        self.start = self.add_weight(
            shape=quantizer.start_shape,
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(self._initial()),
            trainable=False,
            name=f"{self._mark}_start",
            **common,
        )
        if quantizer.learned_shape is not None:
            self.learned = self.add_weight(
                shape=quantizer.learned_shape,
                initializer="zeros",
                constraint=_Within(quantizer.limits),
                name=f"{self._mark}_learned",
                **common,
            )
