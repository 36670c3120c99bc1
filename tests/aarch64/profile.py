"""Where the instructions of a network on emulated aarch64 go: those of each function of our delegate.

    python tests/aarch64/profile.py MODEL [--top N] [--cpu NAME] [--option NAME=VALUE]...

One inference, one thread; millions of executed instructions, and how many of them multiply (MULTIPLY_ADDS of hot_loops.py). What the compiler
inlined counts where it was inlined; `rest` is the runtime and the C library. The emulator knows addresses only: where the library was loaded
is found by its code.
"""

from __future__ import annotations

import argparse
import bisect
import collections
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hot_loops import marked_blocks, multiply_adds

HERE = Path(__file__).resolve().parent
LIBRARY = HERE.parents[1] / "build/aarch64/libdgms_delegate.so"
BLOCKS = 100000  # more than there are
LONG = 48  # bytes of code that hardly occur twice
WIDTH = 110


def functions(library: Path) -> list[tuple[int, str]]:
    """Start and name of each, in order."""
    command = ["aarch64-linux-gnu-nm", "--demangle", str(library)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    text = text.replace("dgms::", "").replace("(anonymous namespace)::", "")
    return sorted((int(start, 16), name) for start, name in re.findall(r"^([0-9a-f]+) [tTwW] ([^$].*)$", text, re.M))


def multiplying(words: set[int]) -> set[int]:
    """Those of these instructions that multiply and add."""
    ordered = sorted(words)
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"".join(word.to_bytes(4, "little") for word in ordered))
        file.flush()
        command = [
            "aarch64-linux-gnu-objdump",
            "-D",
            "-z",
            "-b",
            "binary",
            "-m",
            "aarch64",
            "--no-show-raw-insn",
            file.name,
        ]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^\s*([0-9a-f]+):\s+(.*)$", text, re.M)
    return {ordered[int(offset, 16) // 4] for offset, line in found if multiply_adds(line) > 0}


def load_address(blocks: Sequence[tuple[int, bytes]], image: bytes) -> int:
    """What most of the long pieces that occur once in the library say."""
    votes: collections.Counter[int] = collections.Counter()
    for address, code in blocks:
        if len(code) >= LONG and image.count(code) == 1:
            votes[address - image.find(code)] += 1
        if votes.total() == 50:
            break
    return votes.most_common(1)[0][0]


def profile(model: Path, cpu: str, options: Sequence[str]) -> list[tuple[str, int, int]]:
    """Name, executed instructions and multiplying ones of each function, the most first."""
    command = [
        str(HERE / "run.sh"),
        "-cpu",
        cpu,
        "-blocks",
        str(BLOCKS),
        str(HERE / "invoke.py"),
        str(model),
        str(LIBRARY),
    ]
    blocks = []
    for line in marked_blocks([*command, *options]):
        _, _, executions, _, address, code = line.split()
        words = [int(code[i : i + 8], 16) for i in range(0, len(code), 8)]
        blocks.append((int(address, 16), int(executions), words))
    multiplies = multiplying({word for _, _, words in blocks for word in words})
    names, image = functions(LIBRARY), LIBRARY.read_bytes()
    base = load_address([(a, b"".join(w.to_bytes(4, "little") for w in words)) for a, _, words in blocks], image)
    starts = [start for start, _ in names]
    counts: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0])
    for address, executions, words in blocks:
        inside = base <= address < base + len(image)
        name = names[bisect.bisect_right(starts, address - base) - 1][1] if inside else "rest"
        counts[name][0] += executions * len(words)
        counts[name][1] += executions * sum(word in multiplies for word in words)
    return sorted(((name, *both) for name, both in counts.items()), key=lambda row: -row[1])


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description="Executed instructions of each function of the delegate on aarch64.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--top", type=int, default=30)
    parser.add_argument("--cpu", default="cortex-a76")
    parser.add_argument("--option", action="append", default=["num_threads=1"], help="of the delegate")
    arguments = parser.parse_args(argv)
    subprocess.run(["bash", "-c", f"source {HERE}/env.sh && require_setup && cross_build dgms_delegate"], check=True)
    rows = profile(arguments.model, arguments.cpu, arguments.option)
    print("| function | instructions, M | multiply |\n| --- | ---: | ---: |")
    for name, instructions, multiplying in rows[: arguments.top]:
        print(f"| `{name[:WIDTH]}` | {instructions / 1e6:.3f} | {multiplying / 1e6:.3f} |")
    print(f"| all | {sum(r[1] for r in rows) / 1e6:.3f} | {sum(r[2] for r in rows) / 1e6:.3f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
