"""Callbacks for training a quantised model, of Keras 3 or tf_keras."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import keras

from dgms_keras.front_ends import front_end
from dgms_keras.weights.shared import SharedWeight


class _EpochCallback(keras.callbacks.Callback):
    """A callback for `fit` of Keras 3 and of tf_keras, which acts on epochs only."""

    # tf_keras asks every callback; Keras 3's base class does not answer.
    def _implements_train_batch_hooks(self) -> bool:
        return False

    _implements_test_batch_hooks = _implements_predict_batch_hooks = _implements_train_batch_hooks


class TemperatureSchedule(_EpochCallback):
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

    def _weights(self) -> list[SharedWeight]:
        return [weight for weight in front_end(self.model).shared_weights(self.model) if weight.has_mixture]

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


class BitSchedule(_EpochCallback):
    """Lowers the bits of activations, and of weights quantised by QIL, step by step over the epochs of a `fit`: each step starts from
    the intervals that the one before learned.

        model = dgms_keras.quantize_apply(model, activation_bits=2, representative_dataset=x)
        model.fit(x, y, epochs=12, callbacks=[dgms_keras.BitSchedule(activation_bits=(8, 4, 3, 2))])

    The epochs are divided evenly. Like `TemperatureSchedule` it follows the epoch's own number, so there is no state to save. When the
    fit ends, early or not, the last step's bits are set.

    Args:
        activation_bits: from many to few, 2 to 16 each; the last are those of the model's config. None: as they are.
        weight_bits: the same for weights with `weight_method="qil"`. (A mixture has as many components as its bits say from the start.)

    Raises:
        ValueError: bits that are not falling, or out of range, or none; at the start of the fit, a model with nothing to lower, or with
            other bits than the schedule ends at.

    Source: progressive fine-tuning, arXiv 1808.05779, Sec. 4.
    """

    def __init__(self, activation_bits: Sequence[int] | None = None, weight_bits: Sequence[int] | None = None) -> None:
        super().__init__()
        if activation_bits is None and weight_bits is None:
            raise ValueError("BitSchedule needs `activation_bits` or `weight_bits`. Received: none")
        for name, steps in (("activation_bits", activation_bits), ("weight_bits", weight_bits)):
            _check_steps(name, steps)
        self.activation_bits = None if activation_bits is None else tuple(activation_bits)
        self.weight_bits = None if weight_bits is None else tuple(weight_bits)

    def _parts(self) -> list[tuple[str, tuple[int, ...] | None, list[Any]]]:
        """(name of the argument, its steps, what they are for)."""
        front = front_end(self.model)
        weights = [weight for weight in front.shared_weights(self.model) if not weight.has_mixture]
        return [
            ("activation_bits", self.activation_bits, front.shared_activations(self.model)),
            ("weight_bits", self.weight_bits, weights),
        ]

    def _set(self, epoch: int, epochs: int) -> None:
        for _, steps, quantized in self._parts():
            for each in quantized if steps else ():
                each.set_bits(steps[min(epoch * len(steps) // epochs, len(steps) - 1)])

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks that the schedule fits the model."""
        for name, steps, quantized in self._parts():
            if steps is None:
                continue
            bits = sorted({each.bits for each in quantized})
            if bits != [steps[-1]]:
                raise ValueError(
                    f"`{name}` must end at the bits of the model's config. Received: {steps}, and the model {self.model.name!r} has "
                    f"{bits or 'no such quantiser'}"
                )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Sets the epoch's bits."""
        self._set(epoch, self.params["epochs"])

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Sets the last bits."""
        self._set(1, 1)


def _check_steps(name: str, steps: Sequence[int] | None) -> None:
    if steps is None:
        return
    integers = all(isinstance(bits, int) and not isinstance(bits, bool) and 2 <= bits <= 16 for bits in steps)
    if not steps or not integers or any(a <= b for a, b in itertools.pairwise(steps)):
        raise ValueError(f"`{name}` must be falling numbers of bits from 16 to 2. Received: {name}={tuple(steps)}")
