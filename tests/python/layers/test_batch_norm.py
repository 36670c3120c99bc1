"""BatchNorm: signs before a mixture starts, and statistics measured with hard weights."""

import keras
import numpy as np
import pytest
from keras import ops

from dgms_keras import mixtures
from dgms_keras.layers import DGMSWrapper, quantize_apply, recalibrate_batch_norm, strip

L = keras.layers


def array(x):
    return ops.convert_to_numpy(ops.convert_to_tensor(x))


def with_random_batch_norms(model, rng):
    """Random biases and BatchNorm values; half of the scales are negative."""
    for layer in model._flatten_layers():
        if isinstance(layer, L.BatchNormalization):
            n = layer.moving_mean.shape[0]
            if layer.scale:
                layer.gamma.assign(rng.uniform(0.5, 1.5, n) * np.where(np.arange(n) % 2, 1, -1))
            layer.moving_mean.assign(rng.normal(size=n))
            layer.moving_variance.assign(rng.uniform(0.5, 2, n))
        elif getattr(layer, "bias", None) is not None:
            layer.bias.assign(rng.normal(size=layer.bias.shape))
    return model


def latent_model(quantised):
    """The quantised model with its latent weights in place of the hard ones: the float function that was quantised."""
    plain = strip(quantised)
    for layer in quantised.layers:
        if isinstance(layer, DGMSWrapper):
            plain.get_layer(layer.name).set_weights(layer.layer.get_weights())
    return plain


def gammas(model):
    return {layer.name: array(layer.gamma) for layer in model.layers if isinstance(layer, L.BatchNormalization)}


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (L.Conv1D(6, 3), (8, 4)),
        (L.Conv2D(6, 3), (8, 8, 4)),
        (L.Conv2D(6, 3, use_bias=False, groups=2), (8, 8, 4)),
        (L.Conv3D(6, 3), (6, 6, 6, 2)),
        (L.DepthwiseConv1D(3, depth_multiplier=2), (8, 4)),
        (L.DepthwiseConv2D(3, depth_multiplier=2), (8, 8, 4)),
        (L.SeparableConv1D(6, 3), (8, 4)),
        (L.SeparableConv2D(6, 3), (8, 8, 4)),
        (L.Conv1DTranspose(6, 3), (8, 4)),
        (L.Conv2DTranspose(6, 3), (8, 8, 4)),
        (L.Conv3DTranspose(6, 3), (4, 4, 4, 2)),
        (L.Dense(6, activation="linear"), (4,)),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, L.Layer) else "",
)
def test_scales_become_positive_and_the_function_stays(rng, layer, shape):
    inputs = keras.Input(shape)
    layer = type(layer).from_config(layer.get_config())
    model = keras.Model(inputs, L.BatchNormalization(name="bn")(layer(inputs)))
    with_random_batch_norms(model, rng)
    before = [w.copy() for w in model.get_weights()]
    x = rng.normal(size=(3, *shape)).astype("float32")
    quantised = quantize_apply(model, skip_first_last=False)
    assert np.all(gammas(quantised)["bn"] > 0)
    np.testing.assert_array_equal(np.abs(gammas(quantised)["bn"]), np.abs(gammas(model)["bn"]))
    expected = array(model(x))
    # Signs are exact, so the flipped network rounds as the original does, up to the order of sums in a kernel.
    np.testing.assert_allclose(array(latent_model(quantised)(x)), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    for ours, theirs in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert np.all(gammas(strip(quantised))["bn"] > 0)


def variants():
    def build(make):
        inputs = keras.Input((6, 6, 4))
        return keras.Model(inputs, make(inputs))

    def shared(inputs):
        conv, norm = L.Conv2D(4, 3, padding="same", name="conv"), L.BatchNormalization(name="bn")
        return norm(conv(norm(conv(inputs))))

    def two_readers(inputs):
        y = L.Conv2D(4, 3, name="conv")(inputs)
        return L.Add()([y, L.BatchNormalization(name="bn")(y)])

    def is_output(inputs):
        y = L.Conv2D(4, 3, name="conv")(inputs)
        return [y, L.BatchNormalization(name="bn")(y)]

    def chain(conv=None, norm=None, between=None):
        def make(inputs):
            y = L.Conv2D(4, 3, name="conv", **(conv or {}))(inputs)
            y = between(y) if between else y
            return L.BatchNormalization(name="bn", **(norm or {}))(y)

        return make

    return {
        "activation": build(chain({"activation": "relu"})),
        "kernel constraint": build(chain({"kernel_constraint": "non_neg"})),
        "bias constraint": build(chain({"bias_constraint": "non_neg"})),
        "activity regulariser": build(chain({"activity_regularizer": "l1"})),
        "gamma constraint": build(chain(norm={"gamma_constraint": "non_neg"})),
        "other axis": build(chain(norm={"axis": 1})),
        "layer between": build(chain(between=L.ReLU())),
        "shared": build(shared),
        "two readers": build(two_readers),
        "also an output": build(is_output),
    }


@pytest.mark.parametrize("name", variants())
def test_signs_stay_where_a_flip_is_not_provably_right(rng, name):
    model = with_random_batch_norms(variants()[name], rng)
    quantised = quantize_apply(model, skip_first_last=False)
    for layer, gamma in gammas(model).items():
        np.testing.assert_array_equal(gammas(quantised)[layer], gamma)
    np.testing.assert_array_equal(array(quantised.get_layer("conv").kernel), array(model.get_layer("conv").kernel))


def test_no_scale_and_float_layers_are_left_alone(rng):
    inputs = keras.Input((6, 6, 4))
    x = L.BatchNormalization(name="b1")(L.Conv2D(4, 3, name="c1")(inputs))
    x = L.BatchNormalization(name="b2", scale=False)(L.Conv2D(4, 3, name="c2")(x))
    model = with_random_batch_norms(keras.Model(inputs, L.Conv2D(4, 1, name="c3")(x)), rng)
    quantised = quantize_apply(model)
    assert list(mixtures(quantised)) == ["c2"]
    for name in ("c1", "c2", "c3"):
        np.testing.assert_array_equal(array(quantised.get_layer(name).kernel), array(model.get_layer(name).kernel))
    np.testing.assert_array_equal(array(quantised.get_layer("b1").gamma), array(model.get_layer("b1").gamma))


def test_nested_models_are_treated_and_learned_mixtures_are_not(rng):
    inner_in = keras.Input((6, 6, 4))
    inner = keras.Model(inner_in, L.BatchNormalization(name="bn")(L.Conv2D(4, 3, name="conv")(inner_in)), name="inner")
    inputs = keras.Input((6, 6, 4))
    model = with_random_batch_norms(keras.Model(inputs, inner(inputs)), rng)
    quantised = quantize_apply(model, bits=2, skip_first_last=False)
    norm = quantised.get_layer("inner").get_layer("bn")
    assert np.all(array(norm.gamma) > 0)
    norm.gamma.assign(-array(norm.gamma))  # as training might
    again = quantize_apply(quantised, skip_first_last=False)
    assert np.all(array(again.get_layer("inner").get_layer("bn").gamma) < 0)
    x = rng.normal(size=(2, 6, 6, 4)).astype("float32")
    np.testing.assert_allclose(array(again(x)), array(quantised(x)), rtol=1e-6, atol=1e-6)


def deep_model():
    inputs = keras.Input((6, 6, 3), name="image")
    x = L.BatchNormalization(name="b1")(L.Conv2D(4, 3, name="c1")(inputs))
    inner_in = keras.Input((4, 4, 4))
    inner_out = L.BatchNormalization(name="b2")(L.Conv2D(8, 3, name="c2")(L.ReLU()(inner_in)))
    x = keras.Model(inner_in, inner_out, name="inner")(x)
    x = L.BatchNormalization(name="b3", trainable=False)(L.Dense(8, name="d")(L.Flatten()(L.ReLU()(x))))
    return keras.Model(inputs, L.Dropout(0.5)(x))


def expected_statistics(model, x):
    """Layer by layer over the whole data at once, NumPy float64, with the stripped model's weights."""
    plain = strip(model)
    inner = plain.get_layer("inner")
    norms = [plain.get_layer("b1"), inner.get_layer("b2"), plain.get_layer("b3")]
    found = []
    c1, c2, dense = plain.get_layer("c1"), inner.get_layer("c2"), plain.get_layer("d")
    steps = [c1, lambda h: c2(np.maximum(h, 0)), lambda h: dense(np.maximum(h, 0).reshape(len(h), -1))]
    for step, norm in zip(steps, norms, strict=True):
        h = array(step(x)).astype("float64")
        axes = tuple(range(h.ndim - 1))
        mean, variance = h.mean(axes), h.var(axes)
        found.append((mean, variance))
        h = (h - mean) / np.sqrt(variance + norm.epsilon) * array(norm.gamma) + array(norm.beta)
        x = h.astype("float32")
    return found


@pytest.mark.parametrize("batch_size", [7, 32])
def test_recalibration_measures_what_inference_sees(rng, batch_size):
    """Three BatchNorms in a row, the last batch smaller, one nested, one frozen."""
    model = quantize_apply(with_random_batch_norms(deep_model(), rng), bits=2, skip_first_last=False)
    x = rng.normal(1, 2, size=(32, 6, 6, 3)).astype("float32")
    others = [v for v in model.variables if "moving" not in v.path]
    before = [array(v) for v in others]
    assert recalibrate_batch_norm(model, x, batch_size=batch_size) is model
    norms = [model.get_layer("b1"), model.get_layer("inner").get_layer("b2"), model.get_layer("b3")]
    for norm, (mean, variance) in zip(norms, expected_statistics(model, x), strict=True):
        # The passes end when nothing moves by more than 1e-4 of a deviation, or all are exact up to float32.
        np.testing.assert_allclose(array(norm.moving_mean), mean, atol=2e-4 * np.sqrt(variance.max()))
        np.testing.assert_allclose(array(norm.moving_variance), variance, rtol=4e-4)
        assert "call" not in vars(norm)
    for v, old in zip(others, before, strict=True):
        np.testing.assert_array_equal(array(v), old)


def test_one_pass_pools_batches_exactly(rng):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, L.BatchNormalization(name="bn")(inputs))
    x = rng.normal(1000, 0.1, size=(50, 3)).astype("float32")  # E[x^2] - E[x]^2 in float32 would leave no digit
    recalibrate_batch_norm(model, x, batch_size=16, passes=1)
    np.testing.assert_allclose(array(model.get_layer("bn").moving_mean), x.mean(0, dtype="float64"), rtol=1e-6)
    np.testing.assert_allclose(array(model.get_layer("bn").moving_variance), x.var(0, dtype="float64"), rtol=1e-2)


def test_every_kind_of_data_gives_the_same(rng):
    model = deep_model()
    x, y = rng.normal(size=(24, 6, 6, 3)).astype("float32"), np.zeros((24, 8))

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return x[8 * index : 8 * index + 8], y[8 * index : 8 * index + 8]

    pairs = [(x[i : i + 8], y[i : i + 8]) for i in range(0, 24, 8)]
    kinds = {
        "array": x,
        "arrays and targets": (x, y),
        "dict": {"image": x},
        "list of pairs": pairs,
        "generator": (p for p in pairs),
        "PyDataset": Batches(),
    }
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        kinds["tf.data"] = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    found = {}
    for kind, data in kinds.items():
        recalibrate_batch_norm(model, data, batch_size=8, passes=2)
        found[kind] = array(model.get_layer("b3").moving_mean)
        model.get_layer("b3").moving_mean.assign(np.full(8, 99.0))
    for kind, mean in found.items():
        np.testing.assert_array_equal(mean, found["array"], err_msg=kind)
    endless = (pair for _ in iter(int, 1) for pair in pairs)
    recalibrate_batch_norm(model, endless, steps=3, passes=2)
    np.testing.assert_array_equal(array(model.get_layer("b3").moving_mean), found["array"])


def test_masked_steps_do_not_count(rng):
    inputs = keras.Input((5, 3))
    model = keras.Model(inputs, L.BatchNormalization(name="bn")(L.Masking()(inputs)))
    x = rng.normal(size=(8, 5, 3)).astype("float32")
    x[:, 3:] = 0
    recalibrate_batch_norm(model, x, batch_size=3)
    valid = x[:, :3].reshape(-1, 3)
    np.testing.assert_allclose(array(model.get_layer("bn").moving_mean), valid.mean(0), atol=1e-6)
    np.testing.assert_allclose(array(model.get_layer("bn").moving_variance), valid.var(0), rtol=1e-5)


def test_failures_keep_the_old_statistics(rng):
    model = deep_model()
    before = array(model.get_layer("b1").moving_mean), array(model.get_layer("b3").moving_mean)
    x = rng.normal(size=(8, 6, 6, 3)).astype("float32")
    x[3] = np.nan
    with pytest.raises(ValueError, match=r"must be finite.*'b1'"):
        recalibrate_batch_norm(model, x)
    with pytest.raises(ValueError, match=r"at least one batch"):
        recalibrate_batch_norm(model, x[:0])
    with pytest.raises(ValueError, match=r"`passes` must be"):
        recalibrate_batch_norm(model, x, passes=0)
    np.testing.assert_array_equal(array(model.get_layer("b1").moving_mean), before[0])
    np.testing.assert_array_equal(array(model.get_layer("b3").moving_mean), before[1])


def test_a_model_without_batch_norm_is_returned_as_it_is():
    model = keras.Sequential([keras.Input((3,)), L.Dense(2)])
    assert recalibrate_batch_norm(model, np.zeros((4, 3))) is model
