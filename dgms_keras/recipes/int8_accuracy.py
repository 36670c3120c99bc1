"""What int8 activations cost: `python -m dgms_keras.recipes.int8_accuracy [--output FILE.json]`, some minutes on two cores.

A small network is trained on procedural shapes (shapes.py), compressed by DGMS to 4 and to 2 bits, and exported with float and with
int8 activations, the latter in four ways: TensorFlow's own dense int8 filters of the same weights; codebooks rounded plainly (the
largest value becomes 127, no bias correction); with the scale searched; with scale search and bias correction, the default. All
accuracies are those of the file in the stock runtime on the same test images.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dgms_keras.export.int8.options import Int8Options
from dgms_keras.recipes.shapes import CLASSES, SIDE, Shapes, load_shapes

# Name -> how codebooks are rounded; None: dense int8 filters.
VARIANTS: dict[str, Int8Options | None] = {
    "dense int8": None,
    "naive": Int8Options(scale="max", bias_correction=False),
    "scale search": Int8Options(scale="mse", bias_correction=False),
    "default": Int8Options(),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """How much data and training; the defaults take about five minutes on two cores."""

    train_images: int = 16000
    test_images: int = 4000
    calibration_images: int = 200
    float_epochs: int = 5
    dgms_epochs: int = 2
    batch_size: int = 64
    bits: tuple[int, ...] = (4, 2)
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Row:
    """One exported file.

    Args:
        bits: of the weights.
        variant: `"float"`, or a name of `VARIANTS`.
        top1: accuracy in the stock runtime, percent.
        change: against the float activations of the same weights, points.
        mean_snr_db, least_snr_db: over the layers with shared weights; None where not measured.
        layer_snr_db: by weight.
        file_bytes: of the file.
    """

    bits: int
    variant: str
    top1: float
    change: float
    mean_snr_db: float | None
    least_snr_db: float | None
    layer_snr_db: dict[str, float]
    file_bytes: int


def small_network(classes: int = len(CLASSES)) -> Any:
    """Convolutions, depthwise-separable blocks, a residual block and two dense layers, all but the last with BatchNorm."""
    import keras
    from keras import layers

    def finish(x: Any, name: str, relu: bool = True) -> Any:
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
        return layers.ReLU(name=f"{name}_relu")(x) if relu else x

    def conv(x: Any, width: int, kernel: int, stride: int, name: str, relu: bool = True) -> Any:
        x = layers.Conv2D(width, kernel, stride, padding="same", use_bias=False, name=name)(x)
        return finish(x, name, relu)

    def separable(x: Any, width: int, stride: int, name: str) -> Any:
        x = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
        return conv(finish(x, f"{name}_depthwise"), width, 1, 1, f"{name}_pointwise")

    inputs = keras.Input((SIDE, SIDE, 3), name="image")
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
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name="int8_study")


def run_study(settings: Settings | None = None, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Trains, compresses, exports and measures.

    Returns:
        JSON types: the settings, accuracies of the float network, and one `Row` per file.
    """
    settings = settings or Settings()
    import keras

    import dgms_keras

    keras.utils.set_random_seed(settings.seed)
    data = load_shapes(settings.train_images, settings.test_images, settings.seed)
    model = small_network()
    say(
        f"training in float: {model.count_params():,} parameters, {len(data.x_train)} images, {settings.float_epochs} epochs"
    )
    _train(model, data, settings, settings.float_epochs, 3e-3, say)
    float_top1 = _keras_top1(model, data)
    say(f"float network: {float_top1:.2f} %")
    rows: list[Row] = []
    for bits in settings.bits:
        keras.utils.set_random_seed(settings.seed)
        quantised = dgms_keras.quantize_apply(model, bits=bits)
        say(f"{bits} bits: {settings.dgms_epochs} epochs of DGMS")
        _train(quantised, data, settings, settings.dgms_epochs, 1e-3, say)
        rows += _export_all(quantised, bits, data, settings, say)
    return {
        "settings": dataclasses.asdict(settings),
        "float_network_top1": float_top1,
        "rows": [dataclasses.asdict(row) for row in rows],
    }


def _train(model: Any, data: Shapes, settings: Settings, epochs: int, rate: float, say: Callable[[str], None]) -> None:
    import keras

    steps = epochs * -(-len(data.x_train) // settings.batch_size)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    start = time.perf_counter()
    history = model.fit(data.x_train, data.y_train, epochs=epochs, batch_size=settings.batch_size, verbose=0)
    figures = ", ".join(f"{name} {values[-1]:.4f}" for name, values in history.history.items())
    say(f"  {figures}, {time.perf_counter() - start:.0f} s")


def _keras_top1(model: Any, data: Shapes) -> float:
    logits = model.predict(data.x_test, batch_size=250, verbose=0)
    return 100 * float(np.mean(np.argmax(logits, -1) == data.y_test))


def _export_all(quantised: Any, bits: int, data: Shapes, settings: Settings, say: Callable[[str], None]) -> list[Row]:
    """The file with float activations and every variant of int8, measured."""
    import dgms_keras
    from dgms_keras.export.exporter import export_frozen

    calibration = data.x_train[: settings.calibration_images]
    plain, frozen = dgms_keras.strip(quantised), dgms_keras.frozen_weights(quantised)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="dgms_int8_") as folder:
        for variant in ("float", *VARIANTS):
            file = Path(folder) / f"{variant}.tflite"
            if variant == "float":
                report = export_frozen(plain, frozen, file)
            else:
                options = VARIANTS[variant]
                report = export_frozen(
                    plain,
                    [] if options is None else frozen,
                    file,
                    activations="int8",
                    representative_dataset=calibration,
                    int8_options=options,
                )
            top1 = _file_top1(file, data)
            ratios = {row.name: row.snr_db for row in report.layers if row.snr_db is not None}
            row = Row(
                bits=bits,
                variant=variant,
                top1=top1,
                change=top1 - (rows[0].top1 if rows else top1),
                mean_snr_db=float(np.mean(list(ratios.values()))) if ratios else None,
                least_snr_db=min(ratios.values()) if ratios else None,
                layer_snr_db=ratios,
                file_bytes=report.file_bytes,
            )
            rows.append(row)
            snr = (
                ""
                if row.mean_snr_db is None
                else f", SNR mean {row.mean_snr_db:.1f} dB, least {row.least_snr_db:.1f} dB"
            )
            say(f"  {bits} bits, {variant}: {top1:.2f} % ({row.change:+.2f}), {row.file_bytes:,} bytes{snr}")
    return rows


def _file_top1(file: Path, data: Shapes, batch: int = 250) -> float:
    """Accuracy of a file in the stock runtime, percent."""
    from dgms_keras.litert import RuntimeInterpreter

    interpreter = RuntimeInterpreter(model_path=str(file), num_threads=2)
    image, logits = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    right = 0
    for start in range(0, len(data.x_test), batch):
        x, y = data.x_test[start : start + batch], data.y_test[start : start + batch]
        if start == 0 or len(x) != batch:
            interpreter.resize_tensor_input(image, x.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(image, x)
        interpreter.invoke()
        right += int(np.sum(np.argmax(interpreter.get_tensor(logits), -1) == y))
    return 100 * right / len(data.x_test)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m dgms_keras.recipes.int8_accuracy", description=__doc__)
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="also write the figures as JSON")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    result = run_study(Settings(seed=arguments.seed), lambda text: print(text, flush=True))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
