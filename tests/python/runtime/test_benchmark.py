"""`benchmark`: what it runs, in which order, and what it reports. No test depends on a time."""

import json
import math

import numpy as np
import pytest

from dgms_keras.runtime import benchmark as module
from dgms_keras.runtime.benchmark import BenchmarkReport, PathTiming, benchmark, random_input


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    import keras

    import dgms_keras
    from dgms_keras.export.exporter import export_frozen

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8, 8, 8), name="x"), keras.layers.Conv2D(32, 3, name="c")])
    folder = tmp_path_factory.mktemp("bench")
    export_frozen(model, [], folder / "dense.tflite")
    dgms_keras.export_tflite(dgms_keras.quantize_apply(model, skip_first_last=False), folder / "w4.tflite")
    return folder


def test_every_path_runs_every_round(files):
    seen = []
    report = benchmark(
        files / "w4.tflite", dense=files / "dense.tflite", runs=4, warmup=1, progress=lambda *a: seen.append(a)
    )
    assert [p.name for p in report.paths] == ["delegate", "xnnpack", "builtin", "dense:xnnpack"]
    assert seen == [(i, 5) for i in range(1, 6)]
    for path in report.paths:
        assert len(path.runs_ms) == 4 and min(path.runs_ms) > 0 and path.init_ms > 0 and path.first_ms > 0
    assert [p.delegated_nodes for p in report.paths] == [1, 0, 0, 0]
    assert report["builtin"].max_abs_difference == 0.0
    # 72 products of order 1 in another order of summation: float32 round-off.
    assert report["delegate"].max_abs_difference < 1e-5
    # The dense twin holds the float weights, so it differs by the weight sharing's error: the figure shows that it ran.
    assert report["dense:xnnpack"].max_abs_difference > 1e-3
    assert report.model_bytes == (files / "w4.tflite").stat().st_size


def test_rounds_alternate_their_order(files, monkeypatch):
    order = []
    monkeypatch.setattr(module._Runner, "invoke", lambda self: order.append(self.name) or 1.0)
    benchmark(files / "w4.tflite", paths=("delegate", "builtin"), runs=2, warmup=1)
    assert order[2:] == ["delegate", "builtin", "builtin", "delegate", "delegate", "builtin"]  # 2: the first invokes


def test_statistics_match_numpy():
    runs = tuple(np.random.default_rng(0).gamma(2.0, size=101))
    timing = PathTiming("delegate", 1.0, 2.0, runs, 1, 0.0)
    figures = timing.to_json_dict()
    expected = {
        "mean_ms": np.mean(runs),
        "sd_ms": np.std(runs, ddof=1),
        "min_ms": np.min(runs),
        "median_ms": sorted(runs)[50],
        "p90_ms": sorted(runs)[90],
        "p99_ms": sorted(runs)[99],
    }
    for name, value in expected.items():
        assert math.isclose(figures[name], value, rel_tol=1e-12), name


def test_report_is_json_and_knows_ratios(files):
    report = benchmark(files / "w4.tflite", paths=("delegate", "builtin"), runs=2, warmup=0)
    data = json.loads(json.dumps(report.to_json_dict()))
    assert data["schema"] == "dgms-bench" and data["schema_version"] == module.SCHEMA_VERSION
    assert data["settings"] == {"num_threads": 1, "warmup": 0, "interleaved": True}
    assert len(data["model"]["sha256"]) == 64 and data["machine"]["cores"] >= 1
    expected = report["delegate"].median_ms / report["builtin"].median_ms
    assert isinstance(report, BenchmarkReport) and report.ratio("delegate", "builtin") == expected
    with pytest.raises(KeyError, match="xnnpack"):
        report["xnnpack"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_threads": 0}, "`num_threads` must be an integer >= 1. Received: num_threads=0"),
        ({"runs": 0}, "`runs` must be"),
        ({"warmup": -1}, "`warmup` must be"),
        ({"batch": 1.5}, "`batch` must be"),
        ({"paths": ()}, "`paths` must be some of delegate, xnnpack, builtin"),
        ({"paths": ("gpu",)}, "gpu"),
        ({"paths": ("builtin", "builtin")}, "each once"),
    ],
)
def test_wrong_arguments_name_rule_and_value(change, words):
    with pytest.raises(ValueError) as caught:
        benchmark("never_opened.tflite", **change)
    assert words in str(caught.value)


def test_random_input_stays_in_range():
    generator = np.random.default_rng(0)
    assert random_input(generator, (3,), np.float32).dtype == np.float32
    assert set(random_input(generator, (50,), np.int64)) == {0, 1}
    wide = random_input(generator, (5000,), np.int8)
    assert wide.min() == -128 and wide.max() == 127
    assert random_input(generator, (4,), np.bool_).dtype == np.bool_
