"""Interleaved timing of the ways to run one `.tflite` file.

Each round runs every path once, so heat, frequency and neighbours hit all of them alike; what counts is the ratio of medians.
"""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# Version of the JSON that `BenchmarkReport.to_json_dict` writes: major.minor, readers reject a newer major.
SCHEMA_VERSION = "1.0"


@dataclasses.dataclass(frozen=True)
class PathTiming:
    """One path's figures; times in milliseconds.

    Args:
        name: "delegate", "xnnpack" or "builtin"; with `dense:` before it for a dense twin of the model.
        init_ms: interpreter construction and allocate_tensors.
        first_ms: the first invoke.
        runs_ms: every timed invoke, in order.
        delegated_nodes: nodes of our delegate in the graph.
        max_abs_difference: largest difference of any output from the builtin path's on the same file and input.
    """

    name: str
    init_ms: float
    first_ms: float
    runs_ms: tuple[float, ...]
    delegated_nodes: int
    max_abs_difference: float

    def percentile(self, q: float) -> float:
        """The q-th percentile of the runs, linear between neighbours."""
        return float(np.percentile(self.runs_ms, q))

    @property
    def median_ms(self) -> float:
        """The median of the runs."""
        return self.percentile(50)

    @property
    def p90_ms(self) -> float:
        """The 90th percentile of the runs."""
        return self.percentile(90)

    def to_json_dict(self) -> dict[str, Any]:
        """The figures as JSON types."""
        return {
            "name": self.name,
            "init_ms": self.init_ms,
            "first_ms": self.first_ms,
            "mean_ms": statistics.fmean(self.runs_ms),
            "sd_ms": statistics.stdev(self.runs_ms) if len(self.runs_ms) > 1 else 0.0,
            "min_ms": min(self.runs_ms),
            "median_ms": self.median_ms,
            "p90_ms": self.p90_ms,
            "p99_ms": self.percentile(99),
            "runs_ms": list(self.runs_ms),
            "delegated_nodes": self.delegated_nodes,
            "max_abs_difference": self.max_abs_difference,
        }


@dataclasses.dataclass(frozen=True)
class BenchmarkReport:
    """The timings of one file on one machine."""

    model: str
    model_bytes: int
    model_sha256: str
    num_threads: int
    warmup: int
    runtime: str
    machine: Mapping[str, Any]
    paths: tuple[PathTiming, ...]

    def __getitem__(self, name: str) -> PathTiming:
        for path in self.paths:
            if path.name == name:
                return path
        raise KeyError(f"the paths of this report are {', '.join(p.name for p in self.paths)}. Received: {name!r}")

    def ratio(self, name: str, peer: str) -> float:
        """Median time of `name` over that of `peer`: below 1, `name` is faster."""
        return self[name].median_ms / self[peer].median_ms

    def to_json_dict(self) -> dict[str, Any]:
        """The report as JSON types."""
        return {
            "schema": "dgms-bench",
            "schema_version": SCHEMA_VERSION,
            "model": {"path": self.model, "bytes": self.model_bytes, "sha256": self.model_sha256},
            "machine": dict(self.machine),
            "runtime": self.runtime,
            "settings": {"num_threads": self.num_threads, "warmup": self.warmup, "interleaved": True},
            "paths": [p.to_json_dict() for p in self.paths],
        }

    def table(self) -> Any:
        """The report as a rich table, fastest last column relative to the first path."""
        from rich.table import Table

        table = Table(
            title=f"{Path(self.model).name}, {self.num_threads} thread(s), {len(self.paths[0].runs_ms)} runs interleaved"
        )
        table.add_column("path")
        for heading in ("init ms", "first ms", "median ms", "p90 ms", "ratio", "nodes", "max difference"):
            table.add_column(heading, justify="right")
        base = self.paths[0]
        for p in self.paths:
            table.add_row(
                p.name,
                f"{p.init_ms:.2f}",
                f"{p.first_ms:.2f}",
                f"{p.median_ms:.3f}",
                f"{p.p90_ms:.3f}",
                f"{p.median_ms / base.median_ms:.2f}",
                str(p.delegated_nodes),
                f"{p.max_abs_difference:.1e}",
            )
        return table


def machine_info() -> dict[str, Any]:
    """What the figures were measured on: processor, cores, system."""
    processor = platform.processor()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "Hardware"))]
        processor = names[0] if names else processor
    except OSError:
        pass
    return {
        "processor": processor,
        "architecture": platform.machine(),
        "cores": os.cpu_count() or 1,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


@dataclasses.dataclass
class _Runner:
    """One interpreter with its inputs set."""

    name: str
    interpreter: Any
    init_ms: float
    first_ms: float = 0.0
    outputs: list[np.ndarray] = dataclasses.field(default_factory=list)
    runs_ms: list[float] = dataclasses.field(default_factory=list)

    def invoke(self) -> float:
        start = time.perf_counter()
        self.interpreter.invoke()
        return (time.perf_counter() - start) * 1e3


def _interpreter_of(kind: str, model: str, num_threads: int) -> Any:
    from dgms_keras.litert import OpResolverType
    from dgms_keras.runtime.interpreter import Interpreter

    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if kind == "builtin" else OpResolverType.AUTO
    return Interpreter(
        model, num_threads=num_threads, delegate=kind == "delegate", experimental_op_resolver_type=resolver
    )


PATHS = ("delegate", "xnnpack", "builtin")


def benchmark(
    model: str | os.PathLike[str],
    *,
    dense: str | os.PathLike[str] | None = None,
    paths: Sequence[str] = PATHS,
    num_threads: int = 1,
    runs: int = 50,
    warmup: int = 5,
    batch: int = 1,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> BenchmarkReport:
    """Times a `.tflite` file in several ways, interleaved in one process.

    Args:
        model: the file.
        dense: a dense twin of the model (the same network in plain float), timed under XNNPACK as `dense:xnnpack`: the peer
            that the delegate has to beat.
        paths: some of "delegate" (our delegate, then XNNPACK for the rest), "xnnpack" (TFLite's default) and "builtin"
            (TFLite's own kernels, XNNPACK off).
        num_threads: threads of every path, >= 1.
        runs: timed rounds, >= 1; each round runs every path once.
        warmup: rounds before the timed ones, >= 0 (the first invoke is timed apart).
        batch: batch size that a dynamic batch dimension is resized to, >= 1.
        seed: of the random input (standard normal for floats, the whole range for integers).
        progress: called with (rounds done, rounds in all).

    Raises:
        ValueError: an argument breaks a rule above. FileNotFoundError: no such file.
    """
    for name, value, least in (
        ("num_threads", num_threads, 1),
        ("runs", runs, 1),
        ("warmup", warmup, 0),
        ("batch", batch, 1),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"`{name}` must be an integer >= {least}. Received: {name}={value!r}")
    unknown = [p for p in paths if p not in PATHS]
    if unknown or not paths or len(set(paths)) != len(paths):
        raise ValueError(f"`paths` must be some of {', '.join(PATHS)}, each once. Received: {list(paths)}")
    model = os.fspath(model)
    plan = [(p, p, model) for p in paths]
    if dense is not None:
        plan.append(("dense:xnnpack", "xnnpack", os.fspath(dense)))
    runners = [_start(name, kind, file, num_threads, batch, seed) for name, kind, file in plan]
    reference = _reference_outputs(runners, model, num_threads, batch, seed)
    total = warmup + runs
    collecting = gc.isenabled()
    gc.disable()  # a collection in the middle of one path's run would be counted against it
    try:
        for done in range(total):
            order = runners if done % 2 == 0 else runners[::-1]  # neither path always follows the same other one
            for runner in order:
                elapsed = runner.invoke()
                if done >= warmup:
                    runner.runs_ms.append(elapsed)
            if progress is not None:
                progress(done + 1, total)
    finally:
        if collecting:
            gc.enable()
    return _report(model, runners, reference, num_threads, warmup)


def _start(name: str, kind: str, file: str, num_threads: int, batch: int, seed: int) -> _Runner:
    start = time.perf_counter()
    interpreter = _interpreter_of(kind, file, num_threads)
    for detail in interpreter.get_input_details():
        shape = [int(s) if s > 0 else batch for s in detail["shape_signature"]]
        if list(detail["shape"]) != shape:
            interpreter.resize_tensor_input(detail["index"], shape)
    interpreter.allocate_tensors()
    runner = _Runner(name, interpreter, (time.perf_counter() - start) * 1e3)
    generator = np.random.default_rng(seed)
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], random_input(generator, detail["shape"], detail["dtype"]))
    runner.first_ms = runner.invoke()
    runner.outputs = [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]
    return runner


def random_input(generator: np.random.Generator, shape: Sequence[int], dtype: Any) -> np.ndarray:
    """Random values for one input: standard normal for floats, 0 or 1 for integers wider than 8 bits (they may be indices)."""
    if np.issubdtype(dtype, np.floating):
        return generator.standard_normal(shape).astype(dtype)
    if np.dtype(dtype) == np.bool_:
        return generator.integers(0, 2, shape).astype(dtype)
    info = np.iinfo(dtype)
    low, high = (info.min, info.max) if info.bits == 8 else (0, 1)
    return generator.integers(low, high, shape, dtype=dtype, endpoint=True)


def _reference_outputs(
    runners: Sequence[_Runner], model: str, num_threads: int, batch: int, seed: int
) -> list[np.ndarray]:
    for runner in runners:
        if runner.name == "builtin":
            return runner.outputs
    return _start("builtin", "builtin", model, num_threads, batch, seed).outputs


def _report(
    model: str, runners: Sequence[_Runner], reference: list[np.ndarray], num_threads: int, warmup: int
) -> BenchmarkReport:
    from dgms_keras.litert import runtime_version

    content = Path(model).read_bytes()
    timings = []
    for r in runners:
        differences = [
            float(np.max(np.abs(np.asarray(a, np.float64) - b), initial=0.0))
            for a, b in zip(r.outputs, reference, strict=True)
        ]
        timings.append(
            PathTiming(
                name=r.name,
                init_ms=r.init_ms,
                first_ms=r.first_ms,
                runs_ms=tuple(r.runs_ms),
                delegated_nodes=r.interpreter.delegated_nodes(),
                max_abs_difference=max(differences, default=0.0),
            )
        )
    return BenchmarkReport(
        model=model,
        model_bytes=len(content),
        model_sha256=hashlib.sha256(content).hexdigest(),
        num_threads=num_threads,
        warmup=warmup,
        runtime=runtime_version(),
        machine=machine_info(),
        paths=tuple(timings),
    )
