"""What leaves training: `Mixture` (a layer's learned mixture) and `FrozenWeight` (its indices and codebook).

NumPy only. Both front ends end here, and export starts here: export understands nothing but a plain model and a list of
`FrozenWeight`s.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from dgms_keras.config import BITS


def _check_bits(bits: Any, where: str) -> None:
    if isinstance(bits, bool) or bits not in BITS:
        raise ValueError(f"`bits` must be 2, 3 or 4. Received: bits={bits!r} ({where})")


@dataclasses.dataclass(frozen=True, eq=False)
class Mixture:
    """The mixture of one weight tensor, in the units of its weights.

    Args:
        mu: float32 `[2**bits]`, the means; `mu[0] == 0`, the zero component. With channel groups `[groups, 2**bits]`, and
            so for `pi` and `gamma`.
        pi: float32, same shape, > 0; the shares, which sum to 1.
        gamma: float32, same shape, > 0; the standard deviations.
        tau: float32, `[]` or `[groups]`, > 0; the temperature of Eq. 7.
        bits: 2, 3 or 4.

    Raises:
        ValueError: a shape or a value breaks a rule above.
    """

    mu: np.ndarray
    pi: np.ndarray
    gamma: np.ndarray
    tau: np.ndarray
    bits: int

    def __post_init__(self) -> None:
        _check_bits(self.bits, "Mixture")
        object.__setattr__(self, "bits", int(self.bits))
        for name in ("mu", "pi", "gamma", "tau"):
            object.__setattr__(self, name, np.array(getattr(self, name), np.float32))
        codes = 2**self.bits
        if self.mu.ndim not in (1, 2) or self.mu.shape[-1] != codes:
            raise ValueError(f"`mu` must have {codes} entries for bits={self.bits}. Received: shape {self.mu.shape}")
        for name in ("pi", "gamma"):
            if getattr(self, name).shape != self.mu.shape:
                raise ValueError(
                    f"`{name}` must have the shape of `mu`, {self.mu.shape}. Received: {getattr(self, name).shape}"
                )
        if self.tau.shape != self.mu.shape[:-1]:
            raise ValueError(f"`tau` must have the shape {self.mu.shape[:-1]}. Received: {self.tau.shape}")
        if np.any(self.mu[..., 0] != 0):
            raise ValueError(f"`mu[0]` must be 0, the zero component. Received: {self.mu[..., 0]}")
        for name in ("mu", "pi", "gamma", "tau"):
            values = getattr(self, name)
            if not np.all(np.isfinite(values)) or (name != "mu" and np.any(values <= 0)):
                rule = "be finite" if name == "mu" else "be finite and > 0"
                raise ValueError(f"`{name}` must {rule}. Received: {values}")

    def get_config(self) -> dict[str, Any]:
        """The mixture as JSON types (exact: every float32 is a float64)."""
        return {
            "bits": self.bits,
            "mu": self.mu.tolist(),
            "pi": self.pi.tolist(),
            "gamma": self.gamma.tolist(),
            "tau": self.tau.tolist(),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Mixture:
        """The inverse of `get_config`; a missing field raises a ValueError that names it."""
        fields = ("mu", "pi", "gamma", "tau", "bits")
        missing = [f for f in fields if f not in config]
        if missing:
            raise ValueError(f"a Mixture needs the fields {', '.join(fields)}. Missing: {', '.join(missing)}")
        return cls(**{f: config[f] for f in fields})

    def to_json(self) -> str:
        """The mixture as a JSON object."""
        return json.dumps(self.get_config())

    @classmethod
    def from_json(cls, text: str) -> Mixture:
        """The inverse of `to_json`, exact."""
        return cls.from_config(json.loads(text))


@dataclasses.dataclass(frozen=True, eq=False)
class FrozenWeight:
    """One weight tensor as indices into a codebook (Eq. 4): the one thing that export understands.

    Args:
        layer: path of the layer, e.g. `"conv1"`, or `"backbone/conv1"` inside a nested model.
        weight: the layer's attribute, e.g. `"kernel"` or `"depthwise_kernel"`.
        indices: uint8, in Keras's own shape of the weight; each < `2**bits`.
        codebook: float32 `[2**bits]`, or `[groups, 2**bits]` with channel groups. Any finite values: entry 0 is 0 in weights that DGMS
            trained, and need not be in imported ones (`from_clusters`).
        bits: 2, 3 or 4.
        channel_axis: the axis (or axes, for a depthwise kernel's channel and multiplier) of the output channels.
        group_size: output channels per codebook, or None for one codebook. The last group may be smaller.

    Raises:
        ValueError: a shape or a value breaks a rule above.
    """

    layer: str
    weight: str
    indices: np.ndarray
    codebook: np.ndarray
    bits: int
    channel_axis: tuple[int, ...] = (-1,)
    group_size: int | None = None

    def __post_init__(self) -> None:
        where = f"weight {self.name!r}"
        _check_bits(self.bits, where)
        object.__setattr__(self, "bits", int(self.bits))
        codes = 2**self.bits
        indices = np.asarray(self.indices)  # checked before the cast, which would wrap around
        if not np.issubdtype(indices.dtype, np.integer):
            raise ValueError(f"`indices` must be integers. Received: dtype {indices.dtype} ({where})")
        if indices.size and not 0 <= int(indices.min()) <= int(indices.max()) < codes:
            raise ValueError(
                f"`indices` must be from 0 to {codes - 1}. Received: {indices.min()} to {indices.max()} ({where})"
            )
        object.__setattr__(self, "indices", indices.astype(np.uint8))
        object.__setattr__(self, "codebook", np.array(self.codebook, np.float32))
        shape = (codes,) if self.group_size is None else (self.groups, codes)
        if self.codebook.shape != shape:
            raise ValueError(f"`codebook` must have the shape {shape}. Received: {self.codebook.shape} ({where})")
        if not np.all(np.isfinite(self.codebook)):
            raise ValueError(f"`codebook` must be finite. Received: {self.codebook} ({where})")

    @property
    def name(self) -> str:
        """`layer/weight`, unique in a model."""
        return f"{self.layer}/{self.weight}"

    @property
    def channels(self) -> int:
        """The number of output channels."""
        return int(np.prod([self.indices.shape[a] for a in self.channel_axis]))

    @property
    def groups(self) -> int:
        """The number of codebooks."""
        return 1 if self.group_size is None else -(-self.channels // self.group_size)

    def dense(self) -> np.ndarray:
        """The hard weights, float32 in the weight's own shape: `codebook[indices]`, each channel with its own codebook."""
        if self.group_size is None:
            return self.codebook[self.indices]
        axes = [a % self.indices.ndim for a in self.channel_axis]
        channel = np.zeros([1] * self.indices.ndim, np.int64)
        for axis in axes:  # the channel number of every element, in the order of the channel axes
            size = self.indices.shape[axis]
            channel = channel * size + np.arange(size).reshape(
                [-1 if a == axis else 1 for a in range(self.indices.ndim)]
            )
        return self.codebook[channel // self.group_size, self.indices]
