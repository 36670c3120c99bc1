"""Hard assignment by thresholds (Eq. 5): the argmax of K posteriors as a search among a few sorted numbers.

Two log posteriors are quadratics in w, so they cross at most twice, and which component is the largest changes at such crossings
only: at most 2K - 2 of the K(K - 1). One component may own two intervals (a wide one on both sides of a narrow one), or none.
The table of thresholds is made once per call, in float64; each weight then costs one binary search in it.

What is computed: the index of the largest of the float64 log posteriors of the float32 weight; of equal ones the lowest index.
The table holds float32 numbers: a crossing at the real number x separates the float32 weights below x from those at or above
x, and a crossing exactly at a float32 weight gets an entry of its own for that weight, so ties follow the rule too. Not
promised: the winner where two log posteriors differ by less than the rounding of their float64 values, about 1e-15 of the
larger one (two components that are equal but for round-off).
"""

from __future__ import annotations

from typing import Any

from keras import ops

from dgms_keras.backend_ops import bitcast, float64_scope, put
from dgms_keras.mixture_blocks import log_posterior, prepare

_LARGEST = 3.4028235e38
_SMALLEST_NORMAL = 1.17549435e-38


def _next_float(x: Any) -> Any:
    """The next larger float32; from 0 (and denormals, which compiled code reads as 0) to the smallest normal number."""
    bits = bitcast(x, "int32")
    moved = bitcast(ops.where(x > 0, bits + 1, bits - 1), "float32")
    moved = ops.where(ops.abs(x) <= _SMALLEST_NORMAL, ops.where(x < 0, 0.0, _SMALLEST_NORMAL), moved)
    return ops.where(x == _SMALLEST_NORMAL, bitcast(bits + 1, "float32"), moved)


def _crossings(square: Any, linear: Any, constant: Any, other: tuple[Any, Any, Any]) -> Any:
    """float64 `[K, 2]`: where each component's log posterior meets another one's; infinite where it does not."""
    a, b, c = square - other[0], linear - other[1], constant - other[2]
    discriminant = b * b - 4.0 * a * c
    root = ops.sqrt(ops.maximum(discriminant, 0.0))
    # The form without cancellation: q / a and c / q; with equal gammas (a = 0) the second is the only crossing.
    q = -0.5 * (b + ops.where(b >= 0, root, -root))
    none = float("inf")
    first = ops.where(a != 0, q / ops.where(a != 0, a, 1.0), none)
    second = ops.where(q != 0, c / ops.where(q != 0, q, 1.0), ops.where(a != 0, 0.0, none))
    found = ops.stack([first, second], axis=-1)
    return ops.where(ops.expand_dims(discriminant >= 0, -1), found, none)


def threshold_table(mu: Any, pi: Any, gamma: Any) -> tuple[Any, Any]:
    """The intervals of one mixture.

    Args:
        mu, pi, gamma: float32 `[K]`.

    Returns:
        starts: float32 `[4 K]`, sorted; the first is the lowest float32 number, those behind the last interval are infinite.
        owners: int32 `[4 K]`; a weight w belongs to the owner of the last interval with `start <= w`.
    """
    components = mu.shape[0]
    p = prepare(*(ops.expand_dims(x, 0) for x in (mu, pi, gamma)), ops.ones((1,), "float32"))
    columns = 4 * components
    with float64_scope():
        square, linear, constant = (ops.reshape(x, (-1,)) for x in (p.square, p.linear, p.constant))

    def candidates(k: Any) -> Any:
        """Where component k may start to win or to lose."""
        with float64_scope():
            other = tuple(ops.take(x, k) for x in (square, linear, constant))
            exact = ops.reshape(_crossings(square, linear, constant, other), (-1,))
            exact = ops.clip(exact, -_LARGEST, _LARGEST)
            rounded = ops.cast(exact, "float32")
            below = ops.cast(rounded, "float64") < exact
        start = ops.where(below, _next_float(rounded), rounded)
        start = ops.concatenate([start, _next_float(start)])
        return ops.where(ops.abs(start) < _LARGEST, start, _LARGEST)

    extent = ops.max(ops.abs(mu)) + ops.max(gamma)

    def owners_of(starts: Any) -> Any:
        """Who owns each interval: the argmax inside it, well away from its ends, where log posteriors cross. An interval of one
        float32 weight is that weight; the outer ones are looked at in a distance of the mixture's extent."""
        following = ops.concatenate([starts[1:], ops.full((1,), _LARGEST, "float32")])
        sample = starts + 0.5 * (following - starts)
        sample = ops.where(following <= _next_float(starts), starts, sample)
        sample = ops.where(following == _LARGEST, starts + extent, sample)
        outer = ops.where(following[0] == _LARGEST, 0.0, following[0] - extent)
        sample = ops.where(starts == -_LARGEST, outer, sample)
        with float64_scope():
            score = log_posterior(sample, p)
            behind = ops.cast(
                score - ops.max(score, axis=0), "float32"
            )  # keeps the order; argmax on JAX needs its own ints
        return ops.cast(ops.argmax(behind, axis=0), "int32")

    def step(k: Any, table: tuple[Any]) -> tuple[Any]:
        """Merges component k's candidates into the table and keeps the starts at which the owner changes. (None of those is
        lost before all components are merged: next to a crossing of k, k owns all or nothing up to its next crossing.)"""
        starts = ops.sort(ops.concatenate([table[0], candidates(k)]))
        # The last of equal starts stands for all: an interval without weights must not count as a change.
        following = ops.concatenate([starts[1:], ops.full((1,), float("inf"), "float32")])
        starts = ops.sort(ops.where(starts == following, _LARGEST, starts))
        owners = owners_of(starts)
        changes = ops.logical_or(owners != ops.roll(owners, 1), ops.arange(starts.shape[0], dtype="int32") == 0)
        return (ops.sort(ops.where(changes, starts, _LARGEST))[:columns],)

    first = ops.concatenate([ops.full((1,), -_LARGEST, "float32"), ops.full((columns - 1,), _LARGEST, "float32")])
    (starts,) = ops.fori_loop(0, components, step, (first,))
    return starts, owners_of(starts)


def threshold_tables(mu: Any, pi: Any, gamma: Any) -> tuple[Any, Any]:
    """`threshold_table` for each mixture: `[G, K]` -> starts and owners `[G, 4 K]`."""
    groups, components = mu.shape
    if groups == 1:
        return tuple(ops.expand_dims(x, 0) for x in threshold_table(mu[0], pi[0], gamma[0]))

    def step(g: Any, tables: tuple[Any, Any]) -> tuple[Any, Any]:
        row = (ops.reshape(ops.slice(x, (g, 0), (1, components)), (-1,)) for x in (mu, pi, gamma))
        made = threshold_table(*row)
        return tuple(put(table, (g, 0), ops.expand_dims(x, 0)) for table, x in zip(tables, made, strict=True))

    shape = (groups, 4 * components)
    return ops.fori_loop(0, groups, step, (ops.zeros(shape, "float32"), ops.zeros(shape, "int32")))


def find(w: Any, starts: Any, owners: Any) -> Any:
    """The owner of the last interval that starts at or below each weight (binary search), in the shape of `w`.

    Args:
        w: float32 `[G, n]`, or `[n]` for one group.
        starts, owners: `[G, 4 K]`, from `threshold_tables` or `lookup_tables`; the result has the dtype of `owners`.
    """
    groups, size = starts.shape
    starts, owners = ops.reshape(starts, (-1,)), ops.reshape(owners, (-1,))
    row = 0 if groups == 1 else ops.expand_dims(ops.arange(groups, dtype="int32") * size, 1)
    place = ops.zeros(w.shape, "int32")
    step = 1 << (size - 1).bit_length()
    while step > 1:
        step //= 2
        trial = ops.minimum(place + step, size - 1)
        place = ops.where(ops.take(starts, row + trial) <= w, trial, place)
    return ops.take(owners, row + place)


def lookup_tables(mu: Any, pi: Any, gamma: Any, what: str) -> tuple[Any, Any]:
    """What `find` needs to give, for each weight, its hard index (`what="indices"`, int32) or mu there (`"weights"`, float32).
    `mu`, `pi`, `gamma`: float32 `[G, K]`."""
    starts, owners = threshold_tables(mu, pi, gamma)
    if what == "indices":
        return starts, owners
    # mu itself in place of the owners: one gather for each weight instead of two.
    row = ops.expand_dims(ops.arange(mu.shape[0], dtype="int32") * mu.shape[1], 1)
    return starts, ops.take(ops.reshape(mu, (-1,)), row + owners)
