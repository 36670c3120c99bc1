"""dgms_keras: 2-, 3- and 4-bit Keras models by Gaussian-mixture weight sharing, and a TFLite delegate that runs them.

    model = dgms_keras.quantize_apply(model, bits=4)
    model.compile(...); model.fit(...)
    dgms_keras.export_tflite(model, "model.tflite")
    interpreter = dgms_keras.Interpreter("model.tflite")

Importing this package loads neither TensorFlow nor Keras: each public name is imported when it is first used. Saved models load
without `custom_objects` once it is imported, before Keras or after.
"""

from __future__ import annotations

import importlib
from typing import Any

from dgms_keras._keras_registration import register_with_keras
from dgms_keras._version import __version__

# Public name -> the module that defines it.
_PUBLIC = {
    "DGMSConfig": "dgms_keras.config",
    "Mixture": "dgms_keras.frozen",
    "FrozenWeight": "dgms_keras.frozen",
    "DGMSWrapper": "dgms_keras.layers",
    "TemperatureSchedule": "dgms_keras.callbacks",
    "BitSchedule": "dgms_keras.callbacks",
    "tune_intervals": "dgms_keras.interval_tuning",
    "register_layer": "dgms_keras.targets",
    "recalibrate_batch_norm": "dgms_keras.api",
    "calibrate_activations": "dgms_keras.api",
    "quantize_apply": "dgms_keras.api",
    "strip": "dgms_keras.api",
    "from_clusters": "dgms_keras.clusters",
    "ClusteredModel": "dgms_keras.clusters",
    "summary": "dgms_keras.api",
    "mixtures": "dgms_keras.api",
    "frozen_weights": "dgms_keras.api",
    "export_tflite": "dgms_keras.api",
    "verify": "dgms_keras.api",
    "inspect_tflite": "dgms_keras.export.inspect",
    "ExportError": "dgms_keras.export.errors",
    "Interpreter": "dgms_keras.runtime.interpreter",
    "delegate_path": "dgms_keras.runtime.delegate",
    "load_delegate": "dgms_keras.runtime.delegate",
    "benchmark": "dgms_keras.runtime.benchmark",
}

__all__ = ["__version__", *sorted(_PUBLIC)]

register_with_keras()


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'dgms_keras' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
