"""The module that quantises a model, whichever Keras it belongs to: `dgms_keras.layers` (Keras 3) or
`dgms_keras.tfmot.models` (tf_keras).

A front end has the functions `quantize_apply`, `strip`, `plain_for_export`, `shared_weights`, `shared_activations` and
`recalibrate_batch_norm`.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from dgms_keras.keras_kind import is_tf_keras, keras_of


def check_model(model: Any) -> None:
    """Raises a TypeError unless this is a model of Keras 3 or tf_keras."""
    if not isinstance(model, keras_of(model).Model):
        raise TypeError(
            "`model` must be a model of Keras 3 (keras.Model) or tf_keras (tf_keras.Model). "
            f"Received: {type(model).__module__}.{type(model).__qualname__}"
        )


def front_end(model: Any) -> ModuleType:
    """The module with the functions for this model's Keras.

    Raises:
        TypeError: not a Keras model. ImportError: a tf_keras model, and tensorflow-model-optimization is not installed.
    """
    if is_tf_keras(model):
        return importlib.import_module("dgms_keras.tfmot.models")
    check_model(model)
    return importlib.import_module("dgms_keras.layers")
