"""The delegate's own figures: what each of its operators costs in one model.

    python -m dgms_keras.runtime.profile MODEL.tflite '{"num_threads": 1}' RUNS

The delegate writes its table to stderr when it goes, so each profile is a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

# The line before the delegate's table.
_TITLE = "dgms: profile"


def profile_lines(model: str | os.PathLike[str], *, num_threads: int = 1, runs: int = 50, **options: Any) -> list[str]:
    """Runs a model some times in the delegate, and returns the table that it makes of that.

    Args:
        model: a `.tflite` file.
        num_threads: of delegate and runtime.
        runs: how often, after one run that is measured as well.
        **options: further options of the delegate (see `load_delegate`).

    Returns:
        Lines of text: calls, mean and best microseconds, multiply-adds, kernel and output of each operator, in the order of
        first runs.

    Raises:
        RuntimeError: the process failed, or the delegate claimed nothing of the model.
    """
    settings = {"num_threads": num_threads, **options}
    command = [sys.executable, "-m", "dgms_keras.runtime.profile", os.fspath(model), json.dumps(settings), str(runs)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the model must run to be profiled. Received: {done.stderr.strip()[-500:]} ({model})")
    lines = done.stderr.splitlines()
    table = lines[lines.index(_TITLE) + 1 :] if _TITLE in lines else []
    if len(table) < 3:  # without an operator, it is a heading and a sum
        raise RuntimeError(f"the delegate must claim operators to be profiled. Received: none claimed in {model}")
    return table


def main(argv: Sequence[str]) -> int:
    """What runs in the process: one interpreter, `runs` + 1 invokes."""
    from dgms_keras.runtime.interleaved import random_input
    from dgms_keras.runtime.interpreter import Interpreter

    model, settings, runs = argv
    options = json.loads(settings)
    interpreter = Interpreter(
        model, num_threads=options.pop("num_threads"), delegate_options={**options, "profile": True}
    )
    interpreter.allocate_tensors()
    generator = np.random.default_rng(0)
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], random_input(generator, detail["shape"], detail["dtype"]))
    for _ in range(int(runs) + 1):
        interpreter.invoke()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
