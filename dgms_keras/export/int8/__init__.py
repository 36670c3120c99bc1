"""int8 files: TensorFlow's full-integer quantisation, with index + codebook filters (FORMAT.md, section 3.7).

representative.py: calibration data -> batches.  quantize.py: float `.tflite` -> TensorFlow's int8 `.tflite`.  statistics.py: what
flows through a float graph.  codebooks.py: a float codebook -> int8 codebooks, scales, bias.  layers.py: which operator is
which weight.  write.py: the chains.  check.py: what is verified before a file is offered.  pipeline.py: these steps in order.
"""
