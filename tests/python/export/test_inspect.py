"""inspect_tflite: files of this project, of others, of the future, and no files at all."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from dgms_files import freeze, randomize
from keras import layers

from dgms_keras.export import errors
from dgms_keras.export import flatbuffer_io as fio
from dgms_keras.export.convert import convert
from dgms_keras.export.exporter import export_frozen
from dgms_keras.export.inspect import inspect_tflite
from dgms_keras.export.rewrite import rewrite
from dgms_keras.format import metadata


def model():
    stack = [
        layers.Conv2D(24, 3, name="first"),
        layers.Conv2D(32, 3, name="conv", use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.GlobalAveragePooling2D(),
        layers.Dense(40, name="head"),
    ]
    return randomize(keras.Sequential([keras.Input((12, 12, 3)), *stack]))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspect")
    keras_model = model()
    frozen = freeze(
        keras_model,
        lambda path: {"first": None, "conv": 3, "head": 2}[path] if path in ("first", "conv", "head") else 4,
    )
    export_frozen(keras_model, frozen, folder / "ours.tflite", even_if_larger=True)
    (folder / "dense.tflite").write_bytes(convert(keras_model))
    return folder, frozen


def test_layers(files):
    folder, frozen = files
    report = inspect_tflite(folder / "ours.tflite")
    assert report.format_version == "1.0" and report.producer.startswith("dgms_keras ")
    assert report.file_bytes == (folder / "ours.tflite").stat().st_size
    assert [layer.name for layer in report.layers] == ["conv/kernel", "head/kernel"]
    for layer, weight in zip(report.layers, frozen, strict=True):
        share = np.bincount(weight.indices.reshape(-1), minlength=2**weight.bits) / weight.indices.size
        share = share[share > 0]
        entropy = float(-(share * np.log2(share)).sum())
        assert layer.entropy_bits == pytest.approx(entropy, abs=1e-9) and layer.entropy_bits <= weight.bits
        assert layer.bits == weight.bits and layer.count == weight.indices.size
        assert layer.codes == len(share) and layer.zeros == np.count_nonzero(weight.dense() == 0)
        # Rounded up to bytes; the codebook (and the scale of 32 channels) cannot be coded away.
        extra = 4 * 2**weight.bits + (4 * 32 if layer.scaled else 0)
        assert layer.entropy_bytes == int(np.ceil(entropy * layer.count / 8)) + extra
    conv, head = report.layers
    assert (conv.op, conv.shape, conv.scaled, conv.file_bytes) == (
        "CONV_2D",
        (32, 3, 3, 24),
        True,
        6912 * 3 // 8 + 32 + 128,
    )
    assert (head.op, head.shape, head.scaled, head.file_bytes) == ("FULLY_CONNECTED", (40, 32), False, 1280 // 4 + 16)
    assert report.table_bytes == 12288  # the tables of 3 bits; those of 2 bits are one of them


def test_dense_constants_and_totals(files):
    folder, _ = files
    report = inspect_tflite(folder / "ours.tflite")
    matrices = [d for d in report.dense if not d.is_vector]
    assert [(d.op, d.shape, d.dtype, d.file_bytes) for d in matrices] == [("CONV_2D", (24, 3, 3, 3), "float32", 2592)]
    assert "was not quantised" in matrices[0].reason
    assert report.compressed_bytes == sum(layer.file_bytes for layer in report.layers)
    listed = report.compressed_bytes + sum(d.file_bytes for d in report.dense) + report.table_bytes
    assert listed + report.other_bytes == report.file_bytes
    text = str(report)
    for part in ("conv/kernel", "head/kernel", "per-channel scale", "entropy bound", "was not quantised"):
        assert part in text
    data = report.to_json_dict()
    assert json.loads(json.dumps(data))["totals"]["compressed_bytes"] == report.compressed_bytes


def test_files_of_others(files):
    folder, _ = files
    report = inspect_tflite(folder / "dense.tflite")
    assert report.layers == () and report.format_version is None and report.compressed_bytes == 0
    assert "no DGMS layer" in str(report) and len([d for d in report.dense if not d.is_vector]) == 3


def test_reasons_of_the_exporter_are_shown(tmp_path):
    keras_model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="tiny"), layers.Flatten(), layers.Dense(64)]
    )
    export_frozen(keras_model, freeze(keras_model, 4), tmp_path / "m.tflite")
    (entry,) = [d for d in inspect_tflite(tmp_path / "m.tflite").dense if not d.is_vector]
    assert entry.name == "tiny/kernel" and "smaller dense" in entry.reason


def test_without_the_metadata_entry_the_chains_say_the_same(files):
    folder, _ = files
    parsed = fio.read_model((folder / "ours.tflite").read_bytes())
    parsed.metadata = []
    (folder / "bare.tflite").write_bytes(fio.write_model(parsed))
    bare, ours = inspect_tflite(folder / "bare.tflite"), inspect_tflite(folder / "ours.tflite")
    assert bare.format_version is None and "without a metadata entry" in str(bare)
    assert [x.codes for x in bare.layers] == [x.codes for x in ours.layers]


def with_entry(data: bytes, text: bytes) -> bytes:
    parsed = fio.read_model(data)
    entry = next(m for m in parsed.metadata if m.name == metadata.ENTRY_NAME)
    parsed.buffers[entry.buffer].data = np.frombuffer(text, np.uint8)
    return fio.write_model(parsed)


def test_versions(files, tmp_path):
    data = (files[0] / "ours.tflite").read_bytes()
    path = tmp_path / "m.tflite"
    path.write_bytes(with_entry(data, b"DGMS 2.0\nwhatever that may be"))
    with pytest.raises(
        errors.FormatVersionError, match=r"format 2\.0; this version .* reads formats up to 1\.x.*m\.tflite"
    ):
        inspect_tflite(path)
    path.write_bytes(with_entry(data, b'DGMS 1.7\n{"layers": 5, "new": [1], "kept": [{"layer": 1}, 3]}'))
    report = inspect_tflite(path)  # a newer minor version, and fields of other types than expected
    assert report.format_version == "1.7" and report.producer is None and len(report.layers) == 2
    for broken in (b"", b"DGMS", b"DGMS 1.0\nnot json", b"DGMS 1.0\n[]", b"\xff\xfe"):
        path.write_bytes(with_entry(data, broken))
        with pytest.raises(errors.InvalidFileError, match="metadata entry"):
            inspect_tflite(path)


def test_what_is_no_model(tmp_path):
    path = tmp_path / "m.tflite"
    for content in (b"", b"hello", bytes(1000)):
        path.write_bytes(content)
        with pytest.raises(errors.InvalidFileError, match=r"must be a TensorFlow Lite model.*m\.tflite"):
            inspect_tflite(path)
    with pytest.raises(FileNotFoundError, match=r"none\.tflite"):
        inspect_tflite(tmp_path / "none.tflite")
    with pytest.raises(IsADirectoryError):
        inspect_tflite(tmp_path)


def test_shared_and_grouped_weights(tmp_path):
    inputs = keras.Input((8, 8, 6))
    conv = layers.Conv2D(6, 3, padding="same", name="shared")
    keras_model = keras.Model(inputs, conv(conv(inputs)))
    frozen = freeze(keras_model, 4, group_size=2)
    data, _ = rewrite(convert(keras_model), frozen, even_if_larger=True)
    (tmp_path / "m.tflite").write_bytes(data)
    first, second = inspect_tflite(tmp_path / "m.tflite").layers
    assert (first.name, first.codebooks, first.shared) == ("shared/kernel", 3, False) and second.shared
    assert first.codes <= 48 and first.entropy_bits <= 4
    assert "3 codebooks" in str(inspect_tflite(tmp_path / "m.tflite"))
