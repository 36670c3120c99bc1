"""The Keras 3 front end: layers run with weights that a Gaussian mixture shares."""

from dgms_keras.layers.apply import quantize_apply, strip
from dgms_keras.layers.report import frozen_weights, mixtures
from dgms_keras.layers.wrapper import DGMSWrapper
from dgms_keras.targets import register_layer

__all__ = ["DGMSWrapper", "frozen_weights", "mixtures", "quantize_apply", "register_layer", "strip"]
