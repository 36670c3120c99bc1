"""Soft weights with all gradients: our own against plain automatic differentiation of the same formulas (TensorFlow).

    python tests/benchmarks/bench_mixture.py [--weights 11000000] [--components 16] [--rounds 5] [--json FILE]

Time: both in one process, compiled graphs, run in turns; the best of the rounds counts. Memory: each in a fresh process, as the
growth of its highest resident size over the size just before the first run (inputs already there), and of what is compiled
already over the size before that (both results, 8 bytes per weight, are in it). Goal: time ratio at most 0.25, growth at most
200 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def inputs(weights: int, components: int):
    import numpy as np
    import tensorflow as tf

    random = np.random.default_rng(0)
    w = tf.constant(random.standard_normal(weights, dtype="float32") * np.float32(0.05))
    g = tf.constant(random.standard_normal(weights, dtype="float32"))
    mu = np.sort(random.normal(0, 0.06, components)).astype("float32")
    mu[0] = 0
    others = mu, np.full(components, 1 / components, "float32"), np.full(components, 0.01, "float32"), np.float32(0.01)
    return (w, g, *map(tf.constant, others))


def functions():
    import tensorflow as tf

    from dgms_keras import mixture

    def plain(w, mu, pi, gamma, tau):
        share = tf.abs(pi) / tf.reduce_sum(tf.abs(pi))
        z = (tf.expand_dims(w, -1) - mu) / gamma
        phi = tf.nn.softmax(tf.math.log(share) - tf.math.log(gamma) - 0.5 * z * z)
        return tf.reduce_sum(mu * tf.nn.softmax(phi / tau), -1)

    def with_gradients(function):
        @tf.function(autograph=False)
        def run(w, g, *others):
            with tf.GradientTape() as tape:
                tape.watch([w, *others])
                value = function(w, *others)
            return (value, *tape.gradient(value, [w, *others], g))

        return run

    return {"plain": with_gradients(plain), "ours": with_gradients(mixture.soft_weights)}


def measure_time(weights: int, components: int, rounds: int) -> dict:
    args, runs = inputs(weights, components), functions()
    first, best, results = {}, {}, {}
    for name, run in runs.items():
        start = time.perf_counter()
        results[name] = run(*args)
        first[name] = time.perf_counter() - start
    import numpy as np

    differences = [
        float(np.abs(a - b).max() / np.abs(a).max())
        for a, b in zip(*[[x.numpy() for x in results[n]] for n in ("plain", "ours")], strict=True)
    ]
    del results
    ratios = []
    for _ in range(rounds):
        took = {}
        for name, run in runs.items():
            start = time.perf_counter()
            run(*args)[1][:1].numpy()
            took[name] = time.perf_counter() - start
            best[name] = min(best.get(name, took[name]), took[name])
        ratios.append(took["ours"] / took["plain"])
    return {
        "first_call_s": first,
        "best_s": best,
        "ratio_of_best": best["ours"] / best["plain"],
        "median_ratio": sorted(ratios)[len(ratios) // 2],
        "largest_differences": dict(zip(("value", "w", "mu", "pi", "gamma", "tau"), differences, strict=True)),
    }


def _status(field: str) -> float:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(field))


def measure_memory(name: str, weights: int, components: int, compiled_first: bool) -> None:
    """In a process of its own: prints the growth in MiB."""
    import tensorflow as tf

    args, run = inputs(weights, components), functions()[name]
    tf.function(lambda x: x + 1, jit_compile=True)(tf.constant(1.0))  # the compiler is loaded, nothing of ours is
    if name == "ours" and compiled_first:
        few = inputs(1_100_000, components)  # a size that needs the same compiled programs
        run(*few)[1][:1].numpy()
        del few
    before = _status("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:  # the highest size starts again from here
        file.write("5")
    for _ in range(2):
        result = run(*args)
        result[1][:1].numpy()
        del result
    print(json.dumps({"growth_mb": (_status("VmHWM") - before) * 1.048576}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=int, default=11_000_000)
    parser.add_argument("--components", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json")
    parser.add_argument("--memory-of", choices=("plain", "ours", "ours, compiled"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        name, *compiled = options.memory_of.split(", ")
        measure_memory(name, options.weights, options.components, bool(compiled))
        return
    report = {"weights": options.weights, "components": options.components, "memory_growth_mb": {}}
    for name in ("plain", "ours", "ours, compiled"):
        command = [sys.executable, os.path.abspath(__file__), "--memory-of", name]
        command += ["--weights", str(options.weights), "--components", str(options.components)]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        report["memory_growth_mb"][name] = json.loads(out.splitlines()[-1])["growth_mb"]
    report.update(measure_time(options.weights, options.components, options.rounds))
    print(f"{options.weights:,} weights, {options.components} components: value and all gradients")
    for name in ("plain", "ours"):
        print(
            f"  {name:5s}  {report['best_s'][name]:7.3f} s   (first call {report['first_call_s'][name]:.1f} s)"
            f"   memory +{report['memory_growth_mb'][name]:,.0f} MB"
        )
    print(f"  ours, compiled before: memory +{report['memory_growth_mb']['ours, compiled']:,.0f} MB")
    print(f"  time ratio {report['ratio_of_best']:.3f} (median of rounds {report['median_ratio']:.3f}; goal 0.25)")
    print(
        "  largest difference of results: "
        + ", ".join(f"{k} {v:.0e}" for k, v in report["largest_differences"].items())
    )
    if options.json:
        with open(options.json, "w") as file:
            json.dump(report, file, indent=2)


if __name__ == "__main__":
    main()
