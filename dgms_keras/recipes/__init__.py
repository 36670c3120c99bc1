"""Runnable recipes.

digits.py: data and a small ResNet.  demo.py: train, compress, export, time (`make demo`).  models/: networks of the
paper.  table4/: their times, memory and growth (`dgms bench --table4`).  shapes.py: a procedural image set.  small_network.py: a
network for it.  int8_accuracy.py: what int8 activations cost.  activation_accuracy.py: what quantised activations cost
while training, and what learned intervals (QIL) win.  android_models.py: the models that the Android app carries.
"""
