"""Calibration data in the forms users have them, and what is refused."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from dgms_keras.export.int8 import representative
from dgms_keras.export.int8.representative import CHUNK, as_batches, first_samples, joined, samples
from dgms_keras.export.signature import model_signature

X = np.random.default_rng(0).normal(size=(20, 4, 3)).astype(np.float32)
Y = np.arange(20)


def one_input(batch=None):
    inputs = keras.Input((4, 3), name="image", batch_size=batch)
    return model_signature(keras.Model(inputs, layers.Flatten()(inputs)))


def two_inputs():
    a, b = keras.Input((3,), name="b_vector"), keras.Input((2,), dtype="int32", name="a_ids")
    return model_signature(keras.Model([a, b], layers.Concatenate()([a, layers.Embedding(9, 4)(b)[:, 0]])))


def together(batches, i=0):
    return np.concatenate([b[i] for b in batches])


def forms():
    import tensorflow as tf

    class Sequence(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, i):
            return X[5 * i : 5 * i + 5], Y[5 * i : 5 * i + 5]

    dataset = tf.data.Dataset.from_tensor_slices((X, Y))
    return {
        "array": X,
        "float64": X.astype(np.float64),
        "tensor": tf.constant(X),
        "list of one array": [X],
        "dict": {"image": X},
        "list of batches": [X[:7], X[7:]],
        "generator": (X[i : i + 1] for i in range(20)),
        "generator of lists": ([X[i : i + 1]] for i in range(20)),
        "callable": lambda: ([X[i : i + 1]] for i in range(20)),
        "callable of dicts": lambda: ({"image": X[i : i + 2]} for i in range(0, 20, 2)),
        "dataset": dataset.map(lambda x, y: x).batch(6),
        "dataset with targets": dataset.batch(6),
        "PyDataset": Sequence(),
    }


@pytest.mark.parametrize("name", list(forms()))
def test_every_form_gives_the_same_samples(name):
    batches = as_batches(forms()[name], one_input())
    np.testing.assert_array_equal(together(batches), X)
    assert all(len(b[0]) <= CHUNK and b[0].dtype == np.float32 for b in batches) and samples(batches) == 20


def test_several_inputs_in_the_models_order():
    vector, ids = X[:, 0], Y.reshape(10, 2).repeat(2, 0) % 9
    for data in (
        [vector, ids],
        (vector, ids),
        {"a_ids": ids, "b_vector": vector},
        [[vector[:9], ids[:9]], [vector[9:], ids[9:]]],
    ):
        batches = as_batches(data, two_inputs())
        np.testing.assert_array_equal(together(batches, 0), vector)
        np.testing.assert_array_equal(together(batches, 1), ids)
        assert batches[0][1].dtype == np.int32
    with_targets = (((vector[i : i + 4], ids[i : i + 4]), Y[i : i + 4]) for i in range(0, 20, 4))
    np.testing.assert_array_equal(together(as_batches(with_targets, two_inputs())), vector)


def test_a_fixed_batch_size_is_kept():
    batches = as_batches(X, one_input(batch=6))
    assert [len(b[0]) for b in batches] == [6, 6, 6]  # the incomplete one is left out


def test_first_samples_and_joined():
    batches = as_batches(X, one_input())
    assert samples(first_samples(batches, 10)) == 16 and samples(first_samples(batches, 1)) == 8
    np.testing.assert_array_equal(joined(batches, 16)[0], X[:16])
    assert joined(as_batches(X, one_input(batch=6)), 16)[0].shape == (6, 4, 3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, r"`representative_dataset` must be given with activations='int8'.*Received: None"),
        (X[:0], "at least one full batch"),
        ([], r"at least one full batch\. Received: no samples"),
        (lambda: iter(()), "at least one full batch"),
        (X[:, :3], r"batch 0: input 'image' must have the shape \('any', 4, 3\). Received: \(20, 3, 3\)"),
        ([X, X[0]], r"batch 1: input 'image' must have the shape .* Received: \(4, 3\)"),
        ({"picture": X}, "batch 0: each batch must hold an array for each input: image. Missing: image"),
        (np.where(X[3, 1, 2] == X, np.nan, X), r"batch 0: input 'image' must be finite. Received: nan at \[3, 1, 2\]"),
        (
            [X, np.where(X[0, 0, 0] == X, np.inf, X)],
            r"batch 1: input 'image' must be finite. Received: inf at \[0, 0, 0\]",
        ),
        (np.full((2, 4, 3), "a"), "input 'image' must be numbers. Received: dtype <U1"),
        (7, "must be arrays, an iterable of batches, or a callable.*Received: int"),
        ("images.npz", "must be arrays, an iterable of batches, or a callable.*Received: str"),
        (lambda count: X, "a callable `representative_dataset` must take no argument"),
    ],
)
def test_refusals(data, message):
    with pytest.raises(ValueError, match=message):
        as_batches(data, one_input())


def test_inputs_of_different_lengths():
    with pytest.raises(ValueError, match="all inputs must hold equally many samples"):
        as_batches([X[:, 0], np.zeros((19, 2), np.int32)], two_inputs())


def test_fewer_samples_than_a_fixed_batch():
    with pytest.raises(ValueError, match="at least one full batch"):
        as_batches(X[:5], one_input(batch=6))


def test_endless_data(monkeypatch):
    import tensorflow as tf

    with pytest.raises(ValueError, match=r"must end, e\.g\. dataset\.take\(100\)"):
        as_batches(tf.data.Dataset.from_tensor_slices(X).batch(4).repeat(), one_input())

    def endless():
        while True:
            yield X

    monkeypatch.setattr(representative, "MAX_BYTES", 100_000)
    with pytest.raises(ValueError, match=r"must end before .* GiB, e\.g\. dataset\.take\(100\)"):
        as_batches(endless, one_input())
