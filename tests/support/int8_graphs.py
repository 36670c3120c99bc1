"""Random small int8 graphs with decode chains, run by the delegate, by the runtime's reference kernels and by NumPy.

As a script (in any environment with NumPy, flatbuffers and a TFLite runtime):
    python tests/support/int8_graphs.py LIBRARY [--count 200] [--seed 0]

What is checked of every graph, everything exactly (int8 arithmetic is integer arithmetic):
  - the delegate claims all layers if one of them is a chain, else none, with every instruction set that is asked for;
  - its outputs equal NumPy's (int8_oracle.py) and those of the runtime's reference kernels, on the same file;
  - they are the same for different numbers of threads.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import Any

import conv_oracle
import int8_oracle
import numpy as np
from graph_files import GraphFile
from random_graphs import FUSED, Layer, captured_stderr, claims, random_window, small


@dataclasses.dataclass
class Value:
    """An int8 tensor of the graph."""

    tensor: int
    shape: tuple[int, ...]
    scale: float
    zero_point: int


@dataclasses.dataclass
class Int8Layer(Layer):
    """A layer; `weight` is int8, `bias` int32."""

    scales: np.ndarray | None = None  # of the filter: one, or one per channel
    output: Value | None = None


@dataclasses.dataclass
class Int8Case:
    data: bytes
    x: np.ndarray
    values: list[Value]
    layers: list[Int8Layer]
    outputs: list[int]
    has_stock: bool  # without a bias, stock kernels refuse a convolution and crash in a depthwise one

    @property
    def claimed(self) -> int:
        """All layers, the plain ones with those that have a codebook; none where none has."""
        return len(self.layers) if any(layer.compressed for layer in self.layers) else 0

    def expected(self) -> list[np.ndarray]:
        """Every value after the input."""
        results = [self.x]
        for layer in self.layers:
            source = self.values[layer.inputs[0]]
            assert layer.weight is not None and layer.scales is not None and layer.output is not None
            x = results[layer.inputs[0]]
            sums = int8_oracle.sums(
                layer.kind, x, source.zero_point, layer.weight, layer.bias, layer.stride, layer.dilation, layer.padding
            )
            y = int8_oracle.requantize(
                sums,
                source.scale,
                layer.scales,
                layer.output.scale,
                layer.output.zero_point,
                layer.activation,
                fixed_point=layer.kind != "dense",
            )
            results.append(y.reshape(layer.output.shape))
        return results[1:]


def zero_point(rng: np.random.Generator) -> int:
    return int(rng.choice([-128, 127, 0, int(rng.integers(-128, 128))]))


def int8_values(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """All values, or extremes only: the largest sums that there are."""
    if rng.random() < 0.15:
        return rng.choice([-128, 127], shape).astype(np.int8)
    return rng.integers(-128, 128, shape).astype(np.int8)


def random_int8_case(seed: int) -> Int8Case:
    rng = np.random.default_rng(seed)
    file = GraphFile()
    large = seed % 8 == 0  # enough work to wake the delegate's threads
    side, channels = (40, 64) if large else (14, 24)
    shape: tuple[int, ...] = (small(rng, 3), small(rng, side), small(rng, side), small(rng, channels))
    values = [_value(rng, file, shape, "x")]
    layers: list[Int8Layer] = []
    has_stock = True
    for _ in range(small(rng, 4)):
        number = len(values) - 1 if rng.random() < 0.7 else int(rng.integers(len(values)))
        kind = str(rng.choice(["conv", "conv", "depthwise", "dense"]))
        if len(values[number].shape) != 4:
            kind = "dense"
        layer = _random_layer(rng, file, kind, number, values)
        if layer.kind != "dense" and layer.bias is None:
            has_stock = False
        layers.append(layer)
    readers = {i for layer in layers for i in layer.inputs}
    outputs = [i for i in range(1, len(values)) if i not in readers or rng.random() < 0.3]
    file.returns([values[0].tensor], [values[i].tensor for i in outputs])
    return Int8Case(file.bytes(), int8_values(rng, values[0].shape), values, layers, outputs, has_stock)


def _value(rng: np.random.Generator, file: GraphFile, shape: tuple[int, ...], name: str, scale: float = 0) -> Value:
    value = Value(-1, shape, float(np.float32(scale or rng.uniform(0.001, 0.1))), zero_point(rng))
    value.tensor = file.tensor(shape, np.int8, name)
    file.quantize(value.tensor, value.scale, 0, value.zero_point)
    return value


def _random_filter(
    rng: np.random.Generator, file: GraphFile, shape: tuple[int, ...], axis: int, layer: Int8Layer
) -> int:
    """Sets weight and scales and returns the filter's tensor: a chain, or a plain constant."""
    channels = shape[axis]
    one_scale = layer.kind == "dense" and rng.random() < 0.5
    layer.scales = rng.uniform(0.0005, 0.02, 1 if one_scale else channels).astype(np.float32)
    if not layer.compressed:
        layer.weight = rng.integers(-127, 128, shape).astype(np.int8)
        tensor = file.constant(layer.weight)
        return file.quantize(tensor, layer.scales, axis)
    bits = int(rng.choice([2, 3, 4]))
    group_size = int(rng.integers(1, channels + 1)) if rng.random() < 0.3 else None
    groups = 1 if group_size is None else -(-channels // group_size)
    books = rng.integers(-127, 128, (groups, 2**bits)).astype(np.int8)
    if rng.random() < 0.15:
        books = rng.choice([-127, 127], books.shape).astype(np.int8)
    if group_size and rng.random() < 0.5:
        books = (books[0] * rng.choice([-1, 1], (groups, 1))).astype(np.int8)  # signs alone
    codes = rng.integers(0, 2**bits, shape).astype(np.uint8)
    tensor, _ = file.chain(codes, books if group_size else books[0], bits, axis, None, group_size, layer.scales)
    side = [channels if a == axis % len(shape) else 1 for a in range(len(shape))]
    layer.weight = books[(np.arange(channels) // (group_size or channels)).reshape(side), codes]
    return tensor


def _output_scale(rng: np.random.Generator, x_scale: float, layer: Int8Layer) -> float:
    """Near what the layer's sums need, so that outputs are neither all clamped nor all equal; sometimes far from it."""
    assert layer.weight is not None and layer.scales is not None
    length = layer.weight.size / layer.weight.shape[3 if layer.kind == "depthwise" else 0]
    usual = x_scale * float(np.mean(layer.scales)) * 70 * 73 * np.sqrt(length) / 50
    # From about 1e-9 on, stock kernels refuse a fused activation: its ends would overflow.
    return max(1e-6, float(usual * 10 ** rng.uniform(-1, 1) * (1e-4 if rng.random() < 0.05 else 1)))


def _random_layer(rng: np.random.Generator, file: GraphFile, kind: str, number: int, values: list[Value]) -> Int8Layer:
    source = values[number]
    shape = source.shape
    layer = Int8Layer(kind, (number,), activation=str(rng.choice(FUSED)), compressed=bool(rng.random() < 0.85))
    multiplier = 1
    if kind == "dense":
        inputs = shape[-1]
        layer.keep_num_dims = bool(rng.random() < 0.5)
        if not layer.keep_num_dims and rng.random() < 0.3:
            inputs = int(np.prod(shape[1:]))
        weight_shape: tuple[int, ...] = (small(rng, 70), inputs)
        axis = 0
    elif kind == "depthwise":
        kernel = random_window(rng, layer, shape)
        multiplier = int(rng.choice([1, 1, 1, 2, 3]))
        weight_shape, axis = (1, *kernel, shape[3] * multiplier), 3
    else:
        kernel = random_window(rng, layer, shape)
        divisors = [g for g in range(1, shape[3] + 1) if shape[3] % g == 0]
        groups = int(rng.choice(divisors)) if layer.compressed and rng.random() < 0.3 else 1
        weight_shape, axis = (groups * small(rng, 70 // groups + 1), *kernel, shape[3] // groups), 0
    weight = _random_filter(rng, file, weight_shape, axis, layer)
    channels = weight_shape[axis]
    assert layer.scales is not None
    bias = None
    if rng.random() < 0.85 or not layer.compressed:
        layer.bias = rng.integers(-20000, 20000, channels).astype(np.int32)
        bias = file.quantize(file.constant(layer.bias), np.float32(source.scale) * layer.scales)
    if kind == "dense":
        rows = int(np.prod(shape)) // weight_shape[1]
        out_shape = (*shape[:-1], channels) if layer.keep_num_dims else (rows, channels)
    else:
        sizes = [
            conv_oracle.pads(shape[1 + a], weight_shape[1 + a], layer.stride[a], layer.dilation[a], layer.padding)[0]
            for a in (0, 1)
        ]
        out_shape = (shape[0], *sizes, channels)
    layer.output = _value(rng, file, out_shape, f"y{len(values)}", _output_scale(rng, source.scale, layer))
    values.append(layer.output)
    if kind == "dense":
        file.fully_connected(source.tensor, weight, bias, layer.output.tensor, layer.activation, layer.keep_num_dims)
    else:
        file.conv(
            source.tensor, weight, bias, layer.output.tensor, layer.stride, layer.dilation, layer.padding,
            layer.activation, kind == "depthwise", multiplier,
        )  # fmt: skip
    return layer


class Int8Runner:
    """Runs cases through one runtime, with delegate objects that serve all of them."""

    def __init__(self, library: str, isas: tuple[str, ...]) -> None:
        import importlib

        try:
            module: Any = importlib.import_module("ai_edge_litert.interpreter")
        except ImportError:
            module = importlib.import_module("tensorflow.lite.python.interpreter")
        self.runtime = module
        self.isas = isas
        self.delegates = {
            (isa, threads): module.load_delegate(library, {"isa": isa, "num_threads": threads, "log": "1"})
            for isa in isas
            for threads in (1, 3)
        }

    def run(self, case: Int8Case, delegate: Any = None) -> list[np.ndarray]:
        interpreter = self.runtime.Interpreter(
            model_content=case.data,
            experimental_delegates=None if delegate is None else [delegate],
            experimental_op_resolver_type=self.runtime.OpResolverType.BUILTIN_REF,
        )
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], case.x)
        interpreter.invoke()
        return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]

    def check(self, seed: int) -> None:
        """Raises an AssertionError that names the seed, the value and the element."""
        case = random_int8_case(seed)
        wanted = case.expected()
        if case.has_stock:
            self._compare(case, wanted, self.run(case), f"seed {seed}, reference kernels")
        for isa in self.isas:
            for threads in (1, 3):
                with captured_stderr() as lines:
                    results = self.run(case, self.delegates[(isa, threads)])
                where = f"seed {seed}, isa {isa}, {threads} threads"
                assert claims(lines) == (case.claimed, len(case.layers)), f"{where}: {lines}"
                self._compare(case, wanted, results, where)

    def _compare(self, case: Int8Case, wanted: list[np.ndarray], results: list[np.ndarray], where: str) -> None:
        for i, number in enumerate(case.outputs):
            got, want = results[i], wanted[number - 1]
            assert got.shape == want.shape, f"{where}: shape {got.shape} instead of {want.shape}"
            wrong = np.argwhere(got != want)
            if wrong.size:
                at = tuple(wrong[0])
                layer = case.layers[number - 1]
                raise AssertionError(
                    f"{where}, value {number} ({layer.kind}, {layer.activation}): {got[at]} instead of {want[at]} at "
                    f"{at}; {len(wrong)} of {got.size} are wrong"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--isa", nargs="+", default=["auto", "portable"])
    arguments = parser.parse_args()
    runner = Int8Runner(arguments.library, tuple(arguments.isa))
    start = time.monotonic()
    for seed in range(arguments.seed, arguments.seed + arguments.count):
        runner.check(seed)
    print(f"{arguments.count} int8 graphs in {time.monotonic() - start:.1f} s, all exact")


if __name__ == "__main__":
    main()
