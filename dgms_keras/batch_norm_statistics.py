"""`recalibrate_batch_norm`: BatchNorm's moving statistics, measured with hard weights."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from keras import ops

from dgms_keras.backend_ops import to_numpy
from dgms_keras.batches import Batches

# The statistics have settled when no channel's mean moves by more than this share of its deviation, and no deviation by more
# than this share of itself, from one pass to the next.
_SETTLED = 1e-4


def recalibrate(
    model: Any,
    layers: Sequence[Any],
    data: Any,
    *,
    batch_size: int = 32,
    steps: int | None = None,
    passes: int | None = None,
) -> Any:
    """Re-estimates the moving mean and variance of every BatchNormalization, with the weights that evaluation uses.

    While a model trains, the statistics follow the soft weights; evaluation uses hard weights. This measures mean and variance
    over all of `data` (pooled, not with momentum), so that each BatchNormalization's statistics are those of what it receives in
    inference on `data`. A statistic depends on those of the layers before: the first pass normalises with each batch's own
    statistics, the following ones with the result so far, until nothing changes. After n passes the first n
    BatchNormalizations are exact.

    Args:
        model: a built model of Keras 3 or tf_keras, quantised or not. Nothing else in it changes.
        layers: its BatchNormalizations; frozen ones are measured as well.
        data: inputs as arrays (in a list or dict for several inputs), or batches: a tf.data.Dataset, keras.utils.PyDataset,
            generator or other iterable. Of (inputs, targets[, weights]) tuples the inputs are used.
        batch_size: for arrays.
        steps: batches per pass; None for all. A generator needs it unless it ends; its batches are kept for the other passes.
        passes: how often to go over the data; None: until the statistics settle (relative change below 1e-4), at most once per
            BatchNormalization.

    Returns:
        `model`.

    Raises:
        ValueError: no data, or statistics that are not finite (the message names the layer). The old statistics are kept.
    """
    if passes is not None and (not isinstance(passes, int) or passes < 1):
        raise ValueError(f"`passes` must be None or an integer >= 1. Received: passes={passes!r}")
    meters = [_Meter(layer) for layer in layers]
    if not meters:
        return model
    batches = Batches(data, batch_size, steps)
    kept = [meter.statistics() for meter in meters]
    try:
        for number in range(passes or len(meters)):
            changes = _measure(model, meters, batches, by_batch=number == 0)
            if passes is None and max(changes) < _SETTLED:
                break
    except BaseException:
        for meter, statistics in zip(meters, kept, strict=True):
            meter.set_statistics(*statistics)
        raise
    return model


def _measure(model: Any, meters: list[_Meter], batches: Batches, by_batch: bool) -> list[float]:
    """One pass over the data; the change of each layer's statistics."""
    with contextlib.ExitStack() as stack:
        for meter in meters:
            stack.enter_context(meter.measuring(by_batch))
        for x in batches:
            model(x, training=False)
    return [meter.finish() for meter in meters]


class _Meter:
    """Measures what one BatchNormalization receives."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer

    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """The layer's moving mean and variance."""
        return to_numpy(self._layer.moving_mean), to_numpy(self._layer.moving_variance)

    def set_statistics(self, mean: np.ndarray, variance: np.ndarray) -> None:
        """Sets them."""
        self._layer.moving_mean.assign(mean)
        self._layer.moving_variance.assign(variance)

    @contextlib.contextmanager
    def measuring(self, by_batch: bool) -> Iterator[None]:
        """Within this context the layer measures its inputs.

        Args:
            by_batch: normalise with the batch's own statistics instead of the layer's.
        """
        self._count = 0.0
        self._old = self._mean, self._variance = self.statistics()
        self._by_batch = by_batch
        # An instance attribute hides the method. Set behind Keras's back: it is not state, and it is gone after the pass.
        self._layer.__dict__["call"] = functools.partial(self._call, self._layer.call)
        try:
            yield
        finally:
            del self._layer.__dict__["call"]
            self.set_statistics(*self._old)

    def _call(self, call: Any, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        del training  # inference, whatever the model around says
        mean, variance, count = self._moments(inputs, mask)
        if count > 0:
            # Chan, Golub, LeVeque: pooling means and variances without the cancellation of E[x^2] - E[x]^2.
            total, delta = self._count + count, mean - self._mean
            if self._count == 0:
                self._mean, self._variance = mean, variance
            else:
                share = count / total
                self._variance = (1 - share) * self._variance + share * variance + share * (1 - share) * delta**2
                self._mean = self._mean + share * delta
            self._count = total
            if self._by_batch:
                self.set_statistics(mean, variance)
        return call(inputs, training=False, mask=mask)

    def _moments(self, inputs: Any, mask: Any) -> tuple[np.ndarray, np.ndarray, float]:
        """Mean and variance per channel (float64) of one batch, and of how many values each."""
        x = ops.cast(inputs, "float32")
        axis = int(np.ravel(self._layer.axis)[0]) % len(x.shape)  # tf_keras has a list of one
        others = [a for a in range(len(x.shape)) if a != axis]
        if mask is None:
            count = float(np.prod([int(n) for a, n in enumerate(x.shape) if a != axis], dtype=np.float64))
            if count == 0:
                return np.zeros(x.shape[axis]), np.zeros(x.shape[axis]), 0.0
            mean, variance = ops.moments(x, axes=others)
        else:
            weights = ops.broadcast_to(ops.expand_dims(ops.cast(mask, "float32"), -1), ops.shape(x))
            sums = ops.sum(weights, axis=others)
            count = float(to_numpy(sums)[0])
            shape = [-1 if a == axis else 1 for a in range(len(x.shape))]
            safe = ops.maximum(sums, 1.0)
            mean = ops.sum(x * weights, axis=others) / safe
            variance = ops.sum(weights * ops.square(x - ops.reshape(mean, shape)), axis=others) / safe
        try:
            mean, variance = (to_numpy(v).astype("float64") for v in (mean, variance))
        except (NotImplementedError, TypeError, AttributeError) as error:
            raise ValueError(
                "recalibrate_batch_norm runs the model eagerly. Received: BatchNormalization "
                f"{self._layer.name!r} inside a compiled function (such as TimeDistributed)"
            ) from error
        return mean, variance, count

    def finish(self) -> float:
        """Sets the measured statistics and returns how much they differ from those before."""
        if self._count == 0:
            return 0.0  # not part of what the model computes
        if not np.all(np.isfinite(self._mean)) or not np.all(np.isfinite(self._variance)):
            raise ValueError(
                f"BatchNorm statistics must be finite. Received: NaN or infinite values (layer {self._layer.name!r})"
            )
        old_mean, old_variance = self._old
        self.set_statistics(self._mean, self._variance)
        deviation = np.sqrt(self._variance + self._layer.epsilon)
        old_deviation = np.sqrt(old_variance + self._layer.epsilon)
        return float(
            max(
                np.max(np.abs(self._mean - old_mean) / deviation, initial=0.0),
                np.max(np.abs(deviation - old_deviation) / deviation, initial=0.0),
            )
        )
