"""Channel groups: a weight tensor as rows of groups, `[groups, weights per group]`, and back.

With `granularity=n` every n consecutive output channels share one mixture. The mixture's functions want the group on the first
axis; this module moves the output channels there, pads the last group with zeros where the channels do not divide evenly, and
takes the padding off again.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from keras import ops


@dataclasses.dataclass(frozen=True)
class Groups:
    """How one weight tensor is cut into channel groups.

    Args:
        shape: the weight's shape.
        channel_axes: the axis, or axes, of the output channels.
        size: output channels per group; None for one mixture for the whole tensor.
    """

    shape: tuple[int, ...]
    channel_axes: tuple[int, ...]
    size: int | None

    @property
    def channels(self) -> int:
        """The number of output channels."""
        return int(np.prod([self.shape[a] for a in self.channel_axes], dtype=np.int64))

    @property
    def count(self) -> int:
        """The number of mixtures."""
        return 1 if self.size is None else -(-self.channels // self.size)

    @property
    def lead(self) -> tuple[int, ...]:
        """The leading axes of the mixture's parameters: `()` for one mixture, `(groups,)` for channel groups."""
        return () if self.size is None else (self.count,)

    @property
    def _order(self) -> tuple[int, ...]:
        """The axes with the channel axes first."""
        rank = len(self.shape)
        first = tuple(a % rank for a in self.channel_axes)
        return first + tuple(a for a in range(rank) if a not in first)

    @property
    def _per_channel(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) // max(1, self.channels)

    def split(self, w: Any) -> Any:
        """The tensor as `[groups, n]` (zeros behind the last channel), or flat for one mixture."""
        if self.size is None:
            return ops.reshape(w, (-1,))
        rows = ops.reshape(ops.transpose(w, self._order), (self.channels, self._per_channel))
        missing = self.count * self.size - self.channels
        if missing:
            rows = ops.pad(rows, ((0, missing), (0, 0)))
        return ops.reshape(rows, (self.count, self.size * self._per_channel))

    def join(self, rows: Any) -> Any:
        """The inverse of `split`."""
        if self.size is None:
            return ops.reshape(rows, self.shape)
        channels = ops.reshape(rows, (self.count * self.size, self._per_channel))[: self.channels]
        moved = ops.reshape(channels, [self.shape[a] for a in self._order])
        return ops.transpose(moved, np.argsort(self._order).tolist())

    def members(self, w: np.ndarray) -> list[np.ndarray]:
        """The weights of each group, flat and without padding (NumPy)."""
        if self.size is None:
            return [w.reshape(-1)]
        rows = np.transpose(w, self._order).reshape(self.channels, self._per_channel)
        return [rows[g * self.size : (g + 1) * self.size].reshape(-1) for g in range(self.count)]
