"""Real handwritten digits without a download (scikit-learn ships them), and a small ResNet for them.

Data: 1,797 images of 8x8 grey levels, the test set of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, UCI
machine learning repository, 1998).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

SIDE = 16  # images are enlarged from 8x8, so that a network with three resolutions makes sense


@dataclasses.dataclass(frozen=True)
class Digits:
    """Images float32 `[n, 16, 16, 1]` in [-1, 1] and labels int64 `[n]`."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def load_digits(test_images: int = 797, seed: int = 0) -> Digits:
    """The digits, split into training and test images with equal shares of each class.

    Raises:
        ModuleNotFoundError: scikit-learn is missing (`pip install "dgms-keras[demo]"`).
    """
    try:
        from sklearn.datasets import load_digits as load
        from sklearn.model_selection import train_test_split
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'the digits come with scikit-learn: `pip install "dgms-keras[demo]"`. Received: {error}'
        ) from None
    images, labels = load(return_X_y=True)
    x = enlarge(images.reshape(-1, 8, 8).astype(np.float32) / 8.0 - 1.0, SIDE // 8)[..., np.newaxis]
    x_train, x_test, y_train, y_test = train_test_split(
        x, labels.astype(np.int64), test_size=test_images, stratify=labels, random_state=seed
    )
    return Digits(x_train, y_train, x_test, y_test)


def enlarge(images: np.ndarray, factor: int) -> np.ndarray:
    """Bilinear enlargement of `[n, h, w]` by a whole factor; pixel centres stay in place, edges repeat."""
    for axis in (1, 2):
        size = images.shape[axis]
        at = np.clip((np.arange(size * factor) + 0.5) / factor - 0.5, 0, size - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, size - 1)
        share = (at - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        images = np.take(images, low, axis) * (1 - share) + np.take(images, high, axis) * share
    return images


def shifted(images: np.ndarray, labels: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Twice the images: as they are, and each moved by up to two pixels in both directions (the background is -1)."""
    generator = np.random.default_rng(seed)
    moved = np.full_like(images, -1.0)
    side = images.shape[1]
    for i, (dy, dx) in enumerate(generator.integers(-2, 3, (len(images), 2))):
        rows = slice(max(dy, 0), side + min(dy, 0))
        columns = slice(max(dx, 0), side + min(dx, 0))
        moved[i, rows, columns] = images[i, max(-dy, 0) : side + min(-dy, 0), max(-dx, 0) : side + min(-dx, 0)]
    return np.concatenate([images, moved]), np.concatenate([labels, labels])


def small_resnet(widths: tuple[int, ...] = (32, 64, 128), classes: int = 10) -> Any:
    """A ResNet with one basic block for each width (He et al., 2016), for `[16, 16, 1]` images; 309,418 parameters."""
    import keras
    from keras import layers

    def conv_bn(x: Any, width: int, kernel: int, stride: int, name: str) -> Any:
        x = layers.Conv2D(width, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
        return layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)

    inputs = keras.Input((SIDE, SIDE, 1), name="image")
    x = layers.ReLU(name="stem_relu")(conv_bn(inputs, widths[0], 3, 1, "stem"))
    for i, width in enumerate(widths):
        stride = 1 if i == 0 else 2
        name = f"block{i + 1}"
        y = layers.ReLU(name=f"{name}_relu1")(conv_bn(x, width, 3, stride, f"{name}_1"))
        y = conv_bn(y, width, 3, 1, f"{name}_2")
        shortcut = x if stride == 1 and x.shape[-1] == width else conv_bn(x, width, 1, stride, f"{name}_short")
        x = layers.ReLU(name=f"{name}_relu2")(layers.Add(name=f"{name}_add")([y, shortcut]))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name="small_resnet")
