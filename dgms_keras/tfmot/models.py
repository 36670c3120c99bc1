"""What `dgms_keras.quantize_apply`, `strip`, `summary`, ... do with tf_keras models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dgms_keras.activations.shared import SharedActivation
from dgms_keras.batch_norm_statistics import recalibrate
from dgms_keras.config import DGMSConfig, as_config
from dgms_keras.frozen import Mixture
from dgms_keras.targets import Target, mixture_name, resolve, targets_of
from dgms_keras.tfmot.activation_quantizer import DGMSActivationQuantizer
from dgms_keras.tfmot.annotate import check_model, copy_model, fresh, make_plan
from dgms_keras.tfmot.apply import quantized
from dgms_keras.tfmot.as_keras3 import as_keras3
from dgms_keras.tfmot.graph import is_wrapped
from dgms_keras.tfmot.quantizer import DGMSQuantizer
from dgms_keras.tfmot.tf_keras_internals import is_graph
from dgms_keras.weights.shared import SharedWeight

__all__ = [
    "plain_for_export",
    "quantize_apply",
    "recalibrate_batch_norm",
    "shared_activations",
    "shared_weights",
    "strip",
]


def quantize_apply(
    model: Any,
    config: DGMSConfig | None = None,
    *,
    mixtures: Mapping[str, Mixture] | None = None,
    in_place: bool = False,
    **overrides: Any,
) -> Any:
    """A copy of a tf_keras model whose weights are shared by Gaussian mixtures: annotated, and quantised by tfmot's
    `quantize_apply` with our scheme. Layers keep their names (there is no prefix).

    Args and errors: see `dgms_keras.quantize_apply`. `in_place` is refused: tfmot makes copies.
    """
    if in_place:
        raise ValueError(
            "`in_place=True` is for subclassed Keras 3 models; tf_keras models are copied. "
            f"Received: model {model.name!r} of class {type(model).__name__}"
        )
    check_model(model)
    config = as_config(config).replace(**overrides)
    plan = make_plan(model, config)
    mixtures = plan.check_mixtures(mixtures)
    result = quantized(model, plan, config, prefix="")
    for weight in shared_weights(result):
        if weight.name in mixtures:
            weight.set_mixture(mixtures[weight.name])
    return result


def shared_weights(model: Any) -> list[SharedWeight]:
    """The weights of a model that a `DGMSQuantizer` quantises, in call order. Paths have the layers' own names, without tfmot's
    prefix."""
    return [w for path, wrapper in _wrappers(model, "", set()) for w in _weights_of(wrapper, path)]


def shared_activations(model: Any) -> list[SharedActivation]:
    """The inputs of layers that a `DGMSActivationQuantizer` quantises, in call order."""
    return [
        SharedActivation(
            path, q.quantizer.quantizer, q._post_activation_vars["start"], q._post_activation_vars.get("learned")
        )
        for path, wrapper in _wrappers(model, "", set())
        for q in wrapper._quantize_activations
        if isinstance(q.quantizer, DGMSActivationQuantizer)
    ]


def _wrappers(model: Any, prefix: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    for layer in model.layers:
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        if is_graph(layer):
            yield from _wrappers(layer, f"{prefix}{layer.name}/", seen)
        elif is_wrapped(layer):
            yield f"{prefix}{layer.layer.name}", layer


def _weights_of(wrapper: Any, path: str) -> list[SharedWeight]:
    ours = [(variable, q, state) for variable, q, state in wrapper._weight_vars if isinstance(q, DGMSQuantizer)]
    known = {t.weight: t for t in targets_of(wrapper.layer)}
    targets = [known.get(q.weight, Target(q.weight, q.channel_axes)) for _, q, _ in ours]
    return [
        SharedWeight(
            name=mixture_name(path, target, targets),
            path=path,
            target=target,
            quantizer=q.quantizer,
            latent=variable,
            start=state["start"],
            learned=state["learned"],
        )
        for target, (variable, q, state) in zip(targets, ours, strict=True)
    ]


def strip(model: Any, *, in_place: bool = False) -> Any:
    """The plain tf_keras model with hard weights (Eq. 4) and the original layer names; see `dgms_keras.strip`."""
    if in_place:
        raise ValueError(f"`in_place=True` is for subclassed Keras 3 models. Received: model {model.name!r}")
    check_model(model)
    stripped: list[tuple[Any, Any]] = []

    def replace(layer: Any) -> Any:
        if not is_wrapped(layer) or not _weights_of(layer, layer.name):
            return None
        stripped.append((layer, fresh(layer.layer)))
        return stripped[-1][1]

    plain = copy_model(model, replace)
    for wrapper, layer in stripped:
        layer.set_weights(wrapper.layer.get_weights())
        for weight in _weights_of(wrapper, wrapper.layer.name):
            resolve(layer, weight.target.weight).assign(weight.freeze().dense())
    return plain


def plain_for_export(model: Any) -> Any:
    """`strip(model)`, as a Keras 3 model if every layer has a counterpart there: the same weights then give the same file from both
    front ends."""
    plain = strip(model)
    return as_keras3(plain) or plain


def recalibrate_batch_norm(
    model: Any, data: Any, *, batch_size: int = 32, steps: int | None = None, passes: int | None = None
) -> Any:
    """See `dgms_keras.recalibrate_batch_norm`."""
    import tf_keras

    layers = [x for x in model._flatten_layers() if isinstance(x, tf_keras.layers.BatchNormalization)]
    return recalibrate(model, layers, data, batch_size=batch_size, steps=steps, passes=passes)
