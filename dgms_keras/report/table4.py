"""What `dgms bench --table4` found: checked against table4.schema.json, and shown on a terminal. table4_plots.py draws it.

python -m dgms_keras.report.table4 build/table4/table4.json [--markdown]
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
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
    if data["settings"]["clock"] == "cpu":
        caption += "; timed with the process's own CPU time"
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
        "of the file); weights: the same with the smallest image; start: construction and allocate_tensors in a fresh process (in brackets "
        "allocate_tensors alone)",
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
                f"{memory['init'][i]['init_ms']:.1f} ({memory['init'][i]['allocate_ms']:.1f})",
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


def markdown(data: Mapping[str, Any]) -> Iterator[str]:
    """The times, and memory where it was measured, as lines of Markdown tables."""
    for isa in data["settings"]["isas"]:
        yield from _markdown_times(data, isa)
        yield ""
    if any("memory" in n for n in data["networks"]):
        yield from _markdown_memory(data)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_times(data: Mapping[str, Any], isa: str) -> Iterator[str]:
    """A row for each network and number of threads, a column for each comparison: milliseconds, ratio, target."""
    timings = [(n, t) for n in data["networks"] for t in n["timings"] if t["isa"] == isa]
    labels = [r["label"] for r in timings[0][1]["ratios"] if r["kind"] != "builtin"]
    yield _row(["network" if isa == "auto" else f"network, {isa}", "threads", *labels])
    yield _row(["---"] * (2 + len(labels)))
    for network, timing in timings:
        medians = {p["name"]: p["median_ms"] for p in timing["paths"]}
        builtin = {r["ours"]: r for r in timing["ratios"] if r["kind"] == "builtin"}
        cells = []
        for row in (r for r in timing["ratios"] if r["kind"] != "builtin"):
            times = f"{medians[row['ours']]:.1f} / {medians[row['peer']]:.1f} ms"
            aimed = "" if row["target"] is None else f" ({verdict(row['target'], row['reached'])})"
            slow = builtin.get(row["ours"]) if row["kind"] == "xnnpack" else None
            also = "" if slow is None else f"; builtin {medians[slow['peer']]:.0f} ms"
            cells.append(f"**{row['ratio']:.2f}**{aimed}, {times}{also}")
        yield _row([network["name"], str(timing["threads"]), *cells])


def _markdown_memory(data: Mapping[str, Any]) -> Iterator[str]:
    yield _row(["network", "weights, ours / XNNPACK", "ratio", "with feature maps", "start, ours / XNNPACK", "ratio"])
    yield _row(["---"] * 6)
    for network in (n for n in data["networks"] if "memory" in n):
        memory = network["memory"]
        ours, peer = memory["resident_bytes"]["ours"], memory["resident_bytes"]["xnnpack"]
        sizes = {
            s: f"{_megabytes(ours[s]['resident'])} / {_megabytes(peer[s]['resident'])} MB" for s in ("smallest", "full")
        }
        starts = " / ".join(f"{each['init_ms']:.1f}" for each in memory["init"])
        yield _row(
            [
                network["name"],
                sizes["smallest"],
                f"**{memory['ratio']:.3f}** ({verdict(memory['target'], memory['reached'])})",
                sizes["full"],
                f"{starts} ms",
                f"**{memory['init_ratio']:.2f}** ({verdict(memory['init_target'], memory['init_reached'])})",
            ]
        )


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of this module."""
    from rich.console import Console

    parser = argparse.ArgumentParser(prog="python -m dgms_keras.report.table4", description="Show a result again.")
    parser.add_argument("file", type=Path, metavar="table4.json")
    parser.add_argument("--markdown", action="store_true", help="as Markdown tables")
    arguments = parser.parse_args(argv)
    try:
        data = read(arguments.file)
    except (ResultError, ModuleNotFoundError) as error:
        print(f"table4: {error}", file=sys.stderr)
        return 1
    if arguments.markdown:
        print("\n".join(markdown(data)))
        return 0
    console = Console(width=None if sys.stdout.isatty() else 160)
    for table in tables(data):
        console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
