"""Structures of inputs and outputs: flat order, names, and back."""

from __future__ import annotations

from collections import OrderedDict, namedtuple

import keras
import numpy as np
import pytest
from keras import layers

from dgms_keras.export.errors import ConversionError
from dgms_keras.export.signature import flatten, model_signature, pack_as, unique

Pair = namedtuple("Pair", "left right")

STRUCTURES = [
    5,
    [1, 2, 3],
    (1, [2, {"b": 3, "a": 4}]),
    {"z": 1, "a": {"y": (2, 3)}},
    OrderedDict(z=1, a=2),
    Pair(1, {"k": 2}),
]


@pytest.mark.parametrize("structure", STRUCTURES, ids=repr)
def test_flattening_is_that_of_keras_and_can_be_undone(structure):
    flat = [leaf for _, leaf in flatten(structure)]
    assert flat == keras.tree.flatten(structure)
    packed = pack_as(structure, flat)
    assert packed == structure and type(packed) is type(structure)


def test_names_are_made_unique():
    assert unique(["a", "b", "a", "a", "a_1"]) == ("a", "b", "a_1", "a_2", "a_1_1")


def test_a_layer_that_is_two_outputs():
    inputs = keras.Input((4,), name="x")
    outputs = layers.Dense(3, name="d")(inputs)
    signature = model_signature(keras.Model(inputs, [outputs, outputs]))
    results = signature.call([np.ones((2, 4), np.float32)])
    assert signature.output_names([path for path, _ in results]) == ("d", "d_1")


def test_names_and_shapes_of_inputs():
    inputs = {"image": keras.Input((None, 8, 3)), "ids": keras.Input((5,), dtype="int32", batch_size=2)}
    model = keras.Model(inputs, layers.Dense(1)(inputs["image"]))
    specs = model_signature(model).inputs
    assert [(s.name, s.shape, s.dtype) for s in specs] == [
        ("ids", (2, 5), "int32"),
        ("image", (None, None, 8, 3), "float32"),
    ]


def test_subclassed_models_by_their_recorded_or_given_inputs():
    class Two(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)

        def call(self, parts):
            return self.dense(parts["a"]) + self.dense(parts["b"])

    model = Two()
    with pytest.raises(ConversionError, match="must be built"):
        model_signature(model)
    given = {"a": keras.layers.InputSpec(shape=(None, 3), dtype="float32"), "b": keras.KerasTensor((None, 3))}
    assert [s.name for s in model_signature(model, given).inputs] == ["a", "b"]
    model({"a": np.zeros((1, 3)), "b": np.zeros((1, 3))})
    signature = model_signature(model)
    assert [(s.name, s.shape) for s in signature.inputs] == [("a", (None, 3)), ("b", (None, 3))]
    results = signature.call([np.ones((2, 3), np.float32)] * 2)
    assert signature.output_names([path for path, _ in results]) == ("output_0",)
