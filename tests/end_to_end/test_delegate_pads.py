"""PADs in front of convolutions and pools: those that the operator behind them does itself, and those that stay."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import interpreter as litert
from delegate_support import instruction_sets, library, run
from graph_files import ACTIVATIONS, PADDINGS, GraphFile, schema
from random_graphs import captured_stderr

REFERENCE = litert.OpResolverType.BUILTIN_REF
SHAPE = (2, 9, 8, 32)
KINDS = ("CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D")
# top, bottom, left, right: as ZeroPadding2D has them, none at all, on one side, and beyond the kernel.
PADS = ((1, 1, 1, 1), (0, 1, 0, 1), (0, 0, 0, 0), (2, 0, 0, 3), (5, 4, 4, 6))


class Model:
    """A graph of maps in which values are made one after another; `y = operator(PAD(conv(x)))`, mostly."""

    def __init__(self, int8: bool, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.int8 = int8
        self.file = GraphFile()
        self.zero_point = int(self.rng.integers(-100, 100)) if int8 else 0
        self.x = self.tensor(SHAPE, "x")
        self.first = self.conv(self.x, SHAPE, "first", kernel=1)

    def tensor(self, shape: tuple[int, ...], name: str) -> int:
        number = self.file.tensor(shape, np.int8 if self.int8 else np.float32, name)
        return self.file.quantize(number, 0.05, 0, self.zero_point) if self.int8 else number

    def input(self) -> np.ndarray:
        if self.int8:
            return self.rng.integers(-128, 128, SHAPE).astype(np.int8)
        return self.rng.standard_normal(SHAPE).astype(np.float32)

    def conv(
        self, x: int, shape: tuple[int, ...], name: str, kernel: int = 3, stride: int = 1, depthwise: bool = False,
        book: np.ndarray | None = None,
    ) -> int:  # fmt: skip
        """A layer with a codebook and padding VALID over a map of this shape."""
        channels = SHAPE[3]
        codes = self.rng.integers(0, 16, (1 if depthwise else channels, kernel, kernel, channels)).astype(np.uint8)
        size = float(np.sqrt(kernel * kernel * (1 if depthwise else channels)))
        axis = 3 if depthwise else 0
        if self.int8:
            scales = np.full(channels, 1 / (70 * size), np.float32)
            values = self.rng.integers(-127, 128, 16).astype(np.int8)
            weight, _ = self.file.chain(codes, values, 4, axis, None, None, scales)
            bias = self.file.constant(self.rng.integers(-500, 500, channels).astype(np.int32))
            bias = self.file.quantize(bias, np.float32(0.05) * scales)
        else:
            values = (self.rng.standard_normal(16) / size).astype(np.float32) if book is None else book
            weight, _ = self.file.chain(codes, values, 4, axis)
            bias = self.file.constant(self.rng.standard_normal(channels).astype(np.float32))
        y = self.tensor(window(shape, kernel, stride), name)
        self.file.conv(x, weight, bias, y, (stride, stride), (1, 1), "VALID", "none", depthwise)
        return y

    def pool(self, x: int, shape: tuple[int, ...], code: str, stride: int) -> int:
        options = schema.Pool2DOptionsT()
        options.filterHeight = options.filterWidth = 3
        options.strideH = options.strideW = stride
        options.padding, options.fusedActivationFunction = PADDINGS["VALID"], ACTIVATIONS["none"]
        y = self.tensor(window(shape, 3, stride), "y")
        self.file.op(code, [x], [y], options)
        return y

    def pad(self, x: int, pads: np.ndarray, value: float | None = None) -> tuple[int, tuple[int, ...]]:
        """PAD, or PADV2 with a value (int8: a step)."""
        shape = tuple(int(d + p.sum()) for d, p in zip(SHAPE, pads, strict=True))
        y = self.tensor(shape, "padded")
        inputs = [x, self.file.constant(pads.astype(np.int32))]
        if value is None:
            self.file.op("PAD", inputs, [y], schema.PadOptionsT())
        else:
            constant = self.file.constant(np.array(value, np.int8 if self.int8 else np.float32))
            inputs.append(self.file.quantize(constant, 0.05, 0, self.zero_point) if self.int8 else constant)
            self.file.op("PADV2", inputs, [y], schema.PadV2OptionsT())
        return y, shape

    def behind(self, kind: str, x: int, shape: tuple[int, ...], stride: int) -> int:
        if "POOL" in kind:
            return self.pool(x, shape, kind, stride)
        return self.conv(x, shape, "y", 3, stride, kind == "DEPTHWISE_CONV_2D")

    def bytes(self, *outputs: int) -> bytes:
        self.file.returns([self.x], list(outputs))
        return self.file.bytes()


def window(shape: tuple[int, ...], kernel: int, stride: int) -> tuple[int, ...]:
    return (shape[0], (shape[1] - kernel) // stride + 1, (shape[2] - kernel) // stride + 1, SHAPE[3])


def spatial(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    return np.array([(0, 0), (top, bottom), (left, right), (0, 0)])


def check(data: bytes, x: np.ndarray, folded: bool, isa: str = "auto", **options: str) -> None:
    """Results are those of the reference kernels, all nodes are claimed, and the PAD runs by itself if it shall."""
    wanted = run(litert.Interpreter(model_content=data, experimental_op_resolver_type=REFERENCE), x)
    with captured_stderr() as lines:
        delegate = litert.load_delegate(
            library(), {"log": "1", "profile": "1", "isa": isa, "num_threads": "2", **options}
        )
        interpreter = litert.Interpreter(
            model_content=data, experimental_delegates=[delegate], experimental_op_resolver_type=REFERENCE
        )
        got = run(interpreter, x)
        del interpreter, delegate  # which prints the profile
        gc.collect()
    assert any("0 nodes are left" in line for line in lines), lines
    assert any("padded" in line for line in lines) != folded, lines
    for ours, theirs in zip(got, wanted, strict=True):
        if ours.dtype == np.int8:
            np.testing.assert_array_equal(ours, theirs)
        else:  # dynamic_int8 is about 40 dB above its noise
            allowed = 0.1 if options.get("activations") == "dynamic_int8" else 1e-5
            np.testing.assert_allclose(ours, theirs, 0, allowed * np.abs(theirs).max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("int8", [False, True], ids=["float", "int8"])
def test_pads_are_folded(kind: str, int8: bool) -> None:
    for isa in instruction_sets(litert):
        for seed, pads in enumerate(PADS):
            model = Model(int8, seed)
            padded, shape = model.pad(model.first, spatial(*pads))
            data = model.bytes(model.behind(kind, padded, shape, 1 + seed % 2))
            check(data, model.input(), folded=True, isa=isa)


@pytest.mark.parametrize("kind", KINDS)
def test_pads_are_folded_in_dynamic_int8(kind: str) -> None:
    for seed, pads in enumerate(PADS):
        model = Model(False, seed)
        padded, shape = model.pad(model.first, spatial(*pads))
        data = model.bytes(model.behind(kind, padded, shape, 1))
        check(data, model.input(), folded=True, activations="dynamic_int8")


@pytest.mark.parametrize("int8", [False, True], ids=["float", "int8"])
def test_values(int8: bool) -> None:
    """A convolution folds its zero alone; a maximum any value."""
    for kind in KINDS:
        model = Model(int8, 3)
        for step in (0, 7, -90):
            value = model.zero_point + step if int8 else step / 8
            if int8 and not -128 <= value <= 127:
                continue
            model = Model(int8, 3)
            padded, shape = model.pad(model.first, spatial(1, 2, 1, 0), value)
            data = model.bytes(model.behind(kind, padded, shape, 1))
            check(data, model.input(), folded=step == 0 or kind == "MAX_POOL_2D")


def read_twice(model: Model, padded: int, shape: tuple[int, ...]) -> list[int]:
    return [model.conv(padded, shape, "y"), model.conv(padded, shape, "z")]


def returned(model: Model, padded: int, shape: tuple[int, ...]) -> list[int]:
    return [model.conv(padded, shape, "y"), padded]


def average(model: Model, padded: int, shape: tuple[int, ...]) -> list[int]:
    return [model.pool(padded, shape, "AVERAGE_POOL_2D", 1)]


def infinite(model: Model, padded: int, shape: tuple[int, ...]) -> list[int]:
    """Padding's 0 times infinity is NaN: an operator that skips padding would lose it."""
    book = np.linspace(-1, 1, 16, dtype=np.float32)
    book[5] = np.inf
    return [model.conv(padded, shape, "y", depthwise=True, book=book)]


@pytest.mark.parametrize("reader", [read_twice, returned, average, infinite])
def test_pads_that_stay(reader: Any) -> None:
    for int8 in (False, True):
        if int8 and reader is infinite:
            continue
        model = Model(int8, 11)
        padded, shape = model.pad(model.first, spatial(1, 1, 1, 1))
        data = model.bytes(*reader(model, padded, shape))
        if reader is not infinite:
            check(data, model.input(), folded=False)
            continue
        x = model.input()
        wanted = run(litert.Interpreter(model_content=data, experimental_op_resolver_type=REFERENCE), x)[0]
        delegate = litert.load_delegate(library())
        ours = run(litert.Interpreter(model_content=data, experimental_delegates=[delegate]), x)[0]
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(wanted))


def test_pads_of_channels_stay() -> None:
    model = Model(False, 12)
    pads = np.array([(0, 0), (1, 1), (1, 1), (0, 16)])
    shape = (SHAPE[0], SHAPE[1] + 2, SHAPE[2] + 2, SHAPE[3] + 16)
    padded, _ = model.pad(model.first, pads)
    channels = shape[3]
    weight, _ = model.file.chain(
        model.rng.integers(0, 4, (8, 3, 3, channels)).astype(np.uint8), np.array([-1, 0, 1, 2], np.float32), 2, 0
    )
    y = model.file.tensor((*window(shape, 3, 1)[:3], 8), np.float32, "y")
    model.file.conv(padded, weight, model.file.constant(np.zeros(8, np.float32)), y, padding="VALID")
    check(model.bytes(y), model.input(), folded=False)


def test_other_shapes_later() -> None:
    """A resized input is padded by as much as before."""
    model = Model(False, 13)
    padded, shape = model.pad(model.first, spatial(1, 1, 1, 1))
    data = model.bytes(model.conv(padded, shape, "y", stride=2))
    delegate = litert.load_delegate(library())
    ours = litert.Interpreter(model_content=data, experimental_delegates=[delegate])
    stock = litert.Interpreter(model_content=data, experimental_op_resolver_type=REFERENCE)
    for size in ((1, 9, 8, 32), (3, 1, 2, 32), (2, 20, 31, 32)):
        x = model.rng.standard_normal(size).astype(np.float32)
        results = []
        for interpreter in (ours, stock):
            interpreter.resize_tensor_input(0, size)
            results.append(run(interpreter, x)[0])
        assert results[0].shape == results[1].shape
        np.testing.assert_allclose(*results, 0, 1e-5 * np.abs(results[1]).max())
