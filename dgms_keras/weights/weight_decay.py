"""The variables of quantisers get no weight decay, whatever the optimizer.

Keras lets the *owner of the optimizer* exclude variables (`optimizer.exclude_from_weight_decay`, before its build), but a
variable cannot exclude itself, and a layer never meets the optimizer (least of all in a custom loop). All optimizers of a Keras
ask one method, `Optimizer._use_weight_decay(variable)`; we answer for our variables, known by their names, and pass every other
question on. Done when the first of them is made, not on import.
"""

from __future__ import annotations

import functools
from typing import Any

# In the name of each of them (`NAME_MARK` of the quantisers begin so). TensorFlow adds to names (":0", "/replica_1"), hence a part.
_MARK = "dgms_"


def exclude_from_weight_decay(optimizer_class: Any) -> None:
    """Makes every optimizer of this process skip weight decay for the variables of quantisers. Idempotent.

    Args:
        optimizer_class: the base class of the optimizers of Keras 3 or tf_keras.
    """
    ask = optimizer_class._use_weight_decay
    if getattr(ask, "_dgms", False):
        return

    @functools.wraps(ask)
    def use_weight_decay(self: Any, variable: Any) -> bool:
        return _MARK not in variable.name and ask(self, variable)

    use_weight_decay._dgms = True  # type: ignore[attr-defined]
    optimizer_class._use_weight_decay = use_weight_decay
