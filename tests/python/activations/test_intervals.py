"""QIL's quantiser against its formulas in NumPy float64, and its gradients against finite differences."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from dgms_keras.activations.intervals import quantize_interval

CASES = [(0.7, 0.5, 7, None), (0.5, 0.5, 15, None), (1.2, 0.3, 1, None), (0.7, 0.5, 7, 1.3), (0.7, 0.5, 3, 0.6)]


def power(x, center, distance, exponent):
    """The transformer without its sign (Eq. 3, 4)."""
    return np.clip(0.5 + (np.abs(x) - center) / (2 * distance), 0, 1) ** (1.0 if exponent is None else exponent)


def oracle(x, center, distance, levels, exponent):
    return (center + distance) * np.sign(x) * np.round(power(x, center, distance, exponent) * levels) / levels


@pytest.mark.parametrize("case", CASES)
def test_values(case, rng):
    center, distance, levels, exponent = case
    x = rng.normal(size=(50, 40)).astype("float32")
    exact = power(x.astype("float64"), center, distance, exponent) * levels
    safe = np.abs(exact - np.floor(exact) - 0.5) > 1e-4  # float32 may round the others to the other side
    received = np.array(quantize_interval(x, *case))
    expected = oracle(x.astype("float64"), *case)
    np.testing.assert_allclose(received[safe], expected[safe], rtol=1e-6, atol=0)
    assert len(np.unique(received)) <= 2 * levels + 1


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=30),
    st.floats(0.01, 10),
    st.floats(0.01, 10),
    st.sampled_from([1, 3, 7, 15, 127, 255]),
)
def test_every_value_is_a_level(x, center, distance, levels):
    center, distance = max(center, distance), min(center, distance)
    y = np.array(quantize_interval(np.array(x, "float32"), center, distance, levels), "float64")
    steps = y / (np.float32(center) + np.float32(distance)) * levels
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)  # a few float32 roundings of a number up to 255
    assert np.all(np.abs(np.round(steps)) <= levels)
    assert np.all((np.sign(y) == np.sign(x)) | (y == 0))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="uses tf.GradientTape")
@pytest.mark.parametrize("case", CASES)
def test_gradients(case, rng):
    """Rounding is the identity for gradients: what is differentiated is the transformer plus a constant rounding error."""
    center, distance, levels, exponent = case
    x = rng.normal(size=400).astype("float32")
    upstream = rng.normal(size=400)
    t = 0.5 + (np.abs(x) - center) / (2 * distance)
    keep = (np.abs(t) > 1e-2) & (
        np.abs(t - 1) > 1e-3
    )  # at the kinks there are two derivatives; at 0 one may be infinite
    x, upstream = x[keep], upstream[keep]
    wide = x.astype("float64")
    error = np.round(power(wide, center, distance, exponent) * levels) / levels - power(
        wide, center, distance, exponent
    )

    def surrogate(x, center, distance, exponent):
        return upstream * (center + distance) * np.sign(x) * (power(x, center, distance, exponent) + error)

    variables = [tf.Variable(v, dtype=tf.float32) for v in (x, center, distance, 1.0 if exponent is None else exponent)]
    with tf.GradientTape() as tape:
        v = variables
        y = quantize_interval(v[0], v[1], v[2], levels, None if exponent is None else v[3])
        loss = tf.reduce_sum(y * upstream.astype("float32"))
    received = tape.gradient(loss, variables)
    h = 1e-6
    arguments = [wide, center, distance, 1.0 if exponent is None else exponent]
    for position in range(4 if exponent is not None else 3):
        up, down = list(arguments), list(arguments)
        up[position], down[position] = up[position] + h, down[position] - h
        slope = (surrogate(*up) - surrogate(*down)) / (2 * h)
        expected = slope if position == 0 else slope.sum()
        # float32 sums of about 300 terms of size 1; central differences are good to 1e-8.
        np.testing.assert_allclose(np.array(received[position]), expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_shape_and_dtype_are_kept(dtype):
    x = keras.ops.cast(np.linspace(-2, 2, 24).reshape(2, 3, 4), dtype)
    y = quantize_interval(x, 0.5, 0.5, 15)
    assert keras.backend.standardize_dtype(y.dtype) == dtype and tuple(y.shape) == (2, 3, 4)


def test_an_interval_from_zero_is_the_uniform_quantiser():
    x = np.linspace(-1.5, 1.5, 1001).astype("float32")
    expected = np.clip(np.round(np.clip(np.abs(x.astype("float64")), 0, 1) * 7), 0, 7) / 7 * np.sign(x)
    received = np.array(quantize_interval(x, 0.5, 0.5, 7))
    # Values half way between two levels may go either way in float32.
    halves = np.abs(np.abs(x) * 7 % 1 - 0.5) < 1e-4
    np.testing.assert_allclose(received[~halves], expected[~halves], atol=1e-6)
