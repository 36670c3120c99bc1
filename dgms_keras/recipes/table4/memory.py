"""Resident memory of a loaded network, and the time until it can run.

Each figure comes from a fresh process in which a small network with the same kinds of layers has run before, so that the runtime's
code and threads are no part of it. Memory is the process's growth from before the interpreter's construction to after the first
invoke. Weights are told from activations by running the network at the smallest size: feature maps all but vanish there, weights
do not.
"""

from __future__ import annotations

import gc
import time
from typing import Any

from dgms_keras.runtime.interleaved import PathSpec, start
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


def init_times(spec: dict[str, Any], warm_up: str, num_threads: int) -> dict[str, float]:
    """Milliseconds until a network can run for the first time in this process, as in an application that has just loaded it.

    The runtime hands the graph to a delegate of the user's while it constructs the interpreter, and to XNNPACK in allocate_tensors;
    so both are timed together, too. In a process that had and freed such a network before, the system need not provide
    memory anew, which takes a third of either's time.

    Args:
        spec: the fields of the `PathSpec`.
        warm_up: the small network's file.
        num_threads: of the path.

    Returns:
        `allocate_ms` (allocate_tensors alone), `init_ms` (with construction) and `ready_ms` (with the first invoke).
    """
    path = PathSpec(**spec)
    first = start(PathSpec("warm up", path.kind, warm_up, path.delegate_options), num_threads)
    gc.collect()
    begin = time.perf_counter()
    interpreter = path.interpreter(num_threads)
    made = time.perf_counter()
    interpreter.allocate_tensors()
    allocated = time.perf_counter()
    interpreter.invoke()
    ready = time.perf_counter()
    assert first.interpreter is not None  # alive until here: its memory is not used again
    return {
        "allocate_ms": (allocated - made) * 1e3,
        "init_ms": (allocated - begin) * 1e3,
        "ready_ms": (ready - begin) * 1e3,
    }
