"""Finds the layers of a Keras 3 model whose signs may be flipped so that a BatchNorm's scales are positive; see
`dgms_keras.weights.batch_norm_signs`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import keras

from dgms_keras.layers.keras_internals import is_graph
from dgms_keras.layers.wrapper import DGMSWrapper
from dgms_keras.weights.batch_norm_signs import can_flip, flip


def make_scales_positive(model: keras.Model, new: Collection[DGMSWrapper]) -> list[str]:
    """Flips channels of quantised layers whose BatchNorm scale is negative, in a model that `quantize_apply` just copied.

    Args:
        model: a Sequential or Functional model; such models inside it are treated too.
        new: the layers whose mixtures are not started yet; a mixture that is there already fits the signs as they are.

    Returns:
        The names of the layers with flipped channels.
    """
    flipped: list[str] = []
    seen: set[int] = set()
    may_flip = {id(wrapper) for wrapper in new}

    def visit(graph: keras.Model) -> None:
        if id(graph) in seen:
            return
        seen.add(id(graph))
        for wrapper, batch_norm in _pairs(graph):
            if id(wrapper) in may_flip and flip(wrapper.layer, batch_norm):
                flipped.append(wrapper.name)
        for layer in graph.layers:
            if is_graph(layer):
                visit(layer)

    visit(model)
    return flipped


def _pairs(graph: keras.Model) -> list[tuple[DGMSWrapper, keras.layers.BatchNormalization]]:
    """The (layer, BatchNorm behind it) pairs of one model that may be flipped."""
    functional = graph._functional if isinstance(graph, keras.Sequential) else graph
    readers: dict[int, list[Any]] = {}  # tensor -> nodes that read it
    for nodes in functional._nodes_by_depth.values():
        for node in nodes:
            for tensor in node.input_tensors:
                readers.setdefault(id(tensor), []).append(node)
    outputs = {id(tensor) for tensor in functional.outputs}
    found = []
    for layer in functional.layers:
        if not isinstance(layer, DGMSWrapper) or len(layer._inbound_nodes) != 1:
            continue
        tensor = layer._inbound_nodes[0].outputs[0]
        behind = readers.get(id(tensor), [])
        if len(behind) != 1 or id(tensor) in outputs:
            continue
        batch_norm = behind[0].operation
        if len(batch_norm._inbound_nodes) == 1 and can_flip(layer.layer, batch_norm, len(tensor.shape)):
            found.append((layer, batch_norm))
    return found
