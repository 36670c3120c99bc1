"""`quantize_apply`, and `strip`, which takes the mixtures out again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from dgms_keras.batch_norm_statistics import recalibrate
from dgms_keras.config import DGMSConfig
from dgms_keras.frozen import Mixture
from dgms_keras.layers import graph_models, subclassed
from dgms_keras.layers.keras_internals import is_graph


def quantize_apply(
    model: keras.Model,
    config: DGMSConfig | None = None,
    *,
    mixtures: Mapping[str, Mixture] | None = None,
    in_place: bool = False,
    **overrides: Any,
) -> keras.Model:
    """A copy of a built Keras model whose layers share their weights by Gaussian mixtures.

    Every supported layer that the config selects is replaced by a `DGMSWrapper` of the same name; layers that are wrapped
    already keep their mixtures. Names, the structure of inputs and outputs, shared layers and nested models stay as they are.
    Where a BatchNormalization with negative scales follows a quantised layer directly, signs are flipped so that all scales are
    >= 0; the function stays the same. `skip_first_last` leaves the layers in float that have no supported layer before them, or
    none behind them: one each in a chain, one per branch where a model has several inputs or outputs (in subclassed models,
    whose graph is unknown: the first and the last one by attribute order).

    Args:
        model: a built model: Sequential or Functional, with nested models and shared layers; subclassed with `in_place=True`.
        config: the choices; None for the defaults.
        mixtures: start values by layer name (as `mixtures(model)` returns them) instead of k-means.
        in_place: for subclassed models: replace the layers of `model` itself and return it.
        **overrides: single fields of `DGMSConfig`, e.g. `bits=2`.

    Returns:
        The quantised model. It is not compiled, even if `model` was: an optimizer belongs to one model's variables. `model` is
        untouched (with `in_place` it is what is returned).

    Raises:
        TypeError: not a Keras model, or an unknown field.
        ValueError: the model cannot be copied, a layer cannot be quantised (LoRA, Keras int8), weights are not finite, a mixture
            fits no layer; with `strict=True` also a layer of no supported class. The message names the layer.

    Warns:
        UserWarning: once for each layer that has weights to share but is of no supported class.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` must be a keras.Model. Received: {type(model).__name__}")
    config = _config(config, overrides)
    if is_graph(model):
        if in_place:
            raise ValueError(
                "`in_place=True` is for subclassed models; Sequential and Functional models are copied. "
                f"Received: model {model.name!r} of class {type(model).__name__}"
            )
        return graph_models.quantized_copy(model, config, mixtures)
    if not in_place:
        raise ValueError(
            "a subclassed model cannot be copied, since only its own code knows how its layers are connected. To replace the "
            "layers of this very model, call quantize_apply(model, in_place=True) (save its weights before, if you need the "
            f"float model later). Received: model {model.name!r} of class {type(model).__name__}"
        )
    return subclassed.quantize_in_place(model, config, mixtures)


def _config(config: DGMSConfig | None, overrides: Mapping[str, Any]) -> DGMSConfig:
    if config is None:
        config = DGMSConfig()
    if not isinstance(config, DGMSConfig):
        raise TypeError(f"`config` must be a DGMSConfig. Received: {config!r}")
    return config.replace(**overrides)


def strip(model: keras.Model, *, in_place: bool = False) -> keras.Model:
    """The plain model with hard weights (Eq. 4) and the original layers, names, nesting and sharing.

    Args:
        model: a quantised model; it is untouched. A model without quantised layers is copied.
        in_place: for subclassed models that cannot be rebuilt from their config: put the plain layers back into `model` itself.

    Returns:
        The plain model, not compiled.

    Raises:
        ValueError: the model cannot be copied, or a mixture is not finite; the message names the layer.
    """
    if not is_graph(model):
        return subclassed.strip_in_place(model) if in_place else subclassed.stripped_copy(model)
    if in_place:
        raise ValueError(f"`in_place=True` is for subclassed models. Received: model {model.name!r}")
    return graph_models.stripped_copy(model)


def recalibrate_batch_norm(
    model: keras.Model, data: Any, *, batch_size: int = 32, steps: int | None = None, passes: int | None = None
) -> keras.Model:
    """See `dgms_keras.recalibrate_batch_norm`."""
    layers = [x for x in model._flatten_layers() if isinstance(x, keras.layers.BatchNormalization)]
    return recalibrate(model, layers, data, batch_size=batch_size, steps=steps, passes=passes)
