"""Saving and resuming: after a round trip the next training step equals the uninterrupted one to the bit."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from dgms_keras import TemperatureSchedule, mixtures
from dgms_keras.layers import DGMSWrapper, quantize_apply

L = keras.layers
REPOSITORY = pathlib.Path(__file__).parents[3]


def compiled(model):
    model.compile(keras.optimizers.AdamW(1e-2, weight_decay=0.1, clipnorm=1.0), "mse")
    return model


def train(model, data, epochs=1, **options):
    return model.fit(*data, epochs=epochs, batch_size=16, shuffle=False, verbose=0, **options)


def all_state(model):
    state = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(v)) for v in state]


def assert_same_state(a, b):
    for ours, theirs in zip(all_state(a), all_state(b), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def assert_same_mixtures(a, b):
    ours, theirs = mixtures(a), mixtures(b)
    assert list(ours) == list(theirs)
    for name in ours:
        assert ours[name].to_json() == theirs[name].to_json()


@pytest.fixture
def trained(small_model, small_data):
    """A quantised model with channel groups and a fixed temperature, after one epoch. Without dropout: Keras 3.15 does not save
    the seeds of Dropout layers (plain models go on with other seeds as well)."""
    config = {"conv2": {"granularity": 3, "bits": 2}, "hidden": {"learn_temperature": False}}
    model = compiled(quantize_apply(small_model, bits=3, overrides=config))
    train(model, small_data)
    return model


def test_keras_file(trained, small_data, tmp_path):
    trained.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same_state(trained, loaded)
    assert_same_mixtures(trained, loaded)
    for model in (trained, loaded):
        train(model, small_data)
    assert_same_state(trained, loaded)


def test_keras_file_of_a_keras_file(trained, tmp_path):
    trained.save(tmp_path / "a.keras")
    loaded = keras.models.load_model(tmp_path / "a.keras")
    loaded.save(tmp_path / "b.keras")
    assert_same_state(trained, keras.models.load_model(tmp_path / "b.keras"))
    assert loaded.get_config() == keras.models.load_model(tmp_path / "b.keras").get_config()


def test_loading_warns_about_nothing_and_does_not_start_anew(tmp_path, recwarn):
    """The first values of a loaded mixture are not k-means on the random weights that Keras gives a layer before it loads."""
    inputs = keras.Input((2,))
    model = quantize_apply(keras.Model(inputs, L.Dense(2, name="d")(inputs)), skip_first_last=False)
    recwarn.clear()  # about the 4 weights, above
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert not [w for w in recwarn if "dgms" in str(w.filename) or "codebook" in str(w.message)]
    assert_same_mixtures(model, loaded)


def test_weights_file(trained, tmp_path):
    trained.save_weights(tmp_path / "w.weights.h5")
    other = keras.models.clone_model(trained)
    assert mixtures(other)["hidden"].mu.tolist() != mixtures(trained)["hidden"].mu.tolist()
    other.load_weights(tmp_path / "w.weights.h5")
    assert_same_mixtures(trained, other)
    for ours, theirs in zip(trained.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_json(trained):
    again = keras.models.model_from_json(trained.to_json())
    assert [layer.name for layer in again.layers] == [layer.name for layer in trained.layers]
    for name in ("conv2", "hidden"):
        assert again.get_layer(name).dgms_config == trained.get_layer(name).dgms_config
    again.set_weights(trained.get_weights())
    assert_same_mixtures(trained, again)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.train.Checkpoint")
def test_tf_checkpoint(small_model, small_data, tmp_path):
    import tensorflow as tf

    trained = compiled(quantize_apply(small_model, bits=3))
    train(trained, small_data)
    path = tf.train.Checkpoint(model=trained, optimizer=trained.optimizer).save(tmp_path / "c")
    other = compiled(quantize_apply(keras.models.clone_model(small_model), bits=3))
    other.optimizer.build(other.trainable_variables)
    tf.train.Checkpoint(model=other, optimizer=other.optimizer).restore(path).assert_consumed()
    assert_same_state(trained, other)
    for model in (trained, other):
        train(model, small_data)
    assert_same_state(trained, other)


def test_backup_and_restore(small_model, small_data, tmp_path):
    """Killed in the third of four epochs and started again, with an annealed temperature."""

    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def run(*callbacks):
        model = compiled(quantize_apply(small_model, bits=2))
        schedule = TemperatureSchedule(0.3, 0.01)
        train(model, small_data, epochs=4, callbacks=[*callbacks, schedule])
        return model

    whole = run()
    with pytest.raises(KeyboardInterrupt):
        run(keras.callbacks.BackupAndRestore(tmp_path), Kill())
    resumed = run(keras.callbacks.BackupAndRestore(tmp_path))
    assert_same_mixtures(whole, resumed)
    for ours, theirs in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


LOAD = """
import json, sys
{imports}
model = keras.models.load_model(sys.argv[1])
data = numpy.load(sys.argv[2])
model.fit(data["x"], data["y"], batch_size=16, shuffle=False, verbose=0)
state = [keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(v)) for v in [*model.variables, *model.optimizer.variables]]
numpy.savez(sys.argv[3], *state)
print(json.dumps({{name: m.get_config() for name, m in dgms_keras.mixtures(model).items()}}))
"""


@pytest.mark.parametrize(
    "imports",
    ["import dgms_keras, numpy, keras", "import numpy, keras, dgms_keras"],
    ids=["before keras", "after keras"],
)
def test_a_fresh_process_goes_on_to_the_bit(trained, small_data, tmp_path, imports):
    """`import dgms_keras` is all that loading needs, whichever comes first."""
    trained.save(tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", x=small_data[0], y=small_data[1])
    train(trained, small_data)
    files = [str(tmp_path / name) for name in ("model.keras", "data.npz", "state.npz")]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    code = LOAD.format(imports=imports)
    run = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    state = np.load(tmp_path / "state.npz")
    for i, ours in enumerate(all_state(trained)):
        np.testing.assert_array_equal(ours, state[f"arr_{i}"])
    assert json.loads(run.stdout.splitlines()[-1]) == {n: m.get_config() for n, m in mixtures(trained).items()}


def test_a_custom_layer_needs_no_second_registration_with_us(tmp_path, monkeypatch):
    """A saved wrapper knows which weights it quantises."""
    from dgms_keras import targets

    @keras.saving.register_keras_serializable("test_saving")
    class Table(L.Layer):
        def build(self, shape):
            self.table = self.add_weight(shape=(shape[-1], shape[-1]), initializer="glorot_uniform")

        def call(self, x):
            return x @ self.table

    monkeypatch.setattr(targets, "_REGISTERED", {Table: {"table": (-1,)}})
    model = keras.Sequential([keras.Input((8,)), DGMSWrapper(Table(name="t"), bits=2)])
    model.save(tmp_path / "model.keras")
    monkeypatch.setattr(targets, "_REGISTERED", {})
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same_mixtures(model, loaded)


def test_clones_start_from_their_own_weights(small_model):
    quantised = quantize_apply(small_model, bits=2)
    clone = keras.models.clone_model(quantised)
    wrapper = clone.get_layer("hidden")
    kernel = keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(wrapper.kernel))
    hard = wrapper.freeze(wrapper.targets[0]).dense()
    assert not np.array_equal(mixtures(clone)["hidden"].mu, mixtures(quantised)["hidden"].mu)
    assert np.mean((kernel - hard) ** 2) < 0.2 * np.var(kernel)
