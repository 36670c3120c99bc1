"""What int8 activations cost: `python -m dgms_keras.recipes.int8_accuracy [--output FILE.json]`, some minutes on two cores.

A small network is trained on procedural shapes (shapes.py), compressed by DGMS to 4 and to 2 bits, and exported with float and with
int8 activations, the latter in four ways: TensorFlow's own dense int8 filters of the same weights; codebooks rounded plainly (the
largest value becomes 127, no bias correction); with the scale searched; with scale search and bias correction, the default. All
accuracies are those of the file in the stock runtime on the same test images; besides, that of the float file with the delegate's
option `dynamic_int8`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dgms_keras.export.int8.options import Int8Options
from dgms_keras.recipes.shapes import Shapes, load_shapes
from dgms_keras.recipes.small_network import small_network, top1, train

# Name -> how codebooks are rounded; None: dense int8 filters.
VARIANTS: dict[str, Int8Options | None] = {
    "dense int8": None,
    "naive": Int8Options(scale="max", bias_correction=False),
    "scale search": Int8Options(scale="mse", bias_correction=False),
    "default": Int8Options(),
}

# The float file, computed on integers by the delegate: activations quantised as they come, for each image.
DYNAMIC = "dynamic int8"


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
        variant: `"float"`, `DYNAMIC`, or a name of `VARIANTS`.
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
    model = small_network(keras)
    say(
        f"training in float: {model.count_params():,} parameters, {len(data.x_train)} images, {settings.float_epochs} epochs"
    )
    train(keras, model, data, settings.float_epochs, 3e-3, settings.batch_size, say)
    float_top1 = top1(model, data)
    say(f"float network: {float_top1:.2f} %")
    rows: list[Row] = []
    for bits in settings.bits:
        keras.utils.set_random_seed(settings.seed)
        quantised = dgms_keras.quantize_apply(model, bits=bits)
        say(f"{bits} bits: {settings.dgms_epochs} epochs of DGMS")
        train(keras, quantised, data, settings.dgms_epochs, 1e-3, settings.batch_size, say)
        rows += _export_all(quantised, bits, data, settings, say)
    return {
        "settings": dataclasses.asdict(settings),
        "float_network_top1": float_top1,
        "rows": [dataclasses.asdict(row) for row in rows],
    }


def _export_all(quantised: Any, bits: int, data: Shapes, settings: Settings, say: Callable[[str], None]) -> list[Row]:
    """The file with float activations and every variant of int8, measured."""
    import dgms_keras
    from dgms_keras.export.exporter import export_frozen

    calibration = data.x_train[: settings.calibration_images]
    plain, frozen = dgms_keras.strip(quantised), dgms_keras.frozen_weights(quantised)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="dgms_int8_") as folder:
        for variant in ("float", DYNAMIC, *VARIANTS):
            file = Path(folder) / f"{variant}.tflite"
            if variant in ("float", DYNAMIC):
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
            accuracy = _file_top1(file, data, dynamic_int8=variant == DYNAMIC)
            ratios = {row.name: row.snr_db for row in report.layers if row.snr_db is not None}
            row = Row(
                bits=bits,
                variant=variant,
                top1=accuracy,
                change=accuracy - (rows[0].top1 if rows else accuracy),
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
            say(f"  {bits} bits, {variant}: {accuracy:.2f} % ({row.change:+.2f}), {row.file_bytes:,} bytes{snr}")
    return rows


def _file_top1(file: Path, data: Shapes, dynamic_int8: bool = False, batch: int = 250) -> float:
    """Accuracy of a file in the stock runtime, or in the delegate with its option `dynamic_int8`; percent."""
    from dgms_keras.litert import RuntimeInterpreter
    from dgms_keras.runtime.delegate import load_delegate

    delegates = [load_delegate(activations="dynamic_int8", num_threads=2)] if dynamic_int8 else None
    interpreter = RuntimeInterpreter(model_path=str(file), num_threads=2, experimental_delegates=delegates)
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
