"""The networks of the paper's Table 4 on this machine: delegate against XNNPACK and TFLite's own kernels (`dgms bench --table4`).

paths.py: what is compared with what, and the targets.  files.py: the networks as `.tflite` files.  measure.py: times of one network,
in a process of its own.  memory.py: resident memory and the time until a network can run.  growth.py: time against multiply-adds.
run.py: all of them, one after another.  Results are shown and drawn by dgms_keras/report/table4.py.
"""
