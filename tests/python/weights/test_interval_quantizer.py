"""QIL for weights: what a layer computes with is what is frozen, bit for bit; against NumPy float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgms_keras.backend_ops import to_numpy
from dgms_keras.config import DGMSConfig
from dgms_keras.weights.interval_quantizer import IntervalWeightQuantizer
from dgms_keras.weights.methods import weight_quantizer
from dgms_keras.weights.quantizer import MixtureQuantizer


def quantizer(bits, shape=(6, 5)):
    return weight_quantizer(DGMSConfig(bits=bits, weight_method="qil"), shape, (-1,))


def test_the_config_chooses():
    assert isinstance(quantizer(4), IntervalWeightQuantizer)
    assert isinstance(weight_quantizer(DGMSConfig(), (6, 5), (-1,)), MixtureQuantizer)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([2, 3, 4]), st.integers(0, 2**32 - 1), st.lists(st.floats(-0.4, 0.4), min_size=3, max_size=3))
def test_frozen_is_what_is_computed_with(bits, seed, learned):
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(6, 5)).astype("float32") * 10.0 ** rng.integers(-4, 3)
    q, learned = quantizer(bits), np.array(learned, "float32")
    start = q.initial_start(w, "layer")
    used = to_numpy(q.quantized(w, start, learned, training=True))
    codebook, indices = q.codebook(start, learned), q.indices(w, start, learned)
    assert codebook.shape == (2**bits,) and codebook[0] == 0 and indices.max() < 2**bits - 1
    np.testing.assert_array_equal(codebook[indices], used)
    np.testing.assert_array_equal(used, to_numpy(q.quantized(w, start, learned, training=False)))


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_the_start_is_a_uniform_quantiser_near_the_best(bits, rng):
    w = rng.normal(size=(40, 50)).astype("float32")
    q = quantizer(bits, w.shape)
    start = q.initial_start(w, "layer")
    assert start[0] == start[1], "the interval begins at 0"
    levels = 2 ** (bits - 1) - 1

    def error(threshold):
        exact = w.astype("float64")
        rounded = np.round(np.clip(np.abs(exact), 0, threshold) / threshold * levels) * threshold / levels
        return np.mean((np.sign(exact) * rounded - exact) ** 2)

    assert error(2 * start[0]) <= 1.03 * min(error(t) for t in np.linspace(0.1, 4, 500))


def test_more_bits_first(rng):
    w = rng.normal(size=(30, 30)).astype("float32")
    q = quantizer(2, w.shape)
    start, learned = q.initial_start(w, "layer"), np.zeros(3, "float32")
    finer = to_numpy(q.quantized(w, q.with_bits(start, 8), learned, training=True))
    assert len(np.unique(finer)) > 100 and len(np.unique(to_numpy(q.quantized(w, start, learned, training=True)))) == 3


def test_degenerate_weights():
    q = quantizer(4)
    zeros = np.zeros((6, 5), "float32")
    start, learned = q.initial_start(zeros, "layer"), np.zeros(3, "float32")
    assert not q.codebook(start, learned)[q.indices(zeros, start, learned)].any()
    bad = zeros.copy()
    bad[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"weights must be finite. Received: 1 that are not \(layer 'conv1'\)"):
        q.initial_start(bad, "conv1")
    with pytest.raises(ValueError, match="the interval must be finite"):
        q.codebook(np.array([np.nan, 1, 4], "float32"), learned)
