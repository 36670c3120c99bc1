"""`dgms bench --table4` on the small warm-up network: which paths run on which files, what is compared, and that results are valid.

No test depends on a time.
"""

import io
import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dgms_keras.cli import main
from dgms_keras.recipes.models import NETWORKS
from dgms_keras.recipes.table4 import child, files, growth, mask, paths, run
from dgms_keras.recipes.table4.run import Table4Settings, run_table4
from dgms_keras.report import table4 as report
from dgms_keras.report import table4_plots
from dgms_keras.report.bench_results import ResultError

NETWORK = files.WARMUP
SIDES = (16, 24, 32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The network's files at 4 and 2 bits."""
    folder = tmp_path_factory.mktemp("networks")
    said = []
    files.make_files(NETWORK, [4, 2], folder, said.append)
    assert len(said) == 8  # building, and seven files
    # Growth is measured on networks that name their multiply-adds by side.
    manifest = folder / f"{NETWORK}.json"
    facts = json.loads(manifest.read_text())
    facts["macs_at"] = {str(side): facts["macs"] * side**2 // 16**2 for side in SIDES}
    manifest.write_text(json.dumps(facts))
    return folder


@pytest.fixture(scope="module")
def result(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "GROWTH_NETWORKS", (NETWORK,))
        patch.setattr(run, "GROWTH_BATCH_SIDE", SIDES[0])
        patch.setattr(files, "SIDES", SIDES)
        patch.setattr(run, "INIT_REPEATS", 2)
        settings = Table4Settings(
            networks=(NETWORK,),
            bits=(4, 2),
            threads=(1, 2),
            runs=2,
            min_seconds=0,
            warmup=1,
            builtin_runs=1,
            memory=True,
            growth=True,
            profile=True,
            folder=folder,
        )
        return run_table4(settings, lambda text: None)


def test_files_are_made_once_and_again_for_another_recipe(folder, monkeypatch):
    assert files.missing(NETWORK, [4, 2], folder) == []
    assert files.missing(NETWORK, [3], folder) == ["w3", "w3_int8"]
    monkeypatch.setattr(files, "RECIPE", files.RECIPE + 1)
    assert files.missing(NETWORK, [4], folder) == files.variants(NETWORK, [4])


def test_a_network_of_fixed_size_has_small_files_for_memory():
    detector = "ssdlite_mobilenet_v2"
    extra = set(files.variants(detector, [4, 2])) - set(files.variants("resnet18", [4, 2]))
    assert extra == {"float_smallest", "w4_smallest", "w2_smallest"}
    assert files.at_smallest_side("a/ssd_w4.tflite", detector) == ("a/ssd_w4_smallest.tflite", None)
    assert files.at_smallest_side("a/resnet18_w4.tflite", "resnet18") == ("a/resnet18_w4.tflite", files.SMALLEST_SIDE)


def test_every_file_holds_what_its_name_says(folder):
    from dgms_keras.export import flatbuffer_io as fio

    float_bytes = (folder / f"{NETWORK}_float.tflite").stat().st_size
    for variant, weights in {"float": "FLOAT32", "int8": "INT8", "dynamic_range": "INT8"}.items():
        model = fio.read_model((folder / f"{NETWORK}_{variant}.tflite").read_bytes())
        (graph,) = model.subgraphs
        convolutions = [o for o in graph.operators if fio.op_name(model, o) == "CONV_2D"]
        assert {fio.type_name(graph.tensors[o.inputs[1]].type) for o in convolutions} == {weights}, variant
        sources = {fio.type_name(graph.tensors[o.inputs[0]].type) for o in convolutions}
        assert sources == {"INT8" if variant == "int8" else "FLOAT32"}, variant
    for variant in ("w4", "w2", "w4_int8", "w2_int8"):
        assert (folder / f"{NETWORK}_{variant}.tflite").stat().st_size < float_bytes, variant


def test_result_is_valid_and_complete(result):
    report.check(result, "result")
    (network,) = result["networks"]
    assert (network["name"], network["side"]) == (NETWORK, 16)
    assert [(t["threads"], t["isa"]) for t in network["timings"]] == [(1, "auto"), (2, "auto")]
    for timing in network["timings"]:
        nodes = {p["name"]: p["delegated_nodes"] for p in timing["paths"]}
        ours = {f"delegate:w{b}{kind}" for b in (4, 2) for kind in ("a32", "a8", "dynamic")}
        dense = {f"{who}:{file}" for who in ("xnnpack", "builtin") for file in files.DENSE}
        assert set(nodes) == ours | dense
        assert all((nodes[name] > 0) == (name in ours) for name in nodes)
        used = {p["name"]: Path(p["file"]["path"]).stem.removeprefix(f"{NETWORK}_") for p in timing["paths"]}
        assert (used["delegate:w2a8"], used["delegate:w2dynamic"]) == ("w2_int8", "w2")
        assert all(used[name] == name.split(":")[1] for name in dense)
        runs = {p["name"].split(":")[0]: len(p["runs_ms"]) for p in timing["paths"]}
        assert runs == {"delegate": 2, "xnnpack": 2, "builtin": 1}


def test_ratios_are_those_of_the_medians(result):
    timing = result["networks"][0]["timings"][0]
    medians = {p["name"]: p["median_ms"] for p in timing["paths"]}
    rows = {(r["ours"], r["peer"]): r for r in timing["ratios"]}
    assert len(rows) == 6 + 6 + 3  # each of ours against XNNPACK and against builtin; 2 bits against 4
    for (ours, peer), row in rows.items():
        assert row["ratio"] == medians[ours] / medians[peer]
    assert rows["delegate:w4dynamic", "xnnpack:dynamic_range"]["target"] is None  # none was set for this network
    fewer = rows["delegate:w2a32", "delegate:w4a32"]
    assert fewer["kind"] == "bits" and fewer["reached"] == (fewer["ratio"] <= paths.FEWER_BITS_TARGET)


def test_targets_are_those_of_the_table():
    def judged(network, isa, ratio):
        medians = {"delegate:w4a32": ratio, "delegate:w4a8": 1.0, "delegate:w4dynamic": 1.0}
        medians |= dict.fromkeys(("xnnpack:float", "xnnpack:int8", "xnnpack:dynamic_range"), 1.0)
        return [(r["target"], r["reached"]) for r in paths.ratios(network, isa, medians, [4])]

    assert judged("resnet18", "auto", 0.48) == [(0.48, True), (0.75, False), (0.80, False)]
    assert judged("ssdlite_mobilenet_v2", "auto", 0.81) == [(0.80, False), (0.70, False), (0.20, False)]
    assert judged("resnet18", "avx2", 0.61) == [(0.6, False), (None, None), (None, None)]
    assert judged("resnet18", "unconfined", 0.1) == [(None, None)] * 3
    for comparison in paths.COMPARISONS:
        assert set(comparison.targets) == set(NETWORKS)


def test_memory_is_that_of_fresh_processes(result):
    memory = result["networks"][0]["memory"]
    sizes = memory["resident_bytes"]
    for who in ("ours", "xnnpack"):
        for found in sizes[who].values():
            assert found["resident"] == found["anonymous"] + found["mapped"]
    assert memory["ratio"] == sizes["ours"]["smallest"]["resident"] / sizes["xnnpack"]["smallest"]["resident"]
    assert [each["name"] for each in memory["init"]] == ["delegate:w4a32", "xnnpack:float"]
    assert all(0 < each["allocate_ms"] <= each["init_ms"] <= each["ready_ms"] for each in memory["init"])


def test_growth_covers_sides_batches_and_threads(result):
    rows = result["growth"]
    assert {r["threads"] for r in rows} == {1, 2} and {r["over"] for r in rows} == {"side", "batch"}
    assert {r["path"] for r in rows} == {
        *(f"delegate:w4{k}" for k in ("a32", "a8", "dynamic")),
        "xnnpack:float",
        "xnnpack:int8",
    }
    for row in rows:
        sizes = [(p["side"], p["batch"]) for p in row["points"]]
        assert sizes == ([(s, 1) for s in SIDES] if row["over"] == "side" else [(16, b) for b in (1, 2, 4, 8)])
        macs = [p["macs"] / (p["side"] ** 2 * p["batch"]) for p in row["points"]]
        assert np.allclose(macs, macs[0])


def test_exponent_is_that_of_a_power_law():
    macs = np.array([1e6, 3e6, 1e7, 8e7])
    a, error = growth.exponent(macs, 2e-6 * macs**0.8)
    assert a == pytest.approx(0.8, abs=1e-12) and error == pytest.approx(0, abs=1e-9)
    noisy = 1e-6 * macs * np.array([1.1, 0.9, 1.05, 1.0])
    a, error = growth.exponent(macs, noisy)
    fit, covariance = np.polyfit(np.log(macs), np.log(noisy), 1, cov=True)
    assert a == pytest.approx(fit[0]) and error == pytest.approx(np.sqrt(covariance[0, 0]))
    with pytest.raises(ValueError, match=r"at least three different sizes. Received: 2"):
        growth.exponent([1, 2, 2], [1, 2, 2])


def test_profiles_name_the_operators(result):
    profiles = result["networks"][0]["profiles"]
    assert [p["path"] for p in profiles] == [f"delegate:w{b}{k}" for k in ("a32", "a8", "dynamic") for b in (4, 2)]
    for profile in profiles:
        assert "kernel" in profile["lines"][0] and len(profile["lines"]) >= 6  # heading, four operators or more, sum
        assert any("stem" in line for line in profile["lines"])


def test_a_single_model_can_be_profiled(folder, capsys):
    model = str(folder / f"{NETWORK}_w4.tflite")
    assert main(["bench", model, "--paths", "delegate", "--runs", "1", "--warmup", "0", "--profile"]) == 0
    out = capsys.readouterr().out
    heading, *operators = out[out.index("calls") :].splitlines()
    assert "GMAC/s" in heading and any("stem" in line for line in operators)


def test_a_profile_of_nothing_is_an_error(tmp_path):
    import keras

    from dgms_keras.export.exporter import export_frozen
    from dgms_keras.runtime.profile import profile_lines

    # No delegate of ours claims a resize.
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.UpSampling2D(2, interpolation="bilinear")])
    export_frozen(model, [], tmp_path / "resize.tflite")
    with pytest.raises(RuntimeError, match=r"must claim operators to be profiled"):
        profile_lines(tmp_path / "resize.tflite", runs=1)


def test_a_confined_process_sees_avx2_and_nothing_above(tmp_path):
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    if platform.machine() == "x86_64" and " cpuid_fault" in flags and " avx2" in flags:
        library = mask.make_mask(tmp_path)
        assert child.run("kernel_sets", {}, mask=library)[-1] == "avx2"
    else:
        with pytest.raises(mask.CannotMask):
            mask.make_mask(tmp_path)


def test_without_a_mask_only_ours_is_held_to_avx2(folder, monkeypatch):
    def cannot(folder):
        raise mask.CannotMask("no CPUID faulting")

    jobs = []

    def fake(task, job, mask=None, show=True):
        jobs.append((job, mask))
        figures = {"median_ms": 1.0}
        return {"paths": [{"name": s["name"], **figures} for s in job["specs"]], "drift": None, "settle_ms": 0.0}

    monkeypatch.setattr(run, "make_mask", cannot)
    monkeypatch.setattr(child, "run", fake)
    settings = Table4Settings((NETWORK,), threads=(1,), isas=("avx2",), folder=folder)
    data = run_table4(settings, lambda text: None)
    assert data["avx2"] == {"confined": False, "why_not": "no CPUID faulting"}
    ((job, used),) = jobs
    assert used is None
    held = {s["name"]: s["delegate_options"].get("isa") for s in job["specs"]}
    assert {name: isa for name, isa in held.items() if isa} == {
        f"delegate:w4{k}": "avx2" for k in ("a32", "a8", "dynamic")
    }


def test_a_failed_process_is_an_error_that_names_it(folder):
    with pytest.raises(child.MeasurementError, match=r"the process of 'times' must end with status 0. Received: 1"):
        child.run("times", {"specs": []}, show=False)


def test_command_line_writes_json_and_pictures(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(NETWORKS, NETWORK, None)
    arguments = ["bench", "--table4", "--networks", NETWORK, "--threads", "1", "--runs", "2", "--min-seconds", "0"]
    arguments += ["--builtin-runs", "0", "--clock", "cpu", "--folder", str(folder), "--output", str(tmp_path / "out")]
    assert main(arguments) == 0
    data = report.read(tmp_path / "out" / "table4.json")
    assert data["settings"]["clock"] == "cpu" and data["settings"]["threads"] == [1]
    assert (tmp_path / "out" / "table4.png").read_bytes().startswith(b"\x89PNG")
    assert "W4 dynamic int8 / XNNPACK dynamic range" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--table4", "model.tflite"], "either a model to time, or --show with results, or --table4"),
        (["model.tflite", "--growth"], "--growth goes with --table4"),
        (["model.tflite", "--builtin-runs", "0"], "--builtin-runs goes with --table4"),
        (["--table4", "--dense", "x.tflite"], "--table4 takes no --dense"),
        (["--table4", "--batch", "2"], "--table4 takes no --batch"),
        (["--table4", "--seed", "0"], "--table4 takes no --seed"),
        (["--table4", "--paths", "delegate"], "--table4 takes no --paths"),
        (["--table4", "--activations", "float32"], "--table4 takes no --activations"),
        (["--table4", "--clock", "cpu"], "--clock cpu is for one thread"),
        (["--table4", "--threads", "2", "1", "2"], "--threads must have each value once. Received: 2 1 2"),
        (["--table4", "--bits", "4", "4"], "--bits must have each value once. Received: 4 4"),
        (["--table4", "--networks", "resnet18", "resnet18"], "--networks must have each value once"),
        (["model.tflite", "--threads", "1", "2"], "one number of --threads"),
    ],
)
def test_arguments_that_do_not_go_together(arguments, words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["bench", *arguments])
    assert stop.value.code == 2 and words in capsys.readouterr().err


def test_an_output_that_is_no_folder_is_refused_before_anything_is_measured(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("")
    for output in (file, file / "below"):
        assert main(["bench", "--table4", "--output", str(output)]) == 1
        assert f"--output must be a folder, or not exist yet. Received: {output}" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert main(["bench", "--table4", "--output", str(tmp_path)]) == 1
    assert "--output must be a folder that can be written to" in capsys.readouterr().err


def test_a_process_that_was_interrupted_interrupts_the_caller(tmp_path, monkeypatch):
    """Whose own signal may come later."""
    program = tmp_path / "program"
    # A process that was started in the background ignores the signal, and so would its children.
    program.write_text(
        f"#!{sys.executable}\nimport os, signal\nsignal.signal(signal.SIGINT, signal.SIG_DFL)\nos.kill(os.getpid(), signal.SIGINT)\n"
    )
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(KeyboardInterrupt):
        child.run("times", {})


def test_an_interrupted_measurement_shows_no_traceback(folder):
    """Ctrl-C reaches a terminal's whole foreground group, so also the process that measures."""
    script = (
        "import sys; from pathlib import Path; from dgms_keras.cli import main; from dgms_keras.recipes.models import NETWORKS\n"
        f"NETWORKS[{NETWORK!r}] = None\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    arguments = [
        "bench",
        "--table4",
        "--networks",
        NETWORK,
        "--min-seconds",
        "60",
        "--threads",
        "1",
        "--builtin-runs",
        "0",
    ]
    arguments += ["--folder", str(folder), "--output", str(folder / "out")]
    program = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        env=child.environment(),
    )
    assert program.stderr is not None
    line = program.stderr.readline()  # the runtime's first words, in the child: it has begun
    os.killpg(program.pid, signal.SIGINT)
    said = line + program.communicate(timeout=60)[1]
    assert program.returncode == 130, said
    assert said.endswith("interrupted\n") and "Traceback" not in said
    assert not (folder / "out" / "table4.json").exists()


def test_what_was_measured_outlives_an_interruption(folder, tmp_path, monkeypatch, capsys):
    """And does not replace an earlier result."""
    (tmp_path / "table4.json").write_text("earlier")
    (tmp_path / "table4.unfinished.json").write_text("of an earlier run")
    monkeypatch.setitem(NETWORKS, NETWORK, None)

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_growth", interrupt)
    arguments = ["bench", "--table4", "--networks", NETWORK, "--growth", "--runs", "1", "--min-seconds", "0"]
    arguments += ["--builtin-runs", "0", "--threads", "1", "--folder", str(folder), "--output", str(tmp_path)]
    assert main(arguments) == 130
    unfinished = tmp_path / "table4.unfinished.json"
    assert f"measured so far: python -m dgms_keras.report.table4 {unfinished}\n" in capsys.readouterr().err
    assert [n["name"] for n in report.read(unfinished)["networks"]] == [NETWORK]
    assert (tmp_path / "table4.json").read_text() == "earlier"

    monkeypatch.setattr(run, "_growth", lambda *arguments: [])
    assert main(arguments) == 0
    assert report.read(tmp_path / "table4.json")["growth"] == [] and not unfinished.exists()


def test_an_unknown_network_is_named(capsys):
    assert main(["bench", "--table4", "--networks", "alexnet"]) == 1
    assert "--networks must be some of resnet18, resnet50" in capsys.readouterr().err


def test_pictures_and_tables_show_verdicts(result, tmp_path):
    from rich.console import Console

    changed = json.loads(json.dumps(result))
    changed["networks"][0]["timings"][0]["ratios"][0] |= {"ratio": 3.5, "target": 0.5, "reached": False}
    assert table4_plots.save_growth(tmp_path / "growth.png", changed).stat().st_size > 1000
    assert table4_plots.save_ratios(tmp_path / "ratios.png", changed).stat().st_size > 1000
    console = Console(width=200, file=io.StringIO())
    for table in report.tables(changed):
        console.print(table)
    text = console.file.getvalue()
    assert "0.50 missed" in text and "weights" in text and "linear or better" in text
    with pytest.raises(ValueError, match=r"needs a result of `--growth`"):
        table4_plots.save_growth(tmp_path / "no.png", {**result, "growth": []})


def test_a_result_is_shown_again_and_as_markdown(result, tmp_path, capsys):
    file = tmp_path / "table4.json"
    file.write_text(json.dumps(result))
    assert report.main([str(file)]) == 0
    assert "W4A32 / XNNPACK float32" in capsys.readouterr().out
    assert report.main([str(file), "--markdown"]) == 0
    times, memory = ([*block.splitlines()] for block in capsys.readouterr().out.strip().split("\n\n"))
    timing = result["networks"][0]["timings"][1]
    assert (
        len(times) == 2 + 2 and len(memory) == 2 + 1
    )  # heading, rule, a row for each number of threads; for each network
    assert all(line.count("|") == times[0].count("|") for line in times)
    assert times[3].startswith(f"| {NETWORK} | 2 | **{timing['ratios'][0]['ratio']:.2f}**")
    assert f"**{result['networks'][0]['memory']['ratio']:.3f}** (0.17 " in memory[2]
    file.write_text("[]")
    assert report.main([str(file)]) == 1 and "table4: " in capsys.readouterr().err


def test_wrong_results_are_refused_with_the_place(result, tmp_path):
    changed = json.loads(json.dumps(result))
    changed["networks"][0]["timings"][0]["paths"][0]["median_ms"] = -1
    (tmp_path / "wrong.json").write_text(json.dumps(changed))
    with pytest.raises(ResultError, match=r"wrong.json: \$.networks\[0\].timings\[0\].paths\[0\].median_ms"):
        report.read(tmp_path / "wrong.json")
    (tmp_path / "no.json").write_text("{")
    with pytest.raises(ResultError, match=r"no.json: a result must be a JSON file"):
        report.read(tmp_path / "no.json")
