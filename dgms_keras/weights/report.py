"""What the quantised weights of a model are: data, and a table of it."""

from __future__ import annotations

import dataclasses
import io
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from dgms_keras.activations.shared import SharedActivation
from dgms_keras.format.packing import plane_sizes
from dgms_keras.weights.shared import SharedWeight


@dataclasses.dataclass(frozen=True)
class WeightSummary:
    """One row of `summary`: a quantised weight.

    Args:
        layer: the layer's path, as in `mixtures`.
        weight: the weight's attribute.
        shape: its shape.
        bits: 2, 3 or 4.
        groups: number of mixtures (1 without channel groups).
        codes_used: codes that at least one weight takes, the zero code included; with channel groups of all groups together.
        codes: how many there are: `groups * 2**bits`; for QIL `2**bits - 1`.
        dead_codes: per group, the codes that no weight takes.
        zeros: weights whose value is 0.
        size: number of weights.
        gamma_min, gamma_max: the range of the used components' deviations, in the units of the weights; 0 without a mixture (QIL).
        tau_min, tau_max: the range of the temperatures; 0 without a mixture.
        squared_error: sum over the weights of (latent - hard)^2.
        relative_error: that divided by the sum of latent^2.
        bytes_before: float32 bytes of the weight.
        bytes_after: bytes of packed indices and codebooks in a `.tflite`.
        activation_bits: bits of the layer's inputs; None for float inputs.
        activation_interval: the ends of their interval or range; None for float inputs, or before calibration.
    """

    layer: str
    weight: str
    shape: tuple[int, ...]
    bits: int
    groups: int
    codes_used: int
    codes: int
    dead_codes: tuple[tuple[int, ...], ...]
    zeros: int
    size: int
    gamma_min: float
    gamma_max: float
    tau_min: float
    tau_max: float
    squared_error: float
    relative_error: float
    bytes_before: int
    bytes_after: int
    activation_bits: int | None = None
    activation_interval: tuple[float, float] | None = None

    @property
    def zero_share(self) -> float:
        """zeros / size."""
        return self.zeros / max(1, self.size)


def summarize(
    name: str,
    weights: Sequence[SharedWeight],
    activations: Sequence[SharedActivation] = (),
    *,
    file: Any = None,
    print_table: bool = True,
) -> list[WeightSummary]:
    """Prints a table of quantised weights and returns it as data.

    Args:
        name: the model's.
        weights: its quantised weights.
        activations: the quantised inputs of its layers.
        file: where to print; None for standard output.
        print_table: False returns the data only.

    Returns:
        One `WeightSummary` per weight; empty for a model without quantised layers.
    """
    inputs = {activation.path: activation for activation in activations}
    rows = [_row(weight, inputs.get(weight.path)) for weight in weights]
    if print_table:
        _print(name, rows, sys.stdout if file is None else file)
    return rows


def _row(weight: SharedWeight, inputs: SharedActivation | None) -> WeightSummary:
    frozen = weight.freeze()
    latent, hard = weight.latent_values().astype("float64"), frozen.dense().astype("float64")
    members = weight.quantizer.groups.members(frozen.indices)
    used = np.stack([np.bincount(m, minlength=2**frozen.bits) > 0 for m in members])
    if weight.has_mixture:
        mixture = weight.mixture()
        gamma, tau = mixture.gamma.reshape(used.shape)[used], mixture.tau
    else:
        used = used[:, :-1]  # the last code is no level
        gamma = tau = np.zeros(1)
    error = float(np.sum((latent - hard) ** 2))
    return WeightSummary(
        layer=weight.name,
        weight=weight.target.public_name,
        shape=frozen.indices.shape,
        bits=frozen.bits,
        groups=frozen.groups,
        codes_used=int(used.sum()),
        codes=used.size,
        dead_codes=tuple(tuple(int(k) for k in np.flatnonzero(~row)) for row in used),
        zeros=int(np.sum(hard == 0)),
        size=hard.size,
        gamma_min=float(gamma.min(initial=np.inf)) if gamma.size else 0.0,
        gamma_max=float(gamma.max(initial=0.0)),
        tau_min=float(tau.min()),
        tau_max=float(tau.max()),
        squared_error=error,
        relative_error=error / max(float(np.sum(latent**2)), np.finfo("float64").tiny),
        bytes_before=4 * hard.size,
        bytes_after=sum(plane_sizes(frozen.bits, hard.size)) + frozen.codebook.nbytes,
        activation_bits=inputs.bits if inputs else None,
        activation_interval=inputs.interval() if inputs and inputs.is_calibrated else None,
    )


def _print(name: str, rows: list[WeightSummary], file: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"DGMS: {name}", title_justify="left")
    table.add_column("layer", overflow="fold")
    quantized_inputs = any(row.activation_bits for row in rows)
    for column in ("shape", "bits", "codes", "zeros", "gamma", "tau", "squared error", "bytes before", "after"):
        table.add_column(column, justify="right")
    if quantized_inputs:
        table.add_column("inputs", justify="right")
    for row in rows:
        table.add_row(
            row.layer,
            "x".join(map(str, row.shape)),
            str(row.bits),
            f"{row.codes_used}/{row.codes}",
            f"{row.zero_share:.1%}",
            _range(row.gamma_min, row.gamma_max) if row.tau_max else "-",
            _range(row.tau_min, row.tau_max) if row.tau_max else "-",
            f"{row.squared_error:.3g} ({row.relative_error:.2%})",
            f"{row.bytes_before:,}",
            f"{row.bytes_after:,}",
            *([_inputs(row)] if quantized_inputs else []),
        )
    before, after = sum(r.bytes_before for r in rows), sum(r.bytes_after for r in rows)
    ratio = f" ({before / after:.1f}x)" if after else ""
    table.add_section()
    table.add_row("total", *[""] * 7, f"{before:,}", f"{after:,}{ratio}")
    # A buffer of fixed width where the file is no terminal: rich would cut the table to 80 columns there.
    terminal = hasattr(file, "isatty") and file.isatty()
    text = io.StringIO()
    Console(file=text, width=None if terminal else 160).print(table)
    file.write("\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n")
    for row in rows:
        dead = [(group, codes) for group, codes in enumerate(row.dead_codes) if codes]
        if dead:
            file.write(_dead_line(row, dead) + "\n")


def _dead_line(row: WeightSummary, dead: list[tuple[int, tuple[int, ...]]]) -> str:
    if row.groups == 1:
        return f"{row.layer}: no weight takes code {', '.join(map(str, dead[0][1]))}"
    codes = sum(len(codes) for _, codes in dead)
    return f"{row.layer}: no weight takes {codes} of {row.codes} codes, in {len(dead)} of {row.groups} channel groups"


def _inputs(row: WeightSummary) -> str:
    if row.activation_bits is None:
        return "float"
    if row.activation_interval is None:
        return f"{row.activation_bits} bits, not calibrated"
    low, high = row.activation_interval
    return f"{row.activation_bits} bits, {low:.3g} to {high:.3g}"


def _range(low: float, high: float) -> str:
    return f"{low:.3g}" if low == high else f"{low:.3g} - {high:.3g}"
