"""tfmot's call shapes: annotations, schemes, scopes, and DGMS beside tfmot's own quantisers in one model."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit.default_8bit_quantize_registry import (
    Default8BitConvQuantizeConfig,
)

import dgms_keras
import dgms_keras.tfmot as dgms
from dgms_keras import DGMSConfig, frozen_weights, mixtures
from dgms_keras.tfmot import DGMSQuantizeConfig, DGMSQuantizeScheme

L = tf_keras.layers
tq = tfmot.quantization.keras


def bits(model):
    return {name: mixture.bits for name, mixture in mixtures(model).items()}


def names(model):
    return [layer.name for layer in model.layers if not isinstance(layer, L.InputLayer)]


def assert_hard(model, name, weight="kernel"):
    """The layer computes with the values of its codebook."""
    frozen = next(w for w in frozen_weights(model) if w.layer == name and w.weight == weight)
    assert np.unique(frozen.dense()).size <= 2**frozen.bits


def assert_trains(model, data):
    before = [v.numpy() for v in model.trainable_variables]
    model.compile(tf_keras.optimizers.Adam(1e-2), "mse", run_eagerly=True)  # test_training.py has graphs
    model.fit(*data, batch_size=16, verbose=0)
    changed = [not np.array_equal(a, b.numpy()) for a, b in zip(before, model.trainable_variables, strict=True)]
    assert all(changed), [v.name for v, c in zip(model.trainable_variables, changed, strict=True) if not c]


def test_tfmots_own_functions_need_no_scope(dense_data):
    """First and last layers are quantised where somebody annotates them; layers beside them stay as they are."""
    model = tf_keras.Sequential(
        [
            tf_keras.Input((8,)),
            tq.quantize_annotate_layer(L.Dense(16, activation="relu", name="a")),
            L.Dense(12, name="b"),
            dgms.quantize_annotate_layer(L.Dense(3, name="c"), bits=2),
        ]
    )
    plain = model.predict(dense_data[0], verbose=0)
    quantised = tq.quantize_apply(model, scheme=DGMSQuantizeScheme(bits=3))
    assert bits(quantised) == {"a": 3, "c": 2}
    assert names(quantised) == ["quant_a", "b", "quant_c"]
    np.testing.assert_array_equal(quantised.get_layer("b").get_weights()[0], model.get_layer("b").get_weights()[0])
    latent = quantised.get_layer("quant_a").layer.kernel.numpy()
    np.testing.assert_array_equal(latent, model.layers[0].layer.kernel.numpy())
    # Codebooks of k-means: near the float model, and not it.
    received = quantised.predict(dense_data[0], verbose=0)
    assert 0 < np.abs(received - plain).max() < 0.5 * np.abs(plain).max()
    assert_trains(quantised, dense_data)
    for name in ("a", "c"):
        assert_hard(quantised, name)


def test_annotate_model_leaves_the_ends_in_float(small_tf_model, small_data):
    annotated = dgms.quantize_annotate_model(small_tf_model, bits=2)
    quantised = dgms.quantize_apply(annotated)
    assert bits(quantised) == {"conv2": 2, "hidden": 2}
    assert_trains(quantised, small_data)


def test_annotations_made_before_are_kept(small_tf_model):
    """A layer annotated by hand keeps its choices when the rest of the model is annotated."""
    by_hand = tf_keras.models.clone_model(
        small_tf_model,
        clone_function=lambda layer: (
            dgms.quantize_annotate_layer(L.Dense.from_config(layer.get_config()), bits=4)
            if layer.name == "hidden"
            else type(layer).from_config(layer.get_config())
        ),
    )
    assert bits(dgms.quantize_apply(dgms.quantize_annotate_model(by_hand, bits=2))) == {"conv2": 2, "hidden": 4}


def test_tfmots_annotate_model(small_tf_model):
    """It annotates every layer, BatchNorm and ReLU included: those have nothing to share and stay."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # nothing to warn of: no weight is missed
        quantised = dgms.quantize_apply(tq.quantize_annotate_model(small_tf_model), bits=2)
    assert bits(quantised) == {"conv1": 2, "conv2": 2, "hidden": 2, "head": 2}
    assert "bn" in names(quantised) and "relu1" in names(quantised)


def test_quantize_model_is_both_steps(small_tf_model, small_data):
    quantised = dgms.quantize_model(small_tf_model, DGMSConfig(bits=3), overrides={"hidden": {"bits": 2}})
    assert bits(quantised) == {"conv2": 3, "hidden": 2}
    two_steps = dgms.quantize_apply(
        dgms.quantize_annotate_model(small_tf_model, bits=3, overrides={"hidden": {"bits": 2}})
    )
    for ours, theirs in zip(quantised.get_weights(), two_steps.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    x = small_data[0]
    np.testing.assert_array_equal(quantised.predict(x, verbose=0), two_steps.predict(x, verbose=0))


def test_the_scheme_is_for_layers_without_a_config(dense_model):
    annotated = tf_keras.Sequential(
        [
            tf_keras.Input((8,)),
            dgms.quantize_annotate_layer(L.Dense(16, name="a")),
            tq.quantize_annotate_layer(L.Dense(12, name="b"), DGMSQuantizeConfig(bits=2)),
        ]
    )
    assert bits(dgms.quantize_apply(annotated, DGMSQuantizeScheme(bits=3))) == {"a": 3, "b": 2}
    assert bits(dgms.quantize_apply(annotated, DGMSConfig(bits=3), granularity=4)) == {"a": 3, "b": 2}
    assert mixtures(dgms.quantize_apply(annotated, granularity=4))["a"].mu.shape == (4, 16)


def test_prefix(dense_model):
    annotated = dgms.quantize_annotate_model(dense_model)
    assert names(dgms.quantize_apply(annotated)) == ["a", "quant_b", "c"]
    assert names(dgms.quantize_apply(annotated, quantized_layer_name_prefix="")) == ["a", "b", "c"]
    assert names(dgms.quantize_model(dense_model, quantized_layer_name_prefix="shared_")) == ["a", "shared_b", "c"]


def test_quantize_scope_takes_more_objects():
    class Other:
        pass

    with dgms.quantize_scope({"Other": Other}):
        assert tf_keras.utils.get_registered_object("Other") is Other
        assert tf_keras.utils.get_registered_object("DGMSQuantizeConfig") is DGMSQuantizeConfig


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, k3: dgms.quantize_apply(m), ValueError, "at least one annotated layer.*dgms_keras.quantize_apply"),
        (lambda m, k3: dgms.quantize_apply(k3), TypeError, r"quantised by dgms_keras.quantize_apply\(model\)"),
        (lambda m, k3: dgms.quantize_annotate_model(k3), TypeError, r"quantised by dgms_keras.quantize_apply\(model\)"),
        (lambda m, k3: dgms.quantize_model(7), TypeError, "must be a tf_keras.Model. Received: builtins.int"),
        (
            lambda m, k3: dgms.quantize_apply(dgms.quantize_annotate_model(m), "default"),
            TypeError,
            "`scheme` must be a DGMSQuantizeScheme",
        ),
        (lambda m, k3: dgms.quantize_annotate_model(m, bits=9), ValueError, "bits=9"),
        (
            lambda m, k3: dgms.quantize_annotate_model(tf_keras.Sequential([L.Dense(3)], name="s")),
            ValueError,
            "`model` must be built.*'s', not built",
        ),
    ],
)
def test_errors(dense_model, call, error, message):
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    with pytest.raises(error, match=message):
        call(dense_model, other)


def with_eight_bits():
    """tfmot's int8 on the first layer, its own way of saying "the scheme decides" on the second, DGMS on the last."""
    eight = Default8BitConvQuantizeConfig(["kernel"], ["activation"], False)
    return tf_keras.Sequential(
        [
            tf_keras.Input((8, 8, 3)),
            tq.quantize_annotate_layer(L.Conv2D(8, 3, activation="relu", name="c1"), eight),
            tq.quantize_annotate_layer(L.Conv2D(8, 3, name="c2")),
            L.GlobalAveragePooling2D(name="p"),
            tq.quantize_annotate_layer(L.Dense(3, name="d"), DGMSQuantizeConfig(bits=2)),
        ]
    )


def test_beside_tfmots_int8_in_one_model(small_data, tmp_path):
    with dgms.quantize_scope():
        quantised = tq.quantize_apply(with_eight_bits(), scheme=DGMSQuantizeScheme(bits=3))
    assert bits(quantised) == {"c2": 3, "d": 2}
    wrapper = quantised.get_layer("quant_c1")
    assert isinstance(wrapper.quantize_config, Default8BitConvQuantizeConfig)
    assert_trains(quantised, small_data)
    x = small_data[0]
    expected = quantised.predict(x, verbose=0)
    # .keras of a model with tfmot's own quantisers does not load in tfmot 0.8.1, without DGMS either.
    for file in ("model.h5", "model"):
        quantised.save(tmp_path / file)
        with dgms.quantize_scope():
            loaded = tf_keras.models.load_model(tmp_path / file)
        np.testing.assert_array_equal(loaded.predict(x, verbose=0), expected)
        assert {k: m.to_json() for k, m in mixtures(loaded).items()} == {
            k: m.to_json() for k, m in mixtures(quantised).items()
        }


def test_layers_without_a_config_beside_tfmots_own():
    """tfmot asks the registry about the layer in front of an annotated one, to quantise its output: it stays as it is."""
    eight = Default8BitConvQuantizeConfig(["kernel"], ["activation"], False)
    model = tf_keras.Sequential(
        [
            tf_keras.Input((8, 8, 3)),
            L.Conv2D(4, 3, name="c1"),
            L.ReLU(name="r"),
            tq.quantize_annotate_layer(L.Conv2D(4, 3, name="c2"), eight),
            L.Conv2D(4, 3, name="c3"),
        ]
    )
    with dgms.quantize_scope():
        quantised = tq.quantize_apply(model, scheme=DGMSQuantizeScheme())
    assert mixtures(quantised) == {}
    assert names(quantised) == ["c1", "r", "quant_c2", "c3"]


def test_another_scheme_works_as_in_tfmot(dense_model):
    scheme = tfmot.quantization.keras.default_8bit.Default8BitQuantizeScheme()
    annotated = dgms.quantize_annotate_model(dense_model, bits=2)
    quantised = dgms.quantize_apply(annotated, scheme)
    assert bits(quantised) == {"b": 2}
    with pytest.raises(TypeError, match="takes no DGMS fields"):
        dgms.quantize_apply(annotated, scheme, bits=3)


def backbone():
    inputs = tf_keras.Input((8, 8, 3))
    x = L.Conv2D(4, 3, name="a")(inputs)
    x = L.BatchNormalization(name="bn")(x)
    return tf_keras.Model(inputs, L.Conv2D(4, 3, name="b")(x), name="backbone")


def around(inner, annotate=None):
    inputs = tf_keras.Input((8, 8, 3))
    head = L.Dense(3, name="head")
    head = annotate(head) if annotate else head
    return tf_keras.Model(inputs, head(L.Flatten(name="f")(inner(inputs))), name="outer")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, ["backbone/b"]),
        ({"skip_first_last": False}, ["backbone/a", "backbone/b", "head"]),
        ({"layers": "backbone/a", "skip_first_last": False}, ["backbone/a"]),
    ],
    ids=["default", "all", "only nested"],
)
def test_nested_models(small_data, config, expected):
    model = around(backbone())
    quantised = dgms_keras.quantize_apply(model, bits=2, **config)
    assert list(mixtures(quantised)) == expected
    assert names(quantised) == names(model)
    assert names(quantised.get_layer("backbone")) == names(model.get_layer("backbone"))
    assert_trains(quantised, small_data)


def test_annotations_in_nested_models_only():
    annotated = around(dgms.quantize_annotate_model(backbone(), skip_first_last=False))
    assert bits(dgms.quantize_apply(annotated, bits=2)) == {"backbone/a": 4, "backbone/b": 4}
    with dgms.quantize_scope():
        annotated = dgms.quantize_annotate_model(around(backbone()), skip_first_last=False)
        assert bits(tq.quantize_apply(annotated, scheme=DGMSQuantizeScheme(bits=2))) == {
            "backbone/a": 4,
            "backbone/b": 4,
            "head": 4,
        }


def test_a_nested_model_without_annotations_warns():
    """tfmot leaves it in float without a word."""
    model = around(backbone(), dgms.quantize_annotate_layer)
    with pytest.warns(UserWarning, match="nested model 'backbone' has no annotated layer and stays in float"):
        quantised = dgms.quantize_apply(model)
    assert list(mixtures(quantised)) == ["head"]


def test_deeper_nesting(small_data):
    middle_in = tf_keras.Input((8, 8, 3))
    middle = tf_keras.Model(middle_in, L.Conv2D(4, 1, name="m")(backbone()(middle_in)), name="middle")
    model = around(middle)
    x = small_data[0]
    quantised = dgms_keras.quantize_apply(model, bits=4, skip_first_last=False)
    assert list(mixtures(quantised)) == ["middle/backbone/a", "middle/backbone/b", "middle/m", "head"]
    plain = dgms_keras.strip(quantised)
    # Weights as constants and as computed: other kernels, other order of sums.
    np.testing.assert_allclose(plain(x), quantised(x), rtol=0, atol=1e-5 * np.abs(plain(x)).max())
    assert [w.name for w in plain.weights] == [w.name for w in model.weights]


def test_shared_layers_have_one_mixture(small_data):
    inputs = tf_keras.Input((8, 8, 3))
    shared = L.Conv2D(3, 3, padding="same", name="shared")
    x = L.GlobalAveragePooling2D(name="p")(shared(shared(L.Conv2D(3, 1, name="first")(inputs))))
    model = tf_keras.Model(inputs, L.Dense(3, name="head")(x))
    quantised = dgms_keras.quantize_apply(model, bits=2)
    assert list(mixtures(quantised)) == ["shared"]
    assert sum("dgms_mixture" in v.name for v in quantised.weights) == 2
    assert_trains(quantised, small_data)
    hard = frozen_weights(quantised)[0].dense()
    plain = dgms_keras.strip(quantised)
    np.testing.assert_array_equal(plain.get_layer("shared").kernel, hard)
    x = small_data[0]
    np.testing.assert_allclose(plain(x), quantised(x), rtol=0, atol=1e-5 * np.abs(plain(x)).max())


def test_several_inputs_and_outputs(rng):
    a, b = tf_keras.Input((8,), name="a"), tf_keras.Input((4,), name="b")
    h = L.Dense(16, name="mid")(L.Concatenate(name="cat")([L.Dense(8, name="da")(a), L.Dense(8, name="db")(b)]))
    model = tf_keras.Model({"b": b, "a": a}, {"v": L.Dense(3, name="hv")(h), "u": [L.Dense(2, name="hu")(h), h]})
    x = {"a": rng.normal(size=(4, 8)).astype("float32"), "b": rng.normal(size=(4, 4)).astype("float32")}
    quantised = dgms_keras.quantize_apply(model, bits=2)
    assert list(mixtures(quantised)) == ["mid"]
    for copy in (quantised, dgms_keras.strip(quantised)):
        outputs = copy(x)
        assert set(outputs) == {"u", "v"} and [tuple(t.shape) for t in outputs["u"]] == [(4, 2), (4, 16)]
        assert copy.input_names == model.input_names and copy.output_names == model.output_names
