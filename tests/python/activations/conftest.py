import keras
import pytest
import tf_keras


@pytest.fixture(params=[keras, tf_keras], ids=["keras", "tf_keras"])
def kr(request):
    """Each Keras, from the same random state."""
    request.param.utils.set_random_seed(0)
    return request.param


@pytest.fixture
def net(kr):
    """A small net of which conv2 and hidden are quantised by default; hidden's inputs have both signs."""
    inputs = kr.Input((8, 8, 3), name="image")
    x = kr.layers.Conv2D(6, 3, name="conv1")(inputs)
    x = kr.layers.ReLU(name="relu1")(x)
    x = kr.layers.Conv2D(8, 3, name="conv2")(x)
    x = kr.layers.GlobalAveragePooling2D(name="pool")(x)
    x = kr.layers.Dense(12, activation="relu", name="hidden")(x)
    return kr.Model(inputs, kr.layers.Dense(4, name="head")(x), name="net")


@pytest.fixture
def images(rng):
    return rng.normal(size=(48, 8, 8, 3)).astype("float32")
