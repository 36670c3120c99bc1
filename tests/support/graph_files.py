"""Writes small `.tflite` files with decode chains, straight from FORMAT.md and sharing no code with dgms_keras.export.

Needs NumPy, flatbuffers and a TFLite runtime (for its schema) only, so that it also runs in an environment that has nothing
but another version of the runtime.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np

try:
    from ai_edge_litert import schema_py_generated as schema
except ImportError:
    from tensorflow.lite.python import schema_py_generated as schema

TENSOR_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.uint8): schema.TensorType.UINT8,
    np.dtype(np.int64): schema.TensorType.INT64,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.bool_): schema.TensorType.BOOL,
}
PADDINGS = {"SAME": schema.Padding.SAME, "VALID": schema.Padding.VALID}
ACTIVATIONS = {
    "none": schema.ActivationFunctionType.NONE,
    "relu": schema.ActivationFunctionType.RELU,
    "relu6": schema.ActivationFunctionType.RELU6,
    "relu_n1_to_1": schema.ActivationFunctionType.RELU_N1_TO_1,
    "tanh": schema.ActivationFunctionType.TANH,
}
BLOCK = {2: 4, 3: 8, 4: 2}  # codes per block


def pack_plane(codes: np.ndarray, width: int, shift: int, block: int) -> np.ndarray:
    """The bytes of one plane: bit by bit, first code in the low bits (FORMAT.md, section 1)."""
    flat = codes.reshape(-1).astype(np.uint8)
    flat = np.concatenate([flat, np.zeros(-len(flat) % block, np.uint8)])
    bits = (flat[:, None] >> (shift + np.arange(width, dtype=np.uint8))) & 1
    return np.packbits(bits.reshape(-1), bitorder="little")


def plane_table(width: int, shift: int) -> np.ndarray:
    """FORMAT.md, section 2."""
    fields = np.arange(256)[:, None] >> (width * np.arange(8 // width))
    return ((fields & (2**width - 1)) << shift).astype(np.int32)


@dataclasses.dataclass
class Chain:
    """The numbers of a decode chain's tensors and operators, by FORMAT.md's names, for tests that spoil one of them."""

    tensors: dict[str, int] = dataclasses.field(default_factory=dict)
    operators: dict[str, int] = dataclasses.field(default_factory=dict)


class GraphFile:
    """One model under construction; `subgraph()` starts a further subgraph."""

    def __init__(self) -> None:
        self.buffers: list[np.ndarray | None] = [None]
        self.codes: list[int] = []
        self.graphs: list[Any] = []
        self.subgraph("main")

    def subgraph(self, name: str) -> None:
        graph = schema.SubGraphT()
        graph.name, graph.tensors, graph.operators, graph.inputs, graph.outputs = name, [], [], [], []
        self.graphs.append(graph)
        self.graph = graph
        self._tables: dict[tuple[int, int], int] = {}

    def tensor(
        self,
        shape: Sequence[int],
        dtype: Any = np.float32,
        name: str | None = None,
        data: np.ndarray | None = None,
        signature: Sequence[int] | None = None,
    ) -> int:
        tensor = schema.TensorT()
        tensor.shape = [int(d) for d in shape]
        tensor.type = TENSOR_TYPES[np.dtype(dtype)]
        tensor.name = name or f"t{len(self.graph.tensors)}"
        tensor.buffer = 0
        tensor.shapeSignature = None if signature is None else [int(d) for d in signature]
        if data is not None:
            tensor.buffer = len(self.buffers)
            self.buffers.append(np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8))
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, array: np.ndarray, name: str | None = None) -> int:
        return self.tensor(array.shape, array.dtype, name, array)

    def quantize(self, tensor: int, scales: Sequence[float] | float, axis: int = 0, zero_point: int = 0) -> int:
        """Gives a tensor affine quantisation parameters: one scale, or one per index of dimension `axis`."""
        parameters = schema.QuantizationParametersT()
        parameters.scale = np.asarray(scales, np.float32).reshape(-1)
        parameters.zeroPoint = np.full(parameters.scale.size, zero_point, np.int64)
        parameters.quantizedDimension = axis
        self.graph.tensors[tensor].quantization = parameters
        return tensor

    def op(self, code: str, inputs: Sequence[int], outputs: Sequence[int], options: Any = None, kind: str = "") -> int:
        """Appends an operator; `kind` is the options' name in the schema where it is not `type(options)` less its T."""
        number = getattr(schema.BuiltinOperator, code)
        if number not in self.codes:
            self.codes.append(number)
        op = schema.OperatorT()
        op.opcodeIndex = self.codes.index(number)
        op.inputs, op.outputs = list(inputs), list(outputs)
        if options is not None:
            op.builtinOptions = options
            op.builtinOptionsType = getattr(schema.BuiltinOptions, kind or type(options).__name__[:-1])
        self.graph.operators.append(op)
        return len(self.graph.operators) - 1

    def returns(self, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        self.graph.inputs, self.graph.outputs = list(inputs), list(outputs)

    def bytes(self) -> bytes:
        model = schema.ModelT()
        model.version = 3
        model.subgraphs = self.graphs
        model.operatorCodes = []
        for number in self.codes:
            code = schema.OperatorCodeT()
            code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
            model.operatorCodes.append(code)
        model.buffers = []
        for data in self.buffers:
            buffer = schema.BufferT()
            buffer.data = data
            model.buffers.append(buffer)
        model.metadata, model.signatureDefs, model.description = [], [], b""
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    # -- decode chains ------------------------------------------------------------------------------------------------

    def _gather(self, data: int, indices: int, shape: Sequence[int], dtype: Any) -> tuple[int, int]:
        output = self.tensor(shape, dtype)
        options = schema.GatherOptionsT()
        options.axis, options.batchDims = 0, 0
        return output, self.op("GATHER", [data, indices], [output], options)

    def _reshape(self, data: int, shape: Sequence[int], dtype: Any) -> tuple[int, int]:
        output = self.tensor(shape, dtype)
        options = schema.ReshapeOptionsT()
        options.newShape = [int(d) for d in shape]
        new_shape = self.constant(np.asarray(shape, np.int32))
        return output, self.op("RESHAPE", [data, new_shape], [output], options)

    def _binary(self, code: str, a: int, b: int, shape: Sequence[int], dtype: Any) -> tuple[int, int]:
        output = self.tensor(shape, dtype)
        options = schema.AddOptionsT() if code == "ADD" else schema.MulOptionsT()
        options.fusedActivationFunction = ACTIVATIONS["none"]
        return output, self.op(code, [a, b], [output], options)

    def _table(self, width: int, shift: int) -> int:
        if (width, shift) not in self._tables:
            self._tables[(width, shift)] = self.constant(plane_table(width, shift))
        return self._tables[(width, shift)]

    def _cast(self, plane: int, size: int) -> tuple[int, int]:
        output = self.tensor([size], np.int32)
        options = schema.CastOptionsT()
        options.inDataType, options.outDataType = schema.TensorType.UINT8, schema.TensorType.INT32
        return output, self.op("CAST", [plane], [output], options)

    def _tail(self, chain: Chain, blocks: int, padded: int, shape: Sequence[int], dtype: Any) -> int:
        t, o = chain.tensors, chain.operators
        count = int(np.prod(shape))
        if padded != count:
            t["flat"], o["flatten"] = self._reshape(blocks, [padded], dtype)
            t["begin"] = self.constant(np.zeros(1, np.int32))
            t["size"] = self.constant(np.array([count], np.int32))
            t["sliced"] = self.tensor([count], dtype)
            o["slice"] = self.op("SLICE", [t["flat"], t["begin"], t["size"]], [t["sliced"]], schema.SliceOptionsT())
            blocks = t["sliced"]
        output, o["reshape"] = self._reshape(blocks, shape, dtype)
        return output

    def chain(
        self,
        codes: np.ndarray,
        codebook: np.ndarray,
        bits: int,
        axis: int,
        scale: np.ndarray | None = None,
        group_size: int | None = None,
        filter_scales: np.ndarray | None = None,
    ) -> tuple[int, Chain]:
        """Appends the decode chain of a filter; an int8 codebook makes it an int8 chain.

        Args:
            codes: uint8 in the filter's own shape and order (OHWI, 1HWC, OI).
            codebook: float32 or int8 `[2**bits]`, or `[groups, 2**bits]` with `group_size`.
            bits: 2, 3 or 4.
            axis: the filter's output-channel axis.
            scale: float32 `[channels]` or None.
            group_size: output channels per codebook, or None.
            filter_scales: int8 only: the decoded filter's quantisation scales, `[channels]` or `[1]`.

        Returns:
            The filter's tensor and the numbers of all parts.
        """
        chain = Chain()
        t, o = chain.tensors, chain.operators
        block = BLOCK[bits]
        padded = -(-codes.size // block) * block
        planes = {2: [(2, 0)], 3: [(2, 0), (1, 2)], 4: [(4, 0)]}[bits]
        wides = []
        for i, (width, shift) in enumerate(planes):
            data = pack_plane(codes, width, shift, block)
            t[f"packed{i}"] = self.constant(data)
            t[f"wide{i}"], o[f"cast{i}"] = self._cast(t[f"packed{i}"], data.size)
            t[f"table{i}"] = self._table(width, shift)
            wides.append((t[f"wide{i}"], t[f"table{i}"], data.size, 8 // width))
        shape_of_blocks = [padded // block, block]
        grouped = group_size is not None
        values = np.int8 if np.asarray(codebook).dtype == np.int8 else np.float32
        t["codebook"] = self.constant(np.asarray(codebook, values).reshape(-1))
        if bits == 3:
            (low, low_table, low_size, _), (high, high_table, _, _) = wides
            t["fields"], o["gather_low"] = self._gather(low_table, low, [low_size, 4], np.int32)
            t["lows"], o["reshape_lows"] = self._reshape(t["fields"], shape_of_blocks, np.int32)
            t["highs"], o["gather_high"] = self._gather(high_table, high, shape_of_blocks, np.int32)
            t["index"], o["add"] = self._binary("ADD", t["lows"], t["highs"], shape_of_blocks, np.int32)
            index = t["index"]
        if bits == 3 and not grouped:
            t["blocks"], o["gather"] = self._gather(t["codebook"], index, shape_of_blocks, values)
        elif bits != 3 and not grouped:
            wide, table, _, columns = wides[0]
            t["extended"], o["extend"] = self._gather(t["codebook"], table, [256, columns], values)
            t["blocks"], o["gather"] = self._gather(t["extended"], wide, shape_of_blocks, values)
        elif bits != 3:
            wide, table, _, _ = wides[0]
            t["blocks"], o["gather"] = self._gather(table, wide, shape_of_blocks, np.int32)
        else:
            t["blocks"] = index
        if grouped:
            t["codes"] = self._tail(chain, t["blocks"], padded, codes.shape, np.int32)
            channels = codes.shape[axis]
            side = [channels if a == axis % codes.ndim else 1 for a in range(codes.ndim)]
            offset = (2**bits * (np.arange(channels) // group_size)).astype(np.int32).reshape(side)
            t["offset"] = self.constant(offset)
            t["shifted"], o["shift"] = self._binary("ADD", t["codes"], t["offset"], codes.shape, np.int32)
            t["filter"], o["lookup"] = self._gather(t["codebook"], t["shifted"], codes.shape, values)
        else:
            t["filter"] = self._tail(chain, t["blocks"], padded, codes.shape, values)
        result = t["filter"]
        if scale is not None:
            side = [scale.size if a == axis % codes.ndim else 1 for a in range(codes.ndim)]
            t["scale"] = self.constant(np.asarray(scale, np.float32).reshape(side))
            t["scaled"], o["mul"] = self._binary("MUL", result, t["scale"], codes.shape, np.float32)
            result = t["scaled"]
        if filter_scales is not None:
            self.quantize(result, filter_scales, axis % codes.ndim)
        return result, chain

    # -- consumers ----------------------------------------------------------------------------------------------------

    def conv(
        self,
        x: int,
        weight: int,
        bias: int | None,
        output: int,
        stride: tuple[int, int] = (1, 1),
        dilation: tuple[int, int] = (1, 1),
        padding: str = "SAME",
        activation: str = "none",
        depthwise: bool = False,
        multiplier: int = 1,
    ) -> int:
        options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
        options.padding = PADDINGS[padding]
        options.strideH, options.strideW = stride
        options.dilationHFactor, options.dilationWFactor = dilation
        options.fusedActivationFunction = ACTIVATIONS[activation]
        if depthwise:
            options.depthMultiplier = multiplier
        inputs = [x, weight] if bias is None else [x, weight, bias]
        return self.op("DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", inputs, [output], options)

    def fully_connected(
        self, x: int, weight: int, bias: int | None, output: int, activation: str = "none", keep_num_dims: bool = False
    ) -> int:
        options = schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = ACTIVATIONS[activation]
        options.weightsFormat = schema.FullyConnectedOptionsWeightsFormat.DEFAULT
        options.keepNumDims = keep_num_dims
        options.asymmetricQuantizeInputs = False
        return self.op("FULLY_CONNECTED", [x, weight, -1 if bias is None else bias], [output], options)

    def add(self, a: int, b: int, shape: Sequence[int]) -> int:
        return self._binary("ADD", a, b, shape, np.float32)[0]
