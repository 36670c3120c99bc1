"""Writes the decode chains of FORMAT.md, section 3: from packed codes and a codebook to the weight an operator reads."""

from __future__ import annotations

import dataclasses

import numpy as np

from dgms_keras.export.graph_editor import GraphEditor
from dgms_keras.format import packing


@dataclasses.dataclass(frozen=True)
class EncodedWeight:
    """A weight in the layout of the operator that reads it.

    Args:
        name: prefix of the new tensors' names.
        codes: uint8, in the shape of the operator's weight; each < `2**bits`.
        bits: 2, 3 or 4.
        codebook: float32 or int8 `[2**bits]`, or `[groups * 2**bits]` with `offset`.
        offset: with channel groups, int32 `2**bits * group` of every element, of the weight's rank, with size 1 where it does
            not depend on a dimension; else None.
        scale: float32 factors of the weight's rank, broadcast over it; None where all are 1, and for int8 codebooks.
    """

    name: str
    codes: np.ndarray
    bits: int
    codebook: np.ndarray
    offset: np.ndarray | None = None
    scale: np.ndarray | None = None

    def constant_bytes(self, by_rows: bool = False) -> int:
        """Bytes of the constants that are this weight's own."""
        rows, count = (self.codes.shape[0], self.codes[0].size) if by_rows else (1, self.codes.size)
        size = rows * sum(packing.plane_sizes(self.bits, count)) + self.codebook.nbytes
        return size + sum(a.nbytes for a in (self.offset, self.scale) if a is not None)

    def decode(self) -> np.ndarray:
        """What the chain computes, bit for bit: values of the codebook's type in the shape of `codes`."""
        index = self.codes.astype(np.int32)
        values = self.codebook[index if self.offset is None else index + self.offset]
        return values if self.scale is None else (values * self.scale).astype(np.float32)


def write_weight(editor: GraphEditor, weight: EncodedWeight) -> int:
    """Sections 3.1 to 3.5 and 3.7: decodes the whole weight; returns the tensor that the consumer reads."""
    name, shape, count = weight.name, weight.codes.shape, weight.codes.size
    planes = [
        editor.cast_to_int32(editor.constant(data, f"{name}/{plane.name}"))
        for plane, data in zip(
            packing.planes_of(weight.bits), packing.pack(weight.codes.reshape(-1), weight.bits), strict=True
        )
    ]
    codebook = editor.constant(weight.codebook, f"{name}/codebook")
    # The tensor that the consumer reads has the weight's own name; those on the way have none (names cost bytes).
    decoded_name = name if weight.scale is None else ""
    if weight.offset is not None:
        index = _tail(editor, _index_blocks(editor, weight, planes), shape, count)
        shifted = editor.binary("ADD", index, editor.constant(weight.offset, f"{name}/offset"))
        decoded = editor.gather(codebook, shifted, decoded_name)
    else:
        decoded = _tail(editor, _value_blocks(editor, weight, planes, codebook), shape, count, decoded_name)
    if weight.scale is not None:
        decoded = editor.binary("MUL", decoded, editor.constant(weight.scale, f"{name}/scale"), name)
    return decoded


def _table(editor: GraphEditor, plane: packing.Plane) -> int:
    return editor.constant(plane.table(), f"dgms/table_{plane.width}_{plane.shift}")


def _value_blocks(editor: GraphEditor, weight: EncodedWeight, planes: list[int], codebook: int) -> int:
    """Values `[..., codes per block]`: one lookup per byte where a byte holds whole codes, one per code for 3 bits."""
    if len(planes) > 1:
        return editor.gather(codebook, _index_blocks(editor, weight, planes))
    (plane,) = packing.planes_of(weight.bits)
    extended = editor.gather(codebook, _table(editor, plane))
    return editor.gather(extended, planes[0])


def _index_blocks(editor: GraphEditor, weight: EncodedWeight, planes: list[int]) -> int:
    """int32 `[..., codes per block]`: the codes, planes added up."""
    total = None
    block = packing.block_size(weight.bits)
    for plane, data in zip(packing.planes_of(weight.bits), planes, strict=True):
        fields = editor.gather(_table(editor, plane), data)
        if plane.codes_per_byte != block:
            *rows, size, width = editor.shape(fields)
            blocks = size * width // block
            # One free dimension at most: rows of an embedding come in any number.
            shape = [-1, blocks, block] if rows else [blocks, block]
            fields = editor.reshape(fields, shape)
        total = fields if total is None else editor.binary("ADD", total, fields)
    assert total is not None
    return total


def _tail(editor: GraphEditor, blocks: int, shape: tuple[int, ...], count: int, name: str = "") -> int:
    """Section 3.3: blocks to the weight's shape, without the padding codes."""
    padded = int(np.prod(editor.shape(blocks), dtype=np.int64))
    if padded != count:
        flat = editor.reshape(blocks, [padded])
        blocks = editor.slice_from_start(flat, [count])
    return editor.reshape(blocks, shape, name)


def write_rows(editor: GraphEditor, weight: EncodedWeight, ids: int, output: int) -> None:
    """Section 3.6: gathers packed rows of a table `[V, ...]` and decodes only those, into the tensor `output`."""
    name, rest = weight.name, list(weight.codes.shape[1:])
    width = int(np.prod(rest, dtype=np.int64))
    flat = editor.reshape(ids, [-1])
    planes = []
    packed = packing.pack(weight.codes.reshape(len(weight.codes), width), weight.bits)
    for plane, data in zip(packing.planes_of(weight.bits), packed, strict=True):
        rows = editor.gather(editor.constant(data, f"{name}/{plane.name}"), flat)
        planes.append(editor.cast_to_int32(rows))
    padded = packing.padded_count(weight.bits, width)
    codebook = editor.constant(weight.codebook, f"{name}/codebook")
    if weight.offset is not None:
        index = editor.reshape(_index_blocks(editor, weight, planes), [-1, padded])
        offset = weight.offset.reshape(weight.offset.shape[0], -1)
        if offset.shape[0] == 1:  # groups of columns
            offset = np.pad(np.broadcast_to(offset, (1, width)), [(0, 0), (0, padded - width)])
            added = editor.constant(offset, f"{name}/offset")
        else:  # groups of rows
            added = editor.gather(editor.constant(offset, f"{name}/offsets"), flat)
        codes = editor.gather(codebook, editor.binary("ADD", index, added))
    else:
        codes = editor.reshape(_value_blocks(editor, weight, planes, codebook), [-1, padded])
    if padded != width:
        codes = editor.slice_from_start(codes, [-1, width])
    shape = editor.concatenate([editor.shape_of(ids), editor.constant(np.array(rest, np.int32), "shape")])
    editor.reshape_to(codes, shape, output)
