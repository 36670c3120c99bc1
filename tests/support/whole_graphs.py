"""Random whole networks: layers with codebooks and with plain filters, residual sums, pooling, RESHAPE and the other
operators without weights, float or int8, in which values are read several times, inside and outside of what is claimed, and
returned. Some have operators that the delegate does not know.

What is checked of every graph, against the runtime's reference kernels on the same file:
  - int8: all outputs are equal;
  - float: they are within TOLERANCE of the largest value of the same output. Both sides round every operation once; the
    graphs are a few layers deep and keep their values near 1, so that errors stay below 1e-5, while a wrong weight, a value
    that was overwritten too early, or a sum in the wrong place is far above 1e-3;
  - a graph of known operators with one codebook leaves no node to the runtime;
  - results are bit-identical for different numbers of threads, and when the graph runs again.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
from graph_files import ACTIVATIONS, PADDINGS, GraphFile, schema
from random_graphs import captured_stderr

TOLERANCE = 2e-4
CLAIM = re.compile(
    r"dgms: claimed (\d+) of (\d+) .* and (\d+) other operators .* in (\d+) partitions, .*; (\d+) nodes are left"
)


@dataclasses.dataclass
class Value:
    tensor: int
    shape: tuple[int, ...]
    scale: float = 0.0  # int8
    zero_point: int = 0


@dataclasses.dataclass
class Whole:
    """A graph, its input, and what the generator knows of it."""

    data: bytes
    x: np.ndarray
    int8: bool
    has_codebook: bool
    has_foreign: bool
    kinds: list[str]  # of its operators


class Generator:
    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.file = GraphFile()
        self.int8 = bool(self.rng.random() < 0.5)
        self.values: list[Value] = []
        self.read: set[int] = set()
        self.kinds: list[str] = []
        self.has_codebook = False

    # -- values -------------------------------------------------------------------------------------------------------

    def value(self, shape: tuple[int, ...], like: Value | None = None) -> Value:
        """A new tensor, quantised at random or as another one."""
        tensor = self.file.tensor(shape, np.int8 if self.int8 else np.float32, f"v{len(self.values)}")
        value = Value(tensor, tuple(int(d) for d in shape))
        if self.int8:
            value.scale = like.scale if like else float(np.float32(self.rng.uniform(0.02, 0.08)))
            value.zero_point = like.zero_point if like else int(self.rng.integers(-128, 128))
            self.file.quantize(tensor, value.scale, 0, value.zero_point)
        self.values.append(value)
        return value

    def pick(self, maps: bool = False) -> Value:
        """A value to read; the newest more often than others."""
        usable = [v for v in self.values if not maps or len(v.shape) == 4]
        return usable[-1] if self.rng.random() < 0.6 else usable[int(self.rng.integers(len(usable)))]

    def op(
        self, code: str, inputs: list[Value], output: Value, options: Any = None, more: list[int] | None = None
    ) -> None:
        self.read |= {v.tensor for v in inputs}
        self.kinds.append(code)
        self.file.op(code, [v.tensor for v in inputs] + (more or []), [output.tensor], options)

    def activation(self) -> int:
        return ACTIVATIONS[str(self.rng.choice(["none", "none", "relu", "relu6"]))]

    # -- layers -------------------------------------------------------------------------------------------------------

    def filter(self, shape: tuple[int, ...], axis: int) -> tuple[int, np.ndarray]:
        """The tensor of a filter whose sums of normal inputs are near 1, and its scales (int8)."""
        channels = shape[axis]
        size = float(np.sqrt(np.prod(shape) / channels))
        scales = (self.rng.uniform(0.5, 1.5, channels) / (70 * size)).astype(np.float32)
        if self.rng.random() < 0.25:
            if self.int8:
                values = self.rng.integers(-127, 128, shape).astype(np.int8)
                return self.file.quantize(self.file.constant(values), scales, axis), scales
            return self.file.constant((self.rng.standard_normal(shape) / size).astype(np.float32)), scales
        self.has_codebook = True
        bits = int(self.rng.choice([2, 3, 4]))
        codes = self.rng.integers(0, 2**bits, shape).astype(np.uint8)
        if self.int8:
            book = self.rng.integers(-127, 128, 2**bits).astype(np.int8)
            return self.file.chain(codes, book, bits, axis, None, None, scales)[0], scales
        book = (self.rng.standard_normal(2**bits) / size).astype(np.float32)
        return self.file.chain(codes, book, bits, axis)[0], scales

    def bias(self, channels: int, source: Value, scales: np.ndarray) -> int:
        if not self.int8:
            return self.file.constant((self.rng.standard_normal(channels) / 4).astype(np.float32))
        bias = self.file.constant(self.rng.integers(-2000, 2000, channels).astype(np.int32))
        return self.file.quantize(bias, np.float32(source.scale) * scales)

    def convolution(self, depthwise: bool) -> None:
        source = self.pick(maps=True)
        padding = "SAME"
        if self.rng.random() < 0.25:  # as Keras's ZeroPadding2D in front of a layer without padding of its own
            source, padding = self.pad(), str(self.rng.choice(["VALID", "VALID", "SAME"]))
        batch, height, width, channels = source.shape
        kernel, stride = int(self.rng.choice([1, 3, 3, 5])), int(self.rng.choice([1, 1, 2]))
        if padding == "VALID":
            kernel = min(kernel, height, width)
        outputs = channels if depthwise else int(self.rng.choice([channels, 8, 17, 32]))
        shape = (1, kernel, kernel, channels) if depthwise else (outputs, kernel, kernel, channels)
        weight, scales = self.filter(shape, 3 if depthwise else 0)
        reach = kernel if padding == "VALID" else 1
        output = self.value((batch, (height - reach) // stride + 1, (width - reach) // stride + 1, outputs))
        bias = self.bias(outputs, source, scales)
        activation = str(self.rng.choice(["none", "none", "relu", "relu6"]))
        self.file.conv(
            source.tensor, weight, bias, output.tensor, (stride, stride), (1, 1), padding, activation, depthwise
        )
        self.read.add(source.tensor)
        self.kinds.append("DEPTHWISE_CONV_2D" if depthwise else "CONV_2D")

    def fully_connected(self) -> None:
        source = self.pick()
        inputs = source.shape[-1]
        outputs = int(self.rng.integers(1, 40))
        weight, scales = self.filter((outputs, inputs), 0)
        output = self.value((int(np.prod(source.shape)) // inputs, outputs))
        self.file.fully_connected(source.tensor, weight, self.bias(outputs, source, scales), output.tensor)
        self.read.add(source.tensor)
        self.kinds.append("FULLY_CONNECTED")

    # -- operators without weights ------------------------------------------------------------------------------------

    def binary(self) -> None:
        a = self.pick()
        same = [v for v in self.values if v.shape == a.shape]
        b = same[int(self.rng.integers(len(same)))]
        code, options = [
            ("ADD", schema.AddOptionsT()),
            ("ADD", schema.AddOptionsT()),
            ("SUB", schema.SubOptionsT()),
            ("MUL", schema.MulOptionsT()),
        ][int(self.rng.integers(4))]
        options.fusedActivationFunction = self.activation()
        inputs = [a, b] if self.rng.random() < 0.5 else [b, a]
        self.op(code, inputs, self.value(a.shape), options)

    def pool(self) -> None:
        source = self.pick(maps=True)
        padded = bool(self.rng.random() < 0.25)
        if padded:
            source = self.pad(1)
        batch, height, width, channels = source.shape
        options = schema.Pool2DOptionsT()
        options.filterHeight = options.filterWidth = int(self.rng.choice([2, 3]))
        options.strideH = options.strideW = int(self.rng.choice([1, 2]))
        options.padding = PADDINGS["VALID" if padded else "SAME"]
        options.fusedActivationFunction = ACTIVATIONS["none"]
        stride, reach = options.strideH, options.filterHeight if padded else 1
        shape = (batch, (height - reach) // stride + 1, (width - reach) // stride + 1, channels)
        output = self.value(shape, like=source)
        self.op(str(self.rng.choice(["MAX_POOL_2D", "AVERAGE_POOL_2D"])), [source], output, options)

    def mean(self) -> None:
        source = self.pick(maps=True)
        options = schema.ReducerOptionsT()
        options.keepDims = bool(self.rng.random() < 0.5)
        batch, _, _, channels = source.shape
        shape = (batch, 1, 1, channels) if options.keepDims else (batch, channels)
        self.op("MEAN", [source], self.value(shape), options, [self.file.constant(np.array([1, 2], np.int32))])

    def pad(self, least: int = 0) -> Value:
        source = self.pick(maps=True)
        pads = np.zeros((4, 2), np.int32)
        pads[1:3] = self.rng.integers(least, 3, (2, 2))
        shape = tuple(int(d + p.sum()) for d, p in zip(source.shape, pads, strict=True))
        output = self.value(shape, like=source)
        self.op("PAD", [source], output, schema.PadOptionsT(), [self.file.constant(pads)])
        return output

    def unary(self) -> None:
        source = self.pick()
        code = str(self.rng.choice(["RELU", "RELU6", "HARD_SWISH", "LOGISTIC"]))
        output = self.value(source.shape)
        if self.int8 and code == "LOGISTIC":  # the output's only quantisation
            output.scale, output.zero_point = 1 / 256, -128
            self.file.quantize(output.tensor, output.scale, 0, output.zero_point)
        self.op(code, [source], output)

    def concatenation(self) -> None:
        a = self.pick()
        alike = [v for v in self.values if (v.shape, v.scale, v.zero_point) == (a.shape, a.scale, a.zero_point)]
        b = alike[int(self.rng.integers(len(alike)))]
        options = schema.ConcatenationOptionsT()
        options.axis, options.fusedActivationFunction = -1, ACTIVATIONS["none"]
        self.op("CONCATENATION", [a, b], self.value((*a.shape[:-1], 2 * a.shape[-1]), like=a), options)

    def reshape(self) -> None:
        source = self.pick()
        shape = (source.shape[0], int(np.prod(source.shape[1:])))
        if len(source.shape) == 2:
            shape = (source.shape[0], 1, 1, source.shape[1])  # type: ignore[assignment]
        options = schema.ReshapeOptionsT()
        options.newShape = list(shape)
        constant = self.file.constant(np.array([shape[0], -1, *shape[2:]], np.int32))
        self.op("RESHAPE", [source], self.value(shape, like=source), options, [constant])

    def foreign(self) -> None:
        source = self.pick()
        self.op("MAXIMUM", [source, source], self.value(source.shape, like=source), schema.MaximumMinimumOptionsT())


def random_whole(seed: int) -> Whole:
    g = Generator(seed)
    large = seed % 6 == 0  # enough work to wake the delegate's threads
    side = int(g.rng.integers(14, 30) if large else g.rng.integers(2, 14))
    source = g.value((int(g.rng.integers(1, 3)), side, side, int(g.rng.choice([3, 8, 16]))))
    makers = [
        *[lambda: g.convolution(False)] * 6, *[lambda: g.convolution(True)] * 2, g.fully_connected, *[g.binary] * 6,
        g.pool, g.mean, g.pad, g.unary, g.unary, g.concatenation, g.reshape,
    ]  # fmt: skip
    if seed % 3 == 0:
        makers.append(g.foreign)
    for _ in range(int(g.rng.integers(2, 14))):
        makers[int(g.rng.integers(len(makers)))]()
        if g.values[-1].shape[-1] > 4096:  # repeated flattening and concatenation
            break
    outputs = [v for v in g.values[1:] if v.tensor not in g.read or g.rng.random() < 0.15]
    g.file.returns([source.tensor], [v.tensor for v in outputs])
    if g.int8:
        x = g.rng.integers(-128, 128, source.shape).astype(np.int8)
    else:
        x = g.rng.standard_normal(source.shape).astype(np.float32)
    return Whole(g.file.bytes(), x, g.int8, g.has_codebook, "MAXIMUM" in g.kinds, g.kinds)


class WholeRunner:
    """Runs cases through one runtime, with delegate objects that serve all of them."""

    def __init__(self, runtime: Any, library: str, isas: tuple[str, ...]) -> None:
        self.runtime = runtime
        self.isas = isas
        self.delegates = {
            (isa, threads): runtime.load_delegate(library, {"isa": isa, "num_threads": threads, "log": "1"})
            for isa in isas
            for threads in (1, 3)
        }
        self.claimed: set[str] = set()  # kinds of operators in graphs that were claimed whole

    def run(self, case: Whole, delegate: Any = None, runs: int = 1) -> list[np.ndarray]:
        interpreter = self.runtime.Interpreter(
            model_content=case.data,
            experimental_delegates=None if delegate is None else [delegate],
            experimental_op_resolver_type=self.runtime.OpResolverType.BUILTIN_REF,
        )
        interpreter.allocate_tensors()
        results: list[np.ndarray] = []
        for _ in range(runs):
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], case.x)
            interpreter.invoke()
            again = [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]
            assert not results or all(a.tobytes() == b.tobytes() for a, b in zip(results, again, strict=True))
            results = again
        return results

    def check(self, seed: int) -> None:
        """Raises an AssertionError that names the seed, the output and the element."""
        case = random_whole(seed)
        isa = self.isas[seed % len(self.isas)]
        where = f"seed {seed}, isa {isa}, {'int8' if case.int8 else 'float'}, {case.kinds}"
        wanted = self.run(case)
        with captured_stderr() as lines:
            single = self.run(case, self.delegates[(isa, 1)], runs=2)
            several = self.run(case, self.delegates[(isa, 3)])
        claim = next(m for line in lines if (m := CLAIM.match(line)))
        if not case.has_codebook:
            assert claim[1] == claim[3] == claim[4] == "0", f"{where}: {lines}"
        elif not case.has_foreign:
            assert claim[1] == claim[2] and claim[4] == "1" and claim[5] == "0", f"{where}: {lines}"
            self.claimed |= set(case.kinds)
        for i, (got, want) in enumerate(zip(single, wanted, strict=True)):
            assert got.shape == want.shape, f"{where}: output {i} has shape {got.shape} instead of {want.shape}"
            error = np.abs(got.astype(np.float64) - want.astype(np.float64))
            allowed = 0.0 if case.int8 else TOLERANCE * max(1.0, float(np.abs(want).max(initial=0)))
            assert not error.size or error.max() <= allowed, (
                f"{where}: output {i} is off by {error.max():.3g} at {np.unravel_index(error.argmax(), error.shape)}; "
                f"{allowed:.3g} is allowed"
            )
            assert got.tobytes() == several[i].tobytes(), f"{where}: output {i}: 1 and 3 threads differ"
