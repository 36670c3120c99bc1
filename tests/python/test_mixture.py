"""The mixture's math against float64, on whatever backend Keras runs (`test_mixture_jax.py` runs this file on JAX)."""

from __future__ import annotations

import os
import sys

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

sys.path.insert(0, os.path.dirname(__file__))
import mixture_oracle as oracle

from dgms_keras import mixture

BACKEND = keras.backend.backend()
POSTERIORS = ("mixture", "paper")


def value_and_gradients(function, arguments, upstream):
    """(value, gradients with respect to all arguments) as NumPy arrays."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        arguments = [tf.constant(a) for a in arguments]
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            value = function(*arguments)
        found = tape.gradient(value, arguments, tf.cast(upstream, value.dtype))
    elif BACKEND == "jax":
        import jax

        value, pullback = jax.vjp(function, *map(jax.numpy.asarray, arguments))
        found = pullback(jax.numpy.asarray(upstream, value.dtype))
    else:
        import torch

        arguments = [torch.tensor(a, requires_grad=True) for a in arguments]
        value = function(*arguments)
        found = torch.autograd.grad(value, arguments, torch.tensor(upstream, dtype=value.dtype))
    return ops.convert_to_numpy(value), [ops.convert_to_numpy(x) for x in found]


def case(components, gamma, seed=0, count=1500):
    """A mixture on [-1, 1], and weights in it, around it, on its means, near its boundaries and far outside."""
    random = np.random.default_rng(seed)
    mu = np.sort(random.uniform(-1, 1, components)).astype("float32")
    mu[np.argmin(np.abs(mu))] = 0
    mu = np.concatenate([[0], mu[mu != 0]]).astype("float32")
    pi = random.uniform(0.2, 3, components).astype("float32")
    gammas = np.clip(gamma * random.uniform(0.5, 1.5, components), 1e-4, 1).astype("float32")
    middle = (np.sort(mu)[1:] + np.sort(mu)[:-1]).astype("float32") / 2
    # Next to each boundary at distances of its own width: there the soft weight moves.
    near = middle + (0.3 * gammas[1:] * random.standard_normal(components - 1)).astype("float32")
    w = [random.uniform(-1.3, 1.3, count), mu, middle, np.nextafter(middle, np.float32(2)), near, [60.0, -60.0]]
    return np.concatenate(w).astype("float32"), mu, pi, gammas


@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("tau", [1e-3, 3e-2, 1.0])
@pytest.mark.parametrize("gamma", [1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("components", [2, 16, 256])
def test_values_and_gradients_equal_float64(components, gamma, tau, posterior):
    w, mu, pi, gammas = case(components, gamma)
    g = np.random.default_rng(1).standard_normal(w.size).astype("float32")
    tau = np.float32(tau)
    value, found = value_and_gradients(
        lambda *a: mixture.soft_weights(*a, posterior=posterior), (w, mu, pi, gammas, tau), g
    )
    spread = float(mu.max() - mu.min())
    expected = oracle.soft_weights(w, mu, pi, gammas, tau, posterior)
    # No point is left out, also not those within one float32 step of a boundary, where the value jumps by a whole code for
    # one step of w: the float64 differences of log posteriors resolve it.
    assert np.abs(value - expected).max() <= 1e-5 * spread
    names = ("w", "mu", "pi", "gamma", "tau")
    for name, a, b in zip(names, found, oracle.gradients(w, g, mu, pi, gammas, tau, posterior), strict=True):
        # 1e-4 of the largest entry: a sum over weights has entries much smaller than its terms. What is below 1e-6 in
        # absolute terms (weights nowhere near a boundary: gradients like e^-100) counts as zero.
        tolerance = 1e-4 * np.abs(b).max() + 1e-6
        if name == "tau":  # one sum of terms of either sign: also float32's rounding of the terms, ten steps of it
            tolerance += 6e-7 * np.abs(oracle.tau_slopes(w, g, mu, pi, gammas, tau, posterior)).sum()
        assert np.abs(a - b).max() <= tolerance, name


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_oracle_gradients_equal_finite_differences(posterior):
    w, mu, pi, gamma = (np.asarray(x, np.float64) for x in case(4, 0.3, count=20))
    w, tau = w[np.abs(w) < 2], np.float64(0.3)
    g = np.random.default_rng(2).standard_normal(w.size)
    arguments = [w, mu, pi, gamma, np.array([tau])]
    expected = oracle.gradients(w, g, mu, pi, gamma, tau, posterior)
    for i, x in enumerate(arguments):
        for j in range(x.size):
            step = 1e-6
            moved = []
            for sign in (1, -1):
                changed = [a.copy() for a in arguments]
                changed[i][j] += sign * step
                moved.append(g @ oracle.soft_weights(*changed[:4], changed[4][0], posterior))
            # Central differences: error step^2 = 1e-12 of third derivatives up to 1e4, round-off 1e-16 / step.
            assert np.isclose((moved[0] - moved[1]) / (2 * step), np.ravel(expected[i])[j], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_responsibilities_equal_float64(posterior):
    w, mu, pi, gamma = case(16, 0.05)
    found = ops.convert_to_numpy(mixture.responsibilities(w, mu, pi, gamma, posterior))
    assert found.shape == (w.size, 16)
    np.testing.assert_allclose(found, oracle.responsibilities(w, mu, pi, gamma, posterior), atol=1e-6)


def test_nothing_underflows_however_far_an_outlier_is():
    mu, gamma = np.array([0, -0.1, 0.1, 0.2], "float32"), np.full(4, 0.01, "float32")
    w = np.array([1, 1e3, 1e10, 1e20, 3e38, -1, -1e10, -3e38], "float32")
    expected = np.where(w > 0, mu[3], mu[1])  # equal deviations: the nearest mean, in exact arithmetic
    args = (w, mu, np.ones(4, "float32"), gamma)
    np.testing.assert_array_equal(ops.convert_to_numpy(mixture.hard_weights(*args)), expected)
    value, found = value_and_gradients(mixture.soft_weights, (*args, np.float32(0.01)), np.ones(8, "float32"))
    np.testing.assert_allclose(value, expected, atol=1e-7)
    assert all(np.all(np.isfinite(x)) for x in found)
    # Eq. 6 as printed underflows there: every component answers alike.
    value, _ = value_and_gradients(
        lambda *a: mixture.soft_weights(*a, posterior="paper"), (*args, np.float32(0.01)), np.ones(8, "float32")
    )
    np.testing.assert_allclose(value, np.full(8, mu.mean()), atol=1e-7)


def test_pi_need_not_be_normalised():
    w, mu, pi, gamma = case(8, 0.1)
    for function in (lambda *a: mixture.soft_weights(*a, 0.05), mixture.hard_weights):
        # Scaling by a power of two is exact in float32.
        np.testing.assert_array_equal(
            ops.convert_to_numpy(function(w, mu, pi, gamma)), ops.convert_to_numpy(function(w, mu, -4 * pi, gamma))
        )


def test_component_with_share_zero_is_never_used():
    w = np.linspace(-3, 3, 101, dtype="float32")
    mu, gamma = np.array([0, 1, -1], "float32"), np.full(3, 0.1, "float32")
    pi = np.array([1, 0, 1], "float32")
    assert 1 not in ops.convert_to_numpy(mixture.hard_indices(w, mu, pi, gamma))
    _, found = value_and_gradients(mixture.soft_weights, (w, mu, pi, gamma, np.float32(0.1)), np.ones(101, "float32"))
    assert all(np.all(np.isfinite(x)) for x in found)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (7,), (3, 3, 4, 8), (9001,)])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_shapes_and_dtypes(shape, dtype):
    _, mu, pi, gamma = case(4, 0.2)
    w = ops.cast(np.random.default_rng(3).uniform(-1, 1, shape).astype("float32"), dtype)
    exact = ops.convert_to_numpy(ops.cast(w, "float32"))
    for function, expected in (
        (
            lambda x: mixture.soft_weights(x, mu, pi, gamma, 0.1),
            oracle.soft_weights(exact, mu, pi, gamma, 0.1, "mixture"),
        ),
        (lambda x: mixture.training_weights(x, mu, pi, gamma, 0.1), None),
        (lambda x: mixture.hard_weights(x, mu, pi, gamma), None),
    ):
        out = function(w)
        assert tuple(out.shape) == shape
        assert keras.backend.standardize_dtype(out.dtype) == dtype
        if expected is not None:
            # The math is float32; the cast of the result to 8 or 11 bits of precision is the largest error.
            tolerance = {"float32": 1e-5, "float16": 1e-3, "bfloat16": 8e-3}[dtype]
            found = ops.convert_to_numpy(ops.cast(out, "float32"))
            np.testing.assert_allclose(found, expected.reshape(shape), atol=tolerance)
    indices = mixture.hard_indices(w, mu, pi, gamma)
    assert tuple(indices.shape) == shape
    assert keras.backend.standardize_dtype(indices.dtype) == "int32"
    assert tuple(mixture.responsibilities(w, mu, pi, gamma).shape) == (*shape, 4)


@pytest.mark.parametrize(("groups", "size"), [(3, 5), (5, 700), (2, 9001), (40, 333)])
def test_groups_equal_one_mixture_at_a_time(groups, size):
    random = np.random.default_rng(4)
    rows = [case(16, 0.05, seed=s)[1:] for s in range(groups)]
    mu, pi, gamma = (np.stack([r[i] for r in rows]) for i in range(3))
    tau = np.linspace(0.02, 0.2, groups).astype("float32")
    w = random.uniform(-1, 1, (groups, size)).astype("float32")
    g = random.standard_normal((groups, size)).astype("float32")
    value, found = value_and_gradients(mixture.soft_weights, (w, mu, pi, gamma, tau), g)
    for i in range(groups):
        one, gradients = value_and_gradients(mixture.soft_weights, (w[i], mu[i], pi[i], gamma[i], tau[i]), g[i])
        np.testing.assert_allclose(value[i], one, atol=1e-6)
        for a, b in zip(found, gradients, strict=True):
            # Other block sizes sum in another order; float32 sums of up to 9001 terms of either sign.
            np.testing.assert_allclose(a[i], b, rtol=1e-4, atol=1e-5 * np.abs(b).max())
    hard = ops.convert_to_numpy(mixture.hard_indices(w, mu, pi, gamma))
    each = [ops.convert_to_numpy(mixture.hard_indices(w[i], mu[i], pi[i], gamma[i])) for i in range(groups)]
    np.testing.assert_array_equal(hard, np.stack(each))


@pytest.mark.parametrize("weight_gradient", ["straight_through", "mixture"])
@pytest.mark.parametrize("training_weight", ["soft", "hard"])
def test_training_weights(weight_gradient, training_weight):
    w, mu, pi, gamma = case(4, 0.2)
    args, g = (w, mu, pi, gamma, np.float32(0.1)), np.random.default_rng(5).standard_normal(w.size).astype("float32")
    soft, expected = value_and_gradients(mixture.soft_weights, args, g)
    value, found = value_and_gradients(
        lambda *a: mixture.training_weights(*a, weight_gradient=weight_gradient, training_weight=training_weight),
        args,
        g,
    )
    hard = ops.convert_to_numpy(mixture.hard_weights(*args[:4]))
    np.testing.assert_array_equal(value, soft if training_weight == "soft" else hard)
    np.testing.assert_array_equal(found[0], expected[0] + g if weight_gradient == "straight_through" else expected[0])
    for a, b in zip(found[1:], expected[1:], strict=True):
        np.testing.assert_array_equal(a, b)


def test_floors_keep_gradients_finite():
    w, mu, pi, _ = case(4, 0.1)
    gamma = np.array([0.1, 0, 0.1, 1e-30], "float32")
    for tau in (np.float32(0), np.float32(-1)):
        value, found = value_and_gradients(mixture.soft_weights, (w, mu, pi, gamma, tau), np.ones(w.size, "float32"))
        assert np.all(np.isfinite(value))
        assert found[4] == 0
        assert found[3][1] == 0 and found[3][3] == 0


@pytest.mark.parametrize("tau", [0, -0.1, float("nan"), float("inf")])
def test_a_python_tau_must_be_positive(tau):
    w, mu, pi, gamma = case(4, 0.1)
    with pytest.raises(ValueError, match=r"`tau` must be a finite number > 0. Received"):
        mixture.soft_weights(w, mu, pi, gamma, tau)


def test_errors_name_what_was_received():
    w, mu, pi, gamma = case(4, 0.1)
    with pytest.raises(ValueError, match=r"`posterior` must be one of.*'log'"):
        mixture.soft_weights(w, mu, pi, gamma, 0.1, posterior="log")
    with pytest.raises(ValueError, match=r"`gamma` must have the shape of `mu`, \(4,\). Received: shape \(3,\)"):
        mixture.hard_weights(w, mu, pi, gamma[:3])
    with pytest.raises(ValueError, match=r"`w` must have the groups of `mu`, 2"):
        mixture.hard_weights(w, *(np.stack([x, x]) for x in (mu, pi, gamma)))
    with pytest.raises(ValueError, match=r"`tau` must be a scalar"):
        mixture.soft_weights(w, mu, pi, gamma, np.ones(3, "float32"))


def test_symbolic_tensors_in_a_functional_model():
    _, mu, pi, gamma = case(4, 0.1)
    inputs = keras.Input((6,))
    soft = mixture.soft_weights(inputs, mu, pi, gamma, 0.1)
    outputs = [soft, mixture.hard_weights(inputs, mu, pi, gamma), mixture.hard_indices(inputs, mu, pi, gamma)]
    outputs.append(mixture.responsibilities(inputs, mu, pi, gamma))
    model = keras.Model(inputs, outputs)
    assert [tuple(o.shape) for o in model.outputs] == [(None, 6)] * 3 + [(None, 6, 4)]
    x = np.random.default_rng(6).uniform(-1, 1, (5, 6)).astype("float32")
    found = [ops.convert_to_numpy(o) for o in model(x)]
    np.testing.assert_allclose(found[0], oracle.soft_weights(x, mu, pi, gamma, 0.1, "mixture").reshape(5, 6), atol=1e-5)
    np.testing.assert_array_equal(found[1], mu[found[2]])


def first_argmax(w, mu, pi, gamma):
    """The argmax of float64 log posteriors (ties: the lowest index), and how far it leads, `[n]`."""
    score = oracle.log_posteriors(w, mu, pi, gamma)
    ordered = np.sort(score, axis=1)
    return score.argmax(axis=1), ordered[:, -1] - ordered[:, -2], np.abs(ordered[:, -1])


_floats = st.floats(-2, 2, width=32)
_deviations = st.floats(2**-13, 2, width=32)


@settings(max_examples=40, deadline=None)
@given(
    mixtures=st.lists(st.tuples(_floats, st.floats(2**-20, 1, width=32), _deviations), min_size=6, max_size=6),
    extra=st.lists(st.floats(-100, 100, width=32), min_size=20, max_size=20),
)
def test_hard_indices_equal_the_argmax(mixtures, extra):
    mu, pi, gamma = (np.array(x, "float32") for x in zip(*mixtures, strict=True))
    mu[0] = 0
    starts = np.sort(np.concatenate([mu, (mu[:, None] + mu).ravel() / 2]))
    w = np.concatenate([np.linspace(-4, 4, 300), extra, starts, np.nextafter(starts, np.float32(9))]).astype("float32")
    found = ops.convert_to_numpy(mixture.hard_indices(w, mu, pi, gamma))
    expected, lead, size = first_argmax(w, mu, pi, gamma)
    # The same for every weight, but where two log posteriors agree to float64 round-off of their terms, (w / gamma)^2.
    terms = ((np.abs(w) + 2) / gamma.min()) ** 2 + size
    decided = lead > 1e-14 * terms
    np.testing.assert_array_equal(found[decided], expected[decided])
    # And where they agree, what was chosen is as good as the best.
    score = oracle.log_posteriors(w, mu, pi, gamma)
    chosen = score[np.arange(w.size), found]
    assert np.all(score.max(axis=1) - chosen <= 1e-14 * terms)


@pytest.mark.parametrize("components", [2, 3, 16, 256])
def test_hard_weights_equal_the_argmax_on_many_weights(components):
    random = np.random.default_rng(7)
    _, mu, pi, gamma = case(components, 0.02, seed=8)
    gamma = (gamma * np.exp(random.uniform(-3, 3, components))).astype("float32")  # wide ones own two intervals
    w = np.concatenate([random.uniform(-1.5, 1.5, 60_000), random.normal(0, 5, 5_000)]).astype("float32")
    found = ops.convert_to_numpy(mixture.hard_indices(w, mu, pi, gamma))
    expected, _, _ = first_argmax(w, mu, pi, gamma)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(ops.convert_to_numpy(mixture.hard_weights(w, mu, pi, gamma)), mu[expected])
    np.testing.assert_array_equal(ops.convert_to_numpy(mixture.hard_indices(w, mu, pi, gamma, "paper")), expected)


def test_exact_ties_go_to_the_lowest_index():
    mu, one = np.array([0, 1, -1, 0], "float32"), np.ones(4, "float32")
    w = np.array([0.5, -0.5, 0, np.nextafter(np.float32(0.5), 1), np.nextafter(np.float32(0.5), 0)], "float32")
    found = ops.convert_to_numpy(mixture.hard_indices(w, mu, one, np.full(4, 0.25, "float32")))
    np.testing.assert_array_equal(found, [0, 0, 0, 1, 0])


def test_one_component_owns_two_intervals():
    mu, pi = np.array([0, 0.1], "float32"), np.ones(2, "float32")
    gamma = np.array([1, 0.05], "float32")  # the narrow one sits inside the wide one
    w = np.array([-1, 0.1, 1], "float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(mixture.hard_indices(w, mu, pi, gamma)), [0, 1, 0])
