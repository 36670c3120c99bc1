"""`keras.models.load_model` finds our layers after `import dgms_keras`, which does not import Keras.

Keras resolves a saved layer's class only through its registry, and a class is registered when its module is imported. Importing
that module needs Keras, which takes seconds. So it is imported right away only if Keras is there already; else as soon as
somebody imports Keras, by a one-time hook on that import.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def register_with_keras() -> None:
    """Registers our layers with Keras: now if it is imported, else when it is."""
    keras = sys.modules.get("keras")
    if keras is None:
        sys.meta_path.insert(0, _KerasImportHook())
    elif not getattr(keras.__spec__, "_initializing", False):
        _register(keras)


def _register(keras: ModuleType) -> None:
    if int(getattr(keras, "__version__", "0").partition(".")[0]) >= 3:
        importlib.import_module("dgms_keras.layers")


class _KerasImportHook(importlib.abc.MetaPathFinder):
    """Finds `keras` as everybody else does, and registers our layers when it has been executed. Then removes itself."""

    def __init__(self) -> None:
        self._is_asking = False  # while it asks the other finders

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """The spec of `keras`, whose loader registers us at the end; None for all other modules."""
        if fullname != "keras" or self._is_asking:
            return None
        self._is_asking = True
        try:
            spec = importlib.util.find_spec("keras")
        finally:
            self._is_asking = False
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            if self in sys.meta_path:  # somebody may have asked for the spec only: done when it is executed
                sys.meta_path.remove(self)
                _register(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
