"""int8 codebooks, scales and biases: NumPy only, against brute force."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgms_keras.export import flatbuffer_io as fio
from dgms_keras.export.chain_reader import ChainReader
from dgms_keras.export.chain_writer import EncodedWeight, write_weight
from dgms_keras.export.graph_editor import GraphEditor
from dgms_keras.export.int8.codebooks import find_scale, quantize_layer
from dgms_keras.export.int8.options import Int8Options
from dgms_keras.export.int8.statistics import Reader
from dgms_keras.export.match import Match
from dgms_keras.litert import OpResolverType, RuntimeInterpreter

PLAIN = Int8Options(scale="max", bias_correction=False)


def squared_error(codebook, counts, scale):
    return float((counts * (codebook - scale * np.clip(np.rint(codebook / scale), -127, 127)) ** 2).sum())


# The scale of a codebook


@given(st.integers(2, 4), st.integers(0, 10**6), st.floats(1e-20, 1e20), st.booleans())
@settings(deadline=None, max_examples=60)
def test_the_search_finds_the_best_scale(bits, seed, size, heavy_tail):
    rng = np.random.default_rng(seed)
    codebook = rng.normal(size=2**bits) ** (3 if heavy_tail else 1) * size
    counts = rng.integers(0, 1000, 2**bits)
    counts[0] += 1
    scale = find_scale(codebook, counts)
    naive = find_scale(codebook, counts, "max")
    largest = np.abs(codebook[counts > 0]).max()
    assert naive == pytest.approx(largest / 127)
    found = squared_error(codebook, counts, scale)
    assert found <= squared_error(codebook, counts, naive) * (1 + 1e-9)
    # Brute force over the same range, eight times finer. The fit between roundings makes up for the coarser grid; where a
    # narrow valley is missed, the error is still within a tenth of the best.
    fine = min(squared_error(codebook, counts, largest / q) for q in np.linspace(127 / 2, 127 * 1.5, 16384))
    assert found <= 1.1 * fine + 1e-12 * largest**2


def test_unused_codes_do_not_matter():
    codebook, counts = np.array([0.0, 1.0, 1000.0, -0.5]), np.array([5, 3, 0, 2])
    assert find_scale(codebook, counts, "max") == pytest.approx(1 / 127)
    assert find_scale(codebook, counts) < 0.05


@pytest.mark.parametrize("method", ["mse", "max"])
def test_codebooks_without_values_and_denormal_ones(method):
    assert find_scale(np.zeros(16), np.ones(16), method) == 1.0
    assert find_scale(np.array([0.0, 3.0]), np.array([7, 0]), method) == 1.0
    tiny = find_scale(np.array([0.0, 1e-37]), np.array([1, 1]), method)
    assert np.float32(tiny) >= np.finfo(np.float32).tiny


def test_rare_outliers_are_clipped_where_it_pays():
    codebook, counts = np.array([0.0, 1.0, 0.004]), np.array([10, 1, 10**6])
    scale = find_scale(codebook, counts)
    assert 127 * scale < 1.0 and squared_error(codebook, counts, scale) < 0.5 * squared_error(codebook, counts, 1 / 127)


# Weights and biases


def random_match(rng, shape, bits, axis, factors, groups=None):
    codes = rng.integers(0, 2**bits, shape).astype(np.uint8)
    number = -(-shape[axis] // groups) if groups else 1
    codebook = rng.normal(size=number * 2**bits).astype(np.float32)
    codebook[:: 2**bits] = 0
    one = [shape[axis] if d == axis else 1 for d in range(len(shape))]
    offset = (2**bits * (np.arange(shape[axis]) // groups)).astype(np.int32).reshape(one) if groups else None
    scale = None if factors is None else np.asarray(factors, np.float32).reshape(one)
    return Match(codes, codebook, offset, scale, 0.0, 0)


def float_weight(match):
    index = match.codes.astype(int) + (0 if match.offset is None else match.offset)
    return match.codebook.astype(float)[index] * (1 if match.scale is None else match.scale.astype(float))


def by_channel(values, axis):
    return np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)


@given(
    bits=st.sampled_from([2, 3, 4]),
    seed=st.integers(0, 10**6),
    channels=st.integers(1, 6),
    kinds=st.lists(st.sampled_from(["plain", "negative", "zero", "one", "small"]), min_size=6, max_size=6),
    groups=st.sampled_from([None, 1, 2]),
    last=st.booleans(),
)
@settings(deadline=None, max_examples=100)
def test_weights_are_the_float_ones_within_half_a_step(bits, seed, channels, kinds, groups, last):
    rng = np.random.default_rng(seed)
    of_kind = {"plain": 0.7, "negative": -1.3, "zero": 0.0, "one": 1.0, "small": 1e-3}
    factors = np.array([of_kind[k] for k in kinds[:channels]])
    axis = 3 if last else 0
    shape = (1, 3, 2, channels) if last else (channels, 2, 3, 2)
    match = random_match(rng, shape, bits, axis, factors, groups)
    bias = rng.normal(size=channels).astype(np.float32)
    layer = quantize_layer("w", bits, match, axis, bias, 0.02, 0.05, None, PLAIN)

    assert layer.weight.codebook.dtype == np.int8 and np.abs(layer.weight.codebook.astype(int)).max() <= 127
    assert np.all(layer.scale > 0) and layer.scale.dtype == np.float32
    error = by_channel(np.abs(layer.values() - float_weight(match)), axis)
    # Without clipping ("max") each is rounded to the nearest; two float32 factors are rounded on the way.
    assert np.all(error <= layer.scale[:, None] * (0.5 + 1e-4))
    assert not by_channel(layer.integers(), axis)[factors == 0].any()
    # Codebooks are only those that are read; one alone needs no offset.
    books = layer.weight.codebook.size // 2**bits
    assert (layer.weight.offset is None) == (books == 1)
    if groups is None:
        assert books == len({int(np.sign(f)) for f in factors})
    np.testing.assert_allclose(layer.bias * layer.bias_scale.astype(float), bias, atol=0.51 * layer.bias_scale.max())


def test_each_channel_group_has_a_scale_of_its_own():
    rng = np.random.default_rng(0)
    match = random_match(rng, (4, 1, 1, 50), 4, 0, None, groups=2)
    codebook = match.codebook.copy()
    codebook[16:] *= 1e-3
    match = Match(match.codes, codebook, match.offset, None, 0.0, 0)
    layer = quantize_layer("w", 4, match, 0, None, 0.1, 0.1, None, Int8Options())
    wanted = float_weight(match)
    for channel in range(4):  # the small group is as exact, relative to its size, as the large one
        error = np.abs(layer.values()[channel] - wanted[channel]).max()
        assert error <= 0.01 * np.abs(wanted[channel]).max()


def test_bias_correction_takes_the_mean_error_out():
    """The oracle: random inputs with a mean, and what each output channel loses on average."""
    rng = np.random.default_rng(1)
    match = random_match(rng, (5, 200), 4, 0, [1.0, -0.5, 2.0, 0.0, 0.1])
    x = np.abs(rng.normal(size=(400, 200)))
    bias = rng.normal(size=5).astype(np.float32)
    expected = x @ float_weight(match).T + bias
    for options, limit in ((PLAIN, None), (Int8Options(scale="max"), 1e-3), (Int8Options(), 1e-3)):
        layer = quantize_layer("w", 4, match, 0, bias, 1e-4, 1.0, x.mean(axis=0)[None], options)
        got = x @ layer.values().T + layer.bias * layer.bias_scale.astype(float)
        mean_error = np.abs((got - expected).mean(axis=0))
        if limit is None:
            assert mean_error.max() > 0.05  # there is something to correct
        else:
            assert np.all(mean_error <= limit)


def test_an_operator_without_bias_gets_one_only_if_there_is_something_to_correct():
    rng = np.random.default_rng(2)
    match = random_match(rng, (5, 20), 4, 0, None)
    assert quantize_layer("w", 4, match, 0, None, 0.1, 0.1, None, Int8Options()).bias is None
    assert quantize_layer("w", 4, match, 0, None, 0.1, 0.1, np.ones((1, 20)), PLAIN).bias is None
    assert quantize_layer("w", 4, match, 0, None, 0.1, 0.1, np.ones((1, 20)), Int8Options()).bias.any()


@pytest.mark.parametrize("factor", [0.0, 1e-30, 1e-42, -1e-35, 1e-12])
def test_channels_that_cannot_move_the_output_keep_their_bias(factor):
    """Their scale would put the bias far outside int32."""
    rng = np.random.default_rng(3)
    match = random_match(rng, (3, 8), 4, 0, [1.0, factor, -1.0])
    bias = np.array([0.5, -3.0, 0.25], np.float32)
    layer = quantize_layer("w", 4, match, 0, bias, 0.05, 0.1, None, Int8Options())
    np.testing.assert_allclose(layer.bias * layer.bias_scale.astype(float), bias, rtol=1e-3)
    assert not layer.integers()[1].any() and np.all(layer.bias_scale > 0)


def test_options_are_checked():
    with pytest.raises(ValueError, match=r"`scale` must be 'mse' or 'max'\. Received: scale='best'"):
        Int8Options(scale="best")
    with pytest.raises(ValueError, match="`bias_correction` must be True or False"):
        Int8Options(bias_correction="yes")


# The mean input of each weight


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    same=st.booleans(),
    kind=st.sampled_from(["CONV_2D", "grouped", "DEPTHWISE_CONV_2D"]),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=60)
def test_mean_inputs_give_the_mean_output(size, kernel, stride, dilation, same, kind, seed):
    """Keras convolves random inputs with random weights; the mean over samples and positions is linear in the mean inputs."""
    if not same and any(s < (k - 1) * dilation + 1 for s, k in zip(size, kernel, strict=True)):
        return
    if stride > 1 and dilation > 1:
        return  # Keras has no such convolution
    rng = np.random.default_rng(seed)
    x = rng.normal(1, 1, (3, *size, 4)).astype(np.float32)
    padding, options = "same" if same else "valid", {"strides": stride, "dilation_rate": dilation}
    if kind == "DEPTHWISE_CONV_2D":
        w = rng.normal(size=(*kernel, 4, 2)).astype(np.float32)
        out = keras.ops.depthwise_conv(x, w, padding=padding, **options)
        weight, axis = w.reshape(1, *kernel, 8), 3
    else:
        w = rng.normal(size=(*kernel, 2 if kind == "grouped" else 4, 6)).astype(np.float32)
        out = keras.ops.conv(x, w, padding=padding, **options)
        weight, axis, kind = w.transpose(3, 0, 1, 2), 0, "CONV_2D"
    reader = Reader(kind, weight.shape, same, (stride, stride), (dilation, dilation))
    means = reader.input_means(x)
    got = (weight * means).sum(axis=tuple(d for d in range(4) if d != axis))
    np.testing.assert_allclose(got, np.asarray(out).mean(axis=(0, 1, 2)), rtol=0, atol=1e-4)


# Chains


@pytest.mark.parametrize("kernels", [OpResolverType.AUTO, OpResolverType.BUILTIN_REF])
@given(
    shape=st.lists(st.integers(1, 7), min_size=2, max_size=4).map(tuple),
    bits=st.sampled_from([2, 3, 4]),
    books=st.integers(1, 3),
    last=st.booleans(),
    seed=st.integers(0, 10**6),
)
@settings(deadline=None, max_examples=60)
def test_int8_chains_decode_bit_exactly(kernels, shape, bits, books, last, seed):
    """Codebooks in any order along the channels: FORMAT.md, section 3.7."""
    rng = np.random.default_rng(seed)
    axis = len(shape) - 1 if last else 0
    codes = rng.integers(0, 2**bits, shape).astype(np.uint8)
    codebook = rng.integers(-127, 128, books * 2**bits).astype(np.int8)
    one = [shape[axis] if d == axis else 1 for d in range(len(shape))]
    offset = None if books == 1 else (2**bits * rng.integers(0, books, one)).astype(np.int32)
    expected = codebook[codes.astype(int) + (0 if offset is None else offset)]
    scale = rng.uniform(0.1, 1, shape[axis]).astype(np.float32)

    model = fio.schema.ModelT()
    model.version, model.operatorCodes, model.buffers = 3, [], [fio.schema.BufferT()]
    graph = fio.schema.SubGraphT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs, graph.name = [], [], [], [], "main"
    model.subgraphs = [graph]
    editor = GraphEditor(model, graph)
    graph.outputs = [write_weight(editor, EncodedWeight("w/k", codes, bits, codebook, offset))]
    editor.quantize(graph.outputs[0], scale, axis)
    graph.operators = editor.take()
    data = fio.write_model(model)

    interpreter = RuntimeInterpreter(model_content=data, num_threads=1, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    interpreter.invoke()
    got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    assert got.dtype == np.int8
    np.testing.assert_array_equal(got, expected)

    parsed = fio.read_model(data)
    chain = ChainReader(parsed, parsed.subgraphs[0]).read(parsed.subgraphs[0].outputs[0])
    assert chain is not None and chain.bits == bits and chain.codebook.dtype == np.int8 and chain.scale is None
    np.testing.assert_array_equal(chain.decode(), expected)
    np.testing.assert_array_equal(chain.values(), (expected * scale.reshape(one)).astype(np.float32))


def test_int8_chains_without_a_fitting_quantisation_are_no_chains():
    def read(change):
        model = fio.schema.ModelT()
        model.version, model.operatorCodes, model.buffers = 3, [], [fio.schema.BufferT()]
        graph = fio.schema.SubGraphT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
        model.subgraphs = [graph]
        editor = GraphEditor(model, graph)
        weight = EncodedWeight("w/k", np.zeros((3, 4), np.uint8), 4, np.arange(16, dtype=np.int8))
        tensor = write_weight(editor, weight)
        editor.quantize(tensor, np.ones(3, np.float32), 0)
        graph.operators = editor.take()
        change(graph.tensors[tensor])
        return ChainReader(model, graph).read(tensor)

    def none(tensor):
        tensor.quantization = None

    def zero_point(tensor):
        tensor.quantization.zeroPoint = np.array([0, 1, 0])

    def wrong_count(tensor):
        tensor.quantization.quantizedDimension = 1

    assert read(lambda tensor: None) is not None
    for change in (none, zero_point, wrong_count):
        assert read(change) is None, change.__name__
