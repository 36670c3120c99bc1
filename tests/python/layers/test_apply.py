import warnings

import keras
import numpy as np
import pytest
from keras import ops

import dgms_keras
from dgms_keras import frozen_weights, mixtures
from dgms_keras.config import DGMSConfig
from dgms_keras.layers import DGMSWrapper, quantize_apply, strip
from dgms_keras.targets import resolve

L = keras.layers


def array(x):
    return ops.convert_to_numpy(x)


def outputs(model, x):
    """All outputs as one flat list of arrays."""
    return [array(y) for y in keras.tree.flatten(model(x))]


def assert_equal_outputs(a, b, x):
    for one, other in zip(outputs(a, x), outputs(b, x), strict=True):
        np.testing.assert_array_equal(one, other)


def assert_close_outputs(a, b, x, relative):
    """Equal up to `relative` of the largest output."""
    for one, other in zip(outputs(a, x), outputs(b, x), strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=relative * np.abs(one).max())


def check_whole_path(model, x, **config):
    """quantize_apply -> strip, frozen_weights: what must hold for every model. Returns the quantised model."""
    before = [w.copy() for w in model.get_weights()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tiny layers have fewer weights than codes
        quantised = quantize_apply(model, **{"skip_first_last": False, **config})
    assert [layer.name for layer in quantised.layers] == [layer.name for layer in model.layers]
    assert quantised.name == model.name
    assert not quantised.compiled
    for ours, theirs in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    latents = [v for v in quantised.variables if "dgms_mixture" not in v.name]
    for latent, variable in zip(latents, model.variables, strict=True):
        np.testing.assert_array_equal(array(latent), array(variable), err_msg=variable.path)
    plain = strip(quantised)
    assert not any(isinstance(layer, DGMSWrapper) for layer in plain._flatten_layers())
    assert [tuple(w.shape) for w in plain.weights] == [tuple(w.shape) for w in model.weights]
    # Not equal to the bit: XLA and TensorFlow pick other kernels where the weights are constants and where they are computed.
    assert_close_outputs(quantised, plain, x, 1e-5)
    keras.tree.assert_same_structure(quantised(x), model(x))
    frozen = frozen_weights(quantised)
    assert len(frozen) == len(mixtures(quantised)) == len({f.name for f in frozen})
    for weight in frozen:
        variable = resolve(_at(plain, weight.layer), weight.weight)
        np.testing.assert_array_equal(array(variable), weight.dense(), err_msg=weight.name)
    return quantised


def _at(model, path):
    """The layer at a path of layer names, or attributes inside a layer."""
    found = model
    for step in path.split("/"):
        found = found.get_layer(step) if hasattr(found, "get_layer") else resolve(found, step)
    return found


@pytest.mark.parametrize(
    ("layers", "shape", "names"),
    [
        ([L.Conv1D(6, 3, name="a"), L.SeparableConv1D(5, 3, name="s"), L.DepthwiseConv1D(3, name="w")], (12, 4),
         ["a", "s/depthwise_kernel", "s/pointwise_kernel", "w"]),
        ([L.Conv2D(6, 3, groups=2, name="a"), L.SeparableConv2D(5, 3, depth_multiplier=2, name="s"),
          L.DepthwiseConv2D(3, name="w")], (8, 8, 4), ["a", "s/depthwise_kernel", "s/pointwise_kernel", "w"]),
        ([L.Conv3D(3, 3, name="a"), L.Conv3DTranspose(4, 3, name="t")], (5, 5, 5, 2), ["a", "t"]),
        ([L.Conv1DTranspose(6, 3, strides=2, name="a"), L.Dense(5, name="d")], (6, 4), ["a", "d"]),
        ([L.Conv2DTranspose(6, 3, strides=2, name="a"), L.EinsumDense("abcd,de->abce", (None, None, 5), name="e")],
         (4, 4, 3), ["a", "e"]),
        ([L.Embedding(30, 8, name="a"), L.Dense(5, name="d")], (6,), ["a", "d"]),
    ],
    ids=["1d", "2d", "3d", "transposed1d", "transposed2d", "embedding"],
)  # fmt: skip
def test_kinds(rng, layers, shape, names):
    is_text = isinstance(layers[0], L.Embedding)
    inputs = keras.Input(shape, dtype="int32" if is_text else "float32")
    x = inputs
    for layer in layers:
        x = type(layer).from_config(layer.get_config())(x)
    data = rng.integers(0, 30, (3, *shape)) if is_text else rng.normal(size=(3, *shape)).astype("float32")
    quantised = check_whole_path(keras.Model(inputs, x), data)
    assert list(mixtures(quantised)) == names


def test_channel_groups(rng):
    inputs = keras.Input((8, 8, 4))
    x = L.DepthwiseConv2D(3, depth_multiplier=2, name="w")(L.Conv2D(7, 3, name="a")(inputs))
    model = keras.Model(inputs, L.Conv2DTranspose(5, 3, name="t")(x))
    quantised = check_whole_path(model, rng.normal(size=(3, 8, 8, 4)).astype("float32"), granularity=4)
    assert {name: m.mu.shape for name, m in mixtures(quantised).items()} == {"a": (2, 16), "w": (4, 16), "t": (2, 16)}


def test_sequential(rng):
    model = keras.Sequential([L.Dense(8, name="a"), L.ReLU(), L.Dense(6, name="b"), L.Dense(2, name="c")], name="seq")
    x = rng.normal(size=(4, 5)).astype("float32")
    with pytest.raises(ValueError, match=r"must be built.*'seq'"):
        quantize_apply(model)
    model(x)  # built without an Input
    quantised = check_whole_path(model, x)
    assert type(quantised) is keras.Sequential
    assert list(mixtures(quantised)) == ["a", "b", "c"]


def test_several_inputs_and_outputs_keep_their_structure(rng):
    a, b = keras.Input((8,), name="a"), keras.Input((4,), name="b")
    h = L.Dense(16, name="mid")(L.Concatenate()([L.Dense(8, name="da")(a), L.Dense(8, name="db")(b)]))
    model = keras.Model({"b": b, "a": a}, {"v": L.Dense(3, name="hv")(h), "u": [L.Dense(2, name="hu")(h), h]})
    x = {"a": rng.normal(size=(4, 8)).astype("float32"), "b": rng.normal(size=(4, 4)).astype("float32")}
    quantised = check_whole_path(model, x)
    for copy in (quantised, strip(quantised)):
        keras.tree.assert_same_structure(copy(x), model(x))
        assert copy.output_names == model.output_names
        assert [t.name for t in copy.inputs] == [t.name for t in model.inputs]
    # One of several branches each: whatever sees an input or makes an output.
    assert list(mixtures(quantize_apply(model))) == ["mid"]


def nested_model():
    backbone = keras.Sequential(
        [keras.Input((8, 8, 3)), L.Conv2D(4, 3, name="c1"), L.BatchNormalization(name="bn"), L.Conv2D(6, 3, name="c2")],
        name="backbone",
    )
    inner_in = keras.Input((5,))
    inner = keras.Model(inner_in, L.Dense(5, name="d")(inner_in + 1.0), name="inner")
    shared = L.Dense(5, name="shared")
    one, two = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    h = [inner(shared(L.GlobalAveragePooling2D()(backbone(i)))) for i in (one, two)]
    return keras.Model([one, two], L.Dense(20, name="head")(L.Add()(h)), name="outer")


def test_nested_and_shared(rng):
    model = nested_model()
    x = [rng.normal(size=(2, 8, 8, 3)).astype("float32") for _ in range(2)]
    quantised = check_whole_path(model, x)
    assert list(mixtures(quantised)) == ["backbone/c1", "backbone/c2", "shared", "inner/d", "head"]
    assert sum(isinstance(layer, DGMSWrapper) for layer in quantised._flatten_layers()) == 5, "shared ones once"
    assert list(mixtures(quantize_apply(model, bits=2))) == ["backbone/c2", "shared", "inner/d"]
    only = quantize_apply(model, bits=2, layers="backbone/.*", skip_first_last=False)
    assert list(mixtures(only)) == ["backbone/c1", "backbone/c2"]


def test_a_layer_shared_across_nested_models_has_one_mixture(rng):
    shared = L.Dense(8, name="shared")
    parts = []
    for name in ("one", "two"):
        inputs = keras.Input((8,))
        parts.append(keras.Model(inputs, L.ReLU()(shared(inputs)), name=name))
    inputs = keras.Input((8,))
    model = keras.Model(inputs, shared(parts[1](parts[0](inputs))))
    x = rng.normal(size=(4, 8)).astype("float32")
    quantised = check_whole_path(model, x)
    assert list(mixtures(quantised)) == ["one/shared"]
    assert len(quantised.trainable_variables) == 3
    assert len(strip(quantised).trainable_variables) == 2


@keras.saving.register_keras_serializable("test_apply")
class Block(L.Layer):
    """A layer made of layers, as users write them, without a `build`."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.first = L.Dense(units)
        self.rest = [L.Dense(units), L.Dense(units)]
        self.by_name = {"gate": L.Dense(units)}

    def call(self, x):
        x = self.first(x)
        for layer in self.rest:
            x = layer(x)
        return x * self.by_name["gate"](x)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def test_layers_inside_layers(rng):
    inputs = keras.Input((6, 8))
    x = L.TimeDistributed(L.Dense(8), name="td")(Block(8, name="block")(inputs))
    x = L.MultiHeadAttention(2, 4, name="mha")(x, x)
    model = keras.Model(inputs, x)
    data = rng.normal(size=(3, 6, 8)).astype("float32")
    quantised = check_whole_path(model, data)
    inside = ["first", "rest/0", "rest/1", "by_name/gate"]
    parts = [f"mha/_{part}_dense" for part in ("query", "key", "value", "output")]
    assert list(mixtures(quantised)) == [f"block/{path}" for path in inside] + ["td/layer"] + parts
    some = quantize_apply(model, overrides={"block/rest/.*": {"bits": 2}}, layers=["block/.*", "mha/_key_dense"])
    assert {name: m.bits for name, m in mixtures(some).items()} == {
        "block/rest/0": 2,
        "block/rest/1": 2,
        "block/by_name/gate": 4,
        "mha/_key_dense": 4,
    }


def test_functional_model_of_a_class_of_its_own(rng):
    class Own(keras.Model):
        def train_step(self, data):
            return {"loss": 17.0}

    class Other(keras.Model):
        def __init__(self, units):
            inputs = keras.Input((4,))
            super().__init__(inputs, L.Dense(units, name="d")(inputs))

    inputs = keras.Input((4,))
    x = rng.normal(size=(4, 4)).astype("float32")
    assert type(check_whole_path(Own(inputs, L.Dense(8, name="d")(inputs)), x)) is Own
    with pytest.warns(UserWarning, match=r"plain keras.Model.*Other"):
        quantize_apply(Other(8), skip_first_last=False)


def test_operations_lambdas_and_state_are_copied(rng):
    normalise = L.Normalization()
    normalise.adapt(rng.normal(3, 2, (50, 8)))
    inputs = keras.Input((8,))
    x = L.Lambda(lambda t: t * 2)(normalise(inputs))
    x = L.Dense(8, name="a")(x)
    x = x[:, :4] * ops.sigmoid(x[:, 4:]) + 1.0
    x = L.BatchNormalization(name="bn")(L.Dropout(0.5)(x))
    model = keras.Model(inputs, L.Dense(8, name="b")(x))
    model.get_layer("bn").moving_mean.assign(rng.normal(size=4))
    check_whole_path(model, rng.normal(3, 2, (5, 8)).astype("float32"))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="string inputs")
def test_vocabularies_are_copied():
    import tensorflow as tf

    lookup = L.StringLookup()
    lookup.adapt(["a", "b", "c"])
    inputs = keras.Input((2,), dtype="string")
    model = keras.Model(inputs, L.Dense(8)(L.Flatten()(L.Embedding(5, 4)(lookup(inputs)))))
    x = tf.constant([["a", "c"], ["b", "?"]])
    quantised = quantize_apply(model, skip_first_last=False)
    assert quantised.layers[1].get_vocabulary() == lookup.get_vocabulary()
    assert_close_outputs(model, quantised, x, 0.3)


def test_trainable_flags_are_kept(small_model):
    model = small_model
    model.get_layer("conv2").trainable = False
    model.get_layer("bn").trainable = False
    model.get_layer("hidden").kernel.trainable = False
    quantised = quantize_apply(model, skip_first_last=False)
    for copy in (quantised, strip(quantised)):
        flags = [(layer.name, layer.trainable) for layer in copy.layers]
        assert flags == [(layer.name, layer.trainable) for layer in model.layers]
        assert not copy.get_layer("hidden").kernel.trainable
    names = [v.path for v in quantised.trainable_variables]
    assert not any("conv2" in name for name in names), "a frozen layer's mixture is frozen too"


def test_a_compiled_model_is_left_compiled_and_its_copy_is_not(small_model, small_data):
    small_model.compile("adam", "mse")
    small_model.fit(*small_data, verbose=0)
    optimizer, steps = small_model.optimizer, int(small_model.optimizer.iterations)
    quantised = quantize_apply(small_model)
    assert not quantised.compiled
    assert small_model.optimizer is optimizer
    assert int(optimizer.iterations) == steps
    small_model.fit(*small_data, verbose=0)


def test_first_and_last_stay_in_float(small_model):
    assert list(mixtures(quantize_apply(small_model))) == ["conv2", "hidden"]
    assert list(mixtures(quantize_apply(small_model, skip_first_last=False))) == ["conv1", "conv2", "hidden", "head"]
    for name in ("conv1", "head"):
        ours = quantize_apply(small_model).get_layer(name)
        np.testing.assert_array_equal(array(ours.kernel), array(small_model.get_layer(name).kernel))


def test_residual_shortcuts_are_neither_first_nor_last():
    inputs = keras.Input((8, 8, 3))
    stem = L.Conv2D(8, 3, name="stem")(inputs)
    branch = L.Conv2D(8, 3, padding="same", name="b2")(L.Conv2D(8, 3, padding="same", name="b1")(stem))
    x = L.Add()([branch, L.Conv2D(8, 1, name="shortcut")(stem)])
    model = keras.Model(inputs, L.Dense(3, name="head")(L.Flatten()(x)))
    assert set(mixtures(quantize_apply(model))) == {"b1", "b2", "shortcut"}


def test_layer_filters(small_model):
    for layers, names in [
        ("conv.*", ["conv1", "conv2"]),
        (["conv2", "he.d"], ["conv2", "head"]),
        (lambda path: "n" in path, ["conv1", "conv2", "hidden"]),
    ]:
        assert list(mixtures(quantize_apply(small_model, layers=layers, skip_first_last=False))) == names
    assert list(mixtures(quantize_apply(small_model, layers="conv.*"))) == ["conv2"]


def test_overrides_by_pattern_and_function(small_model):
    by_pattern = {"conv.*": {"bits": 2, "granularity": 4}, "hidden": {"learn_temperature": False, "temperature": 0.5}}
    quantised = quantize_apply(small_model, bits=3, overrides=by_pattern)
    found = mixtures(quantised)
    assert (found["conv2"].bits, found["conv2"].mu.shape) == (2, (2, 4))
    assert (found["hidden"].bits, found["hidden"].mu.shape, float(found["hidden"].tau)) == (3, (8,), 0.5)
    by_function = quantize_apply(small_model, overrides=lambda path: {"bits": 2} if path == "hidden" else None)
    assert [m.bits for m in mixtures(by_function).values()] == [4, 2]


def test_overrides_may_name_one_kernel_of_two():
    inputs = keras.Input((8, 8, 8))
    model = keras.Model(inputs, L.SeparableConv2D(8, 3, name="sep")(inputs))
    overrides = {"sep/depthwise_kernel": {"bits": 2}, "sep": {"bits": 3}}
    quantised = quantize_apply(model, overrides=overrides, skip_first_last=False)
    assert {n: m.bits for n, m in mixtures(quantised).items()} == {"sep/depthwise_kernel": 2, "sep/pointwise_kernel": 3}
    assert [f.bits for f in frozen_weights(quantised)] == [2, 3]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"layers": ["conv2", "conf.*"]},
            "`layers` has the pattern 'conf.*', which matches .* no supported layer.*conv1",
        ),
        ({"overrides": {"nobody": {"bits": 2}}}, "`overrides` has the pattern 'nobody'"),
        ({"layers": "head"}, "nothing to quantise: `skip_first_last` leaves out head"),
        ({"layers": ()}, "nothing to quantise: the model has no layer"),
    ],
)
def test_filters_that_do_nothing_are_warned_about(small_model, config, message):
    with pytest.warns(UserWarning, match=message):
        quantize_apply(small_model, **config)


def test_no_warning_where_all_is_well(small_model):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        quantize_apply(small_model, overrides={"conv2": {"bits": 2}}, layers=["conv.*", "hidden"])


def unsupported_model():
    inputs = keras.Input((6, 8))
    x = L.Bidirectional(L.GRU(4, return_sequences=True), name="bi")(L.Dense(8, name="d1")(inputs))
    x = L.LSTM(4, name="lstm")(L.BatchNormalization()(x))
    return keras.Model(inputs, L.Dense(4, name="d2")(x))


def test_each_unsupported_layer_is_warned_about_once():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quantised = quantize_apply(unsupported_model(), skip_first_last=False)
    lines = [str(w.message) for w in caught if "stays in float" in str(w.message)]
    assert len(lines) == 2
    assert "layer 'bi' (Bidirectional) stays in float" in lines[0]
    assert "layer 'lstm' (LSTM) stays in float" in lines[1]
    assert "cell.kernel, cell.recurrent_kernel" in lines[1]
    assert "dgms_keras.register_layer(LSTM, {'cell.kernel': -1})" in lines[1]
    assert list(mixtures(quantised)) == ["d1", "d2"]


def test_strict_raises_for_unsupported_layers_but_not_for_left_out_ones():
    with pytest.raises(ValueError, match=r"strict=True.*\n.*'bi'.*\n.*'lstm'"):
        quantize_apply(unsupported_model(), strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        quantize_apply(unsupported_model(), strict=True, layers="d.*", skip_first_last=False, bits=2)


def test_registered_layers_are_quantised(rng):
    class Scale(L.Layer):
        def build(self, shape):
            self.table = self.add_weight(shape=(shape[-1], shape[-1]), initializer="glorot_uniform")

        def call(self, x):
            return x @ self.table

    dgms_keras.register_layer(Scale, {"table": 1})
    inputs = keras.Input((8,))
    model = keras.Model(inputs, Scale(name="scale")(inputs))
    quantised = check_whole_path(model, rng.normal(size=(4, 8)).astype("float32"), granularity=4)
    assert mixtures(quantised)["scale"].mu.shape == (2, 16)


def test_registered_recurrent_layers_are_quantised(rng, monkeypatch):
    from dgms_keras import targets

    monkeypatch.setattr(targets, "_REGISTERED", dict(targets._REGISTERED))
    dgms_keras.register_layer(L.LSTM, {"cell.kernel": -1, "cell.recurrent_kernel": -1})
    inputs = keras.Input((5, 8))
    model = keras.Model(inputs, L.LSTM(6, name="lstm")(inputs))
    quantised = check_whole_path(model, rng.normal(size=(4, 5, 8)).astype("float32"))
    assert list(mixtures(quantised)) == ["lstm/cell/kernel", "lstm/cell/recurrent_kernel"]


@pytest.mark.parametrize(("how", "message"), [("lora", "'hidden'.*LoRA"), ("int8", "'hidden'.*Keras .int8.")])
def test_lora_and_int8_layers_are_refused_by_name(small_model, how, message):
    layer = small_model.get_layer("hidden")
    layer.enable_lora(2) if how == "lora" else layer.quantize("int8")
    with pytest.raises(ValueError, match=message):
        quantize_apply(small_model)
    if how == "lora":
        assert list(mixtures(quantize_apply(small_model, layers="conv2"))) == ["conv2"]


def test_wrapped_layers_are_left_alone(rng):
    model = keras.Sequential(
        [keras.Input((8,)), DGMSWrapper(L.Dense(8, name="a"), bits=2), L.Dense(8, name="b"), L.Dense(8, name="c")]
    )
    x = rng.normal(size=(4, 8)).astype("float32")
    model.layers[0].mixture_layers[0].learned.assign(np.full(12, 0.1, "float32"))  # a learned mixture
    before = mixtures(model)["a"]
    quantised = quantize_apply(model, bits=3, skip_first_last=False)
    again = quantize_apply(quantised, bits=4, skip_first_last=False)
    for copy in (quantised, again):
        found = mixtures(copy)
        assert {name: m.bits for name, m in found.items()} == {"a": 2, "b": 3, "c": 3}
        for field in ("mu", "pi", "gamma", "tau"):
            np.testing.assert_array_equal(getattr(found["a"], field), getattr(before, field))
    assert_equal_outputs(quantised, again, x)
    assert list(mixtures(quantize_apply(model, bits=3))) == ["a", "b"], "the wrapped layer is the first one, c the last"


def test_given_mixtures_are_the_start(small_model):
    first = quantize_apply(small_model, bits=3)
    for layer in ("conv2", "hidden"):
        variables = first.get_layer(layer).mixture_layers[0]
        variables.learned.assign(np.linspace(-0.2, 0.2, variables.learned.shape[0], dtype="float32"))
    given = mixtures(first)
    given = {name: dgms_keras.Mixture.from_json(m.to_json()) for name, m in given.items()}
    other = keras.models.clone_model(small_model)  # other weights
    second = quantize_apply(other, bits=3, mixtures=given)
    for name, m in mixtures(second).items():
        for field in ("mu", "pi", "gamma", "tau"):
            np.testing.assert_array_equal(getattr(m, field), getattr(given[name], field), err_msg=f"{name} {field}")
    part = quantize_apply(other, bits=3, mixtures={"hidden": given["hidden"]})
    assert not np.array_equal(mixtures(part)["conv2"].mu, given["conv2"].mu)
    np.testing.assert_array_equal(mixtures(part)["hidden"].mu, given["hidden"].mu)


@pytest.mark.parametrize(
    ("given", "config", "error", "message"),
    [
        ("hidden", {"bits": 2}, ValueError, r"bits of its layer, 2. Received: bits=4 \(layer 'hidden'\)"),
        ("hidden", {"layers": "conv2"}, ValueError, "are quantised by mixtures: conv2. Received: 'hidden'"),
        ("hidden", {"granularity": 4}, ValueError, r"shape \(4, 16\).*Received: shape \(16,\).*layer 'hidden'"),
        ("nobody", {}, ValueError, "conv2, hidden. Received: 'nobody'"),
    ],
)
def test_given_mixtures_that_do_not_fit_are_named(small_model, given, config, error, message):
    mixture = mixtures(quantize_apply(small_model))["hidden"]
    with pytest.raises(error, match=message):
        quantize_apply(small_model, mixtures={given: mixture}, **config)


def test_given_mixtures_of_another_type_are_named(small_model):
    with pytest.raises(TypeError, match=r"must be a dict"):
        quantize_apply(small_model, mixtures=[1])
    with pytest.raises(TypeError, match=r"layer 'hidden'"):
        quantize_apply(small_model, mixtures={"hidden": {"mu": [0]}})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_name_the_layer(value):
    model = nested_model()
    kernel = model.get_layer("backbone").get_layer("c2").kernel
    bad = array(kernel).copy()
    bad[0, 0, 0, 0] = value
    kernel.assign(bad)
    with pytest.raises(ValueError, match=r"finite.*'backbone/c2'"):
        quantize_apply(model)


def test_a_diverged_mixture_names_the_layer(small_model):
    quantised = quantize_apply(small_model)
    variables = quantised.get_layer("hidden").mixture_layers[0]
    variables.learned.assign(np.full(variables.learned.shape, np.nan, "float32"))
    for of in (mixtures, frozen_weights, strip):
        with pytest.raises(ValueError, match=r"'hidden'"):
            of(quantised)


def test_configs_are_checked(small_model):
    assert quantize_apply(small_model, DGMSConfig(bits=2), seed=1).get_layer("conv2").dgms_config == DGMSConfig(
        bits=2, seed=1
    )
    with pytest.raises(TypeError, match=r"Received: 'bitz'"):
        quantize_apply(small_model, bitz=3)
    with pytest.raises(TypeError, match=r"must be a DGMSConfig"):
        quantize_apply(small_model, {"bits": 3})
    with pytest.raises(TypeError, match=r"keras.Model. Received: Dense"):
        quantize_apply(L.Dense(3))
    with pytest.raises(ValueError, match=r"for subclassed models"):
        quantize_apply(small_model, in_place=True)


def test_a_layer_that_cannot_be_copied_is_named():
    class NoConfig(L.Layer):
        def __init__(self, function):
            super().__init__(name="odd")
            self.function = function

        def call(self, x):
            return self.function(x)

    inputs = keras.Input((8,))
    model = keras.Model(inputs, L.Dense(8)(NoConfig(ops.relu)(L.Dense(8)(inputs))))
    with pytest.raises(ValueError, match=r"'odd' of class NoConfig.*get_config"):
        quantize_apply(model, skip_first_last=False)


def test_seeds_give_the_same_start(small_model):
    one, two = (mixtures(quantize_apply(small_model, seed=5)) for _ in range(2))
    for name in one:
        np.testing.assert_array_equal(one[name].mu, two[name].mu)


def test_strip_of_a_plain_model_is_a_copy(small_model, small_data):
    copy = strip(small_model)
    assert copy is not small_model
    assert_equal_outputs(copy, small_model, small_data[0])


def test_strip_leaves_the_quantised_model_alone(small_model, small_data):
    quantised = quantize_apply(small_model)
    before = quantised.get_weights()
    plain = strip(quantised)
    plain.get_layer("hidden").kernel.assign(np.zeros((8, 16)))
    for ours, theirs in zip(before, quantised.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_mobilenet_goes_through(rng):
    model = keras.applications.MobileNetV2(weights=None, input_shape=(96, 96, 3), classes=10)
    quantised = quantize_apply(model, bits=4)
    found = mixtures(quantised)
    supported = [layer for layer in model.layers if isinstance(layer, (L.Conv2D, L.DepthwiseConv2D, L.Dense))]
    assert len(found) == len(supported) - 2
    x = rng.normal(size=(2, 96, 96, 3)).astype("float32")
    assert_close_outputs(quantised, strip(quantised), x, 1e-4)
