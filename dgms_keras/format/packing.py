"""The bit stream of FORMAT.md, sections 1 and 2: codes <-> packed planes, and the lookup tables that decode them.

NumPy only, one implementation for all bit widths: a width is a row of `PLANES`. The C++ twin is the delegate's reader; both are
pinned by tests/golden/packing.txt.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dgms_keras.config import BITS

BYTE_VALUES = 256


@dataclasses.dataclass(frozen=True)
class Plane:
    """`width` consecutive bits of every code, starting at bit `shift`; `width` is 1, 2 or 4, so bytes hold whole fields."""

    name: str
    width: int
    shift: int

    @property
    def codes_per_byte(self) -> int:
        return 8 // self.width

    def table(self) -> np.ndarray:
        """int32 `[256, codes_per_byte]`: what field j of byte v adds to its code, `((v >> width*j) & mask) << shift`."""
        values = np.arange(BYTE_VALUES, dtype=np.int32)[:, None]
        fields = (values >> (self.width * np.arange(self.codes_per_byte, dtype=np.int32))) & (2**self.width - 1)
        return (fields << self.shift).astype(np.int32)


# The planes of each bit width, in the order in which the functions below return and take them.
PLANES: dict[int, tuple[Plane, ...]] = {
    2: (Plane("packed", 2, 0),),
    3: (Plane("low", 2, 0), Plane("high", 1, 2)),
    4: (Plane("packed", 4, 0),),
}


def planes_of(bits: int) -> tuple[Plane, ...]:
    """The planes of a bit width.

    Raises:
        ValueError: `bits` is not 2, 3 or 4.
    """
    if isinstance(bits, bool) or bits not in BITS:
        raise ValueError(f"`bits` must be 2, 3 or 4. Received: bits={bits!r}")
    return PLANES[bits]


def block_size(bits: int) -> int:
    """Codes in the smallest run that fills whole bytes of every plane: 4, 8, 2 codes for 2, 3, 4 bits."""
    return max(plane.codes_per_byte for plane in planes_of(bits))


def padded_count(bits: int, count: int) -> int:
    """`count` rounded up to whole blocks: the number of codes that the planes hold, padding included."""
    block = block_size(bits)
    return -(-count // block) * block


def plane_sizes(bits: int, count: int) -> tuple[int, ...]:
    """Bytes of each plane for `count` codes."""
    padded = padded_count(bits, count)
    return tuple(padded // plane.codes_per_byte for plane in planes_of(bits))


def pack(codes: np.ndarray, bits: int) -> tuple[np.ndarray, ...]:
    """Packs codes along the last axis; every row is padded by code 0 to whole blocks and starts at a byte of its own.

    Args:
        codes: integers `[..., count]`, each in `[0, 2**bits)`.
        bits: 2, 3 or 4.

    Returns:
        One uint8 array `[..., bytes]` per plane: (packed,) for 2 and 4 bits, (low, high) for 3.

    Raises:
        ValueError: a code is out of range, `codes` is a scalar, or `bits` is wrong.

    Source: FORMAT.md, section 1.
    """
    planes = planes_of(bits)
    codes = np.asarray(codes)
    if codes.ndim == 0:
        raise ValueError("`codes` must have at least one axis. Received: a scalar")
    if codes.dtype.kind not in "iu":
        raise ValueError(f"`codes` must be integers. Received: dtype={codes.dtype}")
    if codes.size and (int(codes.min()) < 0 or int(codes.max()) >= 2**bits):
        raise ValueError(
            f"`codes` must be in [0, {2**bits}) for bits={bits}. Received: {int(codes.min())} to {int(codes.max())}"
        )
    count = codes.shape[-1]
    padding = [(0, 0)] * (codes.ndim - 1) + [(0, padded_count(bits, count) - count)]
    padded = np.pad(codes.astype(np.uint8), padding)
    return tuple(_pack_plane(padded, plane) for plane in planes)


def _pack_plane(codes: np.ndarray, plane: Plane) -> np.ndarray:
    *rows, count = codes.shape  # no -1 in the reshape: there may be no rows
    fields = (codes >> plane.shift) & (2**plane.width - 1)
    fields = fields.reshape(*rows, count // plane.codes_per_byte, plane.codes_per_byte)
    packed = np.zeros(fields.shape[:-1], np.uint8)
    for j in range(plane.codes_per_byte):  # field 0 in the low bits
        packed |= fields[..., j] << (plane.width * j)
    return packed


def unpack(planes: Sequence[np.ndarray], bits: int, count: int) -> np.ndarray:
    """The inverse of `pack`.

    Args:
        planes: uint8 `[..., bytes]`, one per plane of `bits`, exactly as many bytes as `plane_sizes(bits, count)` says.
        bits: 2, 3 or 4.
        count: codes per row.

    Returns:
        uint8 `[..., count]`.

    Raises:
        ValueError: the number of planes, a dtype or a size is wrong.

    Source: FORMAT.md, section 1.
    """
    expected = planes_of(bits)
    if len(planes) != len(expected):
        raise ValueError(f"`planes` must have {len(expected)} arrays for bits={bits}. Received: {len(planes)}")
    total: np.ndarray | None = None
    for plane, data, size in zip(expected, planes, plane_sizes(bits, count), strict=True):
        data = np.asarray(data)
        if data.dtype != np.uint8 or data.ndim == 0 or data.shape[-1] != size:
            raise ValueError(
                f"plane {plane.name!r} must be uint8 with {size} bytes per row for {count} codes of {bits} bits. "
                f"Received: {data.dtype} with shape {data.shape}"
            )
        fields = plane.table().astype(np.uint8)[data].reshape(*data.shape[:-1], size * plane.codes_per_byte)
        total = fields if total is None else total | fields
    assert total is not None
    return total[..., :count]
