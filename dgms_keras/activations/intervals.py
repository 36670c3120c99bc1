"""QIL: a quantiser whose interval is learned (Jung et al., "Learning to Quantize Deep Networks by Optimizing Quantization Intervals
with Task Loss", arXiv 1808.05779, Eq. 3 to 5).

    t     = clip(0.5 + (|x| - center) / (2 distance), 0, 1)        0 below center - distance, 1 above center + distance
    x_hat = sign(x) t^exponent                                      the transformer
    y     = (center + distance) round(levels x_hat) / levels        the discretiser

The factor center + distance is ours: it keeps the magnitude of what is quantised, so that a trained network starts where it was. (In
the paper the BatchNorm behind a layer takes the factor up.)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from keras import ops

# For exponents below 1 the derivative of t^exponent has a pole at t = 0: nearer to it the derivative is that at this t.
_LEAST_T = 1e-3


def quantize_interval(x: Any, center: Any, distance: Any, levels: Any, exponent: Any = None) -> Any:
    """Quantises a tensor to an interval's levels.

    Gradients: rounding counts as the identity (straight-through); everything else is differentiated as it is, so `x` gets a gradient
    inside the interval only, and center, distance and exponent get theirs from the task loss.

    Args:
        x: any shape, float.
        center, distance: the interval, scalars; distance > 0. What is nearer to 0 than center - distance becomes 0, what is farther
            than center + distance becomes +-(center + distance).
        levels: the number of steps from 0 to 1: 2^bits - 1 for non-negative values, 2^(bits - 1) - 1 for values of both signs.
        exponent: > 0; None for 1 (activations).

    Returns:
        The shape and dtype of `x`, computed in float32.

    Source: Eq. 3 (transformer of weights, with sign), Eq. 4 (of activations: exponent 1), Eq. 5 (discretiser).
    """
    x = ops.convert_to_tensor(x)
    learns_exponent = exponent is not None
    scalars = [ops.cast(v, "float32") for v in (center, distance, levels, 1.0 if exponent is None else exponent)]
    return ops.cast(_function(learns_exponent)(ops.cast(x, "float32"), *scalars), x.dtype)


@functools.cache
def _function(learns_exponent: bool) -> Callable[..., Any]:
    """(x, center, distance, levels, exponent) -> y, all float32, with its own gradient: only x is kept for it."""

    def parts(x: Any, center: Any, distance: Any, levels: Any, exponent: Any) -> tuple[Any, Any, Any]:
        """t, t^exponent, and that rounded to the levels."""
        t = ops.clip(0.5 + (ops.abs(x) - center) / (2 * distance), 0.0, 1.0)
        power = ops.power(t, exponent) if learns_exponent else t
        return t, power, ops.round(power * levels) / levels

    @ops.custom_gradient
    def function(x: Any, center: Any, distance: Any, levels: Any, exponent: Any) -> Any:
        *_, rounded = parts(x, center, distance, levels, exponent)

        def gradient(*args: Any, upstream: Any = None) -> tuple[Any, ...]:
            g = args[0] if upstream is None else upstream  # PyTorch passes the arguments first, then upstream=
            t, power, rounded = parts(x, center, distance, levels, exponent)
            inside = ops.cast(ops.logical_and(t > 0, t < 1), "float32")
            slope = inside * (center + distance)
            if learns_exponent:
                base = ops.where(exponent < 1, ops.maximum(t, _LEAST_T), t)
                slope = slope * exponent * ops.power(base, exponent - 1)
            signed = ops.sign(x) * g
            d_t = signed * slope
            d_scale = ops.sum(signed * rounded)
            d_center = d_scale - ops.sum(d_t) / (2 * distance)
            d_distance = d_scale - ops.sum(d_t * (ops.abs(x) - center)) / (2 * ops.square(distance))
            d_exponent = ops.zeros_like(exponent)
            if learns_exponent:
                logs = ops.log(ops.maximum(t, 1e-30))  # times t^exponent, which goes to 0 faster
                d_exponent = ops.sum(signed * inside * (center + distance) * power * logs)
            return g * slope / (2 * distance), d_center, d_distance, ops.zeros_like(levels), d_exponent

        return (center + distance) * ops.sign(x) * rounded, gradient

    return function
