"""Files of tf_keras models: mixtures, weights and optimizer to the bit, in this process and in a fresh one."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tf_keras

import dgms_keras
from dgms_keras import mixtures
from dgms_keras.front_ends import front_end
from dgms_keras.tfmot import quantize_scope

REPOSITORY = pathlib.Path(__file__).parents[3]


def state(model):
    return [v.numpy() for v in [*model.weights, *model.optimizer.variables]]


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def assert_same_mixtures(a, b):
    assert {n: m.to_json() for n, m in mixtures(a).items()} == {n: m.to_json() for n, m in mixtures(b).items()}


def train(model, data):
    model.fit(*data, epochs=1, batch_size=16, shuffle=False, verbose=0)


@pytest.fixture
def quantised(small_tf_model):
    config = {"conv2": {"granularity": 3, "bits": 2}, "hidden": {"learn_temperature": False}}
    model = dgms_keras.quantize_apply(small_tf_model, bits=3, overrides=config)
    model.compile(tf_keras.optimizers.AdamW(1e-2, weight_decay=0.1, clipnorm=1.0), "mse")
    return model


@pytest.fixture
def trained(quantised, small_data):
    train(quantised, small_data)
    return quantised


@pytest.mark.parametrize("file", ["model.keras", "model.h5", "model"])
def test_files(trained, small_data, tmp_path, file):
    trained.save(tmp_path / file)
    with quantize_scope():
        loaded = tf_keras.models.load_model(tmp_path / file)
    assert_same_mixtures(trained, loaded)
    assert {n: m.mu.shape for n, m in mixtures(loaded).items()} == {"conv2": (3, 4), "hidden": (8,)}
    assert_same(trained.get_weights(), loaded.get_weights())
    np.testing.assert_array_equal(trained.predict(small_data[0]), loaded.predict(small_data[0]))
    if file != "model":  # a SavedModel keeps no order of optimizer variables that could be compared
        assert_same(state(trained), state(loaded))
    assert_same(
        [w.dense() for w in dgms_keras.frozen_weights(trained)], [w.dense() for w in dgms_keras.frozen_weights(loaded)]
    )


@pytest.mark.parametrize("file", ["model.keras", "model.h5"])
def test_a_file_of_a_loaded_model(trained, tmp_path, file):
    trained.save(tmp_path / f"first_{file}")
    with quantize_scope():
        loaded = tf_keras.models.load_model(tmp_path / f"first_{file}")
        loaded.save(tmp_path / file)
        again = tf_keras.models.load_model(tmp_path / file)
    assert_same(state(trained), state(again))
    assert loaded.get_config() == again.get_config()


def test_weights_file_and_get_weights(trained, small_tf_model, tmp_path):
    trained.save_weights(tmp_path / "w.weights.h5")
    overrides = {"conv2": {"granularity": 3, "bits": 2}, "hidden": {"learn_temperature": False}}
    other = dgms_keras.quantize_apply(tf_keras.models.clone_model(small_tf_model), bits=3, overrides=overrides)
    assert mixtures(other)["hidden"].to_json() != mixtures(trained)["hidden"].to_json()
    other.load_weights(tmp_path / "w.weights.h5")
    assert_same_mixtures(trained, other)
    assert_same(trained.get_weights(), other.get_weights())


def test_clone_model(trained, small_data):
    with quantize_scope():
        clone = tf_keras.models.clone_model(trained)
    assert [w.shape for w in clone.get_weights()] == [w.shape for w in trained.get_weights()]
    clone.set_weights(trained.get_weights())
    assert_same_mixtures(trained, clone)
    np.testing.assert_array_equal(clone.predict(small_data[0]), trained.predict(small_data[0]))


def test_json(trained):
    with quantize_scope():
        again = tf_keras.models.model_from_json(trained.to_json())
    again.set_weights(trained.get_weights())
    assert_same_mixtures(trained, again)


def test_tf_checkpoint(trained, small_tf_model, small_data, tmp_path):
    import tensorflow as tf

    path = tf.train.Checkpoint(model=trained).save(tmp_path / "c")
    overrides = {"conv2": {"granularity": 3, "bits": 2}, "hidden": {"learn_temperature": False}}
    other = dgms_keras.quantize_apply(tf_keras.models.clone_model(small_tf_model), bits=3, overrides=overrides)
    tf.train.Checkpoint(model=other).restore(path).expect_partial()
    assert_same_mixtures(trained, other)
    np.testing.assert_array_equal(trained.predict(small_data[0]), other.predict(small_data[0]))


RESUME = """
import sys
import numpy, tf_keras, dgms_keras.tfmot
data = numpy.load(sys.argv[1])
for file in sys.argv[2:]:
    with dgms_keras.tfmot.quantize_scope():
        model = tf_keras.models.load_model(file)
    model.fit(data["x"], data["y"], epochs=1, batch_size=16, shuffle=False, verbose=0)
    numpy.savez(file + ".npz", *[v.numpy() for v in [*model.weights, *model.optimizer.variables]])
"""


def test_a_fresh_process_goes_on_to_the_bit(trained, small_data, tmp_path):
    """Two epochs are one epoch, a file, and one epoch in another process; the optimizer's state as well."""
    files = [str(tmp_path / name) for name in ("model.keras", "model.h5")]
    for file in files:
        trained.save(file)
    np.savez(tmp_path / "data.npz", x=small_data[0], y=small_data[1])
    train(trained, small_data)
    command = [sys.executable, "-c", RESUME, str(tmp_path / "data.npz"), *files]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    for file in files:
        stored = np.load(f"{file}.npz")
        assert_same(state(trained), [stored[f"arr_{i}"] for i in range(len(stored.files))])


def test_nested_models(small_data, tmp_path):
    inner_in = tf_keras.Input((8, 8, 3))
    x = tf_keras.layers.Conv2D(4, 3, name="a")(inner_in)
    inner = tf_keras.Model(inner_in, tf_keras.layers.Conv2D(4, 3, name="b")(x), name="inner")
    inputs = tf_keras.Input((8, 8, 3))
    x = tf_keras.layers.Flatten()(inner(inputs))
    model = tf_keras.Model(inputs, tf_keras.layers.Dense(3, name="head")(x))
    quantised = dgms_keras.quantize_apply(model, bits=2, skip_first_last=False)
    for weight in front_end(quantised).shared_weights(quantised):  # as if trained
        weight.learned.assign(np.linspace(-0.1, 0.1, weight.learned.shape[0]))
    for file in ("model.keras", "model.h5"):
        quantised.save(tmp_path / file)
        with quantize_scope():
            loaded = tf_keras.models.load_model(tmp_path / file)
        assert_same_mixtures(quantised, loaded)
        np.testing.assert_array_equal(quantised.predict(small_data[0]), loaded.predict(small_data[0]))
