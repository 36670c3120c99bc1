"""Equal models become equal files: tensors and buffers in the order of their use, no hash of TensorFlow's graph."""

from __future__ import annotations

import copy

import keras
import numpy as np

from dgms_keras.export import flatbuffer_io as fio
from dgms_keras.export.canonical import sort_by_use
from dgms_keras.export.convert import convert
from dgms_keras.litert import RuntimeInterpreter


def shuffled(data, rng):
    """The same model with tensors and buffers in a random order, as another converter might write it."""
    model = fio.read_model(data)
    graph = model.subgraphs[0]
    place = rng.permutation(len(graph.tensors))
    graph.tensors = [graph.tensors[i] for i in np.argsort(place)]
    graph.inputs = [int(place[t]) for t in graph.inputs]
    graph.outputs = [int(place[t]) for t in graph.outputs]
    for op in graph.operators:
        op.inputs = [int(place[t]) if t >= 0 else -1 for t in op.inputs]
        op.outputs = [int(place[t]) for t in op.outputs]
    for entry in [e for s in model.signatureDefs for e in (*s.inputs, *s.outputs)]:
        entry.tensorIndex = int(place[entry.tensorIndex])
    buffers = np.concatenate([[0], 1 + rng.permutation(len(model.buffers) - 1)])
    model.buffers = [model.buffers[i] for i in np.argsort(buffers)]
    for holder in [*graph.tensors, *model.metadata]:
        holder.buffer = int(buffers[holder.buffer])
    return model


def a_file():
    inputs = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(8, 3, use_bias=False, name="c")(inputs)
    x = keras.layers.BatchNormalization(name="bn")(x)
    y = keras.layers.Conv2DTranspose(8, 3, padding="same", name="t")(x)  # its operators have inputs that are not there
    x = keras.layers.GlobalAveragePooling2D(name="p")(x + y)
    return convert(keras.Model(inputs, [keras.layers.Dense(5, name="d")(x), x], name="net"))


def test_any_order_becomes_the_same_file(rng):
    data = a_file()
    for _ in range(3):
        model = shuffled(data, rng)
        assert [t.name for t in model.subgraphs[0].tensors] != [
            t.name for t in fio.read_model(data).subgraphs[0].tensors
        ]
        sort_by_use(model)
        assert fio.write_model(model) == data


def test_tensors_stand_in_the_order_of_their_use():
    graph = fio.read_model(a_file()).subgraphs[0]
    seen = [*graph.inputs, *(t for op in graph.operators for t in (*op.inputs, *op.outputs) if t >= 0)]
    assert list(dict.fromkeys(seen)) == list(range(len(graph.tensors)))


def test_the_graph_computes_the_same(rng):
    model = shuffled(a_file(), rng)
    outputs = []
    for each in (copy.deepcopy(model), model):
        if each is model:
            sort_by_use(each)
        interpreter = RuntimeInterpreter(model_content=fio.write_model(each))
        interpreter.allocate_tensors()
        x = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype("float32")
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        outputs.append([interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()])
    for ours, theirs in zip(*outputs, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_converters_metadata_says_all_but_the_hash():
    """Two models whose TensorFlow graphs have other names and nodes; the version stays, the hash is gone."""
    import tensorflow as tf
    from tensorflow.lite.python import conversion_metadata_schema_py_generated as schema

    model = fio.read_model(a_file())
    entry = next(m for m in model.metadata if m.name == "CONVERSION_METADATA")
    content = schema.ConversionMetadataT.InitFromPackedBuf(bytes(model.buffers[entry.buffer].data))
    assert content.environment.tensorflowVersion.decode() == tf.__version__
    assert content.environment.modelHash == 0
