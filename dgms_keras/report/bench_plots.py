"""One picture of several benchmark results: how fast each path is against its peer, and its latency over time (matplotlib)."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dgms_keras.report.bench_results import BenchResult, longest_bar, titles

# In the order in which they are drawn. Okabe and Ito's colours, which people with any common colour blindness tell apart; the
# lines differ in their dashes as well.
COLOURS = {"delegate": "#0072B2", "dense:xnnpack": "#E69F00", "xnnpack": "#009E73", "builtin": "#666666"}
DASHES = {"delegate": "-", "dense:xnnpack": "--", "xnnpack": "-.", "builtin": ":"}
ORDER = list(COLOURS)
FORMATS = (".png", ".svg")
COLUMNS = 3


def check_picture(path: str | os.PathLike[str]) -> Path:
    """The picture's path, checked before any work.

    Raises:
        ValueError: its name does not end in .png or .svg. FileNotFoundError: there is no such folder.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"the picture's name must end in {' or '.join(FORMATS)}. Received: {path}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the picture's folder must exist. Received: {path}")
    return path


def save_results(path: str | os.PathLike[str], results: Sequence[BenchResult]) -> Path:
    """Draws the results and saves the picture in one step.

    Args:
        path: the picture, .png or .svg.
        results: at least one with a path that was timed.

    Raises:
        ValueError: a rule above. ModuleNotFoundError: matplotlib is missing (`pip install "dgms-keras[report]"`).
    """
    path = check_picture(path)
    results = [r for r in results if r.timed]
    if not results:
        raise ValueError("a picture needs a result with at least one path that was timed. Received: none")
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'pictures need matplotlib: `pip install "dgms-keras[report]"`. Received: {error}'
        ) from None
    columns = min(COLUMNS, len(results))
    rows = math.ceil(len(results) / columns)
    bars = sum(len(r.timed) for r in results)
    heights = [0.9 + 0.27 * bars + 0.2 * len(results), 2.7 * rows]
    figure = Figure(figsize=(11, 0.6 + sum(heights)), layout="constrained")
    figure.suptitle("DGMS benchmarks: time relative to the same network without shared weights", fontsize=13)
    if not all(r.peer is not None and r.peer["name"] == "dense:xnnpack" for r in results):
        figure.suptitle("DGMS benchmarks: time relative to the path at 1", fontsize=13)
    upper, lower = figure.subfigures(2, 1, height_ratios=heights)
    names = titles(results)
    _draw_ratios(upper.subplots(), names, results)
    axes = lower.subplots(rows, columns, squeeze=False).ravel()
    for ax, name, result in zip(axes, names, results, strict=False):
        _draw_latency(ax, name, result)
    for ax in axes[len(results) :]:
        ax.set_axis_off()
    temporary = path.with_name(f".{path.name}.new")
    try:
        figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=130)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _in_order(result: BenchResult) -> list[dict[str, Any]]:
    return sorted(result.timed, key=lambda path: ORDER.index(path["name"]))


def _draw_ratios(ax: Any, names: Sequence[str], results: Sequence[BenchResult]) -> None:
    """Bars from the top down, a group for each result, medians written beside them."""
    edge = 1.3 * longest_bar(results)  # room for the figures beside the bars
    y, ticks, seen = 0.0, [], set()
    for result in results:
        first = y
        for path in _in_order(result):
            name, ratio = path["name"], result.ratio(path)
            label = None if name in seen else name
            seen.add(name)
            ax.barh(y, min(ratio, edge), height=0.86, color=COLOURS[name], label=label)
            text = f"{ratio:.2f}  ({path['median_ms']:#.3g} ms)"
            if ratio > edge:  # cut off
                ax.text(0.99 * edge, y, f"{text}  →", va="center", ha="right", fontsize=8, color="white", weight="bold")
            else:
                ax.text(ratio + 0.01 * edge, y, text, va="center", fontsize=8)
            y += 1
        ticks.append((first + y - 1) / 2)
        y += 0.7
    ax.axvline(1, color="black", lw=1, zorder=0)
    hot = ["\nthrottled" if r.heat else "" for r in results]
    ax.set_yticks(ticks, [textwrap.fill(n, 34) + h for n, h in zip(names, hot, strict=True)], fontsize=8)
    ax.set_ylim(y - 0.7 - 0.3, -0.7)
    ax.set_xlim(0, edge)
    ax.set_xlabel("median time / median time of the path at 1 (below 1: faster)", fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(seen), fontsize=9, frameon=False)


def _draw_latency(ax: Any, name: str, result: BenchResult) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    for path in _in_order(result):
        seconds = [start / 1e3 for start in path["starts_ms"]]
        marker = "." if len(seconds) < 3 else None  # a line through one point is not seen
        ax.plot(seconds, path["runs_ms"], color=COLOURS[path["name"]], ls=DASHES[path["name"]], lw=1.1, marker=marker)
    title = textwrap.fill(name, 42)
    ax.set_title(f"{title}\n{textwrap.fill(result.heat, 46)}" if result.heat else title, fontsize=8)
    # Logarithmic: the delegate and TFLite's own kernels may be a factor of ten and more apart.
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("seconds since the first timed round", fontsize=8)
    ax.set_ylabel("latency, ms", fontsize=8)
    ax.tick_params(labelsize=8)
    ax.grid(axis="y", lw=0.4, color="#dddddd")
    ax.spines[["top", "right"]].set_visible(False)
