"""Mixture variables get no weight decay, whatever the optimizer.

Keras lets the *owner of the optimizer* exclude variables (`optimizer.exclude_from_weight_decay`, before its build), but a
variable cannot exclude itself, and a layer never meets the optimizer (least of all in a custom loop). All of Keras's optimizers
ask one method, `Optimizer._use_weight_decay(variable)`; we answer for our variables, known by their names, and pass every other
question on. Done when the first mixture is built, not on import.
"""

from __future__ import annotations

import functools
from typing import Any

import keras

# In the name of every mixture variable. TensorFlow adds to names (":0", "/replica_1"), hence a part and not the whole.
NAME_MARK = "dgms_mixture"


def exclude_mixtures_from_weight_decay() -> None:
    """Makes every Keras optimizer of this process skip weight decay for mixture variables. Idempotent."""
    ask = keras.optimizers.Optimizer._use_weight_decay
    if getattr(ask, "_dgms", False):
        return

    @functools.wraps(ask)
    def use_weight_decay(self: Any, variable: Any) -> bool:
        return NAME_MARK not in variable.name and ask(self, variable)

    use_weight_decay._dgms = True  # type: ignore[attr-defined]
    keras.optimizers.Optimizer._use_weight_decay = use_weight_decay
