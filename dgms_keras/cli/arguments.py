"""The commands and their arguments."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dgms_keras._version import __version__
from dgms_keras.cli import commands, table4
from dgms_keras.cli.values import count
from dgms_keras.config import BITS

_MODEL_HELP = "a file of Keras 3 or tf_keras (.keras, .h5), or a tf_keras SavedModel folder"


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dgms", description="2-, 3- and 4-bit Keras models by Gaussian-mixture weight sharing (DGMS)."
    )
    parser.add_argument("--version", action="version", version=f"dgms_keras {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(subparsers)
    _add_compress(subparsers)
    _add_export(subparsers)
    _add_inspect(subparsers)
    _add_verify(subparsers)
    _add_bench(subparsers)
    return parser


def _add(subparsers: Any, name: str, run: commands.Command, help: str, example: str) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
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


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number > 0. Received: {text!r}")
    return value


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number >= 0. Received: {text!r}")
    return value


def _add_demo(subparsers: Any) -> None:
    p = _add(
        subparsers,
        "demo",
        commands.demo,
        "train, compress, export, run and time a small network on real handwritten digits",
        "dgms demo --output demo_output",
    )
    p.add_argument("--output", type=Path, default=Path("demo_output"), help="folder for models and pictures")
    p.add_argument("--float-epochs", type=_positive, default=8, help="epochs of the float model (default 8)")
    p.add_argument("--epochs", type=_positive, default=4, help="epochs of DGMS (default 4)")
    p.add_argument("--seed", type=count, default=0)


def _add_compress(subparsers: Any) -> None:
    p = _add(
        subparsers,
        "compress",
        commands.compress,
        "compress a Keras model: weight sharing, training if there is data, export",
        "dgms compress model.keras --bits 4 --data train.npz --epochs 5 --output model.tflite",
    )
    p.add_argument("model", type=Path, help=_MODEL_HELP)
    p.add_argument("--bits", type=int, choices=BITS, default=4)
    p.add_argument("--output", type=Path, help="the .tflite (default: MODEL with _w<bits>.tflite, or _clusters.tflite)")
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
    p.add_argument(
        "--from-clusters",
        action="store_true",
        help="the model's weights take few distinct values already (another tool clustered it): keep them as they are; no training",
    )
    p.add_argument("--all-layers", action="store_true", help="the first and the last layer too")
    p.add_argument("--strict", action="store_true", help="fail where a layer cannot be compressed")
    p.add_argument("--seed", type=count, default=0)


def _add_export(subparsers: Any) -> None:
    p = _add(
        subparsers,
        "export",
        commands.export,
        "write a quantised Keras model (from quantize_apply) as a .tflite",
        "dgms export quantised.keras model.tflite",
    )
    p.add_argument("model", type=Path, help=f"a quantised model: {_MODEL_HELP}")
    p.add_argument("output", type=Path, help="the .tflite file")
    p.add_argument("--activations", choices=["float32", "int8"], default="float32")
    p.add_argument(
        "--representative-dataset",
        type=Path,
        metavar="FILE",
        help="calibration inputs for --activations int8: a .npy array, or a .npz with the array x or one array for each input",
    )
    p.add_argument(
        "--inference-type",
        choices=["float32", "int8"],
        default="float32",
        help="with --activations int8: the type of the file's inputs and outputs (default float32)",
    )
    p.add_argument("--strict", action="store_true", help="fail where a layer cannot be compressed")


def _add_inspect(subparsers: Any) -> None:
    p = _add(
        subparsers,
        "inspect",
        commands.inspect,
        "show what is in a .tflite: bits, codes, zeros, bytes and entropy bound, layer by layer",
        "dgms inspect model.tflite --json model.json",
    )
    p.add_argument("model", type=Path, help="a .tflite file")
    p.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON ('-' for the screen)")


def _add_verify(subparsers: Any) -> None:
    p = _add(
        subparsers,
        "verify",
        commands.verify,
        "compare a quantised Keras model with its .tflite, in the stock runtime and in the delegate",
        "dgms verify quantised.keras model.tflite --data test.npz --per-layer",
    )
    p.add_argument("model", type=Path, help=f"the quantised or clustered model: {_MODEL_HELP}")
    p.add_argument("tflite", type=Path, help="the .tflite exported from it")
    p.add_argument(
        "--data", type=Path, metavar="FILE.npz", help="inputs: the array x, or one array for each input's name"
    )
    p.add_argument("--samples", type=_positive, default=4, help="how many inputs to compare (default 4)")
    p.add_argument("--per-layer", action="store_true", help="every layer's output too")
    p.add_argument("--seed", type=count, default=0, help="of the random input that is used without --data")


def _add_bench(subparsers: Any) -> None:
    p = _add(
        subparsers,
        "bench",
        commands.bench,
        "time a .tflite: our delegate, XNNPACK and TFLite's builtin kernels, interleaved in one process",
        "dgms bench model.tflite --dense float.tflite --threads 2 --runs 100 --json result.json\n"
        "  dgms bench --show result.json phone.json --plot results.png\n"
        "  dgms bench --table4 --networks resnet18 mobilenet_v2 --memory",
    )
    p.add_argument("model", type=Path, nargs="?", help="a .tflite file")
    p.add_argument(
        "--dense", type=Path, metavar="FILE", help="the same network in plain float, timed under XNNPACK too"
    )
    p.add_argument(
        "--paths",
        help="some of delegate,xnnpack,builtin (default: all)",
    )
    p.add_argument(
        "--threads", type=_positive, nargs="+", metavar="N", help="one number; with --table4, some (default 1; 1 2)"
    )
    p.add_argument(
        "--runs", type=_positive, help="timed rounds; each runs every path once (default 50; 30 with --table4)"
    )
    p.add_argument("--min-seconds", type=_seconds, help="go on for at least so long (default 0; 5 with --table4)")
    p.add_argument("--warmup", type=count, help="rounds that are not timed (default 5; 3 with --table4)")
    p.add_argument("--batch", type=_positive, help="for a model whose batch size is open (default 1)")
    p.add_argument(
        "--activations",
        choices=["float32", "dynamic_int8"],
        help="what float layers compute with in the delegate (default float32)",
    )
    p.add_argument("--seed", type=count, help="of the random inputs (default 0)")
    p.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="also write every figure as JSON ('-' for the screen); its fields: dgms_keras/report/bench.schema.json",
    )
    p.add_argument(
        "--show",
        type=Path,
        nargs="+",
        metavar="FILE.json",
        help="instead of timing, show results of earlier runs, of this machine, others and phones, side by side",
    )
    p.add_argument("--plot", type=Path, metavar="FILE.png|.svg", help="with --show: also draw them")
    p.add_argument(
        "--profile",
        action="store_true",
        help="also what each of the delegate's operators costs (with a model or --table4)",
    )
    table4.add_arguments(p)
    p.set_defaults(usage_error=p.error)
