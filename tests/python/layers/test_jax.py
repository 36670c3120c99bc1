"""The tests of this folder that touch the backend, on Keras's JAX backend, in a process of their own."""

import os
import pathlib
import subprocess
import sys

import keras
import pytest

# All tests of the folder pass on JAX; these are the ones that could differ there: calls inside its stateless scope, state kept
# through jit, files, callbacks that write to variables, optimizers.
TESTS = [
    "test_wrapper.py::test_the_weights_in_use",
    "test_wrapper.py::test_channel_groups[conv-3]",
    "test_wrapper.py::test_policies[mixed_bfloat16]",
    "test_wrapper.py::test_state_and_losses_of_the_layer_are_kept",
    "test_wrapper.py::test_it_builds_inside_the_first_compiled_call",
    "test_apply.py::test_nested_and_shared",
    "test_batch_norm.py::test_recalibration_measures_what_inference_sees[7]",
    "../test_callbacks.py::test_exponential_over_the_epochs[layer]",
    "../activations/test_models.py::test_the_papers_combinations_train_and_evaluate[keras-4-4]",
    "test_report.py::test_summary_is_the_data_of_the_frozen_weights",
    "test_saving.py::test_keras_file",
    "test_saving.py::test_backup_and_restore",
    "test_training.py::test_the_loss_falls_with_every_option[default]",
    "test_training.py::test_mixtures_get_no_weight_decay[AdamW]",
]


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="these tests run on JAX anyway")
@pytest.mark.parametrize("tests", [TESTS[::2], TESTS[1::2]], ids=["one half", "the other"])  # side by side
def test_the_same_on_jax(tests):
    folder = pathlib.Path(__file__).parent
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(folder.parents[2])}
    tests = [str(folder / test) for test in tests]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder.parents[2])
    assert run.returncode == 0, run.stdout[-5000:]
    assert "skipped" not in run.stdout.splitlines()[-1]
