"""The Android app's models, in small: what models.json says is what the files do. Its real figures come from the recipe itself."""

import dataclasses
import json
import os

import numpy as np
import pytest
import tensorflow as tf

from dgms_keras.litert import RuntimeInterpreter
from dgms_keras.recipes import android_models, digits, shapes
from dgms_keras.recipes.android_models import Preprocessing, Settings, main, make_models, to_pixels

SETTINGS = Settings(
    train_images=480, test_images=96, dgms_images=96, calibration_images=32, shapes_epochs=1, digits_epochs=3
)  # fmt: skip


@pytest.fixture(scope="module")
def said():
    return []


@pytest.fixture(scope="module")
def folder(tmp_path_factory, said):
    folder = tmp_path_factory.mktemp("assets") / "models"
    make_models(folder, SETTINGS, say=said.append)
    return folder


@pytest.fixture(scope="module")
def models(folder):
    return {m["name"]: m for m in json.loads((folder / "models.json").read_text())["models"]}


def classes_of(file, model, pixels):
    """The classes that the stock runtime gives images of 8-bit pixels, one by one, with models.json's own words as the rule."""
    interpreter = RuntimeInterpreter(model_path=str(file))
    interpreter.allocate_tensors()
    image, logits = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert list(image["shape"]) == model["input"]["shape"] and image["dtype"] == np.dtype(model["input"]["dtype"])
    found = []
    for each in pixels:
        values = each[np.newaxis] * model["input"]["scale"] + model["input"]["offset"]
        if model["input"]["dtype"] == "int8":
            values = np.clip(np.rint(values), -128, 127)
        interpreter.set_tensor(image["index"], values.astype(image["dtype"]))
        interpreter.invoke()
        found.append(int(np.argmax(interpreter.get_tensor(logits["index"]))))
    return np.array(found)


def samples_of(folder, model):
    images = [tf.io.decode_png((folder / s["file"]).read_bytes()).numpy() for s in model["samples"]]
    return np.stack(images), np.array([s["label"] for s in model["samples"]])


def test_images(model):
    if model["name"].startswith("shapes"):
        data = shapes.load_shapes(SETTINGS.train_images, SETTINGS.test_images, SETTINGS.seed, SETTINGS.noise)
        return to_pixels(data.x_test), data.y_test
    data = digits.load_digits(seed=SETTINGS.seed)
    return to_pixels(data.x_test[: SETTINGS.test_images]), data.y_test[: SETTINGS.test_images]


test_images.__test__ = False
NAMES = ["shapes_w4", "shapes_w4_int8", "shapes_w2", "digits_w4"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_files_reach_the_stated_accuracy(folder, models, name):
    model = models[name]
    pixels, labels = test_images(model)
    for file, accuracy in (("file", "accuracy"), ("dense_file", "dense_accuracy")):
        right = np.mean(classes_of(folder / model[file], model, pixels) == labels)
        # One by one instead of in batches: sums in another order may turn one image over.
        assert abs(right - model[accuracy]["top1"]) <= 1.01 / len(labels) and model[accuracy]["images"] == len(labels)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_samples_are_test_images_with_their_labels(folder, models, name):
    model = models[name]
    pixels, labels = samples_of(folder, model)
    assert pixels.shape == (12, *model["input"]["shape"][1:]) and pixels.dtype == np.uint8
    assert pixels.shape[-1] == model["input"]["channels"]
    test_pixels, test_labels = test_images(model)
    for image, label in zip(pixels, labels, strict=True):
        same = np.flatnonzero(np.all(test_pixels == image, axis=(1, 2, 3)))
        assert len(same) and label in test_labels[same]
    assert len(set(labels)) == len(model["labels"])  # every class is there


@pytest.mark.slow
def test_digits_are_recognised_in_the_samples(folder, models):
    model = models["digits_w4"]
    pixels, labels = samples_of(folder, model)
    # Chance is one in ten; after this short training a good half would do, and wrong pixels (upside down scale, wrong offset) fail.
    assert np.mean(classes_of(folder / model["file"], model, pixels) == labels) > 0.5


@pytest.mark.slow
def test_models_are_what_they_say(folder, models, said):
    import dgms_keras

    assert list(models) == NAMES
    for model in models.values():
        bits = {layer.bits for layer in dgms_keras.inspect_tflite(folder / model["file"]).layers}
        assert bits == {model["bits"]}
        assert (model["input"]["dtype"] == "int8") == (model["activations"] == "int8") == ("int8" in model["name"])
        assert (folder / model["file"]).stat().st_size < (folder / model["dense_file"]).stat().st_size
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) < 3_000_000
    assert any(line.startswith("digits: 4 bits") for line in said) and said[-1].startswith("models: 4 in")
    assert [p.name for p in folder.parent.iterdir()] == ["models"]


@pytest.mark.slow
def test_nothing_is_done_where_all_is_up_to_date(folder, monkeypatch):
    def never(*_):
        raise AssertionError("made anew")

    monkeypatch.setattr(android_models, "_MAKERS", {"shapes": never, "digits": never})
    lines = []
    make_models(folder, SETTINGS, say=lines.append)
    assert lines == [f"models: up to date in {folder}"]
    with pytest.raises(AssertionError, match="made anew"):
        make_models(folder, SETTINGS, force=True)
    with pytest.raises(AssertionError, match="made anew"):
        make_models(folder, dataclasses.replace(SETTINGS, seed=1))
    sample = folder / "samples" / "digits_00.png"
    whole = sample.read_bytes()
    sample.write_bytes(whole[:-1])
    with pytest.raises(AssertionError, match="made anew"):
        make_models(folder, SETTINGS)
    sample.write_bytes(whole)
    assert [p.name for p in folder.parent.iterdir()] == ["models"]  # what failed left nothing


@pytest.fixture
def quick(monkeypatch):
    """Makers of one file each: these tests are about folders."""

    def make(folder, settings, say):
        (folder / "m.tflite").write_text(f"seed {settings.seed}")
        return [{"name": "m"}]

    monkeypatch.setattr(android_models, "_MAKERS", {"shapes": make, "digits": make})


def test_a_folder_is_replaced_as_a_whole(tmp_path, quick):
    folder = tmp_path / "deep" / "models"
    make_models(folder, Settings(seed=1), say=lambda _: None)
    (folder / "stale.txt").touch()
    make_models(folder, Settings(seed=2), say=lambda _: None)
    assert sorted(p.name for p in folder.iterdir()) == ["m.tflite", "models.json"]
    assert (folder / "m.tflite").read_text() == "seed 2"
    assert [p.name for p in folder.parent.iterdir()] == ["models"]
    assert os.stat(folder).st_mode & 0o777 == 0o755


def test_folders_of_others_are_left_alone(tmp_path, quick):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="must be new, empty, or one that this recipe made"):
        make_models(tmp_path)
    (tmp_path / "models.json").write_text("[]")
    with pytest.raises(SystemExit) as stop:
        main(["--output", str(tmp_path)])
    assert stop.value.code == 1 and (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("networks", [(), ("letters",), ("digits", "digits")])
def test_networks_must_be_known(tmp_path, networks):
    with pytest.raises(ValueError, match="`networks` must be some of shapes, digits, each once"):
        make_models(tmp_path / "models", Settings(networks=networks))


def test_pixels_become_inputs():
    pixels = np.array([0, 1, 128, 255], np.uint8)
    values = Preprocessing("float32", 1 / 127.5, -1.0)(pixels)
    assert values.dtype == np.float32 and np.allclose(values, [-1, -1 + 1 / 127.5, 1 / 255, 1], atol=1e-7)
    assert np.array_equal(to_pixels(values), pixels)
    whole = Preprocessing("int8", 1.1, -140.0)(pixels)
    assert whole.dtype == np.int8 and list(whole) == [-128, -128, 1, 127]  # -140, -138.9, 0.8, 140.5


@pytest.mark.slow
def test_int8_pixels_are_whole_numbers_away_from_inputs(models):
    """No pixel may lie between two int8 values, where round-off on the phone would decide."""
    rule = models["shapes_w4_int8"]["input"]
    values = np.arange(256) * rule["scale"] + rule["offset"]
    assert np.abs(values - np.rint(values)).max() < 0.4
