"""`dgms_keras.quantize_apply`, `strip`, `summary`, ... of tf_keras models."""

import io
import warnings

import numpy as np
import pytest
import tf_keras

import dgms_keras
from dgms_keras import DGMSConfig, mixtures, register_layer, targets

L = tf_keras.layers


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(targets, "_REGISTERED", {})
    return register_layer


def test_names_and_the_original_stay(small_tf_model, small_data):
    before, plain = small_tf_model.get_weights(), small_tf_model(small_data[0]).numpy()
    quantised = dgms_keras.quantize_apply(small_tf_model, bits=4)
    assert [layer.name for layer in quantised.layers] == [layer.name for layer in small_tf_model.layers]
    assert quantised.name == "small" and not quantised.optimizer
    for ours, theirs in zip(before, small_tf_model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(small_tf_model(small_data[0]), plain)
    for layer in small_tf_model.layers:
        copy = quantised.get_layer(layer.name)
        for ours, theirs in zip(getattr(copy, "layer", copy).get_weights(), layer.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)  # the latent weights, where it is quantised


def test_strip_and_frozen_weights(small_tf_model, small_data):
    quantised = dgms_keras.quantize_apply(small_tf_model, bits=2, overrides={"hidden": {"granularity": 4}})
    plain = dgms_keras.strip(quantised)
    assert [type(layer) for layer in plain.layers] == [type(layer) for layer in small_tf_model.layers]
    frozen = {w.layer: w for w in dgms_keras.frozen_weights(quantised)}
    assert list(frozen) == ["conv2", "hidden"]
    for name, weight in frozen.items():
        np.testing.assert_array_equal(plain.get_layer(name).kernel, weight.dense())
    assert frozen["hidden"].groups == 4
    x = small_data[0]
    expected = quantised(x).numpy()
    # Weights as constants and as computed: other kernels, other order of sums.
    np.testing.assert_allclose(plain(x), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    again = dgms_keras.strip(plain)
    np.testing.assert_array_equal(again(x), plain(x))


def test_summary(small_tf_model):
    quantised = dgms_keras.quantize_apply(small_tf_model, bits=2)
    text = io.StringIO()
    rows = dgms_keras.summary(quantised, file=text)
    assert [(row.layer, row.bits, row.shape) for row in rows] == [("conv2", 2, (3, 3, 4, 8)), ("hidden", 2, (8, 16))]
    assert "conv2" in text.getvalue() and "total" in text.getvalue()
    frozen = dgms_keras.frozen_weights(quantised)[1].dense()
    latent = small_tf_model.get_layer("hidden").kernel.numpy()
    assert rows[1].squared_error == pytest.approx(np.sum((frozen - latent.astype("float64")) ** 2), rel=1e-5)
    assert dgms_keras.summary(small_tf_model, print_table=False) == []


def test_overrides_and_filter(small_tf_model):
    quantised = dgms_keras.quantize_apply(
        small_tf_model, DGMSConfig(bits=4), layers=["conv.", "hidden"], overrides={"conv.*": {"bits": 2}}
    )
    assert {n: m.bits for n, m in mixtures(quantised).items()} == {"conv2": 2, "hidden": 4}
    only = dgms_keras.quantize_apply(small_tf_model, layers=lambda path: path == "conv1", skip_first_last=False)
    assert list(mixtures(only)) == ["conv1"]


def test_overrides_for_one_weight_of_two():
    model = tf_keras.Sequential([tf_keras.Input((8, 8, 4)), L.SeparableConv2D(8, 3, name="s")])
    quantised = dgms_keras.quantize_apply(
        model, bits=3, skip_first_last=False, overrides={"s/pointwise_kernel": {"bits": 2}}
    )
    assert {n: m.bits for n, m in mixtures(quantised).items()} == {"s/depthwise_kernel": 3, "s/pointwise_kernel": 2}


def test_transfer_of_mixtures(small_tf_model):
    learned = mixtures(dgms_keras.quantize_apply(small_tf_model, bits=3))
    other = tf_keras.models.clone_model(small_tf_model)
    started = dgms_keras.quantize_apply(other, bits=3, mixtures={"hidden": learned["hidden"]})
    assert mixtures(started)["hidden"].to_json() == learned["hidden"].to_json()
    assert mixtures(started)["conv2"].to_json() != learned["conv2"].to_json()
    with pytest.raises(ValueError, match="'nowhere'"):
        dgms_keras.quantize_apply(other, bits=3, mixtures={"nowhere": learned["hidden"]})
    with pytest.raises(ValueError, match="'hidden'"):
        dgms_keras.quantize_apply(other, bits=2, mixtures={"hidden": learned["hidden"]})


def test_unsupported_layers(registered):
    class Table(L.Layer):
        def build(self, shape):
            self.table = self.add_weight(name="table", shape=(shape[-1], 8), initializer="glorot_uniform")

        def call(self, x):
            return x @ self.table

    model = tf_keras.Sequential([tf_keras.Input((8,)), Table(name="t"), L.Dense(8, name="d")])
    with pytest.warns(
        UserWarning, match=r"layer 't' \(Table\) stays in float.*register_layer\(Table, \{'table': -1\}\)"
    ):
        quantised = dgms_keras.quantize_apply(model, skip_first_last=False)
    assert list(mixtures(quantised)) == ["d"]
    with pytest.raises(ValueError, match=r"strict=True.*\n.*'t' \(Table\)"):
        dgms_keras.quantize_apply(model, strict=True)
    registered(Table, {"table": -1})
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        quantised = dgms_keras.quantize_apply(model, skip_first_last=False)
    assert list(mixtures(quantised)) == ["t", "d"]
    x = np.eye(8, dtype="float32")
    hard = {w.layer: w.dense() for w in dgms_keras.frozen_weights(quantised)}
    np.testing.assert_allclose(quantised(x), hard["t"] @ hard["d"], rtol=0, atol=1e-5)


def test_refusals(small_tf_model):
    with pytest.raises(ValueError, match=r"`in_place=True` is for subclassed Keras 3 models.*'small'"):
        dgms_keras.quantize_apply(small_tf_model, in_place=True)
    with pytest.raises(ValueError, match=r"`in_place=True` is for subclassed Keras 3 models.*'small'"):
        dgms_keras.strip(dgms_keras.quantize_apply(small_tf_model), in_place=True)

    class Mine(tf_keras.Model):
        def __init__(self):
            super().__init__(name="mine")
            self.d = L.Dense(3)

        def call(self, x):
            return self.d(x)

    model = Mine()
    model(np.zeros((1, 3), "float32"))
    with pytest.raises(ValueError, match=r"must be Sequential or Functional.*'mine' of class Mine"):
        dgms_keras.quantize_apply(model)


def test_nothing_to_quantise_is_a_copy_and_a_warning():
    model = tf_keras.Sequential([tf_keras.Input((8,)), L.Dense(8, name="only")])
    with pytest.warns(UserWarning, match="found nothing to quantise.*`skip_first_last` leaves out only"):
        copy = dgms_keras.quantize_apply(model)
    assert mixtures(copy) == {} and copy is not model
    np.testing.assert_array_equal(copy(np.eye(8, dtype="float32")), model(np.eye(8, dtype="float32")))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (L.Conv2D(6, 3, name="l"), (8, 8, 4)),
        (L.DepthwiseConv2D(3, depth_multiplier=2, name="l"), (8, 8, 4)),
        (L.SeparableConv2D(6, 3, name="l"), (8, 8, 4)),
        (L.Conv2DTranspose(6, 3, name="l"), (8, 8, 4)),
        (L.Dense(6, name="l"), (4,)),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, L.Layer) else "",
)
def test_negative_batch_norm_scales_become_positive_and_the_function_stays(rng, layer, shape):
    inputs = tf_keras.Input(shape)
    layer = type(layer).from_config(layer.get_config())
    model = tf_keras.Model(inputs, L.BatchNormalization(name="bn")(layer(inputs)))
    norm = model.get_layer("bn")
    n = norm.gamma.shape[0]
    signs = np.where(np.arange(n) % 2, 1, -1)
    norm.set_weights([rng.uniform(0.5, 1.5, n) * signs, *rng.normal(size=(2, n)), rng.uniform(0.5, 2, n)])
    layer.bias.assign(rng.normal(size=layer.bias.shape))
    before = model.get_weights()
    x = rng.normal(size=(3, *shape)).astype("float32")
    quantised = dgms_keras.quantize_apply(model, bits=4, skip_first_last=False)
    turned = quantised.get_layer("bn").gamma.numpy()
    np.testing.assert_array_equal(turned, np.abs(norm.gamma.numpy()))
    for ours, theirs in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # The float function behind the mixtures: the latent weights in the plain model.
    latent = dgms_keras.strip(quantised)
    latent.get_layer("l").set_weights(quantised.get_layer("l").layer.get_weights())
    expected = model(x).numpy()
    np.testing.assert_allclose(latent(x), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_scales_of_float_layers_stay(small_tf_model, rng):
    norm = small_tf_model.get_layer("bn")
    norm.gamma.assign(-norm.gamma)
    quantised = dgms_keras.quantize_apply(small_tf_model, layers="hidden")
    np.testing.assert_array_equal(quantised.get_layer("bn").gamma, norm.gamma)
