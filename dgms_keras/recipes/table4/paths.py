"""What is timed and compared: one place for the ways to run a network, their files and the targets."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dgms_keras.runtime.interleaved import PathSpec


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One of ours against its peer.

    Args:
        key: "a32", "a8" or "dynamic": the part of path names that both sides share.
        title: what the peer computes with, for people.
        ours_file: of which `.tflite` of the network ours is, `{bits}` to be filled in.
        peer_file: the same for the peer, a dense file.
        options: of our delegate.
        targets: network -> largest time ratio ours / XNNPACK that was aimed at, batch 1, with AVX-512.
    """

    key: str
    title: str
    ours_file: str
    peer_file: str
    options: dict[str, str]
    targets: dict[str, float]

    def ours(self, bits: int) -> str:
        """The name of our path."""
        return f"delegate:w{bits}{self.key}"

    @property
    def peer(self) -> str:
        """The name of XNNPACK's path."""
        return f"xnnpack:{self.peer_file}"

    @property
    def builtin(self) -> str:
        """The name of the path through TFLite's own kernels, on the peer's file."""
        return f"builtin:{self.peer_file}"

    def label(self, bits: int) -> str:
        """Such as "W4A32 / XNNPACK float32"."""
        ours = {"a32": f"W{bits}A32", "a8": f"W{bits}A8", "dynamic": f"W{bits} dynamic int8"}[self.key]
        return f"{ours} / XNNPACK {self.title}"


def _targets(resnet18: float, resnet50: float, mobile: float, ssdlite: float) -> dict[str, float]:
    return {
        "resnet18": resnet18,
        "resnet50": resnet50,
        "mobilenet_v2": mobile,
        "mnasnet_a1": mobile,
        "proxylessnas_mobile": mobile,
        "ssdlite_mobilenet_v2": ssdlite,
    }


COMPARISONS = (
    Comparison("a32", "float32", "w{bits}", "float", {}, _targets(0.48, 0.72, 0.78, 0.80)),
    Comparison("a8", "int8", "w{bits}_int8", "int8", {}, _targets(0.75, 0.80, 0.62, 0.70)),
    Comparison(
        "dynamic",
        "dynamic range",
        "w{bits}",
        "dynamic_range",
        {"activations": "dynamic_int8"},
        _targets(0.80, 0.85, 0.15, 0.20),
    ),
)

# Where a process is confined to AVX2 (mask.py), ours and XNNPACK alike.
AVX2_TARGETS = {("a32", "resnet18"): 0.6}

# Fewer bits must not cost time: the largest ratio of the median to that of the same network at 4 bits. Runs of one and the same
# file differ by some per cent; this is that noise, not a licence.
FEWER_BITS_TARGET = 1.03

# Resident bytes, and time until the first invoke, over XNNPACK's on the float file.
MEMORY_TARGET = 1 / 6
INIT_TARGET = 1 / 5


def target(comparison: Comparison, network: str, isa: str) -> float | None:
    """The ratio that was aimed at; None where none was. `isa` as for `ratios`."""
    if isa == "auto":
        return comparison.targets.get(network)
    return AVX2_TARGETS.get((comparison.key, network)) if isa == "avx2" else None


def delegate_paths(files: dict[str, Path], bits: Sequence[int]) -> list[PathSpec]:
    """Our paths."""
    return [
        PathSpec(c.ours(b), "delegate", str(files[c.ours_file.format(bits=b)]), c.options)
        for c in COMPARISONS
        for b in bits
    ]


def dense_paths(files: dict[str, Path], kind: str) -> list[PathSpec]:
    """The dense files in "xnnpack" or "builtin"."""
    return [PathSpec(f"{kind}:{c.peer_file}", kind, str(files[c.peer_file])) for c in COMPARISONS]


def ratios(network: str, isa: str, medians: dict[str, float], bits: Sequence[int]) -> list[dict[str, Any]]:
    """The comparisons of one timing.

    Args:
        network: its name.
        isa: "auto"; "avx2" for a process that is confined to it; "unconfined" where only ours is held to AVX2.
        medians: path -> milliseconds.
        bits: the widths that were timed.

    Returns:
        One dict for each, as report/table4.schema.json names its fields; `target` and `reached` are None where nothing was aimed at.
    """
    rows = []
    for c in COMPARISONS:
        for b in bits:
            rows.append(_ratio("xnnpack", c.ours(b), c.peer, c.label(b), medians, target(c, network, isa)))
            if c.builtin in medians:
                label = c.label(b).replace("XNNPACK", "builtin")
                rows.append(_ratio("builtin", c.ours(b), c.builtin, label, medians, None))
        for b in (b for b in bits if b != 4 and 4 in bits):
            label = (
                f"W{b} / W4, {c.title} activations" if c.key != "dynamic" else f"W{b} / W4, dynamic int8 activations"
            )
            rows.append(_ratio("bits", c.ours(b), c.ours(4), label, medians, FEWER_BITS_TARGET))
    return rows


def _ratio(
    kind: str, ours: str, peer: str, label: str, medians: dict[str, float], aimed: float | None
) -> dict[str, Any]:
    ratio = medians[ours] / medians[peer]
    return {
        "kind": kind,
        "label": label,
        "ours": ours,
        "peer": peer,
        "ratio": ratio,
        "target": aimed,
        "reached": None if aimed is None else ratio <= aimed,
    }
