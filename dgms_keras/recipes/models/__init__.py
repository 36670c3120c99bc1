"""Networks of the paper's tables as Keras builders (random weights: nothing is downloaded). resnet.py: ResNet-18, ResNet-50."""

from __future__ import annotations

from dgms_keras.recipes.models.resnet import resnet18, resnet50

__all__ = ["resnet18", "resnet50"]
