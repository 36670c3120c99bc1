"""A weight tensor that shares its values, whatever Keras its layer belongs to: which weights of a model, how they are quantised, what
is read from them. Both front ends (`dgms_keras.layers`, `dgms_keras.tfmot`) only hold the variables."""

import keras  # noqa: F401 - first: importing Keras imports our layers (_keras_registration.py), which need the modules in here whole
