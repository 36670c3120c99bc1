"""Decode chains alone: written into a graph of nothing else, read back, and run by the stock runtime, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from dgms_files import freeze_array
from hypothesis import given, settings
from hypothesis import strategies as st

from dgms_keras.export import flatbuffer_io as fio
from dgms_keras.export.chain_reader import ChainReader
from dgms_keras.export.chain_writer import EncodedWeight, write_rows, write_weight
from dgms_keras.export.graph_editor import GraphEditor
from dgms_keras.format import packing
from dgms_keras.litert import RuntimeInterpreter


def empty_model():
    model = fio.schema.ModelT()
    model.version, model.operatorCodes, model.buffers = 3, [], [fio.schema.BufferT()]
    graph = fio.schema.SubGraphT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs, graph.name = [], [], [], [], "main"
    model.subgraphs = [graph]
    return model, GraphEditor(model, graph)


def encoded(shape, bits, seed, groups=None, scaled=False, axis=0) -> EncodedWeight:
    rng = np.random.default_rng(seed)
    weight = freeze_array("w", "k", rng.normal(size=shape).astype(np.float32), bits, rng, (axis,), groups)
    one = [shape[axis] if d == axis else 1 for d in range(len(shape))]
    offset = None
    if groups:
        offset = (2**bits * (np.arange(shape[axis]) // groups)).astype(np.int32).reshape(one)
    scale = rng.normal(size=one).astype(np.float32) if scaled else None
    return EncodedWeight("w/k", weight.indices, bits, weight.codebook.reshape(-1), offset, scale)


def run(data, *inputs):
    interpreter = RuntimeInterpreter(model_content=data, num_threads=1)
    for detail, x in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.resize_tensor_input(detail["index"], x.shape)
    interpreter.allocate_tensors()
    for detail, x in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@given(
    shape=st.lists(st.integers(1, 7), min_size=2, max_size=4).map(tuple),
    bits=st.sampled_from([2, 3, 4]),
    seed=st.integers(0, 10**6),
    groups=st.sampled_from([None, 1, 2, 3]),
    scaled=st.booleans(),
    last=st.booleans(),
)
@settings(deadline=None, max_examples=150)
def test_chain_decodes_bit_exactly_in_the_stock_runtime(shape, bits, seed, groups, scaled, last):
    weight = encoded(shape, bits, seed, groups, scaled, len(shape) - 1 if last else 0)
    model, editor = empty_model()
    editor.graph.outputs = [write_weight(editor, weight)]
    editor.graph.operators = editor.take()
    data = fio.write_model(model)
    np.testing.assert_array_equal(run(data), weight.decode())

    parsed = fio.read_model(data)
    graph = parsed.subgraphs[0]
    chain = ChainReader(parsed, graph).read(graph.outputs[0])
    assert chain is not None and chain.bits == bits and not chain.by_rows
    assert len(chain.operators) == len(graph.operators)
    np.testing.assert_array_equal(chain.codes, weight.codes)
    np.testing.assert_array_equal(chain.codebook, weight.codebook)
    np.testing.assert_array_equal(chain.decode(), weight.decode())


@given(
    rows=st.integers(1, 40),
    width=st.integers(1, 20),
    bits=st.sampled_from([2, 3, 4]),
    seed=st.integers(0, 10**6),
    groups=st.sampled_from([None, "columns", "rows"]),
    ids_shape=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
)
@settings(deadline=None, max_examples=100)
def test_rows_of_a_table_are_gathered_bit_exactly_for_any_shape_of_ids(rows, width, bits, seed, groups, ids_shape):
    weight = encoded((rows, width), bits, seed, 2 if groups else None, axis=0 if groups == "rows" else 1)
    model, editor = empty_model()
    ids = editor.tensor([1] * len(ids_shape), np.int32, "ids")
    output = editor.tensor([1] * len(ids_shape) + [width], np.float32, "output")
    editor.graph.tensors[ids].shapeSignature = [-1] * len(ids_shape)
    editor.graph.tensors[output].shapeSignature = [-1] * len(ids_shape) + [width]
    editor.graph.inputs, editor.graph.outputs = [ids], [output]
    write_rows(editor, weight, ids, output)
    editor.graph.operators = editor.take()
    data = fio.write_model(model)
    values = np.random.default_rng(seed).integers(0, rows, ids_shape).astype(np.int32)
    np.testing.assert_array_equal(run(data, values), weight.decode()[values])

    parsed = fio.read_model(data)
    graph = parsed.subgraphs[0]
    chain = ChainReader(parsed, graph).read_rows(graph.outputs[0])
    assert chain is not None and chain.bits == bits and chain.by_rows
    np.testing.assert_array_equal(chain.decode(), weight.decode())


@pytest.mark.parametrize("factor", [-1.5, 0.0, 1e-38, 3e-42, 1e30])
def test_scales_at_the_ends_of_the_range(factor):
    """Negative, zero, denormal and huge factors."""
    weight = encoded((5, 7), 4, 1, scaled=True)
    weight = EncodedWeight(
        "w/k", weight.codes, 4, weight.codebook, None, (weight.scale * np.float32(factor)).astype(np.float32)
    )
    model, editor = empty_model()
    editor.graph.outputs = [write_weight(editor, weight)]
    editor.graph.operators = editor.take()
    # The runtime treats denormals as 0 (so it would in a dense weight): a factor below 2**-126 times a codebook of at most 8.
    flushed = 0 if abs(factor) >= 1e-30 or factor == 0 else 8 * np.finfo(np.float32).tiny
    np.testing.assert_allclose(run(fio.write_model(model)), weight.decode(), rtol=0, atol=flushed)


def test_a_three_dimensional_table():
    weight = encoded((6, 5, 3), 4, 0)
    model, editor = empty_model()
    ids = editor.tensor([2], np.int32, "ids")
    output = editor.tensor([2, 5, 3], np.float32, "output")
    editor.graph.inputs, editor.graph.outputs = [ids], [output]
    write_rows(editor, weight, ids, output)
    editor.graph.operators = editor.take()
    values = np.int32([4, 0, 4])
    np.testing.assert_array_equal(run(fio.write_model(model), values), weight.decode()[values])


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_chain_is_the_one_of_the_specification(bits):
    """FORMAT.md, sections 3.1 and 3.2, operator by operator; a code stream that ends inside a block adds RESHAPE and SLICE."""
    lookups = {2: ["CAST", "GATHER", "GATHER"], 3: ["CAST", "CAST", "GATHER", "RESHAPE", "GATHER", "ADD", "GATHER"]}
    for shape, tail in (((4, 2, 2, 1), ["RESHAPE"]), ((3, 3, 3, 1), ["RESHAPE", "SLICE", "RESHAPE"])):
        model, editor = empty_model()
        editor.graph.outputs = [write_weight(editor, encoded(shape, bits, 0, scaled=True))]
        names = [fio.op_name(model, op) for op in editor.operators]
        assert names == [*lookups[3 if bits == 3 else 2], *tail, "MUL"]
        planes = [t for t in editor.graph.tensors if t.type == fio.schema.TensorType.UINT8]
        assert [t.shape[0] for t in planes] == list(packing.plane_sizes(bits, int(np.prod(shape))))


def test_tables_and_equal_constants_are_one_tensor():
    model, editor = empty_model()
    outputs = [write_weight(editor, encoded((4, 4), bits, 5)) for bits in (4, 4, 2, 3, 3)]
    tables = [t for t in editor.graph.tensors if (t.name or "").startswith("dgms/table")]
    assert len(tables) == 3  # pairs of 4 bits; pairs of 2 bits, which are the low table; the high table
    editor.graph.outputs, editor.graph.operators = outputs, editor.take()
    parsed = fio.read_model(fio.write_model(model))
    payloads = [bytes(b.data) for b in parsed.buffers if b.data is not None]
    assert len(payloads) == len(set(payloads))


def test_reader_leaves_other_graphs_alone():
    def broken(change):
        model, editor = empty_model()
        weight = encoded((3, 3), 4, 0, scaled=True)
        editor.graph.outputs = [write_weight(editor, weight)]
        editor.graph.operators = editor.take()
        change(model, editor.graph)
        return ChainReader(model, editor.graph).read(editor.graph.outputs[0])

    def op(model, graph, name):
        return next(o for o in graph.operators if fio.op_name(model, o) == name)

    def relu(model, graph):
        op(model, graph, "MUL").builtinOptions.fusedActivationFunction = 1

    def axis(model, graph):
        graph.operators[2].builtinOptions.axis = 1

    def no_cast(model, graph):
        op(model, graph, "CAST").opcodeIndex = op(model, graph, "RESHAPE").opcodeIndex

    def other_table(model, graph):
        table = next(t for t in graph.tensors if (t.name or "").startswith("dgms/table"))
        model.buffers[table.buffer].data = model.buffers[table.buffer].data.copy()
        model.buffers[table.buffer].data[4] ^= 1

    def shifted_slice(model, graph):
        begin = op(model, graph, "SLICE").inputs[1]
        model.buffers[graph.tensors[begin].buffer].data = np.frombuffer(np.int32(1).tobytes(), np.uint8)

    assert broken(lambda model, graph: None) is not None
    for change in (relu, axis, no_cast, other_table, shifted_slice):
        assert broken(change) is None, change.__name__
