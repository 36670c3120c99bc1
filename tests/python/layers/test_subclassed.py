import gc
import warnings

import keras
import numpy as np
import pytest
from keras import ops

from dgms_keras import frozen_weights, mixtures
from dgms_keras.layers import DGMSWrapper, quantize_apply, strip

L = keras.layers


class Block(L.Layer):
    def __init__(self, units, name=None):
        super().__init__(name=name)
        self.inner = L.Dense(units, name="inner")
        self.rest = [L.Dense(units, name="r0"), [L.Dense(units, name="r1")]]

    def call(self, x):
        return self.rest[1][0](self.rest[0](self.inner(x)))


class Net(keras.Model):
    """Layers in attributes, lists, tuples, dicts, layers and models; one shared."""

    def __init__(self):
        super().__init__(name="net")
        self.first = L.Dense(8, name="first")
        self.blocks = [Block(8, name="block"), L.ReLU()]
        self.pair = (L.Dense(8, name="paired"), L.BatchNormalization(name="bn"))
        self.by_name = {"gate": L.Dense(8, name="gate")}
        self.backbone = keras.Sequential(
            [keras.Input((8,)), L.Dense(8, name="d"), L.BatchNormalization(name="b")], name="backbone"
        )
        self.shared = self.first
        self.last = L.Dense(3, name="last")

    def call(self, x, training=None):
        x = self.first(x)
        for layer in (*self.blocks, *self.pair):
            x = layer(x)
        x = self.backbone(x * self.by_name["gate"](x), training=training)
        return self.last(self.shared(x))


@pytest.fixture
def data(rng):
    return rng.normal(size=(16, 8)).astype("float32"), rng.normal(size=(16, 3)).astype("float32")


@pytest.fixture
def net(data):
    model = Net()
    model(data[0])
    return model


NAMES = ["first", "block/inner", "block/r0", "block/r1", "paired", "gate", "backbone/d", "last"]


def quantised_in_place(model, **config):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the last layer has few weights
        return quantize_apply(model, in_place=True, **config)


def test_without_in_place_the_error_says_how(net):
    with pytest.raises(ValueError, match=r"quantize_apply\(model, in_place=True\).*'net' of class Net"):
        quantize_apply(net)


def test_an_unbuilt_model_is_refused():
    with pytest.raises(ValueError, match=r"must be built.*'net'"):
        quantize_apply(Net(), in_place=True)


def test_layers_are_replaced_wherever_they_are(net, data):
    before, latents = ops.convert_to_numpy(net(data[0])), [w.copy() for w in net.get_weights()]
    assert quantised_in_place(net, skip_first_last=False) is net
    assert sorted(mixtures(net)) == sorted(NAMES)
    wrappers = [net.first, net.blocks[0].inner, net.blocks[0].rest[0], net.blocks[0].rest[1][0]]
    wrappers += [net.pair[0], net.by_name["gate"], net.backbone.layers[0], net.last]
    assert all(isinstance(layer, DGMSWrapper) for layer in wrappers)
    assert net.shared is net.first
    assert isinstance(net.pair, tuple)
    ours = [v.numpy() for v in net.variables if "dgms" not in v.name]
    assert len(ours) == len(latents)
    for value in latents:
        assert any(np.array_equal(value, other) for other in ours)
    after = ops.convert_to_numpy(net(data[0]))
    assert np.abs(after - before).max() < np.abs(before).max()
    assert net.get_layer("first") is net.first


def test_first_and_last_by_attribute_order(net):
    quantised_in_place(net)
    assert sorted(mixtures(net)) == sorted(set(NAMES) - {"first", "last"})


def test_it_trains_and_goes_through_a_weights_file(net, data, tmp_path):
    net.compile("adam", "mse")
    net.fit(*data, verbose=0)
    quantised_in_place(net, bits=2)
    with pytest.raises(ValueError, match=r"compile"):
        net.fit(*data, verbose=0)
    net.compile("adam", "mse")
    losses = net.fit(*data, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    net.save_weights(tmp_path / "w.weights.h5")
    other = Net()
    other(data[0])
    quantised_in_place(other, bits=2).load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(other.predict(data[0], verbose=0), net.predict(data[0], verbose=0))
    for name, mixture in mixtures(net).items():
        assert mixtures(other)[name].to_json() == mixture.to_json()


def test_strip_makes_a_plain_copy_or_works_in_place(net, data):
    quantised_in_place(net, bits=2, skip_first_last=False)
    hard = {f.name: f.dense() for f in frozen_weights(net)}
    expected = net.predict(data[0], verbose=0)
    plain = strip(net)
    assert type(plain) is Net
    assert isinstance(net.first, DGMSWrapper)
    assert not any(isinstance(layer, DGMSWrapper) for layer in plain._flatten_layers())
    np.testing.assert_allclose(plain.predict(data[0], verbose=0), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(plain.blocks[0].rest[1][0].kernel.numpy(), hard["block/r1/kernel"])
    assert strip(net, in_place=True) is net
    assert not any(isinstance(layer, DGMSWrapper) for layer in net._flatten_layers())
    np.testing.assert_array_equal(net.by_name["gate"].kernel.numpy(), hard["gate/kernel"])
    np.testing.assert_allclose(net.predict(data[0], verbose=0), expected, rtol=1e-5, atol=1e-6)


def test_a_class_that_cannot_be_rebuilt_is_told_what_to_do(data):
    class Needs(keras.Model):
        def __init__(self, function):
            super().__init__(name="needs")
            self.function, self.dense = function, L.Dense(8, name="dense")

        def call(self, x):
            return self.function(self.dense(x))

    model = Needs(ops.relu)
    model(data[0])
    quantised_in_place(model, skip_first_last=False)
    with pytest.raises(ValueError, match=r"(?s)'needs' of class Needs.*strip\(model, in_place=True\)"):
        strip(model)
    assert strip(model, in_place=True) is model


def test_an_error_leaves_the_model_as_it_was(net, data):
    before = ops.convert_to_numpy(net(data[0]))
    bad = net.last.kernel.numpy()
    bad[0, 0] = np.nan
    good = net.last.kernel.numpy()
    net.last.kernel.assign(bad)
    with pytest.raises(ValueError, match=r"finite.*'last'"):
        quantised_in_place(net, skip_first_last=False)
    assert not any(isinstance(layer, DGMSWrapper) for layer in net._flatten_layers())
    net.last.kernel.assign(good)
    np.testing.assert_array_equal(ops.convert_to_numpy(net(data[0])), before)


def test_names_that_collide_get_their_place(rng):
    class Twins(keras.Model):
        def __init__(self):
            super().__init__()
            self.a, self.b = L.Dense(8, name="same"), [L.Dense(8, name="same")]

        def call(self, x):
            return self.b[0](self.a(x))

    model = Twins()
    model(rng.normal(size=(4, 8)))
    quantised_in_place(model, skip_first_last=False)
    assert list(mixtures(model)) == ["a", "b/0"]
    assert [f.name for f in frozen_weights(model)] == ["a/kernel", "b/0/kernel"]


def test_unsupported_layers_and_own_weights_are_warned_about(rng):
    class Odd(keras.Model):
        def __init__(self):
            super().__init__(name="odd")
            self.dense, self.lstm = L.Dense(8, name="dense"), L.LSTM(4, name="lstm")

        def build(self, shape):
            self.table = self.add_weight(shape=(8, 8), initializer="ones", name="table")
            self.dense.build(shape)
            self.lstm.build((None, 1, 8))

        def call(self, x):
            return self.lstm(self.dense(x)[:, None] @ self.table)

    model = Odd()
    model(rng.normal(size=(4, 8)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quantize_apply(model, in_place=True, skip_first_last=False)
    lines = [str(w.message) for w in caught if "stays in float" in str(w.message)]
    assert [line.split(" stays")[0] for line in lines] == ["layer 'odd' (Odd)", "layer 'lstm' (LSTM)"]


def test_the_old_layers_are_let_go(net):
    old = net.backbone
    import weakref

    reference = weakref.ref(old)
    quantised_in_place(net)
    del old
    keras.utils.clear_session()
    gc.collect()
    assert reference() is None
