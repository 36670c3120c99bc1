"""Export from sessions with other Keras backends, and other runtimes on what was exported."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

SUPPORT = Path(__file__).parents[2] / "support"

CUSTOM = """
import keras

@keras.saving.register_keras_serializable("dgms_test")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return x * 2
"""

SESSION = """
import os, sys
assert os.environ["KERAS_BACKEND"] == "jax"
import numpy as np, keras
from keras import layers
from custom_layers import Doubled
from dgms_files import freeze, randomize
from dgms_keras.export import errors
from dgms_keras.export.exporter import export_frozen
from dgms_keras.runtime.verify import verify

assert keras.backend.backend() == "jax"
stack = [layers.Conv2D(16, 3, use_bias=False, name="conv"), layers.BatchNormalization(), layers.ReLU(), Doubled()]
model = keras.Sequential([keras.Input((8, 8, 3), name="image"), *stack, layers.Flatten(), layers.Dense(10, name="head")])
frozen = freeze(randomize(model, negative=True), 3)
report = export_frozen(model, frozen, sys.argv[1], strict=True)
assert [row.bits for row in report.layers] == [3, 3] and all(row.exact for row in report.layers)
assert report.outputs[0].name == "head"
x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
compared = verify(model, sys.argv[1], x, per_layer=True)
assert compared.passed and len(compared.layers) == 2, str(compared)

data = np.random.default_rng(1).normal(size=(24, 8, 8, 3))
options = dict(activations="int8", representative_dataset=data, even_if_larger=True)
int8 = export_frozen(model, frozen, sys.argv[1] + ".int8", **options)
assert int8.output_snrs[0].snr_db > 25 and [row.bits for row in int8.layers] == [3, 3], str(int8)

class Here(layers.Layer):
    def call(self, x):
        return x + 1

lost = keras.Sequential([keras.Input((8,)), layers.Dense(4), Here()], name="lost")
try:
    export_frozen(lost, [], sys.argv[1] + ".none")
except errors.ConversionError as error:
    lines = str(error).splitlines()
    assert len(lines) == 2 and "'lost'" in lines[0] and "'jax'" in lines[0] and "Here" in lines[0], lines
    assert "importable module" in lines[1] and "KERAS_BACKEND=tensorflow" in lines[1], lines
else:
    raise AssertionError("a layer of __main__ cannot be loaded by a child process")
assert not os.path.exists(sys.argv[1] + ".none")
print("done")
"""


@pytest.mark.slow
def test_jax_session(tmp_path):
    (tmp_path / "custom_layers.py").write_text(textwrap.dedent(CUSTOM))
    (tmp_path / "session.py").write_text(textwrap.dedent(SESSION))
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "PYTHONPATH": os.pathsep.join([str(SUPPORT), str(Path(__file__).parents[3])]),
    }
    path = tmp_path / "model.tflite"
    done = subprocess.run(
        [sys.executable, str(tmp_path / "session.py"), str(path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and done.stdout.strip() == "done", done.stdout + done.stderr
    assert path.exists()


def test_tensorflow_lite_interpreter_agrees_with_ai_edge_litert(tmp_path):
    """The deprecated tf.lite.Interpreter runs the files, too: 2, 3 and 4 bits, groups, rows of a table."""
    tf = pytest.importorskip("tensorflow")
    import keras
    from dgms_files import freeze, randomize
    from keras import layers

    from dgms_keras.export.exporter import export_frozen
    from dgms_keras.litert import RuntimeInterpreter

    def build():
        image, ids = keras.Input((9, 9, 3)), keras.Input((4,), dtype="int32")
        x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(7, 3, strides=2)(image)))
        x = layers.DepthwiseConv2D(3, padding="same")(x)
        x = layers.Concatenate()([layers.Flatten()(x), layers.Flatten()(layers.Embedding(20, 5)(ids))])
        return randomize(keras.Model([image, ids], layers.Dense(6)(x)), negative=True)

    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(2, 9, 9, 3)).astype(np.float32), rng.integers(0, 20, (2, 4)).astype(np.int32)]
    for bits, group_size in ((2, None), (3, None), (4, None), (3, 2)):
        model = build()
        path = str(tmp_path / "m.tflite")
        export_frozen(model, freeze(model, bits, group_size=group_size), path, strict=True, even_if_larger=True)
        results = []
        for kind in (tf.lite.Interpreter, RuntimeInterpreter):
            interpreter = kind(model_path=path, num_threads=1)
            for detail, x in zip(interpreter.get_input_details(), inputs, strict=True):
                interpreter.resize_tensor_input(detail["index"], x.shape)
            interpreter.allocate_tensors()
            for detail, x in zip(interpreter.get_input_details(), inputs, strict=True):
                interpreter.set_tensor(detail["index"], x)
            interpreter.invoke()
            results.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
        expected = np.asarray(model(inputs, training=False))
        for result in results:  # float rounding over four layers
            np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
