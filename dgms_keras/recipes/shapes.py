"""A procedural image set: coloured shapes in clutter, made by NumPy alone, the same for the same seed.

Twelve classes, some of them close (pentagon, hexagon, disk) at 32 x 32 pixels, any rotation, size, place and colour, before a
shaded background with stripes and noise: a small network reaches 90 to 97 % and has something to lose.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

SIDE = 32
CLASSES = (
    "disk",
    "ellipse",
    "triangle",
    "square",
    "pentagon",
    "hexagon",
    "star4",
    "star5",
    "plus",
    "ring",
    "frame",
    "crescent",
)
# Images drawn at once: memory, not speed, is what this bounds.
_BLOCK = 500


@dataclasses.dataclass(frozen=True)
class Shapes:
    """Images float32 `[n, 32, 32, 3]` in [-1, 1] and labels int64 `[n]`, equal shares of each class."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def load_shapes(train: int = 8000, test: int = 4000, seed: int = 0, noise: float = 0.1) -> Shapes:
    """Training and test images, drawn independently.

    Args:
        train, test: how many.
        seed: >= 0; of everything random.
        noise: standard deviation of the pixel noise, in units of the range from black to white.
    """
    x_train, y_train = draw_shapes(train, seed=2 * seed, noise=noise)
    x_test, y_test = draw_shapes(test, seed=2 * seed + 1, noise=noise)
    return Shapes(x_train, y_train, x_test, y_test)


def draw_shapes(count: int, seed: int = 0, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Images `[count, 32, 32, 3]` and labels `[count]`, in random order."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(count) % len(CLASSES))
    images = np.empty((count, SIDE, SIDE, 3), np.float32)
    for start in range(0, count, _BLOCK):
        part = slice(start, min(start + _BLOCK, count))
        images[part] = _draw(labels[part], generator, noise)
    return images, labels.astype(np.int64)


def _draw(labels: np.ndarray, generator: np.random.Generator, noise: float) -> np.ndarray:
    count = len(labels)

    def uniform(low: float, high: float, *shape: int) -> np.ndarray:
        return generator.uniform(low, high, (count, *shape)).astype(np.float32)

    axis = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE * 2 - 1
    radius, angle = uniform(0.55, 0.85), uniform(0, 2 * np.pi)
    room = 1 - radius  # the shape stays inside
    dx, dy = uniform(-1, 1) * room, uniform(-1, 1) * room
    x = axis[None, None, :] - dx[:, None, None]
    y = axis[None, :, None] - dy[:, None, None]
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    u, v = (x * cos + y * sin) / radius[:, None, None], (y * cos - x * sin) / radius[:, None, None]
    # Distances become coverage over about one pixel.
    distance = np.empty_like(u)
    for number, name in enumerate(CLASSES):
        of_class = labels == number
        distance[of_class] = _distance(name, u[of_class], v[of_class])
    pixel = 2.0 / SIDE / radius[:, None, None]
    coverage = np.clip(0.5 - distance / pixel, 0, 1)[..., None]
    background = _background(axis, uniform)
    colour = uniform(-1, 1, 1, 1, 3)
    # A shape that cannot be seen teaches nothing: push its colour away from what is behind it.
    behind = background.mean(axis=(1, 2), keepdims=True)
    gap = colour - behind
    colour = np.clip(behind + np.where(gap >= 0, 1, -1) * np.maximum(np.abs(gap), 0.3), -1, 1)
    images = background * (1 - coverage) + colour * coverage
    images = images + generator.standard_normal(images.shape).astype(np.float32) * noise
    return np.clip(images, -1, 1).astype(np.float32)


def _background(axis: np.ndarray, uniform: Callable[..., np.ndarray]) -> np.ndarray:
    """A base colour, a gradient, and stripes."""
    across, down = axis[None, None, :, None], axis[None, :, None, None]
    base = uniform(-0.6, 0.6, 1, 1, 3)
    slope = uniform(-0.3, 0.3, 1, 1, 3) * across + uniform(-0.3, 0.3, 1, 1, 3) * down
    frequency, phase, turn = uniform(3, 9, 1, 1, 1), uniform(0, 6.28, 1, 1, 1), uniform(0, np.pi, 1, 1, 1)
    stripes = np.sin(frequency * (across * np.cos(turn) + down * np.sin(turn)) + phase)
    return base + slope + uniform(-0.25, 0.25, 1, 1, 3) * stripes


def _distance(name: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """How far each point is outside of a shape of radius 1 (negative: inside), about."""
    r = np.hypot(u, v)
    if name == "disk":
        return r - 0.9
    if name == "ellipse":
        return np.hypot(u / 0.95, v / 0.6) * 0.75 - 0.75
    if name in ("triangle", "square", "pentagon", "hexagon"):
        return _polygon(u, v, ("triangle", "square", "pentagon", "hexagon").index(name) + 3)
    if name in ("star4", "star5"):
        return _star(u, v, int(name[-1]))
    if name == "plus":
        a, b = np.abs(u), np.abs(v)
        return np.minimum(np.maximum(a - 0.95, b - 0.3), np.maximum(b - 0.95, a - 0.3))
    if name == "ring":
        return np.abs(r - 0.75) - 0.18
    if name == "frame":
        return np.abs(np.maximum(np.abs(u), np.abs(v)) - 0.6) - 0.14
    if name == "crescent":
        return np.maximum(r - 0.95, 0.8 - np.hypot(u - 0.45, v))
    raise ValueError(f"`name` must be one of {', '.join(CLASSES)}. Received: {name!r}")


def _polygon(u: np.ndarray, v: np.ndarray, sides: int) -> np.ndarray:
    """A regular polygon with corners at radius 1."""
    sector = 2 * np.pi / sides
    angle = np.mod(np.arctan2(v, u), sector) - sector / 2
    return np.hypot(u, v) * np.cos(angle) - np.cos(sector / 2)


def _star(u: np.ndarray, v: np.ndarray, points: int) -> np.ndarray:
    """A star whose tips are at radius 1 and whose notches are at 0.42: straight edges between them."""
    sector = np.pi / points
    angle = np.abs(np.mod(np.arctan2(v, u) + sector, 2 * sector) - sector)  # 0 at a tip, `sector` at a notch
    r = np.hypot(u, v)
    a, b = r * np.cos(angle), r * np.sin(angle)
    notch = 0.42 * np.cos(sector), 0.42 * np.sin(sector)
    nx, ny = notch[1], 1 - notch[0]  # normal of the edge from (1, 0) to the notch
    return ((a - 1) * nx + b * ny) / np.hypot(nx, ny)
