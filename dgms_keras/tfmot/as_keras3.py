"""A plain tf_keras model as the same model in Keras 3, for export: one converter's input for both Kerases, so that the same weights give
the same file."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from dgms_keras.tfmot.tf_keras_internals import is_graph, nodes

# Of a layer's config: what only training needs, or tf_keras only.
_LEFT_OUT = ("initializer", "regularizer", "constraint", "batch_input_shape")
# Largest difference between the outputs of both, as a share of the largest output: the same float32 operations in another order.
_TOLERANCE = 1e-4


class _NoCounterpart(Exception):
    """A layer has no counterpart in Keras 3."""


def as_keras3(model: Any) -> Any | None:
    """The same model in Keras 3, with the same names and weights.

    Args:
        model: a plain Sequential or Functional tf_keras model.

    Returns:
        The Keras 3 model, whose outputs were compared with the original's on random inputs; None if a layer has no counterpart there (a
        class of the user's, an operator on tensors), or computes something else.
    """
    pairs: list[tuple[Any, Any]] = []
    try:
        copy = _model(model, {}, pairs)
        for layer, other in pairs:
            other.set_weights(layer.get_weights())
        return copy if _agree(model, copy) else None
    except Exception:  # whatever a layer of one Keras has against a config or an argument of the other
        return None


def _model(model: Any, made: dict[int, Any], pairs: list[tuple[Any, Any]]) -> Any:
    tensors: dict[int, Any] = {}
    for tensor, name in zip(model.inputs, model.input_names, strict=True):
        tensors[id(tensor)] = keras.Input(
            batch_shape=tuple(tensor.shape), dtype=tf.as_dtype(tensor.dtype).name, name=name.split(":")[0]
        )

    def mapped(structure: Any) -> Any:
        return tf.nest.map_structure(lambda x: tensors.get(id(x), x), structure)

    for node in nodes(model):
        if isinstance(node.layer, tf_keras.layers.InputLayer):
            continue
        layer = node.layer
        if id(layer) not in made:
            made[id(layer)] = _model(layer, made, pairs) if is_graph(layer) else _layer(layer, pairs)
        kwargs = {k: v for k, v in node.call_kwargs.items() if k not in ("training", "mask")}
        outputs = made[id(layer)](*mapped(node.call_args), **mapped(kwargs))
        for old, new in zip(tf.nest.flatten(node.outputs), keras.tree.flatten(outputs), strict=True):
            tensors[id(old)] = new
    if isinstance(model, tf_keras.Sequential):
        layers = [made[id(layer)] for layer in model.layers]
        return keras.Sequential([tensors[id(model.inputs[0])], *layers], name=model.name)
    return keras.Model(mapped(model._nested_inputs), mapped(model._nested_outputs), name=model.name)


def _layer(layer: Any, pairs: list[tuple[Any, Any]]) -> Any:
    cls = getattr(keras.layers, type(layer).__name__, None)
    if cls is None or not type(layer).__module__.startswith("tf_keras."):
        raise _NoCounterpart(layer.name)
    known = inspect.signature(cls.__init__).parameters
    config = {k: v for k, v in layer.get_config().items() if not any(k.endswith(left) for left in _LEFT_OUT)}
    config = {k: v for k, v in config.items() if k in known or k in ("name", "trainable")}
    config["dtype"] = layer.dtype_policy.name
    if type(layer).__name__ == "BatchNormalization":
        (config["axis"],) = layer.axis  # a list of one
    made = cls.from_config(config)
    pairs.append((layer, made))
    return made


def _agree(model: Any, copy: Any) -> bool:
    """Whether both compute the same on random inputs."""
    rng = np.random.default_rng(0)
    inputs = []
    for tensor in model.inputs:
        shape = [2 if n is None else n for n in tensor.shape[:1]] + [16 if n is None else n for n in tensor.shape[1:]]
        dtype = tf.as_dtype(tensor.dtype)
        value = rng.normal(size=shape) if dtype.is_floating else rng.integers(0, 2, shape)
        inputs.append(tf.constant(value.astype(dtype.as_numpy_dtype)))
    packed = tf.nest.pack_sequence_as(model._nested_inputs, inputs)
    ours, theirs = tf.nest.flatten(model(packed, training=False)), keras.tree.flatten(copy(packed, training=False))
    for a, b in zip(ours, theirs, strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        if a.shape != b.shape or not np.all(np.abs(a - b) <= _TOLERANCE * max(1e-30, float(np.abs(a).max(initial=0)))):
            return False
    return True
