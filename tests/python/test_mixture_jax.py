"""The mixture's tests once more, on JAX."""

from __future__ import annotations

import os
import subprocess
import sys

import keras
import pytest

# One test of each kind; the numbers are the same code on both backends.
_SELECTED = (
    "(equal_float64 and 16- and 0.01) or outlier or share_zero or (groups and 2-9001) or (training_weights and hard) or symbolic "
    "or ties or intervals or (argmax and many and 16)"
)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="runs on JAX already")
def test_the_mixture_on_jax():
    here = os.path.dirname(os.path.abspath(__file__))
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", _SELECTED]
    done = subprocess.run(
        [*command, os.path.join(here, "test_mixture.py")],
        env=environment,
        cwd=os.path.dirname(os.path.dirname(here)),
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
