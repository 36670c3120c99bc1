"""tf.distribute.MirroredStrategy over two logical CPU devices, which TensorFlow only makes in a fresh process."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import pytest

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.distribute")

CODE = """
import json
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras, numpy as np
import dgms_keras
L = keras.layers
keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
x, y = rng.normal(size=(32, 6)).astype("float32"), rng.normal(size=(32, 4)).astype("float32")
# No BatchNorm: its statistics are those of one device's half of a batch.
model = keras.Sequential([keras.Input((6,)), L.Dense(16, activation="relu", name="a"), L.Dense(8, name="b"), L.Dense(4)])

def train(model):
    quantised = dgms_keras.quantize_apply(model, bits=2, temperature=0.1, skip_first_last=False)
    quantised.compile(keras.optimizers.AdamW(1e-2, weight_decay=0.1, clipnorm=1.0), "mse")
    history = quantised.fit(x, y, epochs=4, batch_size=16, shuffle=False, verbose=0).history["loss"]
    return quantised, history, quantised.evaluate(x, y, verbose=0)

alone, *results = train(model)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    mirrored, *mirrored_results = train(model)
    by_hand = keras.Sequential([dgms_keras.DGMSWrapper(L.Dense(8, name="hand"), bits=2), L.Dense(4)])
    by_hand.compile("adam", "mse")
    by_hand.fit(x, y, verbose=0, callbacks=[dgms_keras.TemperatureSchedule(0.3, 0.01)])
copies = [np.stack([v.numpy() for v in variable.value.values]) for variable in mirrored.trainable_variables]
stripped = dgms_keras.strip(mirrored)
print(json.dumps({
    "results": results,
    "mirrored": mirrored_results,
    "equal copies": all(np.array_equal(c[0], c[1]) for c in copies),
    "learned": [float(np.abs(v.numpy()).max()) for v in mirrored.variables if v.name == "dgms_mixture_learned"],
    "strip": float(np.abs(stripped.predict(x, verbose=0) - mirrored.predict(x, verbose=0)).max()),
    "tau": float(dgms_keras.mixtures(by_hand)["hand"].tau),
}))
"""


def test_mirrored_training_equals_training_on_one_device(tmp_path):
    repository = pathlib.Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(repository), "TF_CPP_MIN_LOG_LEVEL": "3"}
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout.splitlines()[-1])
    (losses, evaluated), (mirrored_losses, mirrored_evaluated) = found["results"], found["mirrored"]
    assert losses[-1] < losses[0]
    # Two halves of a batch are summed in another order; Adam's first steps divide by gradients' sizes near 0.
    assert mirrored_losses == pytest.approx(losses, rel=1e-2)
    assert mirrored_evaluated == pytest.approx(evaluated, rel=2e-2)
    assert found["equal copies"]
    assert min(found["learned"]) > 0
    assert found["strip"] < 1e-5
    assert found["tau"] == pytest.approx(0.01, rel=0.1)
