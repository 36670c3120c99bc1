"""Pictures of what `dgms bench --table4` found: bars of ratios beside their targets, and time against multiply-adds (matplotlib)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Okabe and Ito's colours, by what is compared.
COLOURS = {"a32": "#0072B2", "a8": "#E69F00", "dynamic": "#009E73"}
NAMES = {"a32": "float activations", "a8": "int8", "dynamic": "dynamic int8"}
# Bars of larger ratios are cut off.
LONGEST_BAR = 2.0
_NEEDS = 'pictures need matplotlib: `pip install "dgms-keras[report]"`. Received: {}'


def save_ratios(path: str | os.PathLike[str], data: Mapping[str, Any]) -> Path:
    """Draws ours / XNNPACK for each network, a picture's column for each number of threads (and instruction set).

    Raises:
        ModuleNotFoundError: matplotlib is missing.
    """
    columns = [(t["threads"], t["isa"]) for t in data["networks"][0]["timings"]]
    networks = data["networks"]
    figure = _figure(figsize=(2.4 + 3.6 * len(columns), 1.6 + 0.95 * len(networks)))
    machine = data["machine"]
    figure.suptitle(
        f"Time of shared weights in the delegate / time of XNNPACK, {machine['processor'] or machine['name']}",
        fontsize=12,
    )
    axes = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for ax, (threads, isa) in zip(axes, columns, strict=True):
        _draw_ratios(ax, networks, threads, isa)
    axes[0].set_yticks(
        [4 * i + 1 for i in range(len(networks))], [n["name"].replace("_", "\n", 1) for n in networks], fontsize=9
    )
    axes[0].set_ylim(4 * len(networks) - 1, -1)
    handles, labels = axes[0].get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: labels[i] == "target")
    handles, labels = [handles[i] for i in order], [labels[i] for i in order]
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=9, frameon=False)
    return _save(figure, path)


def _draw_ratios(ax: Any, networks: Any, threads: int, isa: str) -> None:
    seen = set()
    for i, network in enumerate(networks):
        (timing,) = (t for t in network["timings"] if (t["threads"], t["isa"]) == (threads, isa))
        rows = [r for r in timing["ratios"] if r["kind"] == "xnnpack"]
        bits = rows[0]["ours"].split(":w")[1][0]  # the first width that was asked for
        chosen = [(key, r) for key in COLOURS for r in rows if r["ours"] == f"delegate:w{bits}{key}"]
        for place, (key, row) in enumerate(chosen):
            y, ratio = 4 * i + place, row["ratio"]
            label = None if key in seen else f"{NAMES[key]} / XNNPACK's"
            seen.add(key)
            ax.barh(y, min(ratio, LONGEST_BAR), height=0.86, color=COLOURS[key], label=label)
            if row["target"] is not None:
                mark = {"color": "black", "lw": 1.6, "label": None if "target" in seen else "target"}
                seen.add("target")
                ax.plot([row["target"]] * 2, [y - 0.43, y + 0.43], **mark)
            cut = ratio > LONGEST_BAR
            ax.text(
                LONGEST_BAR - 0.03 if cut else max(ratio, row["target"] or 0) + 0.03,
                y,
                f"{ratio:.2f}{'  →' if cut else ''}",
                va="center",
                ha="right" if cut else "left",
                fontsize=8,
                color="white" if cut else "black",
            )
    ax.axvline(1, color="black", lw=0.8, ls=":", zorder=0)
    ax.set_xlim(0, LONGEST_BAR)
    ax.set_title(f"{threads} thread{'s' if threads > 1 else ''}{'' if isa == 'auto' else ', AVX2'}", fontsize=10)
    ax.set_xlabel("ratio of medians (below 1: faster)", fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)


def save_growth(path: str | os.PathLike[str], data: Mapping[str, Any]) -> Path:
    """Draws milliseconds against multiply-adds, both axes logarithmic: a time in proportion to the work is a line of slope 1.

    Raises:
        ValueError: the result has no growth. ModuleNotFoundError: matplotlib is missing.
    """
    rows = data["growth"]
    if not rows:
        raise ValueError("a picture of growth needs a result of `--growth`. Received: one without")
    panels = list(dict.fromkeys((r["network"], r["threads"]) for r in rows))
    figure = _figure(figsize=(1 + 4.6 * min(2, len(panels)), 0.8 + 3.6 * -(-len(panels) // 2)))
    figure.suptitle(
        "Time against multiply-adds\ndots: images of several sizes; crosses: several images at once", fontsize=11
    )
    axes = figure.subplots(-(-len(panels) // 2), min(2, len(panels)), squeeze=False).ravel()
    for ax, (network, threads) in zip(axes, panels, strict=False):
        _draw_growth(ax, [r for r in rows if (r["network"], r["threads"]) == (network, threads)])
        ax.set_title(f"{network}, {threads} thread{'s' if threads > 1 else ''}", fontsize=10)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    return _save(figure, path)


def _draw_growth(ax: Any, rows: Any) -> None:
    paths = list(dict.fromkeys(r["path"] for r in rows))
    colours = dict(zip(paths, ("#0072B2", "#E69F00", "#009E73", "#666666", "#CC79A7"), strict=False))
    for row in rows:
        x = [p["macs"] / 1e6 for p in row["points"]]
        y = [p["median_ms"] for p in row["points"]]
        side = row["over"] == "side"
        label = f"{row['path']}: {row['exponent']:.2f}" if side else None
        ax.plot(x, y, color=colours[row["path"]], marker="o" if side else "x", ms=4, lw=1 if side else 0, label=label)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_xlabel("million multiply-adds", fontsize=9)
    ax.set_ylabel("median, ms", fontsize=9)
    ax.grid(lw=0.4, color="#dddddd")
    ax.legend(fontsize=8, title="exponent over the image's side", title_fontsize=8, frameon=False)
    ax.spines[["top", "right"]].set_visible(False)


def _figure(figsize: tuple[float, float]) -> Any:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(_NEEDS.format(error)) from None
    return Figure(figsize=figsize, layout="constrained")


def _save(figure: Any, path: str | os.PathLike[str]) -> Path:
    """In one step."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.new")
    try:
        figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=130)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
