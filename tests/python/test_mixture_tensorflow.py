"""Where TensorFlow calls the mixture from: eager code, graphs, compiled train steps, a distribution strategy, mixed precision."""

from __future__ import annotations

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from dgms_keras import mixture

if keras.backend.backend() != "tensorflow":
    pytest.skip("for the TensorFlow backend", allow_module_level=True)
import tensorflow as tf


def arguments(size=20_000):
    random = np.random.default_rng(0)
    mu = np.array([0, -0.6, -0.2, 0.5], "float32")
    values = random.uniform(-1, 1, size), mu, np.array([0.4, 0.1, 0.2, 0.3]), np.full(4, 0.15), 0.05
    return [tf.constant(x, tf.float32) for x in values]


def step(w, mu, pi, gamma, tau):
    with tf.GradientTape() as tape:
        tape.watch([w, mu, pi, gamma, tau])
        loss = tf.reduce_sum(tf.sin(mixture.training_weights(w, mu, pi, gamma, tau)))
    return (loss, *tape.gradient(loss, [w, mu, pi, gamma, tau]))


def test_eager_graph_and_compiled_agree():
    args = arguments()
    eager = step(*args)
    for function in (tf.function(step), tf.function(step, jit_compile=True)):
        for a, b in zip(function(*args), eager, strict=True):
            # Padding to shared sizes and fusion change the order of float32 sums of 20,000 terms, nothing else.
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=max(1e-5 * np.abs(b).max(), 2e-5))


def test_hard_weights_in_graphs():
    args = arguments()[:4]
    eager = mixture.hard_weights(*args)
    np.testing.assert_array_equal(tf.function(mixture.hard_weights)(*args), eager)
    np.testing.assert_array_equal(tf.function(mixture.hard_weights, jit_compile=True)(*args), eager)


def test_sizes_share_compiled_code(monkeypatch):
    forward, sizes = mixture.mixture_blocks.forward, []
    monkeypatch.setattr(
        mixture.mixture_blocks, "forward", lambda w, *args: sizes.append(w.shape[0]) or forward(w, *args)
    )
    w, *_, tau = arguments(700_000)  # the last ones are cut into pieces
    mu = tf.linspace(0.0, 1.0, 13)  # a number of components that no other test has
    for size in (65, 100, 3000, 20_000, 65_536, 50_000, 300_000, 400_001, 262_144, 700_000):
        mixture.soft_weights(w[:size], mu, tf.ones(13), tf.fill([13], 0.1), tau)
    assert sizes == [4096, 65_536, 262_144]


def test_pieces_make_a_whole():
    """Weights that are cut into pieces against the same weights as channel groups, which are not."""
    w, mu, pi, gamma, tau = arguments(1_100_000)
    g = tf.random.stateless_normal(w.shape, (1, 2))
    results = []
    for x in (w, tf.reshape(w, (100, -1))):
        groups = (100,) if x is not w else ()
        parameters = [tf.broadcast_to(p, (*groups, *p.shape)) for p in (mu, pi, gamma, tau)]
        with tf.GradientTape() as tape:
            tape.watch([x, *parameters])
            value = mixture.soft_weights(x, *parameters)
        d = tape.gradient(value, [x, *parameters], tf.reshape(g, x.shape))
        hard = mixture.hard_indices(x, *parameters[:3])
        if groups:
            d = [d[0], *(tf.reduce_sum(x, 0) for x in d[1:])]
        results.append([np.reshape(x, (-1,)) for x in (value, hard, *d)])
    for a, b in zip(*results, strict=True):
        # Sums of 1.1 million float32 terms in another order; everything else is the same arithmetic.
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-4 * np.abs(b).max())


def test_large_weights_in_one_graph_keep_apart():
    """The pieces of large weights are put together in place, in memory of each weight's own."""
    _, mu, pi, gamma, tau = arguments(1)
    random = np.random.default_rng(0)
    weights = [tf.constant(random.uniform(-1, 1, 600_000), tf.float32) for _ in range(2)]

    @tf.function
    def graph():
        twice = [mixture.soft_weights(weights[0], mu, pi, gamma, tau) for _ in range(2)]
        looped = weights[1]
        for _ in tf.range(2):
            looped = mixture.soft_weights(looped, mu, pi, gamma, tau)
        return *twice, mixture.soft_weights(weights[1], mu, pi, gamma, tau), looped

    first, second = (mixture.soft_weights(w, mu, pi, gamma, tau) for w in weights)
    expected = first, first, second, mixture.soft_weights(second, mu, pi, gamma, tau)
    for a, b in zip(graph(), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_mixed_precision_layer():
    class Shared(keras.layers.Dense):
        def call(self, inputs):
            kernel = mixture.training_weights(self.kernel, *arguments()[1:])
            return keras.ops.matmul(inputs, kernel)

    layer = Shared(3, dtype="mixed_float16")
    with tf.GradientTape() as tape:
        out = layer(tf.ones((2, 5)))
        loss = tf.reduce_sum(tf.cast(out, tf.float32))
    assert out.dtype == tf.float16
    (gradient,) = tape.gradient(loss, [layer.kernel.value])
    assert gradient.dtype == tf.float32
    assert np.all(np.isfinite(gradient)) and np.any(gradient != 0)


_MIRRORED = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import numpy as np
from dgms_keras import mixture

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    w = tf.Variable(np.linspace(-1, 1, 6000, dtype="float32"))
others = [tf.constant(x) for x in ([0.0, -0.5, 0.5], [1.0, 1.0, 1.0], [0.2, 0.2, 0.2], 0.1)]

def replica(x):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(mixture.training_weights(w, *others) * x)
    return tape.gradient(loss, w)

with tf.GradientTape() as tape:
    plain = tf.constant(np.linspace(-1, 1, 6000, dtype="float32"))
    tape.watch(plain)
    loss = tf.reduce_sum(mixture.training_weights(plain, *others))
expected = 3 * tape.gradient(loss, plain)
values = strategy.experimental_distribute_values_from_function(
    lambda context: tf.constant(1.0 + context.replica_id_in_sync_group))
run = tf.function(lambda v: strategy.reduce("SUM", strategy.run(replica, args=(v,)), axis=None))
np.testing.assert_allclose(run(values), expected, rtol=1e-5, atol=1e-5)
print("agrees")
"""


def test_mirrored_strategy():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    done = subprocess.run(
        [sys.executable, "-c", _MIRRORED],
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0 and "agrees" in done.stdout, done.stderr[-3000:]


def test_without_xla(monkeypatch):
    expected = step(*arguments(9000))
    from dgms_keras import backend_ops

    monkeypatch.setattr(mixture, "xla_available", lambda: False)
    monkeypatch.setattr(backend_ops, "xla_available", lambda: False)
    for a, b in zip(tf.function(step)(*arguments(9000)), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=max(1e-5 * np.abs(b).max(), 2e-5))
