"""export_frozen: names, order, batch sizes, reports, refusals, and files that are there or not, never half."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from dgms_files import freeze, freeze_array, randomize
from keras import layers

from dgms_keras.export import atomic, errors, exporter
from dgms_keras.export import flatbuffer_io as fio
from dgms_keras.export.exporter import export_frozen
from dgms_keras.format import metadata
from dgms_keras.frozen import FrozenWeight
from dgms_keras.litert import RuntimeInterpreter


def small_model():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            layers.Conv2D(24, 3, name="conv", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(10, name="head"),
        ]
    )
    return randomize(model, negative=True)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model.tflite"
    model = small_model()
    frozen = freeze(model, 4)
    return model, frozen, path, export_frozen(model, frozen, path, strict=True)


def test_report_and_metadata(exported):
    _, frozen, path, report = exported
    assert report.file_bytes == path.stat().st_size < report.dense_bytes
    assert (
        [row.name for row in report.layers] == ["conv/kernel", "head/kernel"] == [row.name for row in report.compressed]
    )
    conv, head = report.layers
    assert (conv.bits, conv.scaled, conv.count, conv.dense_bytes) == (4, True, 648, 4 * 648)
    assert conv.file_bytes == 648 // 2 + 4 * 16 + 4 * 24  # codes, codebook, one factor per channel
    assert (head.scaled, head.file_bytes) == (False, 8640 // 2 + 4 * 16)
    assert head.zeros == np.count_nonzero(frozen[1].dense() == 0)
    assert head.codes == np.unique(frozen[1].indices).size
    assert report.outputs[0].name == "head" and report.outputs[0].deviation <= report.outputs[0].allowed
    text = str(report)
    assert "conv/kernel" in text and "per-channel scale" in text and f"{report.file_bytes:,}" in text
    entry = next(m for m in fio.read_model(path.read_bytes()).metadata if m.name == "dgms_keras")
    version, body = metadata.decode(bytes(fio.read_model(path.read_bytes()).buffers[entry.buffer].data))
    assert version == (1, 0) and body["producer"].startswith("dgms_keras ") and body["kept"] == []
    assert [(e["layer"], e["bits"], e["op"]) for e in body["layers"]] == [
        ("conv", 4, "CONV_2D"),
        ("head", 4, "FULLY_CONNECTED"),
    ]


def test_only_builtin_operators_and_no_quantisation(exported):
    *_, path, _ = exported
    model = fio.read_model(path.read_bytes())
    assert {fio.op_name(model, op) for op in model.subgraphs[0].operators} <= {
        *("CAST", "GATHER", "RESHAPE", "SLICE", "MUL", "CONV_2D", "FULLY_CONNECTED", "SHAPE", "STRIDED_SLICE", "PACK")
    }
    for tensor in model.subgraphs[0].tensors:
        assert tensor.quantization is None or tensor.quantization.scale is None
    tables = [t for t in model.subgraphs[0].tensors if (t.name or "").startswith("dgms/table")]
    assert len(tables) == 1  # one for the whole model


def test_signature_and_any_batch_size(exported):
    model, _, path, _ = exported
    interpreter = RuntimeInterpreter(model_path=str(path))
    assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["image"], "outputs": ["head"]}}
    detail = interpreter.get_input_details()[0]
    assert detail["name"] == "image" and detail["shape_signature"].tolist() == [-1, 8, 8, 3]
    for batch in (1, 5, 2):
        x = np.random.default_rng(batch).normal(size=(batch, 8, 8, 3)).astype(np.float32)
        interpreter.resize_tensor_input(detail["index"], x.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(detail["index"], x)
        interpreter.invoke()
        expected = np.asarray(model(x, training=False))
        got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())  # sums of 864 products
    runner = RuntimeInterpreter(model_path=str(path)).get_signature_runner("serving_default")
    assert list(runner(image=np.zeros((1, 8, 8, 3), np.float32))) == ["head"]


def test_several_inputs_and_outputs_keep_names_and_order(tmp_path):
    inputs = {"zebra": keras.Input((4,), name="zebra"), "ant": keras.Input((3,), name="ant")}
    both = layers.Concatenate()([inputs["zebra"], inputs["ant"]])
    outputs = {"second": layers.Dense(2, name="x")(both), "first": layers.Dense(3, name="y")(both)}
    model = keras.Model(inputs, outputs)
    path = tmp_path / "m.tflite"
    export_frozen(model, freeze(model, 4), path, even_if_larger=True)
    interpreter = RuntimeInterpreter(model_path=str(path))
    assert [d["name"] for d in interpreter.get_input_details()] == [t.name for t in model.inputs]
    runner = interpreter.get_signature_runner("serving_default")
    x = {"zebra": np.ones((1, 4), np.float32), "ant": np.full((1, 3), 2, np.float32)}
    got, expected = runner(**x), model(x)
    assert set(got) == {"first", "second"}
    assert [d["name"] for d in interpreter.get_output_details()] == sorted(
        outputs
    )  # Keras flattens dicts by sorted keys
    for name in got:
        np.testing.assert_allclose(got[name], expected[name], atol=1e-5)

    listed = [keras.Input((4,), name="b"), keras.Input((3,), name="a")]
    both = layers.Concatenate()(listed)
    model = keras.Model(listed, [layers.Dense(2, name="z_out")(both), layers.Dense(3, name="a_out")(both), listed[0]])
    export_frozen(model, freeze(model, 4), path, even_if_larger=True)
    interpreter = RuntimeInterpreter(model_path=str(path))
    assert [d["name"] for d in interpreter.get_input_details()] == ["b", "a"]
    assert [d["name"] for d in interpreter.get_output_details()][:2] == ["z_out", "a_out"]
    assert interpreter.get_signature_list()["serving_default"]["inputs"] == ["a", "b"]  # the runtime sorts these


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_low_precision_policies_are_exported_in_float32(policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        model = small_model()
        frozen = freeze(model, 3)
    finally:
        keras.config.set_dtype_policy("float32")
    report = export_frozen(model, frozen, tmp_path / "m.tflite", strict=True, even_if_larger=True)
    assert all(row.bits == 3 and row.exact for row in report.layers)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv, self.head = layers.Conv2D(16, 3, name="conv"), layers.Dense(5, name="head")

    def call(self, x, training=False):
        features = keras.ops.mean(self.conv(x), axis=(1, 2))
        return {"scores": self.head(features), "features": features}


def test_subclassed_models(tmp_path):
    model = Subclassed()
    with pytest.raises(errors.ConversionError, match="must be built"):
        export_frozen(model, [], tmp_path / "m.tflite")
    model(np.zeros((1, 8, 8, 3), np.float32))
    report = export_frozen(model, freeze(model, 4), tmp_path / "m.tflite", strict=True, even_if_larger=True)
    assert {o.name for o in report.outputs} == {"scores", "features"} and len(report.compressed) == 2


def test_free_image_size_and_fixed_batch(tmp_path):
    free = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(8, 3), layers.GlobalMaxPooling2D()])
    export_frozen(free, freeze(free, 2), tmp_path / "m.tflite", even_if_larger=True)
    fixed = keras.Sequential([keras.Input((8, 8, 3), batch_size=3), layers.Conv2D(8, 3)])
    export_frozen(fixed, freeze(fixed, 2), tmp_path / "m.tflite", even_if_larger=True)
    detail = RuntimeInterpreter(model_path=str(tmp_path / "m.tflite")).get_input_details()[0]
    assert detail["shape"].tolist() == [3, 8, 8, 3]


def test_nothing_is_printed(tmp_path, capfd):
    model = small_model()
    export_frozen(model, freeze(model, 4), tmp_path / "m.tflite")
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""


# What is not compressed, and why


def test_small_weights_stay_dense_and_that_is_no_error(tmp_path):
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="tiny"), layers.Flatten(), layers.Dense(64)]
    )
    frozen = freeze(model, 4)
    report = export_frozen(model, frozen, tmp_path / "m.tflite", strict=True)
    (row,) = report.kept
    assert row.name == "tiny/kernel" and row.smaller_dense and "smaller dense: 432 bytes" in row.reason
    assert row.bits is None and row.file_bytes == row.dense_bytes == 432
    assert report.layers[1].bits == 4


def test_the_tables_must_pay_as_well(tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(32, 3, name="conv")])
    frozen = freeze(model, 3)  # 3456 bytes dense, some 1530 encoded, but the tables of 3 bits take 12288
    report = export_frozen(model, frozen, tmp_path / "m.tflite")
    assert "tables take 12288" in report.kept[0].reason
    assert report.file_bytes < report.dense_bytes + 600  # the metadata entry, which says so


def test_every_frozen_weight_is_in_the_report_with_its_reason(tmp_path):
    model = small_model()
    frozen = freeze(model, 4)
    rng = np.random.default_rng(0)
    ghost = freeze_array("ghost", "kernel", rng.normal(size=(17, 3)).astype(np.float32), 4, rng)
    other = FrozenWeight("conv", "kernel", frozen[0].indices, frozen[0].codebook + np.float32(0.01), 4)
    path = tmp_path / "m.tflite"
    report = export_frozen(model, [other, frozen[1], ghost], path)
    assert [row.reason is None for row in report.layers] == [False, True, False]
    assert "feed CONV_2D, with other values" in report.layers[0].reason
    assert "none has its size" in report.layers[2].reason
    path.unlink()
    with pytest.raises(errors.CompressionError, match="ghost/kernel: no constant"):
        export_frozen(model, [frozen[0], ghost], path, strict=True)
    assert not path.exists()


def test_a_factor_that_is_not_finite(tmp_path):
    model = small_model()
    model.layers[1].gamma.assign([np.inf] + [1.0] * 23)
    report = export_frozen(model, freeze(model, 4), tmp_path / "m.tflite")
    assert [row.name for row in report.kept] == ["conv/kernel"] and "NaN or infinity" in report.kept[0].reason


def test_operator_that_cannot_take_a_decoded_weight(tmp_path):
    class Tilted(layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 40), name="kernel")

        def call(self, x):
            return keras.ops.matmul(x, keras.ops.sin(self.kernel))

    model = keras.Sequential([keras.Input((30,)), Tilted(name="tilted")])
    kernel = model.layers[0].kernel
    weight = freeze_array("tilted", "kernel", kernel.numpy(), 4, np.random.default_rng(0))
    kernel.assign(weight.dense())
    report = export_frozen(model, [weight], tmp_path / "m.tflite")
    assert report.kept[0].name == "tilted/kernel"  # the converter evaluates sin(kernel) itself
    with pytest.raises(errors.CompressionError, match="tilted/kernel"):
        export_frozen(model, [weight], tmp_path / "m.tflite", strict=True)


# Refusals


def test_arguments(tmp_path):
    model = small_model()
    frozen = freeze(model, 4)
    with pytest.raises(ValueError, match=r"`activations` must be 'float32' or 'int8'.*Received: activations='int16'"):
        export_frozen(model, frozen, tmp_path / "m.tflite", activations="int16")
    with pytest.raises(ValueError, match="Received twice: conv/kernel"):
        export_frozen(model, [frozen[0], frozen[0]], tmp_path / "m.tflite")


def test_unsupported_operators_are_named(tmp_path):
    import tensorflow as tf

    class Determinant(layers.Layer):
        def call(self, x):
            return tf.linalg.det(x)

    path = tmp_path / "m.tflite"
    path.write_bytes(b"old")
    model = keras.Sequential([keras.Input((4, 4)), Determinant()], name="odd")
    with pytest.raises(errors.ConversionError, match=r"the model 'odd'.*tf\.MatrixDeterminant"):
        export_frozen(model, [], path)
    assert path.read_bytes() == b"old"


def test_a_file_that_computes_something_else_is_not_offered(tmp_path, monkeypatch):
    model = small_model()
    frozen = freeze(model, 4)
    path = tmp_path / "m.tflite"
    path.write_bytes(b"old")
    real = exporter.rewrite

    def wrong_bias(data, *args, **kwargs):
        data, rows = real(data, *args, **kwargs)
        parsed = fio.read_model(data)
        bias = next(t for t in parsed.subgraphs[0].tensors if t.shape == [10] and fio.constant(parsed, t) is not None)
        values = fio.constant(parsed, bias) + np.float32(0.5)
        parsed.buffers[bias.buffer].data = np.frombuffer(values.tobytes(), np.uint8)
        return fio.write_model(parsed), rows

    def wrong_code(data, *args, **kwargs):
        data, rows = real(data, *args, **kwargs)
        parsed = fio.read_model(data)
        packed = next(t for t in parsed.subgraphs[0].tensors if t.name == "head/kernel/packed")
        parsed.buffers[packed.buffer].data = parsed.buffers[packed.buffer].data.copy()
        parsed.buffers[packed.buffer].data[100] ^= 0x10
        return fio.write_model(parsed), rows

    monkeypatch.setattr(exporter, "rewrite", wrong_bias)
    with pytest.raises(errors.VerificationError, match="output 'head' must equal the Keras model's"):
        export_frozen(model, frozen, path)
    monkeypatch.setattr(exporter, "rewrite", wrong_code)
    with pytest.raises(errors.VerificationError, match="the weight 'head/kernel'"):
        export_frozen(model, frozen, path, verify=False)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


# Files


def test_paths_that_cannot_be_written(tmp_path):
    model = small_model()
    for path, number in ((tmp_path, errno.EISDIR), (tmp_path / "none" / "m.tflite", errno.ENOENT)):
        with pytest.raises(errors.FileWriteError) as caught:
            export_frozen(model, [], path)
        assert caught.value.errno == number and str(path) in str(caught.value)
        assert isinstance(caught.value, OSError) and isinstance(caught.value, errors.ExportError)


@pytest.mark.parametrize("step", ["fsync", "replace", "fdopen"])
def test_failures_leave_the_old_file_and_nothing_else(step, tmp_path, monkeypatch):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"old")

    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, step, fail)
    with pytest.raises(errors.FileWriteError, match="No space left") as caught:
        atomic.write_atomically(str(path), b"new")
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_in_earnest(tmp_path):
    """The kernel itself refuses to make the file longer than 64 KiB."""
    path = tmp_path / "m.tflite"
    path.write_bytes(b"old")
    script = (
        "import resource, sys; from dgms_keras.export.atomic import write_atomically\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "try: write_atomically(sys.argv[1], bytes(1 << 20))\n"
        "except OSError as error: print(type(error).__name__, error.errno)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["FileWriteError", str(errno.EFBIG)]
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_links_and_permissions_survive(tmp_path):
    target, link = tmp_path / "real.tflite", tmp_path / "link.tflite"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    atomic.write_atomically(str(link), b"new")
    assert link.is_symlink() and target.read_bytes() == b"new" and target.stat().st_mode & 0o777 == 0o640
    atomic.write_atomically(str(tmp_path / "fresh"), b"x")
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "fresh").stat().st_mode & 0o777 == 0o666 & ~umask


def test_kill_at_any_moment_leaves_one_of_the_complete_files(tmp_path):
    path = tmp_path / "m.tflite"
    script = (
        "import sys; from dgms_keras.export.atomic import write_atomically\n"
        "n = 0\n"
        "while True:\n"
        "    write_atomically(sys.argv[1], bytes([n % 251]) * 300000); n += 1\n"
        "    if n == 1: print('started', flush=True)"
    )
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(12):
        with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as child:
            assert child.stdout.readline()
            time.sleep(rng.uniform(0, 0.05))
            child.send_signal(signal.SIGKILL)
        data = path.read_bytes()
        assert len(data) == 300000 and len(set(data)) == 1
        seen.add(data[0])
    assert len(seen) > 1  # it was killed at different moments


@pytest.mark.slow
@pytest.mark.parametrize(("bits", "limit"), [(4, 6_000_000), (3, 4_600_000), (2, 3_200_000)])
def test_resnet18_is_small(bits, limit, tmp_path):
    from dgms_files import resnet18

    model = randomize(resnet18(), negative=True)
    trainable = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert trainable == 11_689_512  # torchvision's and the paper's ResNet-18
    report = export_frozen(model, freeze(model, bits), tmp_path / "m.tflite", strict=True)
    assert len(report.compressed) == 21 and all(row.exact for row in report.layers)
    assert report.file_bytes <= limit and report.dense_bytes > 46_000_000


def test_recurrent_layers_with_a_free_batch_size_get_a_hint(tmp_path):
    model = keras.Sequential([keras.Input((5, 3)), layers.LSTM(4)])
    with pytest.raises(errors.ConversionError, match=r"unroll=True or a fixed batch size"):
        export_frozen(model, [], tmp_path / "m.tflite")
