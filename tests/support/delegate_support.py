"""What the delegate's end-to-end tests share: the library under test, and models of one or two layers."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import conv_oracle as oracle
import numpy as np
from graph_files import Chain, GraphFile


def library() -> str:
    """Path of the delegate: DGMS_DELEGATE_LIBRARY where it is set (a build that is not installed), else the package's."""
    chosen = os.environ.get("DGMS_DELEGATE_LIBRARY")
    if chosen:
        return chosen
    from dgms_keras.runtime.delegate import delegate_path

    return delegate_path()


def instruction_sets(runtime: Any) -> tuple[str, ...]:
    """The kernel sets of this machine, by the names of the option `isa`."""
    found = []
    for isa in ("portable", "neon", "neon_dotprod", "neon_i8mm", "avx2", "avx512", "avx512_vnni", "avx512_amx"):
        try:
            runtime.load_delegate(library(), {"isa": isa})
        except ValueError:
            continue
        found.append(isa)
    return tuple(found)


@dataclasses.dataclass
class ConvModel:
    """`y = relu(conv(x))` with a chain, and everything in it that a test may want to change before `file.bytes()`."""

    file: GraphFile
    chain: Chain
    x: int
    y: int
    bias: int
    operator: int  # the CONV_2D
    shape: tuple[int, ...]  # of x
    weight: np.ndarray  # float64, OHWI
    bias_values: np.ndarray

    def expected(self, x: np.ndarray) -> np.ndarray:
        return np.maximum(oracle.conv2d(x, self.weight, (1, 1), (1, 1), "SAME") + self.bias_values, 0)

    def bound(self, x: np.ndarray) -> np.ndarray:
        """4 epsilon times the sum of |w x| and |bias| (reliability figures of the delegate)."""
        magnitude = oracle.conv2d(np.abs(x), np.abs(self.weight), (1, 1), (1, 1), "SAME") + np.abs(self.bias_values)
        return 4 * oracle.EPSILON * magnitude

    def spoil(self, tensor: str) -> Any:
        """The schema's object of one of the chain's tensors, to be changed."""
        return self.file.graph.tensors[self.chain.tensors[tensor]]

    def operator_of(self, name: str) -> Any:
        return self.file.graph.operators[self.chain.operators[name]]


def conv_model(
    bits: int = 4,
    shape: Sequence[int] = (1, 8, 8, 5),
    filters: int = 7,
    scale: bool = True,
    group_size: int | None = None,
    seed: int = 0,
) -> ConvModel:
    rng = np.random.default_rng(seed)
    file = GraphFile()
    x = file.tensor(shape, name="x", signature=[-1, *shape[1:]])
    codes = rng.integers(0, 2**bits, (filters, 3, 3, shape[3])).astype(np.uint8)
    groups = 1 if group_size is None else -(-filters // group_size)
    books = rng.standard_normal((groups, 2**bits)).astype(np.float32)
    factors = rng.standard_normal(filters).astype(np.float32) if scale else None
    weight_tensor, chain = file.chain(codes, books if group_size else books[0], bits, 0, factors, group_size)
    bias_values = rng.standard_normal(filters).astype(np.float32)
    bias = file.constant(bias_values)
    y = file.tensor([shape[0], shape[1], shape[2], filters], name="y", signature=[-1, shape[1], shape[2], filters])
    operator = file.conv(x, weight_tensor, bias, y, activation="relu")
    file.returns([x], [y])
    group = (np.arange(filters) // (group_size or filters)).reshape(-1, 1, 1, 1)
    weight = books[group, codes].astype(np.float64)
    if factors is not None:
        weight = weight * factors.astype(np.float64).reshape(-1, 1, 1, 1)
    return ConvModel(file, chain, x, y, bias, operator, tuple(shape), weight, bias_values.astype(np.float64))


def make_interpreter(runtime: Any, data: bytes, delegates: Sequence[Any] = (), **arguments: Any) -> Any:
    return runtime.Interpreter(model_content=data, experimental_delegates=list(delegates) or None, **arguments)


def run(interpreter: Any, *inputs: np.ndarray) -> list[np.ndarray]:
    """Sets the inputs, resizing where needed, invokes, and returns the outputs."""
    details = interpreter.get_input_details()
    for detail, value in zip(details, inputs, strict=True):
        if tuple(detail["shape"]) != value.shape:
            interpreter.resize_tensor_input(detail["index"], value.shape)
    interpreter.allocate_tensors()
    for detail, value in zip(details, inputs, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def delegate_nodes(interpreter: Any) -> int:
    """How many delegate nodes (of any delegate) the runtime has made so far."""
    return sum(op["op_name"] == "DELEGATE" for op in interpreter._get_ops_details())


def run_script(script: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Runs Python code in a child process that can import this folder: for what may crash, fork or count threads."""
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        env={
            **os.environ,
            "DGMS_DELEGATE_LIBRARY": library(),
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
        },
    )
