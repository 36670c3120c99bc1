"""What importing the front end does to the process around it, and where it cannot be imported. In child processes."""

import os
import pathlib
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).parents[3]


def python(code, **variables):
    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    environment.update({"PYTHONPATH": str(REPOSITORY), **variables})
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)


def test_the_environment_stays_as_it_was():
    """tfmot's import sets TF_USE_LEGACY_KERAS, which would decide for every child process what tf.keras is."""
    run = python("import os, dgms_keras.tfmot; print(os.environ.get('TF_USE_LEGACY_KERAS', 'not set'))")
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "not set"


def test_tf_keras_model_on_another_backend_is_an_import_error():
    code = """
import tf_keras, dgms_keras
model = tf_keras.Sequential([tf_keras.Input((3,)), tf_keras.layers.Dense(3)])
try:
    dgms_keras.quantize_apply(model)
except ImportError as error:
    print("ImportError:", error)
"""
    run = python(code, KERAS_BACKEND="jax")
    assert run.returncode == 0, run.stderr
    line = run.stdout.splitlines()[-1]
    assert line.startswith("ImportError: dgms_keras.tfmot needs Keras 3 with its TensorFlow backend")
    assert "KERAS_BACKEND=tensorflow" in line and line.endswith("Received: the backend 'jax'")


def test_keras_3_models_need_no_tfmot_and_the_others_are_told_the_extra():
    code = """
import sys
import keras, dgms_keras
sys.modules["tensorflow_model_optimization"] = None  # as if it were not installed
model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8)])
dgms_keras.quantize_apply(model, skip_first_last=False)
print("tf_keras" in sys.modules)
try:
    import dgms_keras.tfmot
except ImportError as error:
    print("ImportError:", error)
"""
    run = python(code)
    assert run.returncode == 0, run.stderr
    imported, error = run.stdout.splitlines()[-2:]
    assert imported == "False" and error.startswith("ImportError") and "pip install dgms_keras[tfmot]" in error
