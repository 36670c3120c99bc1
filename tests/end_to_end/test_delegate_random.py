"""Differential tests of random graphs. DGMS_RANDOM_GRAPHS=20000 runs that many; see random_graphs.py for what is checked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import random_graphs
from delegate_support import library

COUNT = int(os.environ.get("DGMS_RANDOM_GRAPHS", "500"))
# A Python with another version of the runtime, e.g. ai-edge-litert 1.4, for the same test.
OTHER_PYTHON = os.environ.get("DGMS_OTHER_PYTHON", "")


def test_random_graphs() -> None:
    runner = random_graphs.Runner(library())
    for seed in range(COUNT):
        runner.check(seed)
    # The bounds are meant to be tight enough to see a wrong sum: a wrong weight is off by far more than all of them.
    assert 0.02 < runner.worst <= 1


@pytest.mark.skipif(not OTHER_PYTHON, reason="DGMS_OTHER_PYTHON names no Python with another version of the runtime")
def test_random_graphs_under_another_runtime() -> None:
    script = str(Path(random_graphs.__file__))
    command = [OTHER_PYTHON, script, library(), "--count", str(COUNT), "--seed", "1000000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
