import os

# The test machine's TensorFlow kills the process (SIGILL) on bfloat16 convolutions where oneDNN picks AMX kernels, with plain
# Keras layers too. oneDNN reads this when it makes its first kernel, so it must be set before any test runs.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")

import keras
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _seeded():
    """Every test starts from the same random state and a clean Keras session."""
    keras.utils.clear_session(free_memory=False)  # without a full collection of garbage: see tests/conftest.py
    keras.utils.set_random_seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def small_model():
    """Two convolutions with BatchNorm and a head; the middle layers are quantised by default: conv2 and hidden."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="conv1")(inputs)
    x = keras.layers.ReLU()(x)
    x = keras.layers.Conv2D(8, 3, use_bias=False, name="conv2")(x)
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(16, activation="relu", name="hidden")(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(x), name="small")


@pytest.fixture
def small_data(rng):
    return rng.normal(size=(32, 8, 8, 3)).astype("float32"), rng.normal(size=(32, 3)).astype("float32")
