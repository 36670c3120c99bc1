"""TensorFlow's int8 graph with index + codebook weights: bytes -> bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dgms_keras.export.chain_writer import write_weight
from dgms_keras.export.graph_editor import GraphEditor
from dgms_keras.export.int8.codebooks import Int8Layer
from dgms_keras.export.int8.layers import Pair

Job = tuple[Pair, Int8Layer]


def write_layers(model: Any, jobs: Sequence[Job], *, dense: bool = False) -> list[Any]:
    """Gives operators of TensorFlow's int8 graph new weights and biases, in place.

    Args:
        model: the schema's ModelT of the int8 file.
        jobs: the operators and their layers.
        dense: store the int8 weights themselves instead of chains: the reference that chains must equal.

    Returns:
        The operators, in the order of `jobs`.
    """
    wanted = [model.subgraphs[pair.graph].operators[pair.position] for pair, _ in jobs]
    by_operator = {(pair.graph, pair.position): layer for pair, layer in jobs}
    for number, graph in enumerate(model.subgraphs):
        editor = GraphEditor(model, graph)
        operators = []
        for position, op in enumerate(graph.operators):
            layer = by_operator.get((number, position))
            if layer is not None:
                _replace(editor, op, layer, dense)
            operators += [*editor.take(), op]
        graph.operators = operators
    return wanted


def _replace(editor: GraphEditor, op: Any, layer: Int8Layer, dense: bool) -> None:
    name = layer.weight.name
    weight = editor.unshared_constant(layer.integers(), name) if dense else write_weight(editor, layer.weight)
    editor.quantize(weight, layer.scale, layer.channel_axis)
    op.inputs[1] = weight
    if layer.bias is None:
        return
    bias = editor.unshared_constant(layer.bias, f"{name}/bias")
    editor.quantize(bias, layer.bias_scale, 0)
    op.inputs = [*op.inputs[:2], bias, *op.inputs[3:]]


def quantization_of(tensor: Any) -> tuple[np.ndarray, np.ndarray, int]:
    """Scales, zero points and dimension of a tensor's quantisation; empty arrays if it has none."""
    q = tensor.quantization
    if q is None or q.scale is None:
        return np.zeros(0, np.float32), np.zeros(0, np.int64), 0
    zeros = np.zeros(len(q.scale), np.int64) if q.zeroPoint is None else np.asarray(q.zeroPoint, np.int64)
    return np.asarray(q.scale, np.float32), zeros, int(q.quantizedDimension)
