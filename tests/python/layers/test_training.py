import time
import warnings

import keras
import numpy as np
import pytest

from dgms_keras import mixtures
from dgms_keras.config import DGMSConfig
from dgms_keras.layers import quantize_apply, strip

L = keras.layers


def fit(model, data, optimizer=None, epochs=3, **options):
    """Eagerly if not told otherwise: that compiled training is the same has a test of its own, and compiling takes seconds."""
    model.compile(optimizer or keras.optimizers.Adam(1e-2), "mse", **(options or {"run_eagerly": True}))
    return model.fit(*data, epochs=epochs, batch_size=8, shuffle=False, verbose=0).history["loss"]


def assert_trained(before, model):
    """Every trainable variable moved and is finite."""
    for old, new in zip(before, model.trainable_variables, strict=True):
        new = keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(new))
        assert np.all(np.isfinite(new))
        assert not np.array_equal(old, new)


def trainable(model):
    return [keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(v)) for v in model.trainable_variables]


@pytest.mark.parametrize(
    "config",
    [
        DGMSConfig(bits=2),
        DGMSConfig(bits=2, temperature=0.1, posterior="paper", weight_gradient="mixture"),
        DGMSConfig(bits=2, training_weight="hard", granularity=8, temperature=0.1),
        DGMSConfig.paper(2, temperature=0.1),
    ],
    ids=["default", "paper's posterior", "hard forward, groups", "paper"],
)
def test_the_loss_falls_with_every_option(small_model, small_data, config):
    quantised = quantize_apply(small_model, config)
    before = trainable(quantised)
    losses = fit(quantised, small_data, epochs=8)
    assert losses[-1] < 0.95 * losses[0]
    assert_trained(before, quantised)
    x, y = small_data
    plain = strip(quantised)
    plain.compile(loss="mse")
    np.testing.assert_allclose(
        plain.evaluate(x, y, verbose=0), quantised.evaluate(x, y, verbose=0), rtol=1e-4
    )  # the mean of 96 float32 errors, in two orders of summation


@pytest.mark.parametrize(
    "option",
    ["clipnorm", "global_clipnorm", "clipvalue", "gradient_accumulation_steps", "use_ema", "loss_scale"],
)
def test_optimizer_options(small_model, small_data, option):
    values = {"gradient_accumulation_steps": 2, "use_ema": True}
    quantised = quantize_apply(small_model, bits=2)
    before = trainable(quantised)
    if option == "loss_scale":
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-2), initial_scale=128)
    else:
        optimizer = keras.optimizers.Adam(1e-2, **{option: values.get(option, 0.1)})
    fit(quantised, small_data, optimizer, epochs=1)
    assert_trained(before, quantised)


def test_graph_eager_xla_and_several_steps_per_execution_agree(small_model, small_data):
    ways = [
        {"jit_compile": False},
        {"run_eagerly": True},
        {"jit_compile": True},
        {"steps_per_execution": 2, "jit_compile": False},
    ]
    losses = [fit(quantize_apply(small_model, bits=2, temperature=0.1), small_data, **way) for way in ways]
    assert losses[0][-1] < losses[0][0]
    for other in losses[1:]:
        # The same computation in another order of summation. After 12 steps of Adam, whose first ones divide by gradients'
        # sizes near 0, rounding has grown to some 1e-3 of the loss; another gradient anywhere shows from 1e-2 on.
        np.testing.assert_allclose(other, losses[0], rtol=5e-3)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="about TensorFlow's way to XLA")
def test_xla_compiles_a_training_step_once():
    """A variable that XLA takes for a constant would mean a compilation for each of its values, that is for each step."""
    import tensorflow as tf

    model = quantize_apply(keras.Sequential([keras.Input((8,)), L.Dense(6, name="a")]), bits=2, skip_first_last=False)
    x = tf.ones((4, 8))

    @tf.function(jit_compile=True)
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(x, training=True) ** 2)
        return tape.gradient(loss, [v.value for v in model.trainable_variables])

    step.get_concrete_function()  # traces
    seconds = []
    for _ in range(2):
        start = time.process_time()
        gradients = step()
        seconds.append(time.process_time() - start)
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
            variable.assign_sub(1e-3 * gradient)
    # Running takes a few milliseconds, compiling some hundred times as long.
    assert seconds[1] < 0.2 * seconds[0], seconds


OPTIMIZERS = {
    "AdamW": lambda: keras.optimizers.AdamW(0.1, weight_decay=0.5),
    "SGD": lambda: keras.optimizers.SGD(0.1, weight_decay=0.5),
    "Lion": lambda: keras.optimizers.Lion(0.1, weight_decay=0.5),
    "Muon": lambda: keras.optimizers.Muon(0.1, weight_decay=0.5),
    "loss scale": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.AdamW(0.1, weight_decay=0.5)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_mixtures_get_no_weight_decay(small_model, small_data, name):
    """With gradients of zero, weight decay alone changes a variable: all but the mixtures shrink by 1 - 0.1 * 0.5 per step."""
    quantised = quantize_apply(small_model, bits=2, granularity=4)
    for layer in ("conv2", "hidden"):
        variables = quantised.get_layer(layer).mixture_layers[0]
        variables.learned.assign(np.full(variables.learned.shape, 0.3, "float32"))
    before, kernel = mixtures(quantised), np.array(quantised.get_layer("hidden").get_weights()[0])
    quantised.compile(OPTIMIZERS[name](), loss=lambda y, p: 0.0 * keras.ops.mean(p, axis=-1), run_eagerly=True)
    quantised.fit(*small_data, batch_size=16, epochs=1, verbose=0)
    np.testing.assert_allclose(quantised.get_layer("hidden").get_weights()[0], kernel * 0.95**2, rtol=1e-5)
    for layer, mixture in mixtures(quantised).items():
        assert mixture.to_json() == before[layer].to_json()


def test_the_exclusion_does_not_touch_other_models(small_model, small_data):
    quantize_apply(small_model)
    kernel = small_model.get_layer("hidden").get_weights()[0]
    small_model.compile(keras.optimizers.SGD(0.1, weight_decay=0.5), loss=lambda y, p: 0.0 * keras.ops.mean(p, axis=-1))
    small_model.fit(*small_data, batch_size=32, verbose=0)
    np.testing.assert_allclose(small_model.get_layer("hidden").get_weights()[0], kernel * 0.95, rtol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="GradientTape")
def test_custom_loop(small_model, small_data):
    import tensorflow as tf

    quantised = quantize_apply(small_model, bits=2)
    optimizer = keras.optimizers.AdamW(1e-2)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((quantised(x, training=True) - y) ** 2)
        optimizer.apply_gradients(
            zip(tape.gradient(loss, quantised.trainable_variables), quantised.trainable_variables, strict=True)
        )
        return loss

    before = trainable(quantised)
    losses = [float(step(*small_data)) for _ in range(10)]
    assert losses[-1] < losses[0]
    assert_trained(before, quantised)


def test_a_frozen_layer_does_not_change(small_model, small_data):
    quantised = quantize_apply(small_model, bits=2)
    quantised.get_layer("conv2").trainable = False
    before = quantised.get_layer("conv2").get_weights()
    fit(quantised, small_data, epochs=1)
    for old, new in zip(before, quantised.get_layer("conv2").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(small_data, policy):
    """Latents and mixtures in float32, the loss falls, and float16's loss scaling is on by itself."""
    keras.mixed_precision.set_global_policy(policy)
    try:
        inputs = keras.Input((8, 8, 3))
        x = L.Conv2D(8, 3, name="conv")(inputs)
        x = L.GlobalAveragePooling2D()(L.ReLU()(L.BatchNormalization()(x)))
        model = keras.Model(inputs, L.Dense(3, name="out", dtype="float32")(x))
        quantised = quantize_apply(model, bits=2, skip_first_last=False)
        before = trainable(quantised)
        losses = fit(quantised, small_data, epochs=6, jit_compile=False)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert {v.dtype for v in quantised.variables if "seed" not in v.name} == {"float32"}
    assert quantised.get_layer("conv").layer.compute_dtype == policy.removeprefix("mixed_")
    assert losses[-1] < losses[0]
    assert_trained(before, quantised)
    assert isinstance(quantised.optimizer, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")


def test_recurrent_data_and_regularisers_count_once(small_data):
    """The regulariser of a quantised layer is on its latent weights; activity regularisers see its output."""
    inputs = keras.Input((8,))
    layer = L.Dense(8, kernel_regularizer=keras.regularizers.L2(0.1), activity_regularizer=keras.regularizers.L2(0.1))
    model = keras.Model(inputs, L.Dense(4)(layer(inputs)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised = quantize_apply(model, skip_first_last=False)
    x, y = np.ones((8, 8), "float32"), np.zeros((8, 4), "float32")
    kernel, plain = layer.get_weights()[0], strip(quantised)
    plain_out = plain(x)
    hidden = x @ plain.layers[1].get_weights()[0]
    expected = np.mean(np.square(plain_out)) + 0.1 * np.sum(kernel**2) + 0.1 * np.sum(hidden**2) / 8
    quantised.compile(loss="mse")
    np.testing.assert_allclose(quantised.evaluate(x, y, verbose=0), expected, rtol=1e-4)
