"""Keras models with hard weights and their FrozenWeights, made by NumPy alone: export can be tested without a front end.

As a script it writes example files: `python tests/support/dgms_files.py FOLDER [NAME ...]`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dgms_keras.frozen import FrozenWeight

# Layer class -> (attribute, axes of the output channels).
KERNELS: dict[str, list[tuple[str, tuple[int, ...]]]] = {
    **{f"Conv{n}D": [("kernel", (-1,))] for n in (1, 2, 3)},
    **{f"Conv{n}DTranspose": [("kernel", (-2,))] for n in (1, 2, 3)},
    **{f"DepthwiseConv{n}D": [("kernel", (-2, -1))] for n in (1, 2)},
    **{f"SeparableConv{n}D": [("depthwise_kernel", (-2, -1)), ("pointwise_kernel", (-1,))] for n in (1, 2)},
    "Dense": [("kernel", (-1,))],
    "EinsumDense": [("kernel", (-1,))],
    "Embedding": [("embeddings", (-1,))],
}


def codebook_for(values: np.ndarray, bits: int, rng: np.random.Generator) -> np.ndarray:
    """float32 `[2**bits]`: 0 first, the rest uneven points over the values' range."""
    points = rng.uniform(-1.6, 1.6, 2**bits - 1) + np.linspace(-1.5, 1.5, 2**bits - 1)
    spread = float(values.std()) or 1.0
    return np.concatenate([[0.0], points * 0.7 * spread]).astype(np.float32)


def nearest(values: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """uint8: index of the closest codebook entry."""
    order = np.argsort(codebook, kind="stable")
    middle = (codebook[order][1:] + codebook[order][:-1]) / 2
    return order[np.searchsorted(middle, values)].astype(np.uint8)


def freeze_array(
    layer: str,
    weight: str,
    values: np.ndarray,
    bits: int,
    rng: np.random.Generator,
    axes: tuple[int, ...] = (-1,),
    group_size: int | None = None,
) -> FrozenWeight:
    """A FrozenWeight near `values`."""
    if group_size is None:
        codebook = codebook_for(values, bits, rng)
        return FrozenWeight(layer, weight, nearest(values, codebook), codebook, bits, axes)
    probe = np.zeros(values.shape, np.uint8)
    channels = int(np.prod([values.shape[a] for a in axes]))
    groups = -(-channels // group_size)
    books = np.stack([codebook_for(values, bits, rng) for _ in range(groups)])
    # The group of every element, read off a weight whose codebooks hold their own number.
    numbers = np.zeros((groups, 2**bits), np.float32) + np.arange(groups, dtype=np.float32)[:, None]
    group = FrozenWeight(layer, weight, probe, numbers, bits, axes, group_size).dense().astype(int)
    codes = probe.copy()
    for g in range(groups):
        codes[group == g] = nearest(values[group == g], books[g])
    return FrozenWeight(layer, weight, codes, books, bits, axes, group_size)


def targets(model: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaf layers of a model with their paths, nested models included, shared layers once."""
    seen: set[int] = set()

    def walk(parent: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        for layer in parent.layers:
            if id(layer) in seen:
                continue
            seen.add(id(layer))
            if hasattr(layer, "layers"):
                yield from walk(layer, f"{prefix}{layer.name}/")
            else:
                yield f"{prefix}{layer.name}", layer

    yield from walk(model, path)


def freeze(
    model: Any,
    bits: int | Callable[[str], int | None] = 4,
    seed: int = 0,
    group_size: int | None = None,
) -> list[FrozenWeight]:
    """Replaces every supported weight of a Keras model by hard weights, in place, and returns them frozen."""
    rng = np.random.default_rng(seed)
    frozen = []
    for path, layer in targets(model):
        width = bits(path) if callable(bits) else bits
        for attribute, axes in KERNELS.get(type(layer).__name__, ()) if width else ():
            variable = getattr(layer, attribute)
            values = np.asarray(variable.numpy() if hasattr(variable, "numpy") else variable, np.float32)
            weight = freeze_array(path, attribute, values, width, rng, axes, group_size)
            variable.assign(weight.dense())
            frozen.append(weight)
    return frozen


def randomize(model: Any, seed: int = 0, negative: bool = False) -> Any:
    """Random biases and BatchNorm statistics (fresh ones are 0 and 1, which hides mistakes), in place."""
    rng = np.random.default_rng(seed)
    for _, layer in targets(model):
        if type(layer).__name__ == "BatchNormalization":
            for name in ("gamma", "beta", "moving_mean", "moving_variance"):
                variable = getattr(layer, name)
                if variable is None:
                    continue
                value = rng.normal(0, 0.1, variable.shape)
                if name in ("gamma", "moving_variance"):
                    value = rng.uniform(0.7, 1.3, variable.shape)
                if name == "gamma" and negative:
                    value *= rng.choice([-1, 1], variable.shape)
                variable.assign(value.astype(np.float32))
        elif getattr(layer, "bias", None) is not None and hasattr(layer.bias, "assign"):
            layer.bias.assign(rng.normal(0, 0.05, layer.bias.shape).astype(np.float32))
    return model


def resnet18(classes: int = 1000, side: int = 224) -> Any:
    """ResNet-18 (He et al. 2015, Table 1): 11,689,512 parameters, BatchNorm's moving statistics not counted."""
    import keras

    layers = keras.layers

    def conv_bn(x: Any, filters: int, size: int, stride: int, name: str, relu: bool = True) -> Any:
        pad = (size - 1) // 2
        if pad:
            x = layers.ZeroPadding2D(pad, name=f"{name}_pad")(x)
        x = layers.Conv2D(filters, size, stride, use_bias=False, name=f"{name}_conv")(x)
        x = layers.BatchNormalization(name=f"{name}_bn")(x)
        return layers.ReLU(name=f"{name}_relu")(x) if relu else x

    inputs = keras.Input((side, side, 3), name="image")
    x = conv_bn(inputs, 64, 7, 2, "stem")
    x = layers.MaxPooling2D(3, 2, padding="same", name="pool")(x)
    for stage, filters in enumerate((64, 128, 256, 512)):
        for block in range(2):
            name = f"stage{stage + 1}_block{block + 1}"
            stride = 2 if stage and not block else 1
            skip = conv_bn(x, filters, 1, stride, f"{name}_skip", relu=False) if stride == 2 else x
            y = conv_bn(x, filters, 3, stride, f"{name}_a")
            y = conv_bn(y, filters, 3, 1, f"{name}_b", relu=False)
            x = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([y, skip]))
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name="resnet18")


def resnet50() -> Any:
    import keras

    return keras.applications.ResNet50(weights=None, classifier_activation=None)


def mobilenet_v2() -> Any:
    import keras

    return keras.applications.MobileNetV2(weights=None, classifier_activation=None)


def small(kind: str) -> Any:
    """Small graphs around one operator each; odd sizes on purpose, so that code streams end inside a byte."""
    import keras

    layers = keras.layers
    body = {
        "conv": [layers.Conv2D(21, 3, 2, "same", use_bias=False), layers.BatchNormalization(), layers.ReLU(6.0)],
        "depthwise": [
            layers.DepthwiseConv2D(3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
        ],
        "dense": [layers.Flatten(), layers.Dense(33, activation="relu"), layers.Dense(7)],
        "groups": [layers.Conv2D(12, 3, padding="same", groups=3, activation="relu")],
    }[kind]
    return keras.Sequential([keras.Input((13, 11, 9)), *body], name=kind)


MODELS: dict[str, Callable[[], Any]] = {
    "resnet18": resnet18,
    "resnet50": resnet50,
    "mobilenetv2": mobilenet_v2,
    **{kind: (lambda kind=kind: small(kind)) for kind in ("conv", "depthwise", "dense", "groups")},
}


def main(folder: str, names: list[str]) -> None:
    """Writes NAME_dense.tflite and NAME_w{2,3,4}.tflite, and for the small ones NAME_w4_groups.tflite (two channels each)."""
    from dgms_keras.export.convert import convert
    from dgms_keras.export.rewrite import rewrite

    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    for name in names or MODELS:
        for bits, group_size in ((4, None), (3, None), (2, None), (4, 2)):
            if group_size and name in ("resnet18", "resnet50", "mobilenetv2"):
                continue
            model = randomize(MODELS[name](), negative=True)
            frozen = freeze(model, bits, group_size=group_size)
            dense = convert(model)
            data, rows = rewrite(dense, frozen, even_if_larger=True)
            if bits == 4 and not group_size:
                (out / f"{name}_dense.tflite").write_bytes(dense)
            path = out / f"{name}_w{bits}{'_groups' if group_size else ''}.tflite"
            path.write_bytes(data)
            kept = [f"{r.name}: {r.reason}" for r in rows if r.reason]
            print(f"{path}: {len(data):,} bytes, dense {len(dense):,}", *kept, sep="\n  ", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
