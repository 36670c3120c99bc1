"""Operators without weights behind one layer with a codebook: the delegate against the runtime's reference kernels.

int8 results are equal bit for bit. Float results of operators that round once are equal, too; LOGISTIC and SOFTMAX are within
a stated bound of NumPy's float64, MEAN within that of its sums.

The runtime's optimised kernels (OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, LiteRT 2.3.0 on x86-64) differ from its own
reference kernels, by at most one step, in MEAN, in QUANTIZE (halves go to the even neighbour) and from int8 to int8 in QUANTIZE;
`test_distance_to_the_optimised_kernels` pins that.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import interpreter as litert
from delegate_support import instruction_sets, library, run
from graph_files import ACTIVATIONS, PADDINGS, GraphFile, schema
from random_graphs import captured_stderr

REFERENCE = litert.OpResolverType.BUILTIN_REF
OPTIMISED = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
CHANNELS = 19
EPSILON = float(np.finfo(np.float32).eps)
CLAIM = re.compile(r"dgms: claimed (\d+) of (\d+) .* and (\d+) other operators .*; (\d+) nodes are left")


@dataclasses.dataclass
class Model:
    """`y = operator(conv(x), further inputs)`, where conv is a 1x1 convolution that hands its input through."""

    file: GraphFile
    rng: np.random.Generator
    int8: bool
    shape: tuple[int, ...]  # of x
    scale: float = 1.0
    zero_point: int = 0
    between: int = -1  # the operator's first input
    inputs: list[np.ndarray] = dataclasses.field(default_factory=list)
    tensors: list[int] = dataclasses.field(default_factory=list)

    @property
    def dtype(self) -> Any:
        return np.int8 if self.int8 else np.float32

    def values(self, shape: tuple[int, ...]) -> np.ndarray:
        if self.int8:
            return self.rng.integers(-128, 128, shape).astype(np.int8)
        return (3 * self.rng.standard_normal(shape)).astype(np.float32)

    def quantization(self) -> tuple[float, int]:
        return float(np.float32(np.exp(self.rng.uniform(np.log(0.004), np.log(0.3))))), int(
            self.rng.integers(-128, 128)
        )

    def tensor(self, shape: tuple[int, ...], scale: float = 0, zero_point: int = 0, dtype: Any = None) -> int:
        number = self.file.tensor(shape, dtype or self.dtype)
        return self.file.quantize(number, scale, 0, zero_point) if scale else number

    def input(self, values: np.ndarray, scale: float = 0, zero_point: int = 0) -> int:
        number = self.tensor(values.shape, scale, zero_point)
        self.inputs.append(values)
        self.tensors.append(number)
        return number

    def returns(self, output: int) -> bytes:
        self.file.returns(self.tensors, [output])
        return self.file.bytes()


def make_model(int8: bool, seed: int, shape: tuple[int, ...] = (2, 7, 6, CHANNELS)) -> Model:
    """The model up to the operator; a codebook of 0 and 1 (int8: 0 and 127, of which one is 1/127) is the identity."""
    rng = np.random.default_rng(seed)
    model = Model(GraphFile(), rng, int8, shape)
    if int8:
        model.scale, model.zero_point = model.quantization()
    scale = model.scale if int8 else 0
    x = model.input(model.values(shape), scale, model.zero_point)
    channels = shape[3]
    codes = np.eye(channels, dtype=np.uint8).reshape(channels, 1, 1, channels)
    if int8:
        scales = np.full(channels, 1 / 127, np.float32)
        weight, _ = model.file.chain(codes, np.array([0, 127, 0, 0], np.int8), 2, 0, None, None, scales)
        bias = model.file.quantize(model.file.constant(np.zeros(channels, np.int32)), np.float32(model.scale) * scales)
    else:
        weight, _ = model.file.chain(codes, np.array([0, 1, 0, 0], np.float32), 2, 0)
        bias = model.file.constant(np.zeros(channels, np.float32))
    model.between = model.tensor(shape, scale, model.zero_point)
    model.file.conv(x, weight, bias, model.between)
    return model


# -- one function for each family; returns the file -------------------------------------------------------------------


def binary(model: Model, code: str) -> bytes:
    n, h, w, c = model.shape
    shape = [(n, h, w, c), (c,), (1,), (n, 1, 1, c), (1, 1, w, 1), (n, h, w, 1)][model.rng.integers(6)]
    scale, zero_point = model.quantization() if model.int8 else (0, 0)
    second = model.input(model.values(shape), scale, zero_point)
    reach = 100 * model.scale * scale if code == "MUL" else model.scale + scale
    output_scale = float(np.float32(model.rng.uniform(0.3, 2) * reach)) if model.int8 else 0
    output = model.tensor(model.shape, output_scale, int(model.rng.integers(-128, 128)))
    options = {"ADD": schema.AddOptionsT, "SUB": schema.SubOptionsT, "MUL": schema.MulOptionsT}[code]()
    options.fusedActivationFunction = model.rng.choice([ACTIVATIONS[a] for a in list(ACTIVATIONS)[:4]])
    operands = [model.between, second] if model.rng.integers(2) else [second, model.between]
    model.file.op(code, operands, [output], options)
    return model.returns(output)


def unary(model: Model, code: str) -> bytes:
    scale, zero_point = model.quantization() if model.int8 else (0, 0)
    if model.int8 and code == "LOGISTIC":
        scale = 1 / 256
    if model.int8 and code == "HARD_SWISH":
        scale = model.scale * float(model.rng.uniform(0.3, 2))
    output = model.tensor(model.shape, scale, zero_point)
    model.file.op(code, [model.between], [output])
    return model.returns(output)


def pool(model: Model, code: str) -> bytes:
    n, h, w, c = model.shape
    options = schema.Pool2DOptionsT()
    padding = ["SAME", "VALID"][model.rng.integers(2)]
    size, stride = model.rng.integers(1, 5, 2), model.rng.integers(1, 4, 2)
    options.padding = PADDINGS[padding]
    options.filterHeight, options.filterWidth = map(int, size)
    options.strideH, options.strideW = map(int, stride)
    options.fusedActivationFunction = model.rng.choice([ACTIVATIONS[a] for a in list(ACTIVATIONS)[:4]])
    spatial = [
        -(-d // s) if padding == "SAME" else (d - k) // s + 1 for d, k, s in zip((h, w), size, stride, strict=True)
    ]
    output = model.tensor((n, *map(int, spatial), c), model.scale if model.int8 else 0, model.zero_point)
    model.file.op(code, [model.between], [output], options)
    return model.returns(output)


def mean(model: Model, code: str) -> bytes:
    axes = [[1, 2], [2, 1], [-1], [0], [0, 3], [1, 3], [0, 1, 2, 3]][model.rng.integers(7)]
    options = schema.ReducerOptionsT()
    options.keepDims = bool(model.rng.integers(2))
    reduced = {a % 4 for a in axes}
    shape = tuple(1 if i in reduced else d for i, d in enumerate(model.shape) if options.keepDims or i not in reduced)
    scale, zero_point = model.quantization() if model.int8 else (0, 0)
    output = model.tensor(shape, scale, zero_point)
    model.file.op(code, [model.between, model.file.constant(np.array(axes, np.int32))], [output], options)
    return model.returns(output)


def softmax(model: Model, code: str) -> bytes:
    options = schema.SoftmaxOptionsT()
    options.beta = float(np.float32(model.rng.uniform(0.3, 2)))
    output = model.tensor(model.shape, 1 / 256 if model.int8 else 0, -128)
    model.file.op(code, [model.between], [output], options)
    return model.returns(output)


def concatenation(model: Model, code: str) -> bytes:
    axis = int(model.rng.integers(-4, 4))
    shape = list(model.shape)
    shape[axis] = int(model.rng.integers(1, 5))
    scale = model.scale if model.int8 else 0
    second = model.input(model.values(tuple(shape)), scale, model.zero_point)
    shape[axis] += model.shape[axis]
    output = model.tensor(tuple(shape), scale, model.zero_point)
    options = schema.ConcatenationOptionsT()
    options.axis, options.fusedActivationFunction = axis, ACTIVATIONS["none"]
    model.file.op(code, [model.between, second], [output], options)
    return model.returns(output)


def pad(model: Model, code: str) -> bytes:
    paddings = model.rng.integers(0, 3, (4, 2)).astype(np.int32)
    shape = tuple(int(d + p.sum()) for d, p in zip(model.shape, paddings, strict=True))
    scale = model.scale if model.int8 else 0
    output = model.tensor(shape, scale, model.zero_point)
    inputs = [model.between, model.file.constant(paddings)]
    if code == "PADV2":
        value = model.file.constant(model.values((1,)))
        inputs.append(model.file.quantize(value, scale, 0, model.zero_point) if model.int8 else value)
    model.file.op(code, inputs, [output], schema.PadOptionsT() if code == "PAD" else schema.PadV2OptionsT())
    return model.returns(output)


def quantize(model: Model, code: str) -> bytes:
    output = model.tensor(model.shape, *model.quantization(), dtype=np.int8)
    model.file.op(code, [model.between], [output], schema.QuantizeOptionsT())
    return model.returns(output)


def dequantize(model: Model, code: str) -> bytes:
    output = model.tensor(model.shape, dtype=np.float32)
    model.file.op(code, [model.between], [output], schema.DequantizeOptionsT())
    return model.returns(output)


OPERATORS: dict[str, Callable[[Model, str], bytes]] = {
    **dict.fromkeys(("ADD", "SUB", "MUL"), binary),
    **dict.fromkeys(("RELU", "RELU6", "RELU_N1_TO_1", "HARD_SWISH", "LOGISTIC"), unary),
    **dict.fromkeys(("MAX_POOL_2D", "AVERAGE_POOL_2D"), pool),
    "MEAN": mean,
    "SOFTMAX": softmax,
    "CONCATENATION": concatenation,
    **dict.fromkeys(("PAD", "PADV2"), pad),
    "QUANTIZE": quantize,
    "DEQUANTIZE": dequantize,
}
ROUNDED_DIFFERENTLY = {"LOGISTIC", "SOFTMAX", "MEAN"}  # in float


def stock(data: bytes, inputs: list[np.ndarray], resolver: Any = REFERENCE) -> np.ndarray:
    return run(litert.Interpreter(model_content=data, experimental_op_resolver_type=resolver), *inputs)[0]


def delegated(data: bytes, inputs: list[np.ndarray], delegate: Any) -> np.ndarray:
    """The output, after making sure that the delegate runs all of the model."""
    with captured_stderr() as lines:
        interpreter = litert.Interpreter(
            model_content=data, experimental_delegates=[delegate], experimental_op_resolver_type=REFERENCE
        )
        result = run(interpreter, *inputs)[0]
    claimed = [match for line in lines if (match := CLAIM.match(line))]
    assert claimed, lines
    assert claimed[-1].groups() == ("1", "1", "1", "0"), lines
    return result


@pytest.fixture(scope="module")
def delegates() -> list[Any]:
    return [
        litert.load_delegate(library(), {"log": "1", "isa": isa, "num_threads": "2"})
        for isa in instruction_sets(litert)
    ]


@pytest.mark.parametrize("code", list(OPERATORS))
def test_int8_equals_the_reference_kernels(code: str, delegates: list[Any]) -> None:
    for seed in range(6):
        model = make_model(True, seed)
        data = OPERATORS[code](model, code)
        expected = stock(data, model.inputs)
        for delegate in delegates:
            np.testing.assert_array_equal(delegated(data, model.inputs, delegate), expected, f"seed {seed}")


@pytest.mark.parametrize("code", [c for c in OPERATORS if c not in ROUNDED_DIFFERENTLY and c != "DEQUANTIZE"])
def test_float_equals_the_reference_kernels(code: str, delegates: list[Any]) -> None:
    for seed in range(4):
        model = make_model(False, seed)
        data = OPERATORS[code](model, code)
        expected = stock(data, model.inputs)
        for delegate in delegates:
            np.testing.assert_array_equal(delegated(data, model.inputs, delegate), expected, f"seed {seed}")


def test_float_logistic(delegates: list[Any]) -> None:
    """Within 4 units in the last place. (The reference kernel is coarser below -9: it takes exp(x) for it.)"""
    model = make_model(False, 0)
    data = unary(model, "LOGISTIC")
    expected = 1 / (1 + np.exp(-model.inputs[0].astype(np.float64)))
    for delegate in delegates:
        result = delegated(data, model.inputs, delegate)
        np.testing.assert_array_less(np.abs(result - expected), 4 * EPSILON * expected)


def test_float_softmax(delegates: list[Any]) -> None:
    """The bound of ops/softmax.h; differences from the largest value times beta are below 50 here."""
    for seed in range(3):
        model = make_model(False, seed)
        data = softmax(model, "SOFTMAX")
        beta = model.file.graph.operators[-1].builtinOptions.beta
        x = model.inputs[0].astype(np.float64) * beta
        x -= x.max(-1, keepdims=True)
        expected = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
        for delegate in delegates:
            result = delegated(data, model.inputs, delegate)
            bound = (6 + np.log2(CHANNELS) + 2 * np.abs(x).max()) * EPSILON * expected
            np.testing.assert_array_less(np.abs(result - expected), bound)


def test_float_mean(delegates: list[Any]) -> None:
    for seed in range(6):
        model = make_model(False, seed)
        data = mean(model, "MEAN")
        expected = stock(data, model.inputs)
        largest = np.abs(model.inputs[0]).max()
        for delegate in delegates:
            np.testing.assert_allclose(delegated(data, model.inputs, delegate), expected, 0, 8 * EPSILON * largest)


def test_distance_to_the_optimised_kernels(delegates: list[Any]) -> None:
    """At most one step apart, everywhere."""
    for code, build in OPERATORS.items():
        if code == "DEQUANTIZE":
            continue
        for seed in range(3):
            model = make_model(True, 100 + seed)
            data = build(model, code)
            expected = stock(data, model.inputs, OPTIMISED).astype(int)
            result = delegated(data, model.inputs, delegates[-1]).astype(int)
            assert np.abs(result - expected).max() <= 1, (code, seed)


def test_no_numbers(delegates: list[Any]) -> None:
    """NaN stays NaN and infinities stay what they are behind an operator that hands them on."""
    model = make_model(False, 1, (1, 2, 2, CHANNELS))
    n = CHANNELS
    second = np.zeros((1, 2, 2, n), np.float32)
    second[0, 0, 0, :3] = np.nan, np.inf, -np.inf
    operand = model.input(second)
    output = model.tensor(model.shape)
    options = schema.AddOptionsT()
    options.fusedActivationFunction = ACTIVATIONS["relu6"]
    model.file.op("ADD", [model.between, operand], [output], options)
    data = model.returns(output)
    for delegate in delegates:
        result = delegated(data, model.inputs, delegate)[0, 0, 0, :3]
        assert np.isnan(result[0])
        assert result[1:].tolist() == [6.0, 0.0]
