"""Which Keras a model or layer belongs to: Keras 3 or tf_keras (Keras 2). Imports neither by itself."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any


def is_tf_keras(layer: Any) -> bool:
    """Whether a model or layer belongs to tf_keras (Keras 2)."""
    return any(c.__module__.partition(".")[0] == "tf_keras" for c in type(layer).__mro__)


def keras_of(model: Any) -> ModuleType:
    """The module `tf_keras` or `keras`, whichever the model belongs to."""
    return importlib.import_module("tf_keras" if is_tf_keras(model) else "keras")
