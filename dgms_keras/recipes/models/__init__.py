"""The networks of the paper's Table 4, and MobileNetV2, as Keras builders (random weights: nothing is downloaded).

resnet.py: ResNet-18 and ResNet-50.  mobile.py: MobileNetV2, MnasNet-A1, ProxylessNAS-Mobile.  ssdlite.py: SSDLite-MobileNetV2.
cost.py: their parameters and multiply-adds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dgms_keras.recipes.models.mobile import mnasnet_a1, mobilenet_v2, proxylessnas_mobile
from dgms_keras.recipes.models.resnet import resnet18, resnet50
from dgms_keras.recipes.models.ssdlite import ssdlite_mobilenet_v2

__all__ = [
    "NETWORKS",
    "mnasnet_a1",
    "mobilenet_v2",
    "proxylessnas_mobile",
    "resnet18",
    "resnet50",
    "ssdlite_mobilenet_v2",
]

# Name -> builder (side, classes, seed), each with its published size as default.
NETWORKS: dict[str, Callable[..., Any]] = {
    build.__name__: build
    for build in (resnet18, resnet50, mobilenet_v2, mnasnet_a1, proxylessnas_mobile, ssdlite_mobilenet_v2)
}
