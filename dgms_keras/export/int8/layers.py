"""Which operator of TensorFlow's int8 graph is which operator of the float graph it was made from."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from dgms_keras.export import flatbuffer_io as fio
from dgms_keras.export.int8.codebooks import along

# The operators whose weight may be a decode chain in an int8 file, with the channel dimension of their weight.
CHANNEL_AXES = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
# A quantised weight is within half a step of the float one; the quotient is rounded in float32.
_STEPS = 0.5 * (1 + 2.0**-10)
_TYPE = fio.schema.TensorType


@dataclasses.dataclass(frozen=True)
class Pair:
    """One operator in both graphs.

    Args:
        graph: number of the subgraph.
        op: its name.
        float_position, position: in the operator lists of the float and of the int8 graph.
        float_input, float_output: tensors of the float graph that it reads and writes.
        shape: of its weight.
        bias: the float bias, or None.
        input_scale, output_scale: of its int8 activations; 0 where they are not int8.
        per_channel: whether the quantiser gave its weight a scale for each channel.
        float_op: the float graph's operator.
        problem: why its weight cannot be a chain; None if it can.
    """

    graph: int
    op: str
    float_position: int
    position: int
    float_input: int
    float_output: int
    shape: tuple[int, ...]
    bias: np.ndarray | None
    input_scale: float
    output_scale: float
    per_channel: bool
    float_op: Any
    problem: str | None = None


def pair_operators(float_model: Any, int8_model: Any) -> dict[tuple[int, int], Pair]:
    """Pairs operators by their order, kind, weight's shape, and weight's values.

    The quantiser keeps the order and puts QUANTIZE and DEQUANTIZE between. Values decide: a pair is one only if the int8 weight
    is within half a step of the float weight everywhere.

    Returns:
        By subgraph and position in the float graph. What has no partner is left out.
    """
    pairs = {}
    for number, (before, after) in enumerate(zip(float_model.subgraphs, int8_model.subgraphs, strict=False)):
        start = 0
        for float_position, op in enumerate(before.operators):
            weight = _weight(float_model, before, op)
            if weight is None:
                continue
            for position in range(start, len(after.operators)):
                other = after.operators[position]
                name = fio.op_name(float_model, op)
                if fio.op_name(int8_model, other) == name and _is_same_weight(int8_model, after, other, weight):
                    pairs[number, float_position] = _pair(
                        float_model, int8_model, number, float_position, position, weight
                    )
                    start = position + 1
                    break
    return pairs


def _weight(model: Any, graph: Any, op: Any) -> np.ndarray | None:
    if fio.op_name(model, op) not in CHANNEL_AXES or len(op.inputs) < 2:
        return None
    value = fio.constant(model, graph.tensors[op.inputs[1]])
    return value if value is not None and value.dtype == np.float32 else None


def _is_same_weight(model: Any, graph: Any, op: Any, weight: np.ndarray) -> bool:
    tensor = graph.tensors[op.inputs[1]]
    value = fio.constant(model, tensor)
    if value is None or value.shape != weight.shape:
        return False
    if value.dtype == np.float32:  # the quantiser left the operator in float
        return np.array_equal(value, weight)
    q = tensor.quantization
    if value.dtype != np.int8 or q is None or q.scale is None:
        return False
    scale = np.asarray(q.scale, np.float64)
    scale = along(scale, q.quantizedDimension, value.ndim) if len(scale) > 1 else scale
    return bool(np.all(np.abs(value * scale - weight) <= _STEPS * scale))


def _pair(float_model: Any, int8_model: Any, number: int, at: int, position: int, weight: np.ndarray) -> Pair:
    before, after = float_model.subgraphs[number], int8_model.subgraphs[number]
    op, other = before.operators[at], after.operators[position]
    bias = op.inputs[2] if len(op.inputs) > 2 else -1
    values = None if bias < 0 else fio.constant(float_model, before.tensors[bias])
    computed_bias = bias >= 0 and values is None
    if bias < 0 and len(other.inputs) > 2 and other.inputs[2] >= 0:  # the quantiser added one
        values = np.zeros(weight.shape[CHANNEL_AXES[fio.op_name(float_model, op)]], np.float32)
    source, result = after.tensors[other.inputs[0]], after.tensors[other.outputs[0]]
    return Pair(
        graph=number,
        op=fio.op_name(float_model, op),
        float_position=at,
        position=position,
        float_input=op.inputs[0],
        float_output=op.outputs[0],
        shape=weight.shape,
        bias=values,
        input_scale=_scale(source),
        output_scale=_scale(result),
        per_channel=len(_scales(after.tensors[other.inputs[1]])) > 1,
        float_op=op,
        problem=_problem(after, other, computed_bias),
    )


def _scales(tensor: Any) -> list[float]:
    q = tensor.quantization
    return [] if q is None or q.scale is None else [float(s) for s in q.scale]


def _scale(tensor: Any) -> float:
    scales = _scales(tensor)
    return scales[0] if len(scales) == 1 else 0.0


def _problem(graph: Any, op: Any, computed_bias: bool) -> str | None:
    activations = [graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]]
    if any(t.type != _TYPE.INT8 or _scale(t) <= 0 for t in activations):
        return "TensorFlow's quantiser left the operator's activations in float"
    if graph.tensors[op.inputs[1]].type != _TYPE.INT8:
        return "TensorFlow's quantiser left the weight in float"
    if computed_bias:
        return "the operator's bias is no constant"
    if len(op.inputs) > 2 and op.inputs[2] >= 0 and graph.tensors[op.inputs[2]].type != _TYPE.INT32:
        return "the operator's bias is not int32"
    return None
