"""Pictures of mixtures: a layer's weights, the components' densities and the codebook (the paper's Fig. 4)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dgms_keras.frozen import Mixture


def component_densities(w: np.ndarray, mixture: Mixture) -> np.ndarray:
    """`pi_k * N_k(w)` for drawing, float64 `[len(w), 2**bits]` (Sec. 3, Eq. 1); one codebook only."""
    mu, pi, gamma = (np.asarray(a, np.float64) for a in (mixture.mu, mixture.pi, mixture.gamma))
    z = (w[:, np.newaxis] - mu) / gamma
    return pi * np.exp(-0.5 * z * z) / (np.sqrt(2 * np.pi) * gamma)


def draw_mixture(axes: Any, weights: np.ndarray, mixture: Mixture, title: str) -> float:
    """Draws one state of a layer: histogram of the latent weights, component densities, codebook as marks below. Returns how
    high the density axis reaches."""
    weights = np.ravel(weights)
    low, high = np.quantile(weights, [0.0005, 0.9995])
    margin = 0.05 * (high - low) or 1e-3
    grid = np.linspace(low - margin, high + margin, 2000)
    heights, _, _ = axes.hist(
        weights, bins=200, range=(grid[0], grid[-1]), density=True, color="#b8c4d6", label="weights"
    )
    used = mixture.pi > 1e-6
    for k in np.flatnonzero(used):
        axes.axvline(mixture.mu[k], ymax=0.03, color="#c0392b" if k == 0 else "#1f4e79", lw=2)
    densities = component_densities(grid, mixture)[:, used]
    total = densities.sum(axis=1)
    # A narrow component may be far higher than the histogram: it is cut off.
    top = 1.05 * max(heights.max(), min(total.max(), 1.9 * heights.max()))
    for k, density in zip(np.flatnonzero(used), densities.T, strict=True):
        axes.plot(
            grid, density, color="#c0392b" if k == 0 else "#1f4e79", lw=0.9, label="zero component" if k == 0 else None
        )
    axes.plot(grid, total, color="black", lw=1.2, ls="--", label="mixture")
    axes.set_ylim(0, top)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("weight")
    axes.set_ylabel("density")
    return top


def save_before_after(
    path: str | os.PathLike[str], rows: Sequence[tuple[str, np.ndarray, Mixture, np.ndarray, Mixture]]
) -> Path:
    """Draws layers before and after training side by side (the paper's Fig. 4) and saves the picture.

    Args:
        path: the picture's file, e.g. `"mixture.png"`.
        rows: for each row its title, then weights and mixture before, then weights and mixture after.

    Raises:
        ModuleNotFoundError: matplotlib is missing (`pip install "dgms-keras[report]"`).
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'pictures need matplotlib: `pip install "dgms-keras[report]"`. Received: {error}'
        ) from None
    figure = Figure(figsize=(12, 3.2 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), 2, squeeze=False, sharex="row", sharey="row")
    for (left, right), (title, w_before, before, w_after, after) in zip(grid, rows, strict=True):
        tops = (
            draw_mixture(left, w_before, before, f"{title}: before training (k-means)"),
            draw_mixture(right, w_after, after, f"{title}: after training"),
        )
        left.set_ylim(0, max(tops))  # both: they share it
    figure.axes[0].legend(fontsize=8, loc="upper right")
    path = Path(path)
    temporary = path.with_name(f".{path.name}.new")
    figure.savefig(temporary, format=path.suffix.lstrip(".") or "png", dpi=130)
    os.replace(temporary, path)
    return path
