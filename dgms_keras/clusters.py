"""Models whose weights take few distinct values already, clustered by another tool: import without training.

    clustered = dgms_keras.from_clusters(tfmot.clustering.keras.strip_clustering(model))
    dgms_keras.export_tflite(clustered, "model.tflite")

The values are not changed: a weight tensor with at most 16 distinct values *is* a codebook and indices. TensorFlow's converter
writes such a model as large as any other; here it becomes as small as one from `quantize_apply`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dgms_keras.config import BITS
from dgms_keras.export.report import as_text, build_table
from dgms_keras.format.packing import plane_sizes
from dgms_keras.front_ends import check_model
from dgms_keras.frozen import FrozenWeight
from dgms_keras.layers.structure import named_children
from dgms_keras.targets import is_quantizable, refusal, resolve, targets_of, unsupported, variable_name

# The most values that a codebook can hold.
MOST_VALUES = 2 ** max(BITS)
# A codebook for each output channel must make a weight at least this much smaller. Weights with few elements per channel have few
# values per channel as well, without being clustered.
_COMPACT = 0.5

# Wrappers of training tools, by the name of their class: what to do with a model that still has them; and whose they are.
_TOOLS = ("dgms_keras", "tensorflow_model_optimization")
_STRIP_FIRST = {
    "DGMSWrapper": "it is quantised by DGMS already: dgms_keras.export_tflite(model) exports it",
    "ClusterWeights": "take the clustering out with tensorflow_model_optimization.clustering.keras.strip_clustering(model)",
    "PruneLowMagnitude": "take the pruning out with tensorflow_model_optimization.sparsity.keras.strip_pruning(model)",
    "QuantizeWrapper": (
        "a model quantised by DGMS is exported by dgms_keras.export_tflite(model), one by tfmot's own quantisers by TensorFlow's "
        "converter"
    ),
    "QuantizeAnnotate": "import it before it is annotated",
}


@dataclasses.dataclass(frozen=True)
class KeptWeight:
    """A weight that stays in float.

    Args:
        name: `layer/weight`.
        shape: its shape.
        values: how many distinct values it holds.
        reason: why it stays.
    """

    name: str
    shape: tuple[int, ...]
    values: int
    reason: str


@dataclasses.dataclass(frozen=True)
class ClusteredWeight:
    """One row of a `ClusteredModel`: a weight that is a codebook and indices.

    Args:
        name: `layer/weight`.
        shape: its shape.
        bits: 2, 3 or 4.
        codebooks: 1, or one for each output channel.
        values: how many distinct values it holds; with several codebooks, the most that one channel holds.
        zeros: weights whose value is 0.
        size: number of weights.
        bytes_before: float32 bytes.
        bytes_after: bytes of packed indices and codebooks in a `.tflite`.
    """

    name: str
    shape: tuple[int, ...]
    bits: int
    codebooks: int
    values: int
    zeros: int
    size: int
    bytes_before: int
    bytes_after: int


@dataclasses.dataclass(frozen=True, eq=False)
class ClusteredModel:
    """A model and its weights as codebooks and indices; see `from_clusters`. `str()` gives a table.

    `export_tflite`, `verify`, `frozen_weights`, `summary` and `strip` of this package take it.

    Args:
        model: the model itself, no copy. After a change to its weights, call `from_clusters` again.
        weights: the weights that share their values.
        kept: the other weights of supported layers, and the unsupported ones, with reasons.
    """

    model: Any
    weights: tuple[FrozenWeight, ...]
    kept: tuple[KeptWeight, ...]

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.name

    @property
    def rows(self) -> tuple[ClusteredWeight, ...]:
        """What `weights` are, one row for each."""
        return tuple(_row(weight) for weight in self.weights)

    def table(self) -> Any:
        """The weights as a rich table."""
        columns = ("weight", "shape", "bits", "codebooks", "values", "zeros", "bytes before", "after", "note")
        rows: list[tuple[Any, ...]] = [
            (
                row.name,
                _by_x(row.shape),
                row.bits,
                row.codebooks,
                row.values,
                f"{row.zeros / max(row.size, 1):.1%}",
                row.bytes_before,
                row.bytes_after,
                "one codebook per output channel" if row.codebooks > 1 else "",
            )
            for row in self.rows
        ]
        for kept in self.kept:
            size = 4 * int(np.prod(kept.shape))
            rows.append((kept.name, _by_x(kept.shape), None, None, kept.values, "", size, size, kept.reason))
        before, after = (sum(getattr(row, field) for row in self.rows) for field in ("bytes_before", "bytes_after"))
        ratio = f" ({before / after:.1f}x)" if after else ""
        return build_table(
            f"Clustered weights: {self.name}",
            columns,
            rows,
            f"shared weights: {before:,} bytes in float32, {after:,} as codebooks and indices{ratio}",
        )

    def __str__(self) -> str:
        return as_text(self.table())

    def to_json_dict(self) -> dict[str, Any]:
        """The rows as JSON types."""
        return {
            "model": self.name,
            "weights": [dataclasses.asdict(row) for row in self.rows],
            "kept": [dataclasses.asdict(kept) for kept in self.kept],
        }


def from_clusters(model: Any, *, strict: bool = False) -> ClusteredModel:
    """Imports a model whose weights take few distinct values already, without training: from
    `tensorflow_model_optimization.clustering.keras`, from another framework, or from a codebook of your own.

        clustered = dgms_keras.from_clusters(tfmot.clustering.keras.strip_clustering(model))
        dgms_keras.export_tflite(clustered, "model.tflite")

    Each weight of a supported (or registered) layer that holds up to 4 distinct values gets 2 bits, up to 8 get 3, up to 16 get 4;
    zero counts like any other value. A weight with more values, but at most 16 in each output channel (tfmot's `cluster_per_channel`;
    a factor per channel), gets a codebook for each channel, if that makes it half as large or smaller. The first and the last layer
    are no exception. What has more values, or would not be smaller, stays in float and is listed with the number of its values.

    Args:
        model: a built model of Keras 3 or tf_keras, of any kind: nested, with shared layers, subclassed. It is not changed.
        strict: raise if a weight of a supported layer holds too many values, instead of listing it.

    Returns:
        The model with its codebooks and indices, which reproduce its weights exactly.

    Raises:
        TypeError: not a Keras model. ValueError: the model is not built, still has the wrappers of a training tool, or has no weight
            that is clustered; with `strict` also one that has a weight with too many values. The message names layers.
    """
    check_model(model)
    if not getattr(model, "built", False):
        raise ValueError(
            f"`model` must be built: call it on data, or give it an Input. Received: model {model.name!r}, not built"
        )
    weights: list[FrozenWeight] = []
    kept: list[KeptWeight] = []
    unknown: list[KeptWeight] = []
    for path, layer in _layers(model, "", set()):
        if not is_quantizable(layer):
            unknown += _unsupported(path, layer)
            continue
        for target in targets_of(layer):
            owner = _path(path, *target.sublayer.split("."))
            found = _import(owner, target.public_name, resolve(layer, target.weight), target.channel_axes, layer)
            (weights if isinstance(found, FrozenWeight) else kept).append(found)
    _check_found(model, weights, kept, unknown, strict)
    return ClusteredModel(model, tuple(weights), tuple(kept + unknown))


def _layers(layer: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """(path, layer) of every layer inside a model, each once; the layers inside supported ones are part of those.

    Raises:
        ValueError: a layer is the wrapper of a training tool.
    """
    if id(layer) in seen:
        return
    seen.add(id(layer))
    for cls in type(layer).__mro__:
        if cls.__name__ in _STRIP_FIRST and cls.__module__.partition(".")[0] in _TOOLS:
            raise ValueError(
                "`model` must be plain, with its clustered weights in its own layers. "
                f"Received: layer {path!r} of class {type(layer).__name__}; {_STRIP_FIRST[cls.__name__]}"
            )
    yield path, layer
    if is_quantizable(layer):
        return
    for name, _, inner in named_children(layer):
        yield from _layers(inner, _path(path, name), seen)


def _path(*steps: str) -> str:
    return "/".join(step for step in steps if step)


def _import(
    path: str, name: str, variable: Any, channel_axes: tuple[int, ...], layer: Any
) -> FrozenWeight | KeptWeight:
    """A weight as a codebook and indices, or why it is none."""
    full = _path(path, name)
    values = _values(variable)
    distinct = np.unique(values)
    refused = refusal(layer) or (None if np.all(np.isfinite(distinct)) else "it holds NaN or infinity")
    if refused:
        return KeptWeight(full, values.shape, int(distinct.size), refused)
    if distinct.size > MOST_VALUES:
        frozen = _by_channel(path, name, values, channel_axes)
        if frozen is not None and _bytes(frozen) <= _COMPACT * 4 * values.size:
            return frozen
        reason = f"it holds {distinct.size} distinct values, and a codebook holds at most {MOST_VALUES}"
        if frozen is not None:
            reason += f"; with one for each output channel it would take {_bytes(frozen)} of {4 * values.size} bytes"
        return KeptWeight(full, values.shape, int(distinct.size), reason)
    book, places = _codebook(distinct)
    indices = places[np.searchsorted(distinct, values)]
    frozen = FrozenWeight(path, name, indices, book, _bits(distinct.size), channel_axes)
    if _bytes(frozen) >= 4 * values.size:
        reason = f"it is smaller in float: {4 * values.size} bytes, {_bytes(frozen)} as codebook and indices"
        return KeptWeight(full, values.shape, int(distinct.size), reason)
    return frozen


def _by_channel(path: str, name: str, values: np.ndarray, channel_axes: tuple[int, ...]) -> FrozenWeight | None:
    """A weight with a codebook for each output channel; None if a channel has too many values."""
    axes = [a % values.ndim for a in channel_axes]
    order = [*axes, *(a for a in range(values.ndim) if a not in axes)]
    moved = values.transpose(order)
    channels = int(np.prod([values.shape[a] for a in axes]))
    rows = moved.reshape(channels, -1)
    if channels < 2 or np.unique(rows[0]).size > MOST_VALUES:  # most weights are not clustered: one channel tells
        return None
    ranked = np.sort(rows, axis=1)
    most = 1 + int((ranked[:, 1:] != ranked[:, :-1]).sum(axis=1).max(initial=0))
    if most > MOST_VALUES:
        return None
    bits = _bits(most)
    books = np.zeros((channels, 2**bits), np.float32)
    codes = np.zeros(rows.shape, np.uint8)
    for channel, row in enumerate(rows):
        distinct = np.unique(row)
        book, places = _codebook(distinct)
        books[channel, : distinct.size] = book[: distinct.size]
        codes[channel] = places[np.searchsorted(distinct, row)]
    indices = codes.reshape(moved.shape).transpose(np.argsort(order))
    return FrozenWeight(path, name, indices, books, bits, channel_axes, group_size=1)


def _codebook(distinct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted distinct values -> float32 `[2**bits]`, and the place in it of each of them: 0 first, if it is one of them, as in
    trained codebooks, then the others in order; places that nothing needs are 0."""
    first = np.flatnonzero(distinct == 0)
    order = np.concatenate([first, np.delete(np.arange(distinct.size), first)]).astype(np.int64)
    book = np.zeros(2 ** _bits(distinct.size), np.float32)
    book[: distinct.size] = distinct[order]
    places = np.empty(distinct.size, np.uint8)
    places[order] = np.arange(distinct.size)
    return book, places


def _bits(values: int) -> int:
    return next(bits for bits in BITS if values <= 2**bits)


def _values(variable: Any) -> np.ndarray:
    """The values of a variable of either Keras, float32."""
    value = variable.numpy() if hasattr(variable, "numpy") else variable
    return np.asarray(value).astype(np.float32)


def _bytes(weight: FrozenWeight) -> int:
    """Bytes of packed indices, codebooks and, with several of these, their offsets."""
    offsets = 4 * weight.groups if weight.groups > 1 else 0
    return sum(plane_sizes(weight.bits, weight.indices.size)) + weight.codebook.nbytes + offsets


def _row(weight: FrozenWeight) -> ClusteredWeight:
    dense = weight.dense()
    return ClusteredWeight(
        name=weight.name,
        shape=dense.shape,
        bits=weight.bits,
        codebooks=weight.groups,
        values=int(np.unique(weight.indices).size),
        zeros=int(np.count_nonzero(dense == 0)),
        size=dense.size,
        bytes_before=4 * dense.size,
        bytes_after=_bytes(weight),
    )


def _unsupported(path: str, layer: Any) -> list[KeptWeight]:
    """The weights of a layer of no supported class that would be worth sharing."""
    found = []
    for _, name in unsupported(layer, inside=False):
        variable = next(v for v in layer.weights if variable_name(v) == name)
        values = _values(variable)
        kind = type(layer).__name__
        reason = f"its class {kind} is not supported: dgms_keras.register_layer({kind}, ...)"
        found.append(KeptWeight(_path(path, name), values.shape, int(np.unique(values).size), reason))
    return found


def _check_found(
    model: Any,
    weights: Sequence[FrozenWeight],
    kept: Sequence[KeptWeight],
    unknown: Sequence[KeptWeight],
    strict: bool,
) -> None:
    too_many = [k for k in kept if k.values > MOST_VALUES]
    if strict and too_many:
        listed = "; ".join(f"{k.name}: {k.values}" for k in too_many)
        raise ValueError(
            f"with strict=True every supported weight must hold at most {MOST_VALUES} distinct values. Received: {listed} "
            f"(model {model.name!r})"
        )
    if weights:
        return
    listed = "; ".join(f"{k.name}: {k.reason}" for k in [*kept, *unknown][:8])
    raise ValueError(
        f"from_clusters imports models that are clustered: at least one weight must hold at most {MOST_VALUES} distinct values and be "
        "smaller as codebook and indices. (dgms_keras.quantize_apply(model) clusters a model.) "
        f"Received: model {model.name!r} with {listed or 'no weight of a supported layer'}"
    )


def _by_x(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
