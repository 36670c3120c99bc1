"""The models that the Android app carries: `python -m dgms_keras.recipes.android_models --output DIR`, two minutes on two cores.

Two small networks are trained, one on procedural shapes (shapes.py, small_network.py) and one on handwritten digits (digits.py),
compressed by DGMS and exported, each file with its dense twin: the same network without shared weights. Beside them lie sample
images, drawn from the test images, and models.json, which says how pixels become inputs and what each file's accuracy is.

models.json (files are named relative to it):

    {"schema": "dgms-models", "schema_version": "1.0", "made_by": {...}, "models": [{
      "name": "shapes_w4_int8", "title": "...",
      "file": "shapes_w4_int8.tflite", "dense_file": "shapes_int8.tflite",
      "bits": 4, "activations": "int8",                            of the shared weights; "float32" or "int8"
      "accuracy": {"top1": 0.93, "images": 2000},                  of `file` in the stock runtime, measured on test images
      "dense_accuracy": {"top1": 0.92, "images": 2000},            of `dense_file`, likewise
      "labels": ["disk", ...],                                     one for each output
      "input": {"shape": [1, 32, 32, 3], "dtype": "int8", "scale": 1.0, "offset": -128.0, "channels": 3},
      "samples": [{"file": "samples/shapes_00.png", "label": 3}, ...]
    }, ...]}

An input's value is `pixel * scale + offset` for pixels of 0 to 255; for int8 inputs that is rounded to the nearest integer and
limited to -128 to 127. Samples are 8-bit PNGs of exactly the input's size: RGB for 3 channels, grey for 1.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dgms_keras._version import __version__
from dgms_keras.recipes import digits, shapes, small_network

NETWORKS = ("shapes", "digits")
SCHEMA_VERSION = "1.0"


@dataclasses.dataclass(frozen=True)
class Settings:
    """How much data and training; the defaults take two minutes on two cores.

    Args:
        networks: some of `NETWORKS`.
        train_images, test_images: at most so many of each data set. (Of digits there are 2,000 and 797.)
        noise: of the shapes' pixels, less than in the studies: few epochs have to do.
        dgms_images: at most so many of the training images are shown to the compressed networks.
        calibration_images: training images from which int8 ranges are taken.
        shapes_epochs, digits_epochs: of the float networks.
        dgms_epochs: of each compressed network.
        samples: sample images of each data set.
        seed: of data, weights and order.
    """

    networks: tuple[str, ...] = NETWORKS
    train_images: int = 8000
    test_images: int = 2000
    noise: float = 0.05
    dgms_images: int = 4000
    calibration_images: int = 200
    shapes_epochs: int = 5
    digits_epochs: int = 3
    dgms_epochs: int = 1
    batch_size: int = 32
    samples: int = 12
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class PhoneImages:
    """Test images as a phone has them.

    Args:
        pixels: uint8 `[n, height, width, channels]`; 0 is -1 and 255 is 1.
        labels: class numbers.
        classes: their names.
    """

    pixels: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How pixels become inputs: `pixel * scale + offset`, rounded and limited for int8."""

    dtype: str
    scale: float
    offset: float

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        values = pixels.astype(np.float64) * self.scale + self.offset
        if self.dtype == "int8":
            return np.clip(np.rint(values), -128, 127).astype(np.int8)
        return values.astype(np.float32)


def make_models(
    folder: str | Path,
    settings: Settings | None = None,
    *,
    force: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Makes the folder, in one step: it is complete or as it was before.

    Args:
        folder: made, or replaced if this function made it. Left alone where it is up to date: same settings, sources and versions,
            and every file as it was written.
        settings: None for the defaults.
        force: make it anew in any case.
        say: receives lines of progress.

    Returns:
        The content of models.json.

    Raises:
        ValueError: a setting has a value it cannot have. FileExistsError: the folder holds something else.
        ModuleNotFoundError: scikit-learn is missing, which has the digits.
    """
    settings = settings or Settings()
    unknown = [n for n in settings.networks if n not in NETWORKS]
    if unknown or not settings.networks or len(set(settings.networks)) != len(settings.networks):
        raise ValueError(
            f"`networks` must be some of {', '.join(NETWORKS)}, each once. Received: {list(settings.networks)}"
        )
    folder = Path(folder).absolute()
    old = _old_models(folder)
    fingerprint = _fingerprint(settings)
    if old is not None and not force and _up_to_date(folder, old, fingerprint):
        say(f"models: up to date in {folder}")
        return old
    start = time.perf_counter()
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".new", dir=folder.parent))
    try:
        models = [model for network in settings.networks for model in _MAKERS[network](temporary, settings, say)]
        files = sorted(p for p in temporary.rglob("*") if p.is_file())
        catalog = {
            "schema": "dgms-models",
            "schema_version": SCHEMA_VERSION,
            "made_by": {
                "version": __version__,
                "fingerprint": fingerprint,
                "sha256": {p.relative_to(temporary).as_posix(): _sha256(p) for p in files},
            },
            "models": models,
        }
        (temporary / "models.json").write_text(json.dumps(catalog, indent=2) + "\n")
        temporary.chmod(0o755)  # mkdtemp's own is private
        _replace(folder, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    say(f"models: {len(models)} in {folder}, {size:,} bytes, {time.perf_counter() - start:.0f} s")
    return catalog


def _old_models(folder: Path) -> dict[str, Any] | None:
    """What is in the folder now; None if nothing is."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        catalog = json.loads((folder / "models.json").read_text())
        if catalog["schema"] == "dgms-models" and "fingerprint" in catalog["made_by"]:
            return catalog
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise FileExistsError(
        f"`folder` must be new, empty, or one that this recipe made, since it is replaced as a whole. Received: {folder}"
    )


def _fingerprint(settings: Settings) -> str:
    """Of all that decides what the files hold, as far as it can be told cheaply: settings, the recipe's sources, versions."""
    from importlib import metadata

    parts = [json.dumps(dataclasses.asdict(settings), sort_keys=True), SCHEMA_VERSION, __version__]
    parts += [f"{name} {metadata.version(name)}" for name in ("keras", "tensorflow", "numpy")]
    parts += [Path(module.__file__).read_text() for module in (digits, shapes, small_network)]
    parts.append(Path(__file__).read_text())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _up_to_date(folder: Path, catalog: dict[str, Any], fingerprint: str) -> bool:
    made_by = catalog["made_by"]
    return made_by["fingerprint"] == fingerprint and all(
        (folder / name).is_file() and _sha256(folder / name) == digest for name, digest in made_by["sha256"].items()
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _replace(folder: Path, temporary: Path) -> None:
    """Puts `temporary` in the place of `folder`. A full folder cannot be renamed over, so the old one steps aside first."""
    old = temporary.with_suffix(".old")
    if folder.exists():
        folder.rename(old)
    try:
        temporary.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _make_shapes(folder: Path, settings: Settings, say: Callable[[str], None]) -> list[dict[str, Any]]:
    import keras

    import dgms_keras
    from dgms_keras.export.exporter import export_frozen

    keras.utils.set_random_seed(settings.seed)
    data = shapes.load_shapes(settings.train_images, settings.test_images, settings.seed, settings.noise)
    model = small_network.small_network(keras)
    _train_float(model, data, "shapes", settings.shapes_epochs, 3e-3, settings, say)
    int8 = {
        "activations": "int8",
        "inference_type": "int8",
        "representative_dataset": data.x_train[: settings.calibration_images],
    }
    export_frozen(model, [], folder / "shapes_float.tflite")
    export_frozen(model, [], folder / "shapes_int8.tflite", **int8)
    quantised = {bits: _quantise(model, bits, data, "shapes", settings, say) for bits in (4, 2)}
    for bits in quantised:
        dgms_keras.export_tflite(quantised[bits], folder / f"shapes_w{bits}.tflite")
    dgms_keras.export_tflite(quantised[4], folder / "shapes_w4_int8.tflite", **int8)
    images = PhoneImages(to_pixels(data.x_test), data.y_test, shapes.CLASSES)
    samples = write_samples(folder, "shapes", images, settings.samples)
    return [
        describe(folder, *row, images, samples, say)
        for row in (
            ("shapes_w4", "Shapes, 4-bit weights", "shapes_float", 4),
            ("shapes_w4_int8", "Shapes, 4-bit weights, int8 activations", "shapes_int8", 4),
            ("shapes_w2", "Shapes, 2-bit weights", "shapes_float", 2),
        )
    ]


def _make_digits(folder: Path, settings: Settings, say: Callable[[str], None]) -> list[dict[str, Any]]:
    import keras

    import dgms_keras
    from dgms_keras.export.exporter import export_frozen

    keras.utils.set_random_seed(settings.seed)
    data = digits.load_digits(seed=settings.seed)
    x, y = digits.shifted(data.x_train, data.y_train, settings.seed)
    data = digits.Digits(
        x[: settings.train_images],
        y[: settings.train_images],
        data.x_test[: settings.test_images],
        data.y_test[: settings.test_images],
    )
    model = digits.small_resnet()
    _train_float(model, data, "digits", settings.digits_epochs, 2e-3, settings, say)
    export_frozen(model, [], folder / "digits_float.tflite")
    dgms_keras.export_tflite(_quantise(model, 4, data, "digits", settings, say), folder / "digits_w4.tflite")
    images = PhoneImages(to_pixels(data.x_test), data.y_test, tuple("0123456789"))
    samples = write_samples(folder, "digits", images, settings.samples)
    return [describe(folder, "digits_w4", "Digits, 4-bit weights", "digits_float", 4, images, samples, say)]


def _train_float(
    model: Any, data: Any, name: str, epochs: int, rate: float, settings: Settings, say: Callable[[str], None]
) -> None:
    import keras

    say(f"{name}: {len(data.x_train)} images, {model.count_params():,} parameters, float, {epochs} epochs")
    small_network.train(keras, model, data, epochs, rate, settings.batch_size, say)


def _quantise(model: Any, bits: int, data: Any, name: str, settings: Settings, say: Callable[[str], None]) -> Any:
    """The network with shared weights, tuned."""
    import keras

    import dgms_keras

    some = dataclasses.replace(
        data, x_train=data.x_train[: settings.dgms_images], y_train=data.y_train[: settings.dgms_images]
    )
    say(f"{name}: {bits} bits, {len(some.x_train)} images, {settings.dgms_epochs} epoch(s) of DGMS")
    keras.utils.set_random_seed(settings.seed)
    quantised = dgms_keras.quantize_apply(model, bits=bits)
    small_network.train(keras, quantised, some, settings.dgms_epochs, 1e-3, settings.batch_size, say)
    return quantised


_MAKERS = {"shapes": _make_shapes, "digits": _make_digits}


def to_pixels(images: np.ndarray) -> np.ndarray:
    """Images in [-1, 1] as 8-bit pixels: -1 is 0, 1 is 255."""
    return np.clip(np.rint((images + 1) * 127.5), 0, 255).astype(np.uint8)


def write_samples(folder: Path, name: str, images: PhoneImages, count: int) -> list[dict[str, Any]]:
    """The first test image of each class, then the second ones, until there are `count`; whether a network gets them right plays
    no part. Returns their entries for models.json."""
    import tensorflow as tf

    nth = np.zeros(len(images.labels), int)  # which image of its class each one is
    for label in range(len(images.classes)):
        of_class = np.flatnonzero(images.labels == label)
        nth[of_class] = np.arange(len(of_class))
    chosen = np.lexsort((images.labels, nth))[:count]
    (folder / "samples").mkdir(exist_ok=True)
    samples = []
    for i, index in enumerate(chosen):
        file = f"samples/{name}_{i:02d}.png"
        (folder / file).write_bytes(tf.io.encode_png(images.pixels[index]).numpy())
        samples.append({"file": file, "label": int(images.labels[index])})
    return samples


def describe(
    folder: Path,
    name: str,
    title: str,
    dense: str,
    bits: int,
    images: PhoneImages,
    samples: list[dict[str, Any]],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """One model's entry in models.json, with the accuracy of both files measured in the stock runtime."""
    files = [folder / f"{stem}.tflite" for stem in (name, dense)]
    preprocessing = preprocessing_of(files[0])
    if preprocessing_of(files[1]) != preprocessing:
        raise ValueError(
            f"a model and its dense twin must take the same inputs. Received: {preprocessing} and {preprocessing_of(files[1])} "
            f"({name})"
        )
    count = len(images.labels)
    top1, dense_top1 = (file_top1(file, preprocessing(images.pixels), images.labels) for file in files)
    say(
        f"  {name}: {100 * top1:.2f} % of {count} test images, {files[0].stat().st_size:,} bytes "
        f"(dense: {100 * dense_top1:.2f} %, {files[1].stat().st_size:,} bytes)"
    )
    shape = [1, *images.pixels.shape[1:]]
    return {
        "name": name,
        "title": title,
        "file": files[0].name,
        "dense_file": files[1].name,
        "bits": bits,
        "activations": "int8" if preprocessing.dtype == "int8" else "float32",
        "accuracy": {"top1": top1, "images": count},
        "dense_accuracy": {"top1": dense_top1, "images": count},
        "labels": list(images.classes),
        "input": {"shape": shape, **dataclasses.asdict(preprocessing), "channels": shape[-1]},
        "samples": samples,
    }


def preprocessing_of(file: Path) -> Preprocessing:
    """From pixels to the file's input, whose real values are in [-1, 1]."""
    from dgms_keras.litert import RuntimeInterpreter

    detail = RuntimeInterpreter(model_path=str(file)).get_input_details()[0]
    if detail["dtype"] != np.int8:
        return Preprocessing("float32", 1 / 127.5, -1.0)
    step, zero = detail["quantization"]
    scale, offset = 1 / 127.5 / step, zero - 1 / step
    if abs(scale - 1) < 1e-3:
        # A range of -1 to 1 takes 255 steps, as many as pixels have: every pixel would fall between two of int8's values, and
        # round-off decide which one it gets. So pixels keep their order and move by half a step.
        scale, offset = 1.0, np.rint(offset)
    return Preprocessing("int8", float(scale), float(offset))


def file_top1(file: Path, inputs: np.ndarray, labels: np.ndarray, batch: int = 100) -> float:
    """Accuracy in the stock runtime, 0 to 1."""
    from dgms_keras.litert import RuntimeInterpreter

    interpreter = RuntimeInterpreter(model_path=str(file), num_threads=2)
    image, logits = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    right = 0
    for start in range(0, len(inputs), batch):
        x = inputs[start : start + batch]
        if start == 0 or len(x) != batch:
            interpreter.resize_tensor_input(image, x.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(image, x)
        interpreter.invoke()
        right += int(np.sum(np.argmax(interpreter.get_tensor(logits), -1) == labels[start : start + batch]))
    return right / len(inputs)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m dgms_keras.recipes.android_models",
        description="Makes the models, sample images and models.json that the Android app carries (two minutes on two cores).",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="made, or replaced as a whole")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--force", action="store_true", help="make them anew even if they are up to date")
    arguments = parser.parse_args(argv)
    settings = Settings(networks=tuple(dict.fromkeys(arguments.networks)), seed=arguments.seed)
    try:
        make_models(arguments.output, settings, force=arguments.force, say=lambda text: print(text, flush=True))
    except (OSError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
