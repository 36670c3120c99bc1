"""ResNet-18 and ResNet-50 (He et al., 2016, Table 1) with random weights, as the paper's Table 4 uses them.

Stride 2 sits in the 3x3 convolution of a bottleneck (the widespread "v1.5"), and padding is symmetric, as in torchvision, whose
parameter counts these builders match: 11,689,512 and 25,557,032 trainable parameters.
"""

from __future__ import annotations

from typing import Any

from dgms_keras.recipes.models.blocks import Builder


def resnet18(side: int = 224, classes: int = 1000, seed: int = 0) -> Any:
    """ResNet-18 for `[side, side, 3]` images: basic blocks, 2-2-2-2. Output: logits."""
    return _resnet("resnet18", (2, 2, 2, 2), _basic_block, 1, side, classes, seed)


def resnet50(side: int = 224, classes: int = 1000, seed: int = 0) -> Any:
    """ResNet-50 for `[side, side, 3]` images: bottleneck blocks, 3-4-6-3. Output: logits."""
    return _resnet("resnet50", (3, 4, 6, 3), _bottleneck, 4, side, classes, seed)


def _basic_block(build: Builder, x: Any, width: int, stride: int, name: str) -> Any:
    y = build.conv_bn(x, width, 3, stride, f"{name}_1")
    return build.conv_bn(y, width, 3, 1, f"{name}_2", relu=False)


def _bottleneck(build: Builder, x: Any, width: int, stride: int, name: str) -> Any:
    y = build.conv_bn(x, width, 1, 1, f"{name}_1")
    y = build.conv_bn(y, width, 3, stride, f"{name}_2")
    return build.conv_bn(y, 4 * width, 1, 1, f"{name}_3", relu=False)


def _resnet(name: str, blocks: tuple[int, ...], block: Any, expansion: int, side: int, classes: int, seed: int) -> Any:
    import keras
    from keras import layers

    build = Builder(seed, explicit_padding=True, epsilon=1e-5)
    inputs = keras.Input((side, side, 3), name="image")
    x = build.conv_bn(inputs, 64, 7, 2, "stem")
    x = layers.MaxPooling2D(3, 2, name="stem_pool")(layers.ZeroPadding2D(1, name="stem_pool_pad")(x))
    for stage, count in enumerate(blocks):
        width = 64 * 2**stage
        for i in range(count):
            stride = 2 if i == 0 and stage > 0 else 1
            where = f"stage{stage + 1}_block{i + 1}"
            y = block(build, x, width, stride, where)
            if stride != 1 or x.shape[-1] != width * expansion:
                x = build.conv_bn(x, width * expansion, 1, stride, f"{where}_shortcut", relu=False)
            x = layers.ReLU(name=f"{where}_relu")(layers.Add(name=f"{where}_add")([y, x]))
    return keras.Model(inputs, build.classifier(x, classes), name=name)
