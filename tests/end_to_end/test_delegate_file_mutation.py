"""Damaged files in the real runtime, each in a child process: where stock kernels survive, the delegate must, too.

DGMS_FILE_MUTATIONS=100000 runs that many.
"""

from __future__ import annotations

import faulthandler
import os
import random
import signal

import numpy as np
import pytest
from ai_edge_litert import interpreter as litert
from delegate_support import conv_model, library, run

COUNT = int(os.environ.get("DGMS_FILE_MUTATIONS", "300"))
WITHOUT_XNNPACK = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
VALUES = (0, 1, 2, 3, 4, 8, 16, 127, 128, 255)


def damaged(data: bytes, seed: int) -> bytes:
    """One to three bytes, or aligned words, changed; half of the changes aim at what is not weights."""
    rng = random.Random(seed)
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(8, len(changed))
        if rng.random() < 0.5:
            while changed[at] == 0 and rng.random() < 0.9:  # offsets, sizes and enums are small, but rarely zero
                at = rng.randrange(8, len(changed))
        if rng.random() < 0.3:
            at -= at % 4
            changed[at : at + 4] = rng.choice([-1, 0, 1, 2**31 - 1, 65536]).to_bytes(4, "little", signed=True)
        else:
            changed[at] = rng.choice([*VALUES, changed[at] ^ (1 << rng.randrange(8))])
    return bytes(changed)


def outcome(data: bytes, with_delegate: bool) -> int:
    """0: it ran; 1: it was refused; negative: the signal that killed the child."""
    child = os.fork()
    if child == 0:
        faulthandler.disable()  # the runtime's own crashes are expected, and not to be shown
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        signal.alarm(20)
        try:
            delegates = [litert.load_delegate(library(), {"num_threads": "1"})] if with_delegate else None
            interpreter = litert.Interpreter(
                model_content=data, experimental_delegates=delegates, experimental_op_resolver_type=WITHOUT_XNNPACK
            )
            shapes = [detail["shape"] for detail in interpreter.get_input_details()]
            if sum(int(np.prod(shape)) for shape in shapes) > 1 << 24:
                os._exit(1)
            run(interpreter, *[np.ones(shape, np.float32) for shape in shapes])
            del interpreter
        except (ValueError, RuntimeError, MemoryError):
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    return os.waitstatus_to_exitcode(status)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_damaged_files() -> None:
    models = [
        conv_model(bits=4, shape=(1, 4, 4, 3)),
        conv_model(bits=3, scale=False, shape=(1, 4, 4, 3)),
        conv_model(bits=2, group_size=3, shape=(1, 4, 4, 3)),
    ]
    files = [model.file.bytes() for model in models]
    ran = 0
    for seed in range(COUNT):
        data = damaged(files[seed % len(files)], seed)
        stock = outcome(data, with_delegate=False)
        if stock < 0:
            continue  # the runtime itself does not survive this file
        ours = outcome(data, with_delegate=True)
        assert ours >= 0, f"seed {seed}: the delegate was killed by signal {-ours}; stock kernels ended with {stock}"
        ran += stock == 0
    assert ran > COUNT // 20
