"""Loads a .tflite on the emulated machine and invokes it; marks (os.getppid, see insn_count.c) enclose the last inference.

Usage: run.sh -count invoke.py MODEL [LIBRARY [option=value ...]]
"""

import os
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter, load_delegate

WARM_UP = 1  # the first inference does things once


def main(model: str, library: str | None = None, *options: str) -> None:
    delegates = [load_delegate(library, dict(option.split("=", 1) for option in options))] if library else []
    interpreter = Interpreter(model_path=model, num_threads=1, experimental_delegates=delegates)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        values = np.random.default_rng(0).standard_normal(detail["shape"])
        if detail["dtype"] != np.float32:
            values = np.clip(values * 40, -128, 127)
        interpreter.set_tensor(detail["index"], values.astype(detail["dtype"]))
    for _ in range(WARM_UP):
        interpreter.invoke()
    os.getppid()
    interpreter.invoke()
    os.getppid()
    for detail in interpreter.get_output_details():
        print(interpreter.get_tensor(detail["index"]).ravel()[:4])


if __name__ == "__main__":
    main(*sys.argv[1:])
