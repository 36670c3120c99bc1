"""Calibration's choices against brute force."""

import numpy as np
import pytest

from dgms_keras.activations.statistics import TensorStatistics, best_range, best_threshold
from dgms_keras.activations.uniform import nudged


def error_at(values, threshold, levels):
    rounded = np.round(np.minimum(values, threshold) / threshold * levels) * threshold / levels
    return np.mean((rounded - values) ** 2)


@pytest.mark.parametrize("levels", [1, 3, 7, 15, 255])
def test_the_threshold_is_about_the_best(levels, rng):
    values = np.abs(rng.normal(size=5000)) ** 1.5
    found = best_threshold(values, levels)
    fine = min(error_at(values, t, levels) for t in np.linspace(0.01, values.max(), 2000))
    # 128 candidates against 2000: the error is flat around its minimum.
    assert error_at(values, found, levels) <= 1.03 * fine
    assert found <= values.max()


def test_a_range_for_values_of_both_signs(rng):
    values = rng.normal(size=4000) - 0.3
    values[:3] = (30, -25, 28)  # outliers, which the extremes would follow
    start, end = best_range(values, values.min(), values.max(), 15)
    assert -12 < start < -2 and 2 < end < 14
    wide = nudged(values.min(), values.max(), 15)

    def error(low, high):
        scale = (high - low) / 15
        return np.mean((np.round(np.clip(values, low, high) / scale) * scale - values) ** 2)

    assert error(start, end) < 0.5 * error(*wide)


def test_extremes_and_sample(rng):
    statistics = TensorStatistics()
    assert statistics.is_empty
    for scale in (1.0, 2.0, 0.5):
        statistics.add(scale * rng.uniform(-1, 3, (40, 30, 30)))
    assert not statistics.is_empty and statistics.low == pytest.approx(-2, abs=0.01)
    assert statistics.high == pytest.approx(6, abs=0.01)
    assert statistics.sample().size == 3 * 8192
    assert statistics.sample().mean() == pytest.approx(3.5 / 3, abs=0.1)  # means 1, 2, 0.5; deviation 1.5 / sqrt(24576)


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match=r"activations must be finite. Received: 2 that are not"):
        TensorStatistics().add(np.array([1, np.nan, np.inf]))


def test_nothing_but_zeros():
    assert best_threshold(np.zeros(10), 7) == 1.0
    assert best_range(np.zeros(10), 0.0, 0.0, 15) == (0.0, 1.0)
