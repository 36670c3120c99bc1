"""Which constant of a converted float graph is which frozen weight, operator by operator."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from dgms_keras.export import flatbuffer_io as fio
from dgms_keras.export import match as matching
from dgms_keras.frozen import FrozenWeight

# Operators that take a decoded weight: input -> output-channel dimension of that input, along which the converter may have
# folded factors (None: it never does). FORMAT.md, section 4.
CONSUMERS: dict[str, dict[int, int | None]] = {
    "CONV_2D": {1: 0},
    "DEPTHWISE_CONV_2D": {1: 3},
    "FULLY_CONNECTED": {1: 0},
    "TRANSPOSE_CONV": {1: 0},
    "CONV_3D": {1: 4},
    "CONV_3D_TRANSPOSE": {1: 3},
    "BATCH_MATMUL": {0: None, 1: None},
    "GATHER": {0: None},
    **{op: {0: None, 1: None} for op in ("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE")},
    **{op: {0: None} for op in ("TRANSPOSE", "RESHAPE", "SLICE", "STRIDED_SLICE", "EXPAND_DIMS", "SQUEEZE", "TILE")},
    **{op: dict.fromkeys(range(64)) for op in ("WHILE", "IF", "CONCATENATION", "PACK")},
}
# Operators whose input 2 is a bias: never encoded, whatever its values.
WITH_BIAS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "CONV_3D", "CONV_3D_TRANSPOSE")
_WEIGHT_OPS = (*WITH_BIAS, "TRANSPOSE_CONV", "BATCH_MATMUL", "GATHER")
# Operators into whose weight the converter also folds factors of their input, with the weight's input-channel dimension.
INPUT_AXES = {"FULLY_CONNECTED": 1}


@dataclasses.dataclass
class Operand:
    """A constant float input of an operator."""

    graph: int
    op: Any
    op_name: str
    slot: int
    tensor: int
    name: str
    values: np.ndarray
    channel_axis: int | None
    accepted: bool
    by_rows: bool
    output_name: str
    scalable_input: bool


@dataclasses.dataclass
class Use:
    operand: Operand
    match: matching.Match


def float_constants(model: Any) -> list[Operand]:
    found = []
    for number, graph in enumerate(model.subgraphs):
        for op in graph.operators:
            name = fio.op_name(model, op)
            for slot, index in enumerate(op.inputs):
                tensor = graph.tensors[index] if index >= 0 else None
                if tensor is None or tensor.type != fio.schema.TensorType.FLOAT32 or tensor.sparsity is not None:
                    continue
                values = fio.constant(model, tensor)
                # Zeros are equal to any weight with a factor of 0: they are a weight only where a weight is expected.
                if values is None or (name in WITH_BIAS and slot >= 2) or not (values.any() or name in _WEIGHT_OPS):
                    continue
                slots = CONSUMERS.get(name, {})
                first_axis = name == "GATHER" and op.builtinOptions.axis == 0 == op.builtinOptions.batchDims
                by_rows = first_axis and slot == 0 and values.ndim > 1
                accepted = slot in slots and index not in graph.outputs and (name != "GATHER" or by_rows)
                output_name = (graph.tensors[op.outputs[0]].name or "") if op.outputs else ""
                found.append(
                    Operand(
                        graph=number,
                        op=op,
                        op_name=name,
                        slot=slot,
                        tensor=index,
                        name=tensor.name or "",
                        values=values,
                        channel_axis=slots.get(slot),
                        accepted=accepted,
                        by_rows=by_rows,
                        output_name=output_name,
                        scalable_input=values.shape[-1:] == _last_dimension(graph, op.inputs[0]),
                    )
                )
    return found


def _last_dimension(graph: Any, tensor: int) -> tuple[int, ...]:
    return tuple(graph.tensors[tensor].shape or ())[-1:] if tensor >= 0 else ()


def assign(operands: Sequence[Operand], frozen: Sequence[FrozenWeight]) -> list[list[Use]]:
    """Gives every operand the frozen weight that reproduces it; by value, names decide between equals."""
    uses: list[list[Use]] = [[] for _ in frozen]
    by_size: dict[int, list[int]] = {}
    for number, weight in enumerate(frozen):
        by_size.setdefault(weight.indices.size, []).append(number)
    cache: dict[tuple[Any, ...], matching.Match | None] = {}
    for operand in operands:
        candidates = by_size.get(operand.values.size, ())
        best: tuple[Any, int, matching.Match] | None = None
        # The search with factors on both sides takes long: only where nothing simpler explains the constant.
        for both in (False, True):
            for number in candidates if best is None else ():
                input_axis = INPUT_AXES.get(operand.op_name)
                key = (number, operand.graph, operand.tensor, operand.channel_axis, input_axis, both)
                if key not in cache:
                    cache[key] = matching.find(
                        frozen[number], operand.values, operand.channel_axis, input_axis, both=both
                    )
                match = cache[key]
                if match is not None:
                    rank = _rank(match, _is_named(frozen[number], operand.name), bool(uses[number]))
                    if best is None or rank < best[0]:
                        best = (rank, number, match)
        if best is not None:
            uses[best[1]].append(Use(operand, best[2]))
    return uses


def _rank(match: matching.Match, named: bool, used: bool) -> tuple[Any, ...]:
    """The smaller, the likelier: few factors, none of them 0, the layer's name in the tensor's, a weight not yet found."""
    factors = (match.input_scale is not None) + (match.scale is not None)
    return (factors, match.dead, not named, used, match.deviation)


def _is_named(weight: FrozenWeight, tensor: str) -> bool:
    """Whether the layer's name is a part of a tensor's (`LayerNames`)."""
    layer = re.escape(weight.layer.rsplit("/", 1)[-1])
    return re.search(rf"(^|[/;]){layer}([/;:]|$)", tensor) is not None


def why_not(weight: FrozenWeight, uses: Sequence[Use], operands: Sequence[Operand]) -> str | None:
    """Why a weight cannot be encoded at all; None if it can."""
    if not weight.indices.size:
        return "the weight has no elements"
    if not uses:
        same_size = [o for o in operands if o.values.size == weight.indices.size]
        # The converter saturates infinity to the largest float32.
        if any(not np.all(np.abs(o.values) < np.finfo(np.float32).max) for o in same_size):
            return "the converter's constant holds NaN or infinity, e.g. from a BatchNorm"
        readers = ", ".join(sorted({o.op_name for o in same_size}))
        seen = f"constants of its size feed {readers}, with other values" if readers else "none has its size"
        return (
            "no constant of the converted graph equals this weight (up to its layout and one factor per output channel): "
            f"the converter folded or changed it, or the layer is not used; {seen}"
        )
    refused = sorted({u.operand.op_name for u in uses if not u.operand.accepted})
    if refused:
        return f"it feeds {', '.join(refused)}, which cannot take a decoded weight"
    if any(u.match.input_scale is not None and not u.operand.scalable_input for u in uses):
        return "the converter folded a factor per input channel into it, and the operator's input has another last dimension"
    return None
