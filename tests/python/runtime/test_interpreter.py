"""`Interpreter` and `load_delegate`: what they accept, what they refuse, what the graph looks like afterwards."""

import os
import subprocess
import sys

import foreign_delegate
import numpy as np
import pytest

import dgms_keras
from dgms_keras.frozen import FrozenWeight
from dgms_keras.runtime.delegate import delegate_path, load_delegate
from dgms_keras.runtime.interpreter import Interpreter


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """Two convolutions, the first as index + codebook, the second dense."""
    import keras

    from dgms_keras.export.exporter import export_frozen

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((12, 12, 8)),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu", name="first"),
            keras.layers.Conv2D(4, 3, name="second"),
        ]
    )
    codebook = np.concatenate([[0], np.random.default_rng(0).standard_normal(15)]).astype(np.float32)
    indices = np.random.default_rng(1).integers(0, 16, (3, 3, 8, 32), dtype=np.uint8)
    frozen = FrozenWeight("first", "kernel", indices, codebook, 4)
    model.get_layer("first").set_weights([frozen.dense(), np.ones(32, np.float32)])
    file = tmp_path_factory.mktemp("interpreter") / "model.tflite"
    export_frozen(model, [frozen], file)
    return file


def run(interpreter):
    interpreter.allocate_tensors()
    detail = interpreter.get_input_details()[0]
    interpreter.set_tensor(
        detail["index"], np.random.default_rng(2).standard_normal(detail["shape"]).astype(np.float32)
    )
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def test_delegate_claims_the_layer_and_agrees_with_the_stock_runtime(model_file):
    with_delegate, stock = Interpreter(model_file), Interpreter(model_file, delegate=False)
    ours, theirs = run(with_delegate), run(stock)
    assert with_delegate.delegated_nodes() == 1
    assert stock.delegated_nodes() == 0
    # Sums of 72 products of order 1, twice: float32 round-off is about 1e-6 of the largest value.
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=4e-6 * np.abs(theirs).max())


def test_nodes_of_the_caller_s_own_delegates_do_not_count(model_file):
    for ours in (1, 0):
        other = foreign_delegate.LastNode()
        options = {"delegate_options": {"claim": "codebook"}} if ours else {"delegate": False}
        interpreter = Interpreter(model_file, experimental_delegates=[other], **options)
        assert other.claimed == 1
        assert interpreter.delegated_nodes() == ours
        run(interpreter)
        assert other.invoked == 1
        assert interpreter.delegated_nodes() == ours


def test_threads_do_not_change_a_bit(model_file):
    outputs = [run(Interpreter(model_file, num_threads=n)) for n in (1, 2, 3)]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])


def test_model_content_is_the_same_model(model_file):
    content = Interpreter(model_content=model_file.read_bytes())
    np.testing.assert_array_equal(run(content), run(Interpreter(model_file)))
    assert content.delegated_nodes() == 1


def test_runtime_own_load_delegate_takes_the_shared_library(model_file):
    from ai_edge_litert import interpreter as litert

    delegate = litert.load_delegate(delegate_path(), {"num_threads": "2"})
    stock = litert.Interpreter(model_path=str(model_file), experimental_delegates=[delegate])
    np.testing.assert_array_equal(run(stock), run(Interpreter(model_file)))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({}, ValueError, "exactly one of `model_path` and `model_content`. Received: neither"),
        ({"model_path": "a", "model_content": b"b"}, ValueError, "Received: both"),
        ({"model_path": "a", "num_threads": 0}, ValueError, "`num_threads` must be an integer >= 1"),
        ({"model_path": "a", "num_threads": True}, ValueError, "num_threads=True"),
        ({"model_path": "a", "delegate": "yes"}, TypeError, "`delegate` must be True or False"),
        ({"model_path": "a", "delegate": False, "delegate_options": {"log": True}}, ValueError, "need delegate=True"),
        ({"model_path": "no/such/file.tflite"}, FileNotFoundError, "no/such/file.tflite"),
    ],
)
def test_wrong_arguments_name_rule_and_value(arguments, error, words):
    with pytest.raises(error) as caught:
        Interpreter(**arguments)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"num_treads": 2}, {"num_threads": "many"}, {"activations": "int7"}, {"isa": "z80"}]
)
def test_refused_options_carry_the_library_s_own_message(options):
    with pytest.raises(ValueError, match="the delegate refused its options") as caught:
        load_delegate(**options)
    name, value = next(iter(options.items()))
    message = str(caught.value).partition("(")[2]  # behind our own sentence: the library's
    assert name in message or str(value) in message


def test_truncated_file_is_an_error_and_not_a_crash(model_file, tmp_path):
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(model_file.read_bytes()[:1000])
    with pytest.raises((ValueError, RuntimeError)):
        run(Interpreter(broken))


def test_a_file_that_is_no_model_is_named(tmp_path):
    file = tmp_path / "text.tflite"
    file.write_text("no model")
    with pytest.raises(ValueError, match=r"must be able to load the model \(.+\). Received: '.+text.tflite'"):
        Interpreter(file)


def test_falls_back_to_tensorflow_s_runtime_where_litert_is_missing(model_file):
    code = (
        "import sys; sys.modules['ai_edge_litert'] = None; sys.modules['ai_edge_litert.interpreter'] = None\n"
        "import dgms_keras; from dgms_keras import litert\n"
        f"i = dgms_keras.Interpreter({str(model_file)!r}); i.allocate_tensors(); i.invoke()\n"
        "print(litert.runtime_version(), i.delegated_nodes())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert words[0] == "tensorflow.lite" and words[-1] == "1"


def test_public_names_are_these_functions():
    assert dgms_keras.Interpreter is Interpreter
    assert dgms_keras.load_delegate is load_delegate
    assert os.path.isfile(dgms_keras.delegate_path())
