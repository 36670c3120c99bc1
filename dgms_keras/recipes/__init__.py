"""Runnable recipes.

digits.py: data and a small ResNet.  demo.py: train, compress, export, time (`make demo`).  models/: networks of the
paper.  network_times.py: whole networks, delegate against XNNPACK.
"""
