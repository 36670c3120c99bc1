"""The public calls that take a model of either Keras, and the step from a model to a file.

Each call finds the front end of the model (Keras 3: `dgms_keras.layers`) and passes on; there is no logic here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dgms_keras.config import DGMSConfig
from dgms_keras.frozen import FrozenWeight, Mixture

if TYPE_CHECKING:
    from dgms_keras.export.exporter import ExportReport
    from dgms_keras.runtime.verify import VerifyReport


def _front_end(model: Any) -> Any:
    """The module with the functions for this model's Keras.

    Raises:
        TypeError: not a Keras 3 model. A tf_keras model is named as such.
    """
    import keras

    if isinstance(model, keras.Model):
        from dgms_keras import layers

        return layers
    kinds = [f"{c.__module__}.{c.__qualname__}" for c in type(model).__mro__]
    if any(k.startswith(("tf_keras.", "keras.src.legacy", "tensorflow.python.keras")) for k in kinds):
        raise TypeError(
            "`model` must be a Keras 3 model (`import keras`); the tf_keras front end is not part of this version. "
            f"Received: {kinds[0]}, a tf_keras model. Load the model with Keras 3, e.g. keras.models.load_model(file)."
        )
    raise TypeError(f"`model` must be a Keras 3 model (keras.Model). Received: {kinds[0]}")


def quantize_apply(
    model: Any,
    config: DGMSConfig | None = None,
    *,
    mixtures: Mapping[str, Mixture] | None = None,
    in_place: bool = False,
    **overrides: Any,
) -> Any:
    """A copy of a trained model whose weights are shared by Gaussian mixtures (DGMS), ready for `compile` and `fit`.

    Args:
        model: a built Keras model: Sequential, Functional, nested, with shared layers; subclassed with `in_place=True`.
        config: the choices; None for the defaults.
        mixtures: start values by layer name (as `dgms_keras.mixtures` returns them) instead of k-means: the paper's transfer
            (Table 7).
        in_place: replace the layers in `model` itself and return it: the only way for subclassed models.
        **overrides: single fields of `DGMSConfig`, e.g. `bits=2`.

    Returns:
        The quantised model, not compiled. `model` is untouched (unless `in_place`).

    Raises:
        TypeError: not a Keras model, or an unknown field. ValueError: a model that cannot be copied, weights that are not
            finite, a mixture that fits no layer; with `strict=True` also a layer that cannot be quantised.
    """
    return _front_end(model).quantize_apply(model, config, mixtures=mixtures, in_place=in_place, **overrides)


def strip(model: Any, *, in_place: bool = False) -> Any:
    """The plain model with hard weights (Eq. 4) and the original layer names.

    Args:
        model: a quantised model; untouched unless `in_place`.
        in_place: for subclassed models that cannot be rebuilt from their config: put the plain layers back into `model` itself.
    """
    return _front_end(model).strip(model, in_place=in_place)


def summary(model: Any, **options: Any) -> Any:
    """Prints a table of the quantised weights (bits, codes, zeros, gamma, error, bytes) and returns it as data."""
    return _front_end(model).summary(model, **options)


def mixtures(model: Any) -> dict[str, Mixture]:
    """The learned mixtures by layer name; a layer with two kernels has two entries, `name/attribute`."""
    return _front_end(model).mixtures(model)


def frozen_weights(model: Any) -> list[FrozenWeight]:
    """Indices and codebook of every quantised weight."""
    return _front_end(model).frozen_weights(model)


def recalibrate_batch_norm(model: Any, data: Any, **options: Any) -> Any:
    """Re-estimates BatchNorm's moving statistics on `data` with hard weights."""
    return _front_end(model).recalibrate_batch_norm(model, data, **options)


def export_tflite(
    model: Any,
    path: str | os.PathLike[str],
    activations: str = "float32",
    *,
    strict: bool = False,
    verify: bool = True,
) -> ExportReport:
    """Writes a quantised model as a small `.tflite` that every TFLite runtime can run (format: FORMAT.md).

    Args:
        model: a model from `quantize_apply` (a plain model is written dense, with each layer listed as such).
        path: the file; written to a temporary name and renamed, so on any failure the old file stays.
        activations: "float32".
        strict: raise where a quantised weight cannot be compressed, instead of listing it with the reason.
        verify: run the file in the stock runtime and compare it with the Keras model before it is offered.

    Returns:
        What was written, tensor by tensor, and what was not compressed and why.

    Raises:
        ExportError: the model cannot be converted, or the file's output differs from the Keras model's.
        OSError: the file cannot be written.
    """
    from dgms_keras.export.exporter import export_frozen

    front_end = _front_end(model)
    return export_frozen(
        front_end.strip(model),
        front_end.frozen_weights(model),
        path,
        activations=activations,
        strict=strict,
        verify=verify,
    )


def verify(
    model: Any, path: str | os.PathLike[str], x: Any, *, per_layer: bool = False, **options: Any
) -> VerifyReport:
    """Compares a Keras model with hard weights, the stock runtime and the delegate on `x`, per output and per layer."""
    from dgms_keras.runtime.verify import verify as compare

    return compare(_front_end(model).strip(model), path, x, per_layer=per_layer, **options)
