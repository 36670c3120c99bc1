"""Start values of a mixture from a layer's weights (Algorithm 1), in NumPy, with every degenerate layer thought of.

    mixture = initial_mixture(kernel, bits=4, name="conv1")                 # one mixture for the whole kernel
    mixture = initial_mixtures(list_of_channel_groups, bits=4, name="conv1")  # [groups, 16] arrays

A layer with fewer distinct weights than codes gets a smaller codebook: the entries that nothing needs are copies of the zero
component with the share `UNUSED_PI`, so `mu` still has `2**bits` entries and no weight is ever assigned to a copy (same mean,
same deviation, smaller share: a smaller posterior everywhere). In that case no centre has to make room for the zero
component either, so the layer's weights are represented exactly.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from dgms_keras.config import BITS
from dgms_keras.frozen import Mixture
from dgms_keras.kmeans import kmeans_1d

# Share of a component that no weight is assigned to.
UNUSED_PI = 1e-12
# Deviation where the weights give no scale at all: an empty or all-zero layer. The paper's empirical constant (Table 5).
DEFAULT_GAMMA = 0.01
# Least deviation as a share of the distance to the nearest other centre. A cluster of equal weights has deviation 0; a uniform
# cluster as wide as that distance has 0.29 of it.
MIN_GAMMA_SHARE = 0.01
# Least deviation as a share of the largest |weight|: centres can be closer than float32 can resolve inside a cluster.
MIN_GAMMA_OF_RANGE = 1e-6

__all__ = ["DEFAULT_GAMMA", "MIN_GAMMA_SHARE", "UNUSED_PI", "initial_mixture", "initial_mixtures", "kmeans_1d"]


def initial_mixture(
    w: np.ndarray,
    bits: int,
    gamma_init: Literal["cluster"] | float = "cluster",
    temperature: float = 0.01,
    seed: int = 0,
    name: str = "",
) -> Mixture:
    """The mixture that training starts from.

    Args:
        w: the weights, any shape (also empty), float16, bfloat16, float32 or float64; finite.
        bits: 2, 3 or 4.
        gamma_init: `"cluster"` (each cluster's own standard deviation) or one number > 0 in the units of `w`.
        temperature: tau, > 0.
        seed: passed to `kmeans_1d` (which has no random step).
        name: the layer's name, for messages.

    Returns:
        A `Mixture`. `mu[0] == 0` is the k-means centre with the smallest absolute value, set to 0; the other centres follow in
        rising order, then unused entries. `pi` is each cluster's share. `gamma` is floored at `MIN_GAMMA_SHARE` of the distance
        to the nearest other centre.

    Raises:
        ValueError: a weight is NaN or infinite, or an argument is out of its range; the message names the layer.

    Warns:
        UserWarning: fewer distinct weights than codes; the codebook shrinks.

    Source: Algorithm 1 and Sec. 3.2; gamma of the cluster's own weights (the printed sum over all weights is a slip).
    """
    _check_arguments(bits, gamma_init, temperature, name)
    mixture, distinct = _one_mixture(np.asarray(w), bits, gamma_init, temperature, seed, name)
    if distinct is not None:
        _warn_small(f"{distinct} distinct weights (of {np.size(w)})", bits, name)
    return mixture


def initial_mixtures(
    groups: Sequence[np.ndarray],
    bits: int,
    gamma_init: Literal["cluster"] | float = "cluster",
    temperature: float = 0.01,
    seed: int = 0,
    name: str = "",
) -> Mixture:
    """One mixture per group of weights: like `initial_mixture`, with `[len(groups), 2**bits]` arrays and tau `[len(groups)]`.

    Args:
        groups: each group's weights; they may differ in size.
        bits, gamma_init, temperature, seed, name: as in `initial_mixture`.

    Raises:
        ValueError: as in `initial_mixture`, or there is no group. The message names the layer and the group.

    Warns:
        UserWarning: once for the layer, with the number of groups that have fewer distinct weights than codes.
    """
    _check_arguments(bits, gamma_init, temperature, name)
    if len(groups) == 0:
        raise ValueError(f"`groups` must hold at least one group. Received: none{_of(name)}")
    made = [
        _one_mixture(np.asarray(w), bits, gamma_init, temperature, seed, f"{name}, group {g}" if name else f"group {g}")
        for g, w in enumerate(groups)
    ]
    small = [distinct for _, distinct in made if distinct is not None]
    if small:
        _warn_small(f"as few as {min(small)} distinct weights in {len(small)} of {len(groups)} groups", bits, name)
    fields = {f: np.stack([getattr(m, f) for m, _ in made]) for f in ("mu", "pi", "gamma", "tau")}
    return Mixture(**fields, bits=bits)


def _of(name: str) -> str:
    return f" (layer {name!r})" if name else ""


def _check_arguments(bits: Any, gamma_init: Any, temperature: Any, name: str) -> None:
    if isinstance(bits, bool) or bits not in BITS:
        raise ValueError(f"`bits` must be 2, 3 or 4. Received: bits={bits!r}{_of(name)}")
    for field, value in (("gamma_init", gamma_init), ("temperature", temperature)):
        if field == "gamma_init" and isinstance(value, str) and value == "cluster":
            continue
        number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value <= 0:
            also = "'cluster' or " if field == "gamma_init" else ""
            raise ValueError(f"`{field}` must be {also}a finite number > 0. Received: {field}={value!r}{_of(name)}")


def _warn_small(found: str, bits: int, name: str) -> None:
    warnings.warn(
        f"a {bits}-bit codebook has {2**bits} values. Received: {found}{_of(name)}; the codebook shrinks to the distinct "
        "weights and 0, and its other entries stay unused",
        UserWarning,
        stacklevel=3,
    )


def _one_mixture(
    w: np.ndarray, bits: int, gamma_init: Literal["cluster"] | float, temperature: float, seed: int, name: str
) -> tuple[Mixture, int | None]:
    """A mixture, and the number of distinct weights where that is below the number of codes."""
    codes = 2**bits
    values = w.astype(np.float32).ravel()
    if not np.all(np.isfinite(values)):
        bad = np.isnan(values).sum(), np.isinf(values).sum()
        raise ValueError(
            f"weights must be finite. Received: {bad[0]} NaN and {bad[1]} infinite values of {values.size}{_of(name)}"
        )
    centers, counts, deviations = kmeans_1d(values, codes, seed)
    distinct = centers.size if centers.size < codes else None
    mu, pi, gamma = _with_zero_component(centers, counts / max(values.size, 1), deviations, codes)
    if gamma_init == "cluster":
        gamma = np.maximum(gamma, _least_gammas(mu, np.max(np.abs(values), initial=0.0)))
    else:
        gamma = np.full_like(gamma, gamma_init)
    unused = codes - mu.size  # copies of the zero component
    mu = np.concatenate([mu, np.zeros(unused)])
    gamma = np.concatenate([gamma, np.full(unused, gamma[0])])
    pi = np.concatenate([np.maximum(pi, UNUSED_PI), np.full(unused, UNUSED_PI)])
    pi = pi / pi.sum() if values.size else np.full(codes, 1 / codes)
    return Mixture(mu=mu, pi=pi, gamma=gamma, tau=np.float32(temperature), bits=bits), distinct


def _with_zero_component(
    centers: np.ndarray, shares: np.ndarray, deviations: np.ndarray, codes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Puts the zero component first: the centre nearest to 0, or a new one where a code is to spare and no centre is 0."""
    nearest = int(np.argmin(np.abs(centers))) if centers.size else 0
    if centers.size < codes and not np.any(centers == 0):
        centers, shares, deviations = (np.insert(x, 0, 0.0) for x in (centers, shares, deviations))
        nearest = 0
    order = np.concatenate([[nearest], np.delete(np.arange(centers.size), nearest)])
    centers, shares, deviations = centers[order], shares[order], deviations[order]
    centers[0] = 0.0
    return centers, shares, deviations


def _least_gammas(mu: np.ndarray, largest: float) -> np.ndarray:
    """The floor of each component's deviation; see the constants."""
    if mu.size == 1 or largest == 0:
        return np.full(mu.size, DEFAULT_GAMMA if largest == 0 else MIN_GAMMA_SHARE * largest)
    order = np.argsort(mu)
    gaps = np.diff(mu[order])
    nearest = np.empty(mu.size)
    nearest[order] = np.minimum(np.append(gaps, np.inf), np.insert(gaps, 0, np.inf))
    return np.maximum(MIN_GAMMA_SHARE * nearest, MIN_GAMMA_OF_RANGE * largest)
