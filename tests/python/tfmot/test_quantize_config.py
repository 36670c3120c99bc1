"""DGMSQuantizer, DGMSQuantizeConfig, registry and scheme as objects of tfmot's kinds."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras

from dgms_keras import DGMSConfig, mixtures, register_layer, targets
from dgms_keras.tfmot import (
    DGMSLayoutTransform,
    DGMSQuantizeConfig,
    DGMSQuantizer,
    DGMSQuantizeRegistry,
    DGMSQuantizeScheme,
    quantize_annotate_layer,
    quantize_apply,
)

L = tf_keras.layers
tq = tfmot.quantization.keras


def built(layer, shape):
    layer.build(shape)
    return layer


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(targets, "_REGISTERED", {})
    return register_layer


def test_the_kinds_are_tfmots():
    assert isinstance(DGMSQuantizer(), tq.quantizers.Quantizer)
    assert isinstance(DGMSQuantizeConfig(), tq.QuantizeConfig)
    assert isinstance(DGMSQuantizeScheme(), tq.QuantizeScheme)
    assert isinstance(DGMSQuantizeScheme().get_layout_transformer(), DGMSLayoutTransform)
    assert isinstance(DGMSQuantizeScheme().get_quantize_registry(), DGMSQuantizeRegistry)


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (L.Dense(3, name="d"), (None, 4), {"kernel": (-1,)}),
        (L.Conv2D(3, 3, name="c"), (None, 8, 8, 4), {"kernel": (-1,)}),
        (L.DepthwiseConv2D(3, name="w"), (None, 8, 8, 4), {"depthwise_kernel": (-2, -1)}),
        (L.SeparableConv2D(3, 3, name="s"), (None, 8, 8, 4), {"depthwise_kernel": (-2, -1), "pointwise_kernel": (-1,)}),
        (L.Conv2DTranspose(3, 3, name="t"), (None, 8, 8, 4), {"kernel": (-2,)}),
        (L.Embedding(9, 4, name="e"), (None, 5), {"embeddings": (-1,)}),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_weights_and_quantizers(layer, shape, expected):
    layer = built(type(layer).from_config(layer.get_config()), shape)
    pairs = DGMSQuantizeConfig(bits=3).get_weights_and_quantizers(layer)
    assert {q.weight: q.channel_axes for _, q in pairs} == expected
    for variable, quantizer in pairs:
        assert variable is getattr(layer, quantizer.weight)
        assert quantizer.config == DGMSConfig(bits=3)


def test_the_other_methods_say_that_activations_stay():
    layer, config = built(L.Dense(3, name="d", activation="relu"), (None, 4)), DGMSQuantizeConfig()
    assert config.get_activations_and_quantizers(layer) == []
    assert config.get_output_quantizers(layer) == []
    config.set_quantize_activations(layer, [])
    assert layer.activation is tf_keras.activations.relu
    with pytest.raises(ValueError, match=r"must have 0 entries. Received: 1 \(layer 'd'\)"):
        config.set_quantize_activations(layer, [tf_keras.activations.relu])


def test_set_quantize_weights_is_for_one_call_and_keeps_the_variable(rng):
    layer, config = built(L.Dense(3, name="d"), (None, 4)), DGMSQuantizeConfig()
    x, other = (rng.normal(size=shape).astype("float32") for shape in ((2, 4), (4, 3)))
    variable, plain = layer.kernel, layer(x).numpy()
    config.set_quantize_weights(layer, [tf.constant(other)])
    np.testing.assert_allclose(layer(x), x @ other, rtol=1e-5, atol=1e-6)  # sums of 4 products in another order
    assert layer.kernel is variable and any(v is variable for v in layer.trainable_weights)
    np.testing.assert_array_equal(layer(x), plain)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([], r"one entry for each of kernel. Received: 0 \(layer 'd'\)"),
        ([np.zeros((3, 4))], r"shape of 'kernel', \(4, 3\). Received: \(3, 4\) \(layer 'd'\)"),
    ],
)
def test_set_quantize_weights_checks_what_it_gets(weights, message):
    with pytest.raises(ValueError, match=message):
        DGMSQuantizeConfig().set_quantize_weights(built(L.Dense(3, name="d"), (None, 4)), weights)


@pytest.mark.parametrize(
    "config",
    [
        DGMSQuantizeConfig(),
        DGMSQuantizeConfig(DGMSConfig(bits=2, granularity=4, posterior="paper")),
        DGMSQuantizeConfig(bits=3, targets=[("kernel", (-1,))]),
        DGMSQuantizeConfig(bits=3, weight_configs={"pointwise_kernel": DGMSConfig(bits=2)}, initialized=True),
    ],
    ids=["default", "config", "targets", "weights"],
)
def test_quantize_config_round_trip(config):
    stored = json.loads(json.dumps(config.get_config()))
    again = DGMSQuantizeConfig.from_config(stored)
    assert again == config
    assert again.get_config() == config.get_config() == stored
    assert DGMSQuantizeConfig(**stored) == config


def test_quantizer_round_trip():
    quantizer = DGMSQuantizer(bits=2, weight="kernel", channel_axes=(-2, -1), granularity=3)
    stored = json.loads(json.dumps(quantizer.get_config()))
    again = DGMSQuantizer.from_config(stored)
    assert again == quantizer and again.get_config() == stored


def test_equality():
    assert DGMSQuantizeConfig(bits=2) == DGMSQuantizeConfig(DGMSConfig(bits=2))
    assert DGMSQuantizeConfig(bits=2) != DGMSQuantizeConfig(bits=3)
    assert DGMSQuantizeConfig(bits=2) != DGMSQuantizeConfig(bits=2, targets=[("kernel", (-1,))])
    assert DGMSQuantizeConfig() != tq.QuantizeConfig
    assert DGMSQuantizer(bits=2) == DGMSQuantizer(bits=2)
    assert DGMSQuantizer(bits=2) != DGMSQuantizer(bits=2, weight="kernel")
    assert DGMSQuantizer(bits=2) != DGMSQuantizer(bits=4)


def test_one_quantizer_per_weight_and_a_config_that_knows_it_was_built(dense_model):
    """`initialized` travels in the config, so that a model that is loaded does not start k-means on random weights."""
    config = DGMSQuantizeConfig(bits=2)
    assert config.get_config()["initialized"] is False
    annotated = tf_keras.Sequential(
        [tf_keras.Input((8,)), quantize_annotate_layer(L.Dense(12, name="b"), config)], name="m"
    )
    wrapper = quantize_apply(annotated).layers[-1]
    ours = wrapper.quantize_config
    assert ours.get_config()["initialized"] is True
    pairs = [ours.get_weights_and_quantizers(wrapper.layer) for _ in range(2)]
    assert pairs[0][0][1] is pairs[1][0][1]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: DGMSQuantizeConfig(bits=5), ValueError, "bits=5"),
        (lambda: DGMSQuantizer(bits=1), ValueError, "bits=1"),
        (lambda: DGMSQuantizeScheme(bits=8), ValueError, "bits=8"),
        (lambda: DGMSQuantizeConfig(nothing=1), TypeError, "nothing"),
        (lambda: DGMSQuantizeConfig(7), TypeError, "`config` must be a DGMSConfig. Received: 7"),
        (
            lambda: DGMSQuantizeConfig().get_weights_and_quantizers(L.ReLU(name="r")),
            ValueError,
            "must be of a supported class.*'r' of class ReLU",
        ),
        (
            lambda: DGMSQuantizeRegistry().get_quantize_config(L.ReLU(name="r")),
            ValueError,
            "must be of a supported class.*'r' of class ReLU",
        ),
        (
            lambda: quantize_annotate_layer(L.ReLU(name="r"), bits=2),
            ValueError,
            "must be of a supported class.*'r' of class ReLU",
        ),
        (
            lambda: quantize_annotate_layer(L.Dense(2), DGMSQuantizeConfig(), bits=2),
            ValueError,
            "`quantize_config` already has its choices",
        ),
        (
            lambda: quantize_annotate_layer(keras.layers.Dense(2, name="k3")),
            TypeError,
            r"DGMSWrapper\(layer, bits=4\). Received: layer 'k3'",
        ),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_registry(registered):
    class Table(L.Layer):
        pass

    registry = DGMSQuantizeRegistry(bits=2, overrides={"special": {"bits": 4}})
    assert registry.supports(L.Dense(2)) and registry.supports(L.Conv1D(2, 3))
    assert not registry.supports(L.ReLU()) and not registry.supports(Table())
    registered(Table, {"table": -1})
    assert registry.supports(Table())
    assert registry.get_quantize_config(L.Dense(2, name="other")) == DGMSQuantizeConfig(bits=2)
    assert registry.get_quantize_config(L.Dense(2, name="special")).config.bits == 4


def test_scheme_holds_the_choices():
    scheme = DGMSQuantizeScheme(DGMSConfig(bits=3), granularity=2)
    assert scheme.config == DGMSConfig(bits=3, granularity=2)
    assert scheme.get_quantize_registry().config == scheme.config


def test_a_quantizer_of_ones_own_config(rng):
    """DGMSQuantizer in somebody else's QuantizeConfig, for the weight that tfmot names."""

    class Mine(tq.QuantizeConfig):
        def get_weights_and_quantizers(self, layer):
            return [(layer.kernel, DGMSQuantizer(bits=2, weight="kernel"))]

        def get_activations_and_quantizers(self, layer):
            return []

        def set_quantize_weights(self, layer, quantize_weights):
            layer.kernel = quantize_weights[0]

        def set_quantize_activations(self, layer, quantize_activations):
            pass

        def get_output_quantizers(self, layer):
            return []

        def get_config(self):
            return {}

    model = tf_keras.Sequential([tf_keras.Input((8,)), tq.quantize_annotate_layer(L.Dense(12, name="b"), Mine())])
    with tq.quantize_scope({"Mine": Mine}):
        quantised = tq.quantize_apply(model, scheme=DGMSQuantizeScheme())
    kernel = model.layers[-1].get_weights()[0]
    hard = quantised(np.eye(8, dtype="float32")).numpy()
    assert len(np.unique(hard)) <= 4 and not np.array_equal(hard, kernel)
    assert list(mixtures(quantised)) == ["b"]


def test_lora_and_int8_layers_have_no_place_here():
    """tf_keras has neither; a refused layer is named all the same."""
    layer = built(L.Dense(3, name="d"), (None, 4))
    layer.lora_enabled = True
    with pytest.raises(ValueError, match=r"layer 'd' \(Dense\) cannot be quantised: it has LoRA"):
        DGMSQuantizeConfig().get_weights_and_quantizers(layer)
