"""The inputs and outputs of a Keras model: flat, in the model's own order, with the model's own names.

Works for Keras 3 and tf_keras models alike: only attributes that both have are used, and structures are walked here.
"""

from __future__ import annotations

import collections
import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dgms_keras.export.errors import ConversionError


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """One input: its name, shape (None where it may vary) and dtype name."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclasses.dataclass(frozen=True)
class Signature:
    """How to call a model with flat inputs and name its flat outputs.

    Args:
        inputs: in the model's own order.
        call: runs the model for inference on as many tensors as there are inputs and returns the outputs with their paths
            in the model's output structure.
        known_outputs: names of the outputs of a symbolic model, by position; empty for a subclassed one.
    """

    inputs: tuple[InputSpec, ...]
    call: Callable[[Sequence[Any]], list[tuple[str, Any]]]
    known_outputs: tuple[str, ...]

    def output_names(self, paths: Sequence[str]) -> tuple[str, ...]:
        """Names of the outputs at these paths: a dict's keys, else the model's own names, else output_0, output_1, ..."""
        known = self.known_outputs if len(self.known_outputs) == len(paths) else None
        return unique([p if _has_key(p) else known[i] if known else f"output_{i}" for i, p in enumerate(paths)])


def flatten(structure: Any, path: str = "") -> list[tuple[str, Any]]:
    """The leaves of nested dicts, lists and tuples with their paths (`"a/0"`); dicts in the order of their sorted keys
    and OrderedDicts in their own, as Keras flattens them."""
    if isinstance(structure, Mapping):
        parts = [(str(k), structure[k]) for k in _keys(structure)]
    elif isinstance(structure, (list, tuple)):
        parts = [(str(i), v) for i, v in enumerate(structure)]
    else:
        return [(path, structure)]
    return [leaf for key, value in parts for leaf in flatten(value, f"{path}/{key}" if path else key)]


def _keys(mapping: Mapping[Any, Any]) -> list[Any]:
    return list(mapping) if isinstance(mapping, collections.OrderedDict) else sorted(mapping)


def pack_as(structure: Any, flat: Sequence[Any]) -> Any:
    """The inverse of `flatten`: `flat` in the shape of `structure`."""
    leaves = iter(flat)

    def build(part: Any) -> Any:
        if isinstance(part, Mapping):
            built = {k: build(part[k]) for k in _keys(part)}
            return type(part)((k, built[k]) for k in part)  # type: ignore[call-arg]
        if isinstance(part, (list, tuple)):
            values = [build(v) for v in part]
            return type(part)(*values) if hasattr(part, "_fields") else type(part)(values)
        return next(leaves)

    return build(structure)


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """The names with `_1`, `_2`, ... behind repetitions."""
    taken: set[str] = set()
    result = []
    for name in names:
        candidate, number = name, 0
        while candidate in taken:
            number += 1
            candidate = f"{name}_{number}"
        taken.add(candidate)
        result.append(candidate)
    return tuple(result)


def model_signature(model: Any, input_signature: Any = None) -> Signature:
    """The signature of a built model.

    Args:
        model: Sequential, Functional or subclassed.
        input_signature: nested `(shape, dtype)`-like objects (anything with `.shape` and `.dtype`, e.g. `keras.InputSpec`) in
            the structure of the model's inputs; needed for subclassed models that were never called.

    Raises:
        ConversionError: the model was not built, or its inputs are not known.
    """
    structure = input_signature if input_signature is not None else _symbolic(model, "input", "inputs")
    if structure is None:
        structure = _recorded_inputs(model)
    flat = flatten(structure)
    names = unique([_input_name(model, path, leaf, len(flat)) for path, leaf in flat])
    inputs = tuple(
        InputSpec(name, tuple(None if d is None else int(d) for d in leaf.shape), dtype_name(leaf.dtype))
        for name, (_, leaf) in zip(names, flat, strict=True)
    )

    def call(tensors: Sequence[Any]) -> list[tuple[str, Any]]:
        return flatten(model(pack_as(structure, tensors), training=False))

    return Signature(inputs, call, _known_outputs(model))


def _symbolic(model: Any, *attributes: str) -> Any:
    """The structure of symbolic tensors of a Functional or Sequential model; None for a subclassed one."""
    if getattr(model, "inputs", None) is None:
        return None
    for attribute in attributes:
        try:
            structure = getattr(model, attribute)
        except (AttributeError, ValueError):  # e.g. a model called several times has no single `input`
            continue
        # Sequential lists its one input and output but is called on, and returns, the tensor itself.
        alone = isinstance(structure, list) and len(structure) == 1 and "Sequential" in _class_names(model)
        return structure[0] if alone else structure
    return None


def _class_names(model: Any) -> set[str]:
    return {c.__name__ for c in type(model).__mro__}


def _input_name(model: Any, path: str, leaf: Any, count: int) -> str:
    if _has_key(path):
        return path
    name = getattr(leaf, "name", None)
    if name:
        return str(name).split(":")[0]
    base = _call_argument(model)
    return base if count == 1 else f"{base}_{path.replace('/', '_')}"


def _call_argument(model: Any) -> str:
    parameters = [p for p in inspect.signature(model.call).parameters if p not in ("self", "training", "mask")]
    return parameters[0] if parameters else "inputs"


def _known_outputs(model: Any) -> tuple[str, ...]:
    structure = _symbolic(model, "output", "outputs")
    if structure is None:
        return ()
    count = len(flatten(structure))
    names = tuple(str(n) for n in getattr(model, "output_names", None) or ())
    return names if len(names) == count else (model.layers[-1].name,) * count


def _has_key(path: str) -> bool:
    """Whether a path goes through a dict: positions in lists are digits only."""
    return not path.replace("/", "").isdigit() and path != ""


@dataclasses.dataclass(frozen=True)
class _Recorded:
    shape: tuple[int | None, ...]
    dtype: Any
    name: None = None


def _recorded_inputs(model: Any) -> Any:
    """The shapes with which a subclassed model was built, any batch size."""
    if not getattr(model, "built", False):
        raise ConversionError(
            f"`model` must be built before it is exported: call it once on data. Received: {model.name!r}, not built"
        )
    recorded = getattr(model, "_build_shapes_dict", None)
    if not recorded:
        raise ConversionError(
            "the inputs of a subclassed model must be known: call the model once on data, or give `input_signature`. "
            f"Received: {model.name!r}, which records no input shape"
        )
    dtype = getattr(model, "input_dtype", None) or "float32"

    def build(part: Any) -> Any:
        if isinstance(part, Mapping):
            return {k: build(v) for k, v in part.items()}
        if all(d is None or isinstance(d, int) for d in part):
            return _Recorded((None, *part[1:]), dtype)
        return [build(v) for v in part]

    shapes = [build(v) for v in recorded.values()]
    if len(shapes) != 1:
        raise ConversionError(
            "a model must take one argument (a tensor, or a list or dict of tensors) to be exported. "
            f"Received: {model.name!r} with the arguments {sorted(recorded)}"
        )
    return shapes[0]


def dtype_name(dtype: Any) -> str:
    """`"float32"` for a dtype of any library, or its name."""
    return str(getattr(dtype, "name", dtype))
