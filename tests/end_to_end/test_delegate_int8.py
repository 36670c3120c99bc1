"""int8 models: the delegate against the runtime's reference kernels, exactly; and what it must leave to the runtime.

The reference kernels (OpResolverType.BUILTIN_REF) are the words of the specification. The runtime's faster kernels, its
builtin ones as well as XNNPACK, round their products differently, by at most one step; `test_distance_to_the_fast_kernels`
pins that.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import int8_graphs
import int8_oracle
import numpy as np
import pytest
from ai_edge_litert import interpreter as litert
from delegate_support import delegate_nodes, instruction_sets, library, run
from graph_files import ACTIVATIONS, Chain, GraphFile, schema
from random_graphs import captured_stderr, claims

COUNT = int(os.environ.get("DGMS_RANDOM_INT8_GRAPHS", "300"))
REFERENCE = litert.OpResolverType.BUILTIN_REF


@pytest.fixture(scope="module")
def delegate() -> Any:
    return litert.load_delegate(library(), {"log": "1", "num_threads": "2"})


def test_random_graphs() -> None:
    """Bits, operators, strides, paddings, dilations, odd sizes, groups, signs, no bias, all activations: exact everywhere."""
    runner = int8_graphs.Int8Runner(library(), instruction_sets(litert))
    for seed in range(COUNT):
        runner.check(seed)


# -- one layer --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Int8Model:
    """One layer with a chain, and everything in it that a test may want to change before `file.bytes()`."""

    file: GraphFile
    chain: Chain
    kind: str
    x: int
    y: int
    weight_tensor: int
    bias: int
    operator: int
    shape: tuple[int, ...]
    weight: np.ndarray
    bias_values: np.ndarray | None
    scales: np.ndarray
    activation: str = "none"
    x_scale: float = 0.05
    x_zero: int = -7
    y_scale: float = 0.5
    y_zero: int = 5

    def expected(self, x: np.ndarray) -> np.ndarray:
        sums = int8_oracle.sums(self.kind, x, self.x_zero, self.weight, self.bias_values)
        return int8_oracle.requantize(
            sums, self.x_scale, self.scales, self.y_scale, self.y_zero, self.activation, self.kind != "dense"
        )

    def tensor(self, number: int) -> Any:
        return self.file.graph.tensors[number]


def int8_model(
    kind: str = "conv", bits: int = 4, activation: str = "none", signs: bool = False, one_scale: bool = False
) -> Int8Model:
    rng = np.random.default_rng(bits)
    file = GraphFile()
    shape = (1, 8, 9, 5) if kind != "dense" else (6, 45)
    weight_shape = {"conv": (7, 3, 3, 5), "depthwise": (1, 3, 3, 10), "dense": (7, 45)}[kind]
    axis = 3 if kind == "depthwise" else 0
    channels = weight_shape[axis]
    model = Int8Model(file, Chain(), kind, 0, 0, 0, 0, 0, shape, np.empty(0), None, np.empty(0), activation)
    model.x = file.quantize(
        file.tensor(shape, np.int8, "x", signature=[-1, *shape[1:]]), model.x_scale, 0, model.x_zero
    )
    codes = rng.integers(0, 2**bits, weight_shape).astype(np.uint8)
    book = rng.integers(-127, 128, 2**bits).astype(np.int8)
    books = np.stack([book, -book]) if signs else book
    model.scales = rng.uniform(0.001, 0.02, 1 if one_scale else channels).astype(np.float32)
    model.weight_tensor, model.chain = file.chain(
        codes, books, bits, axis, None, -(-channels // 2) if signs else None, model.scales
    )
    side = [channels if a == axis else 1 for a in range(len(weight_shape))]
    sign = np.zeros(channels, int)
    if signs:  # one codebook and its negative, in any order
        sign = rng.integers(0, 2, channels)
        offsets = (2**bits * sign).astype(np.int32)
        file.buffers[model.tensor(model.chain.tensors["offset"]).buffer] = np.frombuffer(offsets.tobytes(), np.uint8)
    model.weight = np.where(sign.reshape(side) == 1, -book[codes], book[codes]).astype(np.int8)
    model.bias_values = rng.integers(-3000, 3000, channels).astype(np.int32)
    model.bias = file.quantize(file.constant(model.bias_values), np.float32(model.x_scale) * model.scales)
    out = (6, 7) if kind == "dense" else (1, 8, 9, channels)
    model.y = file.quantize(file.tensor(out, np.int8, "y", signature=[-1, *out[1:]]), model.y_scale, 0, model.y_zero)
    if kind == "dense":
        model.operator = file.fully_connected(model.x, model.weight_tensor, model.bias, model.y, activation)
    else:
        model.operator = file.conv(
            model.x, model.weight_tensor, model.bias, model.y, activation=activation, depthwise=kind == "depthwise",
            multiplier=2,
        )  # fmt: skip
    file.returns([model.x], [model.y])
    return model


def interpreter_of(data: bytes, delegates: list[Any], resolver: Any = REFERENCE) -> Any:
    return litert.Interpreter(
        model_content=data, experimental_delegates=delegates or None, experimental_op_resolver_type=resolver
    )


def random_input(model: Int8Model, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, model.shape).astype(np.int8)


def answer(data: bytes, x: np.ndarray, delegates: list[Any]) -> tuple[list[np.ndarray] | str, list[str]]:
    """(the outputs, or the error's text), and what was written to stderr."""
    with captured_stderr() as lines:
        try:
            result: list[np.ndarray] | str = run(interpreter_of(data, delegates), x)
        except (RuntimeError, ValueError) as error:
            result = str(error)
    return result, lines


def check_claimed(model: Int8Model, delegate: Any) -> None:
    x = random_input(model)
    ours, lines = answer(model.file.bytes(), x, [delegate])
    assert claims(lines) == (1, 1), lines
    assert not isinstance(ours, str), ours
    np.testing.assert_array_equal(ours[0], model.expected(x))


def check_left(model: Int8Model, delegate: Any) -> None:
    data, x = model.file.bytes(), random_input(model)
    stock, _ = answer(data, x, [])
    ours, lines = answer(data, x, [delegate])
    assert claims(lines)[0] == 0, lines
    if isinstance(stock, str):
        assert ours == stock
    else:
        assert ours[0].tobytes() == stock[0].tobytes()


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("kind", ["conv", "depthwise", "dense"])
@pytest.mark.parametrize("activation", [a for a in ACTIVATIONS if a != "tanh"])
def test_claimed_and_exact(kind: str, bits: int, activation: str, delegate: Any) -> None:
    for signs in (False, True):
        model = int8_model(kind, bits, activation, signs)
        check_claimed(model, delegate)
        stock, _ = answer(model.file.bytes(), random_input(model), [])
        np.testing.assert_array_equal(stock[0], model.expected(random_input(model)))


@pytest.mark.parametrize("kind", ["conv", "depthwise", "dense"])
def test_one_scale(kind: str, delegate: Any) -> None:
    check_claimed(int8_model(kind, one_scale=True), delegate)


@pytest.mark.parametrize("kind", ["conv", "depthwise", "dense"])
def test_batches_change(kind: str, delegate: Any) -> None:
    model = int8_model(kind)
    interpreter = interpreter_of(model.file.bytes(), [delegate])
    nodes = delegate_nodes(interpreter)
    for batch in (3, 1, 5, 2):
        model.shape = (batch, *model.shape[1:])
        x = random_input(model, batch)
        np.testing.assert_array_equal(run(interpreter, x)[0], model.expected(x))
    assert delegate_nodes(interpreter) == nodes >= 1


@pytest.mark.parametrize("kind", ["conv", "depthwise", "dense"])
def test_no_bias(kind: str, delegate: Any) -> None:
    """Stock convolutions refuse to run without a bias; the format allows it, and so does the delegate."""
    model = int8_model(kind)
    operator = model.file.graph.operators[model.operator]
    operator.inputs = [*operator.inputs[:2], -1]
    model.bias_values = None
    check_claimed(model, delegate)


@pytest.mark.parametrize("kind", ["conv", "depthwise", "dense"])
def test_distance_to_the_fast_kernels(kind: str, delegate: Any) -> None:
    """One step at most, and rarely: see the head of this file."""
    model = int8_model(kind)
    data, x = model.file.bytes(), random_input(model)
    ours = run(interpreter_of(data, [delegate]), x)[0].astype(int)
    for resolver in (litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, litert.OpResolverType.AUTO):
        fast = run(interpreter_of(data, [], resolver), x)[0].astype(int)
        assert np.abs(ours - fast).max() <= 1
        assert np.mean(ours != fast) < 0.02


def test_float_input_and_output(delegate: Any) -> None:
    """QUANTIZE in front and DEQUANTIZE behind, as the converter writes them for float input and output: theirs stay stock's."""
    model = int8_model()
    file = model.file
    start = file.tensor(model.shape, np.float32, "start")
    end = file.tensor(file.graph.tensors[model.y].shape, np.float32, "end")
    file.op("QUANTIZE", [start], [model.x], schema.QuantizeOptionsT())
    file.graph.operators.insert(0, file.graph.operators.pop())
    file.op("DEQUANTIZE", [model.y], [end], schema.DequantizeOptionsT())
    file.returns([start], [end])
    x = np.random.default_rng(3).standard_normal(model.shape).astype(np.float32)
    stock, _ = answer(file.bytes(), x, [])
    ours, lines = answer(file.bytes(), x, [delegate])
    assert claims(lines) == (1, 1)
    assert ours[0].tobytes() == stock[0].tobytes()


# -- what is left to the runtime --------------------------------------------------------------------------------------

Change = Callable[[Int8Model], None]


def quantization(which: str, **fields: Any) -> Change:
    def change(model: Int8Model) -> None:
        number = {"x": model.x, "y": model.y, "filter": model.weight_tensor, "bias": model.bias}[which]
        for name, value in fields.items():
            dtype = np.float32 if name == "scale" else np.int64
            setattr(
                model.tensor(number).quantization, name, np.asarray(value, dtype) if isinstance(value, list) else value
            )

    return change


def no_quantization(which: str) -> Change:
    def change(model: Int8Model) -> None:
        number = {"x": model.x, "y": model.y, "filter": model.weight_tensor}[which]
        model.tensor(number).quantization = None

    return change


def codebook_with_minus_128(model: Int8Model) -> None:
    buffer = model.tensor(model.chain.tensors["codebook"]).buffer
    values = model.file.buffers[buffer].copy()
    values[3] = 128
    model.file.buffers[buffer] = values


def one_scale_changed(value: float) -> Change:
    def change(model: Int8Model) -> None:
        scales = model.tensor(model.weight_tensor).quantization.scale.copy()
        scales[2] = value
        model.tensor(model.weight_tensor).quantization.scale = scales

    return change


def bias_of(dtype: Any) -> Change:
    def change(model: Int8Model) -> None:
        assert model.bias_values is not None
        operator = model.file.graph.operators[model.operator]
        operator.inputs = [*operator.inputs[:2], model.file.constant(model.bias_values.astype(dtype))]

    return change


def quantised_index(model: Int8Model) -> None:
    model.file.quantize(model.chain.tensors["wide0"], [0.5])


def option(field: str, value: Any) -> Change:
    def change(model: Int8Model) -> None:
        setattr(model.file.graph.operators[model.operator].builtinOptions, field, value)

    return change


CONV_LEFT: dict[str, Change] = {
    "input without quantisation": no_quantization("x"),
    "output without quantisation": no_quantization("y"),
    "filter without quantisation": no_quantization("filter"),
    "several input scales": quantization("x", scale=[0.1] * 5, zeroPoint=[0] * 5, quantizedDimension=3),
    "an input scale of 0": quantization("x", scale=[0.0]),
    "a negative input scale": quantization("x", scale=[-0.1]),
    "an infinite output scale": quantization("y", scale=[float("inf")]),
    "an output scale that is no number": quantization("y", scale=[float("nan")]),
    "an input zero point beyond int8": quantization("x", zeroPoint=[128]),
    "an output zero point beyond int8": quantization("y", zeroPoint=[-129]),
    "a filter scale of 0": one_scale_changed(0.0),
    "a negative filter scale": one_scale_changed(-0.01),
    "an infinite filter scale": one_scale_changed(float("inf")),
    "a filter scale that is no number": one_scale_changed(float("nan")),
    "a filter zero point": quantization("filter", zeroPoint=[0, 0, 1, 0, 0, 0, 0]),
    "filter scales along another dimension": quantization("filter", quantizedDimension=3),
    "too few filter scales": quantization("filter", scale=[0.1, 0.2, 0.3], zeroPoint=[0, 0, 0]),
    "a codebook with -128": codebook_with_minus_128,
    "a bias zero point": quantization("bias", zeroPoint=[0, 0, 0, 1, 0, 0, 0]),
    "a 64-bit bias": bias_of(np.int64),
    "a float bias": bias_of(np.float32),
    "quantised codes": quantised_index,
    "tanh": option("fusedActivationFunction", ACTIVATIONS["tanh"]),
    "stride 0": option("strideH", 0),
}


@pytest.mark.parametrize("name", CONV_LEFT)
def test_left_to_the_runtime(name: str, delegate: Any) -> None:
    model = int8_model()
    CONV_LEFT[name](model)
    check_left(model, delegate)


def test_dense_bias_of_another_scale(delegate: Any) -> None:
    """Stock kernels refuse to run it."""
    model = int8_model("dense", one_scale=True)
    quantization("bias", scale=[0.5])(model)
    check_left(model, delegate)


def test_tiny_output_scale(delegate: Any) -> None:
    """The ends of the activation would overflow: stock kernels refuse to run it."""
    model = int8_model(activation="relu6")
    quantization("y", scale=[1e-12])(model)
    check_left(model, delegate)


def test_intermediates_may_be_quantised_or_not(delegate: Any) -> None:
    for scale in (None, 0.5):
        model = int8_model(bits=3)
        for name in ("codebook", "blocks"):
            if scale is not None:
                model.file.quantize(model.chain.tensors[name], [scale])
        check_claimed(model, delegate)
