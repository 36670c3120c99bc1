"""Times of one network's paths, interleaved in one process; the delegate's own figures by operator."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from dgms_keras.runtime.benchmark_report import ModelFile, common_drift
from dgms_keras.runtime.interleaved import PathSpec, Runner, run_rounds, settle_ms, start
from dgms_keras.runtime.profile import profile_lines


def times(
    specs: Sequence[dict[str, Any]],
    num_threads: int,
    runs: int,
    min_seconds: float,
    warmup: int,
    clock: str,
    title: str,
) -> dict[str, Any]:
    """Times paths by turns.

    Args:
        specs: the fields of each `PathSpec`.
        num_threads: of every path.
        runs, min_seconds, warmup, clock: see `run_rounds`.
        title: for the progress line.

    Returns:
        `paths`, `drift` and `settle_ms` as report/table4.schema.json names them.
    """
    runners = [start(PathSpec(**spec), num_threads) for spec in specs]
    run_rounds(
        runners,
        warmup=warmup,
        runs=runs,
        min_seconds=min_seconds,
        settle=settle_ms(num_threads),
        clock=clock,
        progress=_Progress(title) if sys.stderr.isatty() else None,
    )
    return {
        "paths": [_figures(r, spec["model"]) for r, spec in zip(runners, specs, strict=True)],
        "drift": common_drift([r.runs_ms for r in runners]),
        "settle_ms": settle_ms(num_threads),
    }


def _figures(runner: Runner, model: str) -> dict[str, Any]:
    return {
        "name": runner.name,
        "file": dataclasses.asdict(ModelFile.of(model)),
        "init_ms": runner.init_ms,
        "first_ms": runner.first_ms,
        "median_ms": float(np.median(runner.runs_ms)),
        "min_ms": min(runner.runs_ms),
        "p10_ms": float(np.percentile(runner.runs_ms, 10)),
        "p90_ms": float(np.percentile(runner.runs_ms, 90)),
        "runs_ms": runner.runs_ms,
        "delegated_nodes": runner.interpreter.delegated_nodes(),
    }


class _Progress:
    """A line that writes over itself; the time says when a round takes long."""

    def __init__(self, title: str) -> None:
        self.title = title

    def __call__(self, done: int, total: int) -> None:
        text = f"{self.title}: round {done}/{total}" if done < total else ""
        print(f"\r{text:<70}", end="" if text else "\r", file=sys.stderr, flush=True)


def profile(spec: dict[str, Any], num_threads: int, runs: int) -> list[str]:
    """The lines of the delegate's table of operators."""
    path = PathSpec(**spec)
    return profile_lines(path.model, num_threads=num_threads, runs=runs, **path.delegate_options)
