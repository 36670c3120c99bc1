"""Running exported models: the delegate, an interpreter that loads it, verification and timing.

delegate.py: where the shared library is and how it is loaded.  interpreter.py: a TFLite interpreter with the delegate in it.
verify.py: Keras against stock kernels against the delegate.  benchmark.py: interleaved timing of the ways to run a file;
benchmark_report.py: what it found; machine.py: on what.
"""
