"""`dgms bench --table4`: its arguments, and what it does with them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dgms_keras.cli.values import count, given_names, make_folder, write_json
from dgms_keras.config import BITS

# Arguments of `dgms bench` that belong to --table4 alone, and those that it has no use for.
_OWN = ("networks", "bits", "builtin_runs", "isa", "memory", "growth", "clock", "output", "folder")
_OTHERS = ("dense", "paths", "batch", "activations", "seed", "json", "show", "plot")
_LISTS = ("networks", "bits", "threads")
OUTPUT = Path("build/table4")
FOLDER = Path("build/networks")
# In the output folder, while networks are still to come.
UNFINISHED = "table4.unfinished.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --table4 and what goes with it."""
    p = parser.add_argument_group(
        "whole networks",
        "--table4 instead of a model: ResNet-18, ResNet-50, MobileNetV2, MnasNet-A1, ProxylessNAS-Mobile and SSDLite-MobileNetV2 with "
        "random weights, in the delegate, XNNPACK and TFLite's builtin kernels",
    )
    p.add_argument("--table4", action="store_true", help="time these networks; the options below go with it")
    p.add_argument(
        "--networks", nargs="+", metavar="NAME", help="some of them, as in `resnet18 mobilenet_v2` (default: all)"
    )
    p.add_argument("--bits", nargs="+", type=int, choices=BITS, help="of the shared weights (default 4)")
    p.add_argument("--builtin-runs", type=count, metavar="N", help="rounds of the builtin kernels; 0: none (default 5)")
    p.add_argument("--isa", choices=["avx2"], help="a second table, on this instruction set alone")
    p.add_argument("--memory", action="store_true", help="also resident memory, and time until a network can run")
    p.add_argument("--growth", action="store_true", help="also time against multiply-adds: image sizes and batches")
    p.add_argument(
        "--clock", choices=["wall", "cpu"], help="cpu: for one thread, on a machine with other work (default wall)"
    )
    p.add_argument("--output", type=Path, metavar="FOLDER", help=f"for table4.json and pictures (default {OUTPUT})")
    p.add_argument("--folder", type=Path, help=f"where the networks' files are kept (default {FOLDER})")


def check_arguments(arguments: argparse.Namespace) -> None:
    """Ends the program with a line where arguments do not go together."""
    if arguments.table4:
        wrong = given_names(arguments, _OTHERS)
        if wrong:
            arguments.usage_error(f"--table4 takes no --{wrong[0]}")
        for name in _LISTS:
            values = getattr(arguments, name) or []
            if len(set(values)) != len(values):
                received = " ".join(map(str, values))
                arguments.usage_error(f"--{name} must have each value once. Received: {received}")
        if arguments.clock == "cpu" and arguments.threads != [1]:
            arguments.usage_error("--clock cpu is for one thread (--threads 1)")
        return
    wrong = given_names(arguments, _OWN)
    if wrong:
        arguments.usage_error(f"--{wrong[0].replace('_', '-')} goes with --table4")


def run(arguments: argparse.Namespace) -> int:
    """Measures, prints, and writes table4.json, table4.png and, with --growth, growth.png."""
    from rich.console import Console

    from dgms_keras.recipes.models import NETWORKS
    from dgms_keras.recipes.table4.run import Table4Settings, run_table4
    from dgms_keras.report import table4, table4_plots

    networks = arguments.networks or list(NETWORKS)
    unknown = [n for n in networks if n not in NETWORKS]
    if unknown:
        raise ValueError(f"--networks must be some of {', '.join(NETWORKS)}. Received: {unknown[0]}")
    given = {name: getattr(arguments, name) for name in ("bits", "threads", "runs", "min_seconds", "warmup")}
    given |= {name: getattr(arguments, name) for name in ("builtin_runs", "clock", "folder")}
    settings = Table4Settings(
        networks=tuple(networks),
        isas=("auto", "avx2") if arguments.isa == "avx2" else ("auto",),
        memory=arguments.memory,
        growth=arguments.growth,
        profile=arguments.profile,
        **{"folder": FOLDER, **{name: value for name, value in given.items() if value is not None}},
    )
    output = arguments.output or OUTPUT
    make_folder(output, "--output")
    file, unfinished = output / "table4.json", output / UNFINISHED
    unfinished.unlink(missing_ok=True)  # of an earlier run
    try:
        data = run_table4(settings, lambda text: print(text, flush=True), lambda data: write_json(unfinished, data))
    except BaseException:  # also Ctrl-C
        if unfinished.exists():
            print(f"what was measured so far: python -m dgms_keras.report.table4 {unfinished}", file=sys.stderr)
        raise
    write_json(file, data)  # before it is checked: figures of many minutes must not be lost to a missing package
    unfinished.unlink(missing_ok=True)
    console = Console(width=None if sys.stdout.isatty() else 160)
    for table in table4.tables(data):
        console.print(table)
    for network in data["networks"]:
        for profile in network.get("profiles", ()):
            print(f"\n{network['name']}, {profile['path']}", *profile["lines"], sep="\n")
    table4.check(data, file)
    written = [file, table4_plots.save_ratios(output / "table4.png", data)]
    if data["growth"]:
        written.append(table4_plots.save_growth(output / "growth.png", data))
    print(f"wrote {', '.join(map(str, written))}")
    return 0
