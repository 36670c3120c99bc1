"""The Keras 3 front end: layers run with weights that a Gaussian mixture shares."""

from dgms_keras.layers.apply import quantize_apply, recalibrate_batch_norm, strip
from dgms_keras.layers.apply import strip as plain_for_export
from dgms_keras.layers.report import shared_activations, shared_weights
from dgms_keras.layers.wrapper import DGMSWrapper

__all__ = [
    "DGMSWrapper",
    "plain_for_export",
    "quantize_apply",
    "recalibrate_batch_norm",
    "shared_activations",
    "shared_weights",
    "strip",
]
