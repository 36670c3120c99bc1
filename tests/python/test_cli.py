"""The command line as a person uses it: exit status, what is on the screen and in the files.

Child processes where a fresh process matters (start-up lines, files that another process wrote, what is imported when) or costs
nothing; else `cli.main` in this process, where TensorFlow is imported already, which takes longer than most commands.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from dgms_keras import cli


def child(*arguments, check=None):
    """The command in a child process."""
    done = subprocess.run(
        [sys.executable, "-m", "dgms_keras.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    return checked(done, check)


def checked(done, status):
    if status is not None:
        assert done.returncode == status, done.stdout + done.stderr
    return done


@pytest.fixture
def dgms(capfd):
    """The command in this process; file descriptors are captured, so what libraries print counts as well."""
    import tensorflow as tf

    logger, environment = tf.get_logger(), dict(os.environ)
    level = logger.level

    def run(*arguments, check=None):
        capfd.readouterr()
        try:
            status = cli.main([str(a) for a in arguments])
        except SystemExit as stop:  # argparse
            status = stop.code
        output = capfd.readouterr()
        return checked(subprocess.CompletedProcess(arguments, status, output.out, output.err), check)

    yield run
    logger.setLevel(level)
    for name in set(os.environ) - set(environment):  # `main` sets defaults for what it starts
        del os.environ[name]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A trained-looking float model and data for it."""
    import keras

    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("cli")
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            keras.layers.Conv2D(16, 3, padding="same", name="c1"),
            keras.layers.BatchNormalization(name="b1"),
            keras.layers.ReLU(name="r1"),
            keras.layers.Conv2D(32, 3, name="c2"),
            keras.layers.GlobalAveragePooling2D(name="p"),
            keras.layers.Dense(5, activation="softmax", name="out"),
        ],
        name="small",
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.save(folder / "model.keras")
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((64, 8, 8, 3)).astype(np.float32), generator.integers(0, 5, 64)
    np.savez(folder / "data.npz", x=x, y=y, x_val=x[:16], y_val=y[:16])
    return folder


@pytest.fixture(scope="module")
def compressed(folder):
    return child(
        "compress", folder / "model.keras", "--bits", 3, "--data", folder / "data.npz", "--epochs", 1,
        "--output", folder / "m.tflite", "--save", folder / "q.keras", check=0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def clustered(tmp_path_factory):
    """Models whose weights take four values each, of both Kerases, in every kind of file; float.h5 has ordinary weights."""
    import keras

    tf_keras = pytest.importorskip("tf_keras")

    folder = tmp_path_factory.mktemp("clustered")
    for k in (keras, tf_keras):
        inputs = k.Input((8, 8, 3), name="image")
        x = k.layers.Conv2D(32, 3, activation="relu", name="c1")(inputs)
        x = k.layers.Conv2D(32, 3, activation="relu", name="c2")(x)
        model = k.Model(inputs, k.layers.Dense(10, name="d")(k.layers.GlobalAveragePooling2D(name="p")(x)), name="net")
        model.compile("adam", "sparse_categorical_crossentropy")
        model.save(folder / f"{k.__name__}_float.h5")
        generator = np.random.default_rng(0)
        for layer in model.layers:
            weights = layer.get_weights()
            if weights:
                weights[0] = generator.choice(np.array([-0.2, -0.05, 0.1, 0.3], "float32"), weights[0].shape)
                layer.set_weights(weights)
        for end in ("keras", "h5"):
            model.save(folder / f"{k.__name__}.{end}")
    model.save(folder / "tf_keras_saved_model")
    return folder


@pytest.fixture(scope="module")
def imported(clustered):
    """The `.tflite` of keras.keras."""
    child("compress", clustered / "keras.keras", "--from-clusters", "--output", clustered / "imported.tflite", check=0)
    return clustered / "imported.tflite"


@pytest.mark.parametrize("file", ["keras.keras", "keras.h5", "tf_keras.keras", "tf_keras.h5", "tf_keras_saved_model"])
def test_compress_from_clusters(dgms, clustered, imported, file):
    """No data, no training; the same small file whichever Keras wrote the model, in whichever kind of file."""
    done = dgms("compress", clustered / file, "--from-clusters", "--output", clustered / f"{file}.tflite", check=0)
    assert "Clustered weights" in done.stdout and "c2/kernel" in done.stdout and "written:" in done.stdout
    assert (clustered / f"{file}.tflite").stat().st_size < 14_000  # 41,000 in float
    assert (clustered / f"{file}.tflite").read_bytes() == imported.read_bytes()


def test_verify_compares_clusters(dgms, clustered, imported):
    dgms("verify", clustered / "keras.keras", imported, check=0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{folder}/keras.keras", "--data", "x.npz", "--paper"], "--from-clusters takes the weights as they are"),
        (["{folder}/tf_keras_float.h5"], "from_clusters imports models that are clustered"),
        (["{folder}"], "a folder without keras_metadata.pb"),
        (["nowhere.keras"], "nowhere.keras"),
    ],
)
def test_compress_from_clusters_refuses(clustered, arguments, words):
    done = child("compress", "--from-clusters", *[a.format(folder=clustered) for a in arguments], check=1)
    assert words in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_tf_keras_files_in_the_other_commands(dgms, clustered, folder):
    """compress with training and --save, export of what was saved (in a fresh process), verify."""
    files = {n: clustered / n for n in ("q.keras", "q.tflite", "again.tflite")}
    data = ("--data", folder / "data.npz", "--epochs", 1)
    loss = ("--loss", "sparse_categorical_crossentropy")
    options = ("--bits", 4, "--all-layers", "--output", files["q.tflite"], "--save", files["q.keras"])
    done = dgms("compress", clustered / "tf_keras_float.h5", *data, *loss, *options, check=0)
    assert "4 bits after training" in done.stdout and "c2" in done.stdout
    child("export", files["q.keras"], files["again.tflite"], check=0)
    assert files["again.tflite"].read_bytes() == files["q.tflite"].read_bytes()
    dgms("verify", files["q.keras"], files["q.tflite"], check=0)
    assert dgms("verify", clustered / "tf_keras_float.h5", files["q.tflite"]).returncode == 1


@pytest.mark.parametrize("command", ["demo", "compress", "export", "inspect", "verify", "bench"])
def test_help_has_an_example(command):
    done = child(command, "--help", check=0)
    assert f"example:\n  dgms {command} " in done.stdout


def test_no_command_is_a_usage_error():
    done = child(check=2)
    assert "COMMAND" in done.stderr


def test_compress_trains_and_writes(folder, compressed):
    assert (folder / "m.tflite").stat().st_size > 0 and (folder / "q.keras").exists()
    assert "3 bits before training" in compressed.stdout and "3 bits after training" in compressed.stdout
    assert "c2" in compressed.stdout and "written:" in compressed.stdout
    assert not [p for p in folder.iterdir() if "tmp" in p.name or p.name.endswith(".new")]


def test_export_gives_the_same_file_again(folder, compressed):
    child("export", folder / "q.keras", folder / "again.tflite", check=0)
    assert (folder / "again.tflite").read_bytes() == (folder / "m.tflite").read_bytes()


def test_export_with_int8_activations(dgms, folder, compressed):
    shape = (20, *keras_shape(folder / "q.keras"))
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.save(folder / "x.npy", x)
    np.savez(folder / "x.npz", x=x)
    for name in ("x.npy", "x.npz"):
        done = dgms(
            *("export", folder / "q.keras", folder / "int8.tflite", "--activations", "int8"),
            *("--representative-dataset", folder / name),
            check=0,
        )
        assert "SNR dB" in done.stdout and "dense int8" in done.stdout
    assert "int8 activations" in dgms("inspect", folder / "int8.tflite", check=0).stdout
    dgms("verify", folder / "q.keras", folder / "int8.tflite", "--data", folder / "x.npz", "--per-layer", check=0)
    for arguments in (["--activations", "int8"], ["--representative-dataset", folder / "x.npy"]):
        done = dgms("export", folder / "q.keras", folder / "none.tflite", *arguments)
        assert done.returncode == 1 and "must be given together" in done.stderr
    assert not (folder / "none.tflite").exists()


def keras_shape(file):
    """The input shape of a saved model, without the batch dimension."""
    import json
    import zipfile

    with zipfile.ZipFile(file) as archive:
        config = json.loads(archive.read("config.json"))["config"]
    (first,) = (layer for layer in config["layers"] if layer["class_name"] == "InputLayer")
    return first["config"]["batch_shape"][1:]


def test_warnings_are_one_line(folder):
    done = child("export", folder / "model.keras", folder / "dense.tflite", check=0)
    assert [line for line in done.stderr.splitlines() if "quantised" in line] == [
        "dgms export: no layer of the model 'small' is quantised: the file is dense "
        "(dgms_keras.quantize_apply comes first)"
    ]


def test_inspect_prints_and_writes_json(folder, compressed):
    done = child("inspect", folder / "m.tflite", "--json", folder / "m.json", check=0)
    assert "c2" in done.stdout
    assert "c2" in json.dumps(json.loads((folder / "m.json").read_text()))


def test_verify_agrees_and_notices_a_wrong_file(dgms, folder, compressed):
    done = dgms("verify", folder / "q.keras", folder / "m.tflite", "--per-layer", check=0)
    assert "c2" in done.stdout
    dgms("compress", folder / "model.keras", "--bits", 2, "--output", folder / "other.tflite", check=0)
    assert dgms("verify", folder / "q.keras", folder / "other.tflite").returncode == 1


def test_bench_writes_every_figure(folder, compressed):
    done = child("bench", folder / "m.tflite", "--runs", 3, "--json", folder / "bench.json", check=0)
    assert "median ms" in done.stdout
    data = json.loads((folder / "bench.json").read_text())
    assert [p["name"] for p in data["paths"]] == ["delegate", "xnnpack", "builtin"]
    assert all(len(p["runs_ms"]) == 3 for p in data["paths"])
    on_screen = child("bench", folder / "m.tflite", "--runs", 1, "--paths", "builtin", "--json", "-", check=0)
    assert json.loads(on_screen.stdout)["paths"][0]["name"] == "builtin"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["compress", "nowhere.keras"], 1, "nowhere.keras"),
        (["compress", "{data}"], 1, "the model must be a model file of Keras 3 (.keras, .h5) or tf_keras"),
        (["compress", "{model}", "--bits", "5"], 2, "--bits"),
        (["compress", "{model}", "--epochs", "0"], 2, "must be an integer >= 1. Received: '0'"),
        (["compress", "{model}", "--data", "{model}"], 1, "--data must hold the arrays x and y"),
        (["compress", "{model}", "--data", "nowhere.npz"], 1, "nowhere.npz"),
        (["inspect", "{data}"], 1, "data.npz"),
        (["inspect", "nowhere.tflite"], 1, "nowhere.tflite"),
        (["bench", "{model}", "--runs", "1"], 1, "dgms bench: the runtime must be able to load the model ("),
        (
            ["bench", "{model}", "--json", "no/x.json"],
            1,
            "--json must name a file in a folder that exists. Received: no/x",
        ),
        (["inspect", "{data}", "--json", "no/x.json"], 1, "--json must name a file in a folder that exists"),
        (["bench", "nowhere.tflite", "--paths", "gpu"], 1, ""),
        (["export", "{model}", "/nowhere/at/all.tflite"], 1, "/nowhere/at"),
    ],
)
def test_errors_are_one_clear_line_without_a_traceback(dgms, folder, arguments, status, words):
    names = {"model": folder / "model.keras", "data": folder / "data.npz"}
    # In a child process where no model is loaded: that takes no time.
    run = dgms if arguments[:2] in (["compress", "{data}"], ["export", "{model}"]) else child
    done = run(*[a.format(**names) for a in arguments])
    assert done.returncode == status, done.stdout + done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
