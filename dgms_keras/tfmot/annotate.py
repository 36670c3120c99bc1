"""Annotations: which layers of a tf_keras model are to be quantised, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow_model_optimization as tfmot
import tf_keras

from dgms_keras.config import DGMSConfig, as_config
from dgms_keras.keras_kind import is_tf_keras
from dgms_keras.targets import children, targets_of
from dgms_keras.tfmot.graph import check_graph, first_and_last, is_annotated, is_wrapped, places
from dgms_keras.tfmot.quantize_config import DGMSQuantizeConfig, unsupported_message
from dgms_keras.tfmot.tf_keras_internals import is_graph
from dgms_keras.weights.plan import Chosen, Plan


def quantize_annotate_layer(
    to_annotate: Any, quantize_config: Any = None, config: DGMSConfig | None = None, **overrides: Any
) -> Any:
    """Marks a layer to be quantised by `quantize_apply`, even if it is the model's first or last one.

        tf_keras.Sequential([..., dgms_keras.tfmot.quantize_annotate_layer(tf_keras.layers.Dense(10), bits=2)])

    Args:
        to_annotate: a tf_keras layer.
        quantize_config: any tfmot QuantizeConfig; None for DGMS with the scheme's choices.
        config, **overrides: instead of `quantize_config`: DGMS with these choices.

    Returns:
        tfmot's QuantizeAnnotate around the layer.

    Raises:
        TypeError: a Keras 3 layer (the message names the right call). ValueError: as tfmot's function.
    """
    if not is_tf_keras(to_annotate):
        import keras

        if isinstance(to_annotate, keras.layers.Layer):
            raise TypeError(
                "dgms_keras.tfmot is for tf_keras layers; a Keras 3 layer is wrapped by dgms_keras.DGMSWrapper(layer, bits=4). "
                f"Received: layer {to_annotate.name!r} of {type(to_annotate).__module__}.{type(to_annotate).__name__}"
            )
    if config is not None or overrides:
        if quantize_config is not None:
            raise ValueError(
                f"`quantize_config` already has its choices. Received: {quantize_config!r} with {config or overrides}"
            )
        quantize_config = DGMSQuantizeConfig(config, **overrides)
        # The layers inside one may have weights only when they are built.
        if not targets_of(to_annotate) and not children(to_annotate):
            raise ValueError(unsupported_message(to_annotate))
    return _annotation(to_annotate, quantize_config)


def _annotation(layer: Any, quantize_config: Any) -> Any:
    """tfmot's annotation around a layer. With the layer's dtype policy: it calls `layer.call` directly, under its own one."""
    annotation = tfmot.quantization.keras.quantize_annotate_layer(layer, quantize_config)
    annotation._set_dtype_policy(layer.dtype_policy)
    return annotation


def quantize_annotate_model(to_annotate: Any, config: DGMSConfig | None = None, **overrides: Any) -> Any:
    """A copy of a model in which the layers that a config selects are marked for `quantize_apply`, those of nested models included.

    Unlike tfmot's function it leaves the other layers alone, so the first and the last layer stay in float by default, as in the
    paper. Layers annotated before keep their annotations.

    Args:
        to_annotate: a built Sequential or Functional tf_keras model.
        config: the choices; None for the defaults.
        **overrides: fields of `DGMSConfig`, e.g. `bits=2`.

    Returns:
        The annotated model, with the weights of the original.

    Raises:
        TypeError: not a tf_keras model. ValueError: a subclassed model, a layer that cannot be quantised; with `strict=True` also a
            layer of no supported class.
    """
    check_model(to_annotate)
    return annotated(to_annotate, make_plan(to_annotate, as_config(config).replace(**overrides)))


def check_model(model: Any) -> None:
    """Raises where a model is not a Sequential or Functional model of tf_keras; a Keras 3 model is told the right call."""
    if not is_tf_keras(model):
        import keras

        if isinstance(model, keras.Model):
            raise TypeError(
                "dgms_keras.tfmot is for tf_keras models; a Keras 3 model is quantised by dgms_keras.quantize_apply(model). "
                f"Received: model {model.name!r} of {type(model).__module__}.{type(model).__name__}"
            )
    check_graph(model)


def make_plan(model: Any, config: DGMSConfig) -> Plan:
    """Which layers of a checked model a config selects."""
    first, last = first_and_last(model) if config.skip_first_last else (set(), set())
    return Plan(places(model), first, last, config)


def annotated(model: Any, plan: Plan) -> Any:
    """A copy of a model with the chosen layers annotated."""

    def annotate(layer: Any) -> Any:
        if id(layer) not in plan.chosen:
            return None
        return _annotation(fresh(layer), _quantize_config(plan.chosen[id(layer)]))

    return copy_model(model, annotate)


def _quantize_config(chosen: Chosen) -> DGMSQuantizeConfig:
    first = chosen.weights[chosen.targets[0].weight]
    return DGMSQuantizeConfig(
        first,
        targets=[(t.weight, t.channel_axes) for t in chosen.targets],
        weight_configs={w: c for w, c in chosen.weights.items() if c != first},
    )


def fresh(layer: Any) -> Any:
    """A new layer with the same config and `trainable`.

    Raises:
        ValueError: its class cannot be rebuilt from its config; the message names it.
    """
    try:
        copy = type(layer).from_config(layer.get_config())
    except Exception as error:
        raise ValueError(
            f"every layer must be copyable by `from_config(get_config())`. Received: layer {layer.name!r} of class "
            f"{type(layer).__name__}, which fails with {type(error).__name__}: {str(error)[:300]}"
        ) from error
    return copy


def copy_model(model: Any, replace: Callable[[Any], Any]) -> Any:
    """A copy of a model, and of the models inside it, with some layers replaced; the others with their weights.

    Args:
        model: a Sequential or Functional model.
        replace: given a layer, returns what comes in its place, or None for a copy. What comes has the layer's weights, in the same
            order, first among its own (tfmot's annotation has; other replacements set theirs).
    """
    pairs: list[tuple[Any, Any]] = []
    copies: dict[int, Any] = {}

    def copy(layer: Any) -> Any:
        if id(layer) not in copies:
            new = replace(layer)
            if new is None:
                new = copy_model(layer, replace) if is_graph(layer) else fresh(layer)
            copies[id(layer)] = new
            pairs.append((layer, new))
        return copies[id(layer)]

    with tfmot.quantization.keras.quantize_scope({"DGMSQuantizeConfig": DGMSQuantizeConfig}):
        result = tf_keras.models.clone_model(model, clone_function=copy)
    for old, new in pairs:
        if new is old:
            continue
        same_kind = type(old) is type(new) or (is_annotated(new) and not is_wrapped(old))
        if same_kind and not is_graph(old):
            new.set_weights(old.get_weights())
    return result
