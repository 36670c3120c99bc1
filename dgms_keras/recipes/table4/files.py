"""The networks as `.tflite` files: dense (float, int8, dynamic range) and with shared weights (float and int8 activations).

    python -m dgms_keras.recipes.table4.files --networks mobilenet_v2 --bits 4 --folder build/networks

Weights are random (a time does not depend on their values) and shared by k-means alone; int8 ranges come from random images, and so
do the statistics of batch normalisation: maps are as large as in a trained network. First and last layers are quantised, too.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dgms_keras.config import BITS
from dgms_keras.export.atomic import write_atomically

# Raised with every change that makes other files of the same name: older ones are then made anew.
RECIPE = 2
DENSE = ("float", "int8", "dynamic_range")
CALIBRATION_IMAGES = 8
_LEAST_SIDE = 7  # of maps with statistics of their own
# Sides at which cost growth is measured (growth.py).
SIDES = (96, 128, 160, 192, 224, 288, 352, 448)
WARMUP = "warm_up"
# Smallest image of all networks: five halvings. Memory is measured there (memory.py).
SMALLEST_SIDE = 32
# Networks whose files hold the image's size, in a detector's reshapes: others are resized when they are loaded.
FIXED_SIZE = ("ssdlite_mobilenet_v2",)
_SMALLEST = "_smallest"


def variants(network: str, bits: Sequence[int]) -> list[str]:
    """The files of a network by what they hold."""
    found = [*DENSE, *(f"w{b}" for b in bits), *(f"w{b}_int8" for b in bits)]
    if network in FIXED_SIZE:
        found += [f"{v}{_SMALLEST}" for v in ("float", *(f"w{b}" for b in bits))]
    return found


def paths(network: str, bits: Sequence[int], folder: Path) -> dict[str, Path]:
    """Variant -> file, whether it exists or not."""
    return {v: folder / f"{network}_{v}.tflite" for v in variants(network, bits)}


def at_smallest_side(file: str, network: str) -> tuple[str, int | None]:
    """The file to load for an image of the smallest side, and the side to resize it to, if any."""
    if network not in FIXED_SIZE:
        return file, SMALLEST_SIDE
    return file.removesuffix(".tflite") + f"{_SMALLEST}.tflite", None


def facts(network: str, folder: Path) -> dict[str, Any]:
    """What is known of a network's files: `recipe`, `side`, `parameters`, `macs` and `macs_at` (by side); {} without files."""
    try:
        return json.loads((folder / f"{network}.json").read_text())
    except (OSError, ValueError):
        return {}


def missing(network: str, bits: Sequence[int], folder: Path) -> list[str]:
    """The variants that are not there, or were made by another recipe."""
    current = facts(network, folder).get("recipe") == RECIPE
    return [v for v, file in paths(network, bits, folder).items() if not current or not file.exists()]


def make_files(
    network: str, bits: Sequence[int], folder: Path, say: Callable[[str], None] = lambda text: None
) -> dict[str, Path]:
    """Makes what is missing.

    Args:
        network: one of `NETWORKS`, or `WARMUP`.
        bits: widths of the files with shared weights.
        folder: where files are kept; made if it does not exist.
        say: told what is being made.

    Returns:
        Variant -> file.
    """
    files, todo = paths(network, bits, folder), missing(network, bits, folder)
    if not todo:
        return files
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / f"{network}.json"
    if facts(network, folder).get("recipe") != RECIPE:
        manifest.unlink(missing_ok=True)
    say(f"{network}: building")
    model = _build(network)
    smallest = _build(network, side=SMALLEST_SIDE) if network in FIXED_SIZE else None
    for variant in todo:
        say(f"{network}: {files[variant].name}")
        if variant.endswith(_SMALLEST):
            _write(smallest, variant.removesuffix(_SMALLEST), files[variant], files)
        else:
            _write(model, variant, files[variant], files)
    write_atomically(str(manifest), (json.dumps(_facts(network, model), indent=2) + "\n").encode())
    return files


def _build(network: str, **size: int) -> Any:
    from dgms_keras.recipes.models import NETWORKS

    model = _warm_up_network() if network == WARMUP else NETWORKS[network](**size)
    _settle(model)
    return model


def _settle(model: Any) -> None:
    """Gives batch normalisations the statistics of random images. With those they begin with, maps vanish layer by layer.

    Those of the smallest maps (the last ones of a detector) stay as they are: the few values of a channel hardly differ, and divided by
    so little, rounding errors become large.
    """
    import keras

    normalisations = [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization) and layer.output.shape[1] >= _LEAST_SIDE
    ]
    momenta = [layer.momentum for layer in normalisations]
    for layer in normalisations:
        layer.momentum = 0.0
    model(_calibration_images(model), training=True)
    for layer, momentum in zip(normalisations, momenta, strict=True):
        layer.momentum = momentum


def _warm_up_network() -> Any:
    """A few small layers of each kind: what runs before memory is measured, so that code and threads are there already."""
    import keras
    from keras import layers

    from dgms_keras.recipes.models.blocks import Block, Builder

    build = Builder(0)
    inputs = keras.Input((16, 16, 8), name="image")
    x = build.conv_bn(inputs, 32, 3, 1, "stem")
    x, _ = build.inverted_residual(x, Block(2, 3, 32), "block")
    x = layers.MaxPooling2D(2)(x)
    return keras.Model(inputs, build.classifier(x, 32), name=WARMUP)


def _facts(network: str, model: Any) -> dict[str, Any]:
    from dgms_keras.recipes.models import NETWORKS
    from dgms_keras.recipes.models.cost import macs, parameters

    resizable = network != WARMUP and network not in FIXED_SIZE
    return {
        "recipe": RECIPE,
        "side": model.inputs[0].shape[1],
        "parameters": parameters(model),
        "macs": macs(model),
        "macs_at": {str(side): macs(NETWORKS[network](side=side)) for side in SIDES} if resizable else {},
    }


def _write(model: Any, variant: str, target: Path, files: dict[str, Path]) -> None:
    import dgms_keras
    from dgms_keras.export.exporter import export_frozen
    from dgms_keras.export.int8.quantize import quantize

    if variant == "float":
        export_frozen(model, [], target)
    elif variant == "int8":
        dense = files["float"].read_bytes()
        write_atomically(str(target), quantize(dense, [[image[None]] for image in _calibration_images(model)]))
    elif variant == "dynamic_range":
        write_atomically(str(target), _dynamic_range(model))
    else:
        bits, _, activations = variant.removeprefix("w").partition("_")
        quantised = dgms_keras.quantize_apply(model, bits=int(bits), skip_first_last=False)
        if activations:
            dgms_keras.export_tflite(
                quantised,
                target,
                activations="int8",
                representative_dataset=_calibration_images(model),
                verify=False,  # how near random weights come to the float network says nothing; tests verify such files
            )
        else:
            dgms_keras.export_tflite(quantised, target)


def _calibration_images(model: Any) -> Any:
    import numpy as np

    shape = model.inputs[0].shape[1:]
    return np.random.default_rng(0).standard_normal((CALIBRATION_IMAGES, *shape)).astype(np.float32)


def _dynamic_range(model: Any) -> bytes:
    """TensorFlow's dynamic-range quantisation: int8 weights, activations quantised as they come."""
    import tensorflow as tf

    from dgms_keras.export.quiet import captured_stderr

    with tempfile.TemporaryDirectory(prefix="dgms_networks_") as folder, captured_stderr():
        model.export(folder, format="tf_saved_model", verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        return converter.convert()


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of this module."""
    from dgms_keras.recipes.models import NETWORKS

    parser = argparse.ArgumentParser(description="Make the networks' .tflite files.")
    parser.add_argument("--networks", nargs="+", choices=[*NETWORKS, WARMUP], default=list(NETWORKS))
    parser.add_argument("--bits", nargs="+", type=int, choices=BITS, default=[4])
    parser.add_argument("--folder", type=Path, default=Path("build/networks"))
    arguments = parser.parse_args(argv)
    for network in arguments.networks:
        make_files(network, arguments.bits, arguments.folder, lambda text: print(text, flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
