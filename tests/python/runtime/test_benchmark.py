"""`benchmark`: what it runs, in which order, and what it reports. No test depends on a time."""

import dataclasses
import itertools
import json
import math
from collections import Counter

import numpy as np
import pytest

from dgms_keras.runtime import benchmark as module
from dgms_keras.runtime.benchmark import BenchmarkReport, PathTiming, benchmark
from dgms_keras.runtime.benchmark_report import common_drift, drift
from dgms_keras.runtime.interleaved import Runner, random_input, round_order


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    import keras

    import dgms_keras
    from dgms_keras.export.exporter import export_frozen

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8, 8, 8), name="x"), keras.layers.Conv2D(32, 3, name="c")])
    folder = tmp_path_factory.mktemp("bench")
    other = keras.Sequential([keras.Input((8, 8, 8), name="x"), keras.layers.Conv2D(16, 3, name="c")])
    export_frozen(other, [], folder / "other.tflite")
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
    assert report.model.bytes == (files / "w4.tflite").stat().st_size
    assert report.dense.bytes == (files / "dense.tflite").stat().st_size
    for path in report.paths:  # runs follow one another: a start is never before the end of the path's own run before
        ends = np.add(path.starts_ms, path.runs_ms)
        assert path.starts_ms[0] >= 0 and np.all(np.diff(path.starts_ms) > 0) and np.all(path.starts_ms[1:] > ends[:-1])
    assert report["builtin"].top1_agreement == 1.0 and 0 <= report["dense:xnnpack"].top1_agreement <= 1
    assert report.peak_memory_bytes > 50e6  # an interpreter and Keras are in this process


def test_rounds_follow_their_order(files, monkeypatch):
    order = []
    monkeypatch.setattr(Runner, "invoke", lambda self, *clock: order.append(self.name) or 1.0)
    benchmark(files / "w4.tflite", paths=("delegate", "builtin"), runs=2, warmup=1, agreement_inputs=3)
    first = ["delegate"] * 3 + ["builtin"] * 3  # the first invoke and two more inputs to compare
    assert order == [*first, *["delegate", "builtin"] * 3]


def test_rounds_go_on_for_min_seconds(files):
    report = benchmark(files / "w4.tflite", paths=("delegate",), runs=1, warmup=0, min_seconds=0.05)
    last = report["delegate"].starts_ms[-1] + report["delegate"].runs_ms[-1]
    assert (
        last > 40 and len(report["delegate"].runs_ms) > 1
    )  # 50 ms, less the few us between two runs (10 ms: a slow moment)


def test_dynamic_int8_reaches_the_delegate(files):
    exact, dynamic = (
        benchmark(files / "w4.tflite", paths=("delegate",), runs=1, warmup=0, activations=kind)
        for kind in ("float32", "dynamic_int8")
    )
    # About 40 dB above the noise, against float round-off.
    assert exact["delegate"].max_abs_difference < 1e-5 < 1e-3 < dynamic["delegate"].max_abs_difference < 0.2
    assert dynamic.settings["activations"] == "dynamic_int8"


def test_the_top_of_each_item_counts():
    expected = np.array([[0, 1, 0], [3, 2, 1]], np.float32)
    assert module._same_top1(expected, expected) == 1.0
    assert module._same_top1(np.array([[0, 1, 0], [1, 2, 3]], np.float32), expected) == 0.5
    assert module._same_top1(expected[:, :1], expected[:, :1]) is None
    assert module._same_top1(np.zeros((0, 4)), np.zeros((0, 4))) is None


def test_drift_is_the_least_slowdown_of_all_paths():
    steady, slower = [2.0] * 10, [1.0, 1, 9, 5, 5, 5, 5, 1.5, 1.5, 0.1]
    assert drift(steady) == 0.0
    assert drift(slower) == pytest.approx(0.5)  # medians of (1, 1, 9) and (1.5, 1.5, 0.1)
    assert drift(steady[:8]) is None
    assert common_drift([slower, slower]) == pytest.approx(0.5)
    assert common_drift([slower, steady]) == 0.0
    assert common_drift([slower, steady[:8]]) is None and common_drift([]) is None


@pytest.mark.parametrize(
    ("runs", "expected"), [([1.0] * 5 + [1.11] * 5, True), ([1.0] * 5 + [1.09] * 5, False), ([1.0] * 8, None)]
)
def test_throttled_is_a_drift_above_a_tenth(files, runs, expected):
    report = benchmark(files / "w4.tflite", paths=("builtin",), runs=1, warmup=0)
    path = dataclasses.replace(report.paths[0], runs_ms=tuple(runs))
    report = dataclasses.replace(report, paths=(path,))
    assert report.throttled is expected and report.to_json_dict()["throttled"] is expected


def test_statistics_match_numpy():
    runs = tuple(np.random.default_rng(0).gamma(2.0, size=101))
    timing = PathTiming("delegate", 1.0, 2.0, runs, 1, 0.0, runs, 1.0)
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
    asked = {"num_threads": 1, "warmup": 0, "runs": 2, "interleaved": True, "settle_ms": 0}
    assert asked.items() <= data["settings"].items()
    assert data["machine"]["kernel_set"] in data["machine"]["features"]
    assert data["model"]["name"] == "w4" and data["dense"] is None
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
        ({"agreement_inputs": 0}, "`agreement_inputs` must be"),
        ({"min_seconds": float("nan")}, "`min_seconds` must be a number >= 0. Received: min_seconds=nan"),
        ({"activations": "int4"}, "`activations` must be 'float32' or 'dynamic_int8'. Received: activations='int4'"),
        ({"paths": ()}, "`paths` must be some of delegate, xnnpack, builtin"),
        ({"paths": ("gpu",)}, "gpu"),
        ({"paths": ("builtin", "builtin")}, "each once"),
    ],
)
def test_wrong_arguments_name_rule_and_value(change, words):
    with pytest.raises(ValueError) as caught:
        benchmark("never_opened.tflite", **change)
    assert words in str(caught.value)


def test_a_dense_twin_of_another_network_is_refused(files):
    with pytest.raises(ValueError, match=r"dense:xnnpack must have the shapes of the model's"):
        benchmark(files / "w4.tflite", dense=files / "other.tflite", paths=("delegate",), runs=1, warmup=0)


def test_outputs_that_are_not_finite_are_valid_json(files):
    report = benchmark(files / "w4.tflite", paths=("builtin",), runs=1, warmup=0)
    path = dataclasses.replace(report.paths[0], max_abs_difference=math.nan)
    assert json.loads(json.dumps(path.to_json_dict(), allow_nan=False))["max_abs_difference"] is None


def test_random_input_stays_in_range():
    generator = np.random.default_rng(0)
    assert random_input(generator, (3,), np.float32).dtype == np.float32
    assert set(random_input(generator, (50,), np.int64)) == {0, 1}
    wide = random_input(generator, (5000,), np.int8)
    assert wide.min() == -128 and wide.max() == 127
    assert random_input(generator, (4,), np.bool_).dtype == np.bool_


@pytest.mark.parametrize("paths", range(2, 13))
def test_every_path_follows_every_other_one_alike(paths):
    cycle = paths * (2 if paths % 2 else 1)
    rounds = [round_order(paths, number) for number in range(2 * cycle)]
    assert rounds[:cycle] == rounds[cycle:]
    assert all(sorted(order) == list(range(paths)) for order in rounds)
    sequence = [path for order in rounds for path in order]
    assert all(a != b for a, b in itertools.pairwise(sequence))
    if paths > 2:  # two paths take turns
        pairs = Counter(pair for order in rounds for pair in itertools.pairwise(order))
        places = Counter((path, place) for order in rounds for place, path in enumerate(order))
        assert set(pairs.values()) == set(places.values()) == {2 * cycle // paths}
        assert len(pairs) == paths * (paths - 1)
        assert len(places) == paths * paths


def test_with_several_threads_each_run_waits_until_those_of_the_one_before_sleep(files):
    report = benchmark(files / "w4.tflite", paths=("delegate", "builtin"), num_threads=2, runs=2, warmup=0)
    assert report.settings["settle_ms"] == 30
    spans = sorted((start, start + ms) for p in report.paths for start, ms in zip(p.starts_ms, p.runs_ms, strict=True))
    assert all(start - end >= 30 for (_, end), (start, _) in itertools.pairwise(spans))
