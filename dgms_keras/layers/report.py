"""The quantised weights of a Keras 3 model."""

from __future__ import annotations

import keras

from dgms_keras.layers.structure import find
from dgms_keras.layers.wrapper import DGMSWrapper
from dgms_keras.weights.shared import SharedWeight


def shared_weights(model: keras.Model) -> list[SharedWeight]:
    """The quantised weights of a model of any kind, in call order."""
    return [weight for path, wrapper in find(model, DGMSWrapper) for weight in wrapper.shared_weights(path)]
