"""Inputs of a model in batches, from arrays or from whatever yields batches."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import keras
from keras import tree


class Batches:
    """Batches of inputs that can be gone over again and again.

    Args:
        data: inputs as arrays (in a list or dict for several inputs), or batches: a tf.data.Dataset, keras.utils.PyDataset,
            generator or other iterable. Of (inputs, targets[, weights]) tuples the inputs are used.
        batch_size: for arrays.
        steps: batches per pass; None for all. A generator needs it unless it ends; its batches are kept.

    Raises:
        ValueError: there is no batch.
    """

    def __init__(self, data: Any, batch_size: int, steps: int | None) -> None:
        self._steps = steps
        if isinstance(data, Iterator):
            data = list(itertools.islice(data, steps))
        self._batches = _sliced(data, batch_size) if _is_arrays(data) else data
        if next(iter(self), None) is None:
            raise ValueError("`data` must hold at least one batch. Received: none")

    def __iter__(self) -> Iterator[Any]:
        batches: Iterable[Any] = self._batches
        if isinstance(self._batches, keras.utils.PyDataset):
            count = self._batches.num_batches  # None: endless
            numbers = itertools.count() if count is None else range(count)
            batches = (self._batches[i] for i in numbers)
        for batch in itertools.islice(batches, self._steps):
            yield keras.utils.unpack_x_y_sample_weight(batch)[0] if isinstance(batch, tuple) else batch


def _is_arrays(data: Any) -> bool:
    """Whether these are whole arrays (or tensors), to be cut into batches."""
    if isinstance(data, list) and any(isinstance(x, tuple) for x in data):
        return False  # a list of (inputs, targets) batches
    leaves = tree.flatten(data)
    return bool(leaves) and all(hasattr(x, "shape") and hasattr(x, "__getitem__") for x in leaves)


def _sliced(data: Any, batch_size: int) -> list[Any]:
    if isinstance(data, tuple):
        data = keras.utils.unpack_x_y_sample_weight(data)[0]
    size = tree.flatten(data)[0].shape[0]
    return [tree.map_structure(lambda x, at=at: x[at : at + batch_size], data) for at in range(0, size, batch_size)]
