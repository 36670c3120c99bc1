"""What a benchmark found: figures of each path, their JSON (report/bench.schema.json says what every field means), a table."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dgms_keras._version import __version__

# Version of the JSON schema that `BenchmarkReport.to_json_dict` follows.
SCHEMA_VERSION = "2.0"

# Common drift above which the processor counts as slowed down by heat. Medians of thirds repeat within a few per cent on a machine
# at rest; a step down in frequency costs ten or more.
THROTTLE_DRIFT = 0.1
# Runs that a drift needs: three in each third, so that no single run decides a median.
MIN_DRIFT_RUNS = 9


def drift(runs_ms: Sequence[float]) -> float | None:
    """By how much a path became slower: median of the last third of its runs over that of the first third, less 1. None for
    fewer than `MIN_DRIFT_RUNS` runs."""
    if len(runs_ms) < MIN_DRIFT_RUNS:
        return None
    third = len(runs_ms) // 3
    return statistics.median(runs_ms[-third:]) / statistics.median(runs_ms[:third]) - 1


def common_drift(paths_ms: Sequence[Sequence[float]]) -> float | None:
    """The least drift of all paths: heat slows down all of them, what hits only one is another matter. None where one is None."""
    drifts = [d for d in map(drift, paths_ms) if d is not None]
    return min(drifts) if drifts and len(drifts) == len(paths_ms) else None


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """A file that was timed."""

    path: str
    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> ModelFile:
        """Size and sum of a file as it is now."""
        content = Path(path).read_bytes()
        return cls(os.fspath(path), len(content), hashlib.sha256(content).hexdigest())

    def to_json_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {"name": Path(self.path).stem, **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True)
class PathTiming:
    """One path's figures; times in milliseconds.

    Args:
        name: "delegate", "xnnpack" or "builtin"; with `dense:` before it for a dense twin of the model.
        init_ms: interpreter construction and allocate_tensors.
        first_ms: the first invoke.
        runs_ms: every timed invoke, in order.
        delegated_nodes: nodes of our delegate in the graph.
        max_abs_difference: largest difference of any output from the builtin path's on the model and the same inputs; NaN where
            outputs are not finite.
        starts_ms: when each of `runs_ms` began, from the beginning of the first timed round.
        top1_agreement: share of the inputs on which the largest output is in the same place as the builtin path's; None where the
            output holds one value.
        rss_growth_bytes: growth of the process's resident memory over construction and first invoke.
    """

    name: str
    init_ms: float
    first_ms: float
    runs_ms: tuple[float, ...]
    delegated_nodes: int
    max_abs_difference: float
    starts_ms: tuple[float, ...]
    top1_agreement: float | None
    rss_growth_bytes: int | None = None

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
            "starts_ms": list(self.starts_ms),
            "delegated_nodes": self.delegated_nodes,
            # JSON has no NaN and no infinity.
            "max_abs_difference": self.max_abs_difference if math.isfinite(self.max_abs_difference) else None,
            "top1_agreement": self.top1_agreement,
            "memory": {"rss_growth_bytes": self.rss_growth_bytes},
        }


@dataclasses.dataclass(frozen=True)
class BenchmarkReport:
    """The timings of one file on one machine.

    Args:
        model, dense: the files that were timed; `dense` is None without a dense twin.
        settings: what was asked for, as the schema names it.
        runtime: name and version of the TFLite runtime.
        machine: what it ran on, as the schema names it.
        created: when the timing ended, ISO 8601 in UTC.
        peak_memory_bytes: largest resident memory of the process so far; None where the system does not tell.
        paths: one for each way of running the network.
    """

    model: ModelFile
    dense: ModelFile | None
    settings: Mapping[str, Any]
    runtime: str
    machine: Mapping[str, Any]
    created: str
    peak_memory_bytes: int | None
    paths: tuple[PathTiming, ...]

    def __getitem__(self, name: str) -> PathTiming:
        for path in self.paths:
            if path.name == name:
                return path
        raise KeyError(f"the paths of this report are {', '.join(p.name for p in self.paths)}. Received: {name!r}")

    def ratio(self, name: str, peer: str) -> float:
        """Median time of `name` over that of `peer`: below 1, `name` is faster."""
        return self[name].median_ms / self[peer].median_ms

    @property
    def drift(self) -> float | None:
        """By how much every path became slower while it was timed (see `common_drift`)."""
        return common_drift([p.runs_ms for p in self.paths])

    @property
    def throttled(self) -> bool | None:
        """Whether heat seems to have slowed the processor down; None for too few runs to tell."""
        return None if self.drift is None else self.drift > THROTTLE_DRIFT

    def to_json_dict(self) -> dict[str, Any]:
        """The report as JSON types."""
        return {
            "schema": "dgms-bench",
            "schema_version": SCHEMA_VERSION,
            "created": self.created,
            "tool": {"name": "dgms", "version": __version__},
            "model": self.model.to_json_dict(),
            "dense": self.dense and self.dense.to_json_dict(),
            "machine": dict(self.machine),
            "runtime": self.runtime,
            "settings": dict(self.settings),
            "paths": [p.to_json_dict() for p in self.paths],
            "drift": self.drift,
            "throttled": self.throttled,
            "peak_memory_bytes": self.peak_memory_bytes,
        }

    def table(self) -> Any:
        """The report as a rich table, ratios relative to the first path."""
        from rich.table import Table

        threads, rounds = self.settings["num_threads"], len(self.paths[0].runs_ms)
        table = Table(title=f"{Path(self.model.path).name}, {threads} thread(s), {rounds} runs interleaved")
        if self.throttled:
            table.caption = (
                f"every path became at least {self.drift:.0%} slower on the way: the processor seems throttled"
            )
        table.add_column("path")
        for heading in ("init ms", "first ms", "median ms", "p90 ms", "ratio", "nodes", "max difference", "top-1 same"):
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
                "-" if p.top1_agreement is None else f"{p.top1_agreement:.0%}",
            )
        return table
