"""Quantised activations, and QIL (learned quantisation intervals, arXiv 1808.05779), for both front ends.

`intervals.py` and `uniform.py` are the functions, `quantizer.py` what a layer needs for its inputs, `weight_quantizer.py` QIL for
weights, `statistics.py` and `calibrate.py` the start values from data, `schedule.py` and `tune.py` the ways to train.
"""
