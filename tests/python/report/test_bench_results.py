"""Results of benchmarks: the schema against real output and wrong files, reading, the table, the bars and the picture.

Phone results are written here by hand, as the schema says; the Android app's own tests hold its files against the same schema.
"""

import json

import jsonschema
import pytest

from dgms_keras.cli import main
from dgms_keras.report.bench_results import ResultError, read_result, read_results, results_bars, schema, titles


def timed(name, *runs, **more):
    runs = [float(r) for r in runs]
    ordered = sorted(runs)
    return {
        "name": name, "init_ms": 3.0, "first_ms": 2.0, "mean_ms": sum(runs) / len(runs), "sd_ms": 0.1, "min_ms": ordered[0],
        "median_ms": ordered[len(runs) // 2], "p90_ms": ordered[-1], "p99_ms": ordered[-1], "runs_ms": runs,
        "starts_ms": [100.0 * i for i in range(len(runs))], "delegated_nodes": int(name == "delegate"),
        "max_abs_difference": 0.0, "top1_agreement": 1.0, **more,
    }  # fmt: skip


def phone():
    claimed = {
        "operators": 8,
        "candidates": 10,
        "nodes": 24,
        "packed_bytes": 9000,
        "refusals": ["hidden: weights are dense"],
    }
    counter = {
        "name": "conv1", "kernel": "s8_neon_dotprod", "calls": 3, "macs": 1000, "packed_bytes": 900, "total_ms": 0.3, "fastest_ms": 0.1,
    }  # fmt: skip
    return {
        "schema": "dgms-bench", "schema_version": "2.0", "created": "2026-05-31T16:05:09.250Z",
        "tool": {"name": "dgms-android", "version": "0.1.0"},
        "model": {"name": "shapes_w4", "title": "Shapes, 4 bits", "bytes": 95888, "sha256": "0" * 64},
        "dense": {"name": "shapes_float", "bytes": 568736, "sha256": "f" * 64},
        "machine": {
            "kind": "phone", "name": "Example Phone 9", "processor": "", "architecture": "aarch64", "cores": 8,
            "features": ["neon", "neon_dotprod"], "kernel_set": "neon_dotprod", "system": "Android 16", "soc": "Example SoC",
            "android_api": 36, "abi": "arm64-v8a", "core_max_mhz": [1800, 1800, None, 2900.5],
        },
        "runtime": "litert 1.4.2",
        "settings": {
            "num_threads": 2, "warmup": 1, "runs": 3, "min_seconds": 0, "interleaved": True, "affinity": "big", "cpus": [4, 5],
            "activations": "float32", "seed": 0, "inputs": "samples", "sustained": True, "cool_down_s": 1.5, "settle_ms": 30, "profile": True,
        },
        "paths": [
            timed("delegate", 2, 2, 3, claimed=claimed, counters=[counter], memory={"rss_growth_bytes": -4096}),
            {"name": "xnnpack", "init_ms": 1.0, "error": "Interpreter: out of memory [no more]"},
            timed("dense:xnnpack", 4, 4, 6, samples=[{"file": "a.png", "label": 1, "predicted": 1, "probability": 0.9}]),
        ],
        "thermal": {"before": "none", "after": "light"}, "drift": None, "throttled": True, "peak_memory_bytes": 80_000_000,
        "log": ["delegate: 8 of 10 layers"],
    }  # fmt: skip


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """What `dgms bench --json` writes on this machine."""
    import keras

    import dgms_keras
    from dgms_keras.export.exporter import export_frozen

    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("results")
    model = keras.Sequential([keras.Input((8, 8, 8), name="x"), keras.layers.Conv2D(32, 3, name="c")])
    export_frozen(model, [], folder / "dense.tflite")
    dgms_keras.export_tflite(dgms_keras.quantize_apply(model, skip_first_last=False), folder / "w4.tflite")
    files = ["--dense", str(folder / "dense.tflite"), "--json", str(folder / "real.json")]
    assert main(["bench", str(folder / "w4.tflite"), "--runs", "9", "--warmup", "0", *files]) == 0
    return folder / "real.json"


def write(folder, data, name="result.json"):
    file = folder / name
    file.write_text(data if isinstance(data, str) else json.dumps(data))
    return file


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.Draft202012Validator.check_schema(schema(strict=False))


def test_real_results_follow_the_schema(real):
    jsonschema.validate(json.loads(real.read_text()), schema(), cls=jsonschema.Draft202012Validator)
    data = read_result(real).data
    assert data["tool"]["name"] == "dgms" and data["machine"]["kind"] == "desktop"
    assert data["machine"]["kernel_set"] in data["machine"]["features"]
    assert data["drift"] is not None and data["throttled"] == (data["drift"] > 0.1)
    assert data["dense"]["name"] == "dense" and data["model"]["name"] == "w4"


def test_a_phone_result_is_read(tmp_path):
    result = read_result(write(tmp_path, phone()))
    assert result.peer["name"] == "dense:xnnpack" and result.ratio(result.data["paths"][0]) == 0.5
    assert result.title == "Example Phone 9: shapes_w4, 2 threads"
    assert result.heat == "throttled (thermal status none to light)"


def without(*keys):
    def change(data):
        for key in keys[:-1]:
            data = data[key]
        del data[keys[-1]]

    return change


def with_value(value, *keys):
    def change(data):
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = value

    return change


WRONG = [
    (without("schema"), "$.schema must be 'dgms-bench'. Received: None"),
    (with_value("other", "schema"), "$.schema must be 'dgms-bench'. Received: 'other'"),
    (without("schema_version"), "$.schema_version must be text like '2.0'. Received: None"),
    (with_value("3.1", "schema_version"), "$.schema_version must be 2.x, which this version reads. Received: '3.1' (a newer"),
    (with_value("1.0", "schema_version"), "Received: '1.0' (an earlier version wrote it"),
    (without("created"), "$: 'created' is a required property"),
    (with_value("yesterday", "created"), "$.created"),
    (with_value("2026-05-31T16:05:09+02:00", "created"), "$.created"),
    (with_value("someone", "tool", "name"), "$.tool.name"),
    (with_value("abc", "model", "sha256"), "$.model.sha256"),
    (with_value(1, "model", "size"), "$.model: Additional properties are not allowed ('size' was unexpected)"),
    (with_value(1, "dense", "size"), "$.dense"),
    (with_value("tablet", "machine", "kind"), "$.machine.kind"),
    (without("machine", "features"), "$.machine: 'features' is a required property"),
    (with_value(0, "settings", "num_threads"), "$.settings.num_threads"),
    (with_value(False, "settings", "interleaved"), "$.settings.interleaved"),
    (with_value("middle", "settings", "affinity"), "$.settings.affinity"),
    (with_value(True, "settings", "num_thread"), "$.settings"),
    (with_value("lukewarm", "thermal", "after"), "$.thermal"),
    (with_value("no", "throttled"), "$.throttled"),
    (with_value([], "paths"), "$.paths"),
    (with_value("gpu", "paths", 0, "name"), "$.paths[0].name"),
    (with_value("2.0", "paths", 0, "median_ms"), "$.paths[0].median_ms: '2.0' is not of type 'number'"),
    (with_value(-1, "paths", 0, "runs_ms", 1), "$.paths[0].runs_ms[1]: -1 is less than the minimum"),
    (without("paths", 2, "p90_ms"), "$.paths[2]: 'p90_ms' is a required property"),
    (with_value(1.0, "paths", 1, "median_ms"), "$.paths[1]: a path that failed must have no times beside its `error`"),
    (with_value(1.1, "paths", 0, "top1_agreement"), "$.paths[0].top1_agreement"),
    (without("paths", 0, "claimed", "refusals"), "$.paths[0].claimed"),
    (with_value([0.0], "paths", 0, "starts_ms"), "$.paths[0].starts_ms must have as many entries as runs_ms, 3. Received: 1"),
    (with_value("delegate", "paths", 2, "name"), "$.paths must name every path once. Received: 'delegate' more than once"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words"), WRONG, ids=[words[:60] for _, words in WRONG])
def test_wrong_files_are_refused_with_file_and_place(tmp_path, change, words):
    data = phone()
    change(data)
    with pytest.raises(ResultError) as caught:
        read_result(write(tmp_path, data))
    assert str(caught.value).startswith(f"{tmp_path / 'result.json'}: ") and words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must be a JSON file"),
        ('{"schema": "dgms-bench"', "line 1"),
        ("[1, 2]", "$.schema must be 'dgms-bench'. Received: a JSON list"),
        ('{"schema": NaN}', "NaN, which JSON does not have"),
        ("[" * 100_000, "must be a JSON file"),
    ],
)
def test_files_that_are_no_results(tmp_path, text, words):
    with pytest.raises(ResultError) as caught:
        read_result(write(tmp_path, text))
    assert words in str(caught.value)


def test_bytes_that_are_no_text_and_missing_files(tmp_path):
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    good = write(tmp_path, phone())
    results, errors = read_results([tmp_path / "binary.json", good, tmp_path / "nowhere.json", tmp_path])
    assert [r.file for r in results] == [good]
    assert "must be a JSON file" in str(errors[0]) and str(errors[1]).endswith(
        "nowhere.json: No such file or directory"
    )
    assert "directory" in str(errors[2])


def test_newer_minor_versions_may_add_but_not_change(tmp_path):
    data = phone()
    data["schema_version"] = "2.7"
    data["battery"] = data["machine"]["vendor"] = data["paths"][0]["claimed"]["x"] = 1
    assert read_result(write(tmp_path, data)).model == "shapes_w4"
    data["paths"][0]["median_ms"] = None
    with pytest.raises(ResultError, match=r"\$\.paths\[0\]\.median_ms"):
        read_result(write(tmp_path, data))
    assert schema()["additionalProperties"] is False  # the writers' schema is as strict as before


def test_peer_without_a_dense_twin(tmp_path):
    data = phone()
    data["paths"] = [timed("builtin", 8, 8, 8), timed("xnnpack", 4, 4, 4), timed("delegate", 1, 1, 1)]
    result = read_result(write(tmp_path, data))
    assert [result.ratio(p) for p in result.timed] == [2.0, 1.0, 0.25]
    data["paths"] = [{"name": "delegate", "error": "no native library"}]
    assert read_result(write(tmp_path, data)).peer is None


def test_bars_are_in_proportion(tmp_path):
    lines = list(results_bars([read_result(write(tmp_path, phone()))], width=40))
    assert lines[0] == "Example Phone 9: shapes_w4, 2 threads: throttled (thermal status none to light)"
    assert lines[1] == f"  {'delegate':<14}{'█' * 20} 0.50  (2.000 ms)"
    assert lines[2] == f"  {'xnnpack':<14}failed: Interpreter: out of memory [no more]"
    assert lines[3] == f"  {'dense:xnnpack':<14}{'█' * 40} 1.00  (4.000 ms)"


def test_long_bars_are_cut_off(tmp_path):
    data = phone()
    data["paths"][1] = timed("builtin", 400, 400, 400)
    lines = list(results_bars([read_result(write(tmp_path, data))], width=10))
    assert lines[2] == f"  {'builtin':<14}{'█' * 10}→ 100.00  (400.000 ms)" and "█" * 10 + " 1.00" in lines[3]


def test_equal_titles_get_their_runtimes_or_files(tmp_path):
    other = phone()
    other["runtime"] = "litert 1.5"
    results = [read_result(write(tmp_path, d, f"{i}.json")) for i, d in enumerate([phone(), other, phone()])]
    plain = "Example Phone 9: shapes_w4, 2 threads"
    assert titles(results) == [
        f"{plain} ({tmp_path / '0.json'})",
        f"{plain}, litert 1.5",
        f"{plain} ({tmp_path / '2.json'})",
    ]
    assert titles(results[:1]) == [plain]


def test_show_prints_all_and_draws(real, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    other = write(tmp_path, phone(), "phone.json")
    for name, start in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml")):
        assert main(["bench", "--show", str(real), str(other), "--plot", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_bytes().startswith(start)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "a.svg", "phone.json"]
    out = capsys.readouterr().out
    assert "Example Phone 9" in out and "w4" in out and "throttled (thermal status none to light)" in out
    assert "failed: Interpreter: out of memory [no more]" in out
    for text in ("dense:xnnpack", "builtin", "0.50  (2.000 ms)"):
        assert text in out


def test_good_files_are_shown_beside_bad_ones(tmp_path, capsys):
    good, bad = write(tmp_path, phone(), "good.json"), write(tmp_path, "{", "bad.json")
    assert main(["bench", "--show", str(bad), str(good)]) == 1
    printed = capsys.readouterr()
    assert "Example Phone 9" in printed.out and "bad.json: a result must be a JSON file" in printed.err


def test_results_without_any_times(tmp_path, capsys):
    data = phone()
    data["paths"] = [{"name": "delegate", "error": "no native library"}]
    file = write(tmp_path, data)
    assert main(["bench", "--show", str(file)]) == 0
    assert "failed: no native library" in capsys.readouterr().out
    assert main(["bench", "--show", str(file), "--plot", str(tmp_path / "a.png")]) == 1
    assert "at least one path that was timed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ([], 2, "give either a model to time, or --show with results"),
        (["m.tflite", "--show", "a.json"], 2, "give either a model"),
        (["m.tflite", "--plot", "a.png"], 2, "--plot draws the results given with --show"),
        (["--show", "a.json", "--runs", "3"], 2, "--show times nothing and takes no --runs"),
        (["--show", "a.json", "--min-seconds", "0"], 2, "--show times nothing and takes no --min-seconds"),
        (["--show", "a.json", "--plot", "a.pdf"], 1, "must end in .png or .svg. Received: a.pdf"),
        (["--show", "a.json", "--plot", "nowhere/a.png"], 1, "the picture's folder must exist"),
    ],
)
def test_wrong_arguments(arguments, status, words, capsys):
    try:
        got = main(["bench", *arguments])
    except SystemExit as stop:  # argparse's way
        got = stop.code
    assert got == status and words in capsys.readouterr().err
