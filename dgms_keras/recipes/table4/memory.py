"""Resident memory of a loaded network, and the time until it can run.

Each figure of memory is the growth of a fresh process in which a small network with the same kinds of layers has run before, so that
the runtime's code and threads are no part of it: from before the interpreter's construction to after the first invoke. Weights are
told from activations by running the network at the smallest size: feature maps all but vanish there, weights do not.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from dgms_keras.runtime.interleaved import PathSpec, round_order, start
from dgms_keras.runtime.machine import memory_bytes


def resident(spec: dict[str, Any], warm_up: str, num_threads: int, side: int | None) -> dict[str, int]:
    """Growth of this process over construction, allocate_tensors and a first invoke.

    Args:
        spec: the fields of the `PathSpec`.
        warm_up: the small network's file.
        num_threads: of the path.
        side: of the image; None for the file's own.

    Returns:
        Bytes: `resident`, and its parts `anonymous` (what the process alloted) and `mapped` (pages of the file, which the system
        may take back).
    """
    path = PathSpec(**spec)
    first = start(PathSpec("warm up", path.kind, warm_up, path.delegate_options), num_threads)
    gc.collect()
    before = memory_bytes()
    runner = start(path, num_threads, side=side)
    after = memory_bytes()
    # Both interpreters are alive here: nothing that the first one frees may be counted as less growth.
    assert first.interpreter is not None and runner.interpreter is not None
    return {name: after[name] - before[name] for name in after}


def init_times(specs: Sequence[dict[str, Any]], num_threads: int, rounds: int) -> list[dict[str, Any]]:
    """Milliseconds until a network can run, with a fresh interpreter each time, paths by turns.

    The runtime hands the graph to a delegate of the user's while it constructs the interpreter, and to XNNPACK in allocate_tensors;
    so both are timed together, too.

    Returns:
        For each path its name, and the medians `allocate_ms` (allocate_tensors alone), `init_ms` (with construction) and
        `ready_ms` (with the first invoke).
    """
    paths = [PathSpec(**spec) for spec in specs]
    found: list[list[tuple[float, float, float]]] = [[] for _ in paths]
    for number in range(rounds + 1):  # the first one finds files and libraries cold
        for i in round_order(len(paths), number):
            figures = _start_once(paths[i], num_threads)
            if number:
                found[i].append(figures)
    return [
        {"name": p.name, "allocate_ms": float(a), "init_ms": float(b), "ready_ms": float(c)}
        for p, (a, b, c) in zip(paths, (np.median(each, axis=0) for each in found), strict=True)
    ]


def _start_once(path: PathSpec, num_threads: int) -> tuple[float, float, float]:
    begin = time.perf_counter()
    interpreter = path.interpreter(num_threads)
    made = time.perf_counter()
    interpreter.allocate_tensors()
    allocated = time.perf_counter()
    interpreter.invoke()
    ready = time.perf_counter()
    del interpreter
    gc.collect()
    return (allocated - made) * 1e3, (allocated - begin) * 1e3, (ready - begin) * 1e3
