"""Reading and writing the schema: alignment, sharing, names, and damaged files."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgms_keras.export import flatbuffer_io as fio
from dgms_keras.export.chain_reader import ChainReader
from dgms_keras.export.chain_writer import EncodedWeight, write_weight
from dgms_keras.export.errors import InvalidFileError
from dgms_keras.export.graph_editor import GraphEditor


def sample_file() -> bytes:
    """Three chains, one of them int8, a signature, metadata: every kind of table that this project writes."""
    model = fio.schema.ModelT()
    model.version, model.operatorCodes, model.buffers = 3, [], [fio.schema.BufferT()]
    graph = fio.schema.SubGraphT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs, graph.name = [], [], [], [], "main"
    model.subgraphs = [graph]
    editor = GraphEditor(model, graph)
    rng = np.random.default_rng(0)
    for bits in (3, 4):
        codes = rng.integers(0, 2**bits, (5, 7)).astype(np.uint8)
        codebook = rng.normal(size=2**bits).astype(np.float32)
        graph.outputs.append(write_weight(editor, EncodedWeight(f"größe{bits}/kernel", codes, bits, codebook)))
    codebook = rng.integers(-127, 128, 32).astype(np.int8)
    offset = np.int32([[0], [16], [0], [16], [16]])
    graph.outputs.append(write_weight(editor, EncodedWeight("int8/kernel", codes, 4, codebook, offset)))
    editor.quantize(graph.outputs[-1], rng.uniform(0.1, 1, 5).astype(np.float32), 0)
    graph.operators = editor.take()
    signature = fio.schema.SignatureDefT()
    signature.signatureKey, signature.inputs, signature.outputs = "serving_default", [], []
    for tensor in graph.outputs:
        entry = fio.schema.TensorMapT()
        entry.name, entry.tensorIndex = f"out{tensor}", tensor
        signature.outputs.append(entry)
    model.signatureDefs = [signature]
    entry = fio.schema.MetadataT()
    buffer = fio.schema.BufferT()
    buffer.data = np.frombuffer(b"DGMS 1.0\n{}", np.uint8)
    model.buffers.append(buffer)
    entry.name, entry.buffer = "dgms_keras", len(model.buffers) - 1
    model.metadata = [entry]
    return fio.write_model(model)


SAMPLE = sample_file()


def test_every_buffer_is_aligned_and_no_constant_is_stored_twice():
    raw = fio.schema.Model.GetRootAs(SAMPLE, 0)
    seen = []
    for i in range(raw.BuffersLength()):
        buffer = raw.Buffers(i)
        if buffer.DataIsNone():
            continue
        start = buffer._tab.Vector(buffer._tab.Offset(4))
        assert start % 16 == 0, i
        seen.append(buffer.DataAsNumpy().tobytes())
    assert len(seen) >= 8 and len(seen) == len(set(seen))


def test_reading_and_writing_again_changes_nothing():
    again = fio.write_model(fio.read_model(SAMPLE))
    assert again == SAMPLE
    model = fio.read_model(SAMPLE)
    assert model.subgraphs[0].tensors[model.subgraphs[0].outputs[0]].name == "größe3/kernel"
    assert model.signatureDefs[0].outputs[1].name.startswith("out")


def test_unused_tensors_and_buffers_go_and_variables_stay_apart():
    model = fio.read_model(SAMPLE)
    graph = model.subgraphs[0]
    buffer = fio.schema.BufferT()
    buffer.data = np.arange(64, dtype=np.uint8)
    model.buffers.append(buffer)
    for variable in (False, True, True):
        tensor = fio.schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = [64], fio.schema.TensorType.UINT8, len(model.buffers) - 1
        tensor.isVariable, tensor.name = variable, f"extra {variable}"
        graph.tensors.append(tensor)
    count = len(graph.tensors)
    graph.outputs += [count - 2, count - 1]  # the two variables are used, the constant is not
    again = fio.read_model(fio.write_model(model))
    tensors = again.subgraphs[0].tensors
    assert [t.name for t in tensors if "extra" in (t.name or "")] == ["extra True"] * 2
    assert len({t.buffer for t in tensors if t.isVariable}) == 2


@pytest.mark.parametrize(
    "data", [b"", b"TFL3", b"not a model at all, but long enough to be one", bytes(4) + b"TFL3" + bytes(100)]
)
def test_what_is_no_model(data):
    with pytest.raises(InvalidFileError):
        fio.read_model(data)


@given(length=st.integers(0, len(SAMPLE) - 16))  # the last bytes may be padding
@settings(deadline=None, max_examples=100)
def test_truncated_files(length):
    with pytest.raises(InvalidFileError):
        fio.read_model(SAMPLE[:length])


@given(changes=st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), min_size=1, max_size=6))
@settings(deadline=5000, max_examples=300)
def test_damaged_files_are_read_or_refused_but_nothing_else(changes):
    """Only InvalidFileError may come out, and soon: a wrong length must not make the reader walk through 4 GB."""
    data = bytearray(SAMPLE)
    for position, value in changes:
        data[position] = value
    try:
        model = fio.read_model(bytes(data))
    except InvalidFileError:
        return
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            fio.constant(model, tensor)
        for op in graph.operators:
            fio.op_name(model, op)
        reader = ChainReader(model, graph)
        for tensor in graph.outputs:
            chain = reader.read(tensor)
            if chain is not None:
                assert chain.values().shape == chain.codes.shape


def test_equal_quantisations_share_their_vectors():
    """Zero points take eight bytes for each channel; a file may point to one vector of them from many tensors."""

    def with_quantised_tensors(count):
        model = fio.read_model(SAMPLE)
        editor = GraphEditor(model, model.subgraphs[0])
        for number in range(count):
            tensor = editor.unshared_constant(np.zeros((1000, 1), np.int8), f"t{number}")
            editor.quantize(tensor, np.full(1000, 1 + number, np.float32), 0)
            model.subgraphs[0].outputs.append(tensor)
        return fio.write_model(model)

    one, two = with_quantised_tensors(1), with_quantised_tensors(2)
    assert 4000 <= len(two) - len(one) < 4400  # its own scales; no zero points, no data
    tensors = {t.name: t for t in fio.read_model(two).subgraphs[0].tensors}
    for number in range(2):
        assert np.all(tensors[f"t{number}"].quantization.scale == 1 + number)
        np.testing.assert_array_equal(tensors[f"t{number}"].quantization.zeroPoint, np.zeros(1000))
