"""Runnable recipes: digits.py (data and a small ResNet) and demo.py (train, compress, export, time: `make demo`)."""
