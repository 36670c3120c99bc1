"""What an export did, weight by weight: data, and a table of it."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Sequence
from typing import Any

# Ratios above this (equal values, in the limit) are shown as this.
MOST_DB = 200.0


def snr_db(signal: float, noise: float) -> float:
    """Signal-to-noise ratio of two energies in dB, at most `MOST_DB` either way."""
    if noise <= 0:
        return MOST_DB
    return max(-MOST_DB, min(10 * math.log10(signal / noise), MOST_DB)) if signal > 0 else -MOST_DB


def build_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], footer: str = "") -> Any:
    """A rich table, with lines of text below it. Columns of numbers are right-aligned."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left")
    for number, column in enumerate(columns):
        values = [row[number] for row in rows]
        numeric = bool(values) and all(isinstance(v, (int, float)) or v is None for v in values)
        table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:  # Text: names may hold brackets, which are no markup
        table.add_row(*(Text(_format(v)) for v in row))
    return Group(table, Text(footer)) if footer else table


def as_text(renderable: Any) -> str:
    """A rich renderable as plain text, 160 columns wide."""
    from rich.console import Console

    text = io.StringIO()
    Console(file=text, width=160, force_terminal=False, color_system=None).print(renderable)
    return text.getvalue()


def _format(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


# Below this, in dB, rounding a codebook to int8 costs more than rounding activations does, which leaves 30 to 40 dB.
COARSE_DB = 25.0


@dataclasses.dataclass(frozen=True)
class WeightRow:
    """One frozen weight in the exported file.

    Args:
        layer, weight: as in `FrozenWeight`.
        tensors: names of the converter's constants that held it; empty if it is not in the graph.
        op: the operator(s) that read it, e.g. `"CONV_2D"` or `"CONV_2D, FULLY_CONNECTED"`.
        bits: bits per code; None where it stayed dense.
        codes: codebook entries that occur.
        count: number of weights.
        zeros: how many are exactly 0.
        scaled: whether per-channel factors (BatchNorm) are kept apart.
        unfolded: whether factors per input channel, which the converter had folded into it, are back on the activations.
        exact: whether decoding reproduces the converter's weights bit for bit.
        dense_bytes: size as float32.
        file_bytes: size of its constants in the file.
        chains: how many operators decode it: each has a chain of its own.
        reason: why it is not compressed; None if it is.
        smaller_dense: whether that reason is only that codes, codebook and operators would take more bytes.
        weight_snr_db: in int8 files, signal-to-noise ratio of the weights themselves, float against int8, median over the
            output channels; None where not encoded.
        snr_db: in int8 files, signal-to-noise ratio of the operator's output, float against int8, on calibration data; None where
            it was not measured.
    """

    layer: str
    weight: str
    tensors: tuple[str, ...]
    op: str
    bits: int | None
    codes: int
    count: int
    zeros: int
    scaled: bool
    unfolded: bool
    exact: bool
    dense_bytes: int
    file_bytes: int
    chains: int
    reason: str | None
    smaller_dense: bool = False
    weight_snr_db: float | None = None
    snr_db: float | None = None

    @property
    def note(self) -> str:
        """What the table says of it."""
        if self.reason is not None:
            return self.reason
        notes = ["per-channel scale"] * self.scaled
        if self.weight_snr_db is not None and self.weight_snr_db < COARSE_DB:
            notes.append(f"its codebook spans a wide range for int8: weights {self.weight_snr_db:.0f} dB")
        return ", ".join(notes)

    @property
    def name(self) -> str:
        return f"{self.layer}/{self.weight}"


@dataclasses.dataclass(frozen=True)
class OutputDeviation:
    """The largest absolute deviation of one output from the Keras model, and what was allowed."""

    name: str
    deviation: float
    allowed: float


@dataclasses.dataclass(frozen=True)
class OutputSnr:
    """Signal-to-noise ratios of one output against the Keras model: of the file, and of TensorFlow's dense int8 file."""

    name: str
    snr_db: float
    dense_int8_snr_db: float


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """What `export_tflite` wrote.

    Args:
        path: the file.
        file_bytes: its size.
        dense_bytes: size of the same graph with dense float32 weights.
        layers: one row per quantised weight, compressed or not.
        outputs: how far the stock runtime's outputs are from the Keras model's; empty with `verify=False`, and for int8.
        activations: `"float32"` or `"int8"`.
        dense_int8_bytes: of int8 exports, size of TensorFlow's own int8 file with dense weights; else None.
        output_snrs: of int8 exports, how noisy the outputs are; empty with `verify=False`.
    """

    path: str
    file_bytes: int
    dense_bytes: int
    layers: tuple[WeightRow, ...]
    outputs: tuple[OutputDeviation, ...] = ()
    activations: str = "float32"
    dense_int8_bytes: int | None = None
    output_snrs: tuple[OutputSnr, ...] = ()

    @property
    def compressed(self) -> tuple[WeightRow, ...]:
        return tuple(row for row in self.layers if row.reason is None)

    @property
    def kept(self) -> tuple[WeightRow, ...]:
        """Quantised weights that are dense in the file, each with its `reason`."""
        return tuple(row for row in self.layers if row.reason is not None)

    def table(self) -> Any:
        """The report as a rich table."""
        columns = ["weight", "op", "bits", "codes", "zeros", "bytes dense", "bytes in file"]
        int8 = self.activations == "int8"
        rows = [
            (
                row.name,
                row.op,
                row.bits,
                row.codes,
                f"{100 * row.zeros / max(row.count, 1):.0f}%",
                row.dense_bytes,
                row.file_bytes,
                *([None if row.snr_db is None else round(row.snr_db, 1)] if int8 else []),
                row.note,
            )
            for row in self.layers
        ]
        columns += [*(["SNR dB"] if int8 else []), "note"]
        ratio = self.dense_bytes / max(self.file_bytes, 1)
        footer = f"{self.path}: {self.file_bytes:,} bytes, dense {self.dense_bytes:,} ({ratio:.1f}x)"
        if self.dense_int8_bytes is not None:
            footer += f"; dense int8 {self.dense_int8_bytes:,} ({self.dense_int8_bytes / max(self.file_bytes, 1):.1f}x)"
        for snr in self.output_snrs:
            footer += f"\noutput {snr.name!r}: {snr.snr_db:.1f} dB (dense int8 {snr.dense_int8_snr_db:.1f} dB)"
        for output in self.outputs:
            footer += (
                f"\noutput {output.name!r}: largest deviation {output.deviation:.2g} (allowed {output.allowed:.2g})"
            )
        return build_table("Exported weights", columns, rows, footer)

    def __str__(self) -> str:
        return as_text(self.table())

    def to_json_dict(self) -> dict[str, Any]:
        """The report as JSON types."""
        return dataclasses.asdict(self)
