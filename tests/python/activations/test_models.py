"""Quantised activations and QIL weights in models of both Kerases: calibration, training, files, export."""

import os

import keras
import numpy as np
import pytest

import dgms_keras
from dgms_keras.backend_ops import to_numpy
from dgms_keras.export import flatbuffer_io as fio
from dgms_keras.front_ends import front_end
from dgms_keras.litert import RuntimeInterpreter

METHODS = ("qil", "minmax", "mse")


def activations_of(model):
    return {a.path: a for a in front_end(model).shared_activations(model)}


def inputs_of(kr, model, layer, x):
    """What a layer receives from a float model."""
    return kr.Model(model.inputs, model.get_layer(layer).input).predict(x, verbose=0)


def compiled(kr, model, eager=False):
    """Compiled for training; eager where the graph of the training step is not the point: making it takes seconds."""
    loss = kr.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(kr.optimizers.Adam(1e-3), loss, metrics=["accuracy"], run_eagerly=eager)
    return model


def load(kr, path):
    if kr.__name__ == "keras":
        return kr.models.load_model(path)
    import dgms_keras.tfmot as tfmot

    with tfmot.quantize_scope():
        return kr.models.load_model(path)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", [2, 8])
def test_what_a_layer_computes_with(kr, net, images, method, bits):
    """The output of conv2 is that of the plain convolution on inputs quantised by NumPy, at the calibrated interval."""
    model = dgms_keras.quantize_apply(
        net, bits=4, activation_bits=bits, activation_method=method, representative_dataset=images
    )
    activation = activations_of(model)["conv2"]
    low, high = activation.interval()
    x = inputs_of(kr, net, "conv2", images).astype("float64")
    steps = 2**bits - 1
    if method == "minmax":
        assert (low, high) == pytest.approx((0, x.max()), rel=1e-6)
    else:
        assert low == pytest.approx(0, abs=1e-6) and 0 < high <= x.max() * (1 + 1e-6)
    exact = np.clip(x, 0, high) / high * steps
    quantised = np.round(exact) * high / steps
    kernel = {w.layer: w for w in dgms_keras.frozen_weights(model)}["conv2"].dense()
    plain = dgms_keras.strip(model)
    np.testing.assert_array_equal(np.array(plain.get_layer("conv2").get_weights()[0]), kernel)
    outputs = kr.Model(model.inputs, model.get_layer("conv2").output).predict(images, verbose=0)
    layer = plain.get_layer("conv2")
    expected = np.array(layer(quantised.astype("float32")))
    # An input half way between two levels may take the other one in float32: one step times the largest weight.
    step = high / steps * np.abs(kernel).max()
    off = np.abs(outputs - expected)
    assert np.all(off < 1.1 * step + 1e-4) and np.mean(off > 1e-4 * np.abs(expected).max()) < 0.02


def test_inputs_of_both_signs(kr, net, images):
    for method in METHODS:
        model = dgms_keras.quantize_apply(
            net, activation_bits=4, activation_method=method, representative_dataset=images
        )
        hidden = activations_of(model)["hidden"]
        x = inputs_of(kr, net, "hidden", images)
        assert x.min() < 0 < x.max()
        low, high = hidden.interval()
        if method == "minmax":
            step = (high - low) / 15
            assert low == pytest.approx(x.min(), abs=step / 2 + 1e-6) and high == pytest.approx(x.max(), abs=step)
        y = np.array(hidden.quantizer.quantized(x, hidden.start, hidden.learned))
        assert y.min() < 0 < y.max() and len(np.unique(y)) <= 16


def test_until_calibration_activations_are_float(kr, net, images):
    with pytest.warns(UserWarning, match="activations stay in float until they are calibrated"):
        model = dgms_keras.quantize_apply(net, bits=4, activation_bits=2)
    float_activations = dgms_keras.quantize_apply(net, bits=4)
    np.testing.assert_array_equal(model.predict(images, verbose=0), float_activations.predict(images, verbose=0))
    before = model.predict(images, verbose=0)
    assert not any(a.is_calibrated for a in activations_of(model).values())
    assert dgms_keras.calibrate_activations(model, images, batch_size=16, steps=2) is model
    assert all(a.is_calibrated for a in activations_of(model).values())
    assert np.abs(model(images) - before).max() > 1e-3


@pytest.mark.parametrize(("bits", "activation_bits"), [(4, None), (4, 8), (4, 4), (3, None), (2, None)])
def test_the_papers_combinations_train_and_evaluate(kr, net, images, rng, bits, activation_bits):
    labels = rng.integers(0, 4, 48)
    data = {} if activation_bits is None else {"representative_dataset": images}
    model = dgms_keras.quantize_apply(net, bits=bits, activation_bits=activation_bits, **data)
    # As a graph, mixtures and intervals together; the others differ from it in numbers and in what they leave out.
    compiled(kr, model, eager=(bits, activation_bits) != (4, 4))
    before = {path: a.interval() for path, a in activations_of(model).items()}
    losses = model.fit(images, labels, epochs=4, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    for path, activation in activations_of(model).items():
        assert activation.interval() != before[path], "intervals learn from the loss"
    assert np.isfinite(model.evaluate(images, labels, verbose=0)[0])


def test_fixed_ranges_do_not_learn(kr, net, images, rng):
    labels = rng.integers(0, 4, 48)
    for method in ("minmax", "mse"):
        model = compiled(
            kr,
            dgms_keras.quantize_apply(net, activation_bits=4, activation_method=method, representative_dataset=images),
            eager=method == "mse",
        )
        before = {path: a.interval() for path, a in activations_of(model).items()}
        model.fit(images, labels, epochs=1, verbose=0)
        assert {path: a.interval() for path, a in activations_of(model).items()} == before


@pytest.mark.parametrize("weight_method", ["mixture", "qil"])
def test_files_keep_intervals(kr, net, images, rng, tmp_path, weight_method):
    model = compiled(
        kr,
        dgms_keras.quantize_apply(
            net, bits=3, activation_bits=4, weight_method=weight_method, representative_dataset=images
        ),
        eager=True,
    )
    model.fit(images, rng.integers(0, 4, 48), epochs=1, verbose=0)
    expected = model.predict(images, verbose=0)
    names = ["m.keras"] if kr.__name__ == "keras" else ["m.keras", "m.h5", "saved_model"]
    for name in names:
        path = os.path.join(tmp_path, name)
        model.save(path)
        again = load(kr, path)
        np.testing.assert_array_equal(again.predict(images, verbose=0), expected)
        assert {p: a.interval() for p, a in activations_of(again).items()} == {
            p: a.interval() for p, a in activations_of(model).items()
        }


def test_resuming_is_bit_exact(kr, net, images, rng, tmp_path):
    labels = rng.integers(0, 4, 48)
    options = {"epochs": 1, "batch_size": 16, "verbose": 0, "shuffle": False}
    config = {"bits": 4, "activation_bits": 4, "weight_method": "qil", "representative_dataset": images}
    model = compiled(kr, dgms_keras.quantize_apply(net, **config))
    model.fit(images, labels, **options)
    model.save(tmp_path / "half.keras")
    model.fit(images, labels, **options)
    again = load(kr, tmp_path / "half.keras")
    again.fit(images, labels, **options)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("bits", [2, 4])
def test_qil_weights(kr, net, images, rng, bits, tmp_path):
    model = compiled(kr, dgms_keras.quantize_apply(net, bits=bits, weight_method="qil"), eager=bits == 2)
    assert dgms_keras.mixtures(model) == {}
    start = dgms_keras.frozen_weights(model)
    losses = model.fit(images, rng.integers(0, 4, 48), epochs=3, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    for frozen, first in zip(dgms_keras.frozen_weights(model), start, strict=True):
        values = np.unique(frozen.dense())
        assert 0 in values and len(values) <= 2**bits - 1
        levels = 2 ** (bits - 1) - 1
        np.testing.assert_allclose(
            values / frozen.codebook.max() * levels, np.round(values / frozen.codebook.max() * levels), atol=1e-5
        )
        assert not np.array_equal(frozen.codebook, first.codebook), "the interval learns"
    plain = dgms_keras.strip(model)
    np.testing.assert_allclose(plain.predict(images, verbose=0), model.predict(images, verbose=0), rtol=0, atol=1e-5)
    report = dgms_keras.export_tflite(model, tmp_path / "m.tflite")
    assert len(report.layers) == 2
    assert "hidden" in str(dgms_keras.summary(model, print_table=False))


def test_frozen_layers_keep_their_intervals(kr, net, images, rng):
    model = dgms_keras.quantize_apply(net, activation_bits=4, representative_dataset=images)
    model.get_layer("conv2").trainable = False
    compiled(kr, model, eager=True)
    before = {p: a.interval() for p, a in activations_of(model).items()}
    model.fit(images, rng.integers(0, 4, 48), epochs=1, verbose=0)
    after = {p: a.interval() for p, a in activations_of(model).items()}
    if kr.__name__ == "keras":  # tfmot's wrapper does not freeze what is inside it
        assert after["conv2"] == before["conv2"]
    assert after["hidden"] != before["hidden"]


def test_overrides(net, images):
    model = dgms_keras.quantize_apply(
        net, activation_bits=8, overrides={"hidden": {"activation_bits": 2}}, representative_dataset=images
    )
    assert {p: a.bits for p, a in activations_of(model).items()} == {"conv2": 8, "hidden": 2}
    model = dgms_keras.quantize_apply(net, overrides={"conv2": {"activation_bits": 4}}, representative_dataset=images)
    assert {p: a.bits for p, a in activations_of(model).items()} == {"conv2": 4}


def test_embeddings_have_no_float_inputs(kr, rng):
    ids = kr.Input((5,), dtype="int32")
    x = kr.layers.Embedding(30, 8, name="table")(ids)
    model = kr.Model(ids, kr.layers.Dense(3, name="dense")(x))
    data = rng.integers(0, 30, (16, 5))
    quantised = dgms_keras.quantize_apply(model, skip_first_last=False, activation_bits=8, representative_dataset=data)
    assert list(activations_of(quantised)) == ["dense"]


def test_export_says_that_activations_are_float(net, images, tmp_path):
    model = dgms_keras.quantize_apply(net, activation_bits=4, representative_dataset=images)
    with pytest.warns(UserWarning, match="activation_bits"):
        dgms_keras.export_tflite(model, tmp_path / "m.tflite")


def input_scales(path):
    """(layer, scale, zero point) of what each convolution of an int8 file reads."""
    model = fio.read_model(path.read_bytes())
    graph = model.subgraphs[0]
    readers = [op for op in graph.operators if fio.op_name(model, op) in ("CONV_2D", "FULLY_CONNECTED")]
    return [(q.scale[0], q.zeroPoint[0]) for q in (graph.tensors[op.inputs[0]].quantization for op in readers)]


def test_int8_files_have_the_learned_ranges(kr, net, images, tmp_path):
    model = dgms_keras.quantize_apply(net, bits=4, activation_bits=8, representative_dataset=images)
    for activation in activations_of(model).values():
        start = to_numpy(activation.start)
        start[:2] *= 0.5  # as if training had halved the intervals
        activation.start.assign(start)
    path = tmp_path / "m.tflite"
    dgms_keras.export_tflite(model, path, activations="int8", representative_dataset=images)
    ranges = {name: a.value_range() for name, a in activations_of(model).items()}
    _, conv2, hidden, _ = input_scales(path)
    assert conv2[0] == pytest.approx(ranges["conv2"][1] / 255, rel=1e-5) and conv2[1] == -128
    low, high = ranges["hidden"]
    # TensorFlow moves a range of both signs so that 0 is one of the 256 values: by half a step at most.
    assert low == -high and hidden[0] == pytest.approx(2 * high / 255, rel=1e-3)
    dgms_keras.export_tflite(
        dgms_keras.quantize_apply(net, bits=4), path, activations="int8", representative_dataset=images
    )
    assert input_scales(path)[1][0] > 1.5 * conv2[0], "without learned ranges the extremes count"


def test_w4a8_computes_alike_in_keras_and_in_the_file(kr, net, images, rng, tmp_path):
    """Trained with 8-bit activations, the int8 file's outputs are as near to the model's as 8 bits allow."""
    model = dgms_keras.quantize_apply(net, bits=4, activation_bits=8, representative_dataset=images)
    compiled(kr, model, eager=True)
    model.fit(images, rng.integers(0, 4, 48), epochs=2, verbose=0)
    path = tmp_path / "m.tflite"
    dgms_keras.export_tflite(model, path, activations="int8", representative_dataset=images)
    expected = model.predict(images, verbose=0)
    outputs = []
    for use_delegate in (False, True):
        interpreter = dgms_keras.Interpreter(str(path)) if use_delegate else RuntimeInterpreter(model_path=str(path))
        image, logits = (d()[0]["index"] for d in (interpreter.get_input_details, interpreter.get_output_details))
        interpreter.resize_tensor_input(image, images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(image, images)
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(logits))
    for received in outputs:
        noise = np.mean((received - expected) ** 2) / np.mean((expected - expected.mean()) ** 2)
        assert noise < 0.01  # 20 dB: four layers, each with 8-bit inputs and outputs (30 to 40 dB each)
    # At most one step of rounding of the output, where the stock runtime computes in XNNPACK.
    assert np.abs(outputs[0] - outputs[1]).max() <= np.ptp(expected) / 100


def test_a_dataset_without_activation_bits_changes_nothing_in_place(images):
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.layers_of_mine = [keras.layers.Conv2D(4, 3, name=f"conv{i}") for i in range(3)]

        def call(self, x):
            for layer in self.layers_of_mine:
                x = layer(x)
            return x

    model = Net()
    model(images)
    with pytest.raises(ValueError, match="`representative_dataset` is for quantised activations"):
        dgms_keras.quantize_apply(model, in_place=True, representative_dataset=images)
    assert all(type(layer) is keras.layers.Conv2D for layer in model.layers_of_mine)


def test_errors(net, images):
    with pytest.raises(ValueError, match=r"`activation_bits` must be None, 2, 3, 4 or 8. Received: activation_bits=5"):
        dgms_keras.quantize_apply(net, activation_bits=5)
    with pytest.raises(ValueError, match="`activation_method` must be one of 'qil', 'minmax', 'mse'"):
        dgms_keras.quantize_apply(net, activation_method="max")
    with pytest.raises(ValueError, match="`weight_method` must be one of 'mixture', 'qil'"):
        dgms_keras.quantize_apply(net, weight_method="kmeans")
    with pytest.raises(ValueError, match="`granularity` must be 'layer' with weight_method='qil'"):
        dgms_keras.quantize_apply(net, weight_method="qil", granularity=4)
    with pytest.raises(ValueError, match="`representative_dataset` is for quantised activations"):
        dgms_keras.quantize_apply(net, representative_dataset=images)
    with pytest.raises(ValueError, match="must have quantised activations"):
        dgms_keras.calibrate_activations(dgms_keras.quantize_apply(net), images)
    bad = images.copy()
    bad[3] = np.nan
    with pytest.raises(ValueError, match=r"activations must be finite.*inputs of layer 'conv2'"):
        dgms_keras.quantize_apply(net, activation_bits=8, representative_dataset=bad)
    with pytest.raises(ValueError, match="at least one batch"):
        dgms_keras.quantize_apply(net, activation_bits=8, representative_dataset=[])
