"""The uniform quantiser against TensorFlow's own fake quantisation."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given
from hypothesis import strategies as st

from dgms_keras.activations.uniform import nudged, quantize_range


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize(("low", "high"), [(0.0, 3.7), (-1.3, 2.9), (-4.0, 0.0)])
def test_like_fake_quantisation(bits, low, high, rng):
    x = rng.uniform(-5, 5, 500).astype("float32")
    start, end = nudged(low, high, 2**bits - 1)
    with tf.GradientTape() as tape:
        v = tf.Variable(x)
        received = quantize_range(v, start, end, 2**bits - 1)
    expected = tf.quantization.fake_quant_with_min_max_args(x, start, end, num_bits=bits)
    step = (end - start) / (2**bits - 1)
    off = np.abs(received - expected)
    # Both compute in float32, in another order: a value half way between two levels may take the other one.
    assert np.mean(off > 1e-5) < 0.01 and np.all(off < 1.01 * step)
    gradient = np.array(tape.gradient(received, v))
    np.testing.assert_array_equal(gradient, ((x >= np.float32(start)) & (x <= np.float32(end))).astype("float32"))


@given(st.floats(-100, 0), st.floats(0, 100), st.sampled_from([3, 7, 15, 255]))
@example(0.0, 5e-324, 3)  # the step is 0 in float64
@example(-1e-39, 0.0, 3)
def test_zero_is_a_level_and_the_range_keeps_its_width(low, high, steps):
    start, end = nudged(low, high, steps)
    width = high - low if (high - low) / steps >= np.finfo("float32").tiny else 1.0
    assert start <= 0 <= end
    assert end - start == pytest.approx(width, rel=1e-9)
    zero = -start / (end - start) * steps
    assert zero == pytest.approx(round(zero), abs=1e-6)
