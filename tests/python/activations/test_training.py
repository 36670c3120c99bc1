"""Progressive bits, and intervals tuned on data of another domain."""

import numpy as np
import pytest

import dgms_keras
from dgms_keras.backend_ops import to_numpy
from dgms_keras.front_ends import front_end


def quantised(net, images, **config):
    config = {"bits": 2, "activation_bits": 2, "weight_method": "qil", **config}
    return dgms_keras.quantize_apply(net, representative_dataset=images, **config)


def compiled(kr, model, eager=False):
    """Compiled for training; eager where the graph of the training step is not the point: making it takes seconds."""
    loss = kr.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(kr.optimizers.Adam(1e-3), loss, run_eagerly=eager)
    return model


def test_bits_fall_over_the_epochs(kr, net, images, rng):
    model = compiled(kr, quantised(net, images))
    seen = []

    class Look(kr.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            front = front_end(model)
            parts = front.shared_activations(model) + front.shared_weights(model)
            seen.append([int(to_numpy(p.start)[2]) for p in parts])

    schedule = dgms_keras.BitSchedule(activation_bits=(8, 4, 2), weight_bits=(8, 2))
    model.fit(images, rng.integers(0, 4, 48), epochs=6, verbose=0, callbacks=[schedule, Look()])
    assert [s[0] for s in seen] == [8, 8, 4, 4, 2, 2] == [s[1] for s in seen]
    assert [s[-1] for s in seen] == [8, 8, 8, 2, 2, 2]
    assert len(np.unique(dgms_keras.frozen_weights(model)[0].dense())) <= 3


def test_more_bits_compute_more_finely(net, images):
    model = quantised(net, images, activation_bits=2, weight_method="mixture", bits=4)
    exact = dgms_keras.strip(model).predict(images, verbose=0)
    errors = []
    for bits in (2, 4, 8):
        for activation in front_end(model).shared_activations(model):
            activation.set_bits(bits)
        errors.append(np.abs(np.array(model(images)) - exact).mean())
    # 2-bit calibration clips harder than more bits need, so only rounding shrinks.
    assert errors[0] > errors[1] and errors[0] > errors[2]


def test_a_fit_that_stops_early_ends_at_the_last_bits(kr, net, images, rng):
    model = compiled(kr, quantised(net, images), eager=True)

    class Stop(kr.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    schedule = dgms_keras.BitSchedule(activation_bits=(8, 2), weight_bits=(8, 2))
    model.fit(images, rng.integers(0, 4, 48), epochs=6, verbose=0, callbacks=[schedule, Stop()])
    assert {int(to_numpy(a.start)[2]) for a in front_end(model).shared_activations(model)} == {2}
    dgms_keras.frozen_weights(model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "needs `activation_bits` or `weight_bits`"),
        ({"activation_bits": (2, 4)}, "must be falling"),
        ({"activation_bits": (20, 4)}, "from 16 to 2"),
        ({"weight_bits": ()}, "must be falling"),
    ],
)
def test_schedules_that_make_no_sense(arguments, message):
    with pytest.raises(ValueError, match=message):
        dgms_keras.BitSchedule(**arguments)


def test_schedules_that_do_not_fit_the_model(kr, net, images, rng):
    labels = rng.integers(0, 4, 48)
    model = compiled(kr, quantised(net, images, activation_bits=4, weight_method="mixture"), eager=True)
    for arguments in ({"activation_bits": (8, 2)}, {"weight_bits": (4, 2)}):
        with pytest.raises(ValueError, match="must end at the bits of the model's config"):
            model.fit(images, labels, verbose=0, callbacks=[dgms_keras.BitSchedule(**arguments)])


def test_frozen_weights_need_their_own_bits(net, images):
    model = quantised(net, images)
    front_end(model).shared_weights(model)[0].set_bits(4)
    with pytest.raises(ValueError, match=r"must be at its 2 bits .*layer 'conv2'"):
        dgms_keras.frozen_weights(model)


def test_tuning_on_other_data_brings_the_outputs_nearer(kr, net, images, rng):
    """Uniform noise instead of the normal images: only intervals change, and the outputs on the images get closer as well."""
    model = quantised(net, images, activation_bits=4, bits=4)
    for activation in front_end(model).shared_activations(model):  # a bad start, to have something to learn
        start = to_numpy(activation.start)
        start[:2] *= 0.4
        activation.start.assign(start)

    def error():
        return np.mean((model.predict(images, verbose=0) - net.predict(images, verbose=0)) ** 2)

    before, intervals = error(), [a.interval() for a in front_end(model).shared_activations(model)]
    kernels = [to_numpy(w.latent) for w in front_end(model).shared_weights(model)]
    other = rng.uniform(-1.7, 1.7, (64, 8, 8, 3)).astype("float32")
    told = []
    losses = dgms_keras.tune_intervals(
        model, net, other, epochs=20, learning_rate=0.02, progress=lambda epoch, loss: told.append((epoch, loss))
    )
    assert losses[-1] < losses[0] and [loss for _, loss in told] == losses
    assert error() < before
    assert [a.interval() for a in front_end(model).shared_activations(model)] != intervals
    for weight, kernel in zip(front_end(model).shared_weights(model), kernels, strict=True):
        np.testing.assert_array_equal(to_numpy(weight.latent), kernel)


def test_tuning_needs_something_to_learn(net, images):
    model = quantised(net, images, activation_method="minmax", weight_method="mixture")
    with pytest.raises(ValueError, match="must have learned intervals"):
        dgms_keras.tune_intervals(model, net, images)
