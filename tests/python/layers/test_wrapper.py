import keras
import numpy as np
import pytest
from keras import ops

import dgms_keras
from dgms_keras import mixture as math
from dgms_keras import mixtures
from dgms_keras.config import DGMSConfig
from dgms_keras.layers import DGMSWrapper
from dgms_keras.targets import Target

L = keras.layers
KERNEL = Target("kernel", (-1,))


def array(x):
    return ops.convert_to_numpy(x)


def built(layer, shape, **config):
    wrapper = DGMSWrapper(layer, **config)
    wrapper.build(shape)
    return wrapper


def assert_same(actual, expected, relative=1e-5):
    """Equal up to the rounding of float32 sums in another order."""
    scale = np.abs(expected).max() + 1e-12
    np.testing.assert_allclose(array(actual), array(expected), rtol=0, atol=relative * scale)


@pytest.mark.parametrize("posterior", ["mixture", "paper"])
@pytest.mark.parametrize("training_weight", ["soft", "hard"])
def test_the_weights_in_use(rng, posterior, training_weight):
    """Soft (or hard) weights in training, hard weights else: the layer's output with these weights computed separately."""
    wrapper = built(
        L.Dense(6, name="d"), (None, 5), bits=2, temperature=0.2, posterior=posterior, training_weight=training_weight
    )
    x = rng.normal(size=(7, 5)).astype("float32")
    m = wrapper.mixture_for(KERNEL)
    soft = math.soft_weights(array(wrapper.layer.kernel), m.mu, m.pi, m.gamma, m.tau, posterior=posterior)
    hard = math.hard_weights(array(wrapper.layer.kernel), m.mu, m.pi, m.gamma, posterior=posterior)
    assert np.abs(array(soft) - array(hard)).max() > 0.01, "else the test could not tell them apart"
    assert_same(wrapper(x, training=False), x @ array(hard))
    assert_same(wrapper(x), x @ array(hard))
    assert_same(wrapper(x, training=True), x @ array(soft if training_weight == "soft" else hard))


def test_the_training_flag_of_the_model_around_counts(rng):
    wrapper = DGMSWrapper(L.Dense(6), bits=2, temperature=0.3)
    model = keras.Sequential([keras.Input((5,)), wrapper])
    x = rng.normal(size=(7, 5)).astype("float32")
    assert np.abs(array(model(x, training=True)) - array(model(x))).max() > 1e-3
    assert_same(model(x, training=True), wrapper(x, training=True))
    assert_same(model(x), wrapper(x, training=False))
    np.testing.assert_array_equal(model.predict(x, verbose=0), model.predict(x, verbose=0))
    assert_same(model.predict(x, verbose=0), wrapper(x, training=False))


def test_a_frozen_wrapper_uses_hard_weights_in_training(rng):
    wrapper = built(L.Dense(6), (None, 5), bits=2, temperature=0.3)
    x = rng.normal(size=(7, 5)).astype("float32")
    wrapper.trainable = False
    assert wrapper.trainable_variables == []
    np.testing.assert_array_equal(array(wrapper(x, training=True)), array(wrapper(x, training=False)))


def test_latents_are_the_layers_own_and_the_mixture_comes_from_them():
    layer = L.Conv2D(8, 3, name="conv")
    wrapper = built(layer, (None, 8, 8, 4), bits=3)
    assert wrapper.name == "conv"
    assert wrapper.kernel is layer.kernel
    assert (wrapper.filters, wrapper.strides) == (8, (1, 1))
    m = wrapper.mixture_for(KERNEL)
    hard = array(math.hard_weights(array(layer.kernel), m.mu, m.pi, m.gamma))
    # 8 levels for uniform weights leave an error of (1/8)^2 of the variance; a mixture of other weights would leave all of it.
    assert np.mean((hard - array(layer.kernel)) ** 2) < 0.04 * np.var(array(layer.kernel))


def test_pretrained_weights_before_and_after_wrapping(rng):
    """A built layer's weights are the start; weights that come later need `restart`."""
    layer = L.Dense(16)
    layer.build((None, 8))
    layer.kernel.assign(rng.normal(100, 1, (8, 16)))
    wrapper = built(layer, (None, 8), bits=3)
    assert np.abs(mixture_of(wrapper).mu[1:] - 100).max() < 5
    layer.kernel.assign(rng.normal(-7, 1, (8, 16)))
    wrapper.restart()
    assert np.abs(mixture_of(wrapper).mu[1:] + 7).max() < 5


def mixture_of(wrapper):
    return wrapper.mixture_for(wrapper.targets[0])


@pytest.mark.parametrize("default", [True, False, None])
def test_the_layers_own_default_for_training_counts(default):
    class Flag(L.Dense):
        def call(self, x, training=default):
            self.seen = training
            return super().call(x)

    wrapper = built(Flag(6), (None, 5), bits=2)
    for given in ({}, {"training": True}, {"training": False}):
        wrapper(np.ones((1, 5), "float32"), **given)
        plain = Flag(6)
        plain(np.ones((1, 5), "float32"), **given)
        assert wrapper.layer.seen is plain.seen


def test_what_neither_has_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"nothing_such"):
        built(L.Dense(3), (None, 4)).nothing_such  # noqa: B018


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64"])
def test_policies(rng, policy):
    """Mixture and its math in float32, latents and results as the layer's policy says."""
    if policy == "float64" and keras.backend.backend() == "jax":
        pytest.skip("JAX has no float64 unless told so")
    layer = L.Dense(6, dtype=policy)
    wrapper = built(layer, (None, 5), bits=2, temperature=0.2)
    x = rng.normal(size=(7, 5)).astype("float32")
    assert {v.dtype for v in wrapper.mixture_layers[0].variables} == {"float32"}
    assert layer.kernel.dtype == keras.DTypePolicy(policy).variable_dtype
    compute = keras.DTypePolicy(policy).compute_dtype
    m = wrapper.mixture_for(KERNEL)
    hard = array(math.hard_weights(array(layer.kernel).astype("float32"), m.mu, m.pi, m.gamma))
    for training in (False, True):
        assert keras.backend.standardize_dtype(wrapper(x, training=training).dtype) == compute
    # bfloat16 has 8 bits of mantissa: inputs, weights and the sum of five products are each off by up to 2^-9.
    assert_same(array(wrapper(x)).astype("float32"), x @ hard, relative=3e-2 if "16" in compute else 1e-5)


def test_the_wrappers_own_dtype_is_not_to_be_set():
    with pytest.raises(ValueError, match=r"`dtype` belongs to the wrapped layer.*'d'"):
        DGMSWrapper(L.Dense(3, name="d"), dtype="mixed_float16")


@pytest.mark.parametrize(
    ("layer", "shape", "size"),
    [
        (lambda: L.Conv2D(7, 3), (None, 6, 6, 4), 1),
        (lambda: L.Conv2D(7, 3), (None, 6, 6, 4), 3),
        (lambda: L.Conv2D(7, 3), (None, 6, 6, 4), 100),
        (lambda: L.DepthwiseConv2D(3, depth_multiplier=2), (None, 6, 6, 4), 3),
        (lambda: L.Conv2DTranspose(7, 3), (None, 6, 6, 4), 2),
    ],
    ids=["conv-1", "conv-3", "conv-100", "depthwise-3", "transposed-2"],
)
def test_channel_groups(rng, layer, shape, size):
    """Each group of output channels has a mixture of its own: compared with one call per channel."""
    wrapper = built(layer(), shape, bits=2, granularity=size, temperature=0.1)
    (target,) = wrapper.targets
    kernel = array(wrapper.kernel)
    m = wrapper.mixture_for(target)
    axes = [a % kernel.ndim for a in target.channel_axes]
    first = np.moveaxis(kernel, axes, range(len(axes)))
    rows = first.reshape(int(np.prod(first.shape[: len(axes)])), -1)
    assert m.mu.shape == (-(-len(rows) // size), 4)
    for training, of in ((False, math.hard_weights), (True, math.soft_weights)):
        expected = np.empty_like(rows)
        for channel, row in enumerate(rows):
            g = channel // size
            extra = (m.tau[g],) if training else ()
            expected[channel] = array(of(row, m.mu[g], m.pi[g], m.gamma[g], *extra))
        expected = np.moveaxis(expected.reshape(first.shape), range(len(axes)), axes)
        assert_same(wrapper.quantized_weight(target, training=training), expected)
    np.testing.assert_array_equal(wrapper.freeze(target).dense(), array(wrapper.quantized_weight(target)))


def test_gradients_reach_latents_mixture_and_bias(rng):
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        pytest.skip("uses GradientTape")
    wrapper = built(L.Dense(6), (None, 5), bits=2, temperature=0.2)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(wrapper(rng.normal(size=(7, 5)).astype("float32"), training=True) ** 2)
    variables = wrapper.trainable_variables
    assert [v.name for v in variables] == ["kernel", "bias", "dgms_mixture_learned"]
    for gradient in tape.gradient(loss, variables):
        assert np.abs(array(gradient)).max() > 0
    learned = array(tape_gradient_of(wrapper, rng))
    assert learned.shape == (3 + 4 + 4 + 1,)


def tape_gradient_of(wrapper, rng):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(wrapper(rng.normal(size=(7, 5)).astype("float32"), training=True) ** 2)
    return tape.gradient(loss, wrapper.mixture_layers[0].learned.value)


def test_a_fixed_temperature_is_no_trainable_entry():
    wrapper = built(L.Dense(6), (None, 5), bits=2, learn_temperature=False)
    assert wrapper.mixture_layers[0].learned.shape == (3 + 4 + 4,)


def test_the_mixture_variables_follow_their_formulas(rng):
    """mu = start + scale * d with mu[0] = 0, the others times exp(d), the values in the documented order."""
    wrapper = built(L.Dense(6), (None, 5), bits=2)
    variables = wrapper.mixture_layers[0]
    start = wrapper.mixture_for(KERNEL)
    d = rng.normal(size=12).astype("float32") * 0.1
    variables.learned.assign(d)
    mu, pi, gamma, tau = (array(v) for v in variables.quantizer.values(variables.start, variables.learned))
    scale = 2.0 ** np.ceil(np.log2(np.abs(start.mu).max()))
    np.testing.assert_allclose(mu, start.mu + scale * np.concatenate([[0], d[:3]]), rtol=1e-6)
    assert mu[0] == 0
    np.testing.assert_allclose(pi, start.pi * np.exp(d[3:7]), rtol=1e-6)
    np.testing.assert_allclose(gamma, start.gamma * np.exp(d[7:11]), rtol=1e-6)
    np.testing.assert_allclose(tau, start.tau * np.exp(d[11]), rtol=1e-6)
    now = wrapper.mixture_for(KERNEL)
    np.testing.assert_allclose(now.pi.sum(), 1, rtol=1e-6)
    np.testing.assert_allclose(now.pi, pi / pi.sum(), rtol=1e-6)


def test_floors_hold_whatever_training_does():
    wrapper = built(L.Dense(6), (None, 5), bits=2)
    variables = wrapper.mixture_layers[0]
    for far in (-1e6, 1e6):
        d = np.full(12, far, "float32")
        d[:3] = 0
        variables.learned.assign(d)
        m = wrapper.mixture_for(KERNEL)  # checks: finite, > 0
        assert np.all(np.isfinite(array(wrapper(np.ones((1, 5), "float32"), training=True))))
        assert 1e-4 < m.tau < 1
        kept = array(variables.learned.constraint(variables.learned))
        assert np.all(np.abs(kept) <= 16), "within the limits, where gradients are not zero"


def test_masks_and_integer_inputs_pass_through(rng):
    inputs = keras.Input((4,), dtype="int32")
    plain = L.Embedding(10, 3, mask_zero=True)
    wrapped = DGMSWrapper(L.Embedding(10, 3, mask_zero=True), bits=4)
    tokens = np.array([[1, 2, 0, 0], [3, 0, 0, 0]])
    outputs = [keras.Model(inputs, L.LSTM(2, seed=1)(layer(inputs))) for layer in (plain, wrapped)]
    for model in outputs[1:]:
        model.layers[-1].set_weights(outputs[0].layers[-1].get_weights())
    plain.set_weights([array(wrapped.quantized_weight(wrapped.targets[0]))])
    assert_same(outputs[1](tokens), outputs[0](tokens))
    assert_same(outputs[1](tokens)[1], outputs[1](np.array([[3, 0, 0, 0]]))[0])


def test_layers_with_several_inputs_and_arguments(rng):
    """MultiHeadAttention by name of its arguments: the EinsumDense layers inside it are quantised."""
    x = rng.normal(size=(2, 5, 8)).astype("float32")
    attention = L.MultiHeadAttention(2, 4, name="mha")
    inputs = keras.Input((5, 8))
    model = keras.Model(inputs, DGMSWrapper(attention, bits=3)(query=inputs, value=inputs, use_causal_mask=True))
    wrapper = model.layers[-1]
    assert [t.weight for t in wrapper.targets] == [
        f"_{part}_dense.kernel" for part in ("query", "key", "value", "output")
    ]
    plain = L.MultiHeadAttention(2, 4)
    plain.build(x.shape, x.shape)
    plain.set_weights(attention.get_weights())
    for target in wrapper.targets:
        getattr(plain, target.weight.split(".")[0]).kernel.assign(wrapper.quantized_weight(target))
    assert_same(model(x), plain(query=x, value=x, use_causal_mask=True))
    assert list(mixtures(model)) == ["mha/_query_dense", "mha/_key_dense", "mha/_value_dense", "mha/_output_dense"]


def test_state_and_losses_of_the_layer_are_kept(rng):
    class Stateful(L.Dense):
        def build(self, shape):
            super().build(shape)
            self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)
            self.dropout = L.Dropout(0.5, seed=1)

        def call(self, inputs, training=None):
            self.calls.assign_add(1.0)
            self.add_loss(ops.sum(self.kernel))
            return self.dropout(super().call(inputs), training=training)

    wrapper = built(Stateful(6, activity_regularizer="l2", kernel_regularizer="l2"), (None, 5), bits=2)
    x = np.ones((3, 5), "float32")
    one, two = array(wrapper(x, training=True)), array(wrapper(x, training=True))
    assert float(array(wrapper.layer.calls)) == 2
    assert np.any((one == 0) != (two == 0)), "the dropout's seed advances"
    y = array(wrapper(x))
    losses = sorted(float(array(v)) for v in wrapper.losses)
    quantised = array(wrapper.quantized_weight(wrapper.targets[0]))
    activity = 0.01 * np.sum(y**2) / 3  # Keras divides by the batch
    expected = sorted([quantised.sum(), activity, 0.01 * np.sum(array(wrapper.kernel) ** 2)])
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_it_builds_inside_the_first_compiled_call(rng):
    """A hand-made Sequential without Input is built while `fit` traces its train step."""
    model = keras.Sequential([DGMSWrapper(L.Dense(8, name="a"), bits=2), DGMSWrapper(L.Dense(3, name="b"), bits=3)])
    model.compile("sgd", "mse")
    model.fit(rng.normal(size=(8, 5)), np.zeros((8, 3)), verbose=0)
    found = mixtures(model)
    assert [(name, m.bits) for name, m in found.items()] == [("a", 2), ("b", 3)]
    kernel = array(model.layers[0].kernel)
    hard = array(model.layers[0].quantized_weight(KERNEL))
    assert np.mean((kernel - hard) ** 2) < 0.2 * np.var(kernel), "started from the weights"


def test_overrides_are_looked_up_under_the_layers_name():
    config = DGMSConfig(bits=4, overrides={"d.*": {"bits": 2}})
    assert DGMSWrapper(L.Dense(3, name="d1"), config).dgms_config.bits == 2
    assert DGMSWrapper(L.Dense(3, name="e"), config).dgms_config.bits == 4
    assert DGMSWrapper(L.Dense(3, name="e"), config, bits=3, seed=5).dgms_config == DGMSConfig(bits=3, seed=5)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: DGMSWrapper("layer"), TypeError, "must be a Keras layer. Received: 'layer'"),
        (lambda: DGMSWrapper(L.ReLU(name="r")), ValueError, "supported class, or registered.*layer 'r' of class ReLU"),
        (lambda: DGMSWrapper(DGMSWrapper(L.Dense(3, name="d"))), ValueError, "not be a DGMSWrapper already.*'d'"),
        (lambda: DGMSWrapper(L.Dense(3), bitz=3), TypeError, "Received: 'bitz'"),
        (lambda: DGMSWrapper(L.Dense(3), bits=7), ValueError, "bits=7"),
        (lambda: DGMSWrapper(L.Dense(3), 4), TypeError, "`config` must be a DGMSConfig. Received: 4"),
        (lambda: DGMSWrapper(L.Dense(3, dtype="int8_from_float32", name="q")), ValueError, "'q'.*quantised by Keras"),
    ],
)
def test_what_cannot_be_wrapped_is_rejected_by_name(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_weight_that_is_no_variable_is_rejected_by_name():
    dgms_keras.register_layer(type("Odd", (L.Dense,), {}), {"units": -1})
    from dgms_keras.targets import _REGISTERED

    odd = list(_REGISTERED)[-1]
    with pytest.raises(ValueError, match=r"'units', a int .layer 'odd'"):
        built(odd(3, name="odd"), (None, 4))


def test_lora_and_keras_quantisation_are_refused_later_too():
    wrapper = built(L.Dense(4, name="d"), (None, 8))
    with pytest.raises(AttributeError, match=r"LoRA.*'d'"):
        wrapper.enable_lora(2)
    with pytest.raises(ValueError, match=r"dgms_keras.strip.*'d'"):
        wrapper.quantize("int8")
    wrapper.layer.enable_lora(2)
    with pytest.raises(ValueError, match=r"'d'.*LoRA"):
        wrapper(np.ones((1, 8), "float32"))


def test_weights_that_are_not_finite_are_an_error_that_names_the_layer():
    wrapper = DGMSWrapper(L.Dense(4, kernel_initializer=keras.initializers.Constant(np.nan), name="bad"), bits=2)
    with pytest.raises(ValueError, match=r"NaN.*'bad'"):
        wrapper.build((None, 3))


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("zeros", (3, 4)),
        ("ones", (3, 4)),
        ("glorot_uniform", (1, 1)),
        ("glorot_uniform", (0, 4)),
        ("glorot_uniform", (2, 3)),
    ],
)
def test_degenerate_weights(value, size):
    """All zero, all equal, fewer weights than codes, none at all: hard weights equal the weights exactly."""
    layer = L.Dense(size[1], kernel_initializer=value)
    wrapper = DGMSWrapper(layer, bits=4)
    with pytest.warns(UserWarning, match=r"distinct weights") if size[0] else pytest.warns(UserWarning):
        wrapper.build((None, size[0]))
    x = np.ones((2, size[0]), "float32")
    np.testing.assert_array_equal(array(wrapper.quantized_weight(KERNEL)), array(layer.kernel))
    assert np.all(np.isfinite(array(wrapper(x, training=True))))
    assert wrapper.freeze(KERNEL).dense().shape == size


def test_the_output_shape_is_known_without_running():
    wrapper = DGMSWrapper(L.Conv2D(5, 3, strides=2), bits=2)
    assert wrapper.compute_output_shape((None, 9, 9, 3)) == (None, 4, 4, 5)
    assert wrapper(keras.Input((9, 9, 3))).shape == (None, 4, 4, 5)
    with pytest.raises(ValueError, match=r"incompatible with the layer"):
        wrapper(np.ones((1, 9, 9, 4), "float32"))
