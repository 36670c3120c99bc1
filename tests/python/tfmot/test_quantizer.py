"""The weights that a tf_keras layer computes with, against the paper's formulas in float64 and against the Keras 3 front end."""

import os
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

sys.path.insert(0, os.path.dirname(os.path.dirname(__file__)))
import mixture_oracle as oracle

import dgms_keras
from dgms_keras import Mixture

BITS = 2
INPUTS, UNITS = 9, 7


def mixture(rng, lead=()):
    """A mixture with components so wide that soft weights are far from hard ones, whatever the posterior."""
    mu = np.zeros((*lead, 4))
    mu[..., 1:] = rng.uniform(0.4, 1.2, (*lead, 3)) * [-1, 1, 2]
    pi = rng.uniform(0.1, 1, mu.shape)
    pi /= pi.sum(axis=-1, keepdims=True)
    return Mixture(mu, pi, rng.uniform(0.2, 0.5, mu.shape), np.full(lead, 0.2), BITS)


def models(kernel, learned, config):
    """(tf_keras model, Keras 3 model) of one quantised Dense layer without bias."""
    made = []
    for library in (tf_keras, keras):
        layer = library.layers.Dense(UNITS, use_bias=False, name="d")
        model = library.Sequential([library.Input((INPUTS,)), layer])
        layer.set_weights([kernel])
        made.append(
            dgms_keras.quantize_apply(model, bits=BITS, mixtures={"d": learned}, skip_first_last=False, **config)
        )
    return made


def weights_of(model, training):
    """The kernel in use: the layer's output on the unit matrix."""
    return np.array(model(np.eye(INPUTS, dtype="float32"), training=training))


@pytest.mark.parametrize("posterior", ["mixture", "paper"])
@pytest.mark.parametrize("training_weight", ["soft", "hard"])
def test_soft_and_hard_weights(rng, posterior, training_weight):
    kernel, learned = rng.normal(size=(INPUTS, UNITS)).astype("float32"), mixture(rng)
    tf_model, keras_model = models(kernel, learned, {"posterior": posterior, "training_weight": training_weight})
    m = (learned.mu, learned.pi, learned.gamma)
    hard = learned.mu[oracle.log_posteriors(kernel, *m).argmax(axis=1)].reshape(kernel.shape)
    soft = oracle.soft_weights(kernel, *m, learned.tau, posterior).reshape(kernel.shape)
    assert np.abs(soft - hard).max() > 0.05, "else the test could not tell them apart"
    np.testing.assert_array_equal(weights_of(tf_model, False), hard)
    expected = soft if training_weight == "soft" else hard
    # float32 against float64: exponentials of scores up to 50 carry 50 eps, and the softmax at tau = 0.2 five times that.
    np.testing.assert_allclose(weights_of(tf_model, True), expected, rtol=0, atol=1e-4)
    for training in (False, True):  # the same graph of the same functions, on the same numbers
        np.testing.assert_array_equal(weights_of(tf_model, training), weights_of(keras_model, training))


@pytest.mark.parametrize("posterior", ["mixture", "paper"])
@pytest.mark.parametrize("weight_gradient", ["straight_through", "mixture"])
def test_gradients(rng, posterior, weight_gradient):
    kernel, learned = rng.normal(size=(INPUTS, UNITS)).astype("float32"), mixture(rng)
    upstream = rng.normal(size=kernel.shape).astype("float32")
    found = []
    for model in models(kernel, learned, {"posterior": posterior, "weight_gradient": weight_gradient}):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(np.eye(INPUTS, dtype="float32"), training=True) * upstream)
        gradients = tape.gradient(loss, model.trainable_variables)
        pairs = zip(model.trainable_variables, gradients, strict=True)
        found.append({"learned" if "dgms_mixture" in v.name else "kernel": np.array(g) for v, g in pairs})
    arguments = (kernel, upstream, learned.mu, learned.pi, learned.gamma, learned.tau, posterior)
    d_w, d_mu, d_pi, d_gamma, d_tau = oracle.gradients(*arguments)
    expected = d_w.reshape(kernel.shape) + (upstream if weight_gradient == "straight_through" else 0)
    scale = 2.0 ** np.ceil(np.log2(np.abs(learned.mu).max()))  # the units in which training moves the parameters
    state = np.concatenate([scale * d_mu[1:], learned.pi * d_pi, learned.gamma * d_gamma, [learned.tau * d_tau]])
    ours, theirs = found
    np.testing.assert_allclose(ours["kernel"], expected, rtol=0, atol=1e-3 * np.abs(expected).max())
    np.testing.assert_allclose(ours["learned"], state, rtol=0, atol=1e-3 * np.abs(state).max())
    for name in ("kernel", "learned"):
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_channel_groups(rng):
    kernel, learned = rng.normal(size=(INPUTS, UNITS)).astype("float32"), mixture(rng, lead=(3,))
    tf_model, keras_model = models(kernel, learned, {"granularity": 3})
    for channel in range(UNITS):
        m = [x[channel // 3] for x in (learned.mu, learned.pi, learned.gamma, learned.tau)]
        hard = m[0][oracle.log_posteriors(kernel[:, channel], *m[:3]).argmax(axis=1)]
        np.testing.assert_array_equal(weights_of(tf_model, False)[:, channel], hard)
        soft = oracle.soft_weights(kernel[:, channel], *m, "mixture")
        np.testing.assert_allclose(weights_of(tf_model, True)[:, channel], soft, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(weights_of(tf_model, True), weights_of(keras_model, True))


def test_both_front_ends_start_from_the_same_mixture(rng):
    kernel = rng.normal(size=(40, 30)).astype("float32")
    found = []
    for library in (tf_keras, keras):
        layer = library.layers.Dense(30, use_bias=False, name="d")
        model = library.Sequential([library.Input((40,)), layer])
        layer.set_weights([kernel])
        found.append(dgms_keras.mixtures(dgms_keras.quantize_apply(model, skip_first_last=False))["d"].to_json())
    assert found[0] == found[1]


def test_a_frozen_layer_uses_hard_weights_in_training(rng):
    kernel = rng.normal(size=(INPUTS, UNITS)).astype("float32")
    model, _ = models(kernel, mixture(rng), {})
    assert not np.array_equal(weights_of(model, True), weights_of(model, False))
    model.trainable = False
    assert model.trainable_variables == []
    np.testing.assert_array_equal(weights_of(model, True), weights_of(model, False))


def test_frozen_weights_are_the_hard_ones(rng):
    kernel, learned = rng.normal(size=(INPUTS, UNITS)).astype("float32"), mixture(rng)
    model, keras_model = models(kernel, learned, {})
    (frozen,), (other,) = dgms_keras.frozen_weights(model), dgms_keras.frozen_weights(keras_model)
    np.testing.assert_array_equal(frozen.dense(), weights_of(model, False))
    np.testing.assert_array_equal(frozen.indices, other.indices)
    assert (frozen.name, frozen.bits, frozen.channel_axis) == ("d/kernel", 2, (-1,))


def test_weights_that_are_not_finite_are_refused_by_layer():
    layer = tf_keras.layers.Dense(UNITS, name="d")
    model = tf_keras.Sequential([tf_keras.Input((INPUTS,)), layer])
    layer.kernel.assign(np.full((INPUTS, UNITS), np.nan))
    with pytest.raises(ValueError, match="'d'"):
        dgms_keras.quantize_apply(model, skip_first_last=False)
