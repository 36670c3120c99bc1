"""Chains inside the subgraphs of WHILE and IF: the runtime applies a delegate to each subgraph on its own."""

from __future__ import annotations

from typing import Any

import conv_oracle as oracle
import numpy as np
import pytest
from ai_edge_litert import interpreter as litert
from delegate_support import library, make_interpreter, run
from graph_files import GraphFile, schema
from random_graphs import captured_stderr, claims

SHAPE = (1, 6, 6, 4)


class Layer:
    """A 3x3 convolution from four channels to four, with the same constants in every subgraph that uses it."""

    def __init__(self, seed: int, bits: int) -> None:
        rng = np.random.default_rng(seed)
        self.bits = bits
        self.codes = rng.integers(0, 2**bits, (4, 3, 3, 4)).astype(np.uint8)
        self.book = (0.2 * rng.standard_normal(2**bits)).astype(np.float32)
        self.bias = rng.standard_normal(4).astype(np.float32)

    def write(self, file: GraphFile, x: int) -> int:
        weight, _ = file.chain(self.codes, self.book, self.bits, 0)
        y = file.tensor(SHAPE)
        file.conv(x, weight, file.constant(self.bias), y, activation="relu6")
        return y

    def expected(self, x: np.ndarray) -> np.ndarray:
        y = oracle.conv2d(x, self.book[self.codes].astype(np.float64), (1, 1), (1, 1), "SAME") + self.bias
        return np.clip(y, 0, 6)


def add_int(file: GraphFile, a: int, b: int) -> int:
    output = file.tensor([1], np.int32)
    options = schema.AddOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.NONE
    file.op("ADD", [a, b], [output], options)
    return output


def loop_model(layer: Layer, outside: Layer) -> bytes:
    """y = outside(x); while i < 3: y = layer(y); i = i + 1."""
    file = GraphFile()
    i, x = file.tensor([1], np.int32, name="i"), file.tensor(SHAPE, name="x")
    start = outside.write(file, x)
    last_i, last_y = file.tensor([1], np.int32), file.tensor(SHAPE)
    options = schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = 1, 2
    file.op("WHILE", [i, start], [last_i, last_y], options)
    file.returns([i, x], [last_i, last_y])

    file.subgraph("condition")
    i, x = file.tensor([1], np.int32), file.tensor(SHAPE)
    less = file.tensor([1], np.bool_)
    file.op("LESS", [i, file.constant(np.array([3], np.int32))], [less], schema.LessOptionsT())
    file.returns([i, x], [less])

    file.subgraph("body")
    i, x = file.tensor([1], np.int32), file.tensor(SHAPE)
    next_i = add_int(file, i, file.constant(np.ones(1, np.int32)))
    file.returns([i, x], [next_i, layer.write(file, x)])
    return file.bytes()


def branch_model(layers: list[Layer]) -> bytes:
    """y = layers[0](x) if flag else layers[1](x)."""
    file = GraphFile()
    flag, x = file.tensor([1], np.bool_, name="flag"), file.tensor(SHAPE, name="x")
    y = file.tensor(SHAPE)
    options = schema.IfOptionsT()
    options.thenSubgraphIndex, options.elseSubgraphIndex = 1, 2
    file.op("IF", [flag, x], [y], options)
    file.returns([flag, x], [y])
    for layer, name in zip(layers, ("then", "else"), strict=True):
        file.subgraph(name)
        x = file.tensor(SHAPE)
        file.returns([x], [layer.write(file, x)])
    return file.bytes()


@pytest.fixture
def delegate() -> Any:
    return litert.load_delegate(library(), {"log": "1", "num_threads": "2"})


def test_loop(delegate: Any) -> None:
    layer, outside = Layer(1, 4), Layer(2, 3)
    data = loop_model(layer, outside)
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    with captured_stderr() as lines:
        interpreter = make_interpreter(litert, data, [delegate])
        for first in (0, 2, 3, 1):
            count, y = run(interpreter, np.array([first], np.int32), x)
            wanted = outside.expected(x)
            for _ in range(first, 3):
                wanted = layer.expected(wanted)
            assert count[0] == 3
            # Up to four layers of 36 small products each, values at most 6: far below 1e-4 if right, far above if not.
            np.testing.assert_allclose(y, wanted, atol=1e-4)
    assert claims(lines) == (2, 2), lines
    stock = make_interpreter(litert, data)
    np.testing.assert_allclose(run(stock, np.array([1], np.int32), x)[1], y, atol=1e-4)


def test_branches(delegate: Any) -> None:
    layers = [Layer(3, 4), Layer(4, 2)]
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    with captured_stderr() as lines:
        interpreter = make_interpreter(litert, branch_model(layers), [delegate])
        for flag in (True, False, True):
            y = run(interpreter, np.array([flag]), x)[0]
            np.testing.assert_allclose(y, layers[0 if flag else 1].expected(x), atol=1e-4)
    assert claims(lines) == (2, 2), lines
