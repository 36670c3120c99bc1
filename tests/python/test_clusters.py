"""`from_clusters`: models of both Kerases whose weights take few values, imported as they are."""

import io
import warnings

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dgms_keras
from dgms_keras import ClusteredModel, from_clusters, register_layer, targets
from dgms_keras.export.inspect import inspect_tflite
from dgms_keras.litert import RuntimeInterpreter

KERASES = [keras]
if keras.backend.backend() == "tensorflow":
    tf_keras = pytest.importorskip("tf_keras")
    KERASES.append(tf_keras)

# Two float32 libraries and a few layers: sums in another order. See tests/python/export/test_layers.py.
TOLERANCE = 64 * np.finfo("float32").eps

both = pytest.mark.parametrize("k", KERASES, ids=lambda k: k.__name__)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(targets, "_REGISTERED", {})


def of_values(rng, shape, count, zero=False):
    """float32 with exactly `count` distinct values; zero is one of them, or none is."""
    values = np.sort(rng.normal(size=count).astype("float32")) + np.float32(0.001)
    if zero:
        values[count // 2] = 0
    codes = rng.permutation(np.concatenate([np.arange(count), rng.integers(0, count, int(np.prod(shape)) - count)]))
    return values[codes].reshape(shape)


def set_kernel(layer, kernel):
    layer.set_weights([kernel, *layer.get_weights()[1:]])


def cluster(model, rng, count=16, skip=()):
    """Replaces every kernel of a model (those inside nested ones too) by one with few values."""
    for layer in model._flatten_layers():
        name = next((n for n in ("depthwise_kernel", "kernel", "embeddings") if hasattr(layer, n)), None)
        if name and layer.name not in skip:
            set_kernel(layer, of_values(rng, layer.get_weights()[0].shape, count))
    return model


def dense_stack(k, **units):
    return k.Sequential([k.Input((24,), name="x"), *(k.layers.Dense(n, name=name) for name, n in units.items())])


def conv_net(k):
    L, i = k.layers, k.Input((12, 12, 3), name="image")
    x = L.Conv2D(33, 3, use_bias=False, name="c1")(i)
    x = L.ReLU(name="r1")(L.BatchNormalization(name="bn")(x))
    x = L.Conv2D(37, 3, activation="relu", name="c2")(L.DepthwiseConv2D(3, name="dw")(x))
    x = L.Dense(45, activation="relu", name="d1")(L.GlobalAveragePooling2D(name="p")(x))
    return k.Model(i, L.Dense(10, name="d2")(x), name="net")


def run(path, x):
    """Outputs of the stock runtime."""
    interpreter = RuntimeInterpreter(str(path))
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@both
@pytest.mark.parametrize(
    ("values", "bits"), [(1, 2), (4, 2), (5, 3), (8, 3), (9, 4), (16, 4), (17, None)], ids=lambda x: str(x)
)
@pytest.mark.parametrize("zero", [False, True], ids=["", "with zero"])
def test_bits_follow_the_number_of_values(rng, k, values, bits, zero):
    """Zero counts like any other value: 16 values fit with it and without it."""
    model = dense_stack(k, a=30, b=30)
    set_kernel(model.get_layer("a"), of_values(rng, (24, 30), values, zero))
    set_kernel(model.get_layer("b"), of_values(rng, (30, 30), 2))
    clustered = from_clusters(model)
    frozen = {w.layer: w for w in clustered.weights}
    assert frozen["b"].bits == 2
    if bits is None:
        assert [(kept.name, kept.values) for kept in clustered.kept] == [("a/kernel", 17)]
        assert "17 distinct values, and a codebook holds at most 16" in clustered.kept[0].reason
        return
    assert clustered.kept == ()
    assert (frozen["a"].bits, frozen["a"].group_size) == (bits, None)
    np.testing.assert_array_equal(frozen["a"].dense(), model.get_layer("a").get_weights()[0])
    assert (frozen["a"].codebook[0] == 0) == zero


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), channel_wise=st.booleans())
def test_indices_and_codebook_are_exact(data, channel_wise):
    """Any finite values (denormal, huge, both zeros), in any places."""
    finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
    pool = np.asarray(data.draw(st.lists(finite, min_size=1, max_size=40)), "float32")
    size = data.draw(st.integers(1, 16))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    books = [rng.choice(pool, size) for _ in range(30)]
    kernel = np.stack([rng.choice(book if channel_wise else books[0], 400) for book in books], axis=1)
    frozen = from_clusters(_one_dense(kernel)).weights[0]
    np.testing.assert_array_equal(frozen.dense(), kernel)
    most = max(np.unique(column).size for column in kernel.T) if frozen.group_size else np.unique(kernel).size
    assert 2 ** (frozen.bits - 1) < most <= 2**frozen.bits or (frozen.bits == 2 and most <= 4)
    if np.unique(kernel).size <= 16:
        assert frozen.group_size is None


def _one_dense(kernel):
    model = keras.Sequential([keras.Input(kernel.shape[:1]), keras.layers.Dense(kernel.shape[1], use_bias=False)])
    model.layers[-1].set_weights([kernel])
    return model


@both
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_file_holds_exactly_these_weights(tmp_path, k, data):
    """The stock runtime's output on the unit matrix is the kernel: products with 1 and sums with 0 do not round."""
    values = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
    book = np.asarray(data.draw(st.lists(values, min_size=1, max_size=16, unique=True)), "float32")
    kernel = book[np.random.default_rng(len(book)).integers(0, len(book), (64, 97))]
    model = k.Sequential([k.Input((64,), name="x"), k.layers.Dense(97, use_bias=False, name="d")])
    model.get_layer("d").set_weights([kernel])
    report = dgms_keras.export_tflite(from_clusters(model), tmp_path / "m.tflite", strict=True)
    assert report.compressed and report.file_bytes < 0.75 * kernel.nbytes
    np.testing.assert_array_equal(run(tmp_path / "m.tflite", np.eye(64, dtype="float32")), kernel)


@both
def test_every_layer_first_and_last_included(rng, tmp_path, k):
    model = cluster(conv_net(k), rng, 16, skip=["d2"])
    weights = [w.copy() for w in model.get_weights()]
    clustered = from_clusters(model)
    assert [w.name for w in clustered.weights] == ["c1/kernel", "dw/kernel", "c2/kernel", "d1/kernel"]
    assert [(kept.name, kept.values) for kept in clustered.kept] == [("d2/kernel", 450)]
    assert clustered.model is model
    for ours, theirs in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    report = dgms_keras.export_tflite(clustered, tmp_path / "m.tflite", strict=True)
    assert {"c1/kernel", "c2/kernel", "d1/kernel"} <= {row.name for row in report.compressed}
    assert all(w.codebook[0] != 0 for w in clustered.weights), "so that readers that rely on it fail below"
    x = rng.normal(size=(3, 12, 12, 3)).astype("float32")
    expected = np.array(model(x))
    np.testing.assert_allclose(run(tmp_path / "m.tflite", x), expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())
    result = dgms_keras.verify(clustered, tmp_path / "m.tflite", x, per_layer=True)
    assert result.passed and result.delegate_ran and not result.unmapped
    set_kernel(model.get_layer("c2"), 1.01 * model.get_layer("c2").get_weights()[0])
    assert not dgms_keras.verify(clustered, tmp_path / "m.tflite", x).passed


@pytest.mark.skipif(len(KERASES) < 2, reason="needs tf_keras")
def test_both_kerases_write_the_same_file(rng, tmp_path):
    models = [conv_net(k) for k in KERASES]
    cluster(models[0], rng)
    for ours, theirs in zip(models[0].layers, models[1].layers, strict=True):
        theirs.set_weights(ours.get_weights())
    for number, model in enumerate(models):
        dgms_keras.export_tflite(from_clusters(model), tmp_path / f"{number}")
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes()


def channel_wise(rng, shape, axes, count):
    """Values of its own for each output channel."""
    moved = [shape[a] for a in axes] + [n for a, n in enumerate(shape) if a not in axes]
    channels = int(np.prod([shape[a] for a in axes]))
    rows = np.stack([of_values(rng, (int(np.prod(shape)) // channels,), count) for _ in range(channels)])
    order = [*axes, *(a for a in range(len(shape)) if a not in axes)]
    return rows.reshape(moved).transpose(np.argsort(order))


@both
def test_a_codebook_for_each_channel(rng, tmp_path, k):
    L, i = k.layers, k.Input((9, 9, 64), name="image")
    x = L.BatchNormalization(name="bn")(L.Conv2D(40, 3, name="c")(i))
    x = L.Conv2DTranspose(24, 3, name="t")(x)
    model = k.Model(i, L.DepthwiseConv2D(7, depth_multiplier=2, name="w")(x), name="net")
    kernels = {
        "c": channel_wise(rng, (3, 3, 64, 40), [3], 16),
        "t": channel_wise(rng, (3, 3, 24, 40), [2], 7),
        "w": channel_wise(rng, (7, 7, 24, 2), [2, 3], 4),
    }
    for name, kernel in kernels.items():
        set_kernel(model.get_layer(name), kernel)
    clustered = from_clusters(model)
    found = {w.layer: w for w in clustered.weights}
    assert {n: (w.bits, w.group_size, w.groups) for n, w in found.items()} == {
        "c": (4, 1, 40),
        "t": (3, 1, 24),
        "w": (2, 1, 48),
    }
    for name, kernel in kernels.items():
        np.testing.assert_array_equal(found[name].dense(), kernel)
    assert "one codebook per output channel" in str(clustered)
    report = dgms_keras.export_tflite(clustered, tmp_path / "m.tflite", strict=True)
    assert next(row for row in report.layers if row.layer == "c").reason is None
    x = rng.normal(size=(2, 9, 9, 64)).astype("float32")
    assert dgms_keras.verify(clustered, tmp_path / "m.tflite", x).passed


def test_few_weights_per_channel_are_no_clusters(rng):
    """Any kernel with up to 16 inputs has at most 16 values per output channel: that is not clustering, and not small."""
    model = dense_stack(keras, narrow=12, wide=300, end=20)
    set_kernel(model.get_layer("end"), of_values(rng, (300, 20), 4))
    clustered = from_clusters(model)
    assert [w.layer for w in clustered.weights] == ["end"]
    wide = next(kept for kept in clustered.kept if kept.name == "wide/kernel")
    # 12 values per channel: 4 bits each, and for each channel 16 values and an offset.
    assert (
        f"each output channel it would take {12 * 300 // 2 + 300 * (16 + 1) * 4} of {12 * 300 * 4} bytes" in wide.reason
    )


def test_a_kernel_smaller_than_its_codebook_stays(rng):
    model = dense_stack(keras, a=16, tiny=1)
    set_kernel(model.get_layer("a"), of_values(rng, (24, 16), 4))
    set_kernel(model.get_layer("tiny"), of_values(rng, (16, 1), 16))
    (kept,) = from_clusters(model).kept
    assert (kept.name, kept.values) == ("tiny/kernel", 16)
    assert kept.reason == f"it is smaller in float: 64 bytes, {16 // 2 + 16 * 4} as codebook and indices"
    set_kernel(model.get_layer("tiny"), of_values(rng, (16, 1), 2))
    assert from_clusters(model).kept == ()


@both
def test_nested_and_shared(rng, tmp_path, k):
    L, j = k.layers, k.Input((8, 8, 3))
    block = k.Model(j, L.Conv2D(3, 3, padding="same", name="conv")(j), name="block")
    inner_in = k.Input((8, 8, 3))
    inner = k.Model(inner_in, L.Conv2D(40, 3, name="conv")(block(block(inner_in))), name="inner")
    outer_in = k.Input((8, 8, 3))
    x = inner(outer_in)
    shared = L.Conv2D(40, 3, padding="same", name="shared")
    model = k.Model(outer_in, shared(shared(x)), name="outer")
    cluster(model, rng)
    clustered = from_clusters(model)
    assert [w.name for w in clustered.weights] == ["inner/block/conv/kernel", "inner/conv/kernel", "shared/kernel"]
    report = dgms_keras.export_tflite(clustered, tmp_path / "m.tflite")
    assert {row.layer: row.chains for row in report.compressed}["shared"] == 2
    x = rng.normal(size=(2, 8, 8, 3)).astype("float32")
    assert dgms_keras.verify(clustered, tmp_path / "m.tflite", x).passed


@both
def test_subclassed_models(rng, tmp_path, k):
    class Block(k.layers.Layer):
        def __init__(self):
            super().__init__(name="block")
            self.layers_inside = [k.layers.Dense(40, name="one"), k.layers.Dense(40, name="two")]

        def call(self, x):
            for layer in self.layers_inside:
                x = layer(x)
            return x

    class Mine(k.Model):
        def __init__(self):
            super().__init__(name="mine")
            self.block, self.head = Block(), k.layers.Dense(10, name="head")

        def call(self, x):
            return self.head(self.block(x))

    model = Mine()
    with pytest.raises(ValueError, match=r"`model` must be built.*'mine', not built"):
        from_clusters(model)
    x = rng.normal(size=(4, 24)).astype("float32")
    model(x)
    cluster(model, rng)
    clustered = from_clusters(model)
    assert sorted(w.name for w in clustered.weights) == ["block/one/kernel", "block/two/kernel", "head/kernel"]


def test_a_mixed_precision_model(rng, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = dense_stack(keras, a=60, b=60)
    finally:
        keras.config.set_dtype_policy("float32")
    cluster(model, rng)
    report = dgms_keras.export_tflite(from_clusters(model), tmp_path / "m.tflite", strict=True)
    assert [row.name for row in report.compressed] == ["a/kernel", "b/kernel"]


@both
def test_layers_of_ones_own(rng, k):
    class Table(k.layers.Layer):
        def build(self, shape):
            self.table = self.add_weight(name="table", shape=(shape[-1], 50), initializer="glorot_uniform")
            super().build(shape)

        def call(self, x):
            return x @ self.table

    inputs = k.Input((24,))
    model = k.Model(inputs, k.layers.Dense(30, name="d")(Table(name="t")(inputs)), name="net")
    model.get_layer("t").set_weights([of_values(rng, (24, 50), 5)])
    set_kernel(model.get_layer("d"), of_values(rng, (50, 30), 4))
    (kept,) = from_clusters(model).kept
    assert (kept.name, kept.values, kept.shape) == ("t/table", 5, (24, 50))
    assert kept.reason == "its class Table is not supported: dgms_keras.register_layer(Table, ...)"
    register_layer(Table, {"table": -1})
    assert {w.name: w.bits for w in from_clusters(model).weights} == {"t/table": 3, "d/kernel": 2}


@both
def test_reports(rng, k):
    model = cluster(dense_stack(k, a=30, b=30, c=30), rng, 4, skip=["c"])
    clustered = from_clusters(model)
    text = str(clustered)
    for part in ("a/kernel", "c/kernel", "24x30", "2,880", f"Clustered weights: {model.name}"):
        assert part in text, part
    printed = io.StringIO()
    assert dgms_keras.summary(clustered, file=printed) == list(clustered.rows)
    assert printed.getvalue() == text
    row = clustered.rows[0]
    assert (row.name, row.bits, row.values, row.codebooks, row.size) == ("a/kernel", 2, 4, 1, 720)
    assert (row.bytes_before, row.bytes_after) == (2880, 720 // 4 + 4 * 4)
    assert [w.name for w in dgms_keras.frozen_weights(clustered)] == ["a/kernel", "b/kernel"]
    assert dgms_keras.strip(clustered) is model
    stored = clustered.to_json_dict()
    assert [w["name"] for w in stored["weights"]] == ["a/kernel", "b/kernel"]
    assert stored["kept"][0]["values"] == np.unique(model.get_layer("c").get_weights()[0]).size


def with_nan(model):
    kernel = model.get_layer("a").get_weights()[0]
    kernel[0, 0] = np.nan
    set_kernel(model.get_layer("a"), kernel)
    return model


def test_what_is_kept_and_what_is_refused(rng):
    plain = dense_stack(keras, a=30, b=30)
    with pytest.raises(
        ValueError, match=r"imports models that are clustered.*quantize_apply.*a/kernel: it holds 720 distinct values"
    ):
        from_clusters(plain)
    with pytest.raises(ValueError, match=r"with no weight of a supported layer"):
        from_clusters(keras.Sequential([keras.Input((3,)), keras.layers.ReLU()]))
    with pytest.raises(ValueError, match=r"must be built.*'empty', not built"):
        from_clusters(keras.Sequential([keras.layers.Dense(3)], name="empty"))
    for wrong in (7, "model.keras", keras.layers.Dense(3)):
        with pytest.raises(TypeError, match=r"must be a model of Keras 3 \(keras.Model\) or tf_keras"):
            from_clusters(wrong)
    set_kernel(plain.get_layer("b"), of_values(rng, (30, 30), 4))
    with pytest.raises(ValueError, match=r"strict=True.*at most 16 distinct values. Received: a/kernel: 720"):
        from_clusters(plain, strict=True)
    assert from_clusters(with_nan(plain)).kept[0].reason == "it holds NaN or infinity"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised = dgms_keras.quantize_apply(dense_stack(keras, a=30), skip_first_last=False)
    with pytest.raises(ValueError, match=r"layer 'a' of class DGMSWrapper; it is quantised by DGMS already"):
        from_clusters(quantised)
    with pytest.raises(TypeError, match=r"Received: dgms_keras.clusters.ClusteredModel"):
        dgms_keras.quantize_apply(from_clusters(plain))


def test_layers_with_lora_stay(rng):
    model = cluster(dense_stack(keras, a=30, b=30), rng, 4)
    model.get_layer("a").enable_lora(2)
    (kept,) = from_clusters(model).kept
    assert kept.name == "a/kernel" and "LoRA" in kept.reason


@pytest.mark.skipif(len(KERASES) < 2, reason="needs tf_keras")
@pytest.mark.parametrize("per_channel", [False, True], ids=["per tensor", "per channel"])
def test_tfmots_clustering(rng, tmp_path, per_channel):
    """cluster_weights, fit, strip_clustering, as its guide has it; the file it comes to by TensorFlow's own converter is dense."""
    tfmot = pytest.importorskip("dgms_keras.tfmot") and pytest.importorskip("tensorflow_model_optimization")
    import tensorflow as tf

    L = tf_keras.layers
    stack = [
        L.Conv2D(32, 3, activation="relu", name="c1"),
        L.Conv2D(32, 3, activation="relu", name="c2"),
        L.Flatten(name="f"),
        L.Dense(64, activation="relu", name="d1"),
        L.Dense(10, name="d2"),
    ]
    model = tf_keras.Sequential([tf_keras.Input((10, 10, 16), name="image"), *stack], name="net")
    options = {"cluster_per_channel": True} if per_channel else {}
    clusters = tfmot.clustering.keras
    wrapped = clusters.cluster_weights(
        model,
        8,
        clusters.CentroidInitialization.KMEANS_PLUS_PLUS if not per_channel else clusters.CentroidInitialization.LINEAR,
        **options,
    )
    wrapped.compile("adam", "mse")
    x, y = rng.normal(size=(32, 10, 10, 16)).astype("float32"), rng.normal(size=(32, 10)).astype("float32")
    wrapped.fit(x, y, verbose=0)
    with pytest.raises(
        ValueError, match=r"layer .*c1' of class ClusterWeights; take the clustering out with .*strip_clustering"
    ):
        from_clusters(wrapped)
    stripped = clusters.strip_clustering(wrapped)
    clustered = from_clusters(stripped, strict=True)
    assert {w.layer for w in clustered.weights} == {"c1", "c2", "d1", "d2"} and clustered.kept == ()
    assert {w.bits for w in clustered.weights} == {3}
    assert {w.layer: w.group_size for w in clustered.weights}["c2"] == (1 if per_channel else None)
    for weight in clustered.weights:
        np.testing.assert_array_equal(weight.dense(), stripped.get_layer(weight.layer).kernel.numpy())
    report = dgms_keras.export_tflite(clustered, tmp_path / "m.tflite", strict=True)
    dense = tf.lite.TFLiteConverter.from_keras_model(stripped).convert()
    assert report.file_bytes < len(dense) / 5
    expected = stripped.predict(x[:3], verbose=0)
    np.testing.assert_allclose(
        run(tmp_path / "m.tflite", x[:3]), expected, rtol=0, atol=TOLERANCE * np.abs(expected).max()
    )
    assert dgms_keras.verify(clustered, tmp_path / "m.tflite", x[:3], per_layer=True).passed
    assert {row.name.split("/")[0] for row in inspect_tflite(tmp_path / "m.tflite").layers} == {"c1", "c2", "d1", "d2"}
    assert isinstance(clustered, ClusteredModel)
