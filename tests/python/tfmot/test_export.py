"""From a tf_keras model to a file: the same bytes as from the same weights in Keras 3."""

import keras
import numpy as np
import pytest
import tf_keras

import dgms_keras
from dgms_keras.litert import RuntimeInterpreter


def image(k):
    return k.Input((12, 12, 3), name="image")


def plain(k, name):
    L, i = k.layers, image(k)
    x = L.Conv2D(16, 3, padding="same", use_bias=False, **name("conv1"))(i)
    x = L.BatchNormalization(**name("bn1"))(x)
    x = L.ReLU(**name("relu1"))(x)
    x = L.Conv2D(32, 3, **name("conv2"))(x)
    x = L.GlobalAveragePooling2D(**name("pool"))(x)
    x = L.Dense(64, activation="relu", **name("hidden"))(x)
    return k.Model(i, L.Dense(10, activation="softmax", **name("head"))(x), name="net")


def mobile(k, name):
    """Depthwise, separable, a residual, each with BatchNorm."""
    L, i = k.layers, image(k)
    x = L.Conv2D(24, 3, padding="same", **name("stem"))(i)
    y = L.DepthwiseConv2D(3, padding="same", **name("dw"))(x)
    y = L.Activation("relu6", **name("act"))(L.BatchNormalization(**name("bn1"))(y))
    y = L.BatchNormalization(**name("bn2"))(L.Conv2D(24, 1, use_bias=False, **name("pw"))(y))
    x = L.Add(**name("add"))([x, y])
    x = L.SeparableConv2D(40, 3, strides=2, activation="relu", **name("sep"))(x)
    x = L.GlobalAveragePooling2D(**name("pool"))(x)
    return k.Model(i, L.Dense(10, **name("head"))(x), name="net")


def nested(k, name):
    L, j = k.layers, k.Input((12, 12, 3))
    x = L.BatchNormalization(**name("bn"))(L.Conv2D(24, 3, **name("a"))(j))
    inner = k.Model(j, L.Conv2D(24, 3, **name("b"))(x), name="inner")
    i = image(k)
    x = L.GlobalAveragePooling2D(**name("pool"))(inner(i))
    return k.Model(i, L.Dense(10, **name("head"))(x), name="net")


def shared(k, name):
    L, i = k.layers, image(k)
    conv = L.Conv2D(24, 3, padding="same", **name("conv"))
    x = conv(conv(L.Conv2D(24, 1, **name("first"))(i)))
    return k.Model(i, L.Dense(10, **name("head"))(L.GlobalAveragePooling2D(**name("pool"))(x)), name="net")


def leaves(model, module):
    """The layers with weights, in order; those of nested models included."""
    return [
        leaf
        for layer in model.layers
        for leaf in (leaves(layer, module) if isinstance(layer, module.Model) else [layer])
        if leaf.weights
    ]


# (No Flatten: Keras 3's computes its shape in the graph where the batch is open, tf_keras's does not.)
def pair(build, rng, default_names=False):
    """The same net with the same weights in tf_keras and in Keras 3; half of the BatchNorm scales are negative."""
    made = [build(k, (lambda _: {}) if default_names else (lambda n: {"name": n})) for k in (tf_keras, keras)]
    for ours, theirs in zip(leaves(made[0], tf_keras), leaves(made[1], keras), strict=True):
        weights = [rng.normal(0, 0.3, w.shape).astype("float32") for w in ours.get_weights()]
        if len(weights) == 4:  # BatchNorm: gamma, beta, mean, variance
            weights[0] = rng.uniform(0.5, 1.5, weights[0].shape) * np.where(np.arange(weights[0].size) % 2, 1, -1)
            weights[3] = rng.uniform(0.5, 2, weights[3].shape)
        for layer in (ours, theirs):
            layer.set_weights(weights)
    return made


NETS = {"plain": plain, "mobile": mobile, "nested": nested, "shared": shared}


@pytest.mark.parametrize(
    ("net", "default_names"),
    [("plain", False), ("mobile", False), ("mobile", True), ("nested", True), ("shared", False)],
)
def test_the_same_bytes_from_both_kerases(rng, tmp_path, net, default_names):
    ours, theirs = pair(NETS[net], rng, default_names)
    options = {"bits": 4, "skip_first_last": False}
    learned = dgms_keras.mixtures(dgms_keras.quantize_apply(ours, **options))
    files = []
    for model, file in ((ours, "tf_keras"), (theirs, "keras")):
        quantised = dgms_keras.quantize_apply(model, mixtures=learned, **options)
        report = dgms_keras.export_tflite(quantised, tmp_path / file, strict=True)
        assert len(report.compressed) >= 2
        files.append((tmp_path / file).read_bytes())
    assert files[0] == files[1]


def test_the_file_is_the_model(rng, tmp_path):
    """Trained, with a first layer in float: the stock runtime computes what tf_keras predicts, `verify` says so too."""
    model, _ = pair(mobile, rng)
    quantised = dgms_keras.quantize_apply(model, bits=4)
    quantised.compile(tf_keras.optimizers.Adam(1e-3), "mse")
    x = rng.normal(size=(16, 12, 12, 3)).astype("float32")
    quantised.fit(x, rng.normal(size=(16, 10)).astype("float32"), verbose=0)
    report = dgms_keras.export_tflite(quantised, tmp_path / "m.tflite")
    assert {row.layer for row in report.layers} == {"dw", "pw", "sep"}
    expected = quantised.predict(x[:1], verbose=0)
    interpreter = RuntimeInterpreter(str(tmp_path / "m.tflite"))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x[:1])
    interpreter.invoke()
    received = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    # Two float32 libraries, eight layers: 64 eps of the largest output, as in tests/python/export.
    np.testing.assert_allclose(received, expected, rtol=0, atol=64 * np.finfo("float32").eps * np.abs(expected).max())
    result = dgms_keras.verify(quantised, tmp_path / "m.tflite", x, per_layer=True)
    assert result.passed and result.layers
    weights = quantised.get_weights()
    quantised.set_weights([w * 1.01 for w in weights])
    assert not dgms_keras.verify(quantised, tmp_path / "m.tflite", x).passed


def test_mixed_float16(rng, tmp_path):
    """Exported in float32, with the same weights."""
    tf_keras.mixed_precision.set_global_policy("mixed_float16")
    model = plain(tf_keras, lambda n: {"name": n})
    tf_keras.mixed_precision.set_global_policy("float32")
    quantised = dgms_keras.quantize_apply(model, bits=2)
    report = dgms_keras.export_tflite(quantised, tmp_path / "half.tflite", strict=True)
    assert {row.name for row in report.compressed} == {"conv2/kernel", "hidden/kernel"}
    single = plain(tf_keras, lambda n: {"name": n})
    single.set_weights(model.get_weights())
    again = dgms_keras.quantize_apply(single, bits=2, mixtures=dgms_keras.mixtures(quantised))
    dgms_keras.export_tflite(again, tmp_path / "single.tflite")
    assert (tmp_path / "half.tflite").read_bytes() == (tmp_path / "single.tflite").read_bytes()


def test_a_plain_model_gives_a_dense_file_and_a_warning(rng, tmp_path):
    model, _ = pair(plain, rng)
    with pytest.warns(UserWarning, match="no layer of the model 'net' is quantised"):
        report = dgms_keras.export_tflite(model, tmp_path / "dense.tflite")
    assert report.layers == ()
    assert report.file_bytes > 4 * model.count_params() * 0.98  # the converter drops what BatchNorm folds into
