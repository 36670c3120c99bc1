"""Makes BatchNorm scales positive before a mixture is initialised, without changing the function.

A BatchNorm computes gamma * (x - mean) / sigma + beta. Where a layer feeds it directly and nothing else reads its output, the
signs of a channel's kernel, bias, moving mean and gamma can all be flipped at once: (-gamma) * (-x + mean) is the same. After
that all gammas are >= 0, so BatchNorm folds into the layer as a positive scale per channel (TFLite's int8 filters need that).

Here is what holds for one layer and one BatchNorm of either Keras; the front ends find the pairs in a model's graph: one use of
the layer and of the BatchNorm, the layer's output read by the BatchNorm alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dgms_keras.backend_ops import to_numpy
from dgms_keras.targets import targets_of

# Layer class -> the weight whose output channels make the layer's output channels. EinsumDense and Embedding are not here:
# which axis BatchNorm sees depends on the equation; nothing puts a BatchNorm behind an Embedding.
_KERNELS = {
    **{f"SeparableConv{n}D": "pointwise_kernel" for n in (1, 2)},
    **{f"Conv{n}D": "kernel" for n in (1, 2, 3)},
    **{f"Conv{n}DTranspose": "kernel" for n in (1, 2, 3)},
    "DepthwiseConv1D": "kernel",
    "DepthwiseConv2D": "kernel",
    "Dense": "kernel",
}


def can_flip(layer: Any, batch_norm: Any, rank: int) -> bool:
    """Whether a layer's output flips its sign with that of its kernel and bias, nothing else notices, and the BatchNorm scales the
    same channels.

    Args:
        layer: a layer of Keras 3 or tf_keras.
        batch_norm: the layer that alone reads its output.
        rank: number of axes between them, with the batch's.
    """
    return _is_plain(layer) and _is_plain_batch_norm(batch_norm, layer, rank)


def flip(layer: Any, batch_norm: Any) -> bool:
    """Flips the channels whose scale is negative; returns whether there were any."""
    gamma = to_numpy(batch_norm.gamma)
    if not np.any(gamma < 0):
        return False
    signs = np.where(gamma < 0, -1.0, 1.0)
    name = _KERNELS[type(layer).__name__]
    target = next(t for t in targets_of(layer) if t.public_name == name)
    kernel = getattr(layer, target.attribute)
    _scale(kernel, _along(signs, target.channel_axes, kernel.shape))
    if getattr(layer, "bias", None) is not None:
        _scale(layer.bias, signs)
    _scale(batch_norm.gamma, signs)
    _scale(batch_norm.moving_mean, signs)
    return True


def _is_keras_class(layer: Any, name: str) -> bool:
    return type(layer).__name__ == name and type(layer).__module__.partition(".")[0] in ("keras", "tf_keras")


def _is_plain(layer: Any) -> bool:
    return (
        any(_is_keras_class(layer, name) for name in _KERNELS)
        and getattr(layer.activation, "__name__", None) in (None, "linear")
        and layer.activity_regularizer is None
        and all(v.constraint is None for v in layer.weights)
    )


def _is_plain_batch_norm(layer: Any, before: Any, rank: int) -> bool:
    if not _is_keras_class(layer, "BatchNormalization") or getattr(layer, "renorm", False):  # renorm: more statistics
        return False
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    channels_first = getattr(before, "data_format", "channels_last") == "channels_first"
    channel_axis = 1 if channels_first else rank - 1
    return bool(layer.scale) and layer.gamma.constraint is None and [a % rank for a in axes] == [channel_axis]


def _along(signs: np.ndarray, channel_axes: tuple[int, ...], shape: Any) -> np.ndarray:
    """The signs of the output channels, shaped to multiply the kernel."""
    axes = {a % len(shape) for a in channel_axes}
    return signs.reshape([n if a in axes else 1 for a, n in enumerate(shape)])


def _scale(variable: Any, factors: np.ndarray) -> None:
    value = to_numpy(variable)
    variable.assign((value * factors).astype(value.dtype))
