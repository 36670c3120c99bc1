"""What `dgms bench --table4` found: checked against table4.schema.json, and shown on a terminal. table4_plots.py draws it."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from dgms_keras.report.bench_results import ResultError


@functools.cache
def schema() -> dict[str, Any]:
    """The JSON schema of results."""
    return json.loads(resources.files("dgms_keras.report").joinpath("table4.schema.json").read_text(encoding="utf-8"))


def check(data: Mapping[str, Any], where: str | os.PathLike[str]) -> None:
    """Holds a result against the schema.

    Raises:
        ResultError: it breaks the schema; the message names `where` and the place in it.
        ModuleNotFoundError: jsonschema is missing (`pip install "dgms-keras[report]"`).
    """
    try:
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import best_match
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'reading results needs jsonschema: `pip install "dgms-keras[report]"`. Received: {error}'
        ) from None
    error = best_match(Draft202012Validator(schema()).iter_errors(data))
    if error is not None:
        raise ResultError(f"{where}: {error.json_path}: {error.message[:200]}")


def read(file: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a file that `dgms bench --table4` wrote.

    Raises:
        ResultError: it cannot be read, or breaks the schema.
    """
    try:
        data = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultError(f"{file}: a result must be a JSON file. Received: {error}") from error
    check(data, file)
    return data


def tables(data: Mapping[str, Any]) -> list[Any]:
    """The result as rich tables: times, and memory and growth where they were measured."""
    found = [_times(data)]
    if any("memory" in n for n in data["networks"]):
        found.append(_memory(data))
    if data["growth"]:
        found.append(_growth(data))
    return found


def verdict(target: float | None, reached: bool | None) -> str:
    """ "0.48 missed" and the like; "" without a target."""
    return "" if target is None else f"{target:.2f} {'reached' if reached else 'missed'}"


def _table(title: str, caption: str, columns: Sequence[str], right: Sequence[str]) -> Any:
    from rich.table import Table

    table = Table(title=title, caption=caption)
    for heading in columns:
        table.add_column(heading, justify="right" if heading in right else "left")
    return table


def _times(data: Mapping[str, Any]) -> Any:
    machine = data["machine"]
    caption = "ratio: median over median, interleaved runs of one process; below 1, ours is faster"
    if data["avx2"] and not data["avx2"]["confined"]:
        caption += (
            "\navx2: only ours is held to AVX2, XNNPACK runs at its best, since it has no switch and processes cannot be confined"
            f" here: {data['avx2']['why_not']}"
        )
    elif data["avx2"]:
        caption += "\navx2: ours and XNNPACK in processes whose CPUID shows nothing above AVX2"
    table = _table(
        f"{machine['name']}, {machine['processor']}, {machine['kernel_set']}; {data['runtime']}",
        caption,
        ("network", "threads", "isa", "ours / peer", "ours ms", "peer ms", "ratio", "target"),
        ("threads", "ours ms", "peer ms", "ratio"),
    )
    for network in data["networks"]:
        for timing in network["timings"]:
            medians = {p["name"]: p["median_ms"] for p in timing["paths"]}
            lead = [network["name"], str(timing["threads"]), timing["isa"]]
            for ratio in timing["ratios"]:
                figures = [f"{medians[ratio[side]]:.2f}" for side in ("ours", "peer")]
                aimed = verdict(ratio["target"], ratio["reached"])
                table.add_row(*lead, ratio["label"], *figures, f"{ratio['ratio']:.2f}", aimed)
                lead = [""] * 3
            table.add_section()
    return table


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f}"


def _memory(data: Mapping[str, Any]) -> Any:
    table = _table(
        "memory and start, float activations, 1 thread",
        "resident: growth of a fresh process's resident memory in MB until after the first invoke (in brackets what of it is no page "
        "of the file); weights: the same with the smallest image; start: construction and allocate_tensors",
        ("network", "who", "resident", "weights", "ratio", "target", "start ms", "start ratio", "start target"),
        ("resident", "weights", "ratio", "start ms", "start ratio"),
    )
    for network in (n for n in data["networks"] if "memory" in n):
        memory = network["memory"]
        for i, (who, sizes) in enumerate(memory["resident_bytes"].items()):
            cells = [
                f"{_megabytes(sizes[s]['resident'])} ({_megabytes(sizes[s]['anonymous'])})"
                for s in ("full", "smallest")
            ]
            ratio = [f"{memory['ratio']:.3f}", verdict(memory["target"], memory["reached"])] if i == 0 else ["", ""]
            init = [f"{memory['init_ratio']:.2f}", verdict(memory["init_target"], memory["init_reached"])]
            table.add_row(
                network["name"] if i == 0 else "",
                who,
                *cells,
                *ratio,
                f"{memory['init'][i]['init_ms']:.1f}",
                *(init if i == 0 else ["", ""]),
            )
        table.add_section()
    return table


def _growth(data: Mapping[str, Any]) -> Any:
    table = _table(
        "growth: time ~ multiply-adds^a",
        "a, and the fit's standard error; linear or better: a less twice the error is at most 1",
        ("network", "threads", "path", "over", "a", "linear or better"),
        ("threads", "a"),
    )
    for row in data["growth"]:
        fit = f"{row['exponent']:.2f} ± {row['standard_error']:.2f}"
        passed = "yes" if row["reached"] else "no"
        table.add_row(row["network"], str(row["threads"]), row["path"], row["over"], fit, passed)
    return table
