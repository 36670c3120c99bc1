"""The tf_keras front end: DGMS as a QuantizeConfig of tensorflow-model-optimization (tfmot).

    annotated = dgms_keras.tfmot.quantize_annotate_model(model, bits=4)
    model = dgms_keras.tfmot.quantize_apply(annotated)
    model.compile(...); model.fit(...)

The names and call shapes are tfmot's; `tfmot.quantization.keras.quantize_apply(annotated, scheme=DGMSQuantizeScheme(bits=4))` works
as well. There is no math here: everything comes from `dgms_keras.weights`. Needs `tensorflow-model-optimization` and `tf_keras`
(`pip install dgms_keras[tfmot]`) and Keras 3 with its TensorFlow backend.
"""

import keras  # noqa: F401 - first: importing Keras imports our layers (_keras_registration.py), which share modules with this

from dgms_keras.tfmot.tf_keras_internals import import_tfmot

import_tfmot()  # before anything here imports it: a clear error where it is missing

from dgms_keras.tfmot.annotate import quantize_annotate_layer, quantize_annotate_model  # noqa: E402
from dgms_keras.tfmot.apply import quantize_apply, quantize_model, quantize_scope  # noqa: E402
from dgms_keras.tfmot.quantize_config import DGMSQuantizeConfig  # noqa: E402
from dgms_keras.tfmot.quantizer import DGMSQuantizer  # noqa: E402
from dgms_keras.tfmot.scheme import DGMSLayoutTransform, DGMSQuantizeRegistry, DGMSQuantizeScheme  # noqa: E402

__all__ = [
    "DGMSLayoutTransform",
    "DGMSQuantizeConfig",
    "DGMSQuantizeRegistry",
    "DGMSQuantizeScheme",
    "DGMSQuantizer",
    "quantize_annotate_layer",
    "quantize_annotate_model",
    "quantize_apply",
    "quantize_model",
    "quantize_scope",
]
