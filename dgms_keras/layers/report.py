"""The quantised weights and activations of a Keras 3 model."""

from __future__ import annotations

import keras

from dgms_keras.activations.shared import SharedActivation
from dgms_keras.layers.structure import find
from dgms_keras.layers.wrapper import DGMSWrapper
from dgms_keras.weights.shared import SharedWeight


def shared_weights(model: keras.Model) -> list[SharedWeight]:
    """The quantised weights of a model of any kind, in call order."""
    return [weight for path, wrapper in find(model, DGMSWrapper) for weight in wrapper.shared_weights(path)]


def shared_activations(model: keras.Model) -> list[SharedActivation]:
    """The quantised inputs of its layers, in call order."""
    found = [wrapper.shared_activation(path) for path, wrapper in find(model, DGMSWrapper)]
    return [activation for activation in found if activation is not None]
