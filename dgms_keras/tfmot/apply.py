"""`quantize_apply` and its relatives, with tfmot's call shapes."""

from __future__ import annotations

from typing import Any

import tensorflow_model_optimization as tfmot

from dgms_keras.config import DGMSConfig, as_config
from dgms_keras.tfmot.annotate import annotated, check_model, make_plan
from dgms_keras.tfmot.graph import has_annotation
from dgms_keras.tfmot.quantize_config import DGMSQuantizeConfig
from dgms_keras.tfmot.quantizer import DGMSQuantizer
from dgms_keras.tfmot.scheme import DGMSQuantizeScheme, apply_scheme


def quantize_scope(*objects: dict[str, Any]) -> Any:
    """tfmot's `quantize_scope` with the classes of this package: `with dgms_keras.tfmot.quantize_scope(): load_model(file)`.

    Args:
        *objects: more custom objects, as in tfmot's.
    """
    ours = {"DGMSQuantizeConfig": DGMSQuantizeConfig, "DGMSQuantizer": DGMSQuantizer}
    return tfmot.quantization.keras.quantize_scope(*objects, ours)


def quantize_apply(
    model: Any,
    scheme: DGMSQuantizeScheme | DGMSConfig | None = None,
    quantized_layer_name_prefix: str = "quant_",
    **overrides: Any,
) -> Any:
    """Quantises the annotated layers of a model, those of nested models included.

    Args:
        model: a Sequential or Functional tf_keras model with annotated layers (`quantize_annotate_model`, `quantize_annotate_layer`,
            or tfmot's functions of these names).
        scheme: a `DGMSQuantizeScheme` or a `DGMSConfig`: the choices for layers annotated without a QuantizeConfig; None for the
            defaults. (Any other tfmot scheme works as in tfmot.)
        quantized_layer_name_prefix: prefix of the names of quantised layers.
        **overrides: fields of `DGMSConfig`, e.g. `bits=2`.

    Returns:
        The quantised model with the weights of the original, not compiled.

    Raises:
        TypeError: not a tf_keras model. ValueError: nothing is annotated, or a layer cannot be quantised; the message names it.
    """
    check_model(model)
    if not has_annotation(model):
        raise ValueError(
            "`model` must have at least one annotated layer; call dgms_keras.tfmot.quantize_annotate_model(model) first, or "
            f"dgms_keras.quantize_apply(model), which does both. Received: model {model.name!r} without annotations"
        )
    prefix = quantized_layer_name_prefix or ""
    scheme = _scheme(scheme, prefix, overrides)
    with quantize_scope(_own_classes(model)):
        return apply_scheme(model, scheme, prefix)


def _own_classes(model: Any) -> dict[str, Any]:
    """Layer classes of the user's own by name, for tfmot, which rebuilds annotated layers from their configs."""
    classes = {type(layer) for layer in model._flatten_layers()}
    ours = ("tf_keras", "tensorflow_model_optimization")
    return {c.__name__: c for c in classes if c.__module__.partition(".")[0] not in ours}


def _scheme(scheme: Any, prefix: str, overrides: dict[str, Any]) -> Any:
    if scheme is None or isinstance(scheme, DGMSConfig):
        return DGMSQuantizeScheme(as_config(scheme).replace(**overrides), nested_prefix=prefix)
    if isinstance(scheme, DGMSQuantizeScheme):
        return DGMSQuantizeScheme(scheme.config.replace(**overrides), nested_prefix=prefix)
    if overrides or not isinstance(scheme, tfmot.quantization.keras.QuantizeScheme):
        raise TypeError(
            "`scheme` must be a DGMSQuantizeScheme, a DGMSConfig or another tfmot QuantizeScheme (which takes no DGMS fields). "
            f"Received: {scheme!r} with {overrides}"
        )
    return scheme


def quantize_model(
    to_quantize: Any, config: DGMSConfig | None = None, quantized_layer_name_prefix: str = "quant_", **overrides: Any
) -> Any:
    """`quantize_annotate_model` and `quantize_apply` in one call.

    Args:
        to_quantize: a built Sequential or Functional tf_keras model.
        config: the choices; None for the defaults.
        quantized_layer_name_prefix: prefix of the names of quantised layers.
        **overrides: fields of `DGMSConfig`.

    Returns:
        The quantised model; a copy of the model where there is nothing to quantise.

    Raises:
        As `quantize_annotate_model`.
    """
    check_model(to_quantize)
    config = as_config(config).replace(**overrides)
    return quantized(to_quantize, make_plan(to_quantize, config), config, quantized_layer_name_prefix)


def quantized(model: Any, plan: Any, config: DGMSConfig, prefix: str) -> Any:
    """The model quantised as a plan says."""
    marked = annotated(model, plan)
    if not has_annotation(marked):
        return marked
    return quantize_apply(marked, DGMSQuantizeScheme(config.for_layer(model.name)), prefix)
