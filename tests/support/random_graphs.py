"""Random small graphs with decode chains, run by the delegate and by stock kernels, checked against float64.

As a script (in any environment with NumPy, flatbuffers and a TFLite runtime):
    python tests/support/random_graphs.py LIBRARY [--count 500] [--seed 0]

What is checked of every graph:
  - the delegate claims exactly the layers that are chains, or (option `claim`) the whole graph if it has one;
  - each result lies within 4 epsilon * S of float64's, S = sum of |w x| (and |bias|), the errors of earlier layers carried
    through exactly: if the input is off by at most E_in, the output is off by at most conv(E_in, |w|) + 4 epsilon S;
  - stock kernels, on the same file, differ from the delegate by at most the two bounds together;
  - results are bit-identical for different numbers of threads.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import conv_oracle as oracle
import numpy as np
from graph_files import ACTIVATIONS, GraphFile

FUSED = [a for a in ACTIVATIONS if a != "tanh"]
# Below this, products may be denormal, which the delegate flushes to zero: an absolute error that no relative bound covers.
TINY = 1e-30


@dataclasses.dataclass
class Layer:
    kind: str  # conv, depthwise, dense (fully connected), add
    inputs: tuple[int, ...]  # numbers of values; 0 is the graph's input
    weight: np.ndarray | None = None  # float64, scaled
    bias: np.ndarray | None = None
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: str = "SAME"
    activation: str = "none"
    compressed: bool = True
    keep_num_dims: bool = False


@dataclasses.dataclass
class Case:
    data: bytes
    x: np.ndarray
    layers: list[Layer]
    outputs: list[int]  # numbers of the values that the graph returns
    has_stock: bool  # without a bias, stock kernels refuse a convolution and crash in a depthwise one

    def claimed(self, claim: str) -> int:
        """Layers that the delegate takes with this value of its option `claim`: all operators here are ones that it has,
        so next to one layer with a codebook it takes all."""
        compressed = sum(layer.compressed for layer in self.layers if layer.kind != "add")
        return self.candidates if claim == "graph" and compressed else compressed

    @property
    def candidates(self) -> int:
        return sum(layer.kind != "add" for layer in self.layers)


def random_weight(
    rng: np.random.Generator, file: GraphFile, shape: tuple[int, ...], axis: int
) -> tuple[int, np.ndarray]:
    """A chain with random bits, scale and channel groups; returns the filter's tensor and its true values."""
    bits = int(rng.choice([2, 3, 4]))
    channels = shape[axis]
    group_size = int(rng.integers(1, channels + 1)) if rng.random() < 0.25 else None
    groups = 1 if group_size is None else -(-channels // group_size)
    codes = rng.integers(0, 2**bits, shape).astype(np.uint8)
    books = rng.standard_normal((groups, 2**bits)).astype(np.float32)
    books[:, 0] = 0
    scale = rng.standard_normal(channels).astype(np.float32) if rng.random() < 0.4 else None
    tensor, _ = file.chain(codes, books if group_size else books[0], bits, axis, scale, group_size)
    side = [channels if a == axis % len(shape) else 1 for a in range(len(shape))]
    group = (np.arange(channels) // (group_size or channels)).reshape(side)
    weight = books[group, codes].astype(np.float64)
    if scale is not None:
        weight = weight * scale.astype(np.float64).reshape(side)
    return tensor, weight


def small(rng: np.random.Generator, top: int) -> int:
    """1 to top, small numbers more often."""
    return int(rng.integers(1, rng.integers(1, top + 1) + 1))


def random_case(seed: int) -> Case:
    rng = np.random.default_rng(seed)
    file = GraphFile()
    large = seed % 8 == 0  # enough work to wake the delegate's threads
    side, channels = (40, 64) if large else (14, 24)
    shape: tuple[int, ...] = (small(rng, 3), small(rng, side), small(rng, side), small(rng, channels))
    source = file.tensor(shape, name="x")
    tensors, shapes, layers = [source], [shape], []
    has_stock = True
    for _ in range(small(rng, 4)):
        number = len(tensors) - 1 if rng.random() < 0.7 else int(rng.integers(len(tensors)))
        x, shape = tensors[number], shapes[number]
        kind = str(rng.choice(["conv", "conv", "depthwise", "dense", "add"]))
        if len(shape) != 4 and kind in ("conv", "depthwise"):
            kind = "dense"
        layer, out_shape = _random_layer(rng, file, kind, number, x, shape, tensors, shapes)
        if layer.kind in ("conv", "depthwise") and layer.bias is None:
            has_stock = False
        layers.append(layer)
        shapes.append(out_shape)
    readers = {i for layer in layers for i in layer.inputs}
    outputs = [i for i in range(1, len(tensors)) if i not in readers or rng.random() < 0.3]
    file.returns([source], [tensors[i] for i in outputs])
    x = rng.standard_normal(shapes[0]).astype(np.float32)
    return Case(file.bytes(), x, layers, outputs, has_stock)


def _random_layer(
    rng: np.random.Generator,
    file: GraphFile,
    kind: str,
    number: int,
    x: int,
    shape: tuple[int, ...],
    tensors: list[int],
    shapes: list[tuple[int, ...]],
) -> tuple[Layer, tuple[int, ...]]:
    if kind == "add":
        other = int(rng.choice([i for i, s in enumerate(shapes) if s == shape]))
        tensors.append(file.add(x, tensors[other], shape))
        return Layer("add", (number, other)), shape
    layer = Layer(kind, (number,), activation=str(rng.choice(FUSED)), compressed=bool(rng.random() < 0.85))
    multiplier = 1
    if kind == "dense":
        inputs = shape[-1]
        layer.keep_num_dims = bool(rng.random() < 0.5)
        if not layer.keep_num_dims and rng.random() < 0.3:
            inputs = int(np.prod(shape[1:]))
        weight_shape: tuple[int, ...] = (small(rng, 40), inputs)
        axis = 0
    elif kind == "depthwise":
        kernel = random_window(rng, layer, shape)
        multiplier = int(rng.choice([1, 1, 1, 2, 3]))
        weight_shape, axis = (1, *kernel, shape[3] * multiplier), 3
    else:
        kernel = random_window(rng, layer, shape)
        divisors = [g for g in range(1, shape[3] + 1) if shape[3] % g == 0]
        groups = int(rng.choice(divisors)) if layer.compressed and rng.random() < 0.3 else 1
        weight_shape, axis = (groups * small(rng, 40 // groups + 1), *kernel, shape[3] // groups), 0
    if layer.compressed:
        weight, layer.weight = random_weight(rng, file, weight_shape, axis)
    else:
        values = rng.standard_normal(weight_shape).astype(np.float32)
        weight, layer.weight = file.constant(values), values.astype(np.float64)
    channels = weight_shape[axis]
    bias = None
    if rng.random() < 0.85 or not layer.compressed:
        values = rng.standard_normal(channels).astype(np.float32)
        layer.bias = values.astype(np.float64)
        bias = file.constant(values)
    if kind == "dense":
        rows = int(np.prod(shape)) // weight_shape[1]
        out_shape = (*shape[:-1], channels) if layer.keep_num_dims else (rows, channels)
    else:
        sizes = [
            oracle.pads(shape[1 + a], weight_shape[1 + a], layer.stride[a], layer.dilation[a], layer.padding)[0]
            for a in (0, 1)
        ]
        out_shape = (shape[0], *sizes, channels)
    output = file.tensor(out_shape, name=f"y{len(tensors)}")
    tensors.append(output)
    if kind == "dense":
        file.fully_connected(x, weight, bias, output, layer.activation, layer.keep_num_dims)
    else:
        file.conv(
            x, weight, bias, output, layer.stride, layer.dilation, layer.padding, layer.activation,
            kind == "depthwise", multiplier,
        )  # fmt: skip
    return layer, out_shape


def random_window(rng: np.random.Generator, layer: Layer, shape: tuple[int, ...]) -> tuple[int, int]:
    """Sets stride, dilation and padding; VALID only where the window fits, which stock kernels require."""
    if not layer.compressed:  # XNNPACK's: in LiteRT 1.4 it is wrong for some windows larger than the input
        return 1, 1
    kernel = (small(rng, 5), small(rng, 5))
    layer.stride = (small(rng, 3), small(rng, 3))
    if rng.random() < 0.3:
        layer.dilation = (small(rng, 3), small(rng, 3))
    fits = all((kernel[a] - 1) * layer.dilation[a] + 1 <= shape[1 + a] for a in (0, 1))
    layer.padding = "VALID" if fits and rng.random() < 0.5 else "SAME"
    return kernel


def linear(layer: Layer, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    if layer.kind == "conv":
        return oracle.conv2d(x, weight, layer.stride, layer.dilation, layer.padding)
    if layer.kind == "depthwise":
        return oracle.depthwise_conv2d(x, weight, layer.stride, layer.dilation, layer.padding)
    rows = x.astype(np.float64).reshape(-1, weight.shape[1]) @ weight.T
    return rows.reshape(*x.shape[:-1], weight.shape[0]) if layer.keep_num_dims else rows


def expected(case: Case) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For every value after the input: float64's result, and how far a float32 result may be off (see above)."""
    values = [(case.x.astype(np.float64), np.zeros(case.x.shape))]
    for layer in case.layers:
        x, error = values[layer.inputs[0]]
        if layer.kind == "add":
            z, error_z = values[layer.inputs[1]]
            y = x + z
            values.append((y, error + error_z + oracle.EPSILON * (np.abs(y) + error + error_z) + TINY))
        else:
            assert layer.weight is not None
            magnitude = linear(layer, np.abs(x) + error, np.abs(layer.weight))
            y = linear(layer, x, layer.weight)
            if layer.bias is not None:
                y = y + layer.bias
                magnitude = magnitude + np.abs(layer.bias)
            bound = linear(layer, error, np.abs(layer.weight)) + 4 * oracle.EPSILON * magnitude + TINY
            values.append((oracle.activate(y, layer.activation), bound))  # clamping never widens a difference
        yield values[-1]


@contextlib.contextmanager
def captured_stderr() -> Iterator[list[str]]:
    """What this process, C++ included, writes to stderr; the list is filled when the block ends."""
    lines: list[str] = []
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            lines += file.read().decode(errors="replace").splitlines()


CLAIMED = re.compile(r"dgms: claimed (\d+) of (\d+) ")


def claims(lines: list[str]) -> tuple[int, int]:
    """Claimed layers and candidates, summed over all graphs that the delegate's log mentions."""
    found = [m for line in lines if (m := CLAIMED.match(line))]
    return sum(int(m[1]) for m in found), sum(int(m[2]) for m in found)


class Runner:
    """Runs cases through one runtime, with delegate objects that serve all of them."""

    def __init__(self, library: str, isas: tuple[str, ...] = ("auto", "portable")) -> None:
        import importlib

        try:
            module: Any = importlib.import_module("ai_edge_litert.interpreter")
        except ImportError:
            module = importlib.import_module("tensorflow.lite.python.interpreter")
        self.runtime = module
        self.delegates = {
            (isa, threads, claim): module.load_delegate(
                library, {"isa": isa, "num_threads": threads, "claim": claim, "log": "1"}
            )
            for isa in isas
            for threads in (1, 3)
            for claim in ("graph", "codebook")
        }
        self.isas = isas
        self.worst = 0.0  # largest error found, as a share of its bound

    def run(self, case: Case, delegate: Any = None, xnnpack: bool = True) -> list[np.ndarray]:
        kind = self.runtime.OpResolverType
        interpreter = self.runtime.Interpreter(
            model_content=case.data,
            experimental_delegates=None if delegate is None else [delegate],
            experimental_op_resolver_type=kind.AUTO if xnnpack else kind.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], case.x)
        interpreter.invoke()
        return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]

    def check(self, seed: int) -> None:
        """Raises an AssertionError that names the seed, the value and the element."""
        case = random_case(seed)
        wanted = list(expected(case))
        stock = self.run(case, xnnpack=False) if case.has_stock else None
        isa = self.isas[seed % len(self.isas)]
        claim = "codebook" if seed % 4 == 3 else "graph"
        with captured_stderr() as lines:
            single = self.run(case, self.delegates[(isa, 1, claim)], xnnpack=seed % 3 == 0)
        assert claims(lines) == (case.claimed(claim), case.candidates), f"seed {seed}: {lines}"
        with captured_stderr():
            several = self.run(case, self.delegates[(isa, 3, claim)], xnnpack=seed % 3 == 0)
        for i, number in enumerate(case.outputs):
            y, bound = wanted[number - 1]
            where = f"seed {seed}, isa {isa}, claim {claim}, value {number} ({case.layers[number - 1].kind})"
            self._compare(single[i], y, bound, where + " against float64")
            if stock is not None:
                self._compare(single[i], stock[i], 2 * bound, where + " against stock kernels")
            assert single[i].tobytes() == several[i].tobytes(), where + ": 1 and 3 threads differ"

    def _compare(self, got: np.ndarray, want: np.ndarray, bound: np.ndarray, where: str) -> None:
        assert got.shape == want.shape, f"{where}: shape {got.shape} instead of {want.shape}"
        share = np.abs(got.astype(np.float64) - want) / bound
        if share.size:
            self.worst = max(self.worst, float(share.max()))
            at = np.unravel_index(int(np.nanargmax(share)), share.shape)
            assert not np.isnan(share).any() and share[at] <= 1, (
                f"{where}: {got[at]!r} instead of {want[at]!r} at {at}, {share[at]:.2f} times the bound"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    runner = Runner(arguments.library)
    start = time.monotonic()
    for seed in range(arguments.seed, arguments.seed + arguments.count):
        runner.check(seed)
    seconds = time.monotonic() - start
    print(f"{arguments.count} graphs in {seconds:.1f} s, largest error {runner.worst:.2f} of its bound")


if __name__ == "__main__":
    main()
