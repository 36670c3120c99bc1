"""Mixture variables get no weight decay, whatever the optimizer.

Keras lets the *owner of the optimizer* exclude variables (`optimizer.exclude_from_weight_decay`, before its build), but a
variable cannot exclude itself, and a layer never meets the optimizer (least of all in a custom loop). All optimizers of a Keras
ask one method, `Optimizer._use_weight_decay(variable)`; we answer for our variables, known by their names, and pass every other
question on. Done when the first mixture is built, not on import.
"""

from __future__ import annotations

import functools
from typing import Any

from dgms_keras.weights.quantizer import NAME_MARK


def exclude_mixtures_from_weight_decay(optimizer_class: Any) -> None:
    """Makes every optimizer of this process skip weight decay for mixture variables. Idempotent.

    Args:
        optimizer_class: the base class of the optimizers of Keras 3 or tf_keras.
    """
    ask = optimizer_class._use_weight_decay
    if getattr(ask, "_dgms", False):
        return

    @functools.wraps(ask)
    def use_weight_decay(self: Any, variable: Any) -> bool:
        return NAME_MARK not in variable.name and ask(self, variable)

    use_weight_decay._dgms = True  # type: ignore[attr-defined]
    optimizer_class._use_weight_decay = use_weight_decay
