"""The loops in which emulated aarch64 spends its instructions, ours and XNNPACK's, and what llvm-mca says of each on real processors.

    python tests/aarch64/hot_loops.py [--models FOLDER --networks NAME...] [--json FILE]

Nothing is cut out of sources or guessed from symbols: the emulator counts every block of code (insn_count.c), and the block with the
most instructions that multiplies and jumps back to its own beginning is the hot loop (or, of a loop with several exits, one part). That works for XNNPACK inside LiteRT's
stripped library, too. llvm-mca (LLVM 19; older models of these processors are wrong) then simulates the block: cycles per round and
multiply-adds per cycle with all data in the first-level cache. Exit status 77: cannot run here.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PROCESSORS = ("neoverse-n1", "neoverse-v1", "cortex-a55")  # Cortex-A76 to A78, Cortex-X1, Cortex-A55
FEATURES = "+neon,+dotprod,+i8mm,+fullfp16"
LLVM = "19"
ROUNDS = 200  # of a loop, in llvm-mca
BLOCKS = 60  # asked from the emulator
# Multiply-adds of one instruction, by its mnemonic and the arrangement of its result.
MULTIPLY_ADDS = {
    ("fmla", "4s"): 4,
    ("fmla", "2s"): 2,
    ("sdot", "4s"): 16,
    ("sdot", "2s"): 8,
    ("smmla", "4s"): 32,
    ("smlal", "4s"): 4,
    ("smlal2", "4s"): 4,
    ("smull", "4s"): 4,
    ("smull2", "4s"): 4,
    ("smlal", "8h"): 8,
    ("smlal2", "8h"): 8,
    ("smull", "8h"): 8,
    ("smull2", "8h"): 8,
}
# Our kernels: the processor that is emulated, and the arguments of kernel_calls_bench.
KERNELS = (
    ("cortex-a76", "gemm 16 504 5 3"),
    ("cortex-a76", "depthwise 96 54 3 1"),
    ("cortex-a76", "decode 16 512"),
    ("cortex-a76", "gemm_s8 16 576 40 3"),
    ("cortex-a76", "packed_s8 16 576 42 3"),
    ("cortex-a76", "depthwise_s8 96 54 3 1"),
    ("cortex-a76", "requantize 16 40"),
    ("cortex-a53", "gemm_s8 8 576 8 3"),
    ("max", "gemm_s8 8 576 8 3"),
)


@dataclasses.dataclass(frozen=True)
class Block:
    """A straight piece of code that was executed.

    Args:
        share: of all instructions between the marks, in percent.
        executions: how often.
        instructions: its length.
        code: as assembly, one instruction a line, the jump at its end left out.
        loops: whether it ends with a jump to its own beginning.
        work: multiply-adds of one execution.
    """

    share: float
    executions: int
    instructions: int
    code: str
    loops: bool
    work: int


def _unavailable(why: str) -> int:
    print(f"hot_loops.py cannot run here: {why}", file=sys.stderr)
    return 77


def _tool(name: str) -> str:
    return f"{name}-{LLVM}"


def _disassemble(code: Sequence[int]) -> list[str]:
    octets = "\n".join(" ".join(f"0x{byte:02x}" for byte in word.to_bytes(4, "little")) for word in code)
    command = [_tool("llvm-mc"), "--disassemble", "-triple=aarch64", f"-mattr={FEATURES}"]
    text = subprocess.run(command, input=octets, capture_output=True, text=True, check=True).stdout
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith(".")]


def _multiply_adds(line: str) -> int:
    found = re.match(r"(\w+)\s+v\d+\.(\w+)", line)
    return MULTIPLY_ADDS.get((found[1], found[2]), 0) if found else 0


def _blocks(lines: Sequence[str]) -> list[Block]:
    """The emulator's lines. It cuts what is long for it, and at the ends of pages: a loop that comes in pieces is put together here."""
    pieces = {}
    for line in lines:
        _, share, executions, _, address, code = line.split()
        words = [int(code[i : i + 8], 16) for i in range(0, len(code), 8)]
        pieces.setdefault(int(address, 16), (float(share), int(executions), words))
    blocks = []
    for address, (share, executions, words) in pieces.items():
        joined, joined_share = words, share
        while _jumps(joined) is None and (end := address + 4 * len(joined)) in pieces:
            more_share, _, more = pieces[end]
            joined, joined_share = joined + more, joined_share + more_share
        loops = len(joined) > len(words) and _jumps(joined) == -4 * (len(joined) - 1)
        blocks.append(_block(joined_share, executions, joined) if loops else _block(share, executions, words))
    return sorted(blocks, key=lambda b: -b.share)


def _jumps(words: Sequence[int]) -> int | None:
    """Where a block jumps at its end, in bytes from that instruction; None if it does not, or never goes on behind it."""
    last = _disassemble(words[-1:])[0]
    jump = re.match(r"(?:b\.\w+|cbn?z|tbn?z)\s.*#(-?\d+)$", last)
    return int(jump[1]) if jump else None


def _block(share: float, executions: int, words: Sequence[int]) -> Block:
    lines = _disassemble(words)
    jump = _jumps(words)
    body = "\n".join(lines if jump is None else lines[:-1])
    loops = jump == -4 * (len(lines) - 1)
    return Block(share, executions, len(lines), body, loops, sum(map(_multiply_adds, lines)))


def executed_blocks(command: Sequence[str], environment: dict[str, str] | None = None) -> list[Block]:
    """Runs a command whose marks enclose what is of interest; its blocks, those with most instructions first."""
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **(environment or {})}, check=False
    )
    if done.returncode == 77:
        raise FileNotFoundError(done.stderr.strip())
    # What the counter printed at each mark: at the first, at the second, at exit.
    marks = re.split(r"^instructions \d+$", done.stderr, flags=re.MULTILINE)[1:]
    if done.returncode != 0 or len(marks) != 3:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-500:]}")
    return _blocks([line for line in marks[1].splitlines() if line.startswith("block ")])


def kernel_blocks(cpu: str, call: str) -> list[Block]:
    """Of one kernel in kernel_calls_bench."""
    return executed_blocks([str(HERE / "run_kernel.sh"), "-cpu", cpu, "-blocks", str(BLOCKS), "20", *call.split()])


def model_blocks(cpu: str, model: Path, *delegate: str) -> list[Block]:
    """Of one inference; `delegate` is our library and its options."""
    command = [
        str(HERE / "run.sh"),
        "-cpu",
        cpu,
        "-blocks",
        str(BLOCKS),
        str(HERE / "invoke.py"),
        str(model),
        *delegate,
    ]
    return executed_blocks(command)


def simulate(block: Block, processor: str) -> dict[str, Any]:
    """llvm-mca's cycles per round of a loop, multiply-adds per cycle and what bounds it."""
    command = [
        _tool("llvm-mca"),
        "-mtriple=aarch64",
        f"-mcpu={processor}",
        f"-mattr={FEATURES}",
        f"-iterations={ROUNDS}",
    ]
    command += ["-instruction-info=0", "-bottleneck-analysis"]
    text = subprocess.run(command, input=block.code, capture_output=True, text=True, check=True).stdout
    cycles = int(re.search(r"Total Cycles:\s+(\d+)", text)[1]) / ROUNDS  # type: ignore[index]
    pressure = [m[1] for m in re.finditer(r"^  - (\w+)\s+\[ (\d+)\.\d+% \]", text, re.MULTILINE) if int(m[2]) >= 5]
    resources = _busiest(text)
    return {
        "processor": processor,
        "cycles": cycles,
        "multiply_adds_per_cycle": block.work / cycles,
        "bound": ", ".join(pressure) or resources,
    }


def _busiest(text: str) -> str:
    """The resource that llvm-mca's table of pressure per round shows as busiest (in-order processors have no analysis)."""
    names = dict(re.findall(r"^(\[[\d.]+\])\s+- (\w+)$", text, re.MULTILINE))
    table = re.search(r"Resource pressure per iteration:\n(.+)\n(.+)", text)
    if not names or not table:
        return ""
    columns = zip(table[1].split(), table[2].split(), strict=True)
    busy = {names[column]: float(value) for column, value in columns if value != "-"}
    return max(busy, key=lambda name: busy[name]) if busy else ""


def hot_loop(blocks: Sequence[Block]) -> Block | None:
    """The loop with the most instructions that multiplies; else such a block, which is part of a larger loop; else any loop; or None."""
    loops = [b for b in blocks if b.loops]
    multiply = [b for b in blocks if b.work > 0]
    return next(iter([b for b in loops if b.work > 0] or multiply or loops), None)


def _row(what: str, block: Block, folder: Path) -> dict[str, Any]:
    results = [simulate(block, processor) for processor in PROCESSORS]
    name = re.sub(r"\W+", "_", what)
    (folder / f"{name}.s").write_text(block.code + "\n")
    return {
        "what": what,
        "share": block.share,
        "instructions": block.instructions,
        "multiply_adds": block.work,
        "processors": results,
    }


def _show(rows: Sequence[dict[str, Any]]) -> None:
    """Prints a Markdown table: for each processor cycles per round, multiply-adds per cycle and what bounds them."""
    titles = ["hot loop", "instructions", "multiply-adds"]
    titles += [f"{p}: {what}" for p in PROCESSORS for what in ("cycles", "per cycle", "bound by")]
    print(f"| {' | '.join(titles)} |")
    print(f"| --- | ---: | ---: |{' ---: | ---: | --- |' * len(PROCESSORS)}")
    for row in rows:
        cells = [row["what"], str(row["instructions"]), str(row["multiply_adds"])]
        for p in row["processors"]:
            cells += [f"{p['cycles']:.1f}", f"{p['multiply_adds_per_cycle']:.2f}", p["bound"]]
        print(f"| {' | '.join(cells)} |")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description="Hot loops on aarch64 through llvm-mca.")
    parser.add_argument(
        "--models", type=Path, default=Path("build/networks"), help="dense files: NETWORK_{float,int8}.tflite"
    )
    parser.add_argument(
        "--networks", nargs="*", default=["resnet18", "mobilenet_v2"], help="whose XNNPACK loops are shown"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("build/aarch64/loops"), help="where the loops' assembly goes"
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(argv)
    if any(shutil.which(_tool(tool)) is None for tool in ("llvm-mca", "llvm-mc")):
        return _unavailable(
            f"llvm-mca-{LLVM} is missing (apt-get install llvm-{LLVM}; on older Debian from LLVM's own archive)"
        )
    arguments.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    try:
        for cpu, call in KERNELS:
            block = hot_loop(kernel_blocks(cpu, call))
            if block is None:
                raise RuntimeError(f"no loop was found in: {call}")
            rows.append(_row(f"ours {call} ({cpu})", block, arguments.folder))
        for network in arguments.networks:
            for variant in ("float", "int8"):
                model = arguments.models / f"{network}_{variant}.tflite"
                if not model.exists():
                    print(f"{model} is not there: XNNPACK's loop is left out (bench.py makes it)", file=sys.stderr)
                    continue
                loops = [b for b in model_blocks("cortex-a76", model) if b.loops and b.work > 0]
                for rank, block in enumerate(loops[:2]):
                    rows.append(
                        _row(f"XNNPACK {network} {variant} #{rank + 1} ({block.share:.0f}%)", block, arguments.folder)
                    )
    except FileNotFoundError as error:
        return _unavailable(str(error))
    _show(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
