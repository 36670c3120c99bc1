"""SSDLite over MobileNetV2 (Sandler et al., arXiv 1801.04381, section 6.2) with random weights: backbone and detection heads.

What comes out is raw: box offsets and class scores of every anchor; anchors and non-maximum suppression are not part of the
network. The layers are those of the authors' release in the TensorFlow Object Detection API.
"""

from __future__ import annotations

from typing import Any

from dgms_keras.recipes.models.blocks import Builder
from dgms_keras.recipes.models.mobile import MOBILENET_V2, features

# The block whose expansion is the first feature map: the last one of output stride 16.
FIRST_MAP = 13
# Feature maps after the backbone, each half as large as the one before.
EXTRA_CHANNELS = (512, 256, 256, 128)
# Three aspect ratios on the first map; the others have six anchors at every place.
ANCHORS = (3, 6, 6, 6, 6, 6)


def ssdlite_mobilenet_v2(side: int = 320, classes: int = 81, seed: int = 0, batch: int | None = 1) -> Any:
    """SSDLite-MobileNetV2 for `[side, side, 3]` images.

    Args:
        side: of the image; 320 in the paper.
        classes: with the background: COCO's 80 and one.
        seed: of the weights.
        batch: fixed, so that the concatenated outputs have constant shapes, as in deployed detectors; None leaves it open.

    Returns:
        A Keras model with the outputs `boxes`, `[batch, anchors, 4]`, and `scores`, `[batch, anchors, classes]` (logits); 2034
        anchors at 320.
    """
    import keras
    from keras import layers

    build = Builder(seed, activation="relu6")
    inputs = keras.Input((side, side, 3), batch_size=batch, name="image")
    x, expansions = features(build, inputs, MOBILENET_V2)
    maps = [expansions[FIRST_MAP], x]
    for i, channels in enumerate(EXTRA_CHANNELS):
        x = build.conv_bn(x, channels // 2, 1, 1, f"extra{i + 1}_reduce")
        x = build.depthwise_bn(x, 3, 2, f"extra{i + 1}_depthwise")
        x = build.conv_bn(x, channels, 1, 1, f"extra{i + 1}_expand")
        maps.append(x)
    boxes, scores = [], []
    for i, (x, anchors) in enumerate(zip(maps, ANCHORS, strict=True)):
        for found, width, what in ((boxes, 4, "boxes"), (scores, classes, "scores")):
            name = f"head{i + 1}_{what}"
            y = build.separable(x, anchors * width, name)
            found.append(layers.Reshape((-1, width), name=f"{name}_flat")(y))
    outputs = {
        "boxes": layers.Concatenate(axis=1, name="boxes")(boxes),
        "scores": layers.Concatenate(axis=1, name="scores")(scores),
    }
    return keras.Model(inputs, outputs, name="ssdlite_mobilenet_v2")
