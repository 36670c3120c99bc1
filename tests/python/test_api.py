"""The public calls: which front end they choose, and what they say where they cannot."""

import keras
import numpy as np
import pytest

import dgms_keras


@pytest.fixture(scope="module")
def model():
    return keras.Sequential([keras.Input((40,)), keras.layers.Dense(60, activation="relu"), keras.layers.Dense(50)])


def test_the_path_in_the_readme(model, tmp_path):
    path = tmp_path / "m.tflite"
    quantised = dgms_keras.quantize_apply(model, bits=2, skip_first_last=False)
    dgms_keras.export_tflite(quantised, path)
    x = np.random.default_rng(0).normal(size=(3, 40)).astype("float32")
    report = dgms_keras.verify(quantised, path, x, per_layer=True)
    assert report.passed and len(report.layers) == 2
    assert not dgms_keras.verify(quantised, path, x, tolerance=1e-12).passed
    assert not dgms_keras.verify(model, path, x).passed  # the float model is another function
    interpreter = dgms_keras.Interpreter(path)
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    expected = dgms_keras.strip(quantised).predict(x, verbose=0)
    received = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    # Dot products of 60 float32 terms in another order: within 60 eps of the largest.
    np.testing.assert_allclose(received, expected, rtol=0, atol=60 * 1.2e-7 * np.abs(expected).max())


def test_a_model_without_quantised_layers_is_exported_with_a_warning(model, tmp_path):
    with pytest.warns(UserWarning, match="no layer of the model .* is quantised: the file is dense"):
        report = dgms_keras.export_tflite(model, tmp_path / "dense.tflite")
    assert not report.layers and report.file_bytes >= 4 * model.count_params()


@pytest.mark.parametrize(
    "call",
    [
        dgms_keras.quantize_apply,
        dgms_keras.strip,
        dgms_keras.summary,
        dgms_keras.mixtures,
        dgms_keras.frozen_weights,
        lambda m: dgms_keras.recalibrate_batch_norm(m, np.zeros((1, 2))),
        lambda m: dgms_keras.export_tflite(m, "never.tflite"),
        lambda m: dgms_keras.verify(m, "never.tflite", np.zeros((1, 2))),
    ],
)
def test_what_is_no_model_is_named(call):
    with pytest.raises(
        TypeError, match=r"`model` must be a model of Keras 3 .* or tf_keras .*\. Received: builtins.str"
    ):
        call("model.keras")
