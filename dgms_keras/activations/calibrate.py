"""Calibration: the start values of activation quantisers from data."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from dgms_keras.activations.shared import SharedActivation
from dgms_keras.activations.statistics import TensorStatistics
from dgms_keras.backend_ops import to_numpy
from dgms_keras.batches import Batches


def calibrate(
    model: Any, activations: Sequence[SharedActivation], data: Any, *, batch_size: int = 32, steps: int | None = None
) -> None:
    """Runs a model on data, with hard weights and float activations, and sets intervals and ranges by what the layers receive.

    Args:
        model: the model; nothing else in it changes.
        activations: its quantisers.
        data, batch_size, steps: see `Batches`.

    Raises:
        ValueError: no data, or activations that are not finite (the message names the layer); nothing is changed then.

    Warns:
        UserWarning: a layer that the model does not run, or not on floats; its inputs stay in float.
    """
    batches = Batches(data, batch_size, steps)
    seen = [TensorStatistics() for _ in activations]
    try:
        for activation, statistics in zip(activations, seen, strict=True):
            activation.quantizer.observer = _observer(activation.path, statistics)
        for x in batches:
            model(x, training=False)
    finally:
        for activation in activations:
            activation.quantizer.observer = None
    for activation, statistics in zip(activations, seen, strict=True):
        if statistics.is_empty:
            warnings.warn(
                f"the inputs of layer {activation.path!r} stay in float: the model did not call it, or not on float tensors",
                UserWarning,
                stacklevel=2,
            )
        else:
            activation.calibrate(statistics)


def _observer(path: str, statistics: TensorStatistics) -> Any:
    def observe(x: Any) -> None:
        try:
            values = to_numpy(x)
        except (NotImplementedError, TypeError, AttributeError) as error:
            raise ValueError(
                f"calibration runs the model eagerly. Received: layer {path!r} inside a compiled function (such as TimeDistributed)"
            ) from error
        try:
            statistics.add(values)
        except ValueError as error:
            raise ValueError(f"{error} (inputs of layer {path!r})") from None

    return observe
