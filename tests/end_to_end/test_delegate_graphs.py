"""Whole networks: random ones against the runtime's reference kernels (whole_graphs.py says what is checked).

DGMS_WHOLE_GRAPHS=20000 runs that many.
"""

from __future__ import annotations

import os

from ai_edge_litert import interpreter as litert
from delegate_support import instruction_sets, library
from whole_graphs import WholeRunner

COUNT = int(os.environ.get("DGMS_WHOLE_GRAPHS", "400"))


def test_random_whole_graphs() -> None:
    runner = WholeRunner(litert, library(), instruction_sets(litert))
    for seed in range(COUNT):
        runner.check(seed)
    # Every kind of operator was part of a graph that ran in one piece.
    assert runner.claimed >= {
        *(
            "CONV_2D",
            "DEPTHWISE_CONV_2D",
            "FULLY_CONNECTED",
            "ADD",
            "SUB",
            "MUL",
            "MAX_POOL_2D",
            "AVERAGE_POOL_2D",
            "MEAN",
        ),
        *("PAD", "RELU", "RELU6", "HARD_SWISH", "LOGISTIC", "CONCATENATION", "RESHAPE"),
    }
