"""The inputs of a layer, quantised: every float tensor among the arguments of its call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras

# Arguments that are not inputs to compute with.
_NOT_INPUTS = ("mask", "training")


def map_inputs(
    function: Callable[[Any], Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call with `function` applied to every float tensor in them, masks excepted."""
    kept = {k: v if k in _NOT_INPUTS or k.endswith("_mask") else _map(function, v) for k, v in kwargs.items()}
    return tuple(_map(function, v) for v in args), kept


def _map(function: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _map(function, v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        values = [_map(function, v) for v in value]
        return type(value)(*values) if hasattr(value, "_fields") else type(value)(values)
    if not hasattr(value, "dtype") or not hasattr(value, "shape"):
        return value
    return function(value) if "float" in keras.backend.standardize_dtype(value.dtype) else value
