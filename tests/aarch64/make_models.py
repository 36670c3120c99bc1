"""Makes what check_models.py runs on the emulated machine: Keras models compressed and exported here, with the outputs that they must have.

FOLDER/NAME.tflite and, in FOLDER/NAME.npz, `x` (the input), `y` (Keras's output with hard weights) and `layers` (how many layers the file holds
as index + codebook). Usage: make_models.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

import dgms_keras

BATCH, SIZE = 2, 20
LAYERS = 8  # that `build` makes and DGMS compresses
VARIANTS: dict[str, dict[str, Any]] = {
    "small_w2": {"bits": 2},
    "small_w3": {"bits": 3},
    "small_w4": {"bits": 4},
    "small_w4_groups": {"bits": 4, "granularity": 10},  # several codebooks within one panel of columns
}


def build() -> keras.Model:
    """A small network with one layer of each kind that the delegate runs, and odd sizes."""
    x = source = keras.Input((SIZE, SIZE, 3), batch_size=BATCH)
    x = layers.Conv2D(45, 3, strides=2, padding="same", name="stem")(x)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = y = layers.ReLU(max_value=6.0, name="stem_relu")(x)
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(y)
    y = layers.BatchNormalization(name="depthwise_bn")(y)
    y = layers.ReLU(name="depthwise_relu")(y)
    y = layers.Conv2D(45, 1, name="pointwise")(y)
    x = layers.Add(name="add")([x, y])
    x = layers.Conv2D(26, 3, dilation_rate=2, padding="same", activation="relu", name="dilated")(x)
    x = layers.Conv2D(44, 3, groups=2, name="groups")(x)
    x = layers.DepthwiseConv2D(5, strides=2, padding="same", activation="relu", name="depthwise5")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(70, activation="relu", name="hidden")(x)
    return keras.Model(source, layers.Dense(23, name="logits")(x))


def with_statistics(model: keras.Model, rng: np.random.Generator) -> keras.Model:
    """BatchNorm parameters as after training: scales of both signs, which must not end up in the codebooks."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            n = layer.gamma.shape[0]
            gamma, beta, mean = (rng.normal(1, 0.5, n), rng.normal(0, 0.3, n), rng.normal(0, 0.2, n))
            layer.set_weights([v.astype(np.float32) for v in (gamma, beta, mean, rng.uniform(0.3, 2, n))])
    return model


def main(folder: Path) -> None:
    keras.utils.set_random_seed(7)
    rng = np.random.default_rng(7)
    folder.mkdir(parents=True, exist_ok=True)
    x = rng.standard_normal((BATCH, SIZE, SIZE, 3)).astype(np.float32)
    model = with_statistics(build(), rng)
    for name, options in VARIANTS.items():
        quantized = dgms_keras.quantize_apply(model, skip_first_last=False, **options)
        path = folder / f"{name}.tflite"
        report = dgms_keras.export_tflite(quantized, path, strict=True)
        chains = [row for row in report.layers if row.chains]
        if len(chains) != LAYERS:
            raise RuntimeError(
                f"all {LAYERS} layers must be compressed, or this tests less than it says. Received: {report}"
            )
        np.savez(path.with_suffix(".npz"), x=x, y=np.asarray(dgms_keras.strip(quantized)(x)), layers=LAYERS)
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
