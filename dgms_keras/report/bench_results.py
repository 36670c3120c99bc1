"""Results of benchmarks, from desktops and phones: read, checked against bench.schema.json, shown side by side on a terminal.

bench_plots.py draws the same as a picture.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from dgms_keras.runtime.benchmark_report import SCHEMA_VERSION

# What times are compared with: the first of these that was timed. The dense twin is what an application would run otherwise.
PEERS = ("dense:xnnpack", "xnnpack", "builtin", "delegate")
# Bars of larger ratios are cut off: without the delegate, a runtime decodes the weights anew in every run, which may take a
# hundred times as long and would squeeze the bars that matter.
LONGEST_BAR = 3.0


class ResultError(ValueError):
    """A file that holds no result of this version; the message names the file, and the place in it where there is one."""


@dataclasses.dataclass(frozen=True)
class BenchResult:
    """One file of results.

    Args:
        file: where it came from.
        data: its content, valid by the schema.
    """

    file: Path
    data: dict[str, Any]

    @property
    def machine(self) -> str:
        """A phone's model, a desktop's host name."""
        return self.data["machine"]["name"]

    @property
    def model(self) -> str:
        """The model's name."""
        return self.data["model"]["name"]

    @property
    def num_threads(self) -> int:
        """Threads of every path."""
        return self.data["settings"]["num_threads"]

    @property
    def title(self) -> str:
        """Machine, model and threads; activations where they are not the file's own."""
        dynamic = self.data["settings"].get("activations") == "dynamic_int8"
        threads = f"{self.num_threads} thread{'s' if self.num_threads > 1 else ''}"
        return f"{self.machine}: {self.model}, {threads}{', dynamic int8' if dynamic else ''}"

    @property
    def timed(self) -> list[dict[str, Any]]:
        """The paths that ran to their end, in the file's order."""
        return [p for p in self.data["paths"] if "error" not in p]

    @property
    def peer(self) -> dict[str, Any] | None:
        """The path that the others are compared with; None where every path failed."""
        by_name = {p["name"]: p for p in self.timed}
        return next((by_name[name] for name in PEERS if name in by_name), None)

    def ratio(self, path: dict[str, Any]) -> float:
        """Median time of a path over the peer's: below 1 it is faster."""
        peer = self.peer
        assert peer is not None  # `path` was timed, so there is one
        return path["median_ms"] / peer["median_ms"] if peer["median_ms"] > 0 else math.nan

    @property
    def heat(self) -> str:
        """What a reader must know about heat, "" if nothing."""
        if not self.data["throttled"]:
            return ""
        drift, thermal = self.data["drift"], self.data.get("thermal") or {}
        reasons = [] if drift is None else [f"drift {100 * drift:+.0f} %"]
        if thermal.get("after"):
            reasons.append(f"thermal status {thermal['before']} to {thermal['after']}")
        return f"throttled ({', '.join(reasons)})"


@functools.cache
def schema(strict: bool = True) -> dict[str, Any]:
    """The JSON schema of results.

    Args:
        strict: unknown properties are errors, as for writers. Not strict: they are let through, as readers must with files of a
            newer minor version.
    """
    text = resources.files("dgms_keras.report").joinpath("bench.schema.json").read_text(encoding="utf-8")
    whole = json.loads(text)
    return whole if strict else _open(copy.deepcopy(whole))


def _open(node: Any) -> Any:
    """The schema without its `additionalProperties: false`."""
    if isinstance(node, dict):
        if node.get("additionalProperties") is False:
            del node["additionalProperties"]
        for value in node.values():
            _open(value)
    elif isinstance(node, list):
        for value in node:
            _open(value)
    return node


def read_results(files: Iterable[str | os.PathLike[str]]) -> tuple[list[BenchResult], list[ResultError]]:
    """Reads every file: what could be read, in the given order, and an error for each of the others."""
    results, errors = [], []
    for file in files:
        try:
            results.append(read_result(file))
        except ResultError as error:
            errors.append(error)
    return results, errors


def read_result(file: str | os.PathLike[str]) -> BenchResult:
    """Reads a file that `dgms bench --json` or the Android app wrote.

    Raises:
        ResultError: it cannot be read, is no such file, has another major version, or breaks the schema.
        ModuleNotFoundError: jsonschema is missing (`pip install "dgms-keras[report]"`).
    """
    file = Path(file)
    try:
        data = json.loads(file.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise ResultError(f"{file}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ResultError(f"{file}: a result must be a JSON file. Received: {error}") from error
    if not isinstance(data, dict) or data.get("schema") != "dgms-bench":
        received = repr(data.get("schema")) if isinstance(data, dict) else f"a JSON {type(data).__name__}"
        raise ResultError(f"{file}: $.schema must be 'dgms-bench'. Received: {received}")
    _check_content(file, data, _is_newer_minor(file, data.get("schema_version")))
    return BenchResult(file, data)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name}, which JSON does not have")


def _is_newer_minor(file: Path, version: Any) -> bool:
    ours = [int(part) for part in SCHEMA_VERSION.split(".")]
    try:
        major, minor = (int(part) for part in version.split("."))
    except (AttributeError, ValueError):
        raise ResultError(f"{file}: $.schema_version must be text like '2.0'. Received: {version!r}") from None
    if major != ours[0]:
        advice = "a newer dgms_keras reads it" if major > ours[0] else "an earlier version wrote it: time again"
        raise ResultError(
            f"{file}: $.schema_version must be {ours[0]}.x, which this version reads. Received: '{version}' ({advice})"
        )
    return minor > ours[1]


def _check_content(file: Path, data: dict[str, Any], newer: bool) -> None:
    try:
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import best_match
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'reading results needs jsonschema: `pip install "dgms-keras[report]"`. Received: {error}'
        ) from None
    error = best_match(Draft202012Validator(schema(strict=not newer)).iter_errors(data))
    if error is not None:
        # A property that the schema sets to false: a figure of a path that failed.
        text = "a path that failed must have no times beside its `error`" if error.validator is None else error.message
        raise ResultError(f"{file}: {error.json_path}: {text if len(text) <= 200 else text[:197] + '...'}")
    repeated = [name for name, n in Counter(p["name"] for p in data["paths"]).items() if n > 1]
    if repeated:
        raise ResultError(f"{file}: $.paths must name every path once. Received: {repeated[0]!r} more than once")
    for i, path in enumerate(data["paths"]):
        runs, starts = len(path.get("runs_ms", ())), len(path.get("starts_ms", ()))
        if runs != starts:
            raise ResultError(
                f"{file}: $.paths[{i}].starts_ms must have as many entries as runs_ms, {runs}. Received: {starts}"
            )


def titles(results: Sequence[BenchResult]) -> list[str]:
    """A title for each result; where two are equal, with the runtime, and the file where that is equal, too."""
    plain = [r.title for r in results]
    runtimes = [f"{t}, {r.data['runtime']}" for t, r in zip(plain, results, strict=True)]
    files = [f"{t} ({r.file})" for t, r in zip(plain, results, strict=True)]
    return [
        title if plain.count(title) == 1 else longer if runtimes.count(longer) == 1 else file
        for title, longer, file in zip(plain, runtimes, files, strict=True)
    ]


def results_table(results: Sequence[BenchResult]) -> Any:
    """All results as one rich table, a section for each."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title="benchmarks side by side",
        caption=f"ratio: median over that of the path marked with 1 (the first of {', '.join(PEERS[:3])} that was timed);"
        " below 1 is faster",
    )
    for heading in ("machine", "runtime", "model"):
        table.add_column(heading)
    table.add_column("threads", justify="right")
    table.add_column("path")
    for heading in ("median ms", "p90 ms", "ratio"):
        table.add_column(heading, justify="right")
    table.add_column("note")
    for result in results:
        peer = result.peer
        for i, path in enumerate(result.data["paths"]):
            who = (
                (result.machine, result.data["runtime"], result.model, str(result.num_threads)) if i == 0 else [""] * 4
            )
            notes = ["throttled"] if i == 0 and result.heat else []  # the bars below say how and why
            if "error" in path:
                figures = ("-", "-", "-")
                notes.append("failed")
            else:
                ratio = "1" if path is peer else f"{result.ratio(path):.2f}"
                figures = (f"{path['median_ms']:.3f}", f"{path['p90_ms']:.3f}", ratio)
            cells = [*who, path["name"], *figures, ", ".join(notes)]
            table.add_row(*map(escape, cells))
        table.add_section()
    return table


def longest_bar(results: Sequence[BenchResult]) -> float:
    """The largest ratio that is drawn in full: 1 to `LONGEST_BAR`."""
    return max([1.0, *(x for r in results for x in map(r.ratio, r.timed) if x <= LONGEST_BAR)])


def results_bars(results: Sequence[BenchResult], width: int = 40) -> Iterator[str]:
    """The ratios as bars of text, one line for each path; `width` characters for the longest, an arrow for what is longer."""
    longest = longest_bar(results)
    for title, result in zip(titles(results), results, strict=True):
        yield f"{title}: {result.heat}" if result.heat else title
        for path in result.data["paths"]:
            if "error" in path:
                yield f"  {path['name']:<14}failed: {path['error']}"
                continue
            ratio = result.ratio(path)
            bar = "" if math.isnan(ratio) else _bar(ratio / longest * width) if ratio <= longest else "█" * width + "→"
            yield f"  {path['name']:<14}{bar} {ratio:.2f}  ({path['median_ms']:.3f} ms)"


def _bar(length: float) -> str:
    """A bar so many characters long, to an eighth of a character."""
    eighths = max(1, round(8 * length))
    return "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]
