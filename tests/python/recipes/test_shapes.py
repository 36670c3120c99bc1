"""The procedural image set: balanced, deterministic, shapes that are what their names say."""

import numpy as np
import pytest

from dgms_keras.recipes.shapes import CLASSES, SIDE, _distance, draw_shapes, load_shapes


def test_images_labels_and_determinism():
    shapes = load_shapes(train=120, test=60, seed=3)
    assert shapes.x_train.shape == (120, SIDE, SIDE, 3) and shapes.x_test.shape == (60, SIDE, SIDE, 3)
    assert shapes.x_train.dtype == np.float32 and np.abs(shapes.x_train).max() <= 1
    assert shapes.y_train.dtype == np.int64
    np.testing.assert_array_equal(np.bincount(shapes.y_train), 10)
    np.testing.assert_array_equal(np.bincount(shapes.y_test), 5)
    np.testing.assert_array_equal(load_shapes(120, 60, seed=3).x_test, shapes.x_test)
    assert not np.array_equal(load_shapes(120, 60, seed=4).x_test, shapes.x_test)
    trained_on = {image.tobytes() for image in shapes.x_train}
    assert not any(image.tobytes() in trained_on for image in shapes.x_test)


def test_every_image_shows_something():
    """Without noise a shape's colour is at least 0.3 from its background's mean, over a hundred pixels or so."""
    images, _ = draw_shapes(240, seed=0, noise=0.0)
    spread = images.max(axis=(1, 2)) - images.min(axis=(1, 2))
    assert np.all(spread.max(axis=1) > 0.3)


# Areas of the shapes by geometry, in units of the radius squared. A grid of 400 x 400 points is off by about 1 %.
AREAS = {
    "disk": np.pi * 0.9**2,
    "ellipse": np.pi * 0.95 * 0.6,
    **{
        name: n / 2 * np.sin(2 * np.pi / n)
        for name, n in (("triangle", 3), ("square", 4), ("pentagon", 5), ("hexagon", 6))
    },
    **{f"star{n}": n * 0.42 * np.sin(np.pi / n) for n in (4, 5)},
    "plus": 2 * 1.9 * 0.6 - 0.6**2,
    "ring": np.pi * (0.93**2 - 0.57**2),
    "frame": 4 * (0.74**2 - 0.46**2),
}


@pytest.mark.parametrize("name", list(AREAS))
def test_areas(name):
    axis = (np.arange(400) + 0.5) / 400 * 2.2 - 1.1
    u, v = np.meshgrid(axis, axis)
    inside = np.count_nonzero(_distance(name, u, v) < 0) * (2.2 / 400) ** 2
    assert inside == pytest.approx(AREAS[name], rel=0.02)


def test_the_crescent_and_unknown_names():
    axis = np.linspace(-1, 1, 201)
    u, v = np.meshgrid(axis, axis)
    inside = _distance("crescent", u, v) < 0
    assert inside[100, 10] and not inside[100, 110] and set(CLASSES) == {*AREAS, "crescent"}
    with pytest.raises(ValueError, match=r"`name` must be one of disk, .*Received: 'cube'"):
        _distance("cube", u, v)
