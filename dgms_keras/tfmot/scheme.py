"""`DGMSQuantizeScheme`: what tfmot's `quantize_apply` needs to know to quantise a model by DGMS."""

from __future__ import annotations

import warnings
from typing import Any

import tensorflow_model_optimization as tfmot
from tensorflow_model_optimization.python.core.quantization.keras.quantize_layout_transform import (
    QuantizeLayoutTransform,
)
from tensorflow_model_optimization.python.core.quantization.keras.quantize_registry import QuantizeRegistry
from tensorflow_model_optimization.python.core.quantization.keras.quantize_scheme import QuantizeScheme

from dgms_keras.config import DGMSConfig, as_config
from dgms_keras.targets import targets_of, unsupported
from dgms_keras.tfmot.annotate import copy_model
from dgms_keras.tfmot.graph import has_annotation, is_annotated, make_scales_positive, places
from dgms_keras.tfmot.quantize_config import DGMSQuantizeConfig, unsupported_message
from dgms_keras.tfmot.tf_keras_internals import is_graph

# Marks a layer that nobody annotated. tfmot asks the registry about layers in front of annotated ones, too, to quantise their
# outputs.
_FLOAT_MARK = "_dgms_stays_float"


class DGMSQuantizeRegistry(QuantizeRegistry):
    """The QuantizeConfig of a layer: DGMS for every supported class.

    Args:
        config: the choices; its `overrides` are looked up under the layer's name.
        **overrides: fields of `DGMSConfig`.
    """

    def __init__(self, config: DGMSConfig | None = None, **overrides: Any) -> None:
        self.config = as_config(config).replace(**overrides)

    def supports(self, layer: Any) -> bool:
        """Whether the layer has weights to share. A model inside a model is no layer: it is quantised by itself."""
        return not getattr(layer, _FLOAT_MARK, False) and not is_graph(layer) and bool(targets_of(layer))

    def get_quantize_config(self, layer: Any) -> DGMSQuantizeConfig:
        """How the layer is quantised.

        Raises:
            ValueError: it has no weights to share; the message names it.
        """
        if not targets_of(layer):
            raise ValueError(unsupported_message(layer))
        return DGMSQuantizeConfig(self.config.for_layer(layer.name))


class DGMSLayoutTransform(QuantizeLayoutTransform):
    """Prepares a model for DGMS: no layer is moved, joined or added. Negative BatchNorm scales are turned (see
    `dgms_keras.weights.batch_norm_signs`), annotated layers get their QuantizeConfigs, nested models are quantised.

    Args:
        scheme: the scheme it belongs to.
    """

    def __init__(self, scheme: DGMSQuantizeScheme) -> None:
        self._scheme = scheme

    def apply(self, model: Any, layer_quantize_map: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """See tfmot's QuantizeLayoutTransform."""
        registry = self._scheme.get_quantize_registry()
        quantize_map = dict(layer_quantize_map)
        for layer in model.layers:
            if layer.name not in quantize_map:
                setattr(layer, _FLOAT_MARK, True)
                continue
            if "quantize_config" not in quantize_map[layer.name] or quantize_map[layer.name]["quantize_config"]:
                continue  # an input, or somebody's own config
            if registry.supports(layer):
                quantize_map[layer.name] = {"quantize_config": registry.get_quantize_config(layer)}
            else:  # annotated with everything else by tfmot's quantize_annotate_model: nothing to share in it
                _warn_unsupported(layer)
                setattr(layer, _FLOAT_MARK, True)
                del quantize_map[layer.name]
        ours = [n for n, m in quantize_map.items() if isinstance(m.get("quantize_config"), DGMSQuantizeConfig)]
        make_scales_positive(model, ours)
        if any(is_graph(layer) for layer in model.layers):
            model = self._quantize_nested(model)
        return model, quantize_map

    def _quantize_nested(self, model: Any) -> Any:
        def replace(layer: Any) -> Any:
            if not is_graph(layer):
                return layer
            if has_annotation(layer):
                return apply_scheme(layer, self._scheme, self._scheme.nested_prefix)
            found = places(layer)
            if not any(place.quantized for place in found) and any(targets_of(place.layer) for place in found):
                warnings.warn(
                    f"the nested model {layer.name!r} has no annotated layer and stays in float; "
                    "dgms_keras.tfmot.quantize_annotate_model annotates nested models, too",
                    UserWarning,
                    stacklevel=2,
                )
            return layer

        return copy_model(model, replace)


def _warn_unsupported(layer: Any) -> None:
    missing = unsupported(layer)
    if missing:
        names = ", ".join(f"{path}.{name}" if path else name for path, name in missing)
        kind = type(layer).__name__
        warnings.warn(
            f"layer {layer.name!r} ({kind}) stays in float: dgms_keras does not know how to quantise {names}. To have weights of it "
            f"shared, register its class: dgms_keras.register_layer({kind}, ...)",
            UserWarning,
            stacklevel=2,
        )


class DGMSQuantizeScheme(QuantizeScheme):
    """The scheme for tfmot's `quantize_apply`: layers that are annotated without a QuantizeConfig are quantised by DGMS with these
    choices; those with one (tfmot's own, for instance) by theirs.

        tfmot.quantization.keras.quantize_apply(annotated, scheme=DGMSQuantizeScheme(bits=4))

    Args:
        config: the choices. Its `layers` and `skip_first_last` mean nothing here: what is annotated is quantised. Its `overrides` are
            looked up under a layer's name.
        nested_prefix: prefix of the names of quantised layers inside nested models.
        **overrides: fields of `DGMSConfig`.
    """

    def __init__(self, config: DGMSConfig | None = None, nested_prefix: str = "quant_", **overrides: Any) -> None:
        self.config = as_config(config).replace(**overrides)
        self.nested_prefix = nested_prefix

    def get_layout_transformer(self) -> DGMSLayoutTransform:
        """What is done to the model before its layers are wrapped."""
        return DGMSLayoutTransform(self)

    def get_quantize_registry(self) -> DGMSQuantizeRegistry:
        """Which layer is quantised how."""
        return DGMSQuantizeRegistry(self.config)


def apply_scheme(model: Any, scheme: Any, prefix: str) -> Any:
    """tfmot's `quantize_apply`, also for a model whose annotated layers are all in models inside it, which tfmot refuses."""
    if any(is_annotated(layer) for layer in model.layers):
        return tfmot.quantization.keras.quantize_apply(model, scheme, prefix)
    return scheme.get_layout_transformer().apply(copy_model(model, lambda layer: None), {})[0]
