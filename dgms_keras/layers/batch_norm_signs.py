"""Makes BatchNorm scales positive before a mixture is initialised, without changing the function.

A BatchNorm computes gamma * (x - mean) / sigma + beta. Where a layer feeds it directly and nothing else reads its output, the
signs of a channel's kernel, bias, moving mean and gamma can all be flipped at once: (-gamma) * (-x + mean) is the same. After
that all gammas are >= 0, so BatchNorm folds into the layer as a positive scale per channel (TFLite's int8 filters need that).

Done only where it is provably right: linear activation, one use of the layer and of the BatchNorm, the layer's output read by
the BatchNorm alone, and no constraint or activity regulariser that a sign could matter to.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import keras
import numpy as np

from dgms_keras.layers.keras_internals import is_graph
from dgms_keras.layers.values import to_numpy
from dgms_keras.layers.wrapper import DGMSWrapper
from dgms_keras.targets import Target

# Layer class -> (the weight whose output channels make the layer's output channels). EinsumDense and Embedding are not here:
# which axis BatchNorm sees depends on the equation; nothing puts a BatchNorm behind an Embedding.
_KERNELS: tuple[tuple[type, str], ...] = (
    (keras.layers.SeparableConv1D, "pointwise_kernel"),
    (keras.layers.SeparableConv2D, "pointwise_kernel"),
    *(
        (getattr(keras.layers, name), "kernel")
        for name in (
            "Conv1D",
            "Conv2D",
            "Conv3D",
            "Conv1DTranspose",
            "Conv2DTranspose",
            "Conv3DTranspose",
            "DepthwiseConv1D",
            "DepthwiseConv2D",
            "Dense",
        )
    ),
)


def make_scales_positive(model: keras.Model, new: Collection[DGMSWrapper]) -> list[str]:
    """Flips channels of quantised layers whose BatchNorm scale is negative, in a model that `quantize_apply` just copied.

    Args:
        model: a Sequential or Functional model; such models inside it are treated too.
        new: the layers whose mixtures are not started yet; a mixture that is there already fits the signs as they are.

    Returns:
        The names of the layers with flipped channels.
    """
    flipped: list[str] = []
    seen: set[int] = set()
    may_flip = {id(wrapper) for wrapper in new}

    def visit(graph: keras.Model) -> None:
        if id(graph) in seen:
            return
        seen.add(id(graph))
        for wrapper, batch_norm in _pairs(graph):
            if id(wrapper) in may_flip and _flip(wrapper, batch_norm):
                flipped.append(wrapper.name)
        for layer in graph.layers:
            if is_graph(layer):
                visit(layer)

    visit(model)
    return flipped


def _pairs(graph: keras.Model) -> list[tuple[DGMSWrapper, keras.layers.BatchNormalization]]:
    """The (layer, BatchNorm behind it) pairs of one model that may be flipped."""
    functional = graph._functional if isinstance(graph, keras.Sequential) else graph
    readers: dict[int, list[Any]] = {}  # tensor -> nodes that read it
    for nodes in functional._nodes_by_depth.values():
        for node in nodes:
            for tensor in node.input_tensors:
                readers.setdefault(id(tensor), []).append(node)
    outputs = {id(tensor) for tensor in functional.outputs}
    found = []
    for layer in functional.layers:
        if not isinstance(layer, DGMSWrapper) or len(layer._inbound_nodes) != 1:
            continue
        tensor = layer._inbound_nodes[0].outputs[0]
        behind = readers.get(id(tensor), [])
        if len(behind) != 1 or id(tensor) in outputs:
            continue
        batch_norm = behind[0].operation
        if _is_plain_batch_norm(batch_norm, layer, len(tensor.shape)) and _is_plain(layer.layer):
            found.append((layer, batch_norm))
    return found


def _is_plain(layer: keras.layers.Layer) -> bool:
    """Whether the layer's output flips its sign with that of its kernel and bias, and nothing else notices."""
    constraints = [v.constraint for v in layer.trainable_variables + layer.non_trainable_variables]
    return (
        any(type(layer) is cls for cls, _ in _KERNELS)
        and layer.activation in (None, keras.activations.linear)
        and layer.activity_regularizer is None
        and all(c is None for c in constraints)
    )


def _is_plain_batch_norm(layer: Any, before: DGMSWrapper, rank: int) -> bool:
    """Whether it is a BatchNorm with a scale, used once, over the channel axis of the layer before."""
    if type(layer) is not keras.layers.BatchNormalization or len(layer._inbound_nodes) != 1:
        return False
    channels_first = getattr(before.layer, "data_format", "channels_last") == "channels_first"
    channel_axis = 1 if channels_first else rank - 1
    if getattr(layer, "renorm", False):
        return False  # has more statistics
    return layer.scale and layer.gamma.constraint is None and layer.axis % rank == channel_axis


def _flip(wrapper: DGMSWrapper, batch_norm: keras.layers.BatchNormalization) -> bool:
    gamma = to_numpy(batch_norm.gamma)
    if not np.any(gamma < 0):
        return False
    layer = wrapper.layer
    signs = np.where(gamma < 0, -1.0, 1.0)
    name = next(attribute for cls, attribute in _KERNELS if type(layer) is cls)
    target = next(t for t in wrapper.targets if t.weight == name)
    _scale(getattr(layer, name), _along(signs, target, getattr(layer, name).shape))
    if getattr(layer, "bias", None) is not None:
        _scale(layer.bias, signs)
    _scale(batch_norm.gamma, signs)
    _scale(batch_norm.moving_mean, signs)
    return True


def _along(signs: np.ndarray, target: Target, shape: Any) -> np.ndarray:
    """The signs of the output channels, shaped to multiply the kernel."""
    axes = {a % len(shape) for a in target.channel_axes}
    return signs.reshape([n if a in axes else 1 for a, n in enumerate(shape)])


def _scale(variable: keras.Variable, factors: np.ndarray) -> None:
    value = to_numpy(variable)
    variable.assign((value * factors).astype(value.dtype))
