"""Training a quantised tf_keras model: policies, masks, layers inside layers, callbacks, optimizers."""

import warnings

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import dgms_keras
from dgms_keras import TemperatureSchedule, mixtures, register_layer, targets
from dgms_keras.tfmot import quantize_scope

L = tf_keras.layers


def values(variables):
    return [v.numpy() for v in variables]


def fit(model, data, optimizer="adam", epochs=1, eager=True, **options):
    """Eager where the graph is not the point: making it takes seconds."""
    if getattr(model, "optimizer", None) is None:
        model.compile(optimizer, "mse", run_eagerly=eager)
    return model.fit(*data, epochs=epochs, batch_size=16, shuffle=False, verbose=0, **options).history["loss"]


def assert_close(actual, expected, relative=1e-5):
    """Equal up to the rounding of float32 sums in another order."""
    expected = np.array(expected, "float32")
    np.testing.assert_allclose(np.array(actual, "float32"), expected, rtol=0, atol=relative * np.abs(expected).max())


def test_everything_trains(small_tf_model, small_data):
    quantised = dgms_keras.quantize_apply(small_tf_model, bits=2)
    before = values(quantised.trainable_variables)
    assert sum("dgms_mixture" in v.name for v in quantised.trainable_variables) == 2
    losses = fit(quantised, small_data, tf_keras.optimizers.Adam(1e-2), epochs=8, eager=False)
    assert losses[-1] < 0.9 * losses[0]
    for old, variable in zip(before, quantised.trainable_variables, strict=True):
        assert not np.array_equal(old, variable.numpy()), variable.name
    assert mixtures(quantised)["hidden"].mu[0] == 0


def test_graph_and_eager_agree(small_tf_model, small_data):
    ways = [{}, {"run_eagerly": True}]
    losses = []
    for way in ways:
        model = dgms_keras.quantize_apply(small_tf_model, bits=2, temperature=0.1)
        model.compile(tf_keras.optimizers.Adam(1e-2), "mse", **way)
        losses.append(fit(model, small_data, epochs=3))
    # Other orders of summation, which the first steps of Adam (they divide by gradients near 0) enlarge.
    np.testing.assert_allclose(losses[1], losses[0], rtol=5e-3)


def test_evaluation_uses_hard_weights(small_tf_model, small_data):
    quantised = dgms_keras.quantize_apply(small_tf_model, bits=2, temperature=0.3)
    fit(quantised, small_data)
    x, y = small_data
    plain = dgms_keras.strip(quantised)
    assert_close(quantised.predict(x), plain.predict(x))
    assert_close(quantised(x), plain(x))
    assert quantised.evaluate(x, y, verbose=0) == pytest.approx(np.mean((plain.predict(x) - y) ** 2), rel=1e-5)
    assert np.abs(quantised(x, training=True).numpy() - quantised(x).numpy()).max() > 1e-3


def mixed_float16_model():
    """Made under the policy, quantised outside of it, as a loaded model is."""
    tf_keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        inputs = tf_keras.Input((8, 8, 3), name="image")
        x = L.Conv2D(8, 3, name="c1")(inputs)
        x = L.Conv2D(8, 3, name="c2")(x)
        x = L.DepthwiseConv2D(3, name="dw")(x)
        x = L.GlobalAveragePooling2D(name="p")(x)
        x = L.Dense(12, name="hidden")(x)
        return tf_keras.Model(inputs, L.Dense(3, name="d", dtype="float32")(x), name="mixed")
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")


def test_mixed_float16(small_data, tmp_path):
    """Latents, mixture and its math in float32, layers in float16. (A plain tfmot model aborts.)"""
    model = mixed_float16_model()
    quantised = dgms_keras.quantize_apply(model, bits=4)
    layer = quantised.get_layer("c2")
    assert layer.compute_dtype == layer.layer.compute_dtype == "float16"
    assert {v.dtype.name for v in layer.weights if "optimizer_step" not in v.name} == {"float32"}
    fit(quantised, small_data)
    x = small_data[0]
    assert layer(np.zeros((1, 8, 8, 8), "float32")).dtype == "float16"
    quantised.save(tmp_path / "m.keras")
    with quantize_scope():
        loaded = tf_keras.models.load_model(tmp_path / "m.keras")
    assert loaded.get_layer("c2").compute_dtype == "float16"
    np.testing.assert_array_equal(loaded.predict(x), quantised.predict(x))
    # float16 has 11 bits of mantissa, and the four layers round inputs, weights and outputs each.
    plain = dgms_keras.strip(quantised)
    assert_close(plain.predict(x), quantised.predict(x), relative=1e-2)


@pytest.fixture
def recurrent(monkeypatch):
    monkeypatch.setattr(targets, "_REGISTERED", {})
    register_layer(L.LSTM, {"cell.kernel": -1, "cell.recurrent_kernel": -1})


def test_masks_reach_a_registered_recurrent_layer(recurrent, rng):
    inputs = tf_keras.Input((7,), dtype="int32")
    x = L.Embedding(30, 8, mask_zero=True, name="emb")(inputs)
    x = L.LSTM(8, name="lstm")(L.Dense(8, name="d0")(x))
    model = tf_keras.Model(inputs, L.Dense(3, name="d")(x))
    ids = rng.integers(1, 30, (16, 7))
    ids[:, 4:] = 0
    quantised = dgms_keras.quantize_apply(model, bits=4, skip_first_last=False)
    assert list(mixtures(quantised)) == ["emb", "d0", "lstm/cell/kernel", "lstm/cell/recurrent_kernel", "d"]
    plain = dgms_keras.strip(quantised)
    assert_close(quantised(ids), plain(ids))
    # What is masked does not count: without masks the last three steps would.
    shorter = tf_keras.models.Model(model.input, model.output)
    assert_close(shorter(ids), model(ids))
    unmasked = np.where(ids == 0, 1, ids)
    assert np.abs(quantised(unmasked).numpy() - quantised(ids).numpy()).max() > 1e-3
    before = values(quantised.trainable_variables)
    fit(quantised, (ids, rng.normal(size=(16, 3)).astype("float32")), tf_keras.optimizers.Adam(1e-2))
    for old, variable in zip(before, quantised.trainable_variables, strict=True):
        assert not np.array_equal(old, variable.numpy()), variable.name


def test_multi_head_attention(rng):
    """Its four projections are layers inside a layer."""
    inputs = tf_keras.Input((5, 16))
    x = L.Dense(16, name="first")(inputs)
    x = L.MultiHeadAttention(2, 8, name="mha")(x, x)
    model = tf_keras.Model(inputs, L.Dense(3, name="last")(x))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quantised = dgms_keras.quantize_apply(model, bits=3)
    expected = [f"mha/{part}" for part in ("_query_dense", "_key_dense", "_value_dense", "_output_dense")]
    assert sorted(mixtures(quantised)) == sorted(expected)
    x = rng.normal(size=(8, 5, 16)).astype("float32")
    assert_close(quantised(x), dgms_keras.strip(quantised)(x))
    assert np.abs(quantised(x).numpy() - model(x).numpy()).max() > 1e-3
    before = {v.name: v.numpy() for v in quantised.trainable_variables}
    fit(quantised, (x, rng.normal(size=(8, 5, 3)).astype("float32")), tf_keras.optimizers.Adam(1e-2))
    same = [v.name for v in quantised.trainable_variables if np.array_equal(before[v.name], v.numpy())]
    assert all("key/bias" in name for name in same), same  # a bias of the keys changes no softmax: its gradient is 0


def test_a_layer_whose_call_python_must_translate(rng, monkeypatch):
    """tf_keras runs `call` through AutoGraph; so must the call that we put in its place."""
    monkeypatch.setattr(targets, "_REGISTERED", {})

    class Odd(L.Dense):
        def call(self, x):
            y = super().call(x)
            if tf.reduce_sum(y) > 0:  # a Python `if` on a tensor
                return y
            return -y

    inputs = tf_keras.Input((7,))
    model = tf_keras.Model(inputs, Odd(12, name="odd")(inputs))
    quantised = dgms_keras.quantize_apply(model, skip_first_last=False)
    x = rng.normal(size=(8, 7)).astype("float32")
    fit(quantised, (x, rng.normal(size=(8, 12)).astype("float32")), eager=False)
    assert quantised.predict(x, verbose=0).sum() >= 0


def test_temperature_schedule(dense_model, dense_data):
    class Record(tf_keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.taus = []

        def on_epoch_begin(self, epoch, logs=None):
            self.taus.append([float(m.tau) for m in mixtures(self.model).values()])

    quantised = dgms_keras.quantize_apply(dense_model, bits=2, skip_first_last=False, learn_temperature=False)
    record = Record()
    fit(quantised, dense_data, epochs=3, callbacks=[TemperatureSchedule(0.3, 0.03), record])
    expected = 0.3 * 0.1 ** (np.arange(3) / 2)
    np.testing.assert_allclose(record.taus, np.repeat(expected[:, None], 3, 1), rtol=1e-6)
    dense_model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"needs a model from dgms_keras.quantize_apply. Received: model 'dense'"):
        dense_model.fit(*dense_data, verbose=0, callbacks=[TemperatureSchedule(0.3, 0.01)])


def test_recalibrate_batch_norm(small_tf_model, small_data):
    """The statistics are those of what the BatchNorm receives with hard weights, computed here from the stripped model."""
    x = small_data[0]
    quantised = dgms_keras.quantize_apply(small_tf_model, bits=2)
    norm = quantised.get_layer("bn")
    weights = quantised.get_weights()
    assert dgms_keras.recalibrate_batch_norm(quantised, x, batch_size=5) is quantised
    plain = dgms_keras.strip(quantised)
    seen = tf_keras.Model(plain.input, plain.get_layer("conv2").output)(x).numpy()
    assert_close(norm.moving_mean, seen.mean((0, 1, 2)))
    assert_close(norm.moving_variance, seen.var((0, 1, 2)), relative=1e-4)  # squares: twice the relative error
    changed = [not np.array_equal(a, b) for a, b in zip(weights, quantised.get_weights(), strict=True)]
    assert [w.name for w, c in zip(quantised.weights, changed, strict=True) if c] == [
        norm.moving_mean.name,
        norm.moving_variance.name,
    ]


@pytest.mark.parametrize("optimizer", [tf_keras.optimizers.AdamW, tf_keras.optimizers.SGD])
def test_mixtures_get_no_weight_decay(dense_model, dense_data, optimizer):
    """With gradients of zero, weight decay alone changes a variable: all but the mixtures shrink by 1 - 0.1 * 0.5 per step."""
    quantised = dgms_keras.quantize_apply(dense_model, bits=2, granularity=4)
    for variable in quantised.trainable_variables:
        if "dgms_mixture" in variable.name:
            variable.assign(np.full(variable.shape, 0.3))
    before, kernel = mixtures(quantised), quantised.get_layer("b").layer.kernel.numpy()
    quantised.compile(
        optimizer(0.1, weight_decay=0.5), loss=lambda y, p: 0.0 * tf.reduce_mean(p, axis=-1), run_eagerly=True
    )
    quantised.fit(*dense_data, batch_size=16, verbose=0)
    np.testing.assert_allclose(quantised.get_layer("b").layer.kernel, kernel * 0.95**2, rtol=1e-5)
    assert mixtures(quantised)["b"].to_json() == before["b"].to_json()


def test_frozen_models_and_layers(dense_model, dense_data):
    quantised = dgms_keras.quantize_apply(dense_model, bits=2)
    layer = quantised.get_layer("b")
    names = [v.name for v in layer.weights]
    layer.trainable = False
    assert layer.trainable_weights == [] and [v.name for v in layer.weights] == names
    before, learned = layer.get_weights(), mixtures(quantised)["b"].to_json()
    fit(quantised, dense_data, tf_keras.optimizers.Adam(0.1))
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert mixtures(quantised)["b"].to_json() == learned
    quantised.trainable = False
    assert quantised.trainable_variables == []
    x = dense_data[0]
    np.testing.assert_array_equal(quantised(x, training=True), quantised(x, training=False))
    quantised.trainable = True
    assert any("dgms_mixture" in v.name for v in quantised.trainable_variables)


@pytest.mark.parametrize("file", ["model.keras", "model.h5"])
def test_a_layer_frozen_before_and_trained_later(dense_model, dense_data, tmp_path, file):
    """The order of the weights in a file does not depend on what was frozen when the layer was built."""
    dense_model.get_layer("b").trainable = False
    quantised = dgms_keras.quantize_apply(dense_model, bits=2)
    assert not quantised.get_layer("b").trainable
    assert not dgms_keras.strip(quantised).get_layer("b").trainable
    quantised.get_layer("b").trainable = True
    fit(quantised, dense_data)
    quantised.save(tmp_path / file)
    with quantize_scope():
        loaded = tf_keras.models.load_model(tmp_path / file)
    for ours, theirs in zip(quantised.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    x = dense_data[0]
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), quantised.predict(x, verbose=0))


def test_custom_loop(dense_model, dense_data):
    quantised = dgms_keras.quantize_apply(dense_model, bits=2)
    optimizer = tf_keras.optimizers.Adam(1e-2)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((quantised(x, training=True) - y) ** 2)
        variables = quantised.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    losses = [float(step(*dense_data)) for _ in range(10)]
    assert losses[-1] < losses[0]
