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


def test_sizes_share_compiled_code():
    function = mixture._compiled("forward", "mixture")
    mixture.soft_weights(*arguments(5000))
    before = function.experimental_get_tracing_count()
    for size in (5001, 7777, 20_000, 32_768):
        mixture.soft_weights(*arguments(size))
    # 32,768 fills its size exactly: it passes no count, and is traced once more.
    assert function.experimental_get_tracing_count() <= before + 1


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
