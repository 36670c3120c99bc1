"""Keras model files of either Keras, loaded by the one that wrote them."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

# What files may be.
KINDS = "a model file of Keras 3 (.keras, .h5) or tf_keras (.keras, .h5, SavedModel folder)"


def load_model(path: Path) -> Any:
    """The model in a file, quantised or not.

    Raises:
        FileNotFoundError: there is nothing. ImportError: it is of tf_keras, and tensorflow-model-optimization is not installed.
        ValueError: it is no model that can be loaded; the message names the file.
    """
    if not path.exists():
        raise FileNotFoundError(f"the model must be a file that exists. Received: {path}")
    version = written_by(path)
    if version is None and path.is_dir():  # said before Keras is imported, which takes seconds
        raise ValueError(f"the model must be {KINDS}. Received: {path}, a folder without keras_metadata.pb")
    quiet_keras()
    if version is not None and version.startswith("2."):
        return _load(path, _load_tf_keras, f"written by tf_keras {version}")
    return _load(path, _load_keras, f"written by Keras {version}" if version else "which names no Keras version")


def _load(path: Path, load: Any, origin: str) -> Any:
    try:
        return load(path)
    except ImportError:
        raise
    except Exception as error:
        text = str(error) or type(error).__name__
        raise ValueError(f"the model must be {KINDS}. Received: {path}, {origin}: {text}") from error


def _load_keras(path: Path) -> Any:
    import keras

    import dgms_keras.layers  # noqa: F401 - registers the wrapper, so a quantised model loads without custom_objects

    return keras.models.load_model(path)


def _load_tf_keras(path: Path) -> Any:
    from dgms_keras.export.quiet import captured_stderr

    with captured_stderr():
        from dgms_keras.tfmot import quantize_scope
    import tf_keras

    with quantize_scope():
        return tf_keras.models.load_model(path)


def written_by(path: Path) -> str | None:
    """The version of the Keras that wrote a file ("2.21.0": tf_keras); None if the file does not say."""
    if path.is_dir():
        return "2.x" if (path / "keras_metadata.pb").exists() else None
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return str(json.loads(archive.read("metadata.json"))["keras_version"])
        import h5py

        if h5py.is_hdf5(path):
            with h5py.File(path, "r") as file:
                return str(file.attrs["keras_version"])
    except (KeyError, ValueError, OSError, zipfile.BadZipFile):
        return None  # a damaged file, or another kind: loading says what is wrong
    return None


def quiet_keras() -> Any:
    """Keras and its backend, without their start-up lines and hints; where they cannot be imported the lines are shown."""
    from dgms_keras.export.quiet import captured_stderr

    try:
        with captured_stderr() as captured:
            import keras

            if keras.backend.backend() == "tensorflow":
                import tensorflow as tf

                tf.config.list_logical_devices()  # looks for accelerators, and says so
                tf.get_logger().setLevel("ERROR")
    except Exception:
        sys.stderr.write(captured.text)
        raise
    return keras
