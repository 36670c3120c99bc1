"""Interleaved timing of the ways to run one `.tflite` file.

Each round runs every path once, so heat, frequency and neighbours hit all of them alike; what counts is the ratio of medians.
"""

from __future__ import annotations

import dataclasses
import datetime
import gc
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dgms_keras.runtime.benchmark_report import SCHEMA_VERSION, BenchmarkReport, ModelFile, PathTiming
from dgms_keras.runtime.machine import machine_info, peak_memory_bytes, resident_bytes

__all__ = ["PATHS", "SCHEMA_VERSION", "BenchmarkReport", "PathTiming", "benchmark", "random_input"]

PATHS = ("delegate", "xnnpack", "builtin")
ACTIVATIONS = ("float32", "dynamic_int8")

# One value for each input or output of the network.
_Tensors = list[np.ndarray]


@dataclasses.dataclass
class _Runner:
    """One interpreter with its inputs set."""

    name: str
    interpreter: Any
    init_ms: float
    first_ms: float = 0.0
    rss_growth_bytes: int | None = None
    outputs: list[_Tensors] = dataclasses.field(default_factory=list)  # of every input
    runs_ms: list[float] = dataclasses.field(default_factory=list)
    starts_ms: list[float] = dataclasses.field(default_factory=list)

    def invoke(self) -> float:
        start = time.perf_counter()
        self.interpreter.invoke()
        return (time.perf_counter() - start) * 1e3

    def set_inputs(self, values: _Tensors) -> None:
        for detail, value in zip(self.interpreter.get_input_details(), values, strict=True):
            self.interpreter.set_tensor(detail["index"], value)

    def keep_outputs(self) -> None:
        details = self.interpreter.get_output_details()
        self.outputs.append([self.interpreter.get_tensor(d["index"]) for d in details])


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What all paths have in common."""

    num_threads: int
    batch: int
    activations: str
    agreement_inputs: int
    seed: int

    def interpreter(self, kind: str, model: str) -> Any:
        from dgms_keras.litert import OpResolverType
        from dgms_keras.runtime.interpreter import Interpreter

        resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if kind == "builtin" else OpResolverType.AUTO
        return Interpreter(
            model,
            num_threads=self.num_threads,
            delegate=kind == "delegate",
            delegate_options={"activations": self.activations} if kind == "delegate" else None,
            experimental_op_resolver_type=resolver,
        )

    def inputs(self, interpreter: Any) -> list[_Tensors]:
        """The inputs on which outputs are compared; the first of them is timed."""
        generator = np.random.default_rng(self.seed)
        details = interpreter.get_input_details()
        return [
            [random_input(generator, d["shape"], d["dtype"]) for d in details] for _ in range(self.agreement_inputs)
        ]

    def start(self, name: str, kind: str, model: str) -> _Runner:
        """Opens a path, times that and the first run, and gets its outputs for all inputs."""
        resident, start = resident_bytes(), time.perf_counter()
        interpreter = self.interpreter(kind, model)
        for detail in interpreter.get_input_details():
            shape = [int(s) if s > 0 else self.batch for s in detail["shape_signature"]]
            if list(detail["shape"]) != shape:
                interpreter.resize_tensor_input(detail["index"], shape)
        interpreter.allocate_tensors()
        runner = _Runner(name, interpreter, (time.perf_counter() - start) * 1e3)
        timed, *others = self.inputs(interpreter)
        runner.set_inputs(timed)
        runner.first_ms = runner.invoke()
        now = resident_bytes()
        runner.rss_growth_bytes = None if now is None or resident is None else now - resident
        runner.keep_outputs()
        for values in others:
            runner.set_inputs(values)
            runner.invoke()
            runner.keep_outputs()
        if others:
            runner.set_inputs(timed)
        return runner


def benchmark(
    model: str | os.PathLike[str],
    *,
    dense: str | os.PathLike[str] | None = None,
    paths: Sequence[str] = PATHS,
    num_threads: int = 1,
    runs: int = 50,
    min_seconds: float = 0.0,
    warmup: int = 5,
    batch: int = 1,
    activations: str = "float32",
    agreement_inputs: int = 16,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> BenchmarkReport:
    """Times a `.tflite` file in several ways, interleaved in one process.

    Args:
        model: the file.
        dense: a dense twin of the model (the same network without shared weights), timed under XNNPACK as `dense:xnnpack`: the
            peer that the delegate has to beat.
        paths: some of "delegate" (our delegate, then XNNPACK for the rest), "xnnpack" (TFLite's default) and "builtin"
            (TFLite's own kernels, XNNPACK off).
        num_threads: threads of every path, >= 1.
        runs: timed rounds, >= 1; each round runs every path once.
        min_seconds: the timed rounds go on for at least so long, >= 0.
        warmup: rounds before the timed ones, >= 0 (the first invoke is timed apart).
        batch: batch size that a dynamic batch dimension is resized to, >= 1.
        activations: what float layers compute with in the delegate: "float32" or "dynamic_int8".
        agreement_inputs: on how many inputs the outputs of all paths are compared, >= 1; the first of them is timed.
        seed: of the random inputs (standard normal for floats, the whole range for 8-bit integers).
        progress: called with (rounds done, rounds in all as far as known).

    Raises:
        ValueError: an argument breaks a rule above. FileNotFoundError: no such file.
    """
    for name, value, least in (
        ("num_threads", num_threads, 1),
        ("runs", runs, 1),
        ("warmup", warmup, 0),
        ("batch", batch, 1),
        ("agreement_inputs", agreement_inputs, 1),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"`{name}` must be an integer >= {least}. Received: {name}={value!r}")
    if isinstance(min_seconds, bool) or not isinstance(min_seconds, (int, float)) or not 0 <= min_seconds < math.inf:
        raise ValueError(f"`min_seconds` must be a number >= 0. Received: min_seconds={min_seconds!r}")
    if activations not in ACTIVATIONS:
        raise ValueError(f"`activations` must be 'float32' or 'dynamic_int8'. Received: activations={activations!r}")
    unknown = [p for p in paths if p not in PATHS]
    if unknown or not paths or len(set(paths)) != len(paths):
        raise ValueError(f"`paths` must be some of {', '.join(PATHS)}, each once. Received: {list(paths)}")
    model = os.fspath(model)
    plan = _Plan(num_threads, batch, activations, agreement_inputs, seed)
    runners = [plan.start(path, path, model) for path in paths]
    if dense is not None:
        runners.append(plan.start("dense:xnnpack", "xnnpack", os.fspath(dense)))
    reference = next((r for r in runners if r.name == "builtin"), None) or plan.start("builtin", "builtin", model)
    _time(runners, warmup, runs, min_seconds, settle_ms(num_threads), progress)
    from dgms_keras.litert import runtime_version

    return BenchmarkReport(
        model=ModelFile.of(model),
        dense=None if dense is None else ModelFile.of(dense),
        settings={
            **dataclasses.asdict(plan),
            "runs": runs,
            "min_seconds": min_seconds,
            "warmup": warmup,
            "interleaved": True,
            "inputs": "random",
            "settle_ms": settle_ms(plan.num_threads),
        },
        runtime=runtime_version(),
        machine=machine_info(),
        created=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        peak_memory_bytes=peak_memory_bytes(),
        paths=tuple(_timing(r, reference) for r in runners),
    )


def _time(
    runners: Sequence[_Runner],
    warmup: int,
    runs: int,
    min_seconds: float,
    settle: float,
    progress: Callable[[int, int], None] | None,
) -> None:
    """The rounds: those of the warm-up, then the timed ones."""
    done, begin = 0, time.perf_counter()
    collecting = gc.isenabled()
    gc.disable()  # a collection in the middle of one path's run would be counted against it
    try:
        while done < warmup + runs or time.perf_counter() - begin < min_seconds:
            if done <= warmup:
                begin = time.perf_counter()
            for runner in (runners[i] for i in round_order(len(runners), done)):
                settled = time.perf_counter() + settle / 1e3
                while time.perf_counter() < settled:  # busy, lest the core's clock goes down
                    pass
                start = time.perf_counter()
                elapsed = runner.invoke()
                if done >= warmup:
                    runner.starts_ms.append((start - begin) * 1e3)
                    runner.runs_ms.append(elapsed)
            done += 1
            if progress is not None:
                progress(done, max(done, warmup + runs))
    finally:
        if collecting:
            gc.enable()


# By the number of paths: the rounds of a cycle (Williams's Latin squares, rows in an order without repeats).
_ROUNDS = {
    1: ((0,),),
    2: ((0, 1),),
    3: ((0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1), (2, 1, 0), (1, 0, 2)),
    4: ((0, 1, 3, 2), (1, 2, 0, 3), (2, 3, 1, 0), (3, 0, 2, 1)),
}


def round_order(paths: int, number: int) -> tuple[int, ...]:
    """The order in which a round runs its paths: their positions, the first to run first.

    What ran just before decides what a path finds in the caches, so within the rounds of a cycle (3 paths: six, 4 paths: four) every
    path follows every other one equally often and comes at every place equally often. No path follows itself, from one round to
    the next either; with 4 paths these steps favour one predecessor of each.

    Args:
        paths: how many there are, 1 to 4.
        number: of the round, from 0, warm-up rounds included.
    """
    cycle = _ROUNDS[paths]
    return cycle[number % len(cycle)]


def settle_ms(num_threads: int) -> float:
    """Milliseconds between two runs, in which the threads of the path before fall asleep: where they spin on, as XNNPACK's do for
    10 to 20 ms in some runtimes (TFLite 2.16.1), they would take cores from the next path. A single thread leaves nobody behind."""
    return 30.0 if num_threads > 1 else 0.0


def random_input(generator: np.random.Generator, shape: Sequence[int], dtype: Any) -> np.ndarray:
    """Random values for one input: standard normal for floats, 0 or 1 for integers wider than 8 bits (they may be indices)."""
    if np.issubdtype(dtype, np.floating):
        return generator.standard_normal(shape).astype(dtype)
    if np.dtype(dtype) == np.bool_:
        return generator.integers(0, 2, shape).astype(dtype)
    info = np.iinfo(dtype)
    low, high = (info.min, info.max) if info.bits == 8 else (0, 1)
    return generator.integers(low, high, shape, dtype=dtype, endpoint=True)


def _timing(runner: _Runner, reference: _Runner) -> PathTiming:
    differences, agreements = [0.0], []
    shapes, expected_shapes = ([o.shape for o in r.outputs[0]] for r in (runner, reference))
    if shapes != expected_shapes:
        raise ValueError(
            f"the outputs of {runner.name} must have the shapes of the model's, {expected_shapes}. Received: {shapes}"
        )
    for outputs, expected in zip(runner.outputs, reference.outputs, strict=True):
        differences += [
            float(np.max(np.abs(np.asarray(a, np.float64) - b), initial=0.0))
            for a, b in zip(outputs, expected, strict=True)
        ]
        agreements.append(_same_top1(outputs[0], expected[0]))
    known = [a for a in agreements if a is not None]
    return PathTiming(
        name=runner.name,
        init_ms=runner.init_ms,
        first_ms=runner.first_ms,
        runs_ms=tuple(runner.runs_ms),
        delegated_nodes=runner.interpreter.delegated_nodes(),
        max_abs_difference=float(np.max(differences)),  # NumPy's maximum keeps a NaN, Python's may lose it
        starts_ms=tuple(runner.starts_ms),
        top1_agreement=float(np.mean(known)) if known else None,
        rss_growth_bytes=runner.rss_growth_bytes,
    )


def _same_top1(output: np.ndarray, expected: np.ndarray) -> float | None:
    """For how many items of the batch the largest value is in the same place, 0 to 1; None where an item is a single value."""
    items = len(output) if output.ndim > 1 else 1
    if output.size <= items:
        return None
    rows, expected_rows = (np.reshape(a, (items, -1)) for a in (output, expected))
    return float(np.mean(np.argmax(rows, 1) == np.argmax(expected_rows, 1)))
