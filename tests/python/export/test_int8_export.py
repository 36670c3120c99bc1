"""int8 files end to end: operators in integer arithmetic, whole networks against Keras and TensorFlow's dense int8, refusals."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
from dgms_files import freeze, mobilenet_v2, randomize, resnet18
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import layers

import dgms_keras
from dgms_keras.export import errors, exporter
from dgms_keras.export import flatbuffer_io as fio
from dgms_keras.export.exporter import export_frozen
from dgms_keras.export.inspect import chains, inspect_tflite, parse
from dgms_keras.export.int8 import check as int8_check
from dgms_keras.export.int8.options import Int8Options
from dgms_keras.export.report import snr_db
from dgms_keras.frozen import FrozenWeight
from dgms_keras.litert import OpResolverType, RuntimeInterpreter

# How far the ratio of a file may fall behind TensorFlow's own dense int8 conversion, which has a step of its own for each channel's
# range and 255 values to choose from: rounding sixteen shared values costs up to 3 dB, chance in small networks about 2.
BEHIND_DENSE_DB = 6.0


@pytest.fixture(autouse=True)
def _same_weights_every_time():
    keras.utils.set_random_seed(0)


def sequential(shape, *stack):
    return randomize(keras.Sequential([keras.Input(shape, name="image"), *stack]), negative=True)


def operator(kind):
    """One operator with a BatchNorm, whose random factors have both signs."""
    if kind == "conv":
        return sequential(
            (9, 8, 5), layers.Conv2D(7, 3, 2, "same", use_bias=False), layers.BatchNormalization(), layers.ReLU()
        )
    if kind == "depthwise":
        return sequential(
            (9, 8, 5), layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), layers.BatchNormalization()
        )
    return sequential((21,), layers.Dense(9), layers.BatchNormalization(), layers.ReLU(6.0))


def samples(model, count=40, seed=0):
    return np.random.default_rng(seed).normal(0.2, 1, (count, *model.input_shape[1:])).astype(np.float32)


def export(model, frozen, path, **arguments):
    arguments = {"even_if_larger": True, "strict": True, **arguments}
    if "representative_dataset" not in arguments:
        arguments["representative_dataset"] = samples(model)
    return export_frozen(model, frozen, path, activations="int8", **arguments)


def run(path, x, kernels=OpResolverType.AUTO):
    interpreter = RuntimeInterpreter(model_path=str(path), num_threads=1, experimental_op_resolver_type=kernels)
    details = interpreter.get_input_details()
    for detail, values in zip(details, x if isinstance(x, list) else [x], strict=True):
        interpreter.resize_tensor_input(detail["index"], values.shape)
    interpreter.allocate_tensors()
    for detail, values in zip(details, x if isinstance(x, list) else [x], strict=True):
        interpreter.set_tensor(detail["index"], values)
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]).copy() for d in interpreter.get_output_details()]


def folded_kernel(model):
    """The oracle for weights: kernel * gamma / sqrt(variance + epsilon) in the operator's layout, float64, from Keras alone."""
    layer, norm = model.layers[0], model.layers[1]
    kernel = np.asarray(layer.kernel, np.float64)
    factor = np.asarray(norm.gamma, np.float64) / np.sqrt(np.asarray(norm.moving_variance, np.float64) + norm.epsilon)
    if kernel.ndim == 2:
        return (kernel * factor).T, 0
    if isinstance(layer, layers.DepthwiseConv2D):
        flat = kernel.reshape(*kernel.shape[:2], -1)
        return (flat * factor)[None], 3
    return (kernel * factor).transpose(3, 0, 1, 2), 0


def only_chain(path):
    model, _, _ = parse(path.read_bytes())
    ((number, op, chain),) = chains(model)
    graph = model.subgraphs[number]
    (reader,) = [o for o in graph.operators if chain.tensor in o.inputs]
    return model, graph, op, chain, reader


# One operator


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("kind", ["conv", "depthwise", "dense"])
def test_weights_scales_and_codebooks(kind, bits, tmp_path):
    model = operator(kind)
    norm = model.layers[1]
    norm.gamma.assign(np.where(np.arange(norm.gamma.shape[0]) == 1, 0, np.asarray(norm.gamma)))  # a factor of 0
    (weight,) = frozen = freeze(model, bits)
    path = tmp_path / "m.tflite"
    report = export(model, frozen, path, int8_options=Int8Options(scale="max"))
    _, graph, op, chain, reader = only_chain(path)
    assert op == {"conv": "CONV_2D", "depthwise": "DEPTHWISE_CONV_2D", "dense": "FULLY_CONNECTED"}[kind]
    assert chain.bits == bits and chain.codebook.dtype == np.int8 and chain.scale is None
    wanted, axis = folded_kernel(model)
    # Rounded to the nearest step of its channel; the converter folds in float32.
    error = np.abs(chain.values() - wanted)
    assert np.all(error <= chain.step * 0.5 + 1e-5 * np.abs(wanted).max())
    # One scale for the layer: step = s * |factor|, s from the largest value in use.
    used = weight.codebook[np.unique(weight.indices)]
    s = np.abs(used).max() / 127
    gamma, variance = np.asarray(norm.gamma, np.float64), np.asarray(norm.moving_variance, np.float64)
    factor = np.abs(gamma) / np.sqrt(variance + norm.epsilon)
    np.testing.assert_allclose(chain.step.reshape(-1)[factor > 0], s * factor[factor > 0], rtol=1e-5)
    # q, -q and zeros, each of them round(mu / s).
    book = np.rint(weight.codebook.astype(np.float64) / s)
    clipped = np.clip(book, -127, 127)
    np.testing.assert_array_equal(chain.codebook, np.concatenate([clipped, -clipped, 0 * book]))
    number = (chain.offset // 2**bits).reshape(-1)
    np.testing.assert_array_equal(number, np.where(gamma < 0, 1, np.where(gamma == 0, 2, 0)))
    # What TFLite wants of the tensors.
    tensors = graph.tensors
    filter_q, bias_q = tensors[chain.tensor].quantization, tensors[reader.inputs[2]].quantization
    assert filter_q.quantizedDimension == axis and not np.any(filter_q.zeroPoint) and np.all(filter_q.scale > 0)
    assert tensors[chain.tensor].type == fio.schema.TensorType.INT8
    assert tensors[reader.inputs[2]].type == fio.schema.TensorType.INT32
    input_scale = tensors[reader.inputs[0]].quantization.scale[0]
    np.testing.assert_allclose(bias_q.scale, input_scale * filter_q.scale, rtol=1e-6)
    assert report.layers[0].snr_db > 25 and "2 codebooks" not in str(report)


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("kind", ["conv", "depthwise", "dense"])
def test_operators_in_integer_arithmetic(kind, bits, tmp_path):
    """The oracle computes the layer from the file's integers: sums of products, bias, one multiplication, rounding, clamping."""
    model = operator(kind)
    frozen = freeze(model, bits)
    path = tmp_path / "m.tflite"
    export(model, frozen, path, inference_type="int8")
    parsed, graph, _, chain, reader = only_chain(path)

    def quantisation(tensor):
        q = graph.tensors[tensor].quantization
        return float(q.scale[0]), int(q.zeroPoint[0])

    (in_scale, in_zero), (out_scale, out_zero) = quantisation(reader.inputs[0]), quantisation(reader.outputs[0])
    x = np.random.default_rng(1).integers(-128, 128, (40, *model.input_shape[1:])).astype(np.int8)
    centred, w = x.astype(np.float32) - in_zero, chain.decode().astype(np.float32)  # exact: integers below 2**24
    layer = model.layers[0]
    if kind == "dense":
        sums = centred @ w.T
    elif kind == "conv":
        sums = np.asarray(keras.ops.conv(centred, w.transpose(1, 2, 3, 0), layer.strides, layer.padding))
    else:
        kernel = w[0].reshape(*layer.kernel.shape)
        sums = np.asarray(keras.ops.depthwise_conv(centred, kernel, layer.strides, layer.padding))
    assert np.abs(sums).max() < 2**24
    bias = fio.constant(parsed, graph.tensors[reader.inputs[2]])
    real = (sums.astype(np.float64) + bias) * (in_scale * chain.step.reshape(-1)) / out_scale + out_zero
    activation = reader.builtinOptions.fusedActivationFunction
    types = fio.schema.ActivationFunctionType
    low = -128 if activation == types.NONE else max(-128, out_zero)
    high = min(127, round(6 / out_scale) + out_zero) if activation == types.RELU6 else 127
    expected = np.clip(np.rint(real), low, high)
    for kernels in (OpResolverType.AUTO, OpResolverType.BUILTIN_REF):
        (got,) = run(path, x, kernels)
        assert got.dtype == np.int8
        # Kernels multiply by a 31-bit fixed-point number: one step where the real value is close to a half.
        assert np.abs(got - expected.reshape(got.shape)).max() <= 1
        assert np.mean(got != expected.reshape(got.shape)) < 0.01


@given(
    bits=st.sampled_from([2, 3, 4]),
    seed=st.integers(0, 1000),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    channels=st.tuples(st.integers(1, 6), st.integers(1, 9)),
    group_size=st.sampled_from([None, 2]),
    norm=st.booleans(),
    bias=st.booleans(),
)
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_convolution_is_as_good_as_dense_int8(
    bits, seed, kernel, stride, channels, group_size, norm, bias, tmp_path
):
    keras.utils.set_random_seed(seed)
    stack = [layers.Conv2D(channels[1], kernel, stride, "same", use_bias=bias)]
    model = sequential((6, 7, channels[0]), *stack, *([layers.BatchNormalization()] if norm else []))
    frozen = freeze(model, bits, seed, group_size)
    report = export(model, frozen, tmp_path / "m.tflite")  # verification compares with the dense twin, bit for bit
    (output,) = report.output_snrs
    assert output.snr_db >= min(output.dense_int8_snr_db, 40) - BEHIND_DENSE_DB


# Whole networks


def residual():
    inputs = keras.Input((12, 12, 3), name="image")
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)))
    y = layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same", use_bias=False)(x))
    x = layers.ReLU()(layers.Add()([x, y]))
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def small_mobilenet():
    inputs = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(8, 3, 2, "same", use_bias=False)(inputs)
    for width, stride in ((12, 1), (16, 2), (16, 1)):
        y = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(32, 1, use_bias=False)(x)))
        y = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False)(y)
        y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
        y = layers.BatchNormalization()(layers.Conv2D(width, 1, use_bias=False)(y))
        x = layers.Add()([x, y]) if stride == 1 and x.shape[-1] == width else y
    x = layers.Dense(20, activation="relu")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(5, activation="softmax")(x))


def norm_before_dense():
    """The converter folds the first BatchNorm into the dense weight, one factor for each input; it goes back to the input."""
    return keras.Sequential(
        [
            *(
                keras.Input((8, 8, 3), name="image"),
                layers.Conv2D(6, 3, activation="relu"),
                layers.GlobalAveragePooling2D(),
            ),
            *(
                layers.BatchNormalization(),
                layers.Dense(9),
                layers.BatchNormalization(),
                layers.ReLU(),
                layers.Dense(4),
            ),
        ]
    )


def nested_and_shared():
    block = keras.Sequential(
        [keras.Input((8, 8, 6)), layers.Conv2D(6, 3, padding="same", use_bias=False), layers.BatchNormalization()]
    )
    inputs = keras.Input((8, 8, 6), name="image")
    return keras.Model(inputs, layers.Flatten()(block(block(inputs))))


NETWORKS = {
    "residual": residual,
    "small mobilenet": small_mobilenet,
    "norm before dense": norm_before_dense,
    "nested and shared": nested_and_shared,
}


@pytest.mark.parametrize("group_size", [None, 4])
@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_networks_are_about_as_good_as_dense_int8(name, bits, group_size, tmp_path):
    model = randomize(NETWORKS[name](), negative=True)
    frozen = freeze(model, bits, group_size=group_size)
    path = tmp_path / "m.tflite"
    report = export(model, frozen, path)
    assert not report.kept
    (output,) = report.output_snrs
    assert output.snr_db >= min(output.dense_int8_snr_db, 40) - BEHIND_DENSE_DB
    assert all(row.snr_db > 20 for row in report.layers)
    # XNNPACK, TFLite's own kernels and its reference kernels round differently in places, by one step of a layer each.
    x = samples(model, 8)
    results = [run(path, x, k)[0] for k in (OpResolverType.AUTO, OpResolverType.BUILTIN_REF)]
    scale = np.abs(results[1]).max()
    assert np.abs(results[0] - results[1]).max() <= 0.1 * scale
    expected = np.asarray(model(x))
    for result in results:
        assert snr_db(np.sum(expected**2), np.sum((result - expected) ** 2)) > 20


def test_several_inputs_and_outputs(tmp_path):
    image, vector = keras.Input((8, 8, 3), name="z_image"), keras.Input((5,), name="a_vector")
    ids = keras.Input((4,), dtype="int32", name="ids")
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, activation="relu")(image))
    x = layers.Concatenate()(
        [x, layers.Dense(6)(vector), layers.Flatten()(layers.Embedding(11, 5, name="embedding")(ids))]
    )
    model = keras.Model([image, vector, ids], {"b": layers.Dense(3)(x), "a": layers.Dense(2, activation="softmax")(x)})
    frozen = freeze(randomize(model), 4)
    rng = np.random.default_rng(0)
    data = [rng.normal(size=(30, 8, 8, 3)), rng.normal(size=(30, 5)), rng.integers(0, 11, (30, 4))]
    path = tmp_path / "m.tflite"
    report = export_frozen(model, frozen, path, activations="int8", representative_dataset=data, even_if_larger=True)
    assert [row.name for row in report.kept] == ["embedding/embeddings"]
    assert "in int8 files only CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED" in report.kept[0].reason
    assert [s.name for s in report.output_snrs] == ["a", "b"] and all(s.snr_db > 25 for s in report.output_snrs)
    interpreter = RuntimeInterpreter(model_path=str(path))
    assert [d["name"] for d in interpreter.get_input_details()] == ["z_image", "a_vector", "ids"]
    assert [d["dtype"] for d in interpreter.get_input_details()] == [np.float32, np.float32, np.int32]
    assert interpreter.get_signature_list()["serving_default"] == {
        "inputs": ["a_vector", "ids", "z_image"],  # the runtime sorts them
        "outputs": ["a", "b"],
    }
    with pytest.raises(errors.CompressionError, match=r"embedding/embeddings: it feeds GATHER"):
        export_frozen(
            model,
            frozen,
            path,
            activations="int8",
            representative_dataset=data,
            even_if_larger=True,
            strict=True,
        )


@pytest.mark.parametrize("inference_type", ["float32", "int8"])
def test_interface_names_and_batch_sizes(inference_type, tmp_path):
    model = randomize(residual())
    path = tmp_path / "m.tflite"
    export(model, freeze(model, 4), path, inference_type=inference_type)
    interpreter = RuntimeInterpreter(model_path=str(path))
    (image,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert image["dtype"] == result["dtype"] == np.dtype(inference_type)
    assert image["name"] == "image" and image["shape_signature"].tolist() == [-1, 12, 12, 3]
    assert interpreter.get_signature_list()["serving_default"] == {
        "inputs": ["image"],
        "outputs": [model.output_names[0]],
    }
    parsed = fio.read_model(path.read_bytes())
    names = {fio.op_name(parsed, op) for op in parsed.subgraphs[0].operators}
    assert ({"QUANTIZE", "DEQUANTIZE"} <= names) == (inference_type == "float32")
    x = samples(model, 5)
    if inference_type == "int8":
        scale, zero = image["quantization"]
        x = np.clip(np.rint(x / scale) + zero, -128, 127).astype(np.int8)
    whole = run(path, x)[0]
    for i in range(5):
        np.testing.assert_array_equal(run(path, x[i : i + 1])[0], whole[i : i + 1])


def test_options_change_what_they_say(tmp_path):
    """Both remedies make layers less noisy; inputs far from 0 make a coherent error large."""
    model = sequential((16, 16, 3), layers.Conv2D(32, 3), layers.ReLU(), layers.Conv2D(32, 3))
    frozen = freeze(model, 4)
    ratios = {}
    for options in (Int8Options("max", False), Int8Options("mse", False), Int8Options("max", True), Int8Options()):
        data = samples(model) + 3
        report = export(model, frozen, tmp_path / "m.tflite", int8_options=options, representative_dataset=data)
        ratios[options.scale, options.bias_correction] = np.array([row.snr_db for row in report.layers])
    naive = ratios["max", False]
    # The search alone makes the weights more exact but may leave their errors a larger mean: the correction is what it needs.
    assert ratios["mse", False][0] > naive[0] + 1
    assert np.all(ratios["max", True] > naive + 1)
    assert np.all(ratios["mse", True] > np.maximum(naive + 1, ratios["max", True] - 0.5))


@pytest.mark.parametrize(("ratio", "coarse"), [(1, False), (100, True)])
def test_a_codebook_of_a_wide_range_is_reported(ratio, coarse, tmp_path):
    """One value far from all others leaves these few steps; the file is right, and says how much that costs."""
    model = sequential(
        (12, 12, 8), layers.Conv2D(32, 3, activation="relu"), layers.GlobalAveragePooling2D(), layers.Dense(10)
    )
    rng = np.random.default_rng(0)
    frozen = []
    for layer in (model.layers[0], model.layers[2]):
        codebook = np.concatenate([[0], 0.05 * rng.normal(size=14), [0.1 * ratio]]).astype(np.float32)
        codes = rng.integers(0, 15, layer.kernel.shape).astype(np.uint8)
        codes.reshape(-1)[7] = 15
        frozen.append(FrozenWeight(layer.name, "kernel", codes, codebook, 4))
        layer.kernel.assign(frozen[-1].dense())
    report = export(model, frozen, tmp_path / "m.tflite")
    assert all((row.weight_snr_db < 25) == coarse for row in report.layers)
    assert all(("spans a wide range" in row.note) == coarse for row in report.layers)


# Files


def test_report_inspect_and_metadata(tmp_path):
    model = sequential(
        (8, 8, 3), layers.Conv2D(24, 3, use_bias=False), layers.BatchNormalization(), layers.Flatten(), layers.Dense(40)
    )
    frozen = freeze(model, 4)
    path = tmp_path / "m.tflite"
    report = export(model, frozen, path, even_if_larger=False)
    assert report.activations == "int8" and report.file_bytes == path.stat().st_size < report.dense_int8_bytes
    (conv,), (head,) = report.kept, report.compressed
    assert "it is smaller dense: 648 bytes" in conv.reason and conv.smaller_dense
    assert head.file_bytes == 34560 // 2 + 16 and head.snr_db > 25  # codes and an int8 codebook
    text = str(report)
    assert "SNR dB" in text and f"dense int8 {report.dense_int8_bytes:,}" in text
    inspected = inspect_tflite(path)
    assert (inspected.format_version, inspected.activations) == ("1.1", "int8")
    (layer,) = inspected.layers
    assert (layer.op, layer.bits, layer.codebook_type) == ("FULLY_CONNECTED", 4, "int8") and "int8" in str(inspected)
    assert any(d.reason == conv.reason for d in inspected.dense)
    # Without verification nothing is run, and nothing claimed.
    quick = export(model, frozen, path, even_if_larger=False, verify=False)
    assert quick.output_snrs == () and all(row.snr_db is None for row in quick.layers)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "count", "limit"), [(resnet18, 21, 0.14), (mobilenet_v2, 30, 0.19)])
def test_large_networks_are_small(make, count, limit, tmp_path):
    """As a share of the float file. Scales and zero points of each channel (24 bytes with the bias's) are most of the rest."""
    model = randomize(make())
    path = tmp_path / "m.tflite"
    report = export(model, freeze(model, 4), path, even_if_larger=False, representative_dataset=samples(model, 8))
    assert len(report.compressed) >= count and report.file_bytes <= limit * report.dense_bytes
    (output,) = report.output_snrs
    assert output.snr_db >= output.dense_int8_snr_db - BEHIND_DENSE_DB


def test_a_wrong_file_is_not_offered(tmp_path, monkeypatch):
    model = sequential((8, 8, 3), layers.Conv2D(24, 3), layers.ReLU(), layers.Flatten(), layers.Dense(10, name="head"))
    frozen = freeze(model, 4)
    path = tmp_path / "m.tflite"
    path.write_bytes(b"old")
    real = exporter.build

    def tampered(change):
        def build(*args, **kwargs):
            file = real(*args, **kwargs)
            parsed = fio.read_model(file.data)
            change(parsed, {t.name: t for t in parsed.subgraphs[0].tensors if t.name})
            return dataclasses.replace(file, data=fio.write_model(parsed))

        return build

    def put(parsed, tensor, values):
        parsed.buffers[tensor.buffer].data = np.frombuffer(values.tobytes(), np.uint8)

    def wrong_code(parsed, tensors):
        values = fio.constant(parsed, tensors["head/kernel/packed"]).copy()
        values[100] ^= 0x10
        put(parsed, tensors["head/kernel/packed"], values)

    def wrong_bias(parsed, tensors):
        put(parsed, tensors["head/kernel/bias"], fio.constant(parsed, tensors["head/kernel/bias"]) + 1)

    def wrong_scale(parsed, tensors):
        tensors["head/kernel"].quantization.scale = tensors["head/kernel"].quantization.scale * np.float32(1.01)

    def wrong_activation(parsed, tensors):
        conv = next(o for o in parsed.subgraphs[0].operators if fio.op_name(parsed, o) == "CONV_2D")
        conv.builtinOptions.fusedActivationFunction = 0
        conv.builtinOptions.strideH = 2

    for change, message in (
        (wrong_code, "the weight 'head/kernel' .* does not decode"),
        (wrong_bias, "the bias of 'head/kernel'"),
        (wrong_scale, "the quantisation of 'head/kernel'"),
    ):
        monkeypatch.setattr(exporter, "build", tampered(change))
        with pytest.raises(errors.VerificationError, match=message):
            export(model, frozen, path, verify=False)
    monkeypatch.setattr(exporter, "build", tampered(wrong_activation))
    with pytest.raises(errors.ExportError):
        export(model, frozen, path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_graph_that_is_not_the_model_is_held_against_keras(tmp_path, monkeypatch):
    """What neither read-back nor twin can see: TensorFlow's graph computes something else than the model."""
    model = randomize(residual())
    real, path = exporter.convert, tmp_path / "m.tflite"

    def other_graph(plain, *args):
        plain.layers[-1].bias.assign_add(np.linspace(-1, 1, 10))
        try:
            return real(plain, *args)
        finally:
            plain.layers[-1].bias.assign_sub(np.linspace(-1, 1, 10))

    monkeypatch.setattr(exporter, "convert", other_graph)
    with pytest.raises(errors.VerificationError, match=r"output .* must equal the Keras model's within"):
        export(model, freeze(model, 4), path)
    assert list(tmp_path.iterdir()) == []


def test_how_noisy_an_output_may_be(tmp_path):
    """Rounding passes; what is wrong beside TensorFlow's dense int8 file does not."""
    model = randomize(residual())
    captured = {}
    real = exporter.build
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter, "build", lambda *a, **k: captured.setdefault("file", real(*a, **k)))
        export(model, freeze(model, 4), tmp_path / "m.tflite")
    x, (name,) = samples(model, 8), model.output_names
    expected, file = {name: np.asarray(model(x))}, captured["file"]
    (found,) = int8_check.check_outputs(file, [x], expected)
    assert found.snr_db > 20
    # A file whose weights are those of another seed: about as far from the model as a random output.
    other = randomize(residual(), seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter, "build", lambda *a, **k: captured.setdefault("other", real(*a, **k)))
        export(other, freeze(other, 4, seed=1), tmp_path / "m.tflite")
    wrong = dataclasses.replace(file, data=renamed(captured["other"].data, name))
    with pytest.raises(
        errors.VerificationError, match=rf"output '{name}' must be the Keras model's up to int8 rounding"
    ):
        int8_check.check_outputs(wrong, [x], expected)


def renamed(data, name):
    """The file with another name of its only output."""
    model = fio.read_model(data)
    model.subgraphs[0].tensors[model.subgraphs[0].outputs[0]].name = name
    for signature in model.signatureDefs:
        signature.outputs[0].name = name
    return fio.write_model(model)


def test_arguments(tmp_path):
    model = operator("dense")
    frozen, path = freeze(model, 4), tmp_path / "m.tflite"
    with pytest.raises(ValueError, match=r"`representative_dataset` must be given.*Received: None"):
        export_frozen(model, frozen, path, activations="int8")
    with pytest.raises(ValueError, match=r"batch 0: input 'image' must have the shape \('any', 21\)"):
        export(model, frozen, path, representative_dataset=np.zeros((4, 20)))
    with pytest.raises(ValueError, match=r"`inference_type` must be 'float32' or 'int8'\. Received.*'uint8'"):
        export(model, frozen, path, inference_type="uint8")
    for arguments in (
        {"representative_dataset": samples(model)},
        {"inference_type": "int8"},
        {"int8_options": Int8Options()},
    ):
        with pytest.raises(ValueError, match=rf"`{next(iter(arguments))}` must go with activations='int8'"):
            export_frozen(model, frozen, path, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_activations_that_overflow_are_refused(tmp_path):
    model = sequential((21,), layers.Dense(9))
    with pytest.raises(errors.ConversionError, match="every activation must be finite on the calibration data"):
        export(model, freeze(model, 4), tmp_path / "m.tflite", representative_dataset=np.full((4, 21), 3e38))
    assert list(tmp_path.iterdir()) == []


def test_control_flow_is_refused(tmp_path):
    model = keras.Sequential([keras.Input((5, 3), batch_size=2), layers.LSTM(4)])
    data = np.zeros((4, 5, 3), np.float32)
    with pytest.raises(errors.ConversionError, match=r"without control flow \(WHILE, IF\).*unroll=True"):
        export_frozen(model, [], tmp_path / "m.tflite", activations="int8", representative_dataset=data)


def test_an_input_that_is_an_output_and_a_tensor_that_is_two(tmp_path):
    inputs = keras.Input((8,), name="x")
    y = layers.Dense(8, name="y")(inputs)
    model = randomize(keras.Model(inputs, [y, inputs, y]))
    path = tmp_path / "m.tflite"
    report = export(model, freeze(model, 4), path)
    assert [s.name for s in report.output_snrs] == ["y", "x", "y_1"]
    x = samples(model, 3)
    got = run(path, x)
    np.testing.assert_array_equal(got[1], x)
    np.testing.assert_array_equal(got[0], got[2])


def test_a_layer_that_is_always_zero(tmp_path):
    """XNNPACK refuses TensorFlow's own int8 file of it, whose next layer has an absurd scale."""
    model = randomize(keras.Sequential([keras.Input((8,)), layers.Dense(8, activation="relu"), layers.Dense(3)]))
    model.layers[0].bias.assign(np.full(8, -50.0))
    path = tmp_path / "m.tflite"
    export(model, freeze(model, 4), path)
    x = samples(model, 4)
    expected = np.broadcast_to(np.asarray(model.layers[1].bias), (4, 3))
    # The last layer computes its bias alone; a step of its output is 1/255 of their range.
    np.testing.assert_allclose(run(path, x)[0], expected, atol=0.01 * np.abs(expected).max())


def test_batches_of_several_shapes(tmp_path):
    inputs = keras.Input((None, None, 3), name="image")
    x = layers.Conv2D(8, 3, strides=2)(layers.Conv2D(8, 3, activation="relu")(inputs))
    model = randomize(keras.Model(inputs, layers.GlobalAveragePooling2D()(x)))
    rng = np.random.default_rng(0)
    data = [rng.normal(size=(n, h, w, 3)) for n, h, w in ((9, 12, 12), (5, 10, 9), (1, 20, 12))]
    report = export(model, freeze(model, 4), tmp_path / "m.tflite", representative_dataset=data)
    assert report.output_snrs[0].snr_db > 25


def test_tensorflows_own_runtime_runs_the_file(tmp_path):
    """Its reader is another build of the same sources; the file shares numeric vectors, as flatbuffers may."""
    import tensorflow as tf

    model = randomize(small_mobilenet(), negative=True)
    path = tmp_path / "m.tflite"
    export(model, freeze(model, 3), path)
    x = samples(model, 1)
    interpreter = tf.lite.Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(got, run(path, x)[0], atol=0.02)  # probabilities; a step is 1/256


def test_verify_compares_layers(tmp_path):
    from dgms_keras.runtime.verify import verify

    model = randomize(residual())
    frozen, path = freeze(model, 4), tmp_path / "m.tflite"
    for inference_type in ("float32", "int8"):
        export(model, frozen, path, inference_type=inference_type)
        report = verify(model, path, samples(model, 4), per_layer=True)
        assert report.passed and len(report.layers) == 3 and not report.unmapped
        assert all(c.stock.deviation > 0 for c in report.layers)
    other = randomize(residual(), seed=5)
    export(other, freeze(other, 4, seed=5), path)
    assert not verify(model, path, samples(model, 4)).passed


def test_public_call(tmp_path):
    keras.utils.set_random_seed(0)
    model = randomize(residual())
    quantised = dgms_keras.quantize_apply(model, bits=4, skip_first_last=False)
    path = tmp_path / "m.tflite"
    report = dgms_keras.export_tflite(quantised, path, "int8", representative_dataset=samples(model))
    assert report.activations == "int8" and report.output_snrs[0].snr_db > 25
    assert len(report.layers) == 3 and all(row.snr_db for row in report.compressed)
