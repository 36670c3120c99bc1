"""Parameters and multiply-adds of a Keras model, layer by layer: the one place that counts them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

__all__ = ["KINDS", "LayerCost", "layer_costs", "macs", "parameters"]

# Keras class -> what the layer is. Others (BatchNorm, pooling, activations, additions) are folded into these or do no
# multiply-adds worth counting: published figures leave them out, too.
KINDS = {"Conv2D": "conv", "DepthwiseConv2D": "depthwise", "Dense": "fully_connected"}


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """One layer with weights.

    Args:
        name: the layer's.
        kind: "conv", "depthwise" or "fully_connected".
        in_size, out_size: side of the (square) maps that it reads and writes; 1 for fully connected layers. What it reads is
            without the padding of a ZeroPadding2D before it.
        in_channels, out_channels: of one pixel.
        kernel, stride: of a square kernel.
        macs: multiply-adds of one image.
    """

    name: str
    kind: str
    in_size: int
    out_size: int
    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    macs: int


def layer_costs(model: Any) -> list[LayerCost]:
    """The layers with weights in the order in which they run.

    Args:
        model: a Functional or Sequential Keras 3 model whose layers are used once, with square maps and kernels.

    Raises:
        ValueError: a layer breaks this rule.
    """
    return [_cost(layer) for layer in model.layers if type(layer).__name__ in KINDS]


def macs(model: Any) -> int:
    """Multiply-adds of one image: convolutions and fully connected layers, as published figures count."""
    return sum(layer.macs for layer in layer_costs(model))


def parameters(model: Any) -> int:
    """Trainable parameters, those of BatchNorm included, as published figures count."""
    return sum(math.prod(v.shape) for v in model.trainable_variables)


def _cost(layer: Any) -> LayerCost:
    kind = KINDS[type(layer).__name__]
    if kind == "fully_connected":
        inputs, outputs = layer.input.shape[-1], layer.output.shape[-1]
        return LayerCost(layer.name, kind, 1, 1, inputs, outputs, 1, 1, inputs * outputs)
    _, height, width, inputs = layer.input.shape
    _, out_height, out_width, outputs = layer.output.shape
    if height != width or out_height != out_width or len(set(layer.kernel_size)) > 1 or len(set(layer.strides)) > 1:
        raise ValueError(
            f"maps, kernels and strides must be square. Received: {height}x{width}, kernel {layer.kernel_size}, "
            f"strides {layer.strides} (layer {layer.name!r})"
        )
    kernel, stride = layer.kernel_size[0], layer.strides[0]
    before = layer.input._keras_history.operation
    if type(before).__name__ == "ZeroPadding2D":
        height = before.input.shape[1]
    taps = kernel * kernel * (1 if kind == "depthwise" else inputs // layer.groups)
    return LayerCost(
        layer.name, kind, height, out_height, inputs, outputs, kernel, stride, out_height**2 * outputs * taps
    )
