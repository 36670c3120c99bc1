"""Several ways to run networks, timed by turns in one process.

Each round runs every path once, so heat, frequency and neighbours hit all of them alike; what counts is the ratio of medians.
"""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dgms_keras.runtime.machine import resident_bytes

KINDS = ("delegate", "xnnpack", "builtin")
# What a run is timed with. "cpu" is the time that the process has computed: on a machine with other work it leaves out that work's
# time slices, and with several threads it adds them all up.
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}

# One value for each input or output of the network.
Tensors = list[np.ndarray]


@dataclasses.dataclass(frozen=True)
class PathSpec:
    """A way to run a network.

    Args:
        name: of the path in results.
        kind: "delegate" (our delegate, then XNNPACK for the rest), "xnnpack" (TFLite's default) or "builtin" (TFLite's own
            kernels, XNNPACK off).
        model: the `.tflite` file.
        delegate_options: for `load_delegate`; only with the kind "delegate".
    """

    name: str
    kind: str
    model: str
    delegate_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def interpreter(self, num_threads: int) -> Any:
        """The path's interpreter before allocate_tensors."""
        from dgms_keras.litert import OpResolverType
        from dgms_keras.runtime.interpreter import Interpreter

        resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if self.kind == "builtin" else OpResolverType.AUTO
        return Interpreter(
            self.model,
            num_threads=num_threads,
            delegate=self.kind == "delegate",
            delegate_options=dict(self.delegate_options) or None,
            experimental_op_resolver_type=resolver,
        )


@dataclasses.dataclass
class Runner:
    """One interpreter with its inputs set."""

    name: str
    interpreter: Any
    init_ms: float
    first_ms: float = 0.0
    rss_growth_bytes: int | None = None
    outputs: list[Tensors] = dataclasses.field(default_factory=list)  # of every input
    runs_ms: list[float] = dataclasses.field(default_factory=list)
    starts_ms: list[float] = dataclasses.field(default_factory=list)

    def invoke(self, clock: Callable[[], float] = time.perf_counter) -> float:
        start = clock()
        self.interpreter.invoke()
        return (clock() - start) * 1e3

    def set_inputs(self, values: Tensors) -> None:
        for detail, value in zip(self.interpreter.get_input_details(), values, strict=True):
            self.interpreter.set_tensor(detail["index"], value)

    def keep_outputs(self) -> None:
        details = self.interpreter.get_output_details()
        self.outputs.append([self.interpreter.get_tensor(d["index"]) for d in details])


def start(
    spec: PathSpec,
    num_threads: int,
    *,
    batch: int = 1,
    side: int | None = None,
    agreement_inputs: int = 1,
    seed: int = 0,
) -> Runner:
    """Opens a path, times that and the first run, and gets its outputs for all inputs.

    Args:
        spec: the path.
        num_threads: of the delegate and the runtime.
        batch: batch size that a dynamic batch dimension is resized to; with `side`, any batch dimension.
        side: height and width that the input image is resized to; None leaves it as it is.
        agreement_inputs: on how many inputs outputs are kept; the first of them is timed.
        seed: of the inputs.
    """
    resident, begin = resident_bytes(), time.perf_counter()
    interpreter = spec.interpreter(num_threads)
    for detail in interpreter.get_input_details():
        shape = [int(s) if s > 0 else batch for s in detail["shape_signature"]]
        if side is not None:
            shape = [batch, side, side, *shape[3:]]
        if list(detail["shape"]) != shape:
            interpreter.resize_tensor_input(detail["index"], shape)
    interpreter.allocate_tensors()
    runner = Runner(spec.name, interpreter, (time.perf_counter() - begin) * 1e3)
    generator = np.random.default_rng(seed)
    details = interpreter.get_input_details()
    timed, *others = [
        [random_input(generator, d["shape"], d["dtype"]) for d in details] for _ in range(agreement_inputs)
    ]
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


def run_rounds(
    runners: Sequence[Runner],
    *,
    warmup: int,
    runs: int,
    min_seconds: float = 0.0,
    settle: float = 0.0,
    clock: str = "wall",
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """The rounds: those of the warm-up, then the timed ones, whose times the runners keep.

    Args:
        runners: the paths.
        warmup: rounds before the timed ones.
        runs: timed rounds; each runs every path once.
        min_seconds: the timed rounds go on for at least so long.
        settle: milliseconds between two runs, see `settle_ms`.
        clock: one of `CLOCKS`.
        progress: called with (rounds done, rounds in all as far as known).
    """
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
                at = time.perf_counter()
                elapsed = runner.invoke(CLOCKS[clock])
                if done >= warmup:
                    runner.starts_ms.append((at - begin) * 1e3)
                    runner.runs_ms.append(elapsed)
            done += 1
            if progress is not None:
                progress(done, max(done, warmup + runs))
    finally:
        if collecting:
            gc.enable()


# By the number of paths: the rounds of a cycle where the general rule below would let a path follow itself.
_SMALL_CYCLES = {
    1: ((0,),),
    2: ((0, 1),),
    3: ((0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1), (2, 1, 0), (1, 0, 2)),
}


def round_order(paths: int, number: int) -> tuple[int, ...]:
    """The order in which a round runs its paths: their positions, the first to run first.

    What ran just before decides what a path finds in the caches, so within the rounds of a cycle (as many as there are paths, or
    twice as many for an odd number) every path follows every other one equally often and comes at every place equally often:
    Williams's Latin squares (Australian Journal of Scientific Research A 2, 1949). No path follows itself, from one round to the
    next either; these steps favour some predecessors of each where there are more than three.

    Args:
        paths: how many there are, >= 1.
        number: of the round, from 0, warm-up rounds included.
    """
    if paths in _SMALL_CYCLES:
        cycle = _SMALL_CYCLES[paths]
        return cycle[number % len(cycle)]
    # 0, 1, n - 1, 2, n - 2, ...: neighbours differ by every amount once. An odd number needs the mirrored rounds, too.
    first = [0] + [(i + 1) // 2 if i % 2 else paths - i // 2 for i in range(1, paths)]
    row = number % (paths if paths % 2 == 0 else 2 * paths)
    if row >= paths:
        first.reverse()
    return tuple((p + row) % paths for p in first)


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
