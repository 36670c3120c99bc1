import keras
import pytest

# A folder that needs optional packages and Keras 3 on TensorFlow.
tf_keras = pytest.importorskip("tf_keras")
pytest.importorskip("dgms_keras.tfmot", exc_type=ImportError)

L = tf_keras.layers


@pytest.fixture(autouse=True)
def _seeded_tf_keras(_seeded):
    """As the fixture of the folder above, for the other Keras."""
    tf_keras.backend.clear_session()
    tf_keras.utils.set_random_seed(0)
    yield
    tf_keras.mixed_precision.set_global_policy("float32")
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def small_tf_model():
    """The `small_model` of the folder above in tf_keras: conv2 and hidden are quantised by default."""
    inputs = tf_keras.Input((8, 8, 3), name="image")
    x = L.Conv2D(4, 3, name="conv1")(inputs)
    x = L.ReLU(name="relu1")(x)
    x = L.Conv2D(8, 3, use_bias=False, name="conv2")(x)
    x = L.BatchNormalization(name="bn")(x)
    x = L.ReLU(name="relu2")(x)
    x = L.GlobalAveragePooling2D(name="pool")(x)
    x = L.Dense(16, activation="relu", name="hidden")(x)
    return tf_keras.Model(inputs, L.Dense(3, name="head")(x), name="small")


@pytest.fixture
def dense_model():
    """Three layers of 64 weights and more; `b` is quantised by default."""
    stack = [L.Dense(16, activation="relu", name="a"), L.Dense(12, name="b"), L.Dense(3, name="c")]
    return tf_keras.Sequential([tf_keras.Input((8,), name="x"), *stack], name="dense")


@pytest.fixture
def dense_data(rng):
    return rng.normal(size=(32, 8)).astype("float32"), rng.normal(size=(32, 3)).astype("float32")
