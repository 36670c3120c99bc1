"""The roofline picture: what it reads, what it refuses. delegate/bench/networks_bench.cc writes such files."""

import json

import pytest

from dgms_keras.report.bench_results import ResultError
from dgms_keras.report.roofline import MARKS, intensity, layer_kind, main, read_layers


def layer(kind="conv", kernel=3, **more):
    return {
        "kind": kind, "in_size": 56, "in_channels": 64, "out_channels": 64, "kernel_size": kernel, "stride": 1, "count": 4,
        "macs": 115_605_504, "bytes": 421_426, "best_ms": 0.5, "median_ms": 0.6, "gmacs": 231.2, "kernel": "s8_14x32_avx512_vnni",
        "instruction": "vpdpbusd zmm", **more,
    }  # fmt: skip


@pytest.fixture
def result():
    layers = [
        layer(),
        layer(kernel=1),
        layer("depthwise", instruction="vpdpwssd zmm"),
        layer("fully_connected", kernel=1),
    ]
    return {
        "schema": "dgms-layers", "schema_version": "1.0", "isa": "avx512_vnni", "threads": 2, "activations": "int8", "bits": 4,
        "peaks": [{"instruction": "vpdpbusd zmm", "gmacs": 350.0}, {"instruction": "vpdpwssd zmm", "gmacs": 175.0}],
        "bandwidths": [{"name": "memory", "bytes": 1 << 28, "gbytes": 9.5}, {"name": "cache", "bytes": 1 << 19, "gbytes": 45.0}],
        "networks": [{"name": "resnet18", "best_ms": 7.0, "median_ms": 7.1, "layers": layers}],
    }  # fmt: skip


def test_layers_are_sorted_into_kinds_and_places(result):
    kinds = [layer_kind(each) for each in result["networks"][0]["layers"]]
    assert kinds == ["convolution", "1x1 convolution", "depthwise", "fully connected"]
    assert intensity(layer(macs=1000, bytes=250)) == 4


def test_the_command_draws_a_panel_for_each_file(result, tmp_path, capsys):
    files = [tmp_path / f"{i}.json" for i in range(3)]
    for file in files:
        file.write_text(json.dumps(result))
    sizes = []
    for n in (1, 3):
        assert main([*map(str, files[:n]), "--output", str(tmp_path / "roof.svg")]) == 0
        text = (tmp_path / "roof.svg").read_text()
        assert text.count("multiply-adds for each byte") == n
        sizes.append(len(text))
    assert "wrote" in capsys.readouterr().out and sizes[1] > sizes[0]


def test_the_legend_has_the_kinds_that_some_panel_has(result, tmp_path):
    layers = result["networks"][0]["layers"]
    files = []
    for i, kinds in enumerate(([0], [0, 1])):
        result["networks"][0]["layers"] = [layers[kind] for kind in kinds]
        files.append(tmp_path / f"{i}.json")
        files[-1].write_text(json.dumps(result))
    assert main([*map(str, files), "--output", str(tmp_path / "roof.svg")]) == 0
    text = (tmp_path / "roof.svg").read_text()
    assert [text.count(f"<!-- {kind} -->") for kind in MARKS] == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": "dgms-bench"}, r"\$.schema must be 'dgms-layers'"),
        ({"schema_version": "2.0"}, r"\$.schema_version must be 1.x. Received: '2.0'"),
        ({"networks": []}, r"Missing: layers"),
        ({"networks": [{"name": "n", "layers": [{"kind": "conv"}]}]}, r"Missing: kernel_size, count, macs"),
    ],
)
def test_other_files_are_refused_with_the_reason(result, tmp_path, change, words, capsys):
    file = tmp_path / "wrong.json"
    file.write_text(json.dumps({**result, **change}))
    with pytest.raises(ResultError, match=words):
        read_layers(file)
    assert main([str(file), "--output", str(tmp_path / "no.png")]) == 1
    assert "roofline: " in capsys.readouterr().err and not (tmp_path / "no.png").exists()


def test_a_file_that_is_no_json_is_named(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ResultError, match=r"x.json: a result must be a JSON file"):
        read_layers(tmp_path / "x.json")
