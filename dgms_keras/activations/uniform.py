"""A uniform quantiser with a fixed range, as TFLite's int8 tensors have it: zero is one of the levels."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

_SMALLEST_STEP = float(np.finfo(np.float32).tiny)


def quantize_range(x: Any, low: Any, high: Any, steps: Any) -> Any:
    """Quantises a tensor to `steps + 1` values from `low` to `high`.

    Gradients: 1 with respect to `x` within the range, 0 outside (straight-through); none with respect to the range.

    Args:
        x: any shape, float.
        low, high: scalars, low <= 0 <= high, low < high; multiples of (high - low) / steps (`nudged`).
        steps: 2^bits - 1.

    Returns:
        The shape and dtype of `x`, computed in float32.
    """
    x = ops.convert_to_tensor(x)
    low, high, steps = (ops.cast(v, "float32") for v in (low, high, steps))
    scale = (high - low) / steps
    inside = ops.clip(ops.cast(x, "float32"), low, high)
    rounded = ops.round(inside / scale) * scale
    return ops.cast(inside + ops.stop_gradient(rounded - inside), x.dtype)


def nudged(low: float, high: float, steps: int) -> tuple[float, float]:
    """The range moved a little, so that 0 is exactly one of its values. A range without extent (a step that float32 has no normal
    number for) becomes [0, 1]."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / steps
    if not scale >= _SMALLEST_STEP:
        return 0.0, 1.0
    zero = float(np.clip(np.round(-low / scale), 0, steps))
    return -zero * scale, (steps - zero) * scale
