"""Mobile classifiers out of inverted residual blocks: MobileNetV2, MnasNet-A1, ProxylessNAS-Mobile. Random weights.

Padding is TensorFlow's "same", as in the networks' own TensorFlow releases.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dgms_keras.recipes.models.blocks import Block, Builder, stage

# Sandler et al., arXiv 1801.04381, Table 2.
MOBILENET_V2 = (
    *stage(1, 1, 3, 16, 1),
    *stage(2, 6, 3, 24, 2),
    *stage(3, 6, 3, 32, 2),
    *stage(4, 6, 3, 64, 2),
    *stage(3, 6, 3, 96, 1),
    *stage(3, 6, 3, 160, 2),
    *stage(1, 6, 3, 320, 1),
)

# Tan et al., arXiv 1807.11626, Figure 7; squeeze-and-excitation at a quarter of a block's input channels.
MNASNET_A1 = (
    *stage(1, 1, 3, 16, 1),
    *stage(2, 6, 3, 24, 2),
    *stage(3, 3, 5, 40, 2, squeeze=0.25),
    *stage(4, 6, 3, 80, 2),
    *stage(2, 6, 3, 112, 1, squeeze=0.25),
    *stage(3, 6, 5, 160, 2, squeeze=0.25),
    *stage(1, 6, 3, 320, 1),
)

# Cai et al., arXiv 1812.00332, Figure 4 (the model found for mobile phones).
PROXYLESSNAS_MOBILE = (
    Block(1, 3, 16),
    Block(3, 5, 32, 2),
    Block(3, 3, 32),
    Block(3, 7, 40, 2),
    Block(3, 3, 40),
    Block(3, 5, 40),
    Block(3, 5, 40),
    Block(6, 7, 80, 2),
    Block(3, 5, 80),
    Block(3, 5, 80),
    Block(3, 5, 80),
    Block(6, 5, 96),
    Block(3, 5, 96),
    Block(3, 5, 96),
    Block(3, 5, 96),
    Block(6, 7, 192, 2),
    Block(6, 7, 192),
    Block(3, 7, 192),
    Block(3, 7, 192),
    Block(6, 7, 320),
)


def mobilenet_v2(side: int = 224, classes: int = 1000, seed: int = 0) -> Any:
    """MobileNetV2 1.0 for `[side, side, 3]` images. Output: logits."""
    return _network("mobilenet_v2", MOBILENET_V2, "relu6", side, classes, seed)


def mnasnet_a1(side: int = 224, classes: int = 1000, seed: int = 0) -> Any:
    """MnasNet-A1 for `[side, side, 3]` images. Output: logits."""
    return _network("mnasnet_a1", MNASNET_A1, "relu", side, classes, seed)


def proxylessnas_mobile(side: int = 224, classes: int = 1000, seed: int = 0) -> Any:
    """ProxylessNAS-Mobile for `[side, side, 3]` images. Output: logits."""
    return _network("proxylessnas_mobile", PROXYLESSNAS_MOBILE, "relu6", side, classes, seed)


def features(build: Builder, x: Any, blocks: Sequence[Block]) -> tuple[Any, list[Any]]:
    """Stem, blocks and the last 1x1 convolution to 1280 channels.

    Returns:
        What comes out, and the expansion of each block (see `Builder.inverted_residual`).
    """
    x = build.conv_bn(x, 32, 3, 2, "stem")
    expansions = []
    for i, block in enumerate(blocks):
        x, expansion = build.inverted_residual(x, block, f"block{i + 1}")
        expansions.append(expansion)
    return build.conv_bn(x, 1280, 1, 1, "head"), expansions


def _network(name: str, blocks: Sequence[Block], activation: str, side: int, classes: int, seed: int) -> Any:
    import keras

    build = Builder(seed, activation=activation)
    inputs = keras.Input((side, side, 3), name="image")
    x, _ = features(build, inputs, blocks)
    return keras.Model(inputs, build.classifier(x, classes), name=name)
