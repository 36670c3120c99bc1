"""The command line: `dgms demo | compress | export | inspect | verify | bench`. `dgms COMMAND --help` shows an example.

This file reads arguments and prints; the work is done by the public functions of the package, which it imports only once the
arguments are known to be good.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dgms_keras._version import __version__
from dgms_keras.config import BITS

Command = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Returns the exit status: 0 done, 1 the work failed or a check did not hold, 2 wrong arguments."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is loaded: its start-up lines are not ours
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: print(f"dgms {arguments.command}: {message}", file=sys.stderr)
            return arguments.run(arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what read our output has gone
        return 1
    except Exception as error:
        if arguments.traceback:
            raise
        print(f"dgms {arguments.command}: {_message(error)}", file=sys.stderr)
        return 1


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) or type(error).__name__


# ---------------------------------------------------------------------------------------------------------------- arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dgms", description="2-, 3- and 4-bit Keras models by Gaussian-mixture weight sharing (DGMS)."
    )
    parser.add_argument("--version", action="version", version=f"dgms_keras {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_compress(commands)
    _add_export(commands)
    _add_inspect(commands)
    _add_verify(commands)
    _add_bench(commands)
    return parser


def _add(commands: Any, name: str, run: Command, help: str, example: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=help,
        description=help[0].upper() + help[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--traceback", action="store_true", help="show where an error comes from")
    parser.set_defaults(run=run)
    return parser


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be an integer >= 1. Received: {text!r}")
    return value


def _count(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be an integer >= 0. Received: {text!r}")
    return value


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number > 0. Received: {text!r}")
    return value


def _add_demo(commands: Any) -> None:
    p = _add(
        commands,
        "demo",
        _demo,
        "train, compress, export, run and time a small network on real handwritten digits",
        "dgms demo --output demo_output",
    )
    p.add_argument("--output", type=Path, default=Path("demo_output"), help="folder for models and pictures")
    p.add_argument("--float-epochs", type=_positive, default=8, help="epochs of the float model (default 8)")
    p.add_argument("--epochs", type=_positive, default=4, help="epochs of DGMS (default 4)")
    p.add_argument("--seed", type=_count, default=0)


def _add_compress(commands: Any) -> None:
    p = _add(
        commands,
        "compress",
        _compress,
        "compress a Keras model: weight sharing, training if there is data, export",
        "dgms compress model.keras --bits 4 --data train.npz --epochs 5 --output model.tflite",
    )
    p.add_argument("model", type=Path, help="a Keras 3 model file (.keras)")
    p.add_argument("--bits", type=int, choices=BITS, default=4)
    p.add_argument("--output", type=Path, help="the .tflite (default: MODEL with _w<bits>.tflite)")
    p.add_argument("--save", type=Path, metavar="FILE.keras", help="also keep the quantised Keras model, to train on")
    p.add_argument(
        "--data",
        type=Path,
        metavar="FILE.npz",
        help="training data: arrays x and y, optionally x_val and y_val; without it, weights are shared and not trained",
    )
    p.add_argument("--epochs", type=_positive, default=4)
    p.add_argument("--batch-size", type=_positive, default=64)
    p.add_argument("--learning-rate", type=_rate, default=1e-3, help="of Adam, cosine decay (default 0.001)")
    p.add_argument("--loss", help="a Keras loss by name; default: the model's own, where it was saved compiled")
    p.add_argument("--paper", action="store_true", help="the paper's own choices instead of the defaults")
    p.add_argument("--all-layers", action="store_true", help="the first and the last layer too")
    p.add_argument("--strict", action="store_true", help="fail where a layer cannot be compressed")
    p.add_argument("--seed", type=_count, default=0)


def _add_export(commands: Any) -> None:
    p = _add(
        commands,
        "export",
        _export,
        "write a quantised Keras model (from quantize_apply) as a .tflite",
        "dgms export quantised.keras model.tflite",
    )
    p.add_argument("model", type=Path, help="a quantised Keras model file (.keras)")
    p.add_argument("output", type=Path, help="the .tflite file")
    p.add_argument("--activations", choices=["float32"], default="float32")
    p.add_argument("--strict", action="store_true", help="fail where a layer cannot be compressed")


def _add_inspect(commands: Any) -> None:
    p = _add(
        commands,
        "inspect",
        _inspect,
        "show what is in a .tflite: bits, codes, zeros, bytes and entropy bound, layer by layer",
        "dgms inspect model.tflite --json model.json",
    )
    p.add_argument("model", type=Path, help="a .tflite file")
    p.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON ('-' for the screen)")


def _add_verify(commands: Any) -> None:
    p = _add(
        commands,
        "verify",
        _verify,
        "compare a quantised Keras model with its .tflite, in the stock runtime and in the delegate",
        "dgms verify quantised.keras model.tflite --data test.npz --per-layer",
    )
    p.add_argument("model", type=Path, help="the quantised Keras model (.keras)")
    p.add_argument("tflite", type=Path, help="the .tflite exported from it")
    p.add_argument(
        "--data", type=Path, metavar="FILE.npz", help="inputs: the array x, or one array for each input's name"
    )
    p.add_argument("--samples", type=_positive, default=4, help="how many inputs to compare (default 4)")
    p.add_argument("--per-layer", action="store_true", help="every layer's output too")
    p.add_argument("--seed", type=_count, default=0, help="of the random input that is used without --data")


def _add_bench(commands: Any) -> None:
    p = _add(
        commands,
        "bench",
        _bench,
        "time a .tflite: our delegate, XNNPACK and TFLite's builtin kernels, interleaved in one process",
        "dgms bench model.tflite --dense float.tflite --threads 2 --runs 100 --json result.json",
    )
    p.add_argument("model", type=Path, help="a .tflite file")
    p.add_argument(
        "--dense", type=Path, metavar="FILE", help="the same network in plain float, timed under XNNPACK too"
    )
    p.add_argument(
        "--paths",
        default="delegate,xnnpack,builtin",
        help="some of delegate,xnnpack,builtin (default: all)",
    )
    p.add_argument("--threads", type=_positive, default=1)
    p.add_argument("--runs", type=_positive, default=50, help="timed rounds; each runs every path once (default 50)")
    p.add_argument("--warmup", type=_count, default=5)
    p.add_argument("--batch", type=_positive, default=1, help="for a model whose batch size is open")
    p.add_argument("--json", type=Path, metavar="FILE", help="also write every figure as JSON ('-' for the screen)")


# ----------------------------------------------------------------------------------------------------------------- commands


def _print(table: Any) -> None:
    from rich.console import Console

    # On a pipe rich assumes 80 columns and folds the cells; a table is wider than that and is read by eye or by grep.
    width = None if sys.stdout.isatty() else 160
    Console(width=width).print(table)


def _say(text: str) -> None:
    print(text, flush=True)


def _write_json(file: Path, data: Any) -> None:
    text = json.dumps(data, indent=2) + "\n"
    if str(file) == "-":
        sys.stdout.write(text)
        return
    temporary = file.with_name(f".{file.name}.new")
    temporary.write_text(text)
    os.replace(temporary, file)


def _file(path: Path, kind: str) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{kind} must be a file that exists. Received: {path}")
    return path


def _quiet_keras() -> Any:
    """Keras and its backend, without their start-up lines and hints; where they cannot be imported the lines are shown."""
    from dgms_keras.export.quiet import captured_stderr

    try:
        with captured_stderr() as captured:
            import keras

            if keras.backend.backend() == "tensorflow":
                import tensorflow as tf

                tf.config.list_logical_devices()  # looks for accelerators, and says so
                tf.get_logger().setLevel("ERROR")
    except Exception:
        sys.stderr.write(captured.text)
        raise
    return keras


def _load_model(path: Path) -> Any:
    _file(path, "the model")
    keras = _quiet_keras()

    import dgms_keras.layers  # noqa: F401 - registers the wrapper, so a quantised model loads without custom_objects

    try:
        return keras.models.load_model(path)
    except Exception as error:
        raise ValueError(f"{path} must be a Keras 3 model file (.keras). Received: {_message(error)}") from error


def _load_arrays(path: Path) -> dict[str, Any]:
    import numpy as np

    _file(path, "--data")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except Exception as error:
        raise ValueError(f"--data must be a NumPy .npz archive. Received: {path} ({_message(error)})") from error


def _demo(arguments: argparse.Namespace) -> int:
    from dgms_keras.recipes.demo import DemoSettings, demo_table, run_demo

    _quiet_keras()
    settings = DemoSettings(float_epochs=arguments.float_epochs, dgms_epochs=arguments.epochs, seed=arguments.seed)
    rows = run_demo(arguments.output, settings, _say)
    _print(demo_table(rows))
    _say(
        f"models (.keras, .tflite), mixtures.png (weights and mixtures, before and after) and results.json: {arguments.output}/"
    )
    return 0


def _compress(arguments: argparse.Namespace) -> int:
    import dgms_keras

    output = arguments.output or arguments.model.with_name(f"{arguments.model.stem}_w{arguments.bits}.tflite")
    data = _training_data(arguments.data) if arguments.data else None
    model = _load_model(arguments.model)
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
    report = dgms_keras.export_tflite(quantised, output, strict=arguments.strict)
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
    import keras

    loss = arguments.loss or getattr(model, "loss", None)
    if loss is None:
        raise ValueError(
            "a model that was saved without compiling needs --loss, e.g. --loss sparse_categorical_crossentropy"
        )
    steps = arguments.epochs * -(-len(data["x"]) // arguments.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(arguments.learning_rate, steps)
    metrics = ["accuracy"] if "crossentropy" in str(getattr(loss, "name", loss)) else []
    quantised.compile(keras.optimizers.Adam(rate), loss, metrics=metrics)
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


def _export(arguments: argparse.Namespace) -> int:
    import dgms_keras

    model = _load_model(arguments.model)
    report = dgms_keras.export_tflite(model, arguments.output, arguments.activations, strict=arguments.strict)
    _print(report.table())
    _say(f"written: {arguments.output} ({arguments.output.stat().st_size:,} bytes)")
    return 0


def _inspect(arguments: argparse.Namespace) -> int:
    from dgms_keras.export.inspect import inspect_tflite

    report = inspect_tflite(_file(arguments.model, "the model"))
    if str(arguments.json) != "-":
        _print(report.table())
    if arguments.json:
        _write_json(arguments.json, report.to_json_dict())
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    import numpy as np

    import dgms_keras
    from dgms_keras.runtime.benchmark import random_input

    model = _load_model(arguments.model)
    _file(arguments.tflite, "the .tflite")
    names = [tensor.name for tensor in model.inputs]
    if arguments.data:
        arrays = _load_arrays(arguments.data)
        if len(names) == 1 and "x" in arrays:
            arrays = {names[0]: arrays["x"]}
        missing = [n for n in names if n not in arrays]
        if missing:
            raise ValueError(
                f"--data must hold an array for each input: {', '.join(names)}. Missing: {', '.join(missing)} ({arguments.data})"
            )
        x = [arrays[n][: arguments.samples] for n in names]
    else:
        generator = np.random.default_rng(arguments.seed)
        x = [
            random_input(generator, [arguments.samples, *(s or 1 for s in t.shape[1:])], np.dtype(t.dtype))
            for t in model.inputs
        ]
    report = dgms_keras.verify(model, arguments.tflite, x[0] if len(x) == 1 else x, per_layer=arguments.per_layer)
    _print(report.table())
    return 0 if report.passed else 1


def _bench(arguments: argparse.Namespace) -> int:
    from dgms_keras.runtime.benchmark import benchmark

    report = benchmark(
        _file(arguments.model, "the model"),
        dense=_file(arguments.dense, "--dense") if arguments.dense else None,
        paths=[p.strip() for p in arguments.paths.split(",") if p.strip()],
        num_threads=arguments.threads,
        runs=arguments.runs,
        warmup=arguments.warmup,
        batch=arguments.batch,
        progress=_progress if sys.stderr.isatty() else None,
    )
    if str(arguments.json) != "-":
        _print(report.table())
    if arguments.json:
        _write_json(arguments.json, report.to_json_dict())
    return 0


def _progress(done: int, total: int) -> None:
    end = "\r" if done < total else "\r" + " " * 30 + "\r"
    print(f"round {done}/{total}" if done < total else "", end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
