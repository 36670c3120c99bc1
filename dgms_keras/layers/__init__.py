"""The Keras 3 front end: layers run with weights that a Gaussian mixture shares."""

from dgms_keras.layers.apply import quantize_apply, strip
from dgms_keras.layers.batch_norm_statistics import recalibrate_batch_norm
from dgms_keras.layers.callbacks import TemperatureSchedule
from dgms_keras.layers.report import WeightSummary, frozen_weights, mixtures, summary
from dgms_keras.layers.wrapper import DGMSWrapper
from dgms_keras.targets import register_layer

__all__ = [
    "DGMSWrapper",
    "TemperatureSchedule",
    "WeightSummary",
    "frozen_weights",
    "mixtures",
    "quantize_apply",
    "recalibrate_batch_norm",
    "register_layer",
    "strip",
    "summary",
]
