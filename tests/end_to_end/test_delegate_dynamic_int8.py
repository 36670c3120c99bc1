"""The option activations=dynamic_int8: float models whose activations are quantised at run time.

The oracle quantises the same way, in NumPy, from the words of delegate/include/dgms/delegate.h and ops/quantize_rows.h.
Integers agree exactly; the three float roundings at the end are written out, too, so outputs agree exactly as well, but
for a rounding of the scale's search or of an activation that falls the other way in another arithmetic: see `compare`.
"""

from __future__ import annotations

from typing import Any

import conv_oracle
import numpy as np
import pytest
import random_graphs
from ai_edge_litert import interpreter as litert
from delegate_support import instruction_sets, library, run
from graph_files import ACTIVATIONS, GraphFile

FUSED = [a for a in ACTIVATIONS if a != "tanh"]
WITHOUT_XNNPACK = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES


def quantize_row(x: np.ndarray) -> tuple[np.ndarray, np.float32, int]:
    """(integers, scale, zero point) of one row, line or image, in float32 and with halves to even."""
    low, high = min(0.0, float(x.min())), max(0.0, float(x.max()))
    scale = np.float32((high - low) / 255.0)
    if scale == 0:
        return np.zeros(x.shape, np.int64), scale, 0
    zero = int(np.clip(np.rint(-128.0 - low / float(scale)), -128, 127))
    inverse = np.float32(1) / scale
    return np.clip(np.rint(x * inverse) + zero, -128, 127).astype(np.int64), scale, zero


def round_codebooks(books: np.ndarray, codes: np.ndarray, book_of_code: np.ndarray) -> tuple[np.ndarray, np.float32]:
    """(integers, scale): of largest / t for t = 127, 127 - 1/16, ... 64 the scale with the least squared error."""
    counts = np.zeros(books.shape)
    np.add.at(counts, (book_of_code.reshape(-1), codes.reshape(-1)), 1)
    values = books.astype(np.float64)
    largest = np.abs(values[counts > 0]).max()
    best: tuple[float, np.float32, np.ndarray] | None = None
    for step in range(127 * 16, 64 * 16 - 1, -1):
        scale = np.float32(largest * 16 / step)
        integers = np.clip(np.rint(values / float(scale)), -127, 127)
        error = float(np.sum(counts * (values - integers * float(scale)) ** 2))
        if best is None or error < best[0]:
            best = (error, scale, np.where(counts > 0, integers, 0))
    assert best is not None
    return best[2].astype(np.int64), best[1]


class Layer:
    """One float layer with a chain: its file, and what it must compute (depthwise: its file alone)."""

    def __init__(self, kind: str, seed: int, batch: int = 2) -> None:
        rng = np.random.default_rng(seed)
        self.kind = kind
        self.activation = str(rng.choice(FUSED))
        self.stride = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
        self.dilation = (int(rng.integers(1, 3)), 1)
        self.padding = str(rng.choice(["SAME", "VALID"]))
        bits = int(rng.choice([2, 3, 4]))
        channels_in = int(rng.integers(1, 40))
        multiplier = int(rng.choice([1, 2]))
        self.shape: tuple[int, ...] = (batch, 9, 8, channels_in) if kind != "dense" else (batch, 150)
        outputs = int(rng.integers(1, 50))
        shape: tuple[int, ...] = {
            "conv": (outputs, 3, 2, channels_in),
            "pointwise": (outputs, 1, 1, channels_in),
            "depthwise": (1, 3, 2, channels_in * multiplier),
            "dense": (outputs, 150),
        }[kind]
        axis = 3 if kind == "depthwise" else 0
        outputs = shape[axis]
        group_size = int(rng.integers(1, outputs + 1)) if rng.random() < 0.4 else None
        self.codes = rng.integers(0, 2**bits, shape).astype(np.uint8)
        self.books = rng.standard_normal((1 if group_size is None else -(-outputs // group_size), 2**bits)).astype(
            np.float32
        )
        self.books[:, 0] = 0
        self.factors = rng.standard_normal(outputs).astype(np.float32) if rng.random() < 0.6 else None
        side = [outputs if a == axis else 1 for a in range(len(shape))]
        group = (np.arange(outputs) // (group_size or outputs)).reshape(side)
        self.book_of_code = np.broadcast_to(group, shape)
        self.weight = self.books[self.book_of_code, self.codes].astype(np.float64)
        if self.factors is not None:
            self.weight = self.weight * self.factors.astype(np.float64).reshape(side)
        self.bias = rng.standard_normal(outputs).astype(np.float32) if rng.random() < 0.7 else None
        file = GraphFile()
        x = file.tensor(self.shape, name="x", signature=[-1, *self.shape[1:]])
        weight, _ = file.chain(
            self.codes, self.books if group_size else self.books[0], bits, axis, self.factors, group_size
        )
        bias = None if self.bias is None else file.constant(self.bias)
        y = file.tensor(self.linear(np.zeros(self.shape), self.weight).shape, name="y")
        if kind == "dense":
            file.fully_connected(x, weight, bias, y, self.activation)
        else:
            file.conv(
                x, weight, bias, y, self.stride, self.dilation, self.padding, self.activation, kind == "depthwise",
                multiplier,
            )  # fmt: skip
        file.returns([x], [y])
        self.data = file.bytes()

    def linear(self, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        if self.kind == "dense":
            return x @ weight.T
        function = conv_oracle.depthwise_conv2d if self.kind == "depthwise" else conv_oracle.conv2d
        return function(x, weight, self.stride, self.dilation, self.padding)

    def finish(self, sums: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Sums times scales plus bias, each operation rounded to float32, and the activation."""
        y = sums.astype(np.float32) * scale
        return conv_oracle.activate(y if self.bias is None else y + self.bias, self.activation).astype(np.float32)

    def exact(self, x: np.ndarray) -> np.ndarray:
        y = self.linear(x.astype(np.float64), self.weight)
        return conv_oracle.activate(y if self.bias is None else y + self.bias, self.activation)

    def expected(self, x: np.ndarray) -> np.ndarray:
        books, book_scale = round_codebooks(self.books, self.codes, self.book_of_code)
        weight = books[self.book_of_code, self.codes]
        column_scale = book_scale * (np.float32(1) if self.factors is None else self.factors)
        rows = []
        for parts in self.parts(x):  # of one batch row, or one image
            quantized = [quantize_row(part) for part in parts]
            centred = np.stack([q - zero for q, _, zero in quantized]).reshape(1, *x.shape[1:])
            sums = np.rint(self.linear(centred, weight)).astype(np.int64)
            scale = np.array([scale for _, scale, _ in quantized], np.float32)
            if self.kind == "pointwise":  # the scales of the lines that are read
                scale = scale[:: self.stride[0]].reshape(1, -1, 1, 1)
            rows.append(self.finish(sums, scale * column_scale))
        return np.concatenate(rows)

    def parts(self, x: np.ndarray) -> list[list[np.ndarray]]:
        """What shares one scale and zero point: lines of each image where the filter is 1x1; else images, or rows."""
        return [list(image) if self.kind == "pointwise" else [image] for image in x]

    def compare(self, got: np.ndarray, x: np.ndarray) -> None:
        """Exact, but for one quantum: an activation near a half may round the other way where `x * inverse` is fused or not.

        Nothing here fuses, so not one output in a thousand may use it.
        """
        want = self.expected(x)
        assert got.shape == want.shape
        books, book_scale = round_codebooks(self.books, self.codes, self.book_of_code)
        factor = 1.0 if self.factors is None else float(np.abs(self.factors).max())
        quantum = (
            max(float(quantize_row(part)[1]) for parts in self.parts(x) for part in parts)
            * float(book_scale)
            * factor
            * float(np.abs(books).max())
        )
        assert np.abs(got - want).max() <= quantum * 1.001
        assert np.mean(got != want) <= 0.001


def interpreter_of(data: bytes, **options: Any) -> Any:
    delegate = litert.load_delegate(library(), {"activations": "dynamic_int8", **options})
    return litert.Interpreter(
        model_content=data, experimental_delegates=[delegate], experimental_op_resolver_type=WITHOUT_XNNPACK
    )


@pytest.mark.parametrize("kind", ["conv", "pointwise", "dense"])
def test_equals_the_oracle_on_every_instruction_set(kind: str) -> None:
    for seed in range(25):
        layer = Layer(kind, seed)
        x = (np.random.default_rng(seed).standard_normal(layer.shape) * 10.0 ** (seed % 5 - 2)).astype(np.float32)
        if seed % 3 == 0:
            x = np.maximum(x, 0)
        results = [
            run(interpreter_of(layer.data, isa=isa, num_threads=threads), x)[0]
            for isa in instruction_sets(litert)
            for threads in (1, 3)
        ]
        layer.compare(results[0], x)
        for result in results[1:]:  # bit for bit
            assert result.tobytes() == results[0].tobytes()


@pytest.mark.parametrize("kind", ["conv", "pointwise", "dense"])
def test_signal_to_noise(kind: str) -> None:
    """Against float64: 8-bit activations of a normal distribution keep about 40 dB, and a rounded codebook about 45 dB.

    Layers whose sums cancel or whose activation cuts most of the signal off keep less: 30 dB is far above any mistake.
    """
    ratios = []
    for seed in range(20):
        layer = Layer(kind, 100 + seed)
        x = np.random.default_rng(seed).standard_normal(layer.shape).astype(np.float32)
        exact = layer.exact(x)
        noise = run(interpreter_of(layer.data), x)[0] - exact
        if np.any(exact) and np.any(noise):
            ratios.append(10 * np.log10(np.sum(exact**2) / np.sum(noise**2)))
    assert min(ratios) > 30, ratios
    assert np.median(ratios) > 36, ratios


@pytest.mark.parametrize("kind", ["conv", "pointwise", "dense"])
def test_large_images_do_not_depend_on_threads(kind: str) -> None:
    """Images above 16,384 values are quantised in pieces by several threads."""
    layer = Layer(kind, 3)
    shape = (2, 61, 53, layer.shape[3]) if kind != "dense" else (70, layer.shape[1])
    x = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
    results = [run(interpreter_of(layer.data, num_threads=threads), x)[0] for threads in (1, 2, 5)]
    layer.compare(results[0], x)
    assert results[1].tobytes() == results[0].tobytes() and results[2].tobytes() == results[0].tobytes()


@pytest.mark.parametrize("kind", ["conv", "pointwise", "dense"])
def test_values_that_are_no_numbers(kind: str) -> None:
    """A row (a line, an image) with a NaN or an infinity gives NaN alone; the others are not touched by it."""
    layer = Layer(kind, 7, batch=3)
    x = np.random.default_rng(6).standard_normal(layer.shape).astype(np.float32)
    interpreter = interpreter_of(layer.data)
    clean = run(interpreter, x)[0]
    for value in (np.nan, np.inf, -np.inf):
        bad = x.copy()
        bad[1].reshape(-1)[-1] = value
        y = run(interpreter, bad)[0]
        spoilt = np.zeros(y.shape, bool)
        spoilt[(1, -1) if kind == "pointwise" else 1] = True
        assert np.isnan(y[spoilt]).all()
        np.testing.assert_array_equal(y[~spoilt], clean[~spoilt])


@pytest.mark.parametrize("kind", ["conv", "pointwise", "dense"])
def test_zeros_and_tiny_values(kind: str) -> None:
    layer = Layer(kind, 11)
    for value in (0.0, 1e-40, -1e-38):
        y = run(interpreter_of(layer.data), np.full(layer.shape, value, np.float32))[0]
        np.testing.assert_array_equal(y, layer.finish(np.zeros(y.shape), np.float32(1)))


def float_interpreter_of(data: bytes) -> Any:
    return litert.Interpreter(
        model_content=data, experimental_delegates=[litert.load_delegate(library())],
        experimental_op_resolver_type=WITHOUT_XNNPACK,
    )  # fmt: skip


def test_depthwise_layers_stay_float() -> None:
    for seed in range(5):
        layer = Layer("depthwise", seed)
        x = np.random.default_rng(seed).standard_normal(layer.shape).astype(np.float32)
        want = run(float_interpreter_of(layer.data), x)[0]
        assert run(interpreter_of(layer.data), x)[0].tobytes() == want.tobytes()


def test_weights_that_have_no_scale_stay_float() -> None:
    """All weights zero, or infinite: the layer runs as it does without the option."""
    for value in (0.0, np.inf, 1e-44):
        file = GraphFile()
        x = file.tensor([2, 6], name="x")
        weight, _ = file.chain(np.ones((4, 6), np.uint8), np.full(4, value, np.float32), 2, 0)
        y = file.tensor([2, 4], name="y")
        file.fully_connected(x, weight, None, y)
        file.returns([x], [y])
        values = np.ones((2, 6), np.float32)
        plain = run(float_interpreter_of(file.bytes()), values)[0]
        assert run(interpreter_of(file.bytes()), values)[0].tobytes() == plain.tobytes()


def test_graphs_of_several_layers() -> None:
    """Random graphs: everything is claimed as without the option, threads do not matter, and results are near float's."""
    runner = random_graphs.Runner(library())
    delegates = [
        litert.load_delegate(library(), {"activations": "dynamic_int8", "num_threads": n, "log": "1"}) for n in (1, 3)
    ]
    ratios = []
    for seed in range(100):
        case = random_graphs.random_case(seed)
        with random_graphs.captured_stderr() as lines:
            single = runner.run(case, delegates[0])
        assert random_graphs.claims(lines) == (case.claimed("graph"), case.candidates)
        with random_graphs.captured_stderr():
            several = runner.run(case, delegates[1])
        exact = list(random_graphs.expected(case))
        for i, number in enumerate(case.outputs):
            assert single[i].tobytes() == several[i].tobytes()
            want = exact[number - 1][0]
            power, noise = np.sum(want**2), np.sum((single[i] - want) ** 2)
            if noise > 0 and power > 0:
                ratios.append(10 * np.log10(power / noise))
    # Single values that cancel have no precision to speak of; the middle of a hundred graphs does.
    assert np.median(ratios) > 35
