"""Finds a frozen weight again inside a converted graph, by value, and the per-channel factors the converter folded into it.

The converter transposes, reshapes and renames weights, and multiplies BatchNorm's factors into them. None of that is looked up:
a layout is right if, and only if, it reproduces the constant's values.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np

from dgms_keras.frozen import FrozenWeight

# A folded weight is fl(s * w), once rounded; where the converter rounded several times (two factors in a row) the recovered
# factor cannot reproduce every value exactly, but stays within a few units in the last place. 2**-20 is eight of them.
RELATIVE_TOLERANCE = 2.0**-20
# Elements that are looked at before a layout is checked in full.
_SAMPLE = 4096
# Neighbours of the quotient that are tried as the factor, in units in the last place.
_ULPS = (0, 1, -1, 2, -2, 3, -3)


@dataclasses.dataclass(frozen=True)
class Match:
    """How one frozen weight reproduces one constant.

    Args:
        codes: uint8 in the constant's shape.
        codebook: float32 `[groups * 2**bits]`.
        offset: int32 `2**bits * group` per element, broadcastable; None for one codebook.
        scale: float32, broadcastable to the constant, or None if every factor is 1.
        deviation: largest relative deviation of the decoded values; 0 for bit-exact.
        dead: output channels whose factor is 0 although their codes are not.
        input_scale: float32 `[input channels]`, factors of the operator's *input*, which the converter had folded into the
            weight (a BatchNorm before a fully connected layer); None if there are none. `decoded * scale * input_scale`
            is the constant.
    """

    codes: np.ndarray
    codebook: np.ndarray
    offset: np.ndarray | None
    scale: np.ndarray | None
    deviation: float
    dead: int
    input_scale: np.ndarray | None = None


def find(
    weight: FrozenWeight,
    values: np.ndarray,
    channel_axis: int | None,
    input_axis: int | None = None,
    both: bool = True,
) -> Match | None:
    """The match of a frozen weight with a constant of a graph.

    Args:
        weight: the frozen weight, in Keras's layout.
        values: float32, the constant.
        channel_axis: the constant's output-channel dimension, along which factors may have been folded; None if the operator
            has none.
        input_axis: the dimension of the operator's input channels, if the converter folds factors along it as well.

        both: whether factors along both dimensions at once are tried, which takes longest.

    Returns:
        The best match over all layouts, or None. The fewer factors, the better.
    """
    if weight.indices.size != values.size or values.size == 0:
        return None
    match = _find_along(weight, values, channel_axis)
    if match is not None or input_axis is None or channel_axis is None:
        return match
    match = _find_along(weight, values, input_axis)
    if match is None:
        return _find_both(weight, values, channel_axis) if both else None
    factors = None if match.scale is None else match.scale.reshape(-1)
    return dataclasses.replace(match, scale=None, input_scale=factors)


def _extended(weight: FrozenWeight) -> tuple[int, np.ndarray, np.ndarray]:
    """Codes per codebook; int32 indices into all codebooks in a row, in Keras's layout; those codebooks."""
    codes_of = 2**weight.bits
    extended = weight.indices.astype(np.int32)
    if weight.group_size is not None:
        extended = extended + codes_of * channel_groups(weight)
    return codes_of, extended, np.ascontiguousarray(weight.codebook.reshape(-1))


def _find_along(weight: FrozenWeight, values: np.ndarray, channel_axis: int | None) -> Match | None:
    """The match with factors along one dimension at most."""
    codes_of, extended, codebook = _extended(weight)
    codebooks = _roundings(codebook)
    grouped = weight.group_size is not None
    best: Match | None = None
    for layout in _layouts(extended.shape):
        if not _sample_agrees(extended, layout, codebooks[0].size, values, channel_axis):
            continue
        keys = np.ascontiguousarray(extended.transpose(layout)).reshape(values.shape)
        matches = (_check(keys, codebook, codes_of, values, channel_axis, grouped) for codebook in codebooks)
        match = next((m for m in matches if m is not None), None)
        if match is not None and (best is None or _rank(match) < _rank(best)):
            best = match
            if _rank(match) == (0, 0, 0.0):
                break
    return best


def _find_both(weight: FrozenWeight, values: np.ndarray, channel_axis: int) -> Match | None:
    """The match of a matrix with a factor for each row and one for each column."""
    if values.ndim != 2 or min(values.shape) < 3 or not np.all(np.isfinite(values)):
        return None
    codes_of, extended, codebook = _extended(weight)
    target = values.astype(np.float64)
    for layout in _layouts(extended.shape):
        keys = np.ascontiguousarray(extended.transpose(layout)).reshape(values.shape)
        base = codebook[keys].astype(np.float64)
        if np.any((base == 0) & (target != 0)):
            continue
        rows, columns = _rank_one(base, target)
        product = (base * rows[:, None]).astype(np.float32).astype(np.float64) * columns
        error = np.abs(product - target)
        # The two factors are estimated from rounded products of both: twice the tolerance of one.
        if np.all(error <= 2 * RELATIVE_TOLERANCE * np.maximum(np.abs(target), np.finfo(np.float32).tiny)):
            scale, input_scale = (rows[:, None], columns) if channel_axis == 0 else (columns[None, :], rows)
            codes = (keys % codes_of).astype(np.uint8)
            return Match(
                codes=codes,
                codebook=codebook,
                offset=None if weight.group_size is None else _squeeze(keys - codes),
                scale=scale.astype(np.float32),
                deviation=float((error / np.maximum(np.abs(target), np.finfo(np.float32).tiny)).max()),
                dead=0,
                input_scale=input_scale.astype(np.float32),
            )
    return None


def _rank_one(base: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Factors of rows and columns with `target = rows * base * columns` as far as there are any.

    They spread from one row over the elements whose base is not 0, row by column by row. What cannot be reached (all of its
    codes are 0) has the factor 1; a row or column that is 0 although its codes are not has the factor 0.
    """
    usable = (base != 0) & (target != 0)
    with np.errstate(all="ignore"):
        ratio = np.where(usable, target / base, 0.0)
    rows, columns = np.zeros(base.shape[0]), np.zeros(base.shape[1])
    known_rows, known_columns = np.zeros(len(rows), bool), np.zeros(len(columns), bool)
    while True:
        waiting = usable.any(axis=1) & ~known_rows
        if not waiting.any():
            break
        start = int(np.where(waiting, usable.sum(axis=1), -1).argmax())
        rows[start], known_rows[start] = 1.0, True
        for _ in range(base.shape[0] + base.shape[1]):
            reached = int(known_rows.sum() + known_columns.sum())
            _spread(usable, ratio, rows, known_rows, columns, known_columns)
            _spread(usable.T, ratio.T, columns, known_columns, rows, known_rows)
            if int(known_rows.sum() + known_columns.sum()) == reached:
                break
    for factors, known, axis in ((rows, known_rows, 1), (columns, known_columns, 0)):
        coded = np.count_nonzero(base, axis=axis) > 0
        factors[~known] = np.where(coded, 0.0, 1.0)[~known]
    return rows.astype(np.float32).astype(np.float64), columns.astype(np.float32).astype(np.float64)


def _spread(
    usable: np.ndarray,
    ratio: np.ndarray,
    rows: np.ndarray,
    known_rows: np.ndarray,
    columns: np.ndarray,
    known: np.ndarray,
) -> None:
    """Factors of new columns from those of known rows, in place."""
    bridge = usable & known_rows[:, None]
    new = bridge.any(axis=0) & ~known
    first = bridge.argmax(axis=0)
    position = np.flatnonzero(new)
    columns[position] = ratio[first[position], position] / rows[first[position]]
    known |= new


def _roundings(codebook: np.ndarray) -> list[np.ndarray]:
    """The codebook, and as layers hold it whose own dtype is float16 or bfloat16."""
    with np.errstate(over="ignore", under="ignore"):
        half = codebook.astype(np.float16).astype(np.float32)
    raw = codebook.view(np.uint32).astype(np.uint64)  # bfloat16: the upper half, rounded to nearest, ties to even
    brain = ((raw + 0x7FFF + ((raw >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    return [codebook, *(c for c in (half, brain) if np.all(np.isfinite(c)))]


def _rank(match: Match) -> tuple[int, int, float]:
    return (int(match.scale is not None), match.dead, match.deviation)


def channel_groups(weight: FrozenWeight) -> np.ndarray:
    """int32, broadcastable to the weight: which codebook each element uses."""
    assert weight.group_size is not None
    rank = weight.indices.ndim
    channel = np.zeros([1] * rank, np.int32)
    for axis in (a % rank for a in weight.channel_axis):
        size = weight.indices.shape[axis]
        channel = channel * size + np.arange(size, dtype=np.int32).reshape(
            [-1 if a == axis else 1 for a in range(rank)]
        )
    return channel // weight.group_size


def _layouts(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Every order of the axes that gives a different order of elements, the usual ones first."""
    wide = [a for a, size in enumerate(shape) if size != 1]
    narrow = [a for a, size in enumerate(shape) if size == 1]
    usual = [tuple(wide)]
    if len(wide) > 1:
        usual.append((wide[-1], *wide[:-1]))  # HWIO -> OHWI
        usual.append((wide[-2], *wide[:-2], wide[-1]))  # HWOI -> OHWI
    for order in dict.fromkeys([*usual, *itertools.permutations(wide)]):
        yield (*narrow, *order)


def _sample_agrees(
    extended: np.ndarray, layout: tuple[int, ...], entries: int, values: np.ndarray, channel_axis: int | None
) -> bool:
    """Whether the first elements could belong together: in one channel, one code has one value."""
    count = min(values.size, _SAMPLE)
    flat = np.arange(count)
    order = np.unravel_index(flat, [extended.shape[a] for a in layout])
    position: list[np.ndarray] = [flat] * extended.ndim
    for axis, index in zip(layout, order, strict=True):
        position[axis] = index
    keys = extended[tuple(position)]
    target = values.reshape(-1)[:count]
    if channel_axis is not None:
        channel = np.unravel_index(flat, values.shape)[channel_axis]
        keys = keys + channel * entries
    table = np.zeros(int(keys.max()) + 1, np.float32)
    table[keys] = target
    return bool(np.array_equal(table[keys], target))


def _check(
    keys: np.ndarray,
    codebook: np.ndarray,
    codes_of: int,
    values: np.ndarray,
    channel_axis: int | None,
    grouped: bool,
) -> Match | None:
    codes = (keys % codes_of).astype(np.uint8)
    offset = _squeeze(keys - codes) if grouped else None
    if np.array_equal(codebook[keys], values):
        return Match(codes, codebook, offset, None, 0.0, 0)
    axis = 0 if channel_axis is None else channel_axis
    channels = values.shape[axis] if channel_axis is not None else 1
    by_channel = keys if channel_axis is None else np.moveaxis(keys, axis, 0)
    target = values if channel_axis is None else np.moveaxis(values, axis, 0)
    rows = np.arange(channels)[:, None]
    keys2, target2 = by_channel.reshape(channels, -1), target.reshape(channels, -1)
    # One value per channel and code, or no match. `present` says which codes a channel uses.
    table = np.zeros((channels, codebook.size), np.float32)
    present = np.zeros(table.shape, bool)
    table[rows, keys2] = target2
    present[rows, keys2] = True
    if not np.array_equal(table[rows, keys2], target2) or not np.all(np.isfinite(table)):
        return None
    shared = _shared_codebook(table, present, codebook)
    if shared is not None:
        return Match(codes, shared, offset, None, 0.0, 0)
    factors = _factors(table, present, codebook)
    if factors is None or channel_axis is None:
        return None
    scale, deviation = factors
    dead = int(np.sum((scale == 0) & np.any(present & (codebook != 0), axis=1)))
    shape = [channels if d == axis else 1 for d in range(values.ndim)]
    return Match(codes, codebook, offset, scale.reshape(shape), deviation, dead)


def _squeeze(values: np.ndarray) -> np.ndarray:
    """The same values with size 1 along every dimension they do not depend on."""
    for axis in range(values.ndim):
        first = np.take(values, [0], axis)
        if np.array_equal(np.broadcast_to(first, values.shape), values):
            values = first
    return np.ascontiguousarray(values, np.int32)


def _shared_codebook(table: np.ndarray, present: np.ndarray, codebook: np.ndarray) -> np.ndarray | None:
    """One codebook that serves every channel exactly, where the same factor was folded into all of them; else None.

    The factor must explain the values: a constant is not a weight's image only because some codebook fits it.
    """
    used = np.asarray(present.any(axis=0))
    first = table[present.argmax(axis=0), np.arange(table.shape[1])]
    if not np.array_equal(np.where(present, table, 0), np.where(present, first, 0)):
        return None
    factors = _factors(first[None, :], used[None, :], codebook)
    if factors is None:
        return None
    with np.errstate(over="ignore", under="ignore"):
        unused = (codebook * factors[0][0]).astype(np.float32)  # codes that no weight has, for completeness
    unused[~np.isfinite(unused)] = 0
    return np.where(used, first, unused).astype(np.float32)


def _factors(table: np.ndarray, present: np.ndarray, codebook: np.ndarray) -> tuple[np.ndarray, float] | None:
    """The factor of every channel, with the largest relative deviation; None if some channel has none.

    Args:
        table: float32 `[channels, codes]`, the value of each code in each channel where `present`.
    """
    base = codebook.astype(np.float64)
    usable = present & (base != 0)
    anchor = np.where(usable, np.abs(base), -1.0).argmax(axis=1)
    has_anchor = usable.any(axis=1)
    rows = np.arange(len(table))
    with np.errstate(all="ignore"):
        quotient = np.where(has_anchor, table[rows, anchor] / np.where(has_anchor, base[anchor], 1.0), 1.0)
        start = quotient.astype(np.float32)
        best_scale, best = start, np.full(len(table), np.inf)
        for step in _ULPS:
            scale = _step(start, step)
            product = (scale[:, None] * codebook).astype(np.float32)
            error = np.abs(product.astype(np.float64) - table) / np.maximum(np.abs(table), np.finfo(np.float32).tiny)
            worst = np.where(present, error, 0.0).max(axis=1)
            worst[~np.isfinite(worst) | ~np.isfinite(scale)] = np.inf
            better = worst < best
            best_scale, best = np.where(better, scale, best_scale), np.where(better, worst, best)
            if not best.any():
                break
    deviation = float(best.max(initial=0.0))
    return (best_scale.astype(np.float32), deviation) if deviation <= RELATIVE_TOLERANCE else None


def _step(values: np.ndarray, ulps: int) -> np.ndarray:
    toward = np.float32(np.inf if ulps > 0 else -np.inf)
    for _ in range(abs(ulps)):
        values = np.nextafter(values, toward)
    return values
