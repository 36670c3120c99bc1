"""Time against multiply-adds: images of several sizes, several images at once, one and two threads."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from dgms_keras.runtime.interleaved import PathSpec, run_rounds, settle_ms, start


def times(
    specs: Sequence[dict[str, Any]],
    num_threads: int,
    sizes: Sequence[Sequence[int]],
    runs: int,
    clock: str,
    title: str,
) -> list[dict[str, Any]]:
    """Times each path at each size; one path's sizes by turns.

    Args:
        specs: the fields of each `PathSpec`.
        num_threads: of every path.
        sizes: (side, batch) of each.
        runs, clock: see `run_rounds`.
        title: for the progress line.

    Returns:
        For each path and size: `path`, `side`, `batch`, `median_ms`, `min_ms`.
    """
    rows = []
    for path in (PathSpec(**spec) for spec in specs):
        if sys.stderr.isatty():
            print(f"{title}: {path.name}", file=sys.stderr, flush=True)
        runners = [start(path, num_threads, side=side, batch=batch) for side, batch in sizes]
        run_rounds(runners, warmup=1, runs=runs, settle=settle_ms(num_threads), clock=clock)
        rows += [
            {
                "path": path.name,
                "side": side,
                "batch": batch,
                "median_ms": float(np.median(r.runs_ms)),
                "min_ms": min(r.runs_ms),
            }
            for (side, batch), r in zip(sizes, runners, strict=True)
        ]
    return rows


def exponent(macs: Sequence[float], times_ms: Sequence[float]) -> tuple[float, float]:
    """The least-squares fit of time ~ macs^a, on logarithms.

    Args:
        macs: multiply-adds, at least three different values.
        times_ms: the times.

    Returns:
        a, and its standard error: how far a is known, from the points' distance from the line.
    """
    x, y = np.log(np.asarray(macs, float)), np.log(np.asarray(times_ms, float))
    if len(set(macs)) < 3:
        raise ValueError(f"a fit takes at least three different sizes. Received: {len(set(macs))}")
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    residuals = y - y.mean() - slope * centred
    return slope, math.sqrt(float(residuals @ residuals) / (len(x) - 2) / float(centred @ centred))
