"""The package's front: a cheap import, and every public name is there."""

import subprocess
import sys

import pytest

import dgms_keras


def test_import_loads_neither_tensorflow_nor_keras():
    code = (
        "import sys, dgms_keras, dgms_keras.config, dgms_keras.frozen, dgms_keras.cli; "
        "print([m for m in ('tensorflow', 'keras', 'jax', 'torch', 'ai_edge_litert', 'matplotlib') if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


@pytest.mark.parametrize("name", dgms_keras.__all__)
def test_public_name_resolves_and_is_documented(name):
    value = getattr(dgms_keras, name)
    assert name == "__version__" or value.__doc__


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'quantise'"):
        _ = dgms_keras.quantise
