"""The network of the studies on procedural shapes, for either Keras: small enough to train in minutes on two cores."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from dgms_keras.recipes.shapes import CLASSES, SIDE, Shapes


def small_network(kr: Any, classes: int = len(CLASSES)) -> Any:
    """Convolutions, depthwise-separable blocks, a residual block and two dense layers, all but the last with BatchNorm.

    Args:
        kr: the module keras or tf_keras.
        classes: outputs.
    """
    layers = kr.layers

    def finish(x: Any, name: str, relu: bool = True) -> Any:
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
        return layers.ReLU(name=f"{name}_relu")(x) if relu else x

    def conv(x: Any, width: int, kernel: int, stride: int, name: str, relu: bool = True) -> Any:
        x = layers.Conv2D(width, kernel, stride, padding="same", use_bias=False, name=name)(x)
        return finish(x, name, relu)

    def separable(x: Any, width: int, stride: int, name: str) -> Any:
        x = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
        return conv(finish(x, f"{name}_depthwise"), width, 1, 1, f"{name}_pointwise")

    inputs = kr.Input((SIDE, SIDE, 3), name="image")
    x = conv(inputs, 16, 3, 1, "stem")
    x = conv(x, 32, 3, 2, "conv1")
    x = separable(x, 64, 1, "block1")
    x = conv(x, 64, 3, 2, "conv2")
    y = conv(x, 64, 3, 1, "residual1")
    y = conv(y, 64, 3, 1, "residual2", relu=False)
    x = layers.ReLU(name="residual_relu")(layers.Add(name="residual_add")([x, y]))
    x = separable(x, 128, 2, "block2")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = finish(layers.Dense(96, use_bias=False, name="hidden")(x), "hidden")
    return kr.Model(inputs, layers.Dense(classes, name="logits")(x), name="small_network")


def train(
    kr: Any, model: Any, data: Shapes, epochs: int, rate: float, batch_size: int, say: Callable[[str], None] = print
) -> None:
    """Adam with a cosine decay from `rate` to 0; one line of figures at the end."""
    steps = epochs * -(-len(data.x_train) // batch_size)
    model.compile(
        kr.optimizers.Adam(kr.optimizers.schedules.CosineDecay(rate, steps)),
        kr.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    start = time.perf_counter()
    history = model.fit(data.x_train, data.y_train, epochs=epochs, batch_size=batch_size, verbose=0)
    figures = ", ".join(f"{name} {values[-1]:.4f}" for name, values in history.history.items())
    say(f"  {figures}, {time.perf_counter() - start:.0f} s")


def top1(model: Any, data: Shapes) -> float:
    """Accuracy on the test images, percent."""
    logits = model.predict(data.x_test, batch_size=250, verbose=0)
    return 100 * float(np.mean(np.argmax(logits, -1) == data.y_test))
