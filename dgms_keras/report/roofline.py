"""A roofline picture of the delegate's layers: how many multiply-adds a second against how many for each byte that must move.

    build/delegate/networks_bench --network all --activations int8 --json layers.json
    python -m dgms_keras.report.roofline layers.json --output roofline.png

Roofs are measured by the same program on the same core: peaks of the instructions that the kernels are made of, and the bandwidth at
which plain code reads memory and a buffer in the second-level cache. A layer's bytes are its input, its output and its weights as the
delegate keeps them, once each. (Williams, Waterman, Patterson, Communications of the ACM 52(4), 2009.)
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dgms_keras.report.bench_plots import check_picture
from dgms_keras.report.bench_results import ResultError

VERSION = 1
# Kind of layer -> colour (Okabe and Ito's) and mark, so that no two differ by colour alone.
MARKS = {
    "convolution": ("#0072B2", "o"),
    "1x1 convolution": ("#E69F00", "s"),
    "depthwise": ("#009E73", "^"),
    "fully connected": ("#CC79A7", "D"),
}
# Of a roof's name, readable where a mark lies below it.
_LABEL = {"fontsize": 8, "bbox": {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.8}}
_LAYER = ("kind", "kernel_size", "count", "macs", "bytes", "best_ms", "gmacs", "instruction")


def read_layers(file: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads what networks_bench wrote.

    Raises:
        ResultError: it cannot be read, is no such file, or lacks something.
    """
    try:
        data = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultError(f"{file}: a result must be a JSON file. Received: {error}") from error
    if not isinstance(data, dict) or data.get("schema") != "dgms-layers":
        raise ResultError(f"{file}: $.schema must be 'dgms-layers', as `networks_bench --json` writes")
    version = str(data.get("schema_version"))
    if version.split(".")[0] != str(VERSION):
        raise ResultError(f"{file}: $.schema_version must be {VERSION}.x. Received: {version!r}")
    missing = [k for k in ("isa", "threads", "activations", "bits", "peaks", "bandwidths", "networks") if k not in data]
    layers = [layer for network in data.get("networks", ()) for layer in network["layers"]]
    missing += [k for k in _LAYER if any(k not in layer for layer in layers)]
    if missing or not layers:
        raise ResultError(
            f"{file}: a result must have layers with all figures. Missing: {', '.join(missing) or 'layers'}"
        )
    return data


def layer_kind(layer: dict[str, Any]) -> str:
    """A key of `MARKS`."""
    if layer["kind"] == "conv":
        return "1x1 convolution" if layer["kernel_size"] == 1 else "convolution"
    return layer["kind"].replace("_", " ")


def intensity(layer: dict[str, Any]) -> float:
    """Multiply-adds for each byte that must move at least once."""
    return layer["macs"] / layer["bytes"]


def save_roofline(path: str | os.PathLike[str], results: Sequence[dict[str, Any]]) -> Path:
    """Draws a panel for each result.

    Raises:
        ValueError: the path is none of a picture. ModuleNotFoundError: matplotlib is missing.
    """
    path = check_picture(path)
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'pictures need matplotlib: `pip install "dgms-keras[report]"`. Received: {error}'
        ) from None
    columns = min(2, len(results))
    rows = math.ceil(len(results) / columns)
    figure = Figure(figsize=(0.6 + 6.2 * columns, 0.9 + 4.6 * rows), layout="constrained")
    line = "\n" if columns == 1 else "; "  # one panel is narrower than the title
    figure.suptitle(
        f"Layers of networks under their roofs{line}a mark's area is the layer's share of the time", fontsize=12
    )
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, data in zip(axes, results, strict=False):
        _draw(ax, data)
    for ax in axes[len(results) :]:
        ax.set_axis_off()
    marks = {}  # each kind once, from whichever panel has it
    for ax in axes[: len(results)]:
        marks.update({label: handle for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)})
    kinds = [kind for kind in MARKS if kind in marks]
    figure.legend(
        [marks[kind] for kind in kinds],
        kinds,
        loc="outside lower center",
        ncols=len(kinds),
        fontsize=9,
        frameon=False,
    )
    temporary = path.with_name(f".{path.name}.new")
    try:
        figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=130)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _above_the_roof(layers: Sequence[dict[str, Any]], top: float) -> str:
    """Why layers do more multiply-adds than the core can: they are counted as in the definition of a convolution."""
    above = any(layer["gmacs"] > top and layer["kernel_size"] == 3 for layer in layers)
    return (
        "\n(above the roof: Winograd's 3x3 convolutions multiply 4 times less often than is counted)" if above else ""
    )


def _draw(ax: Any, data: dict[str, Any]) -> None:
    layers = [layer for network in data["networks"] for layer in network["layers"]]
    xs = [intensity(layer) for layer in layers]
    low, high = min(xs) / 1.6, max(xs) * 1.6
    total = sum(layer["best_ms"] * layer["count"] for layer in layers)
    for kind, (colour, mark) in MARKS.items():
        chosen = [layer for layer in layers if layer_kind(layer) == kind]
        if not chosen:
            continue
        ax.scatter(
            [intensity(layer) for layer in chosen],
            [layer["gmacs"] for layer in chosen],
            s=[12 + 2500 * layer["best_ms"] * layer["count"] / total for layer in chosen],
            color=colour,
            marker=mark,
            alpha=0.65,
            lw=0,
            label=kind,
        )
    top = max(p["gmacs"] for p in data["peaks"]) * data["threads"] if data["peaks"] else math.inf
    for peak in data["peaks"]:
        height = peak["gmacs"] * data["threads"]
        ax.plot([low, high], [height] * 2, color="black", lw=1)
        ax.text(high, height * 1.06, f"{peak['instruction']}: {height:,.0f}", ha="right", **_LABEL)
    for place, bandwidth in enumerate(data["bandwidths"]):
        # Each to the highest roof.
        end = min(high, top / bandwidth["gbytes"])
        ax.plot(
            [low, end],
            [bandwidth["gbytes"] * low, bandwidth["gbytes"] * end],
            color="black",
            lw=1,
            ls=("-", "--")[place % 2],
        )
        text = f"{bandwidth['name']}: {bandwidth['gbytes']:.3g} GB/s"
        ax.text(low * 1.15, bandwidth["gbytes"] * low, text, va="top", **_LABEL)  # below the line, which rises
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(low, high)
    threads = f"{data['threads']} thread{'s' if data['threads'] > 1 else ''}"
    names = ", ".join(network["name"] for network in data["networks"]) if len(data["networks"]) < 4 else "all networks"
    ax.set_title(f"W{data['bits']}, {data['activations']} activations, {data['isa']}, {threads}: {names}", fontsize=10)
    ax.set_xlabel("multiply-adds for each byte" + _above_the_roof(layers, top), fontsize=9)
    ax.set_ylabel("GMAC/s", fontsize=9)
    ax.grid(lw=0.4, color="#dddddd")
    ax.spines[["top", "right"]].set_visible(False)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(
        prog="python -m dgms_keras.report.roofline", description="Draw layers under their roofs."
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.json", help="what `networks_bench --json` wrote")
    parser.add_argument("--output", type=Path, default=Path("roofline.png"), metavar="FILE.png|.svg")
    arguments = parser.parse_args(argv)
    try:
        print(f"wrote {save_roofline(arguments.output, [read_layers(file) for file in arguments.files])}")
    except (ResultError, ValueError, FileNotFoundError, ModuleNotFoundError) as error:
        print(f"roofline: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
