"""A dense `.tflite` and frozen weights -> the same graph with index + codebook weights: bytes -> bytes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from dgms_keras.export import flatbuffer_io as fio
from dgms_keras.export import match as matching
from dgms_keras.export.chain_writer import EncodedWeight, write_rows, write_weight
from dgms_keras.export.graph_editor import GraphEditor
from dgms_keras.export.report import WeightRow
from dgms_keras.format import metadata, packing
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
# Growth of the file by one chain without its constants, by bits: operators, tensors, names, metadata. Measured on MobileNetV2
# (53 chains, all with a scale): 702, 1157 and 702 bytes.
CHAIN_BYTES = {2: 700, 3: 1150, 4: 700}


@dataclasses.dataclass
class _Operand:
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
class _Use:
    operand: _Operand
    match: matching.Match


def rewrite(
    data: bytes, frozen: Sequence[FrozenWeight], *, even_if_larger: bool = False
) -> tuple[bytes, tuple[WeightRow, ...]]:
    """Replaces the dense constants of a graph by decode chains.

    Args:
        data: a `.tflite` with dense float32 weights, from the converter.
        frozen: the weights to encode, in Keras's layout.
        even_if_larger: also encode weights that are smaller dense (for tests of the chains).

    Returns:
        The new file's bytes and one row per frozen weight.
    """
    model = fio.read_model(data)
    operands = _float_constants(model)
    uses = _assign(operands, frozen)
    reasons = [_why_not(weight, use, operands) for weight, use in zip(frozen, uses, strict=True)]
    encoded = [
        [] if reason else [_encode(weight, u) for u in use]
        for weight, use, reason in zip(frozen, uses, reasons, strict=True)
    ]
    small = set() if even_if_larger else _keep_small_ones(frozen, uses, encoded, reasons)
    _write_chains(model, uses, encoded)
    rows = tuple(_row(weight, uses[n], encoded[n], reasons[n], n in small) for n, weight in enumerate(frozen))
    _write_metadata(model, frozen, rows, uses, encoded)
    return fio.write_model(model), rows


def _float_constants(model: Any) -> list[_Operand]:
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
                    _Operand(
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


def _assign(operands: Sequence[_Operand], frozen: Sequence[FrozenWeight]) -> list[list[_Use]]:
    """Gives every operand the frozen weight that reproduces it; by value, names decide between equals."""
    uses: list[list[_Use]] = [[] for _ in frozen]
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
            uses[best[1]].append(_Use(operand, best[2]))
    return uses


def _rank(match: matching.Match, named: bool, used: bool) -> tuple[Any, ...]:
    """The smaller, the likelier: few factors, none of them 0, the layer's name in the tensor's, a weight not yet found."""
    factors = (match.input_scale is not None) + (match.scale is not None)
    return (factors, match.dead, not named, used, match.deviation)


def _is_named(weight: FrozenWeight, tensor: str) -> bool:
    """Whether the layer's name is a part of a tensor's (`LayerNames`)."""
    layer = re.escape(weight.layer.rsplit("/", 1)[-1])
    return re.search(rf"(^|[/;]){layer}([/;:]|$)", tensor) is not None


def _why_not(weight: FrozenWeight, uses: Sequence[_Use], operands: Sequence[_Operand]) -> str | None:
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


def _encode(weight: FrozenWeight, use: _Use) -> EncodedWeight:
    match = use.match
    return EncodedWeight(weight.name, match.codes, weight.bits, match.codebook, match.offset, match.scale)


def _file_bytes(uses: Sequence[_Use], encoded: Sequence[EncodedWeight]) -> int:
    """Bytes of a weight's constants; uses that share them count once."""
    sizes = {
        (u.match.codes.tobytes(), u.operand.by_rows, None if e.scale is None else e.scale.tobytes()): e.constant_bytes(
            u.operand.by_rows
        )
        for u, e in zip(uses, encoded, strict=True)
    }
    return sum(sizes.values())


def _keep_small_ones(
    frozen: Sequence[FrozenWeight],
    uses: Sequence[Sequence[_Use]],
    encoded: list[list[EncodedWeight]],
    reasons: list[str | None],
) -> set[int]:
    """Leaves dense what would grow: single weights first, then all weights of a bit width that do not pay for its tables.

    Returns:
        The numbers of the weights left dense; `encoded` and `reasons` are changed.
    """
    small = set()
    saved: dict[int, int] = {}
    for number, weight in enumerate(frozen):
        if reasons[number]:
            continue
        size = _file_bytes(uses[number], encoded[number]) + CHAIN_BYTES[weight.bits] * len(encoded[number])
        gain = 4 * weight.indices.size - size
        if gain <= 0:
            reasons[number] = (
                f"it is smaller dense: {4 * weight.indices.size} bytes, {size} with codes, codebook and operators"
            )
            encoded[number] = []
            small.add(number)
        else:
            saved[weight.bits] = saved.get(weight.bits, 0) + gain
    for bits, gain in saved.items():
        tables = sum(plane.table().nbytes for plane in packing.planes_of(bits))
        if gain > tables:
            continue
        for number, weight in enumerate(frozen):
            if weight.bits == bits and not reasons[number]:
                reasons[number] = (
                    f"the model is smaller dense: its {bits}-bit weights save {gain} bytes and the tables take {tables}"
                )
                encoded[number] = []
                small.add(number)
    return small


def _write_chains(model: Any, uses: Sequence[Sequence[_Use]], encoded: Sequence[Sequence[EncodedWeight]]) -> None:
    jobs: dict[int, list[tuple[_Use, EncodedWeight]]] = {}
    for uses_of_one, weights in zip(uses, encoded, strict=True):
        for use, weight in zip(uses_of_one, weights, strict=False):
            jobs.setdefault(id(use.operand.op), []).append((use, weight))
    for number, graph in enumerate(model.subgraphs):
        editor = GraphEditor(model, graph)
        operators = []
        for op in graph.operators:
            replaced = False
            for use, weight in jobs.get(id(op), ()):
                assert use.operand.graph == number
                if use.operand.by_rows:
                    write_rows(editor, weight, op.inputs[1], op.outputs[0])
                    replaced = True
                else:
                    op.inputs[use.operand.slot] = write_weight(editor, weight)
                    if use.match.input_scale is not None:  # back to where the model has it: on the activations
                        factors = editor.constant(use.match.input_scale, f"{weight.name}/input_scale")
                        op.inputs[0] = editor.scale_activations(op.inputs[0], factors)
            operators += editor.take() + ([] if replaced else [op])
        graph.operators = operators


def _row(
    weight: FrozenWeight, uses: Sequence[_Use], encoded: Sequence[EncodedWeight], reason: str | None, small: bool
) -> WeightRow:
    dense = 4 * weight.indices.size
    return WeightRow(
        layer=weight.layer,
        weight=weight.weight,
        tensors=tuple(dict.fromkeys(u.operand.name for u in uses)),
        op=", ".join(dict.fromkeys(u.operand.op_name for u in uses)) or "-",
        bits=weight.bits if encoded else None,
        codes=_codes_in_use(weight),
        count=weight.indices.size,
        zeros=int(np.count_nonzero(weight.dense() == 0)),
        scaled=any(e.scale is not None for e in encoded),
        exact=all(u.match.deviation == 0 for u in uses),
        unfolded=any(u.match.input_scale is not None for u in uses),
        dense_bytes=dense,
        file_bytes=_file_bytes(uses, encoded) if encoded else dense if uses else 0,
        chains=len(encoded),
        reason=reason,
        smaller_dense=small,
    )


def _codes_in_use(weight: FrozenWeight) -> int:
    used = weight.indices.astype(np.int64)
    if weight.group_size is not None:
        used = used + 2**weight.bits * matching.channel_groups(weight)
    return int(np.unique(used).size)


def _write_metadata(
    model: Any,
    frozen: Sequence[FrozenWeight],
    rows: Sequence[WeightRow],
    uses: Sequence[Sequence[_Use]],
    encoded: Sequence[Sequence[EncodedWeight]],
) -> None:
    layers = []
    for weight, use, chain in zip(frozen, uses, encoded, strict=True):
        for u in use[: len(chain)]:
            entry = {"layer": weight.layer, "weight": weight.weight, "op": u.operand.op_name, "bits": weight.bits}
            if u.operand.by_rows:
                entry["tensor"] = u.operand.output_name
            layers.append(entry)
    kept = [
        {
            "layer": row.layer,
            "weight": row.weight,
            "tensor": row.tensors[0] if row.tensors else "",
            "reason": row.reason,
        }
        for row in rows
        if row.reason is not None
    ]
    buffer = fio.schema.BufferT()
    buffer.data = np.frombuffer(metadata.encode(layers, kept), np.uint8)
    model.buffers.append(buffer)
    entry = fio.schema.MetadataT()
    entry.name, entry.buffer = metadata.ENTRY_NAME, len(model.buffers) - 1
    model.metadata = [m for m in model.metadata or () if m.name != metadata.ENTRY_NAME] + [entry]
