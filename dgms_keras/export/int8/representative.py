"""Calibration data in any form that users have it -> checked batches in the model's input order."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dgms_keras.export.check import as_flat_inputs
from dgms_keras.export.signature import InputSpec, Signature

# Samples that are run at once; more would only cost memory.
CHUNK = 8
# Calibration data are read once and kept: what an iterable may hold. An endless generator is found out by this, too.
MAX_BYTES = 4 * 2**30

Batch = list[np.ndarray]


def as_batches(data: Any, signature: Signature) -> list[Batch]:
    """The calibration data as batches of at most `CHUNK` samples (of the model's own batch size where that is fixed).

    Args:
        data: arrays in the structure of the model's inputs (`[samples, ...]` each; a dict by input name for several), or an
            iterable of batches in that structure: a list, generator, `tf.data.Dataset`, `PyDataset`, or a callable that returns
            one. Of `(inputs, targets[, weights])` tuples the inputs are used.
        signature: of the Keras model.

    Raises:
        ValueError: none, empty or endless data, a shape that does not fit, values that are not finite; the message says which
            input and batch.
    """
    if data is None:
        raise ValueError(
            "`representative_dataset` must be given with activations='int8': inputs as the model will see them (a hundred or "
            "more), which set the ranges of the activations. Received: None"
        )
    batches: list[Batch] = []
    size = 0
    # Any number of samples may be given, also for a fixed batch size.
    free = dataclasses.replace(
        signature,
        inputs=tuple(dataclasses.replace(s, shape=(None, *s.shape[1:]) if s.shape else ()) for s in signature.inputs),
    )
    for number, item in enumerate(_items(data, signature)):
        flat = _checked(item, free, number)
        size += sum(a.nbytes for a in flat)
        if size > MAX_BYTES:
            raise ValueError(
                f"`representative_dataset` must end before {MAX_BYTES / 2**30:g} GiB, e.g. dataset.take(100). "
                f"Received: {number + 1} batches with {size:,} bytes so far"
            )
        batches += _chunks(flat, signature)
    if not batches:
        raise ValueError("`representative_dataset` must hold at least one full batch. Received: no samples")
    return batches


def samples(batches: Sequence[Batch]) -> int:
    """The number of samples in batches."""
    return sum(len(batch[0]) if batch[0].ndim else 1 for batch in batches)


def first_samples(batches: Sequence[Batch], count: int) -> list[Batch]:
    """The first batches with `count` samples in all; at least one batch."""
    taken: list[Batch] = []
    while len(taken) < len(batches) and (not taken or samples(taken) < count):
        taken.append(batches[len(taken)])
    return taken


def joined(batches: Sequence[Batch], count: int) -> Batch:
    """The first samples of the shape that the first batch has, as one batch; of a fixed batch size, the first batch."""
    same = [b for b in first_samples(batches, count) if [a.shape[1:] for a in b] == [a.shape[1:] for a in batches[0]]]
    if len(same) == 1 or len(same[0][0]) < CHUNK:
        return same[0]
    return [np.concatenate(arrays) for arrays in zip(*same, strict=True)]


def _items(data: Any, signature: Signature) -> Iterator[Any]:
    """Batches in the structure of the model's inputs; one of all samples where arrays were given."""
    if callable(data) and not hasattr(data, "shape"):
        data = _call(data)
    if _is_endless(data):
        raise ValueError(
            "`representative_dataset` must end, e.g. dataset.take(100). Received: an endless tf.data.Dataset"
        )
    if _is_array(data) or isinstance(data, Mapping) or _is_structure(data, signature):
        yield data
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, Sequence):
        yield from (data[i] for i in range(len(data)))  # PyDataset
    elif isinstance(data, Iterable) and not isinstance(data, (str, bytes)):
        yield from data
    else:
        raise ValueError(
            "`representative_dataset` must be arrays, an iterable of batches, or a callable that returns one. "
            f"Received: {type(data).__name__}"
        )


def _is_endless(data: Any) -> bool:
    """Whether it is a `tf.data.Dataset` that says of itself that it never ends."""
    return hasattr(data, "element_spec") and hasattr(data, "cardinality") and int(data.cardinality()) == -1


def _call(data: Callable[[], Any]) -> Any:
    try:
        return data()
    except TypeError as error:
        raise ValueError(f"a callable `representative_dataset` must take no argument. Received: {error}") from error


def _is_array(data: Any) -> bool:
    return hasattr(data, "shape") and hasattr(data, "dtype")


def _is_structure(data: Any, signature: Signature) -> bool:
    """Whether a list or tuple holds one array for each input, not batches."""
    if not isinstance(data, (list, tuple)) or len(data) != len(signature.inputs):
        return False
    return all(_is_array(a) and len(a.shape) == len(s.shape) for a, s in zip(data, signature.inputs, strict=True))


def _checked(item: Any, signature: Signature, number: int) -> Batch:
    """One batch as arrays of the model's dtypes.

    Raises:
        ValueError: it does not fit; with the batch's number.
    """
    try:
        try:
            flat = as_flat_inputs(item, signature)
        except ValueError:
            if not isinstance(item, tuple) or not item:
                raise
            flat = as_flat_inputs(item[0], signature)  # (inputs, targets[, weights])
    except ValueError as error:
        message = str(error).replace("`x`", "each batch")
        raise ValueError(f"`representative_dataset`, batch {number}: {message}") from None
    arrays = [_cast(a, spec, number) for a, spec in zip(flat, signature.inputs, strict=True)]
    lengths = {len(a) for a in arrays if a.ndim}
    if len(lengths) > 1:
        raise ValueError(
            f"`representative_dataset`, batch {number}: all inputs must hold equally many samples. "
            f"Received: {[a.shape for a in arrays]}"
        )
    return arrays


def _cast(array: np.ndarray, spec: InputSpec, number: int) -> np.ndarray:
    dtype = np.dtype("float32" if spec.dtype in ("bfloat16", "float16", "float64") else spec.dtype)
    if array.dtype.kind not in "iubf" and array.dtype.name != "bfloat16":
        raise ValueError(
            f"`representative_dataset`, batch {number}: input {spec.name!r} must be numbers. Received: dtype {array.dtype}"
        )
    array = array.astype(dtype, copy=False)
    if dtype.kind == "f" and not np.all(np.isfinite(array)):
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(
            f"`representative_dataset`, batch {number}: input {spec.name!r} must be finite. "
            f"Received: {array[where]} at {list(where)}"
        )
    return array


def _chunks(flat: Batch, signature: Signature) -> Iterator[Batch]:
    """Batches of the size the model takes; of a fixed size the incomplete last one is left out."""
    if any(a.ndim == 0 for a in flat):
        yield flat
        return
    fixed = {spec.shape[0] for spec in signature.inputs} - {None}
    size = int(next(iter(fixed))) if fixed else CHUNK
    for start in range(0, len(flat[0]), size):
        chunk = [np.ascontiguousarray(a[start : start + size]) for a in flat]
        if not fixed or len(chunk[0]) == size:
            yield chunk
