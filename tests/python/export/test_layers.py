"""Every layer that can be quantised, from Keras to a file and back: weights bit for bit, outputs in the stock runtime."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from dgms_files import freeze, freeze_array, randomize, targets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import layers

from dgms_keras.export import flatbuffer_io as fio
from dgms_keras.export.exporter import export_frozen
from dgms_keras.export.inspect import chains, inspect_tflite
from dgms_keras.litert import RuntimeInterpreter

# Two float32 libraries, a handful of layers: sums of up to a few hundred products in another order. 64 eps of the largest
# output is four times what was seen; a wrong weight, scale or layout is off by a share of 0.01 or more.
TOLERANCE = 64 * np.finfo(np.float32).eps


def sequential(shape, *stack):
    return keras.Sequential([keras.Input(shape), *stack])


def nested():
    block = sequential((8, 8, 4), layers.Conv2D(6, 3, padding="same", use_bias=False), layers.BatchNormalization())
    inner = keras.Sequential([keras.Input((8, 8, 4)), block, layers.Conv2D(4, 1)])
    inputs = keras.Input((8, 8, 4))
    return keras.Model(inputs, layers.Flatten()(inner(inner(inputs))))  # the block is shared, too


def shared():
    inputs = keras.Input((6, 6, 4))
    conv = layers.Conv2D(4, 3, padding="same")
    return keras.Model(inputs, [conv(conv(inputs)), conv(inputs)])


def several():
    image, vector, ids = (
        keras.Input((8, 8, 3), name="z_image"),
        keras.Input((5,), name="a_vector"),
        keras.Input((4,), dtype="int32"),
    )
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, activation="relu")(image))
    x = layers.Concatenate()([x, layers.Dense(6)(vector), layers.Flatten()(layers.Embedding(11, 5)(ids))])
    return keras.Model([image, vector, ids], {"b": layers.Dense(3)(x), "a": layers.Dense(2, activation="softmax")(x)})


ZOO = {
    "conv": lambda: sequential((8, 8, 3), layers.Conv2D(5, 3, strides=2, padding="same", activation="relu")),
    "conv batch norm": lambda: sequential(
        (8, 8, 3), layers.Conv2D(5, 3, use_bias=False), layers.BatchNormalization(), layers.ReLU(6.0)
    ),
    "conv groups dilation": lambda: sequential((9, 9, 4), layers.Conv2D(6, 3, dilation_rate=2, groups=2)),
    "conv 1x1": lambda: sequential((4, 4, 7), layers.Conv2D(9, 1), layers.BatchNormalization()),
    "conv one channel": lambda: sequential((8, 8, 3), layers.Conv2D(1, 3), layers.BatchNormalization()),
    "depthwise": lambda: sequential((8, 8, 4), layers.DepthwiseConv2D(3, strides=2), layers.BatchNormalization()),
    "depthwise multiplier": lambda: sequential(
        (8, 8, 4), layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), layers.BatchNormalization()
    ),
    "depthwise dilation": lambda: sequential(
        (8, 8, 4), layers.DepthwiseConv2D(3, dilation_rate=2), layers.BatchNormalization()
    ),
    "separable": lambda: sequential(
        (8, 8, 4), layers.SeparableConv2D(6, 3, depth_multiplier=2), layers.BatchNormalization()
    ),
    "conv1d causal": lambda: sequential((8, 4), layers.Conv1D(6, 3, padding="causal"), layers.BatchNormalization()),
    "conv1d dilation": lambda: sequential((8, 4), layers.Conv1D(6, 3, dilation_rate=2)),
    "depthwise1d": lambda: sequential((8, 4), layers.DepthwiseConv1D(3)),
    "separable1d": lambda: sequential((8, 4), layers.SeparableConv1D(5, 3)),
    "conv3d": lambda: sequential((6, 6, 6, 2), layers.Conv3D(4, 3), layers.BatchNormalization()),
    "conv3d transpose": lambda: sequential((4, 4, 4, 2), layers.Conv3DTranspose(4, 3)),
    "conv transpose": lambda: sequential(
        (6, 6, 2), layers.Conv2DTranspose(4, 3, strides=2), layers.BatchNormalization()
    ),
    "conv1d transpose": lambda: sequential((6, 2), layers.Conv1DTranspose(4, 3, strides=2)),
    "dense batch norm": lambda: sequential((6,), layers.Dense(5), layers.BatchNormalization(), layers.Dense(3)),
    "batch norm before dense": lambda: sequential(
        (6, 6, 2),
        *(layers.Conv2D(5, 3, activation="relu"), layers.GlobalAveragePooling2D(), layers.BatchNormalization()),
        *(layers.Dense(7), layers.BatchNormalization(), layers.ReLU(), layers.Dense(3)),
    ),
    "dense of sequences": lambda: sequential((6, 7), layers.Dense(5, activation="relu")),
    "einsum": lambda: sequential((6, 7), layers.EinsumDense("abc,cde->abde", (6, 3, 5), bias_axes="e")),
    "einsum two axes": lambda: sequential((6, 7, 4), layers.EinsumDense("abcd,cde->abe", (6, 5))),
    "embedding": lambda: keras.Sequential([keras.Input((None,), dtype="int32"), layers.Embedding(50, 7)]),
    "embedding flat": lambda: keras.Sequential(
        [keras.Input((5,), dtype="int32"), layers.Embedding(9, 8), layers.Flatten()]
    ),
    "time distributed": lambda: sequential((5, 6, 6, 2), layers.TimeDistributed(layers.Conv2D(3, 3)), layers.Flatten()),
    "nested": nested,
    "shared": shared,
    "several": several,
}


def run_stock(path, inputs):
    interpreter = RuntimeInterpreter(model_path=str(path), num_threads=1)
    details = interpreter.get_input_details()
    for detail, x in zip(details, inputs, strict=True):
        interpreter.resize_tensor_input(detail["index"], x.shape)
    interpreter.allocate_tensors()
    for detail, x in zip(details, inputs, strict=True):
        interpreter.set_tensor(detail["index"], x)
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


def inputs_for(model, batch, seed=0):
    rng = np.random.default_rng(seed)
    arrays = []
    for tensor in model.inputs:
        shape = (batch, *(s or 6 for s in tensor.shape[1:]))
        integer = np.dtype(tensor.dtype).kind == "i"
        arrays.append(
            rng.integers(0, 9, shape).astype(np.int32) if integer else rng.normal(size=shape).astype(np.float32)
        )
    return arrays


def decoded_weights(path):
    model = fio.read_model(path.read_bytes())
    return {model.subgraphs[n].tensors[c.tensor].name: c for n, _, c in chains(model) if not c.by_rows}


# Every kind at 4 bits, and in turn at the others.
OTHERS = [(3, None), (2, 3), (3, 2), (2, None)]
CASES = [(kind, *case) for n, kind in enumerate(ZOO) for case in ((4, None), OTHERS[n % len(OTHERS)])]


@pytest.mark.parametrize(("kind", "bits", "group_size"), CASES)
def test_layer(kind, bits, group_size, tmp_path):
    model = randomize(ZOO[kind](), negative=True)
    frozen = freeze(model, bits, group_size=group_size)
    assert frozen or kind == "time distributed"
    path = tmp_path / "model.tflite"
    report = export_frozen(model, frozen, path, strict=True, even_if_larger=True)
    assert [row.name for row in report.compressed] == [w.name for w in frozen]
    # Only factors of both sides of a matrix, rounded twice by the converter, cannot be recovered to the last bit.
    assert all(row.exact or (row.unfolded and row.scaled) for row in report.layers)

    inputs = inputs_for(model, 3)
    expected = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    expected = [expected[k] for k in sorted(expected)] if isinstance(expected, dict) else expected
    for ours, theirs in zip(
        run_stock(path, inputs), expected if isinstance(expected, list) else [expected], strict=True
    ):
        theirs = np.asarray(theirs)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE * np.abs(theirs).max())

    rows = {row.name: row for row in inspect_tflite(path).layers}
    for weight in frozen:
        row = rows[weight.name]
        assert (row.bits, row.count) == (bits, weight.indices.size)
        assert row.zeros == np.count_nonzero(weight.dense() == 0)
        assert row.codebooks == weight.groups


def test_time_distributed_weights_are_compressed(tmp_path):
    model = ZOO["time distributed"]()
    conv = model.layers[0].layer
    weight = freeze_array("time_distributed/conv", "kernel", conv.kernel.numpy(), 4, np.random.default_rng(0))
    conv.kernel.assign(weight.dense())
    report = export_frozen(model, [weight], tmp_path / "m.tflite", strict=True, even_if_larger=True)
    assert report.layers[0].bits == 4


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_batch_norm_factors_are_those_of_the_layer(bits, tmp_path):
    """Independent oracle: s_c = gamma / sqrt(variance + epsilon) in float64, filter = s_c * codebook[code]."""
    model = randomize(ZOO["conv batch norm"](), negative=True)
    norm = next(layer for _, layer in targets(model) if isinstance(layer, layers.BatchNormalization))
    norm.gamma.assign([1.5, -0.7, 0.0, 1e-6, -2.0])
    (weight,) = freeze(model, bits)
    path = tmp_path / "model.tflite"
    export_frozen(model, [weight], path, strict=True, even_if_larger=True)
    chain = decoded_weights(path)[weight.name]
    expected = norm.gamma.numpy().astype(np.float64) / np.sqrt(
        norm.moving_variance.numpy().astype(np.float64) + norm.epsilon
    )
    # The factor is computed in float32 by the converter (rsqrt and product): a few units in the last place.
    np.testing.assert_allclose(chain.scale.reshape(-1), expected, rtol=1e-6)
    np.testing.assert_array_equal(chain.codes, weight.indices.transpose(3, 0, 1, 2))
    np.testing.assert_array_equal(chain.codebook, weight.codebook)


def test_without_batch_norm_the_weight_is_the_frozen_one_bit_for_bit(tmp_path):
    model = ZOO["conv"]()
    (weight,) = freeze(model, 3)
    export_frozen(model, [weight], tmp_path / "model.tflite", strict=True, even_if_larger=True)
    chain = decoded_weights(tmp_path / "model.tflite")[weight.name]
    assert chain.scale is None
    np.testing.assert_array_equal(chain.decode(), weight.dense().transpose(3, 0, 1, 2))


def test_each_consumer_of_a_shared_layer_has_a_chain_and_they_share_the_constants(tmp_path):
    model = shared()
    (weight,) = freeze(model, 4)
    path = tmp_path / "model.tflite"
    report = export_frozen(model, [weight], path, strict=True, even_if_larger=True)
    assert report.layers[0].chains == 2  # the two equal calls are one operator
    parsed = fio.read_model(path.read_bytes())
    found = [chain for _, _, chain in chains(parsed)]
    assert len({chain.tensor for chain in found}) == 2 and len({chain.constants for chain in found}) == 1
    graph = parsed.subgraphs[0]
    for chain in found:
        assert sum(chain.tensor in op.inputs for op in graph.operators) == 1
        last = chain.operators[-1]
        assert chain.operators == tuple(range(chain.operators[0], last + 1))  # one run of operators ...
        assert chain.tensor in graph.operators[last + 1].inputs  # ... directly before the consumer


def test_attention_and_tied_embeddings(tmp_path):
    inputs = keras.Input((6, 8))
    attention = layers.MultiHeadAttention(2, 4)
    model = keras.Model(inputs, attention(inputs, inputs))
    rng, frozen = np.random.default_rng(0), []
    for layer in attention._flatten_layers(include_self=False):
        if isinstance(layer, layers.EinsumDense):
            weight = freeze_array(f"attention/{layer.name}", "kernel", layer.kernel.numpy(), 4, rng)
            layer.kernel.assign(weight.dense())
            frozen.append(weight)
    assert len(frozen) == 4
    report = export_frozen(model, frozen, tmp_path / "m.tflite", strict=True, even_if_larger=True)
    assert all(row.exact for row in report.layers)

    class Tied(keras.Model):
        def __init__(self):
            super().__init__()
            self.table = layers.Embedding(40, 16, name="table")

        def call(self, ids):
            return keras.ops.matmul(self.table(ids), keras.ops.transpose(self.table.embeddings))

    tied = Tied()
    tied(np.zeros((1, 3), np.int32))
    (weight,) = freeze(tied, 4)
    report = export_frozen(tied, [weight], tmp_path / "t.tflite", strict=True, even_if_larger=True)
    assert report.layers[0].op == "GATHER, FULLY_CONNECTED"


@given(seed=st.integers(0, 10**6))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_graphs_decode_bit_exactly(seed, tmp_path):
    rng = np.random.default_rng(seed)
    x = inputs = keras.Input((int(rng.integers(9, 14)), int(rng.integers(9, 14)), int(rng.integers(1, 6))))
    for _ in range(int(rng.integers(1, 4))):
        channels = x.shape[-1]
        padding = str(rng.choice(["same", "valid"]))
        kind = rng.integers(4)
        if kind == 0:
            x = layers.Conv2D(
                int(rng.integers(1, 9)), int(rng.integers(1, 4)), int(rng.integers(1, 3)), padding, use_bias=False
            )(x)
        elif kind == 1:
            x = layers.DepthwiseConv2D(3, 1, padding, depth_multiplier=int(rng.integers(1, 3)))(x)
        elif kind == 2:
            groups = int(rng.choice([g for g in range(1, channels + 1) if channels % g == 0]))
            x = layers.Conv2D(groups * int(rng.integers(1, 3)), 3, 1, "same", groups=groups)(x)
        else:
            x = layers.Conv2D(int(rng.integers(1, 6)), 2, 1, "same", dilation_rate=2)(x)
        if rng.random() < 0.6:
            x = layers.BatchNormalization(scale=bool(rng.random() < 0.8))(x)
        x = layers.Activation(str(rng.choice(["relu", "relu6", "linear", "tanh"])))(x)
    model = randomize(keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x))), seed, negative=True)
    frozen = freeze(model, int(rng.integers(2, 5)), seed)
    path = tmp_path / "model.tflite"
    report = export_frozen(model, frozen, path, strict=True, even_if_larger=True)
    assert all(row.exact and row.bits for row in report.layers)
    # Codes and codebook of every weight come back as they went in, in the operator's order.
    for name, chain in decoded_weights(path).items():
        weight = next(w for w in frozen if w.name == name)
        assert chain.bits == weight.bits
        np.testing.assert_array_equal(
            np.bincount(chain.codes.reshape(-1), minlength=16), np.bincount(weight.indices.reshape(-1), minlength=16)
        )


def test_weights_inside_loops_are_compressed_there(tmp_path):
    """A recurrent layer becomes WHILE with subgraphs of its own; the cell's kernel is a constant of the body."""

    class Cell(layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.state_size, self.mix = 16, layers.Dense(16, name="mix", activation="tanh")

        def build(self, shape):
            self.mix.build((shape[0], shape[-1] + 16))

        def call(self, x, states):
            state = self.mix(keras.ops.concatenate([x, states[0]], -1))
            return state, [state]

    recurrent = layers.RNN(Cell(name="cell"), name="recurrent")
    model = keras.Sequential([keras.Input((12, 6), batch_size=2), recurrent, layers.Dense(8, name="head")])
    kernel = recurrent.cell.mix.kernel
    weight = freeze_array("recurrent/cell/mix", "kernel", kernel.numpy(), 4, np.random.default_rng(0))
    kernel.assign(weight.dense())
    path = tmp_path / "model.tflite"
    export_frozen(model, [weight], path, strict=True, even_if_larger=True)
    ((subgraph, op, chain),) = chains(fio.read_model(path.read_bytes()))
    assert subgraph > 0 and op == "FULLY_CONNECTED"
    np.testing.assert_array_equal(chain.decode(), weight.dense().T)


def test_the_same_weights_give_the_same_bytes(tmp_path):
    model = randomize(ZOO["separable"](), negative=True)
    frozen = freeze(model, 3)
    for name in ("a", "b"):
        export_frozen(model, frozen, tmp_path / name, even_if_larger=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
