"""Executed instructions of whole networks on emulated aarch64, our delegate against XNNPACK: `make bench-arm`.

    python tests/aarch64/bench.py [--networks NAME...] [--bits 2 3 4] [--cpu NAME] [--models FOLDER] [--json FILE]

The networks, the comparisons and their targets are those of `dgms bench --table4` (dgms_keras/recipes/table4); files are made where they
are missing. One inference, one thread, batch 1. Counts repeat exactly, and compare code with code; they know nothing of caches
or pipelines (hot_loops.py asks llvm-mca about those). Exit status 77: cannot run here.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dgms_keras.config import BITS
from dgms_keras.recipes.models import NETWORKS
from dgms_keras.recipes.table4 import files as network_files
from dgms_keras.recipes.table4.paths import COMPARISONS, Comparison

HERE = Path(__file__).resolve().parent
# Multiply-adds of one 128-bit instruction: what divides a network's multiply-adds into the least number of instructions that direct
# (not Winograd's) convolution can do with.
PER_INSTRUCTION = {"a32": 4, "a8": 16, "dynamic": 16}


class Unavailable(Exception):
    """The emulator cannot run here; the text says why."""


def count(network: str, comparison: Comparison, bits: int, cpu: str, folder: Path) -> dict[str, Any]:
    """Counts one pair of files.

    Args:
        network: its name.
        comparison: what of ours against which peer.
        bits: of our weights.
        cpu: the emulated processor.
        folder: where the files are.

    Returns:
        A row of the table; `floor` is the number of multiply-add instructions of direct convolution.

    Raises:
        Unavailable: the emulator cannot run here.
        RuntimeError: a file did not run.
    """
    files = network_files.paths(network, [bits], folder)
    options = [word for name, value in comparison.options.items() for word in ("-option", f"{name}={value}")]
    ours, peer = files[comparison.ours_file.format(bits=bits)], files[comparison.peer_file]
    command = [str(HERE / "count_model.sh"), "-cpu", cpu, *options, str(ours), str(peer)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        raise Unavailable(done.stderr.strip())
    counts = re.findall(r"^(?:delegate|XNNPACK)\s+(\d+) instructions", done.stdout, re.MULTILINE)
    if done.returncode != 0 or len(counts) != 2:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-500:]}")
    delegate, xnnpack = map(int, counts)
    target = comparison.targets.get(network)
    return {
        "network": network,
        "comparison": comparison.key,
        "label": comparison.label(bits),
        "bits": bits,
        "delegate": delegate,
        "xnnpack": xnnpack,
        "ratio": delegate / xnnpack,
        "target": target,
        "reached": None if target is None else delegate / xnnpack <= target,
        "floor": network_files.facts(network, folder)["macs"] // PER_INSTRUCTION[comparison.key],
    }


def _line(row: dict[str, Any]) -> str:
    target = "" if row["target"] is None else f"{row['target']:>7.2f} {'reached' if row['reached'] else 'missed'}"
    return (
        f"{row['network']:<22} {row['label']:<34} {row['delegate'] / 1e6:>9.1f} {row['xnnpack'] / 1e6:>9.1f} {row['floor'] / 1e6:>9.1f} "
        f"{row['ratio']:>6.2f} {target}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description="Executed instructions of whole networks on emulated aarch64.")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--bits", nargs="+", type=int, choices=BITS, default=[4])
    parser.add_argument("--cpu", default="cortex-a76", help="as qemu-aarch64 names it")
    parser.add_argument("--models", type=Path, default=Path("build/networks"), help="where the files are, or are put")
    parser.add_argument("--json", type=Path, default=Path("build/aarch64/instructions.json"))
    parser.add_argument("--jobs", type=int, default=2, help="emulators that run side by side (it changes no count)")
    arguments = parser.parse_args(argv)
    for network in arguments.networks:
        network_files.make_files(network, arguments.bits, arguments.models, lambda text: print(text, file=sys.stderr))
    work = [(n, c, b) for n in arguments.networks for c in COMPARISONS for b in arguments.bits]
    header = f"{'network, ' + arguments.cpu:<22} {'':<34} {'delegate':>9} {'XNNPACK':>9} {'floor':>9} {'ratio':>6} {'target':>7}"
    print(f"millions of instructions per inference, one thread\n{header}", flush=True)
    rows = []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        try:
            for row in pool.map(lambda w: count(*w, arguments.cpu, arguments.models), work):
                rows.append(row)
                print(_line(row), flush=True)
        except Unavailable as error:
            pool.shutdown(cancel_futures=True)
            print(error, file=sys.stderr)
            return 77
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps({"cpu": arguments.cpu, "rows": rows}, indent=2) + "\n")
    print(f"written to {arguments.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
