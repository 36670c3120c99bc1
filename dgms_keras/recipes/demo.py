"""`dgms demo`: train, compress, export, run and time, on real handwritten digits; a few minutes on two cores.

A small ResNet is trained in float, then compressed to 4, 3 and 2 bits by a few epochs of DGMS, once with the defaults and once
with the paper's own choices (`DGMSConfig.paper`). Every model is exported, checked against the stock runtime and timed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dgms_keras.recipes.digits import Digits, load_digits, shifted, small_resnet


@dataclasses.dataclass(frozen=True)
class DemoSettings:
    """How long the demo trains and times: epochs of the float model, epochs of DGMS, timed runs for each path."""

    float_epochs: int = 8
    dgms_epochs: int = 4
    batch_size: int = 64
    runs: int = 200
    seed: int = 0


@dataclasses.dataclass
class DemoRow:
    """One line of the demo's table. Times are medians in milliseconds, 1 thread, batch 1."""

    name: str
    accuracy: float  # hard weights, Keras, on the test images
    tflite_accuracy: float  # the exported file with our delegate, on the same images
    bytes: int
    stock_ms: float  # TFLite's own kernels with XNNPACK, on this file
    delegate_ms: float | None  # our delegate, on this file
    peer_ms: float  # XNNPACK on the float file, interleaved with the two above
    sharing_error: float | None  # sum of squared differences of latent and hard weights, over that of the weights


def run_demo(
    folder: str | os.PathLike[str],
    settings: DemoSettings | None = None,
    say: Callable[[str], None] = print,
) -> list[DemoRow]:
    """Runs the demo, leaves models, pictures and `results.json` in `folder`, and returns the table's rows."""
    settings = settings or DemoSettings()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    import keras

    import dgms_keras
    from dgms_keras.export.exporter import export_frozen

    keras.utils.set_random_seed(settings.seed)
    digits = load_digits(seed=settings.seed)
    say(f"digits: {len(digits.x_train)} training images, {len(digits.x_test)} test images, {digits.x_test.shape[1:]}")
    model = small_resnet()
    say(f"training a small ResNet in float ({model.count_params():,} parameters, {settings.float_epochs} epochs) ...")
    _train(model, digits, settings, settings.float_epochs, 2e-3, say)
    model.save(folder / "float.keras")
    float_file = folder / "float.tflite"
    export_frozen(model, [], float_file)  # dense
    rows = [_float_row(model, float_file, digits, settings)]
    pictures = []
    for preset, make in (("default", dgms_keras.DGMSConfig), ("paper", dgms_keras.DGMSConfig.paper)):
        for bits in (4, 3, 2):
            say(f"compressing to {bits} bits ({preset}, {settings.dgms_epochs} epochs) ...")
            row, picture = _compress(model, make(bits=bits), preset, folder, digits, settings, say)
            rows.append(row)
            if preset == "default":
                pictures.append(picture)
    from dgms_keras.report.plots import save_before_after

    save_before_after(folder / "mixtures.png", pictures)
    (folder / "results.json").write_text(json.dumps([dataclasses.asdict(r) for r in rows], indent=2) + "\n")
    return rows


def _train(
    model: Any, digits: Digits, settings: DemoSettings, epochs: int, rate: float, say: Callable[[str], None]
) -> None:
    import keras

    x, y = shifted(digits.x_train, digits.y_train, settings.seed)
    steps = epochs * -(-len(x) // settings.batch_size)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    start = time.perf_counter()

    def report(epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        say(
            f"  epoch {epoch + 1:2d}/{epochs}  loss {logs.get('loss', float('nan')):.4f}  "
            f"accuracy {logs.get('accuracy', float('nan')):.4f}  {time.perf_counter() - start:.0f} s"
        )

    model.fit(
        x,
        y,
        epochs=epochs,
        batch_size=settings.batch_size,
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=report)],
    )


def _accuracy(model: Any, digits: Digits) -> float:
    logits = model.predict(digits.x_test, batch_size=250, verbose=0)
    return float(np.mean(np.argmax(logits, -1) == digits.y_test))


def _tflite_accuracy(file: Path, digits: Digits) -> float:
    from dgms_keras import Interpreter

    interpreter = Interpreter(file)
    image = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(image, digits.x_test.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(image, digits.x_test)
    interpreter.invoke()
    logits = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return float(np.mean(np.argmax(logits, -1) == digits.y_test))


def _float_row(model: Any, file: Path, digits: Digits, settings: DemoSettings) -> DemoRow:
    from dgms_keras import benchmark

    timing = benchmark(file, paths=("xnnpack",), runs=settings.runs)["xnnpack"]
    return DemoRow(
        name="float",
        accuracy=_accuracy(model, digits),
        tflite_accuracy=_tflite_accuracy(file, digits),
        bytes=file.stat().st_size,
        stock_ms=timing.median_ms,
        delegate_ms=None,
        peer_ms=timing.median_ms,
        sharing_error=None,
    )


def _compress(
    model: Any,
    config: Any,
    preset: str,
    folder: Path,
    digits: Digits,
    settings: DemoSettings,
    say: Callable[[str], None],
) -> tuple[DemoRow, tuple[str, np.ndarray, Any, np.ndarray, Any]]:
    import keras

    import dgms_keras

    keras.utils.set_random_seed(settings.seed)
    quantised = dgms_keras.quantize_apply(model, config)
    shown = "block3_2_conv"  # the largest layer
    before = (np.array(quantised.get_layer(shown).layer.kernel), dgms_keras.mixtures(quantised)[shown])
    _train(quantised, digits, settings, settings.dgms_epochs, 1e-3, say)
    after = (np.array(quantised.get_layer(shown).layer.kernel), dgms_keras.mixtures(quantised)[shown])
    name = f"w{config.bits}_{preset}"
    quantised.save(folder / f"{name}.keras")
    file = folder / f"{name}.tflite"
    dgms_keras.export_tflite(quantised, file)
    timing = dgms_keras.benchmark(
        file, dense=folder / "float.tflite", paths=("delegate", "xnnpack"), runs=settings.runs
    )
    row = DemoRow(
        name=f"W{config.bits} {preset}",
        accuracy=_accuracy(quantised, digits),
        tflite_accuracy=_tflite_accuracy(file, digits),
        bytes=file.stat().st_size,
        stock_ms=timing["xnnpack"].median_ms,
        delegate_ms=timing["delegate"].median_ms,
        peer_ms=timing["dense:xnnpack"].median_ms,
        sharing_error=_sharing_error(quantised),
    )
    return row, (f"{shown}, {config.bits} bits", *before, *after)


def _sharing_error(quantised: Any) -> float:
    """The squared distance of latent and hard weights over all quantised layers, relative to the weights' own squares."""
    import dgms_keras

    error = energy = 0.0
    for frozen in dgms_keras.frozen_weights(quantised):
        latent = np.array(getattr(quantised.get_layer(frozen.layer).layer, frozen.weight), np.float64)
        error += float(np.sum((latent - frozen.dense()) ** 2))
        energy += float(np.sum(latent**2))
    return error / energy


def demo_table(rows: list[DemoRow]) -> Any:
    """The demo's results as a rich table."""
    from rich.table import Table

    table = Table(title="DGMS on handwritten digits (797 test images; batch 1, 1 thread, medians)")
    table.add_column("model")
    for heading in (
        "accuracy %",
        ".tflite accuracy %",
        "bytes",
        "smaller",
        "stock ms",
        "delegate ms",
        "float XNNPACK ms",
        "sharing error",
    ):
        table.add_column(heading, justify="right")
    for r in rows:
        table.add_row(
            r.name,
            f"{100 * r.accuracy:.1f}",
            f"{100 * r.tflite_accuracy:.1f}",
            f"{r.bytes:,}",
            f"{rows[0].bytes / r.bytes:.1f}x",
            f"{r.stock_ms:.3f}",
            "-" if r.delegate_ms is None else f"{r.delegate_ms:.3f}",
            f"{r.peer_ms:.3f}",
            "-" if r.sharing_error is None else f"{r.sharing_error:.2e}",
        )
    return table
