"""Reads decode chains (FORMAT.md, section 3) back out of a graph: from an operator's input to codes and codebook."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from dgms_keras.export import flatbuffer_io as fio
from dgms_keras.format import packing

# The tables of section 2: (width, shift) of the plane, contents.
TABLES = [
    ((plane.width, plane.shift), plane.table())
    for plane in {(p.width, p.shift): p for planes in packing.PLANES.values() for p in planes}.values()
]
# The operators of a chain: number of inputs, type of the options.
_OPERATORS = {
    "ADD": (2, fio.schema.AddOptionsT),
    "CAST": (1, fio.schema.CastOptionsT),
    "GATHER": (2, fio.schema.GatherOptionsT),
    "MUL": (2, fio.schema.MulOptionsT),
    "RESHAPE": (2, fio.schema.ReshapeOptionsT),
    "SLICE": (3, fio.schema.SliceOptionsT),
}
# Options that a chain leaves at 0: axis and batch dimensions of GATHER, activation of ADD and MUL.
_ZERO_OPTIONS = ("axis", "batchDims", "fusedActivationFunction")
# More operators than the longest chain has (3 bits, groups, odd size, scale: 13).
_LONGEST = 32
_BITS = {frozenset((p.width, p.shift) for p in planes): bits for bits, planes in packing.PLANES.items()}


@dataclasses.dataclass(frozen=True)
class Chain:
    """One decoded weight.

    Args:
        tensor: the tensor that the consumer reads (or, for rows of a table, writes).
        codes: uint8 in the weight's shape; for rows of a table `[V, D]`.
        bits: 2, 3 or 4.
        codebook: float32 or, in int8 files, int8 `[groups * 2**bits]`.
        offset: int32, broadcastable to `codes`; None for one codebook.
        scale: float32, broadcastable to `codes`; None if there is no MUL.
        by_rows: whether only gathered rows are decoded.
        constants: the constant tensors that are this weight's own (planes, codebook, offset, scale).
        operators: positions of the chain's operators in the graph.
        step: with an int8 codebook, the weight's quantisation: float32, broadcastable to `codes`; else None.
    """

    tensor: int
    codes: np.ndarray
    bits: int
    codebook: np.ndarray
    offset: np.ndarray | None
    scale: np.ndarray | None
    by_rows: bool
    constants: tuple[int, ...]
    operators: tuple[int, ...]
    step: np.ndarray | None = None

    def decode(self) -> np.ndarray:
        """The weight as the graph computes it: float32 or int8."""
        index = self.codes.astype(np.int64)
        values = self.codebook[index if self.offset is None else index + self.offset]
        return values if self.scale is None else (values * self.scale).astype(np.float32)

    def values(self) -> np.ndarray:
        """The weight, float32: what int8 values stand for."""
        return self.decode() if self.step is None else (self.decode() * self.step).astype(np.float32)


class _NotAChain(Exception):
    """The operators above a tensor are not a decode chain."""


@dataclasses.dataclass
class _State:
    """What a walk up a chain has met."""

    planes: set[tuple[int, int]] = dataclasses.field(default_factory=set)
    constants: list[int] = dataclasses.field(default_factory=list)
    operators: list[int] = dataclasses.field(default_factory=list)
    codebook: np.ndarray | None = None
    offset: np.ndarray | None = None
    rows: int | None = None


class ChainReader:
    """Finds chains in one subgraph.

    Args:
        model: the schema's ModelT.
        graph: one of its subgraphs.
    """

    def __init__(self, model: Any, graph: Any) -> None:
        self.model = model
        self.graph = graph
        self.producer = {t: n for n, op in enumerate(graph.operators) for t in op.outputs if t >= 0}

    def read(self, tensor: int) -> Chain | None:
        """The chain of sections 3.1 to 3.5 or 3.7 that ends in `tensor`; None if there is none."""
        state = _State()
        try:
            codes, scale = self._scaled(tensor, state)
        except _NotAChain:
            return None
        shape = list(self.graph.tensors[tensor].shape or [])
        if state.rows is not None or math.prod(shape) != codes.size:
            return None
        chain = self._chain(tensor, codes.reshape(shape), scale, state)
        if chain is None or chain.codebook.dtype == np.float32:
            return chain
        step = self._step_of(tensor, len(shape))
        return None if step is None else dataclasses.replace(chain, step=step)

    def _step_of(self, tensor: int, rank: int) -> np.ndarray | None:
        """The quantisation of an int8 weight, broadcastable to it; None if it is none that a chain may have."""
        q = self.graph.tensors[tensor].quantization
        if q is None or q.scale is None or (q.zeroPoint is not None and np.any(q.zeroPoint)):
            return None
        shape = self.graph.tensors[tensor].shape or []
        axis = q.quantizedDimension
        if len(q.scale) != 1 and not (0 <= axis < rank and len(q.scale) == shape[axis]):
            return None
        scale = np.asarray(q.scale, np.float32)
        return scale.reshape([-1 if len(scale) > 1 and d == axis else 1 for d in range(rank)])

    def read_rows(self, tensor: int) -> Chain | None:
        """The chain of section 3.6 (gathered rows of a table) that ends in `tensor`; None if there is none."""
        state = _State()
        try:
            name, op = self._step(tensor, state)
            if name != "RESHAPE" or self._constant(op.inputs[1], np.int32) is not None:
                return None
            codes = self._values(op.inputs[0], state)
        except _NotAChain:
            return None
        if state.rows is None or codes.ndim != 2 or len(codes) != state.rows:
            return None
        if state.codebook is None or state.codebook.dtype != np.float32:
            return None
        if state.offset is not None and state.offset.ndim == 2 and state.offset.shape[1] > 1:
            state.offset = state.offset[:, : codes.shape[1]]  # without the padding codes
        return self._chain(tensor, codes, None, state)

    def _chain(self, tensor: int, codes: np.ndarray, scale: np.ndarray | None, state: _State) -> Chain | None:
        bits = _BITS.get(frozenset(state.planes))
        if bits is None or state.codebook is None:
            return None
        if not _broadcasts(state.offset, codes) or not _broadcasts(scale, codes):
            return None
        index = codes if state.offset is None else codes + state.offset
        if int(index.min(initial=0)) < 0 or int(index.max(initial=0)) >= state.codebook.size:
            return None
        return Chain(
            tensor=tensor,
            codes=codes.astype(np.uint8),
            bits=bits,
            codebook=state.codebook,
            offset=state.offset,
            scale=scale,
            by_rows=state.rows is not None,
            constants=tuple(dict.fromkeys(state.constants)),
            operators=tuple(sorted(set(state.operators))),
        )

    def _step(self, tensor: int, state: _State) -> tuple[str, Any]:
        """The operator that writes `tensor`, if it is one that chains are made of, with its inputs and options in place."""
        number = self.producer.get(tensor)
        if number is None or len(state.operators) >= _LONGEST:  # longer than any chain: a damaged graph, perhaps a loop
            raise _NotAChain
        state.operators.append(number)
        op = self.graph.operators[number]
        name = fio.op_name(self.model, op)
        if name not in _OPERATORS:
            raise _NotAChain
        inputs, options = _OPERATORS[name]
        if len(op.inputs) != inputs or not isinstance(op.builtinOptions, (options, type(None))):
            raise _NotAChain
        plain = op.builtinOptions is None or not any(getattr(op.builtinOptions, f, 0) for f in _ZERO_OPTIONS)
        if not plain:
            raise _NotAChain
        return name, op

    def _constant(self, tensor: int, dtype: Any) -> np.ndarray | None:
        if tensor < 0:
            return None
        value = fio.constant(self.model, self.graph.tensors[tensor])
        return value if value is not None and value.dtype == dtype else None

    def _codebook(self, tensor: int) -> np.ndarray | None:
        values = self._constant(tensor, np.float32)
        return self._constant(tensor, np.int8) if values is None else values

    def _scaled(self, tensor: int, state: _State) -> tuple[np.ndarray, np.ndarray | None]:
        mark = len(state.operators)
        name, op = self._step(tensor, state)
        if name == "MUL":
            scale = self._constant(op.inputs[1], np.float32)
            if scale is None:
                raise _NotAChain
            state.constants.append(op.inputs[1])
            codes = self._values(op.inputs[0], state)
            if state.codebook is None or state.codebook.dtype != np.float32:
                raise _NotAChain
            return codes, scale
        del state.operators[mark:]
        return self._values(tensor, state), None

    def _values(self, tensor: int, state: _State) -> np.ndarray:
        """Codes behind a tensor of values, through reshapes and slices to the lookup in the codebook."""
        name, op = self._step(tensor, state)
        if name == "RESHAPE":
            return self._reshaped(self._values(op.inputs[0], state), op)
        if name == "SLICE":
            return self._sliced(self._values(op.inputs[0], state), op)
        if name != "GATHER":
            raise _NotAChain
        params, indices = op.inputs
        codebook = self._codebook(params)
        if codebook is not None:
            codes = self._codes(indices, state)
        else:  # the extended codebook, one entry per byte
            name, inner = self._step(params, state)
            if name != "GATHER":
                raise _NotAChain
            params = inner.inputs[0]
            codebook = self._codebook(params)
            codes = self._fields(inner.inputs[1], indices, state)
        if codebook is None or codebook.ndim != 1:
            raise _NotAChain
        state.codebook = codebook
        state.constants.append(params)
        return codes

    def _codes(self, tensor: int, state: _State) -> np.ndarray:
        """Codes behind an int32 tensor: planes, added up, perhaps with the offsets of channel groups."""
        name, op = self._step(tensor, state)
        if name == "RESHAPE":
            return self._reshaped(self._codes(op.inputs[0], state), op)
        if name == "SLICE":
            return self._sliced(self._codes(op.inputs[0], state), op)
        if name == "GATHER":
            return self._fields(op.inputs[0], op.inputs[1], state)
        if name != "ADD":
            raise _NotAChain
        left, right = op.inputs
        offset = self._constant(right, np.int32)
        if offset is None and self._is_gathered_offset(right):
            offset = self._constant(self.graph.operators[self.producer[right]].inputs[0], np.int32)
            right = self.graph.operators[self.producer[right]].inputs[0]
        if offset is not None:
            state.offset = offset
            state.constants.append(right)
            return self._codes(left, state)
        planes = self._codes(left, state), self._codes(right, state)
        if planes[0].shape != planes[1].shape:
            raise _NotAChain
        return planes[0] + planes[1]

    def _is_gathered_offset(self, tensor: int) -> bool:
        try:
            name, op = self._step(tensor, _State())
        except _NotAChain:
            return False
        values = self._constant(op.inputs[0], np.int32) if name == "GATHER" else None
        return values is not None and values.ndim == 2 and values.shape[1] == 1

    def _fields(self, table: int, wide: int, state: _State) -> np.ndarray:
        """The fields of one plane: GATHER(table, CAST(bytes)), the bytes perhaps gathered by rows."""
        values = self._constant(table, np.int32)
        plane = next((p for p, t in TABLES if values is not None and np.array_equal(values, t)), None)
        name, op = self._step(wide, state)
        if plane is None or values is None or name != "CAST":
            raise _NotAChain
        source = op.inputs[0]
        if self._constant(source, np.uint8) is None:
            name, op = self._step(source, state)
            if name != "GATHER":
                raise _NotAChain
            source = op.inputs[0]
        data = self._constant(source, np.uint8)
        if data is None or plane in state.planes:
            raise _NotAChain
        if name == "GATHER":
            state.rows = len(data)
        state.planes.add(plane)
        state.constants.append(source)
        return values[data]

    def _reshaped(self, codes: np.ndarray, op: Any) -> np.ndarray:
        shape = self._constant(op.inputs[1], np.int32)
        if shape is None:
            raise _NotAChain
        try:
            return codes.reshape(shape)
        except ValueError:
            raise _NotAChain from None

    def _sliced(self, codes: np.ndarray, op: Any) -> np.ndarray:
        begin, size = (self._constant(t, np.int32) for t in op.inputs[1:3])
        if begin is None or size is None or begin.any() or codes.ndim != size.size:
            raise _NotAChain
        return codes[tuple(slice(None) if s == -1 else slice(int(s)) for s in size)]


def _broadcasts(value: np.ndarray | None, codes: np.ndarray) -> bool:
    """Whether `value` has the rank of `codes` and each of its dimensions is that of `codes` or 1."""
    if value is None:
        return True
    return value.ndim == codes.ndim and all(v in (1, c) for v, c in zip(value.shape, codes.shape, strict=True))
