"""All networks, one after another, each measurement in a process of its own; the result as report/table4.schema.json describes it."""

from __future__ import annotations

import dataclasses
import datetime
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dgms_keras._version import __version__
from dgms_keras.recipes.table4 import child, files, growth
from dgms_keras.recipes.table4.mask import CannotMask, make_mask
from dgms_keras.recipes.table4.paths import (
    INIT_TARGET,
    MEMORY_TARGET,
    delegate_paths,
    dense_paths,
    ratios,
)
from dgms_keras.runtime.interleaved import PathSpec, round_order
from dgms_keras.runtime.machine import machine_info

SCHEMA_VERSION = "1.0"
ISAS = ("auto", "avx2")
GROWTH_NETWORKS = ("resnet18", "mobilenet_v2")
GROWTH_BATCHES = (1, 2, 4, 8)
GROWTH_RUNS = 15
# Growth over batches is measured on smaller images: eight large ones would take seconds in each run.
GROWTH_BATCH_SIDE = 128
# Of starts, each in a fresh process: the median counts.
INIT_REPEATS = 9
# Between two figures of memory of equal processes lie some hundred kilobytes: the least of several is what is needed.
MEMORY_REPEATS = 3


@dataclasses.dataclass(frozen=True)
class Table4Settings:
    """What is measured.

    Args:
        networks: names of `NETWORKS`.
        bits: widths of the shared weights.
        threads: numbers of threads, each timed by itself.
        runs: timed rounds at least.
        min_seconds: rounds go on for at least so long, so that fast networks run more often.
        warmup: rounds before.
        builtin_runs: rounds of TFLite's own kernels, which are slow; 0 leaves them out.
        isas: "auto", and "avx2" for a second table in processes confined to AVX2.
        memory: resident memory and time until a network can run.
        growth: time against multiply-adds.
        profile: the delegate's table of operators for every network and each of our paths.
        clock: "wall", or "cpu" for one thread on a machine that does other work, too (see `CLOCKS`).
        folder: where the networks' files are kept.
    """

    networks: Sequence[str]
    bits: Sequence[int] = (4,)
    threads: Sequence[int] = (1, 2)
    runs: int = 30
    min_seconds: float = 5.0
    warmup: int = 3
    builtin_runs: int = 5
    isas: Sequence[str] = ("auto",)
    memory: bool = False
    growth: bool = False
    profile: bool = False
    clock: str = "wall"
    folder: Path = Path("build/networks")


def run_table4(
    settings: Table4Settings,
    say: Callable[[str], None] = print,
    keep: Callable[[dict[str, Any]], None] = lambda data: None,
) -> dict[str, Any]:
    """Makes the files that are missing, and measures.

    Args:
        settings: what.
        say: told about each step.
        keep: given the result so far after each network, so that many minutes' figures outlive an interruption.

    Returns:
        JSON types (report/table4.schema.json).

    Raises:
        MeasurementError: a process failed. RuntimeError: the files could not be made.
    """
    _make_files(settings, say)
    mask, why_not = None, ""
    if "avx2" in settings.isas:
        try:
            mask = make_mask(settings.folder)
        except CannotMask as error:
            why_not = str(error)
            say(f"processes cannot be confined to AVX2 here ({why_not}): only ours is, XNNPACK runs at its best")
    data: dict[str, Any] = {
        "schema": "dgms-table4",
        "schema_version": SCHEMA_VERSION,
        "created": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "tool": {"name": "dgms", "version": __version__},
        "machine": machine_info(),
        "runtime": _runtime(),
        "settings": {
            name: list(value) if isinstance(value, (list, tuple)) else value
            for name, value in dataclasses.asdict(settings).items()
            if name != "folder"
        },
        "avx2": {"confined": mask is not None, "why_not": why_not} if "avx2" in settings.isas else None,
        "networks": [],
        "growth": [],
    }
    for name in settings.networks:
        data["networks"].append(_network(name, settings, mask, say))
        keep(data)
    if settings.growth:
        for name in _growth_networks(settings):
            data["growth"] += _growth(name, settings, say)
            keep(data)
    return data


def _runtime() -> str:
    from dgms_keras.litert import runtime_version

    return runtime_version()


def _make_files(settings: Table4Settings, say: Callable[[str], None]) -> None:
    """In processes that load TensorFlow, one for each network: this one must stay small and quick."""
    wanted = list(settings.networks) + ([files.WARMUP] if settings.memory else [])
    if settings.growth:
        wanted += [n for n in _growth_networks(settings) if n not in wanted]
    for name in (n for n in wanted if files.missing(n, settings.bits, settings.folder)):
        say(f"{name}: making its files in {settings.folder}/ (once; a minute or two)")
        command = [sys.executable, "-m", "dgms_keras.recipes.table4.files", "--networks", name]
        command += ["--bits", *map(str, settings.bits), "--folder", str(settings.folder)]
        done = subprocess.run(command, env=child.environment(), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"the files of {name} could not be made: {done.stderr.strip()[-1000:]}")


def _network(name: str, settings: Table4Settings, mask: Path | None, say: Callable[[str], None]) -> dict[str, Any]:
    made = files.paths(name, settings.bits, settings.folder)
    facts = files.facts(name, settings.folder)
    timings = [
        _timing(name, made, threads, isa, settings, mask, say)
        for isa in sorted(settings.isas, key=ISAS.index)
        for threads in settings.threads
    ]
    result = {"name": name, **{k: facts[k] for k in ("side", "parameters", "macs")}, "timings": timings}
    if settings.memory:
        say(f"{name}: memory")
        result["memory"] = _memory(name, made, settings)
    if settings.profile:
        specs = delegate_paths(made, settings.bits)
        result["profiles"] = [
            {
                "path": s.name,
                "lines": child.run("profile", {"spec": _fields(s), "num_threads": 1, "runs": settings.runs}),
            }
            for s in specs
        ]
    return result


def _timing(
    name: str,
    made: dict[str, Path],
    threads: int,
    isa: str,
    settings: Table4Settings,
    mask: Path | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    title = f"{name}, {threads} thread{'s' if threads > 1 else ''}{', AVX2' if isa == 'avx2' else ''}"
    confined = isa == "avx2" and mask is not None
    ours = delegate_paths(made, settings.bits)
    if isa == "avx2" and not confined:
        ours = [dataclasses.replace(s, delegate_options={**s.delegate_options, "isa": "avx2"}) for s in ours]
    common = {"num_threads": threads, "title": title, "clock": settings.clock}

    def run(specs: Sequence[PathSpec], **rounds: Any) -> dict[str, Any]:
        job = {"specs": [_fields(s) for s in specs], **common, **rounds}
        return child.run("times", job, mask=mask if confined else None)

    found = run(
        [*ours, *dense_paths(made, "xnnpack")],
        runs=settings.runs,
        min_seconds=settings.min_seconds,
        warmup=settings.warmup,
    )
    if settings.builtin_runs and isa == "auto":
        slow = run(dense_paths(made, "builtin"), runs=settings.builtin_runs, min_seconds=0.0, warmup=1)
        found["paths"] += slow["paths"]
    medians = {p["name"]: p["median_ms"] for p in found["paths"]}
    # Without the mask XNNPACK is at its best, and no target was set for that.
    judged = isa if isa == "auto" or confined else "unconfined"
    rows = ratios(name, judged, medians, settings.bits)
    say(f"{title}: " + ", ".join(f"{r['label']} {r['ratio']:.2f}" for r in rows if r["kind"] == "xnnpack"))
    return {"threads": threads, "isa": isa, **found, "ratios": rows}


def _memory(name: str, made: dict[str, Path], settings: Table4Settings) -> dict[str, Any]:
    """Ours and XNNPACK's, both on float activations; each figure is the least of several fresh processes."""
    bits = settings.bits[0]
    specs = {"ours": delegate_paths(made, [bits])[0], "xnnpack": dense_paths(made, "xnnpack")[0]}
    warm_ups = {"ours": f"{files.WARMUP}_w{bits}.tflite", "xnnpack": f"{files.WARMUP}_float.tflite"}
    resident: dict[str, dict[str, dict[str, int]]] = {}
    for who, spec in specs.items():
        small, side = files.at_smallest_side(spec.model, name)
        sizes = {"full": (spec, None), "smallest": (dataclasses.replace(spec, model=small), side)}
        job = {"warm_up": str(settings.folder / warm_ups[who]), "num_threads": 1}
        resident[who] = {
            size: _least(
                [child.run("resident", {"spec": _fields(s), "side": at, **job}) for _ in range(MEMORY_REPEATS)]
            )
            for size, (s, at) in sizes.items()
        }
    ratio = resident["ours"]["smallest"]["resident"] / resident["xnnpack"]["smallest"]["resident"]
    init = _init(specs, {who: str(settings.folder / file) for who, file in warm_ups.items()})
    init_ratio = init[0]["init_ms"] / init[1]["init_ms"]
    return {
        "bits": bits,
        "resident_bytes": resident,
        "ratio": ratio,
        "target": MEMORY_TARGET,
        "reached": ratio <= MEMORY_TARGET,
        "init": init,
        "init_ratio": init_ratio,
        "init_target": INIT_TARGET,
        "init_reached": init_ratio <= INIT_TARGET,
    }


def _init(specs: dict[str, PathSpec], warm_ups: dict[str, str]) -> list[dict[str, Any]]:
    """Medians of starts, paths by turns."""
    found: dict[str, list[dict[str, float]]] = {who: [] for who in specs}
    for number in range(INIT_REPEATS):
        for i in round_order(len(specs), number):
            who = list(specs)[i]
            job = {"spec": _fields(specs[who]), "warm_up": warm_ups[who], "num_threads": 1}
            found[who].append(child.run("init", job))
    return [
        {"name": specs[who].name, **{key: statistics.median(each[key] for each in times) for key in times[0]}}
        for who, times in found.items()
    ]


def _least(found: Sequence[dict[str, int]]) -> dict[str, int]:
    return min(found, key=lambda each: each["resident"])


def _growth(name: str, settings: Table4Settings, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Exponents of time ~ multiply-adds^a: over the image's side with one image, and over the batch."""
    made, facts = files.paths(name, settings.bits, settings.folder), files.facts(name, settings.folder)
    specs = [*delegate_paths(made, settings.bits[:1]), *dense_paths(made, "xnnpack")[:2]]
    sizes = [(side, 1) for side in files.SIDES] + [(GROWTH_BATCH_SIDE, b) for b in GROWTH_BATCHES[1:]]
    rows = []
    for threads in settings.threads:
        title = f"{name}, growth, {threads} thread{'s' if threads > 1 else ''}"
        job = {"specs": [_fields(s) for s in specs], "num_threads": threads, "sizes": sizes, "clock": settings.clock}
        points = child.run("growth", {**job, "runs": min(settings.runs, GROWTH_RUNS), "title": title})
        for point in points:
            point["macs"] = facts["macs_at"][str(point["side"])] * point["batch"]
        fits = [f for s in specs for f in _fits(name, threads, [p for p in points if p["path"] == s.name])]
        say(f"{title}: " + ", ".join(f"{r['path']} over {r['over']} {r['exponent']:.2f}" for r in fits))
        rows += fits
    return rows


def _growth_networks(settings: Table4Settings) -> list[str]:
    return [n for n in GROWTH_NETWORKS if n in settings.networks] or list(GROWTH_NETWORKS)


def _fits(name: str, threads: int, points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for over, chosen in (
        ("side", [p for p in points if p["batch"] == 1]),
        ("batch", [p for p in points if p["side"] == GROWTH_BATCH_SIDE]),
    ):
        a, error = growth.exponent([p["macs"] for p in chosen], [p["median_ms"] for p in chosen])
        rows.append(
            {
                "network": name,
                "path": chosen[0]["path"],
                "threads": threads,
                "over": over,
                "exponent": a,
                "standard_error": error,
                # 1 is a time in proportion to the work; above it counts what exceeds twice the fit's own error.
                "reached": a - 2 * error <= 1.0,
                "points": [{k: p[k] for k in ("side", "batch", "macs", "median_ms", "min_ms")} for p in chosen],
            }
        )
    return rows


def _fields(spec: PathSpec) -> dict[str, Any]:
    return dataclasses.asdict(spec)
