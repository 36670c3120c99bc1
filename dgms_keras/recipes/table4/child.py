"""One measurement in a process of its own: `python -m dgms_keras.recipes.table4.child TASK JOB.json`.

A task is a function of the job's fields that returns JSON types; the job names the file that takes them, so that nothing a runtime
prints gets between. Neither TensorFlow nor Keras is loaded here.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Exit status of a process in which the instruction sets could not be hidden (delegate/bench/cpuid_mask.c).
CANNOT_MASK = 77


class MeasurementError(RuntimeError):
    """A measurement's process failed; the message holds the end of what it said."""


def _tasks() -> dict[str, Callable[..., Any]]:
    from dgms_keras.recipes.table4 import growth, measure, memory
    from dgms_keras.runtime.machine import kernel_sets

    return {
        "times": measure.times,
        "profile": measure.profile,
        "resident": memory.resident,
        "init": memory.init_times,
        "growth": growth.times,
        "kernel_sets": lambda: kernel_sets()[0],
    }


def environment() -> dict[str, str]:
    """This process's environment, with its module path."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def run(task: str, job: dict[str, Any], *, mask: Path | None = None, show: bool = True) -> Any:
    """Runs a task in a fresh process.

    Args:
        task: its name.
        job: its arguments.
        mask: the library of mask.py, to confine the process to AVX2.
        show: pass on what the process writes to stderr (its progress) as it comes.

    Raises:
        MeasurementError: the process failed. KeyboardInterrupt: the process was interrupted.
    """
    with tempfile.TemporaryDirectory(prefix="dgms_table4_") as folder:
        result = Path(folder, "result.json")
        file = Path(folder, "job.json")
        file.write_text(json.dumps({"arguments": job, "result": str(result)}))
        variables = environment() if mask is None else {**environment(), "LD_PRELOAD": str(mask)}
        command = [sys.executable, "-m", "dgms_keras.recipes.table4.child", task, str(file)]
        done = subprocess.run(command, env=variables, stderr=None if show else subprocess.PIPE, text=True, check=False)
        if done.returncode == -signal.SIGINT:
            # Ctrl-C reaches both processes. Here another thread may be the one to take the signal, and be late.
            raise KeyboardInterrupt
        if done.returncode != 0 or not result.exists():
            said = f": {done.stderr.strip()[-500:]}" if done.stderr else ""
            raise MeasurementError(
                f"the process of {task!r} must end with status 0. Received: {done.returncode} ({job}){said}"
            )
        return json.loads(result.read_text())


def main(argv: Sequence[str]) -> int:
    """What runs in the fresh process."""
    task, file = argv
    job = json.loads(Path(file).read_text())
    Path(job["result"]).write_text(json.dumps(_tasks()[task](**job["arguments"])))
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches the parent, too: one of both says so
    sys.exit(main(sys.argv[1:]))
