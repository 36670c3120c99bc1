"""The layers of a tf_keras model with their paths, which of them are first and last, and which signs may be flipped."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import tensorflow as tf
import tf_keras

from dgms_keras.targets import targets_of
from dgms_keras.tfmot.tf_keras_internals import annotate_class, is_graph, nodes, wrapper_class
from dgms_keras.weights.batch_norm_signs import can_flip, flip
from dgms_keras.weights.plan import Place


def check_graph(model: Any) -> None:
    """Raises where a model is not a built Sequential or Functional model of tf_keras."""
    if not isinstance(model, tf_keras.Model):
        raise TypeError(
            f"`model` must be a tf_keras.Model. Received: {type(model).__module__}.{type(model).__qualname__}"
        )
    if isinstance(model, tf_keras.Sequential) and not model.built:
        raise ValueError(
            f"`model` must be built: give it an Input, or call model.build(input_shape). Received: model {model.name!r}, not built"
        )
    if isinstance(model, tf_keras.Sequential) and not is_graph(model):  # built by a call: no graph yet
        raise ValueError(
            "a Sequential model must know its input shape: give it an Input or call model.build(input_shape) before anything else. "
            f"Received: model {model.name!r}"
        )
    if not is_graph(model):
        raise ValueError(
            "a tf_keras model must be Sequential or Functional to be quantised: tensorflow-model-optimization rebuilds it layer by "
            f"layer. Received: model {model.name!r} of class {type(model).__name__}; write it with tf_keras.Input and "
            "tf_keras.Model(inputs, outputs), or as a Keras 3 model"
        )


def is_annotated(layer: Any) -> bool:
    """Whether the layer is tfmot's QuantizeAnnotate around another."""
    return isinstance(layer, annotate_class())


def is_wrapped(layer: Any) -> bool:
    """Whether the layer is one of tfmot's quantising wrappers."""
    return isinstance(layer, wrapper_class())


def has_annotation(model: Any) -> bool:
    """Whether a layer of the model, or of a model inside it, is annotated."""
    return any(is_annotated(layer) or (is_graph(layer) and has_annotation(layer)) for layer in model.layers)


def places(model: Any) -> list[Place]:
    """The layers of a model and of the models inside it, in call order, each once. What is annotated or quantised already counts
    as quantised."""
    return list(_places(model, "", set()))


def _places(model: Any, prefix: str, seen: set[int]) -> Iterator[Place]:
    for layer in model.layers:
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        path = f"{prefix}{layer.name}"
        if is_graph(layer):
            yield from _places(layer, f"{path}/", seen)
        elif isinstance(layer, tf_keras.Model):
            raise ValueError(
                f"a model inside a model must be Sequential or Functional to be quantised. Received: {path!r} of class "
                f"{type(layer).__name__}"
            )
        elif not isinstance(layer, tf_keras.layers.InputLayer):
            done = is_annotated(layer) or is_wrapped(layer)
            yield Place(path, layer.layer if done else layer, quantized=done)


def first_and_last(model: Any) -> tuple[set[int], set[int]]:
    """Ids of the supported layers with no supported layer before them, and of those with none behind them; see
    `dgms_keras.layers.order`."""
    first: set[int] = set()
    seen: set[int] = set()
    with_successor: set[int] = set()

    def run(graph: Any, arrived: list[frozenset[int]]) -> list[frozenset[int]]:
        behind = {id(t): layers for t, layers in zip(graph.inputs, arrived, strict=True)}
        for node in nodes(graph):
            layer = node.layer
            if isinstance(layer, tf_keras.layers.InputLayer):
                continue
            inputs = [behind[id(t)] for t in tf.nest.flatten(node.keras_inputs)]
            outputs = tf.nest.flatten(node.outputs)
            if is_graph(layer):
                passed = run(layer, inputs)
            else:
                passed = [through(layer, frozenset().union(*inputs))] * len(outputs)
            behind.update({id(t): layers for t, layers in zip(outputs, passed, strict=True)})
        return [behind[id(t)] for t in graph.outputs]

    def through(layer: Any, passed: frozenset[int]) -> frozenset[int]:
        inner = layer.layer if is_annotated(layer) or is_wrapped(layer) else layer
        if not targets_of(inner):
            return passed
        seen.add(id(inner))
        if not passed:
            first.add(id(inner))
        with_successor.update(passed - {id(inner)})
        return passed | {id(inner)}

    run(model, [frozenset()] * len(model.inputs))
    return first, seen - with_successor


def make_scales_positive(model: Any, names: Collection[str]) -> None:
    """Flips channels whose BatchNorm scale is negative, of the named layers of a model (not of models inside it); see
    `dgms_keras.weights.batch_norm_signs`."""
    readers: dict[int, list[Any]] = {}
    for node in nodes(model):
        for tensor in tf.nest.flatten(node.keras_inputs):
            readers.setdefault(id(tensor), []).append(node)
    outputs = {id(tensor) for tensor in model.outputs}
    uses: dict[int, int] = {}
    for node in nodes(model):
        uses[id(node.layer)] = uses.get(id(node.layer), 0) + 1
    for node in nodes(model):
        layer, tensor = node.layer, node.outputs
        if layer.name not in names or uses[id(layer)] != 1 or isinstance(tensor, (list, tuple, dict)):
            continue
        behind = readers.get(id(tensor), [])
        if len(behind) != 1 or id(tensor) in outputs or uses[id(behind[0].layer)] != 1:
            continue
        if can_flip(layer, behind[0].layer, len(tensor.shape)):
            flip(layer, behind[0].layer)
