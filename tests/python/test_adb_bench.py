"""android_demo/scripts/adb_bench.sh against a stand-in for adb: a small program on the PATH that answers as a phone would and
notes what it was asked. What a real phone does, no test here can tell.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "android_demo" / "scripts" / "adb_bench.sh"
# The folder of `python`, where `dgms` is installed, is left out of the PATH: what is shown is tested with the results.
SYSTEM = "/usr/bin:/bin"

# $PHONE is a folder: `devices` (text), `asked` (one JSON list for each call), `log` (what the app says once it runs; NAME stands for
# the result's name), `then` ("wait": logcat goes on; "end": it ends), and whatever was pushed.
ADB = """#!{python}
import json, os, re, shutil, sys, time
phone, asked = os.environ["PHONE"], sys.argv[1:]
with open(os.path.join(phone, "asked"), "a") as file:
    file.write(json.dumps(asked) + "\\n")
def read(name, default=""):
    try:
        return open(os.path.join(phone, name)).read()
    except FileNotFoundError:
        return default
if asked == ["devices"]:
    print("List of devices attached\\n" + read("devices"))
    sys.exit()
assert asked[0] == "-s" and asked[1] + "\\tdevice" in read("devices"), asked
command, words = asked[2], asked[3:]
if command == "push":
    shutil.copy(words[0], os.path.join(phone, os.path.basename(words[1])))
elif command == "pull":
    if read("pull") == "broken":
        open(words[1], "w").write("half of")
        sys.exit("adb: error: device gone")
    json.dump({{"pulled": words[0]}}, open(words[1], "w"))
elif command == "install":
    sys.exit(0 if read("install", "ok") == "ok" else "INSTALL_FAILED_UPDATE_INCOMPATIBLE")
elif command == "shell":
    line = " ".join(words)
    if line.startswith("pm path"):
        print(read("package", "package:/data/app/base.apk\\n"), end="")
    elif line.startswith("date"):
        print("05-31 16:05:09.000\\r")
    elif line.startswith("pidof"):
        print(read("pid", "4711\\n"), end="")
    elif line.startswith("ls -d"):
        print(read("folder"), end="")
    elif line == "am start -W -n org.dgms.demo/.MainActivity":
        if read("opens", "yes") == "yes":
            open(os.path.join(phone, "folder"), "w").write(line)
    elif line.startswith("am start"):
        name = re.search(r"--es output (\\S+)", line).group(1)
        open(os.path.join(phone, "running"), "w").write(name)
        print(read("start", "Starting: Intent {{ cmp=org.dgms.demo/.RunActivity (has extras) }}\\n"), end="")
elif command == "logcat":
    running = os.path.join(phone, "running")
    open(os.path.join(phone, "logcat_pid"), "w").write(str(os.getpid()))
    while not os.path.exists(running) or not open(running).read():
        time.sleep(0.01)
    name = open(running).read()
    os.remove(running)
    for part in read("log").replace("NAME", name).split("PAUSE"):
        sys.stdout.write(part)
        sys.stdout.flush()
        time.sleep(1.5 if "PAUSE" in read("log") else 0)
    end = time.monotonic() + 60
    while read("then", "wait") == "wait" and time.monotonic() < end:
        time.sleep(0.1)
else:
    sys.exit(f"unexpected: {{asked}}")
"""

FOLDER = "/storage/emulated/0/Android/data/org.dgms.demo/files"
DONE = (
    f"--------- beginning of main\nI/DGMS_BENCH: DONE file={FOLDER}/results/old.json model=old delegate=9 ms\r\n"
    "I/DGMS_BENCH: delegate: 8 of 10 layers\r\n"
    f"I/DGMS_BENCH: DONE file={FOLDER}/results/NAME model=m delegate=0.500 ms dense:xnnpack=1.000 ms ratio=0.500\r\n"
)


@pytest.fixture
def phone(tmp_path):
    if not shutil.which("bash", path=SYSTEM):
        pytest.skip("bash is needed")
    folder = tmp_path / "phone"
    (folder / "bin").mkdir(parents=True)
    adb = folder / "bin" / "adb"
    adb.write_text(ADB.format(python=sys.executable))
    adb.chmod(0o755)
    (folder / "devices").write_text("SERIAL1\tdevice\n\n")
    (folder / "log").write_text(DONE)
    (folder / "folder").write_text(f"{FOLDER}/models\n")  # the app has made it
    return folder


def run(phone, *arguments, path=None, **more):
    environment = {k: v for k, v in os.environ.items() if k != "ANDROID_SERIAL"}
    return subprocess.run(
        ["bash", str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=phone.parent,
        timeout=60,
        env={**environment, "PATH": path or f"{phone / 'bin'}:{SYSTEM}", "PHONE": str(phone), **more},
    )


def asked(phone, command):
    calls = [json.loads(line) for line in (phone / "asked").read_text().splitlines()]
    return [call[3:] for call in calls if call[2:3] == [command]]


def shell(phone, start):
    return [line for line in map(" ".join, asked(phone, "shell")) if line.startswith(start)]


def test_one_of_the_apps_models_with_two_numbers_of_threads(phone):
    done = run(phone, "--model", "shapes_w4", "--threads", "1,2", "--runs", 7, "--cool-down", 3, "--profile")
    assert done.returncode == 0, done.stderr
    files = sorted((phone.parent / "results").iterdir())
    assert [f.name[:13] for f in files] == ["shapes_w4_t1_", "shapes_w4_t2_"]
    for file in files:
        assert json.loads(file.read_text()) == {"pulled": f"{FOLDER}/results/{file.name}"}
    first, second = shell(phone, "am start")
    assert first == (
        "am start -n org.dgms.demo/.RunActivity --es model shapes_w4 --ei threads 1 --ei runs 7 --ei warmup 5 --ef min_seconds 0 "
        "--es affinity all --es activations float32 --ez profile true --ez sustained false --ei cool_down 3 "
        f"--es output {files[0].name} --ez finish true"
    )
    assert "--ei threads 2" in second and not asked(phone, "push") and not asked(phone, "install")
    assert "delegate: 8 of 10 layers" in done.stdout and "ratio=0.500" in done.stdout
    assert "model=old" not in done.stdout  # an earlier run's line is not taken for this one's
    assert f"dgms bench --show 'results/{files[0].name}' 'results/{files[1].name}'" in done.stdout


def test_a_model_and_its_twin_from_a_folder_with_spaces(phone, tmp_path):
    folder = tmp_path / "my models; rm -rf"
    folder.mkdir()
    (folder / "a net (1).tflite").write_bytes(b"model")
    (folder / "float.tflite").write_bytes(b"twin")
    (folder / "app.apk").write_bytes(b"apk")
    done = run(
        phone, "--model", folder / "a net (1).tflite", "--dense", folder / "float.tflite", "--apk", folder / "app.apk",
        "--output", folder / "my results", "--paths", "delegate,dense:xnnpack", "--affinity", "big", "--min-seconds", "1.5",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (phone / "a_net__1_.tflite").read_bytes() == b"model"
    assert (phone / "a_net__1_.dense.tflite").read_bytes() == b"twin"
    assert [p.suffix for p in (folder / "my results").iterdir()] == [".json"]
    assert asked(phone, "install") == [["-r", str(folder / "app.apk")]]
    (start,) = shell(phone, "am start")
    assert f"--es model {FOLDER}/models/a_net__1_.tflite " in start and start.endswith(
        "--es paths delegate,dense:xnnpack"
    )
    assert "--ef min_seconds 1.5" in start and "--es affinity big" in start


def test_a_twin_left_by_an_earlier_model_is_removed(phone, tmp_path):
    (tmp_path / "net.tflite").write_bytes(b"model")
    assert run(phone, "--model", tmp_path / "net.tflite").returncode == 0
    assert shell(phone, "rm") == [f"rm -f {FOLDER}/models/net.dense.tflite"]


def test_the_app_makes_its_folder_before_models_are_pushed(phone, tmp_path):
    (tmp_path / "net.tflite").write_bytes(b"model")
    (phone / "folder").unlink()
    assert run(phone, "--model", tmp_path / "net.tflite").returncode == 0
    opened, started = shell(phone, "am start")
    assert opened.endswith(".MainActivity") and "RunActivity" in started and (phone / "net.tflite").exists()
    assert not shell(phone, "mkdir")


@pytest.mark.slow
def test_an_app_that_makes_no_folder(phone, tmp_path):
    (tmp_path / "net.tflite").write_bytes(b"model")
    (phone / "folder").unlink()
    (phone / "opens").write_text("no")
    done = run(phone, "--model", tmp_path / "net.tflite")
    assert done.returncode == 1 and "open it once by hand" in done.stderr and not asked(phone, "push")


def test_results_are_shown_where_dgms_is_installed(phone):
    dgms = phone / "bin" / "dgms"
    dgms.write_text('#!/bin/sh\necho "dgms $*"\n')
    dgms.chmod(0o755)
    assert "dgms bench --show results/m_t1_" in run(phone, "--model", "m").stdout


def test_a_line_that_comes_in_two_parts(phone):
    (phone / "log").write_text(DONE.replace(" model=m del", " model=m PAUSEdel"))
    done = run(phone, "--model", "m")
    assert done.returncode == 0, done.stderr
    assert "model=m delegate=0.500 ms" in done.stdout


@pytest.mark.parametrize(
    ("devices", "arguments", "words"),
    [
        ("", [], "no phone: connect one with USB debugging"),
        ("* daemon started successfully\n", [], "no phone"),
        ("B\tdevice\nA\tdevice\n", [], "several phones: choose one by --serial. Received: A B"),
        ("A\tdevice\n", ["--serial", "C"], "no phone has the serial number C. Connected: A"),
        ("", ["--serial", "C"], "no phone has the serial number C. Connected: none"),
        ("A\tunauthorized\n", [], "does not trust this computer yet"),
        ("A\toffline\n", [], "the phone A is not ready. Received: offline"),
    ],
)
def test_phones_that_cannot_be_used(phone, devices, arguments, words):
    (phone / "devices").write_text(devices)
    done = run(phone, "--model", "m", *arguments)
    assert done.returncode == 1 and words in done.stderr and not (phone.parent / "results").exists()


def test_one_of_two_phones_by_option_or_environment(phone):
    (phone / "devices").write_text("A\tdevice\nB\tdevice\n")
    assert run(phone, "--model", "m", "--serial", "B").returncode == 0
    assert run(phone, "--model", "m", ANDROID_SERIAL="A").returncode == 0
    calls = [json.loads(line) for line in (phone / "asked").read_text().splitlines()]
    assert {call[1] for call in calls if call[0] == "-s"} == {"A", "B"}


def test_no_adb(phone):
    tools = phone / "tools"  # all that the script needs, but adb
    tools.mkdir()
    for name in ("bash", "sed", "grep", "sort", "paste"):
        (tools / name).symlink_to(shutil.which(name, path=SYSTEM))
    done = run(phone, "--model", "m", path=str(tools))
    assert done.returncode == 1 and "adb is needed" in done.stderr


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"log": "E/DGMS_BENCH: FAILED reason=m.tflite is no TFLite model\r\n"}, "the app says: m.tflite is no TFLite model"),
        ({"start": "Error type 3\nError: Activity class does not exist.\n"}, "the app could not be started: Error type 3 Error:"),
        ({"start": "java.lang.SecurityException: Permission Denial\n"}, "the app could not be started"),
        (
            {
                "log": "E/AndroidRuntime: FATAL EXCEPTION: main\nE/AndroidRuntime: Process: org.dgms.demo, PID: 12\n"
                "E/AndroidRuntime: java.lang.NullPointerException: of ours\n"
            },
            "the app crashed: java.lang.NullPointerException: of ours",
        ),
        (
            {"log": "F/libc    : Fatal signal 11 (SIGSEGV), code 1 in tid 13 (bench), pid 12 (org.dgms.demo)\n"},
            "the app crashed: Fatal signal 11",
        ),
        ({"log": "", "then": "end"}, "the connection to the phone has ended"),
        ({"package": ""}, "the app is not on the phone: give --apk FILE"),
        ({"install": "no"}, "the app could not be installed"),
        ({"pull": "broken"}, "the result could not be pulled"),
    ],
)  # fmt: skip
def test_failures_say_why_and_leave_no_file(phone, files, words):
    for name, text in files.items():
        (phone / name).write_text(text)
    (phone / "x.apk").touch()
    done = run(phone, "--model", "m", *(["--apk", phone / "x.apk"] if "install" in files else []))
    assert done.returncode == 1 and words in done.stderr, done.stdout + done.stderr
    folder = phone.parent / "results"
    assert not folder.exists() or not list(folder.iterdir())


def test_another_apps_crash_is_not_ours(phone):
    other = "E/AndroidRuntime: FATAL EXCEPTION: main\nE/AndroidRuntime: Process: com.example, PID: 9\nE/AndroidRuntime: oops\n"
    (phone / "log").write_text(other + DONE)
    assert run(phone, "--model", "m").returncode == 0


def test_a_path_that_failed_is_collected_and_reported(phone):
    (phone / "log").write_text(DONE.replace("delegate=0.500 ms", "delegate=failed"))
    done = run(phone, "--model", "m")
    assert done.returncode == 1 and "a path failed" in done.stderr
    assert len(list((phone.parent / "results").iterdir())) == 1


def test_timeout_stops_the_app_and_leaves_no_process(phone):
    (phone / "log").write_text("I/DGMS_BENCH: warming up\n")
    start = time.monotonic()
    done = run(phone, "--model", "m", "--timeout", 2)
    assert done.returncode == 1 and "did not finish within 2 seconds" in done.stderr and "warming up" in done.stdout
    assert 1 < time.monotonic() - start < 30
    assert shell(phone, "am force-stop") == ["am force-stop org.dgms.demo"]
    logcat = Path("/proc") / (phone / "logcat_pid").read_text() / "cmdline"
    deadline = time.monotonic() + 5  # it was told to end; that takes a moment
    while (running := logcat.exists() and b"logcat" in logcat.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running


@pytest.mark.slow
def test_an_app_that_is_gone_without_a_word(phone):
    (phone / "log").write_text("")
    (phone / "pid").write_text("")
    done = run(phone, "--model", "m", "--timeout", 40)
    assert done.returncode == 1 and "the app is gone without a result" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--model must name"),
        (["--model", "nowhere.tflite"], "--model must be a file that exists, or a name. Received: nowhere.tflite"),
        (["--model", "a;reboot"], "--model must be a file that exists"),
        (["--model", "m", "--dense", "x"], "--dense goes with a --model that is a file"),
        (["--model", "m", "--runs", "0"], "--runs must be a number >= 1. Received: 0"),
        (["--model", "m", "--threads", "1,,2"], "--threads must be numbers >= 1"),
        (["--model", "m", "--paths", "delegate,gpu"], "--paths must be some of delegate,xnnpack"),
        (["--model", "m", "--affinity", "all;reboot"], "--affinity must be all, big or little"),
        (["--model", "m", "--runs"], "--runs needs a value"),
        (["--model", "m", "--speed", "9"], "unknown argument: --speed"),
        (["--model", "m", "--apk", "no.apk"], "--apk must be a file"),
    ],
)
def test_wrong_arguments_reach_no_phone(phone, arguments, words):
    done = run(phone, *arguments)
    assert done.returncode == 2 and words in done.stderr and not (phone / "asked").exists()


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say():
    done = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_help_names_every_option(phone):
    done = run(phone, "--help")
    assert done.returncode == 0 and "--sustained" in done.stdout
