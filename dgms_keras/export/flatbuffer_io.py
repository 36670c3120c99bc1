"""Bytes <-> the flatbuffer schema's objects. The only module that imports the TensorFlow Lite schema."""

from __future__ import annotations

import math
import struct
from typing import Any

import flatbuffers
import numpy as np

from dgms_keras.export.errors import ExportError, InvalidFileError

try:
    from ai_edge_litert import schema_py_generated as schema
except ImportError:  # only TensorFlow's own runtime is installed
    from tensorflow.lite.python import schema_py_generated as schema

__all__ = [
    "NUMPY_TYPES",
    "compact",
    "constant",
    "op_name",
    "operator_code",
    "read_model",
    "schema",
    "type_name",
    "write_model",
]

FILE_IDENTIFIER = b"TFL3"
# The schema asks for 16 (`force_align`), which Python's generated code does not do by itself.
BUFFER_ALIGNMENT = 16
# More dimensions than any tensor has; NumPy's own limit.
_MAX_RANK = 32
# What reading damaged bytes can raise inside the generated code.
_READ_ERRORS = (struct.error, IndexError, TypeError, ValueError, OverflowError, AttributeError, MemoryError)

NUMPY_TYPES: dict[int, np.dtype] = {
    schema.TensorType.FLOAT32: np.dtype("<f4"),
    schema.TensorType.FLOAT16: np.dtype("<f2"),
    schema.TensorType.FLOAT64: np.dtype("<f8"),
    schema.TensorType.INT8: np.dtype("i1"),
    schema.TensorType.UINT8: np.dtype("u1"),
    schema.TensorType.INT16: np.dtype("<i2"),
    schema.TensorType.INT32: np.dtype("<i4"),
    schema.TensorType.INT64: np.dtype("<i8"),
    schema.TensorType.BOOL: np.dtype("?"),
}
_BUILTIN_NAMES = {v: k for k, v in vars(schema.BuiltinOperator).items() if not k.startswith("_")}
_TYPE_NAMES = {v: k for k, v in vars(schema.TensorType).items() if not k.startswith("_")}
# Operator codes above this do not fit the schema's first, one-byte field.
_PLACEHOLDER = schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES


class _AlignedBuffer(schema.BufferT):
    """A buffer whose bytes start at a multiple of `BUFFER_ALIGNMENT` in the file."""

    def Pack(self, builder: flatbuffers.Builder) -> int:
        if self.data is None:
            return super().Pack(builder)
        payload = np.asarray(self.data, np.uint8).tobytes()
        builder.StartVector(1, len(payload), BUFFER_ALIGNMENT)
        builder.head -= len(payload)
        builder.Bytes[builder.head : builder.head + len(payload)] = payload
        builder.vectorNumElems = len(payload)
        data = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)


class _SharingBuilder(flatbuffers.Builder):
    """A builder that stores equal scales and equal zero points once: an int8 file has eight bytes of 0 for each channel, twice."""

    _SHARED = ("<f4", "<i8")

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._vectors: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:
        if x.dtype.str not in self._SHARED:
            return super().CreateNumpyVector(x)
        key = (x.dtype.str, x.tobytes())
        if key not in self._vectors:
            self._vectors[key] = super().CreateNumpyVector(x)
        return self._vectors[key]


def read_model(data: bytes) -> Any:
    """Parses a `.tflite` file.

    Args:
        data: the file's bytes.

    Returns:
        The schema's `ModelT`, with every index in it checked.

    Raises:
        InvalidFileError: not a TensorFlow Lite model, truncated, damaged, or larger than 2 GB.
    """
    if len(data) < 16 or data[4:8] != FILE_IDENTIFIER:
        raise InvalidFileError(
            "the file must be a TensorFlow Lite model (identifier 'TFL3' at byte 4). "
            f"Received: {len(data)} bytes that begin with {bytes(data[:8])!r}"
        )
    try:
        model = schema.ModelT.InitFromPackedBuf(data)
    except _READ_ERRORS as error:
        raise InvalidFileError(f"the TensorFlow Lite model is truncated or damaged: {error}") from None
    problem = _find_problem(model)
    if problem is not None:
        raise InvalidFileError(f"the TensorFlow Lite model is damaged: {problem}")
    _normalise(model)
    for lists in (model.operatorCodes, model.metadata, model.signatureDefs):
        for item in lists or ():
            _decode_names(item)
    for graph in model.subgraphs:
        _decode_names(graph)
        for tensor in graph.tensors:
            _decode_names(tensor)
    return model


def _normalise(model: Any) -> None:
    """Index lists and shapes as lists of int: the generated code gives arrays, lists or None."""
    for graph in model.subgraphs:
        for field in ("inputs", "outputs"):
            setattr(graph, field, [int(i) for i in _items(getattr(graph, field))])
        for op in graph.operators:
            for field in ("inputs", "outputs"):
                setattr(op, field, [int(i) for i in _items(getattr(op, field))])
        for tensor in graph.tensors:
            for field in ("shape", "shapeSignature"):
                values = getattr(tensor, field)
                setattr(tensor, field, None if values is None else [int(d) for d in values])


def _decode_names(item: Any) -> None:
    """The generated code reads strings as bytes and writes either; names are text from here on."""
    for name in ("name", "customCode", "signatureKey"):
        value = getattr(item, name, None)
        if isinstance(value, bytes):
            setattr(item, name, value.decode("utf-8", "replace"))
    for side in ("inputs", "outputs"):
        for entry in _items(getattr(item, side, None)) if hasattr(item, "signatureKey") else ():
            _decode_names(entry)


def _find_problem(model: Any) -> str | None:
    """What is wrong with the indices and sizes of a parsed model; None if nothing."""
    if not model.subgraphs or not model.buffers or not isinstance(model.operatorCodes, list):
        return "it has no subgraph, no buffer or no operator code"
    if any(b is None for b in model.buffers) or any(c is None for c in model.operatorCodes):
        return "an entry is missing"
    if any(b.offset > 1 or b.size > 1 for b in model.buffers):
        return "it keeps buffers outside the flatbuffer, which files of less than 2 GB never do"
    for entry in model.metadata or ():
        if not 0 <= entry.buffer < len(model.buffers):
            return "a metadata entry points to a missing buffer"
    for number, graph in enumerate(model.subgraphs):
        problem = _find_graph_problem(model, graph)
        if problem is not None:
            return f"subgraph {number}: {problem}"
    for signature in model.signatureDefs or ():
        if not 0 <= signature.subgraphIndex < len(model.subgraphs):
            return "a signature points to a missing subgraph"
        tensors = len(model.subgraphs[signature.subgraphIndex].tensors)
        entries = [*_items(signature.inputs), *_items(signature.outputs)]
        if any(not 0 <= entry.tensorIndex < tensors for entry in entries):
            return "a signature points to a missing tensor"
    return None


def _items(values: Any) -> Any:
    return () if values is None else values


def _find_graph_problem(model: Any, graph: Any) -> str | None:
    if graph is None:
        return "it is missing"
    graph.tensors = list(_items(graph.tensors))
    graph.operators = list(_items(graph.operators))
    for number, tensor in enumerate(graph.tensors):
        if tensor is None or not 0 <= tensor.buffer < len(model.buffers):
            return f"tensor {number} points to a missing buffer"
        shape = [int(d) for d in _items(tensor.shape)]  # None and [] are both scalars
        data = model.buffers[tensor.buffer].data
        dtype = NUMPY_TYPES.get(tensor.type)
        if len(shape) > _MAX_RANK or any(d < -1 for d in shape):
            return f"tensor {number} has the shape {shape}"
        size = dtype.itemsize * math.prod(shape) if dtype is not None and tensor.sparsity is None else None
        if data is not None and len(data) and size not in (None, len(data)):
            return f"tensor {number} has the shape {shape} and {len(data)} bytes"
    count = len(graph.tensors)
    for number, op in enumerate(graph.operators):
        if op is None or not 0 <= op.opcodeIndex < len(model.operatorCodes):
            return f"operator {number} has a missing operator code"
        for index in (*_items(op.inputs), *_items(op.outputs), *_items(op.intermediates)):
            if not -1 <= index < count:
                return f"operator {number} points to a missing tensor"
    if any(not 0 <= i < count for i in (*_items(graph.inputs), *_items(graph.outputs))):
        return "an input or output points to a missing tensor"
    return None


def write_model(model: Any) -> bytes:
    """Serialises a `ModelT`: buffers 16-byte aligned, equal constants stored once, unused tensors and buffers left out.

    Raises:
        ExportError: the model needs more than the 2 GB that a flatbuffer can hold.
    """
    compact(model)
    model.buffers = [_AlignedBuffer(b.data, b.offset, b.size) for b in model.buffers]
    size = sum(len(b.data) + 2 * BUFFER_ALIGNMENT for b in model.buffers if b.data is not None)
    if size + 2**20 >= flatbuffers.Builder.MAX_BUFFER_SIZE:
        raise ExportError(f"a .tflite file must be smaller than 2 GB. Received: {size} bytes of constants")
    builder = _SharingBuilder(size + 2**20)
    builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
    return bytes(builder.Output())


def compact(model: Any) -> None:
    """Removes what nothing uses (tensors, then buffers) and merges buffers of equal contents; metadata stays apart."""
    for number, graph in enumerate(model.subgraphs):
        _drop_unused_tensors(model, number, graph)
    merged: dict[Any, int] = {None: 0}
    buffers = [schema.BufferT()]  # buffer 0 is empty by convention

    def place(index: int, tag: str) -> int:
        data = model.buffers[index].data
        key = None if data is None else (tag, np.asarray(data, np.uint8).tobytes())
        if key not in merged:
            merged[key] = len(buffers)
            buffers.append(model.buffers[index])
        return merged[key]

    for graph in model.subgraphs:
        for tensor in graph.tensors:
            # Text stays apart from numbers, variables from constants: only read-only constants may share bytes.
            tensor.buffer = place(tensor.buffer, f"variable {id(tensor)}" if tensor.isVariable else "constant")
    for entry in model.metadata or ():
        entry.buffer = place(entry.buffer, f"metadata {entry.name}")
    model.buffers = buffers


def _drop_unused_tensors(model: Any, number: int, graph: Any) -> None:
    signatures = [s for s in model.signatureDefs or () if s.subgraphIndex == number]
    used = {int(i) for i in (*_items(graph.inputs), *_items(graph.outputs))}
    for op in graph.operators:
        used.update(int(i) for i in (*_items(op.inputs), *_items(op.outputs), *_items(op.intermediates)))
    used.update(int(e.tensorIndex) for s in signatures for e in (*_items(s.inputs), *_items(s.outputs)))
    used.discard(-1)
    new = {old: position for position, old in enumerate(sorted(used))}
    new[-1] = -1

    def renumber(item: Any, field: str) -> None:
        values = getattr(item, field)
        if values is not None:
            setattr(item, field, [new[int(i)] for i in values])

    graph.tensors = [graph.tensors[i] for i in sorted(used)]
    for field in ("inputs", "outputs"):
        renumber(graph, field)
    for op in graph.operators:
        for field in ("inputs", "outputs", "intermediates"):
            renumber(op, field)
    for entry in (e for s in signatures for e in (*_items(s.inputs), *_items(s.outputs))):
        entry.tensorIndex = new[int(entry.tensorIndex)]


def constant(model: Any, tensor: Any) -> np.ndarray | None:
    """The value of a constant tensor in its own shape, a read-only view; None if it is no (plain, dense) constant."""
    data = model.buffers[tensor.buffer].data
    dtype = NUMPY_TYPES.get(tensor.type)
    if data is None or tensor.isVariable or dtype is None or tensor.sparsity is not None:
        return None
    shape = [int(d) for d in _items(tensor.shape)]
    if len(shape) > _MAX_RANK or len(data) != dtype.itemsize * math.prod(shape):
        return None
    return np.ascontiguousarray(data).view(dtype).reshape(shape)


def op_name(model: Any, op: Any) -> str:
    """The operator's name in the schema, e.g. `"CONV_2D"`; a custom operator's own name for those."""
    code = model.operatorCodes[op.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if number == schema.BuiltinOperator.CUSTOM:
        return f"CUSTOM {code.customCode}"
    return _BUILTIN_NAMES.get(number, f"operator {number}")


def type_name(code: int) -> str:
    """`"FLOAT32"` for a tensor type of the schema."""
    return _TYPE_NAMES.get(code, f"type {code}")


def operator_code(model: Any, name: str, version: int = 1) -> int:
    """The index of an operator code, added to the model if it is not there yet."""
    number = getattr(schema.BuiltinOperator, name)
    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == number and code.version >= version:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode, code.version = number, version
    code.deprecatedBuiltinCode = min(number, _PLACEHOLDER)
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
