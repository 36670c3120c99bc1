"""What each command does with its arguments. Each returns the exit status."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dgms_keras.cli import table4
from dgms_keras.cli.model_files import load_model, quiet_keras
from dgms_keras.cli.values import check_new_file, given_names, write_json

# Arguments of `dgms bench` that say how a model is run.
_TIMING = (
    "dense",
    "paths",
    "threads",
    "runs",
    "min_seconds",
    "warmup",
    "batch",
    "activations",
    "seed",
    "json",
    "profile",
)

Command = Callable[[argparse.Namespace], int]


def message(error: Exception) -> str:
    """What an error says, on one line of the screen."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def _print(table: Any) -> None:
    from rich.console import Console

    # On a pipe rich assumes 80 columns and folds the cells; a table is wider than that and is read by eye or by grep.
    width = None if sys.stdout.isatty() else 160
    Console(width=width).print(table)


def _say(text: str) -> None:
    print(text, flush=True)


def _check_json(arguments: argparse.Namespace) -> None:
    if arguments.json and str(arguments.json) != "-":
        check_new_file(arguments.json, "--json")


def _file(path: Path, kind: str) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{kind} must be a file that exists. Received: {path}")
    return path


def _load_arrays(path: Path, option: str = "--data") -> dict[str, Any]:
    import numpy as np

    _file(path, option)
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except Exception as error:
        raise ValueError(f"{option} must be a NumPy .npz archive. Received: {path} ({message(error)})") from error


def _load_inputs(path: Path, names: Sequence[str], option: str) -> dict[str, Any]:
    """One array for each input of a model: from a .npz archive by name, or, for a single input, its array x or a .npy file."""
    import numpy as np

    if path.suffix == ".npy" and len(names) == 1:
        _file(path, option)
        try:
            return {names[0]: np.load(path, allow_pickle=False)}
        except Exception as error:
            raise ValueError(f"{option} must be a NumPy file. Received: {path} ({message(error)})") from error
    arrays = _load_arrays(path, option)
    if len(names) == 1 and "x" in arrays:
        arrays = {names[0]: arrays["x"]}
    missing = [n for n in names if n not in arrays]
    if missing:
        raise ValueError(
            f"{option} must hold an array for each input: {', '.join(names)}. Missing: {', '.join(missing)} ({path})"
        )
    return {n: arrays[n] for n in names}


def demo(arguments: argparse.Namespace) -> int:
    from dgms_keras.recipes.demo import DemoSettings, demo_table, run_demo

    quiet_keras()
    settings = DemoSettings(float_epochs=arguments.float_epochs, dgms_epochs=arguments.epochs, seed=arguments.seed)
    rows = run_demo(arguments.output, settings, _say)
    _print(demo_table(rows))
    _say(
        f"models (.keras, .tflite), mixtures.png (weights and mixtures, before and after) and results.json: {arguments.output}/"
    )
    return 0


def compress(arguments: argparse.Namespace) -> int:
    import dgms_keras

    if arguments.from_clusters:
        return _import_clusters(arguments)
    output = arguments.output or arguments.model.with_name(f"{arguments.model.stem}_w{arguments.bits}.tflite")
    data = _training_data(arguments.data) if arguments.data else None
    model = load_model(arguments.model)
    make = dgms_keras.DGMSConfig.paper if arguments.paper else dgms_keras.DGMSConfig
    config = make(
        bits=arguments.bits,
        skip_first_last=not arguments.all_layers,
        strict=arguments.strict,
        seed=arguments.seed,
    )
    quantised = dgms_keras.quantize_apply(model, config)
    if data is None:
        _say("no --data: weights are shared by k-means and not trained")
    else:
        _train(arguments, model, quantised, data)
    dgms_keras.summary(quantised)
    if arguments.save:
        quantised.save(arguments.save)
        _say(f"quantised Keras model: {arguments.save}")
    return _export(quantised, output, arguments.strict)


def _import_clusters(arguments: argparse.Namespace) -> int:
    import dgms_keras

    given = [f"--{name}" for name in ("data", "save", "loss", "paper") if getattr(arguments, name)]
    if given:
        raise ValueError(
            "--from-clusters takes the weights as they are: no training, no quantised model to keep. "
            f"Received: {', '.join(given)}"
        )
    output = arguments.output or arguments.model.with_name(f"{arguments.model.stem}_clusters.tflite")
    model = load_model(arguments.model)  # before `from_clusters` imports Keras, with its start-up lines
    clustered = dgms_keras.from_clusters(model, strict=arguments.strict)
    _print(clustered.table())
    return _export(clustered, output, arguments.strict)


def _export(model: Any, output: Path, strict: bool, **options: Any) -> int:
    import dgms_keras

    report = dgms_keras.export_tflite(model, output, strict=strict, **options)
    _print(report.table())
    _say(f"written: {output} ({output.stat().st_size:,} bytes)")
    return 0


def _training_data(path: Path) -> dict[str, Any]:
    data = _load_arrays(path)
    missing = [name for name in ("x", "y") if name not in data]
    if missing:
        raise ValueError(
            f"--data must hold the arrays x and y. Received: {path} with {', '.join(sorted(data)) or 'nothing'}"
        )
    if ("x_val" in data) != ("y_val" in data):
        raise ValueError(f"--data must hold both x_val and y_val or neither. Received: {path} with one of them")
    for x, y in (("x", "y"), ("x_val", "y_val")):
        if x in data and len(data[x]) != len(data[y]):
            raise ValueError(
                f"{x} and {y} must have one row for each sample. Received: {len(data[x])} and {len(data[y])}"
            )
    return data


def _train(arguments: argparse.Namespace, model: Any, quantised: Any, data: dict[str, Any]) -> None:
    from dgms_keras.keras_kind import keras_of

    optimizers = keras_of(model).optimizers
    loss = arguments.loss or getattr(model, "loss", None)
    if loss is None:
        raise ValueError(
            "a model that was saved without compiling needs --loss, e.g. --loss sparse_categorical_crossentropy"
        )
    steps = arguments.epochs * -(-len(data["x"]) // arguments.batch_size)
    rate = optimizers.schedules.CosineDecay(arguments.learning_rate, steps)
    metrics = ["accuracy"] if "crossentropy" in str(getattr(loss, "name", loss)) else []
    quantised.compile(optimizers.Adam(rate), loss, metrics=metrics)
    validation = (data["x_val"], data["y_val"]) if "x_val" in data else None
    if validation:
        model.compile(loss=loss, metrics=metrics)
        _say(f"float, validation: {_figures(model, validation)}")
        _say(f"{arguments.bits} bits before training: {_figures(quantised, validation)}")
    quantised.fit(
        data["x"],
        data["y"],
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        validation_data=validation,
        verbose=1 if sys.stdout.isatty() else 2,
    )
    if validation:
        _say(f"{arguments.bits} bits after training: {_figures(quantised, validation)}")


def _figures(model: Any, validation: tuple[Any, Any]) -> str:
    figures = model.evaluate(*validation, verbose=0, return_dict=True)
    return ", ".join(f"{name} {value:.4f}" for name, value in figures.items())


def export(arguments: argparse.Namespace) -> int:
    calibration = arguments.representative_dataset
    if (arguments.activations == "int8") != (calibration is not None):
        raise ValueError("--activations int8 and --representative-dataset FILE must be given together")
    model = load_model(arguments.model)
    names = [tensor.name for tensor in model.inputs]
    return _export(
        model,
        arguments.output,
        arguments.strict,
        activations=arguments.activations,
        representative_dataset=_load_inputs(calibration, names, "--representative-dataset") if calibration else None,
        inference_type=arguments.inference_type,
    )


def inspect(arguments: argparse.Namespace) -> int:
    from dgms_keras.export.inspect import inspect_tflite

    _check_json(arguments)
    report = inspect_tflite(_file(arguments.model, "the model"))
    if str(arguments.json) != "-":
        _print(report.table())
    if arguments.json:
        write_json(arguments.json, report.to_json_dict())
    return 0


def verify(arguments: argparse.Namespace) -> int:
    import numpy as np

    import dgms_keras
    from dgms_keras.export.signature import dtype_name
    from dgms_keras.runtime.interleaved import random_input

    model = load_model(arguments.model)
    _file(arguments.tflite, "the .tflite")
    names = [tensor.name for tensor in model.inputs]
    if arguments.data:
        arrays = _load_inputs(arguments.data, names, "--data")
        x = [arrays[n][: arguments.samples] for n in names]
    else:
        generator = np.random.default_rng(arguments.seed)
        x = [
            random_input(generator, [arguments.samples, *(s or 1 for s in t.shape[1:])], np.dtype(dtype_name(t.dtype)))
            for t in model.inputs
        ]
    report = dgms_keras.verify(model, arguments.tflite, x[0] if len(x) == 1 else x, per_layer=arguments.per_layer)
    _print(report.table())
    return 0 if report.passed else 1


def bench(arguments: argparse.Namespace) -> int:
    if (arguments.model is not None) + (arguments.show is not None) + arguments.table4 != 1:
        arguments.usage_error("give either a model to time, or --show with results, or --table4")
    if arguments.plot and not arguments.show:
        arguments.usage_error("--plot draws the results given with --show")
    if arguments.show:
        idle = given_names(arguments, _TIMING)
        if idle:
            arguments.usage_error(f"--show times nothing and takes no --{idle[0].replace('_', '-')}")
    table4.check_arguments(arguments)
    if arguments.table4:
        return table4.run(arguments)
    return _show(arguments) if arguments.show else _time(arguments)


def _show(arguments: argparse.Namespace) -> int:
    from dgms_keras.report.bench_plots import check_picture, save_results
    from dgms_keras.report.bench_results import read_results, results_bars, results_table

    picture = check_picture(arguments.plot) if arguments.plot else None
    results, errors = read_results(arguments.show)
    if results:
        _print(results_table(results))
        _say("\n".join(results_bars(results)))
    for error in errors:
        print(f"dgms bench: {error}", file=sys.stderr)
    if picture and results:
        _say(f"wrote {save_results(picture, results)}")
    return 1 if errors else 0


def _time(arguments: argparse.Namespace) -> int:
    from dgms_keras.runtime.benchmark import benchmark
    from dgms_keras.runtime.profile import profile_lines

    if len(arguments.threads or [1]) > 1:
        arguments.usage_error("a model is timed with one number of --threads")
    _check_json(arguments)
    names = ("runs", "min_seconds", "warmup", "batch", "activations", "seed")
    given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    if arguments.paths is not None:
        given["paths"] = [p.strip() for p in arguments.paths.split(",") if p.strip()]
    (num_threads,) = arguments.threads or [1]
    report = benchmark(
        _file(arguments.model, "the model"),
        dense=_file(arguments.dense, "--dense") if arguments.dense else None,
        num_threads=num_threads,
        **given,
        progress=_progress if sys.stderr.isatty() else None,
    )
    if str(arguments.json) != "-":
        _print(report.table())
    if arguments.json:
        write_json(arguments.json, report.to_json_dict())
    if arguments.profile:
        lines = profile_lines(arguments.model, num_threads=num_threads, activations=report.settings["activations"])
        _say("\n".join(lines))
    return 0


def _progress(done: int, total: int) -> None:
    end = "\r" if done < total else "\r" + " " * 30 + "\r"
    print(f"round {done}/{total}" if done < total else "", end=end, file=sys.stderr, flush=True)
