"""Callbacks for training a quantised model."""

from __future__ import annotations

import math
from typing import Any

import keras

from dgms_keras.front_ends import front_end
from dgms_keras.weights.shared import SharedWeight


class TemperatureSchedule(keras.callbacks.Callback):
    """Anneals tau (Eq. 7) exponentially over the epochs of a `fit`, e.g. from 0.3 to 0.01.

        model.fit(x, y, epochs=10, callbacks=[dgms_keras.TemperatureSchedule(0.3, 0.01)])

    Epoch e of n trains at `start * (end / start) ** (e / (n - 1))`: the first epoch at `start`, the last (and the only one of a
    single-epoch fit) at `end`. The position follows the epoch's own number, so `fit(initial_epoch=...)` goes on where the first
    part of a fit stopped; there is no state to save.

    Every mixture of the model gets the value at the beginning of an epoch. With `learn_temperature=True` training still moves
    tau within an epoch, and the next epoch starts from the schedule again; for the schedule alone, use
    `learn_temperature=False`.

    Args:
        start: tau of the first epoch, > 0.
        end: tau of the last epoch, > 0.

    Raises:
        ValueError: a temperature that is not a finite number > 0; at the start of the fit, a model without mixtures.
    """

    def __init__(self, start: float, end: float) -> None:
        super().__init__()
        for name, value in (("start", start), ("end", end)):
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or value <= 0:
                raise ValueError(f"`{name}` must be a finite number > 0. Received: {name}={value!r}")
        self.start = float(start)
        self.end = float(end)

    def temperature(self, epoch: int, epochs: int) -> float:
        """tau of epoch number `epoch` (from 0) of `epochs`."""
        part = min(epoch / (epochs - 1), 1.0) if epochs > 1 else 1.0
        return self.start * (self.end / self.start) ** part

    # tf_keras asks every callback; Keras 3's base class does not answer.
    def _implements_train_batch_hooks(self) -> bool:
        return False

    _implements_test_batch_hooks = _implements_predict_batch_hooks = _implements_train_batch_hooks

    def _weights(self) -> list[SharedWeight]:
        return front_end(self.model).shared_weights(self.model)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks that there is something to anneal."""
        if not self._weights():
            raise ValueError(
                "TemperatureSchedule needs a model from dgms_keras.quantize_apply. "
                f"Received: model {self.model.name!r}, without quantised layers"
            )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Sets tau of every mixture."""
        tau = self.temperature(epoch, self.params["epochs"])
        for weight in self._weights():
            weight.set_temperature(tau)
