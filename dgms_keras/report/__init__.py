"""Pictures of what the method did, and results of benchmarks (extra `[report]`: matplotlib, jsonschema).

plots.py: a layer's weights with its mixture.  bench.schema.json: what a benchmark's JSON holds.  bench_results.py: reads and shows
such files, bench_plots.py draws them.  table4.schema.json, table4.py and table4_plots.py: the same for `dgms bench --table4`.  roofline.py: the layers
of delegate/bench under their roofs.
"""
