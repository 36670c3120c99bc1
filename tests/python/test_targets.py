import keras
import numpy as np
import pytest

from dgms_keras.targets import Target, refusal, register_layer, resolve, targets_of, unsupported

L = keras.layers

# layer, input shape, {weight: number of output channels}
KINDS = [
    (L.Conv1D(5, 3), (None, 8, 4), {"kernel": 5}),
    (L.Conv2D(6, 3, groups=2), (None, 8, 8, 4), {"kernel": 6}),
    (L.Conv3D(5, 3), (None, 8, 8, 8, 2), {"kernel": 5}),
    (L.DepthwiseConv1D(3, depth_multiplier=2), (None, 8, 4), {"kernel": 8}),
    (L.DepthwiseConv2D(3, depth_multiplier=3), (None, 8, 8, 4), {"kernel": 12}),
    (L.SeparableConv1D(5, 3, depth_multiplier=2), (None, 8, 4), {"depthwise_kernel": 8, "pointwise_kernel": 5}),
    (L.SeparableConv2D(5, 3), (None, 8, 8, 4), {"depthwise_kernel": 4, "pointwise_kernel": 5}),
    (L.Conv1DTranspose(5, 3), (None, 8, 4), {"kernel": 5}),
    (L.Conv2DTranspose(5, 3), (None, 8, 8, 4), {"kernel": 5}),
    (L.Conv3DTranspose(5, 3), (None, 4, 4, 4, 2), {"kernel": 5}),
    (L.Dense(7), (None, 4), {"kernel": 7}),
    (L.EinsumDense("abc,cde->abde", output_shape=(None, 2, 3)), (None, 4, 5), {"kernel": 6}),
    (L.EinsumDense("...x,xy->...y", output_shape=7), (None, 4, 5), {"kernel": 7}),
    (L.Embedding(50, 6), (None, 4), {"embeddings": 6}),
]


@pytest.mark.parametrize(
    ("layer", "shape", "weights"), KINDS, ids=lambda x: type(x).__name__ if isinstance(x, L.Layer) else ""
)
def test_every_kind_names_its_weights_and_output_channels(layer, shape, weights):
    found = targets_of(layer)
    assert [t.weight for t in found] == list(weights)
    layer.build(shape)
    for target in found:
        variable = resolve(layer, target.weight)
        assert any(v is variable for v in layer.trainable_variables)
        assert np.prod([variable.shape[a] for a in target.channel_axes]) == weights[target.weight]
    assert unsupported(layer) == []


def test_subclasses_of_supported_layers_are_supported():
    class MyConv(L.Conv2D):
        pass

    assert targets_of(MyConv(3, 3)) == [Target("kernel", (-1,))]


@pytest.mark.parametrize(
    "layer",
    [
        L.BatchNormalization(),
        L.Activation("relu"),
        L.Dropout(0.5),
        L.PReLU(),
        L.LayerNormalization(axis=[1, 2]),
        L.Flatten(),
    ],
    ids=lambda x: type(x).__name__,
)
def test_layers_without_weights_to_share_are_neither_supported_nor_missed(layer):
    layer.build((None, 4, 5))
    assert targets_of(layer) == []
    assert unsupported(layer) == []


def test_unsupported_layers_are_listed_with_their_weights():
    lstm = L.LSTM(4)
    lstm.build((None, 5, 3))
    assert unsupported(lstm) == [("cell", "kernel"), ("cell", "recurrent_kernel")]
    lstm.trainable = False
    assert len(unsupported(lstm)) == 2, "frozen weights are worth compressing too"
    spectral = L.SpectralNormalization(L.Dense(4))
    spectral.build((None, 5))
    assert targets_of(spectral) == [], "it writes to the kernel while it runs"
    assert unsupported(spectral) == [("layer", "kernel")]


class Held(L.Layer):
    """Layers in every kind of place."""

    def __init__(self):
        super().__init__()
        self.one = L.Dense(3)
        self.listed = [L.Dense(3), [L.Dense(3)]]
        self.keyed = {"a": L.Dense(3)}
        self.pair = (L.ReLU(), L.Dense(3))
        self.again = self.one
        self.model = keras.Sequential([keras.Input((3,)), L.Dense(3, name="inner")])


def test_weights_of_layers_inside_a_layer_are_found_by_path():
    layer = Held()
    layer.one.build((None, 3))
    paths = [t.weight for t in targets_of(layer)]
    assert sorted(paths) == [
        "keyed.a.kernel",
        "listed.0.kernel",
        "listed.1.0.kernel",
        "model.inner.kernel",
        "one.kernel",
        "pair.1.kernel",
    ]
    assert resolve(layer, "one.kernel") is layer.one.kernel
    assert resolve(layer, "listed.1.0") is layer.listed[1][0]
    assert resolve(layer, "keyed.a") is layer.keyed["a"]
    assert resolve(layer, "model.inner") is layer.model.layers[0]


@pytest.mark.parametrize("path", ["nothing", "listed.7", "keyed.b", "model.nobody", "one.nothing"])
def test_a_path_to_nothing_names_the_layer_and_the_step(path):
    layer = Held()
    layer.one.build((None, 3))
    with pytest.raises(
        AttributeError, match=rf"'{path}', of which '{path.rpartition('.')[2]}' is missing .*'{layer.name}'"
    ):
        resolve(layer, path)


def test_register_layer():
    class Mine(L.Layer):
        pass

    class Derived(Mine):
        pass

    assert targets_of(Mine()) == []
    assert register_layer(Mine, {"table": (0, 1), "w": -1}) is Mine
    assert targets_of(Derived()) == [Target("table", (0, 1)), Target("w", (-1,))]
    register_layer(Mine, ["a", "b"])
    assert targets_of(Mine()) == [Target("a", (-1,)), Target("b", (-1,))]
    register_layer(Mine, "w")
    assert targets_of(Mine()) == [Target("w", (-1,))]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("Dense", "kernel"), TypeError, "must be a class. Received: 'Dense'"),
        ((L.LSTM, {}), ValueError, "at least one weight"),
        ((L.LSTM, {"": -1}), ValueError, "must name weights"),
        ((L.LSTM, {"cell..kernel": -1}), ValueError, "must name weights"),
        ((L.LSTM, {"kernel": "last"}), ValueError, "must map to axes"),
        ((L.LSTM, {"kernel": (True,)}), ValueError, "must map to axes"),
    ],
)
def test_register_layer_rejects_what_cannot_be(arguments, error, message):
    with pytest.raises(error, match=message):
        register_layer(*arguments)
    assert targets_of(L.LSTM(2)) == []


def test_lora_and_keras_quantised_layers_are_refused_with_a_reason():
    lora = L.Dense(4)
    lora.build((None, 8))
    assert refusal(lora) is None
    lora.enable_lora(2)
    assert "LoRA" in refusal(lora)
    int8 = L.Dense(4)
    int8.build((None, 8))
    int8.quantize("int8")
    assert "already quantised by Keras (int8)" in refusal(int8)
    around = L.TimeDistributed(int8)
    assert "int8" in refusal(around)
