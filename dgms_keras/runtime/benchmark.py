"""Interleaved timing of the ways to run one `.tflite` file (interleaved.py), and how far apart their outputs are."""

from __future__ import annotations

import datetime
import math
import os
from collections.abc import Callable, Sequence

import numpy as np

from dgms_keras.runtime.benchmark_report import SCHEMA_VERSION, BenchmarkReport, ModelFile, PathTiming
from dgms_keras.runtime.interleaved import KINDS as PATHS
from dgms_keras.runtime.interleaved import PathSpec, Runner, run_rounds, settle_ms, start
from dgms_keras.runtime.machine import machine_info, peak_memory_bytes

__all__ = ["PATHS", "SCHEMA_VERSION", "BenchmarkReport", "PathTiming", "benchmark"]

ACTIVATIONS = ("float32", "dynamic_int8")


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
    common = {"batch": batch, "agreement_inputs": agreement_inputs, "seed": seed}

    def open_path(name: str, kind: str, file: str) -> Runner:
        options = {"activations": activations} if kind == "delegate" else {}
        return start(PathSpec(name, kind, file, options), num_threads, **common)

    runners = [open_path(path, path, model) for path in paths]
    if dense is not None:
        runners.append(open_path("dense:xnnpack", "xnnpack", os.fspath(dense)))
    reference = next((r for r in runners if r.name == "builtin"), None) or open_path("builtin", "builtin", model)
    settle = settle_ms(num_threads)
    run_rounds(runners, warmup=warmup, runs=runs, min_seconds=min_seconds, settle=settle, progress=progress)
    from dgms_keras.litert import runtime_version

    return BenchmarkReport(
        model=ModelFile.of(model),
        dense=None if dense is None else ModelFile.of(dense),
        settings={
            "num_threads": num_threads,
            "activations": activations,
            **common,
            "runs": runs,
            "min_seconds": min_seconds,
            "warmup": warmup,
            "interleaved": True,
            "inputs": "random",
            "settle_ms": settle,
        },
        runtime=runtime_version(),
        machine=machine_info(),
        created=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        peak_memory_bytes=peak_memory_bytes(),
        paths=tuple(_timing(r, reference) for r in runners),
    )


def _timing(runner: Runner, reference: Runner) -> PathTiming:
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
