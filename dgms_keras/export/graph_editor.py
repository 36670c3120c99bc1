"""Adds constants, tensors and operators to one subgraph: the vocabulary in which decode chains are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dgms_keras.export.flatbuffer_io import NUMPY_TYPES, operator_code, schema

_TENSOR_TYPES = {dtype: code for code, dtype in NUMPY_TYPES.items()}


def tensor_type(dtype: Any) -> int:
    """The schema's code of a NumPy dtype."""
    return _TENSOR_TYPES[np.dtype(dtype)]


class GraphEditor:
    """Writes new operators of one subgraph into a list; the caller puts the list where the operators shall run.

    Args:
        model: the schema's ModelT.
        graph: one of its subgraphs.
    """

    def __init__(self, model: Any, graph: Any) -> None:
        self.model = model
        self.graph = graph
        self.operators: list[Any] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], int] = {}
        # Tensors whose first dimension is only known when the model runs.
        self._free: set[int] = set()

    def take(self) -> list[Any]:
        """The operators written since the last call."""
        taken, self.operators = self.operators, []
        return taken

    def shape(self, tensor: int) -> list[int]:
        return list(self.graph.tensors[tensor].shape or [])

    def constant(self, value: np.ndarray, name: str) -> int:
        """The tensor with this value; equal values of equal type and shape share one tensor, whose first name stays."""
        value = np.ascontiguousarray(value)
        payload = value.tobytes()
        key = (value.dtype.str, value.shape, payload)
        if key not in self._constants:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(payload, np.uint8)
            self.model.buffers.append(buffer)
            index = self.tensor(value.shape, value.dtype, name)
            self.graph.tensors[index].buffer = len(self.model.buffers) - 1
            self._constants[key] = index
        return self._constants[key]

    def unshared_constant(self, value: np.ndarray, name: str) -> int:
        """A tensor of its own with this value, e.g. because it gets a quantisation of its own; equal bytes are stored once."""
        known, self._constants = self._constants, {}
        try:
            return self.constant(value, name)
        finally:
            self._constants = known

    def quantize(self, tensor: int, scale: np.ndarray, dimension: int) -> None:
        """Says what integers mean: `value * scale`, one scale for the tensor or for each index of a dimension; zero point 0."""
        quantization = schema.QuantizationParametersT()
        quantization.scale = np.asarray(scale, np.float32)
        quantization.zeroPoint = np.zeros(len(quantization.scale), np.int64)
        quantization.quantizedDimension = dimension
        self.graph.tensors[tensor].quantization = quantization

    def tensor(self, shape: Sequence[int], dtype: Any, name: str) -> int:
        """A new tensor without data."""
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.name = [int(d) for d in shape], tensor_type(dtype), name or None
        tensor.hasRank = True
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _add(
        self, op: str, inputs: Sequence[int], output: int, options_type: str, options: Any, free: bool = False
    ) -> int:
        """Appends an operator. `free`: the first dimension of `output` follows that of an input, so it must not be fixed."""
        if free:
            self._free.add(output)
            self.graph.tensors[output].shapeSignature = [-1, *self.shape(output)[1:]]
        operator = schema.OperatorT()
        operator.opcodeIndex = operator_code(self.model, op)
        operator.inputs, operator.outputs = list(inputs), [output]
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, options_type)
        operator.builtinOptions = options
        self.operators.append(operator)
        return output

    def _dtype(self, tensor: int) -> np.dtype:
        return NUMPY_TYPES[self.graph.tensors[tensor].type]

    def gather(self, values: int, indices: int, name: str = "") -> int:
        """GATHER along axis 0: shape of `indices` + shape of `values` without its first dimension."""
        output = self.tensor([*self.shape(indices), *self.shape(values)[1:]], self._dtype(values), name)
        return self._add(
            "GATHER", [values, indices], output, "GatherOptions", schema.GatherOptionsT(), indices in self._free
        )

    def cast_to_int32(self, tensor: int, name: str = "") -> int:
        options = schema.CastOptionsT()
        options.inDataType, options.outDataType = self.graph.tensors[tensor].type, schema.TensorType.INT32
        output = self.tensor(self.shape(tensor), np.int32, name)
        return self._add("CAST", [tensor], output, "CastOptions", options, tensor in self._free)

    def reshape(self, tensor: int, shape: Sequence[int], name: str = "") -> int:
        """RESHAPE; the first dimension may be -1."""
        options = schema.ReshapeOptionsT()
        options.newShape = [int(d) for d in shape]
        new_shape = self.constant(np.array(shape, np.int32), "shape")
        free = bool(len(shape)) and shape[0] == -1
        size = int(np.prod(self.shape(tensor), dtype=np.int64))
        known = int(np.prod([d for d in shape if d != -1], dtype=np.int64))
        output = self.tensor([size // known if d == -1 else d for d in shape], self._dtype(tensor), name)
        return self._add("RESHAPE", [tensor, new_shape], output, "ReshapeOptions", options, free)

    def reshape_to(self, tensor: int, shape: int, output: int) -> int:
        """RESHAPE to a shape that is itself a tensor, into an existing tensor."""
        return self._add("RESHAPE", [tensor, shape], output, "ReshapeOptions", schema.ReshapeOptionsT())

    def slice_from_start(self, tensor: int, size: Sequence[int], name: str = "") -> int:
        """SLICE from the origin; a size of -1 keeps the whole dimension."""
        begin = self.constant(np.zeros(len(size), np.int32), "begin")
        sizes = self.constant(np.array(size, np.int32), "size")
        shape = [full if s == -1 else s for full, s in zip(self.shape(tensor), size, strict=True)]
        output = self.tensor(shape, self._dtype(tensor), name)
        return self._add("SLICE", [tensor, begin, sizes], output, "SliceOptions", schema.SliceOptionsT(), size[0] == -1)

    def binary(self, op: str, left: int, right: int, name: str = "") -> int:
        """ADD or MUL without activation; `right` is broadcast to `left`."""
        output = self.tensor(self.shape(left), self._dtype(left), name)
        options = {"ADD": schema.AddOptionsT, "MUL": schema.MulOptionsT}[op]()
        return self._add(op, [left, right], output, f"{op.capitalize()}Options", options, left in self._free)

    def scale_activations(self, tensor: int, factors: int) -> int:
        """MUL of a tensor of the model with factors of its last dimension; dimensions that can be resized stay so."""
        output = self.binary("MUL", tensor, factors)
        signature = self.graph.tensors[tensor].shapeSignature
        self.graph.tensors[output].shapeSignature = None if signature is None else list(signature)
        return output

    def shape_of(self, tensor: int, name: str = "") -> int:
        """SHAPE, int32."""
        options = schema.ShapeOptionsT()
        options.outType = schema.TensorType.INT32
        output = self.tensor([len(self.shape(tensor))], np.int32, name)
        return self._add("SHAPE", [tensor], output, "ShapeOptions", options)

    def concatenate(self, parts: Sequence[int], name: str = "") -> int:
        """CONCATENATION of vectors."""
        output = self.tensor([sum(self.shape(p)[0] for p in parts)], self._dtype(parts[0]), name)
        return self._add("CONCATENATION", parts, output, "ConcatenationOptions", schema.ConcatenationOptionsT())
