"""Executed instructions of whole networks on emulated aarch64, our delegate against XNNPACK: `make bench-arm`.

    python tests/aarch64/bench.py [--networks NAME...] [--bits 2 3 4] [--cpu NAME] [--models FOLDER] [--json FILE]

The networks, the comparisons and their targets are those of `dgms bench --table4` (dgms_keras/recipes/table4); files are made where they
are missing. One inference, one thread, batch 1. Counts repeat exactly, and compare code with code; they know nothing of caches
or pipelines (hot_loops.py asks llvm-mca about those). For the same reason XNNPACK's are counted once per file and kept, beside the build;
`--fresh` counts them again. The table is printed as Markdown, line by line; what is going on meanwhile goes to the standard error. Exit
status 77: cannot run here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import threading
import time
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
# What a count of XNNPACK depends on besides the file and the processor: the LiteRT that setup.sh fetches, and what is counted.
COUNTED_BY = ("setup.sh", "insn_count.c", "invoke.py")
NO_FILE = "-"  # to count_model.sh


class Unavailable(Exception):
    """The emulator cannot run here; the text says why."""


def _run(who: str, cpu: str, options: Sequence[str], ours: str, peer: str) -> int:
    command = [str(HERE / "count_model.sh"), "-cpu", cpu, *options, ours, peer]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        raise Unavailable(done.stderr.strip())
    counts = re.findall(rf"^{who}\s+(\d+) instructions", done.stdout, re.MULTILINE)
    if done.returncode != 0 or len(counts) != 1:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-500:]}")
    return int(counts[0])


def count_ours(file: Path, options: dict[str, str], cpu: str) -> int:
    """Executed instructions of one inference of `file` with our delegate and its options.

    Raises:
        Unavailable: the emulator cannot run here.
        RuntimeError: the file did not run.
    """
    words = [word for name, value in options.items() for word in ("-option", f"{name}={value}")]
    return _run("delegate", cpu, words, str(file), NO_FILE)


class PeerCounts:
    """Executed instructions of one inference in XNNPACK, kept in a file from run to run.

    Args:
        file: where they are kept.
        fresh: whether what is kept already is to be counted again.
    """

    def __init__(self, file: Path, fresh: bool) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        if file.exists() and not fresh:
            self._counts = json.loads(file.read_text())

    def __call__(self, model: Path, cpu: str) -> int:
        """The count for a file; raises what `count_ours` raises."""
        digest = hashlib.sha256()
        for part in (model, *(HERE / name for name in COUNTED_BY)):
            digest.update(part.read_bytes())
        key = f"{model.name} {cpu} {digest.hexdigest()}"
        if key not in self._counts:
            count = _run("XNNPACK", cpu, (), NO_FILE, str(model))
            with self._lock:
                self._counts[key] = count
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._file.write_text(json.dumps(self._counts, indent=2) + "\n")
        return self._counts[key]


def compare(
    network: str, comparison: Comparison, bits: int, cpu: str, folder: Path, peers: PeerCounts
) -> dict[str, Any]:
    """Counts one pair of files.

    Args:
        network: its name.
        comparison: what of ours against which peer.
        bits: of our weights.
        cpu: the emulated processor.
        folder: where the files are.
        peers: counts XNNPACK's side.

    Returns:
        A row of the table; `floor` is the number of multiply-add instructions of direct convolution, `seconds` what counting took.
    """
    start = time.monotonic()
    files = network_files.paths(network, [bits], folder)
    delegate = count_ours(files[comparison.ours_file.format(bits=bits)], comparison.options, cpu)
    xnnpack = peers(files[comparison.peer_file], cpu)
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
        "seconds": time.monotonic() - start,
    }


def _header(cpu: str) -> str:
    titles = (f"{cpu}, millions of instructions", "", "delegate", "XNNPACK", "floor", "ratio", "target", "")
    return f"| {' | '.join(titles)} |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |"


def _line(row: dict[str, Any]) -> str:
    cells = [row["network"], row["label"], *(f"{row[name] / 1e6:.1f}" for name in ("delegate", "xnnpack", "floor"))]
    cells.append(f"{row['ratio']:.3f}")
    cells += ["", ""] if row["target"] is None else [f"{row['target']:.2f}", "reached" if row["reached"] else "missed"]
    return f"| {' | '.join(cells)} |"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Executed instructions of whole networks on emulated aarch64.")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--bits", nargs="+", type=int, choices=BITS, default=[4])
    parser.add_argument("--cpu", default="cortex-a76", help="as qemu-aarch64 names it")
    parser.add_argument("--models", type=Path, default=Path("build/networks"), help="where the files are, or are put")
    parser.add_argument("--json", type=Path, default=Path("build/aarch64/instructions.json"))
    parser.add_argument("--jobs", type=int, default=2, help="emulators that run side by side (it changes no count)")
    parser.add_argument(
        "--peers", type=Path, default=Path("build/aarch64/xnnpack_instructions.json"), help="their counts"
    )
    parser.add_argument("--fresh", action="store_true", help="count XNNPACK again")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of this module."""
    arguments = _parser().parse_args(argv)
    for network in arguments.networks:
        network_files.make_files(network, arguments.bits, arguments.models, lambda text: print(text, file=sys.stderr))
    peers = PeerCounts(arguments.peers, arguments.fresh)
    work = [(n, c, b) for n in arguments.networks for c in COMPARISONS for b in arguments.bits]
    print(_header(arguments.cpu), flush=True)
    rows: list[dict[str, Any]] = []
    start = time.monotonic()
    with ThreadPoolExecutor(arguments.jobs) as pool:
        try:
            for row in pool.map(lambda w: compare(*w, arguments.cpu, arguments.models, peers), work):
                rows.append(row)
                print(_line(row), flush=True)
                print(f"[{len(rows)} of {len(work)}, {time.monotonic() - start:.0f} s]", file=sys.stderr, flush=True)
        except Unavailable as error:
            pool.shutdown(cancel_futures=True)
            print(error, file=sys.stderr)
            return 77
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps({"cpu": arguments.cpu, "rows": rows}, indent=2) + "\n")
    print(f"written to {arguments.json}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
