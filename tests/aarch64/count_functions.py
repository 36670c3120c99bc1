"""Executed instructions of one inference on emulated aarch64, function by function of our delegate.

    python tests/aarch64/count_functions.py MODEL [option=value ...] [--functions COUNT] [--before FILE] [--json FILE]

The emulator counts every block of code (insn_count.c). Blocks of ours are found by their code in the library, linked once more with its
symbols. What is executed outside of it (the runtime, the C library) is one line. `--before` shows the difference to a former `--json`.
"""

from __future__ import annotations

import argparse
import bisect
import collections
import json
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build" / "aarch64"
LIBRARY = "libdgms_delegate.so"
PREFIX = "aarch64-linux-gnu-"
ALL_BLOCKS = 1 << 30
LONG = 12  # instructions of a block whose code is likely to be in one place only


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=BUILD)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-500:]}")
    return done.stdout


def _functions() -> tuple[list[int], list[str]]:
    """Addresses of all functions of the library, in order, and their names."""
    link = [line for line in _run("ninja", "-t", "commands", LIBRARY).splitlines() if f"-o {LIBRARY}" in line][-1]
    link = re.sub(r" -s(?= )", "", link).replace(f"-o {LIBRARY}", f"-o symbols-{LIBRARY}")
    _run("bash", "-c", link)
    symbols = {}
    for line in _run(f"{PREFIX}nm", "-C", "--defined-only", f"symbols-{LIBRARY}").splitlines():
        address, kind, name = line.split(" ", 2)
        if kind in "tTwW" and not name.startswith("$"):
            symbols[int(address, 16)] = re.sub(r"\(anonymous namespace\)::|^dgms::", "", name)
    return sorted(symbols), [symbols[address] for address in sorted(symbols)]


def _blocks(model: Path, options: list[str]) -> list[tuple[int, int, int, bytes]]:
    """Address, executions, instructions and code of all that was executed in one inference."""
    command = [HERE / "run.sh", "-blocks", ALL_BLOCKS, HERE / "invoke.py", model.resolve(), BUILD / LIBRARY, *options]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    marks = re.split(r"^instructions \d+$", done.stderr, flags=re.MULTILINE)[1:]
    if done.returncode != 0 or len(marks) != 3:
        raise RuntimeError(f"{model} did not run: {done.stderr[-500:]}")
    blocks = []
    for line in marks[1].splitlines():
        if not line.startswith("block "):
            continue
        _, _, executions, count, address, code = line.split()
        words = b"".join(int(code[i : i + 8], 16).to_bytes(4, "little") for i in range(0, len(code), 8))
        blocks.append((int(address, 16), int(executions), int(count), words))
    return blocks


def _base(blocks: list[tuple[int, int, int, bytes]]) -> int:
    """The address that the library was loaded at: the one that most blocks which it holds agree about."""
    _run(f"{PREFIX}objcopy", "-O", "binary", "--only-section=.text", LIBRARY, "text.bin")
    text = (BUILD / "text.bin").read_bytes()
    sections = _run(f"{PREFIX}readelf", "-SW", LIBRARY)
    start = int(re.search(r"\.text\s+PROGBITS\s+([0-9a-f]+)", sections)[1], 16)  # type: ignore[index]
    votes: collections.Counter[int] = collections.Counter()
    for address, _, count, code in blocks:
        at = text.find(code) if count >= LONG else -1
        if at >= 0:
            votes[address - start - at] += 1
    return votes.most_common(1)[0][0]


def count(model: Path, options: list[str]) -> dict[str, int]:
    """Executed instructions by function.

    Args:
        model: a .tflite.
        options: of the delegate.

    Returns:
        Instructions by name; what is not ours is `(outside)`.
    """
    subprocess.run(["bash", "-c", f'source "{HERE}/env.sh"; require_setup; cross_build dgms_delegate'], check=True)
    addresses, names = _functions()
    blocks = _blocks(model, options)
    base = _base(blocks)
    size = (BUILD / LIBRARY).stat().st_size
    counts: collections.Counter[str] = collections.Counter()
    for address, executions, instructions, _ in blocks:
        at = address - base
        name = names[bisect.bisect_right(addresses, at) - 1] if addresses[0] <= at < size else "(outside)"
        counts[name] += executions * instructions
    return dict(counts)


def main() -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description="Executed instructions of one inference, function by function.")
    parser.add_argument("model", type=Path)
    parser.add_argument("options", nargs="*", default=["num_threads=1"])
    parser.add_argument("--functions", type=int, default=40, help="how many are shown")
    parser.add_argument("--before", type=Path, help="a former --json")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    counts = count(arguments.model, arguments.options)
    before = json.loads(arguments.before.read_text()) if arguments.before else {}
    if arguments.json:
        arguments.json.write_text(json.dumps(counts, indent=1) + "\n")
    print(f"{sum(counts.values()):12} in all")
    for name in sorted(counts, key=lambda n: -counts[n])[: arguments.functions]:
        change = f" {counts[name] - before.get(name, 0):+10}" if before else ""
        print(f"{counts[name]:12}{change} {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
