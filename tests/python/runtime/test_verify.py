"""verify: agreement is confirmed, and a deviation is found, measured and located."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from dgms_files import freeze, randomize
from keras import layers

from dgms_keras.export import errors
from dgms_keras.export import flatbuffer_io as fio
from dgms_keras.export.check import deviation
from dgms_keras.export.exporter import export_frozen
from dgms_keras.runtime.verify import verify


def build():
    block = keras.Sequential(
        [
            keras.Input((8, 8, 4)),
            layers.Conv2D(6, 3, padding="same", use_bias=False, name="inner"),
            layers.BatchNormalization(),
            layers.ReLU(),
        ],
        name="block",
    )
    image, vector = keras.Input((8, 8, 3), name="image"), keras.Input((5,), name="vector")
    x = block(layers.Conv2D(4, 3, padding="same", name="stem")(image))
    x = layers.SeparableConv2D(4, 3, name="separable")(x)
    shared = layers.Conv2D(4, 1, name="shared")
    x = layers.Conv2D(4, 3, dilation_rate=2, name="dilated")(shared(shared(x)))
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.Dense(6, name="side")(vector)])
    outputs = {"b": layers.Dense(3, name="logits")(x), "a": layers.Dense(2, activation="softmax", name="classes")(x)}
    return randomize(keras.Model([image, vector], outputs), negative=True)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    model = build()
    path = tmp_path_factory.mktemp("verify") / "model.tflite"
    export_frozen(model, freeze(model, 4), path, strict=True, even_if_larger=True)
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(3, 8, 8, 3)).astype(np.float32), rng.normal(size=(3, 5)).astype(np.float32)]
    return model, path, x


def test_outputs_agree(case):
    model, path, x = case
    report = verify(model, path, x)
    assert report.passed and [c.name for c in report.outputs] == ["a", "b"] and report.layers == ()
    # Float rounding over a dozen layers.
    assert all(c.stock.deviation < 1e-5 for c in report.outputs)
    if report.delegate_ran:
        assert report.delegate.endswith("nodes") and all(c.between.deviation < 1e-5 for c in report.outputs)
    assert "ok" in str(report) and report.worst in report.outputs
    assert json.loads(json.dumps(report.to_json_dict()))["passed"] is True
    assert verify(model, path, dict(zip(("image", "vector"), x, strict=True))).passed


def test_layers_agree_and_those_that_cannot_be_mapped_are_named(case):
    model, path, x = case
    report = verify(model, path, x, per_layer=True)
    assert report.passed
    assert sorted(c.name for c in report.layers) == sorted(
        (
            *("stem/kernel", "block/inner/kernel", "separable/pointwise_kernel", "shared/kernel", "shared/kernel"),
            *("dilated/kernel", "side/kernel", "classes/kernel", "logits/kernel"),
        )
    )
    assert [name for name, _ in report.unmapped] == ["separable/depthwise_kernel"]
    assert all(c.stock.deviation <= 1e-5 for c in report.layers)
    assert "not compared: separable/depthwise_kernel" in str(report)
    for layer in model.layers:  # the hooks are gone
        assert "call" not in vars(layer)


def test_a_wrong_layer_is_found_where_it_is(case, tmp_path):
    model, path, x = case
    parsed = fio.read_model(path.read_bytes())
    packed = next(t for t in parsed.subgraphs[0].tensors if t.name == "shared/kernel/codebook")
    values = fio.constant(parsed, packed) * np.float32(1.5)
    parsed.buffers[packed.buffer].data = np.frombuffer(values.tobytes(), np.uint8)
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(fio.write_model(parsed))
    report = verify(model, broken, x, per_layer=True)
    assert not report.passed and "DEVIATES" in str(report)
    failed = {c.name for c in report.layers if not c.passed}
    assert "shared/kernel" in failed
    # Layers before it are right, so the first that fails is the culprit.
    assert not failed & {"stem/kernel", "block/inner/kernel", "separable/pointwise_kernel", "side/kernel"}


def test_the_position_of_the_largest_deviation():
    expected = np.zeros((2, 3, 4), np.float32)
    expected[0, 0, 0] = 8
    received = expected.copy()
    received[1, 2, 3], received[0, 1, 0] = 0.5, -0.25
    found = deviation("x", expected, received, 0.01)
    assert (found.position, found.deviation, found.expected, found.received) == ((1, 2, 3), 0.5, 0.0, 0.5)
    assert found.allowed == pytest.approx(0.08) and not found.passed


def test_special_values_and_integers():
    nan, inf = np.float32(np.nan), np.float32(np.inf)
    assert deviation("x", np.array([nan, inf, 1]), np.array([nan, inf, 1])).passed
    for received in ([1, inf, 1], [nan, -inf, 1], [nan, inf, nan]):
        assert not deviation("x", np.array([nan, inf, 1]), np.array(received)).passed
    assert deviation("x", np.zeros((0, 3)), np.zeros((0, 3))).passed
    ids = np.arange(200)
    assert deviation("x", ids, np.where(ids == 3, 4, ids)).passed  # one in two hundred: a tie decided by rounding
    assert not deviation("x", ids, ids + 1).passed
    with pytest.raises(errors.VerificationError, match=r"must have the shape \(3,\)"):
        deviation("x", np.zeros(3), np.zeros(4))


def test_another_model_deviates(case):
    model, path, x = case
    other = keras.models.clone_model(model)
    other.set_weights([w * 1.05 for w in model.get_weights()])
    report = verify(other, path, x)
    assert not report.passed and report.outputs[0].stock.deviation > report.outputs[0].stock.allowed


def test_errors(case, tmp_path):
    model, path, x = case
    with pytest.raises(ValueError, match=r"input 'vector' must have the shape \('any', 5\). Received: \(3, 4\)"):
        verify(model, path, [x[0], x[1][:, :4]])
    with pytest.raises(ValueError, match="2 arrays"):
        verify(model, path, x[0])
    with pytest.raises(ValueError, match="Missing: vector"):
        verify(model, path, {"image": x[0]})
    with pytest.raises(ValueError, match="`tolerance` must be > 0"):
        verify(model, path, x, tolerance=0.0)
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(b"nothing")
    with pytest.raises(errors.InvalidFileError, match=r"bad\.tflite"):
        verify(model, bad, x)
    with pytest.raises(errors.VerificationError, match="2 inputs"):
        single = keras.Sequential([keras.Input((5,)), layers.Dense(3)])
        export_frozen(single, [], bad)
        verify(model, bad, x)


def test_subclassed_and_integer_inputs(tmp_path):
    class Words(keras.Model):
        def __init__(self):
            super().__init__()
            self.table, self.head = layers.Embedding(30, 6, name="table"), layers.Dense(4, name="head")

        def call(self, ids):
            return self.head(keras.ops.mean(self.table(ids), axis=1))

    model = Words()
    x = np.random.default_rng(0).integers(0, 30, (3, 7)).astype(np.int32)
    model(x)
    path = tmp_path / "m.tflite"
    export_frozen(model, freeze(model, 3), path, strict=True, even_if_larger=True)
    report = verify(model, path, x, per_layer=True)
    assert report.passed and {c.name for c in report.layers} == {"table/embeddings", "head/kernel"}
