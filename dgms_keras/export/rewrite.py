"""A dense `.tflite` and frozen weights -> the same graph with index + codebook weights: bytes -> bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dgms_keras.export import flatbuffer_io as fio
from dgms_keras.export import match as matching
from dgms_keras.export.chain_writer import EncodedWeight, write_rows, write_weight
from dgms_keras.export.graph_editor import GraphEditor
from dgms_keras.export.operands import Use, assign, float_constants, why_not
from dgms_keras.export.report import WeightRow
from dgms_keras.format import metadata, packing
from dgms_keras.frozen import FrozenWeight

# Growth of the file by one chain without its constants, by bits: operators, tensors, names, metadata. Measured on MobileNetV2
# (53 chains, all with a scale): 702, 1157 and 702 bytes. In int8 files, by the same measure, 308, 776 and 312, as scales are
# needed with dense weights, too; and 205 more where several codebooks need an offset.
CHAIN_BYTES = {"float32": {2: 700, 3: 1150, 4: 700}, "int8": {2: 310, 3: 780, 4: 310}}
_INT8_OFFSET_BYTES = 205


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
    operands = float_constants(model)
    uses = assign(operands, frozen)
    reasons = [why_not(weight, use, operands) for weight, use in zip(frozen, uses, strict=True)]
    encoded = [
        [] if reason else [_encode(weight, u) for u in use]
        for weight, use, reason in zip(frozen, uses, reasons, strict=True)
    ]
    small = set() if even_if_larger else keep_small_ones(frozen, uses, encoded, reasons)
    _write_chains(model, uses, encoded)
    rows = tuple(make_row(weight, uses[n], encoded[n], reasons[n], n in small) for n, weight in enumerate(frozen))
    write_metadata(model, frozen, rows, uses, encoded)
    return fio.write_model(model), rows


def _encode(weight: FrozenWeight, use: Use) -> EncodedWeight:
    match = use.match
    return EncodedWeight(weight.name, match.codes, weight.bits, match.codebook, match.offset, match.scale)


def _file_bytes(uses: Sequence[Use], encoded: Sequence[EncodedWeight]) -> int:
    """Bytes of a weight's constants; uses that share them count once."""
    sizes = {
        (u.match.codes.tobytes(), u.operand.by_rows, None if e.scale is None else e.scale.tobytes()): e.constant_bytes(
            u.operand.by_rows
        )
        for u, e in zip(uses, encoded, strict=True)
    }
    return sum(sizes.values())


def keep_small_ones(
    frozen: Sequence[FrozenWeight],
    uses: Sequence[Sequence[Use]],
    encoded: list[list[EncodedWeight]],
    reasons: list[str | None],
    activations: str = "float32",
) -> set[int]:
    """Leaves dense what would grow: single weights first, then all weights of a bit width that do not pay for its tables.

    Args:
        frozen: the weights.
        uses: the operators that read each of them.
        encoded: their chains; emptied for what stays dense.
        reasons: why a weight cannot be encoded; filled in for what stays dense.
        activations: of the file, which say what a dense weight takes: `"float32"` or `"int8"`.

    Returns:
        The numbers of the weights left dense; `encoded` and `reasons` are changed.
    """
    small = set()
    saved: dict[int, int] = {}
    for number, weight in enumerate(frozen):
        if reasons[number]:
            continue
        size = _file_bytes(uses[number], encoded[number])
        size += sum(_chain_bytes(e, activations) for e in encoded[number])
        dense = (4 if activations == "float32" else 1) * weight.indices.size
        gain = dense - size
        if gain <= 0:
            reasons[number] = f"it is smaller dense: {dense} bytes, {size} with codes, codebook and operators"
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


def _chain_bytes(weight: EncodedWeight, activations: str) -> int:
    """Bytes of a chain without its constants, about."""
    extra = _INT8_OFFSET_BYTES if activations == "int8" and weight.offset is not None else 0
    return CHAIN_BYTES[activations][weight.bits] + extra


def _write_chains(model: Any, uses: Sequence[Sequence[Use]], encoded: Sequence[Sequence[EncodedWeight]]) -> None:
    jobs: dict[int, list[tuple[Use, EncodedWeight]]] = {}
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


def make_row(
    weight: FrozenWeight, uses: Sequence[Use], encoded: Sequence[EncodedWeight], reason: str | None, small: bool
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
        scaled=bool(encoded) and any(u.match.scale is not None for u in uses),
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


def write_metadata(
    model: Any,
    frozen: Sequence[FrozenWeight],
    rows: Sequence[WeightRow],
    uses: Sequence[Sequence[Use]],
    encoded: Sequence[Sequence[EncodedWeight]],
    activations: str = "float32",
) -> None:
    """Adds the entry of FORMAT.md, section 5, to a model."""
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
    buffer.data = np.frombuffer(metadata.encode(layers, kept, activations), np.uint8)
    model.buffers.append(buffer)
    entry = fio.schema.MetadataT()
    entry.name, entry.buffer = metadata.ENTRY_NAME, len(model.buffers) - 1
    model.metadata = [m for m in model.metadata or () if m.name != metadata.ENTRY_NAME] + [entry]
