"""What flows through a graph on calibration data: inputs of operators, averaged over the positions each weight meets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dgms_keras.export import flatbuffer_io as fio
from dgms_keras.export.int8.representative import Batch
from dgms_keras.export.watch import run_watching


@dataclasses.dataclass(frozen=True)
class Reader:
    """How an operator's weights meet its input.

    Args:
        op: `"CONV_2D"`, `"DEPTHWISE_CONV_2D"` or `"FULLY_CONNECTED"`.
        shape: of its weight.
        same: SAME padding.
        stride, dilation: (vertical, horizontal).
    """

    op: str
    shape: tuple[int, ...]
    same: bool = False
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)

    @classmethod
    def of(cls, op_name: str, shape: tuple[int, ...], options: Any) -> Reader:
        """From the operator's options in the schema."""
        if op_name == "FULLY_CONNECTED":
            return cls(op_name, shape)
        return cls(
            op=op_name,
            shape=shape,
            same=options.padding == fio.schema.Padding.SAME,
            stride=(options.strideH, options.strideW),
            dilation=(options.dilationHFactor, options.dilationWFactor),
        )

    def input_means(self, x: np.ndarray) -> np.ndarray:
        """float64, broadcastable to the weight: the mean input of each weight over samples and output positions.

        Args:
            x: `[samples, height, width, channels]`, or `[..., channels]` of a fully connected layer.
        """
        if self.op == "FULLY_CONNECTED":
            return x.reshape(-1, self.shape[1]).mean(axis=0, dtype=np.float64)[None]
        mean = x.mean(axis=0, dtype=np.float64)
        height, width = self.shape[1:3]
        rows = [self._positions(mean.shape[0], height, 0, tap) for tap in range(height)]
        columns = [self._positions(mean.shape[1], width, 1, tap) for tap in range(width)]
        # Positions in the padding are 0: they count, but add nothing.
        taps = np.stack([[_mean_at(mean, r, c) for c in columns] for r in rows])
        if self.op == "DEPTHWISE_CONV_2D":
            return np.repeat(taps, self.shape[3] // taps.shape[2], axis=2)[None]
        groups = taps.shape[2] // self.shape[3]
        by_group = np.moveaxis(taps.reshape(height, width, groups, self.shape[3]), 2, 0)
        return np.repeat(by_group, self.shape[0] // groups, axis=0)

    def _positions(self, size: int, kernel: int, axis: int, tap: int) -> np.ndarray:
        """The input positions under one tap; -1 for padding."""
        stride, dilation = self.stride[axis], self.dilation[axis]
        extent = (kernel - 1) * dilation + 1
        count = -(-size // stride) if self.same else max(0, -(-(size - extent + 1) // stride))
        before = max((count - 1) * stride + extent - size, 0) // 2 if self.same else 0
        positions = np.arange(count) * stride + tap * dilation - before
        return np.where((positions >= 0) & (positions < size), positions, -1)


def _mean_at(values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    inside = values[np.ix_(rows[rows >= 0], columns[columns >= 0])]
    return inside.sum(axis=(0, 1)) / max(rows.size * columns.size, 1)


def collect_input_means(
    data: bytes, readers: Mapping[int, Reader], batches: Sequence[Batch], inputs: Mapping[int, int]
) -> dict[int, np.ndarray]:
    """The mean inputs of operators of a float graph over all calibration data.

    Args:
        data: the float `.tflite`.
        readers: by any key, the operators.
        batches: calibration data.
        inputs: by the same keys, the tensors that they read.

    Returns:
        By the same keys, arrays broadcastable to the weights.
    """
    totals: dict[int, np.ndarray] = {}
    count = 0
    for batch, values in zip(batches, run_watching(data, list(dict.fromkeys(inputs.values())), batches), strict=True):
        size = len(batch[0]) if batch[0].ndim else 1
        count += size
        for key, reader in readers.items():
            totals[key] = totals.get(key, 0.0) + size * reader.input_means(values[inputs[key]])
    return {key: total / count for key, total in totals.items()}
