"""Quantised activations, and QIL (learned quantisation intervals, arXiv 1808.05779), for both front ends.

`intervals.py` and `uniform.py` are the functions, `quantizer.py` what a layer needs for its inputs, `statistics.py` and
`calibrate.py` the start values from data. QIL for weights is `dgms_keras/weights/interval_quantizer.py`; ways to train are
`dgms_keras/callbacks.py` and `dgms_keras/interval_tuning.py`.
"""

import keras  # noqa: F401 - first: importing Keras imports our layers (_keras_registration.py), which need the modules in here whole
